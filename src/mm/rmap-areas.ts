// Which areas the reverse mapping of a page visits (cf. rmap_walk_anon and rmap_walk_file, mm/rmap.c, and
// mm/interval_tree.c). Areas that descend from each other by fork hang on one tree, and so do all areas of a
// file; it is sorted by their first page, equal ones in order of insertion. Splitting, joining and moving an
// area take it out and insert it anew. Pages are found by the core's own reverse map; but reclaim tells the
// notifiers of each area that it visits.

import { PG_ANON } from '../../assembly/abi.ts';
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

/** Whether an area holds page `pgoff` of what it maps. */
function holds(vma: Vma, pgoff: number): boolean {
  return pgoff >= vma.pgoff && pgoff < vma.pgoff + vma.end - vma.start;
}

/** Whether anonymous pages of `vma` (in `mm`) and of `other` may belong to the same: one mm's, or a parent's. */
function shareAnon(mm: Mm, vma: Vma, otherMm: Mm, other: Vma): boolean {
  if (other.anon === undefined || (other.flags & VM_SHARED) !== 0) return false;
  if (mm === otherMm) return vma.anon === other.anon;
  if (otherMm.parent === mm) return other.inherited === vma.anon;
  return mm.parent === otherMm && vma.inherited === other.anon;
}

/** An area that a walk visits. */
export interface Visit {
  readonly mm: Mm;
  /** Where the page would be. */
  readonly hvn: number;
}

/** The walk over a page, up to the last area that maps it: there it ends. */
function rmapWalk(host: Host, pfn: number): { visits: readonly Visit[]; mapping: Set<number> } {
  const { x } = host.core;
  const maps = x.pageMapcount(pfn);
  const mapping = new Set<number>();
  for (let i = 0; i < maps; i++) mapping.add(x.rmapMm(pfn, i));
  if (maps === 0) return { visits: [], mapping };
  const owner = host.mm(x.rmapMm(pfn, 0));
  const hvn = x.rmapHvn(pfn, 0);
  const pgoff = owner.pgoffOf(hvn);
  const own = owner.findVma(hvn);
  if (own === undefined) return { visits: [], mapping };
  const file = (x.pageFlags(pfn) & PG_ANON) === 0 ? owner.fileOf(hvn) : 0;
  const areas: (Visit & { first: number; when: number })[] = [];
  for (const mm of host.mms) {
    if (mm === null) continue;
    for (const vma of mm.vmas) {
      const onTree = file === 0 ? shareAnon(owner, own, mm, vma) : vma.file === file;
      if (!onTree || !holds(vma, pgoff)) continue;
      const at = vma.start + pgoff - vma.pgoff;
      areas.push({ mm, hvn: at, first: vma.pgoff, when: INSERTED.get(vma) ?? 0 });
    }
  }
  areas.sort((a, b) => a.first - b.first || a.when - b.when);
  const last = areas.findLastIndex((area) => mapping.has(area.mm.id));
  return { visits: areas.slice(0, last + 1), mapping };
}

/** Where a walk over a page looks in vain, in order: the areas that it visits and that map another page or none. */
export function visitedInVain(host: Host, pfn: number): Visit[] {
  const { visits, mapping } = rmapWalk(host, pfn);
  return visits.filter(({ mm }) => !mapping.has(mm.id));
}
