// madvise.

import * as abi from '../../assembly/abi.ts';
import { ERRNO, KvmError } from '../core/errors.ts';
import type { Task } from '../sched/task.ts';
import type { Host } from './host.ts';
import { breakKsm } from './ksm.ts';
import type { Mm } from './mm.ts';
import {
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';
import { populate, willneed } from './populate.ts';
import { notifyRange } from './unmap.ts';
import {
  VM_DONTCOPY,
  VM_HUGETLB,
  VM_LOCKED,
  VM_MERGEABLE,
  VM_SHARED,
  type Vma,
  vmasFlagged,
  vmasWithin,
} from './vma.ts';
import { RECLAIM_ACTIVATE, reclaimPage } from './vmscan/reclaim-page.ts';
import { pageReferenced } from './vmscan/referenced.ts';
import { checkReferences } from './vmscan/two-list.ts';

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
  | 'unmergeable';

/** Advice that only changes flags of areas: which it sets and clears. */
const FLAG_ADVICE: Readonly<Partial<Record<Advice, readonly [set: number, clear: number]>>> = {
  dontfork: [VM_DONTCOPY, 0],
  dofork: [0, VM_DONTCOPY],
  mergeable: [VM_MERGEABLE, 0],
  unmergeable: [0, VM_MERGEABLE],
};

/** Applies an advice to the mapped parts of [start, end). Result: 0, or -ENOMEM if there were holes. */
export function madvise(mm: Mm, start: number, end: number, advice: Advice): number {
  if (advice === 'populate_read' || advice === 'populate_write') {
    return populate(mm, start, end, advice === 'populate_write');
  }
  const parts = vmasWithin(mm.vmas, start, end);
  let covered = 0;
  for (const part of parts) {
    covered += part.end - part.start;
    const flags = FLAG_ADVICE[advice];
    if (flags !== undefined) {
      adviseFlags(mm, part, advice, flags);
      continue;
    }
    if (part.flags & VM_LOCKED && advice !== 'willneed') return -ERRNO.EINVAL;
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
  if (advice === 'unmergeable' && (part.flags & VM_MERGEABLE) !== 0 && part.anon === true) {
    for (let hvn = part.start; hvn < part.end; hvn++) breakKsm(mm, hvn);
  }
  mm.vmas = vmasFlagged(mm.vmas, part.start, part.end, set, clear);
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
const CALLEE = 5;

/** MADV_FREE: the pages may be dropped unless they are written again. */
function lazyFree(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const { x } = mm.host.core;
  const start = s[at + START] as number;
  const end = s[at + END] as number;
  const ranged = mm.hooks === '2.6.27' || mm.hooks === '6.x';
  switch (s[at]) {
    case 0:
      notifyRange(s, at + CALLEE, MN_INVALIDATE_RANGE_START, start, end, abi.MMU_NOTIFY_CLEAR);
      s[at] = 1;
    case 1: {
      if (ranged && !mm.notifiers.call(t, at + CALLEE)) return false;
      let hvn = x.hpteNextMapped(mm.id, start, end) >>> 0;
      s[at + FIRST] = end;
      s[at + LAST] = 0;
      while (hvn < end) {
        const done = x.lazyFreeOne(mm.id, hvn);
        if ((done & abi.LAZYFREE_PAGE) !== 0) {
          x.markPageLazyfree(x.hpteGet(mm.id, hvn) >>> abi.HPTE_PFN_SHIFT);
        }
        if ((done & abi.LAZYFREE_PTE) !== 0) {
          s[at + FIRST] = Math.min(s[at + FIRST] as number, hvn);
          s[at + LAST] = hvn + 1;
        }
        hvn = x.hpteNextMapped(mm.id, hvn + 1, end) >>> 0;
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
      notifyRange(s, at + CALLEE, MN_INVALIDATE_RANGE, first, last, abi.MMU_NOTIFY_CLEAR);
      s[at] = 3;
    }
    case 3:
      // tlb_finish_mmu: the ptes that changed are flushed.
      if (!mm.notifiers.call(t, at + CALLEE)) return false;
  }
  return t.done(at, 0);
}

/**
 * MADV_COLD and MADV_PAGEOUT (madvise_cold_or_pageout_pte_range): pages that only this pte maps lose
 * young and referenced; cold ones are deactivated, the others are reclaimed in order of address.
 */
function coldOrPageout(mm: Mm, part: Vma, pageout: boolean): void {
  const { host } = mm;
  const { x } = host.core;
  const isolated: number[] = [];
  let first = 0;
  let last = 0;
  let hvn = x.hpteNextMapped(mm.id, part.start, part.end) >>> 0;
  for (; hvn < part.end; hvn = x.hpteNextMapped(mm.id, hvn + 1, part.end) >>> 0) {
    const pte = x.hpteGet(mm.id, hvn);
    if ((pte & abi.HPTE_PRESENT) === 0 || (pte & abi.HPTE_SWAP) !== 0) continue;
    const pfn = pte >>> abi.HPTE_PFN_SHIFT;
    if (x.pageMapcount(pfn) !== 1) continue;
    const flags = x.pageFlags(pfn);
    if ((flags & abi.PG_LRU) === 0) continue;
    if (x.hpteTestAndClearYoung(mm.id, hvn) === 1) {
      if (last === 0) first = hvn;
      last = hvn + 1;
    }
    x.lruSetFlags(pfn, 0, abi.PG_REFERENCED);
    if (!pageout) x.deactivatePage(pfn);
    if (!pageout || (flags & abi.PG_UNEVICTABLE) !== 0) continue;
    x.lruIsolate(pfn);
    isolated.push(pfn);
  }
  if (isolated.length > 0) pageoutList(host, isolated);
  if (mm.hooks === '6.x' && last > 0) {
    const { task } = host;
    notifyRange(task.stack, 0, MN_INVALIDATE_RANGE, first, last, abi.MMU_NOTIFY_CLEAR);
    mm.notifiers.call(task, 0);
  }
}

/** Reclaims isolated pages in order unless they are referenced; the rest goes back (reclaim_pages). */
export function pageoutList(host: Host, pfns: readonly number[]): void {
  const kept: [pfn: number, verdict: number][] = [];
  for (const pfn of pfns) {
    const verdict = pageoutOne(host, pfn);
    if (verdict >= 0) kept.push([pfn, verdict]);
  }
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
  t.stack[1] = pfn;
  t.stack[0] = 0;
  pageReferenced(t, 0, host);
  const verdict = checkReferences(host, pfn, t.result);
  if (verdict !== abi.VERDICT_RECLAIM) return verdict;
  t.stack[1] = pfn;
  t.stack[0] = 0;
  reclaimPage(t, 0, host);
  if ((t.result & RECLAIM_ACTIVATE) !== 0) return abi.VERDICT_ACTIVATE;
  return (t.result & abi.RECLAIM_FREED) === 0 ? abi.VERDICT_KEEP : -1;
}
