// Transparent huge pages of anonymous memory (cf. mm/huge_memory.c, 6.1): when a fault makes one, and
// how a huge pte or the page behind it is split, with the notifier calls of that. What happens to ptes
// and frames is assembly/mm/huge.ts.

import * as abi from '../../assembly/abi.ts';
import { lockPte } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import type { Host } from './host.ts';
import { mapsPage } from './host-pte.ts';
import type { Mm } from './mm.ts';
import {
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_ONLY_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';
import { folioVisits, type FolioVisit } from './rmap-areas.ts';
import { notifyRange } from './unmap.ts';
import { VM_HUGEPAGE, VM_LOCKED, VM_NOHUGEPAGE, type Vma } from './vma.ts';

/** /sys/kernel/mm/transparent_hugepage/enabled. */
export type TransparentHugepage = 'never' | 'madvise' | 'always';

const HPAGE_MASK = ~(abi.HPAGE_PMD_NR - 1);

/** First of the 512 aligned pages around one. */
export function hugeAlign(hvn: number): number {
  return hvn & HPAGE_MASK;
}

/** transhuge_vma_suitable(): whether the 512 aligned pages around a page lie in the area. */
export function hugeFits(vma: Vma, hvn: number): boolean {
  const first = hugeAlign(hvn);
  return first >= vma.start && first + abi.HPAGE_PMD_NR <= vma.end;
}

/** hugepage_vma_check(): whether the settings let the area have huge pages. */
export function hugepageAllowed(host: Host, vma: Vma): boolean {
  if (host.thp === 'never' || vma.file !== 0 || (vma.flags & VM_NOHUGEPAGE) !== 0) return false;
  return host.thp === 'always' || (vma.flags & VM_HUGEPAGE) !== 0;
}

/** Whether a fault at a page that no pte maps makes a huge page (create_huge_pmd). */
export function faultsHuge(mm: Mm, vma: Vma | undefined, hvn: number): boolean {
  if (vma === undefined || !hugepageAllowed(mm.host, vma) || !hugeFits(vma, hvn)) return false;
  return mm.host.core.x.hpmdNone(mm.id, hvn) === 1;
}

/** total_mapcount(): a huge pte counts once, however many pages it maps. */
export function totalMapcount(host: Host, head: number): number {
  const { x } = host.core;
  let total = 0;
  for (let pfn = head; pfn < head + abi.HPAGE_PMD_NR; pfn++) {
    const maps = x.pageMapcount(pfn);
    for (let i = 0; i < maps; i++) {
      const whole = x.hpmdGet(x.rmapMm(pfn, i), x.rmapHvn(pfn, i)) !== 0;
      if (!whole || pfn === head) total++;
    }
  }
  return total;
}

// Arguments and locals of splitHugePmd().
const HVN = 1;
const FOLIO = 2;
const CALLEE = 3;

/**
 * __split_huge_pmd: 512 ptes in place of the huge one around s[at + 1], if there is one; s[at + 2] is the head of
 * the page that is split itself next, so that a huge pte of another page stays, or 0. The notifiers hear of it whether
 * or not there was one.
 */
export function splitHugePmd(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const { ranged } = mm;
  switch (s[at]) {
    case 0:
      notify(s, at, MN_INVALIDATE_RANGE_START);
      s[at] = 1;
    case 1:
      if (ranged && !mm.notifiers.call(t, at + CALLEE)) return false;
      s[at] = 2;
    case 2:
      if (!t.lock(at, 2, lockPte(mm.id))) return false;
      s[at] = 4;
      if (splits(mm, s[at + HVN] as number, s[at + FOLIO] as number)) {
        const present = splitPmd(mm, s[at + HVN] as number, s[at + FOLIO] as number);
        if (present && mm.notifiers.withFlushes) s[at] = 3;
      }
      notify(s, at, MN_INVALIDATE_RANGE);
    case 3:
      // pmdp_invalidate().
      if (s[at] === 3 && !mm.notifiers.call(t, at + CALLEE)) return false;
      t.unlock(lockPte(mm.id));
      notify(s, at, MN_INVALIDATE_RANGE_ONLY_END);
      s[at] = 4;
    case 4:
      if (ranged && !mm.notifiers.call(t, at + CALLEE)) return false;
  }
  return t.done(at, 0);
}

function splits(mm: Mm, hvn: number, folio: number): boolean {
  const pmd = mm.host.core.x.hpmdGet(mm.id, hvn) >>> 0;
  return folio === 0 ? pmd !== 0 : mapsPage(pmd, folio);
}

/**
 * A page that is mapped in parts is not locked, whatever its area is (munlock_vma_page). Result: whether the huge
 * pte was present.
 */
function splitPmd(mm: Mm, hvn: number, folio: number): boolean {
  const { x } = mm.host.core;
  const pmd = x.hpmdGet(mm.id, hvn) >>> 0;
  const head = pmd >>> abi.HPTE_PFN_SHIFT;
  x.splitHugePmd(mm.id, hvn, folio !== 0 || mm.host.generation.splitKeepsDirty ? 1 : 0);
  const locked = ((mm.findVma(hvn)?.flags ?? 0) & VM_LOCKED) !== 0;
  const mapped = (pmd & abi.HPTE_SWAP) === 0 && head !== x.hugeZeroPage() >>> 0;
  if (locked && mapped && folio === 0) x.munlockPage(head, 1);
  return (pmd & abi.HPTE_PRESENT) !== 0;
}

/** The same inside the notifier call of whoever unmaps the page (TTU_SPLIT_HUGE_PMD in try_to_unmap_one() of 6.10). */
export function splitWithin(mm: Mm, hvn: number): void {
  if (mm.host.core.x.hpmdGet(mm.id, hvn) === 0 || !splitPmd(mm, hvn, 0)) return;
  mm.flushTlb(hugeAlign(hvn), hugeAlign(hvn) + abi.HPAGE_PMD_NR);
}

/** Whether huge ptes alone map pages of [start, end). */
export function isAllHuge(mm: Mm, start: number, end: number): boolean {
  const { x } = mm.host.core;
  if (mm.host.thp === 'never') return false;
  for (let hvn = start; hvn < end;) {
    if (x.hpmdGet(mm.id, hvn) === 0) return false;
    hvn = x.hpteNextMapped(mm.id, hugeAlign(hvn) + abi.HPAGE_PMD_NR, end) >>> 0;
  }
  return true;
}

function notify(s: Int32Array, at: number, op: number): void {
  const first = hugeAlign(s[at + HVN] as number);
  notifyRange(s, at + CALLEE, op, first, first + abi.HPAGE_PMD_NR, abi.MMU_NOTIFY_CLEAR);
}

/**
 * vma_adjust_trans_huge(): an area that is cut inside 512 aligned pages of its own has no huge pte there
 * any more. The split is made, and notified, whether or not there is a huge pte. `vmas`: the areas
 * before they are cut to [start, end).
 */
export function cutAreas(mm: Mm, vmas: readonly Vma[], start: number, end: number): void {
  if (mm.host.thp === 'never') return;
  const first = vmas.find((vma) => vma.start < start && start < vma.end);
  if (first !== undefined) cutAt(mm, first, start);
  const last = vmas.find((vma) => vma.start < end && end < vma.end);
  if (last === undefined) return;
  cutAt(mm, { ...last, start: Math.max(last.start, start) }, end);
}

function cutAt(mm: Mm, vma: Vma, hvn: number): void {
  if (hugeAlign(hvn) === hvn || !hugeFits(vma, hvn)) return;
  // Without a pmd table around the place there is nothing to look at.
  if (mm.host.core.x.hpmdTable(mm.id, hvn) === 0) return;
  mm.runNested((t, at) => splitHugePmd(t, at, mm), hvn, 0);
}

/**
 * split_huge_page() on a page that its caller holds: every mapping becomes small, then the frames
 * become pages of their own. unmap_folio() is notified once for the huge pte and once more around
 * the walk that finds it split. `isolated`: reclaim has it, and has each frame then. False: somebody else holds the page.
 */
export function splitFolio(host: Host, head: number, pins: number, isolated = false): boolean {
  const { x, mem } = host.core;
  const visits = folioVisits(host, head);
  const mapped = visits.reduce((sum, { maps }) => sum + maps, 0);
  const refs = mem.load32((x.framePtr(head) >>> 0) + abi.FRAME_REFCOUNT);
  if (refs !== mapped + pins) return false;
  for (const visit of visits) {
    const { mm, hvn, end } = visit;
    const small = x.hpmdGet(mm.id, hvn) === 0;
    mm.runNested((t, at) => splitHugePmd(t, at, mm), hvn, head);
    notifyClear(mm, MN_INVALIDATE_RANGE_START, hvn, end);
    if (small && mm.notifiers.withFlushes) flushParts(visit, head);
    notifyClear(mm, MN_INVALIDATE_RANGE_END, hvn, end);
  }
  x.splitHugePage(head, isolated ? 1 : 0);
  for (const visit of visits) lockParts(visit, head);
  return true;
}

/** try_to_migrate_one(): small ptes are cleared one by one (ptep_clear_flush()); those of PROT_NONE are in no TLB. */
function flushParts({ mm, hvn, end, page }: FolioVisit, head: number): void {
  for (let i = 0; i < end - hvn; i++) {
    const pte = mm.host.core.x.hpteGet(mm.id, hvn + i) >>> 0;
    if ((pte & abi.HPTE_PROTNONE) !== 0 || !mapsPage(pte, head + page + i)) continue;
    mm.flushTlb(hvn + i, hvn + i + 1);
  }
}

/** remove_migration_pte: what a locked area maps again is locked, each page of its own now. */
function lockParts({ mm, hvn, end, page }: FolioVisit, head: number): void {
  const { x } = mm.host.core;
  if (((mm.findVma(hvn)?.flags ?? 0) & VM_LOCKED) === 0) return;
  for (let i = 0; i < end - hvn; i++) {
    const pfn = head + page + i;
    const pte = x.hpteGet(mm.id, hvn + i) >>> 0;
    if (mapsPage(pte, pfn)) x.lruSetFlags(pfn, abi.PG_UNEVICTABLE, abi.PG_ACTIVE);
  }
}

function notifyClear(mm: Mm, op: number, start: number, end: number): void {
  if (mm.hooks !== '6.x') return;
  mm.runNested((t, at) => mm.notifiers.call(t, at), op, start, end, abi.MMU_NOTIFY_CLEAR);
}

/** Tells the notifiers of a 6.x kernel that 512 pages are cleared: MN_INVALIDATE_RANGE_START or _END. */
export function notifyHuge(mm: Mm, op: number, hvn: number): void {
  notifyClear(mm, op, hvn, hvn + abi.HPAGE_PMD_NR);
}

/** Where a compound page is mapped: an address space and the page at which its head would be. */
export function folioMappings(host: Host, head: number): { mm: Mm; hvn: number }[] {
  const { x } = host.core;
  const places: { mm: Mm; hvn: number }[] = [];
  for (let i = 0; i < abi.HPAGE_PMD_NR; i++) {
    const maps = x.pageMapcount(head + i);
    for (let j = 0; j < maps; j++) {
      const mm = host.mm(x.rmapMm(head + i, j));
      const hvn = x.rmapHvn(head + i, j) - i;
      if (!places.some((place) => place.mm === mm && place.hvn === hvn)) places.push({ mm, hvn });
    }
  }
  return places;
}
