// madvise.

import * as abi from '../../assembly/abi.ts';
import { ERRNO, KvmError } from '../core/errors.ts';
import type { Task } from '../sched/task.ts';
import type { Host } from './host.ts';
import { isNormalPte } from './host-pte.ts';
import { cutAreas, isAllHuge } from './huge-memory.ts';
import { coldHuge, freeHuge, RECLAIM_ACTIVATE, splitForSmall } from './huge-reclaim.ts';
import { khugepagedEnter, madviseCollapse } from './khugepaged.ts';
import { unmerge } from './ksm.ts';
import type { Mm } from './mm.ts';
import {
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';
import { FLUSH_HUGE } from './notifier-ops.ts';
import { populate, willneed } from './populate.ts';
import { notifyRange } from './unmap.ts';
import {
  VM_DONTCOPY,
  VM_HUGEPAGE,
  VM_HUGETLB,
  VM_LOCKED,
  VM_MERGEABLE,
  VM_NOHUGEPAGE,
  VM_SHARED,
  type Vma,
  vmasFlagged,
  vmasWithin,
} from './vma.ts';
import { reclaimPage } from './vmscan/reclaim-page.ts';
import { pageReferenced } from './vmscan/referenced.ts';

/** The advice that the host mm knows. */
export type Advice =
  | 'dontneed'
  | 'cold'
  | 'pageout'
  | 'free'
  | 'willneed'
  | 'populate_read'
  | 'populate_write'
  | 'dontfork'
  | 'dofork'
  | 'mergeable'
  | 'unmergeable'
  | 'hugepage'
  | 'nohugepage'
  | 'collapse'
  | 'remove';

/** Advice that only changes flags of areas: which it sets and clears. */
const FLAG_ADVICE: Readonly<Partial<Record<Advice, readonly [set: number, clear: number]>>> = {
  dontfork: [VM_DONTCOPY, 0],
  dofork: [0, VM_DONTCOPY],
  mergeable: [VM_MERGEABLE, 0],
  unmergeable: [0, VM_MERGEABLE],
  hugepage: [VM_HUGEPAGE, VM_NOHUGEPAGE],
  nohugepage: [VM_NOHUGEPAGE, VM_HUGEPAGE],
};

/** Applies an advice to the mapped parts of [start, end). Result: 0, or -ENOMEM if there were holes. */
export function madvise(mm: Mm, start: number, end: number, advice: Advice): number {
  if (advice === 'collapse') return madviseCollapse(mm, start, end);
  const parts = vmasWithin(mm.vmas, start, end);
  let covered = 0;
  for (const part of parts) {
    covered += part.end - part.start;
    if (advice === 'populate_read' || advice === 'populate_write') {
      const result = populate(mm, part, advice === 'populate_write');
      const ends = result < 0 || part === parts.at(-1);
      if (ends && mm.host.generation.populatesWhole) mm.host.core.x.lruAddDrain();
      if (result < 0) return result;
      continue;
    }
    const flags = FLAG_ADVICE[advice];
    if (flags !== undefined) {
      adviseFlags(mm, part, advice, flags);
      continue;
    }
    if (part.flags & VM_LOCKED && advice !== 'willneed') return -ERRNO.EINVAL;
    if (advice === 'remove') {
      const result = removePages(mm, part);
      if (result < 0) return result;
      continue;
    }
    if (advice === 'free' && part.file !== 0) return -ERRNO.EINVAL;
    adviseArea(mm, part, advice);
  }
  return covered === end - start ? 0 : -ERRNO.ENOMEM;
}

/** Areas whose flags change; KSM begins, or gives its pages back (ksm_madvise). */
function adviseFlags(
  mm: Mm,
  part: Vma,
  advice: Advice,
  [set, clear]: readonly [number, number],
): void {
  const ksm = advice === 'mergeable' || advice === 'unmergeable';
  if (ksm && !mm.host.generation.ksm) {
    throw new KvmError('EINVAL', 'KSM came with Linux 2.6.32; this host is older');
  }
  if (ksm && (part.flags & (VM_SHARED | VM_HUGETLB)) !== 0) return;
  if (advice === 'mergeable') mm.host.ksm.enter(mm);
  if (advice === 'unmergeable' && (part.flags & VM_MERGEABLE) !== 0) unmerge(mm, part);
  if (((part.flags | set) & ~clear) === part.flags) return;
  // The area as it is before it is cut (hugepage_madvise).
  const whole = mm.findVma(part.start);
  if (advice === 'hugepage' && whole !== undefined) {
    khugepagedEnter(mm, { ...whole, flags: (whole.flags | set) & ~clear });
  }
  cutAreas(mm, mm.vmas, part.start, part.end);
  mm.vmas = vmasFlagged(mm.vmas, part.start, part.end, set, clear);
}

/**
 * MADV_REMOVE: a hole is punched into the file (shmem_fallocate): every mapping of it loses the pages, then
 * the file does. Copies that private mappings made stay.
 */
function removePages(mm: Mm, part: Vma): number {
  const { host } = mm;
  if (!host.shmemFiles.includes(part.file)) return -ERRNO.EINVAL;
  // vma_is_shared_maywrite(): files are opened for writing, so any shared mapping may come to write.
  if ((part.flags & VM_SHARED) === 0) return -ERRNO.EACCES;
  const end = part.pgoff + part.end - part.start;
  for (const other of host.mms) {
    for (const vma of other?.vmas ?? []) {
      if (vma.file !== part.file) continue;
      const from = Math.max(vma.start, vma.start + part.pgoff - vma.pgoff);
      const to = Math.min(vma.end, vma.start + end - vma.pgoff);
      if (from >= to || (vma.flags & VM_SHARED) === 0) continue;
      host.core.x.lruAddDrain();
      other?.zap({ ...vma, start: from, end: to }, abi.MMU_NOTIFY_CLEAR);
    }
  }
  host.core.x.shmemTruncate(part.file, part.pgoff, end);
  return 0;
}

function adviseArea(mm: Mm, part: Vma, advice: Advice): void {
  const { x } = mm.host.core;
  if (advice !== 'willneed') x.lruAddDrain();
  switch (advice) {
    case 'dontneed':
      mm.zap(part, abi.MMU_NOTIFY_CLEAR);
      return;
    case 'free':
      mm.run((t, at) => lazyFree(t, at, mm), part.start, part.end);
      return;
    case 'cold':
    case 'pageout':
      coldOrPageout(mm, part, advice === 'pageout');
      return;
    default:
      willneed(mm, part);
  }
}

// Arguments and locals of lazyFree().
const START = 1;
const END = 2;
const FIRST = 3;
const LAST = 4;
/** 1: small ptes are among those that changed. */
const SMALL = 5;
const CALLEE = 6;

/** MADV_FREE: the pages may be dropped unless they are written again. */
function lazyFree(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const { x } = mm.host.core;
  const start = s[at + START] as number;
  const end = s[at + END] as number;
  const { ranged } = mm;
  switch (s[at]) {
    case 0:
      notifyRange(s, at + CALLEE, MN_INVALIDATE_RANGE_START, start, end, abi.MMU_NOTIFY_CLEAR);
      s[at] = 1;
    case 1: {
      if (ranged && !mm.notifiers.call(t, at + CALLEE)) return false;
      let hvn = x.hpteNextMapped(mm.id, start, end) >>> 0;
      s[at + FIRST] = end;
      s[at + LAST] = 0;
      s[at + SMALL] = 0;
      while (hvn < end) {
        const [next, changed] = lazyFreeAt(mm, hvn, end);
        if (changed) {
          s[at + FIRST] = Math.min(s[at + FIRST] as number, hvn);
          s[at + LAST] = next;
          if (!isAllHuge(mm, hvn, next)) s[at + SMALL] = 1;
        }
        hvn = x.hpteNextMapped(mm.id, next, end) >>> 0;
      }
      const op = ranged ? MN_INVALIDATE_RANGE_END : MN_INVALIDATE_RANGE;
      notifyRange(s, at + CALLEE, op, start, end, abi.MMU_NOTIFY_CLEAR);
      if (t.preempt(at, 2, 'madvise_free: the ptes are clean')) return false;
    }
    case 2: {
      if (mm.hooks !== 'none' && !mm.notifiers.call(t, at + CALLEE)) return false;
      const first = s[at + FIRST] as number;
      const last = s[at + LAST] as number;
      if (mm.hooks !== '6.x' || last === 0) break;
      const huge = mm.notifiers.withFlushes && s[at + SMALL] === 0;
      const event = huge ? FLUSH_HUGE : abi.MMU_NOTIFY_CLEAR;
      notifyRange(s, at + CALLEE, MN_INVALIDATE_RANGE, first, last, event);
      s[at] = 3;
    }
    case 3:
      // tlb_finish_mmu: the ptes that changed are flushed.
      if (!mm.notifiers.call(t, at + CALLEE)) return false;
  }
  return t.done(at, 0);
}

/** MADV_FREE at one mapped page: where to go on, and whether the ptes up to there changed. */
function lazyFreeAt(mm: Mm, hvn: number, end: number): [next: number, changed: boolean] {
  const { x } = mm.host.core;
  const tableEnd = Math.min(end, (hvn | (abi.HPAGE_PMD_NR - 1)) + 1);
  if (mm.host.thp !== 'never') {
    if (x.hpmdGet(mm.id, hvn) !== 0) {
      const huge = freeHuge(mm, hvn, tableEnd);
      if (huge.kind === 'done') return [tableEnd, huge.changed];
      if (huge.kind === 'skip') return [tableEnd, false];
    }
    const pte = x.hpteGet(mm.id, hvn) >>> 0;
    const pfn = pte >>> abi.HPTE_PFN_SHIFT;
    const small = isNormalPte(pte);
    const part = small && (x.pageFlags(pfn) & abi.PG_HUGE) !== 0;
    const asked = mm.host.generation.freeAsksFirst ? x.folioOf(pfn) >>> 0 : pfn;
    if (part && splitForSmall(mm, pfn, asked).kind === 'skip') return [tableEnd, false];
  }
  const done = x.lazyFreeOne(mm.id, hvn);
  if ((done & abi.LAZYFREE_PAGE) !== 0) {
    x.markPageLazyfree(x.hpteGet(mm.id, hvn) >>> abi.HPTE_PFN_SHIFT);
  }
  return [hvn + 1, (done & abi.LAZYFREE_PTE) !== 0];
}

/**
 * MADV_COLD and MADV_PAGEOUT (madvise_cold_or_pageout_pte_range): pages that only this pte maps lose
 * young and referenced; cold ones are deactivated, the others are reclaimed in order of address.
 */
function coldOrPageout(mm: Mm, part: Vma, pageout: boolean): void {
  const { host } = mm;
  const { x } = host.core;
  const flush = { first: 0, last: 0, huge: mm.notifiers.withFlushes };
  const changed = (from: number, to: number): void => {
    if (flush.last === 0) flush.first = from;
    flush.last = to;
    if (to - from < abi.HPAGE_PMD_NR) flush.huge = false;
  };
  let hvn = x.hpteNextMapped(mm.id, part.start, part.end) >>> 0;
  while (hvn < part.end) {
    const end = Math.min(part.end, (hvn | (abi.HPAGE_PMD_NR - 1)) + 1);
    const isolated: number[] = [];
    const huge =
      host.thp === 'never' || x.hpmdGet(mm.id, hvn) === 0 ? null : coldHuge(mm, hvn, end, pageout);
    if (huge === null || huge.kind === 'small') coldTable(mm, hvn, end, pageout, isolated, changed);
    else if (huge.kind === 'done') {
      if (huge.changed) changed(hvn, end);
      if (huge.isolated !== 0) isolated.push(huge.isolated);
    }
    if (isolated.length > 0) pageoutList(host, isolated);
    hvn = x.hpteNextMapped(mm.id, end, part.end) >>> 0;
  }
  if (mm.hooks === '6.x' && flush.last > 0) {
    const { task } = host;
    const { first, last, huge } = flush;
    const event = huge ? FLUSH_HUGE : abi.MMU_NOTIFY_CLEAR;
    notifyRange(task.stack, 0, MN_INVALIDATE_RANGE, first, last, event);
    mm.notifiers.call(task, 0);
  }
}

/** The small ptes of one table; isolates what is to be reclaimed. */
function coldTable(
  mm: Mm,
  start: number,
  end: number,
  pageout: boolean,
  isolated: number[],
  changed: (from: number, to: number) => void,
): void {
  const { x } = mm.host.core;
  let hvn = start;
  for (; hvn < end; hvn = x.hpteNextMapped(mm.id, hvn + 1, end) >>> 0) {
    const pte = x.hpteGet(mm.id, hvn);
    if ((pte & abi.HPTE_PRESENT) === 0 || (pte & abi.HPTE_SWAP) !== 0) continue;
    const pfn = pte >>> abi.HPTE_PFN_SHIFT;
    if ((x.pageFlags(pfn) & abi.PG_HUGE) !== 0 && splitForSmall(mm, pfn).kind === 'skip') return;
    if (x.pageMapcount(pfn) !== 1) continue;
    const flags = x.pageFlags(pfn);
    if ((flags & abi.PG_LRU) === 0) continue;
    // Where references do not matter any more, the pte is left alone.
    const asks = !pageout || mm.host.generation.pageoutAsks;
    if (asks && x.hpteTestAndClearYoung(mm.id, hvn) === 1) changed(hvn, hvn + 1);
    x.lruSetFlags(pfn, 0, abi.PG_REFERENCED);
    if (!pageout) x.deactivatePage(pfn);
    if (!pageout || (flags & abi.PG_UNEVICTABLE) !== 0) continue;
    x.lruIsolate(pfn);
    isolated.push(pfn);
  }
}

/** Reclaims isolated pages in order unless they are referenced; the rest goes back (reclaim_pages). */
export function pageoutList(host: Host, pfns: readonly number[]): void {
  const kept: [pfn: number, verdict: number][] = [];
  host.reclaimsForAll = true;
  for (const pfn of pfns) {
    const verdict = pageoutOne(host, pfn);
    if (verdict >= 0) kept.push([pfn, verdict]);
  }
  host.reclaimsForAll = false;
  const { x } = host.core;
  for (const [pfn, verdict] of kept) {
    if (verdict === abi.VERDICT_ACTIVATE) x.lruSetFlags(pfn, abi.PG_ACTIVE, 0);
    x.lruPutbackBatched(pfn);
  }
}

/** Reclaims one isolated page; -1: it is gone, else VERDICT_* to put it back with. */
function pageoutOne(host: Host, pfn: number): number {
  const { x } = host.core;
  const t = host.task;
  x.lruSetFlags(pfn, 0, abi.PG_ACTIVE);
  if (host.generation.pageoutAsks) {
    t.stack[1] = pfn;
    t.stack[0] = 0;
    pageReferenced(t, 0, host);
    const verdict = x.checkReferences(pfn, t.result);
    if (verdict !== abi.VERDICT_RECLAIM) return verdict;
  }
  t.stack[1] = pfn;
  t.stack[0] = 0;
  reclaimPage(t, 0, host);
  if ((t.result & RECLAIM_ACTIVATE) !== 0) return abi.VERDICT_ACTIVATE;
  return (t.result & abi.RECLAIM_FREED) === 0 ? abi.VERDICT_KEEP : -1;
}
