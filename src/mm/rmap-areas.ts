// Which areas the reverse mapping of a page visits (cf. rmap_walk_anon and rmap_walk_file, mm/rmap.c, and
// mm/interval_tree.c). Areas that descend from each other by fork hang on one tree, and so do all areas of a
// file; it is sorted by their first page, equal ones in order of insertion. Splitting, joining and moving an
// area take it out and insert it anew. Pages are found by the core's own reverse map; but reclaim tells the
// notifiers of each area that it visits.

import { HPAGE_PMD_NR, PG_ANON } from '../../assembly/abi.ts';
import type { Host } from './host.ts';
import { mapsPage } from './host-pte.ts';
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

/** Whether anonymous pages of `vma` (in `mm`) and of `other` may belong to the same: one mm's, or a parent's. */
function shareAnon(mm: Mm, vma: Vma, otherMm: Mm, other: Vma): boolean {
  if (other.anon === undefined || (other.flags & VM_SHARED) !== 0) return false;
  if (mm === otherMm) return vma.anon === other.anon;
  if (otherMm.parent === mm) return other.inherited === vma.anon;
  return mm.parent === otherMm && vma.inherited === other.anon;
}

/** A part of an area that a walk visits: pages [hvn, end) of an mm. */
export interface Visit {
  readonly mm: Mm;
  readonly hvn: number;
  readonly end: number;
  /** Which of the pages that the walk is about would be at `hvn`. */
  readonly page: number;
}

/** The areas that hold any of `pages` pages, of which a mapped one, `pfn`, is number `known`; in order. */
function rmapWalk(host: Host, pfn: number, known: number, pages: number): Visit[] {
  const { x } = host.core;
  const owner = host.mm(x.rmapMm(pfn, 0));
  const own = owner.findVma(x.rmapHvn(pfn, 0));
  if (own === undefined) return [];
  const start = owner.pgoffOf(x.rmapHvn(pfn, 0)) - known;
  const file = (x.pageFlags(pfn) & PG_ANON) === 0 ? own.file : 0;
  const areas: (Visit & { first: number; when: number })[] = [];
  for (const mm of host.mms) {
    if (mm === null) continue;
    for (const vma of mm.vmas) {
      const onTree = file === 0 ? shareAnon(owner, own, mm, vma) : vma.file === file;
      const from = Math.max(vma.pgoff, start);
      const to = Math.min(vma.pgoff + vma.end - vma.start, start + pages);
      if (!onTree || from >= to) continue;
      const [hvn, end] = [vma.start + from - vma.pgoff, vma.start + to - vma.pgoff];
      const when = INSERTED.get(vma) ?? 0;
      areas.push({ mm, hvn, end, page: from - start, first: vma.pgoff, when });
    }
  }
  return areas.toSorted((a, b) => a.first - b.first || a.when - b.when);
}

/** Where a walk over a page looks in vain, in order: until it has found all ptes that map it. */
export function visitedInVain(host: Host, pfn: number): Visit[] {
  const { x } = host.core;
  const maps = x.pageMapcount(pfn);
  if (maps === 0) return [];
  const isMapped = ({ mm, hvn }: Visit): boolean => {
    for (let i = 0; i < maps; i++) {
      if (x.rmapMm(pfn, i) === mm.id && x.rmapHvn(pfn, i) === hvn) return true;
    }
    return false;
  };
  const visits = rmapWalk(host, pfn, 0, 1);
  return visits.slice(0, visits.findLastIndex(isMapped) + 1).filter((visit) => !isMapped(visit));
}

/** An area that a walk over a huge page visits. */
export interface FolioVisit extends Visit {
  /** How many ptes it has there that map the page; a huge one is one. */
  readonly maps: number;
}

/** The areas that a walk over a huge page visits until it has found all ptes that map it. */
export function folioVisits(host: Host, head: number): FolioVisit[] {
  const { x } = host.core;
  let known = 0;
  while (known < HPAGE_PMD_NR && x.pageMapcount(head + known) === 0) known++;
  if (known === HPAGE_PMD_NR) return [];
  const visits = rmapWalk(host, head + known, known, HPAGE_PMD_NR);
  const counted = visits.map((visit) => ({ ...visit, maps: mapsOf(visit, head) }));
  return counted.slice(0, counted.findLastIndex(({ maps }) => maps > 0) + 1);
}

function mapsOf({ mm, hvn, end, page }: Visit, head: number): number {
  const { x } = mm.host.core;
  const pmd = x.hpmdGet(mm.id, hvn) >>> 0;
  if (pmd !== 0) return mapsPage(pmd, head) ? 1 : 0;
  let maps = 0;
  for (let at = hvn; at < end; at++) {
    if (mapsPage(x.hpteGet(mm.id, at) >>> 0, head + page + at - hvn)) maps++;
  }
  return maps;
}
