// Which areas the reverse mapping of an anonymous page visits (cf. rmap_walk_anon, mm/rmap.c and
// mm/interval_tree.c). Areas that descend from each other by fork hang on one tree, sorted by their
// first page; equal ones in order of insertion. Splitting, joining and moving an area take it out and
// insert it anew. Only events tell of it: pages are found by the core's own reverse map.

import type { Host } from './host.ts';
import type { Mm } from './mm.ts';
import { VM_SHARED, type Vma } from './vma.ts';

/** When each area was inserted; no part of the machine's state, since nothing but events shows it. */
const INSERTED = new WeakMap<Vma, number>();
let insertions = 0;

/** Notes that `after` replaces `before`: areas whose range is new are inserted now. */
export function noteAreas(before: readonly Vma[], after: readonly Vma[]): void {
  for (const vma of after) {
    if (INSERTED.has(vma)) continue;
    const same = before.find((old) => old.start === vma.start && old.end === vma.end);
    const when = same === undefined ? undefined : INSERTED.get(same);
    INSERTED.set(vma, when ?? ++insertions);
  }
}

/** The area of `mm` that holds page `pgoff` of the anonymous tree. */
function areaOf(mm: Mm, pgoff: number): Vma | undefined {
  return mm.vmas.find(
    (vma) =>
      vma.anon === true &&
      (vma.flags & VM_SHARED) === 0 &&
      pgoff >= vma.pgoff &&
      pgoff < vma.pgoff + vma.end - vma.start,
  );
}

/**
 * The address spaces that the walk over an anonymous page visits, with the page it looks at in each, up
 * to the last one that maps the page: there the walk ends.
 */
export function anonWalk(host: Host, pfn: number): { mm: number; hvn: number }[] {
  const { x } = host.core;
  const maps = x.pageMapcount(pfn);
  if (maps === 0) return [];
  const mapping = new Set<number>();
  for (let i = 0; i < maps; i++) mapping.add(x.rmapMm(pfn, i));
  const owner = host.mm(x.rmapMm(pfn, 0));
  const pgoff = owner.pgoffOf(x.rmapHvn(pfn, 0));
  const areas: { mm: number; hvn: number; first: number; when: number }[] = [];
  for (const mm of host.mms) {
    if (mm === null || (mm !== owner && mm.parent !== owner && owner.parent !== mm)) continue;
    const vma = areaOf(mm, pgoff);
    if (vma === undefined) continue;
    const hvn = vma.start + pgoff - vma.pgoff;
    areas.push({ mm: mm.id, hvn, first: vma.pgoff, when: INSERTED.get(vma) ?? 0 });
  }
  areas.sort((a, b) => a.first - b.first || a.when - b.when);
  const last = areas.findLastIndex((area) => mapping.has(area.mm));
  return areas.slice(0, last + 1).map(({ mm, hvn }) => ({ mm, hvn }));
}
