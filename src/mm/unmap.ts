// Unmapping: zap_page_range, unmap_region, exit_mmap, and the same for hugetlb, with the notifier calls
// where each generation makes them.
//
// v3: the ptes go, the TLB is flushed, the pages are freed (tlb_finish_mmu), and only then
// invalidate_range is called. Since 2.6.27 invalidate_range_start comes before and _end after the ptes
// go, and the pages are freed last. hugetlb's unmap in v3 calls invalidate_range before the pages are
// put.

import * as abi from '../../assembly/abi.ts';
import { lockMmap, lockPte } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import { cutAreas, isAllHuge, splitHugePmd } from './huge-memory.ts';
import type { Mm } from './mm.ts';
import {
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';
import { lockedPages, munlockMapped } from './munlock.ts';
import { FLUSH_HUGE } from './notifier-ops.ts';
import { VM_HUGETLB, vmasWithin, vmasWithout } from './vma.ts';

// Arguments and locals.
const START = 1;
const END = 2;
const EVENT = 3;
/** 1: hugetlb pages. */
const HUGETLB = 4;
const CURSOR = 5;
/** The range of ptes that were present (tlb->start, tlb->end). */
const FIRST = 6;
const LAST = 7;
/** ZAP_*: why zapRange() stopped. */
const WHY = 8;
/** 1: small ptes are among those of the range. */
const SMALL = 9;
const CALLEE = 10;

// Program counters beside the plain sequence.
const SPLIT = 6;
const FLUSH = 7;

/** Writes the arguments of a notifier call for a range. */
export function notifyRange(
  s: Int32Array,
  callee: number,
  op: number,
  start: number,
  end: number,
  event: number,
): void {
  s[callee] = 0;
  s[callee + 1] = op;
  s[callee + 2] = start;
  s[callee + 3] = end;
  s[callee + 4] = event;
}

function notify(s: Int32Array, at: number, op: number): void {
  const event = s[at + EVENT] as number;
  notifyRange(s, at + CALLEE, op, s[at + START] as number, s[at + END] as number, event);
}

/**
 * Unmaps [s[at + 1], s[at + 2]) and frees the pages; s[at + 3] = MMU_NOTIFY_*, s[at + 4] = 1 for
 * hugetlb. Called by madvise(DONTNEED), munmap (unmap_region), mmap over, mremap.
 */
export function zapPageRange(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const { x } = mm.host.core;
  const { ranged } = mm;
  const early = ranged || s[at + HUGETLB] === 1;
  for (;;) {
    switch (s[at]) {
      case 0:
        s[at + CURSOR] = s[at + START] as number;
        s[at + LAST] = 0;
        notify(s, at, MN_INVALIDATE_RANGE_START);
        s[at] = 1;
      case 1:
        if (ranged && !mm.notifiers.call(t, at + CALLEE)) return false;
        s[at] = 2;
      case 2:
        if (!t.lock(at, 2, lockPte(mm.id))) return false;
        zapSome(t, at, mm);
        t.unlock(lockPte(mm.id));
        s[at] = goesOn(s, at, mm);
        if (s[at] !== 3) continue;
        notify(s, at, mm.hooks === 'v3' ? MN_INVALIDATE_RANGE : MN_INVALIDATE_RANGE_END);
        if (t.preempt(at, 3, 'zap_page_range: the ptes are cleared')) return false;
      case 3:
        // Since 2.6.27 (and for hugetlb in v3) the notifiers hear of it before the pages are free.
        if (early && mm.hooks !== 'none' && !mm.notifiers.call(t, at + CALLEE)) return false;
        if (s[at + EVENT] === abi.MMU_NOTIFY_UNMAP) widenByTables(s, at, mm);
        notify(s, at, MN_INVALIDATE_RANGE);
        s[at + CALLEE + 2] = s[at + FIRST] as number;
        s[at + CALLEE + 3] = s[at + LAST] as number;
        bySize(s, at, mm);
        s[at] = 4;
      case 4:
        if (mm.hooks === '6.x' && (s[at + LAST] as number) > 0) {
          if (!mm.notifiers.call(t, at + CALLEE)) return false;
        }
        x.gatherFree(t.id);
        if ((s[at + CURSOR] as number) < (s[at + END] as number)) {
          s[at + LAST] = 0;
          notify(s, at, MN_INVALIDATE_RANGE_START);
          s[at] = 1;
          continue;
        }
        notify(s, at, MN_INVALIDATE_RANGE);
        if (t.preempt(at, 5, 'tlb_finish_mmu: the pages are free')) return false;
      case 5:
        if (!early && mm.hooks !== 'none' && !mm.notifiers.call(t, at + CALLEE)) return false;
        return t.done(at, 0);
      case SPLIT:
        if (!splitHugePmd(t, at + CALLEE, mm)) return false;
        s[at] = 2;
        continue;
      case FLUSH:
        // tlb_flush_mmu() inside the walk.
        if ((s[at + LAST] as number) > 0 && !mm.notifiers.call(t, at + CALLEE)) return false;
        x.gatherFree(t.id);
        s[at + LAST] = 0;
        s[at] = 2;
        continue;
    }
  }
}

/** Where the walk goes on after zapSome(): 3 when it is done, or when a generation ends it here. */
function goesOn(s: Int32Array, at: number, mm: Mm): number {
  if (s[at + WHY] === abi.ZAP_SPLIT) {
    s[at + CALLEE] = 0;
    s[at + CALLEE + 1] = s[at + CURSOR] as number;
    s[at + CALLEE + 2] = 0;
    return SPLIT;
  }
  const done = (s[at + CURSOR] as number) >= (s[at + END] as number);
  if (mm.hooks !== '6.x' || (done && s[at + WHY] !== abi.ZAP_FLUSH)) return 3;
  notify(s, at, MN_INVALIDATE_RANGE);
  s[at + CALLEE + 2] = s[at + FIRST] as number;
  s[at + CALLEE + 3] = s[at + LAST] as number;
  bySize(s, at, mm);
  return FLUSH;
}

/** A flush of huge ptes alone counts by their size (tlb_get_unmap_shift()). */
function bySize(s: Int32Array, at: number, mm: Mm): void {
  if (mm.notifiers.withFlushes && s[at + SMALL] === 0) s[at + CALLEE + 4] = FLUSH_HUGE;
}

/** Clears ptes, area by area (unmap_vmas), until the gather is full or there is to be a flush. */
function zapSome(t: Task, at: number, mm: Mm): void {
  const s = t.stack;
  const end = s[at + END] as number;
  for (;;) {
    const stop = mm.hooks === '6.x' ? areaEnd(mm, s[at + CURSOR] as number, end) : end;
    zapArea(t, at, mm, stop);
    const through = s[at + WHY] === abi.ZAP_FULL && s[at + CURSOR] === stop;
    if (!through || stop === end) return;
  }
}

/** Where the first area in [hvn, end) ends. */
function areaEnd(mm: Mm, hvn: number, end: number): number {
  const next = mm.vmas.find((vma) => vma.end > hvn);
  return next === undefined ? end : Math.min(next.end, end);
}

/** Clears ptes up to `end`, and notes which were present. */
function zapArea(t: Task, at: number, mm: Mm, end: number): void {
  const s = t.stack;
  const { host } = mm;
  const eager = mm.hooks === '6.x' ? 1 : 0;
  const huge =
    mm.notifiers.withFlushes && isAllHuge(mm, s[at + CURSOR] as number, s[at + END] as number);
  if (s[at + LAST] === 0) s[at + SMALL] = 0;
  const locked = eager ? lockedPages(mm, s[at + CURSOR] as number, end) : [];
  s[at + CURSOR] = host.core.x.zapRange(mm.id, s[at + CURSOR] as number, end, t.id, eager);
  // The gather holds what nobody maps any more.
  for (const [hvn, pfn] of locked) if (hvn < (s[at + CURSOR] as number)) munlockMapped(mm, pfn);
  s[at + WHY] = host.out(2);
  if (host.out(1) === 0) return;
  if (!huge) s[at + SMALL] = 1;
  if (s[at + LAST] === 0) s[at + FIRST] = host.out(0);
  s[at + LAST] = host.out(1);
}

/** Page tables that are freed too are flushed with the ptes (__tlb_adjust_range in pte_free_tlb). */
function widenByTables(s: Int32Array, at: number, mm: Mm): void {
  if (mm.hooks !== '6.x' || (s[at + CURSOR] as number) < (s[at + END] as number)) return;
  for (const table of mm.tablesFreed(s[at + START] as number, s[at + END] as number)) {
    const none = s[at + LAST] === 0;
    s[at + FIRST] = none ? table : Math.min(s[at + FIRST] as number, table);
    s[at + LAST] = Math.max(s[at + LAST] as number, table + 1);
  }
}

/** munmap of [s[at + 1], s[at + 2]), with the mmap_lock held for writing. */
export function munmapRange(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  switch (s[at]) {
    case 0:
      if (!t.lock(at, 0, lockMmap(mm.id))) return false;
      s[at + CALLEE] = 0;
      s[at + CALLEE + START] = s[at + START] as number;
      s[at + CALLEE + END] = s[at + END] as number;
      s[at] = 1;
    case 1:
      if (!unmapAreas(t, at + CALLEE, mm)) return false;
      t.unlock(lockMmap(mm.id));
  }
  return t.done(at, 0);
}

/**
 * The pages of the areas in [s[at + 1], s[at + 2]) go, then the areas (do_munmap): in one run over all
 * areas, holes included (unmap_vmas), unless hugetlb is among them.
 */
export function unmapAreas(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const end = s[at + END] as number;
  for (;;) {
    switch (s[at]) {
      case 0:
        cutAreas(mm, mm.vmas, s[at + START] as number, end);
        // unmap_region().
        if (vmasWithin(mm.vmas, s[at + START] as number, end).length > 0)
          mm.host.core.x.lruAddDrain();
        s[at + CURSOR] = s[at + START] as number;
        s[at] = 1;
      case 1: {
        const start = s[at + CURSOR] as number;
        const parts = vmasWithin(mm.vmas, start, end);
        const [part] = parts;
        if (part === undefined) {
          mm.vmas = vmasWithout(mm.vmas, s[at + START] as number, end);
          freeTables(mm, s[at + START] as number, end);
          return t.done(at, 0);
        }
        const huge = parts.some(({ flags }) => (flags & VM_HUGETLB) !== 0);
        s[at + CURSOR] = huge ? part.end : end;
        s[at + CALLEE] = 0;
        s[at + CALLEE + START] = huge ? part.start : start;
        s[at + CALLEE + END] = s[at + CURSOR] as number;
        s[at + CALLEE + EVENT] = abi.MMU_NOTIFY_UNMAP;
        s[at + CALLEE + HUGETLB] = part.flags & VM_HUGETLB ? 1 : 0;
        s[at] = 2;
      }
      case 2:
        if (!zapPageRange(t, at + CALLEE, mm)) return false;
        s[at] = 1;
    }
  }
}

/** Pages of a pud entry: 1 GiB. */
const PUD_PAGES = abi.HPAGE_PMD_NR * abi.HPAGE_PMD_NR;

/** free_pgtables(): empty tables go that serve no other area. */
function freeTables(mm: Mm, start: number, end: number): void {
  if (mm.host.thp === 'never') return;
  const { x } = mm.host.core;
  const before = mm.vmas.findLast((vma) => vma.end <= start)?.end ?? 0;
  const after = mm.vmas.find((vma) => vma.start >= end)?.start ?? abi.HVN_LIMIT;
  /** Where tables of so many pages serve nobody else. */
  const alone = (pages: number): [floor: number, ceiling: number] => [
    Math.max(Math.floor(start / pages), Math.ceil(before / pages)) * pages,
    Math.min(Math.ceil(end / pages), Math.floor(after / pages)) * pages,
  ];
  x.hpteFreeTables(mm.id, ...alone(abi.HPAGE_PMD_NR));
  x.hpmdFreeTables(mm.id, ...alone(PUD_PAGES));
}

/** Ends an mm: all of it is unmapped, then the notifiers are released (exit_mmap). */
export function exitMmap(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const { x } = mm.host.core;
  // v3 releases after tlb_finish_mmu; since 2.6.27 release comes first.
  const releaseFirst = mm.hooks !== 'v3';
  for (;;) {
    switch (s[at]) {
      case 0:
        s[at + CALLEE] = 0;
        s[at + CURSOR] = 0;
        s[at] = 1;
      case 1:
        if (releaseFirst && mm.hooks !== 'none' && !mm.notifiers.release(t, at + CALLEE))
          return false;
        s[at] = 2;
      case 2:
        if (!t.lock(at, 2, lockPte(mm.id))) return false;
        s[at + CURSOR] = x.zapRange(mm.id, s[at + CURSOR] as number, abi.HVN_LIMIT, t.id, 0);
        t.unlock(lockPte(mm.id));
        x.gatherFree(t.id);
        if ((s[at + CURSOR] as number) < abi.HVN_LIMIT) continue;
        s[at + CALLEE] = 0;
        if (t.preempt(at, 3, 'exit_mmap: release the notifiers')) return false;
      case 3:
        if (!releaseFirst && !mm.notifiers.release(t, at + CALLEE)) return false;
        return t.done(at, 0);
    }
  }
}
