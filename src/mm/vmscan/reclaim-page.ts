// The reclaim of one page (one round of shrink_page_list): swap slot, unmap every pte with the notifier
// calls of the generation, write if dirty, free.
//
// v3: try_to_unmap → ptep_clear_flush → invalidate_page, under the page-table lock, after the pte is
// gone and before the page is freed. 6.x: invalidate_range_start and _end around each pte.

import * as abi from '../../../assembly/abi.ts';
import { lockPage, lockPte, lockRmap } from '../../sched/locks.ts';
import type { Task } from '../../sched/task.ts';
import { COUNTER_SLOTS } from '../../stats/stats.ts';
import type { Host } from '../host.ts';
import { RECLAIM_ACTIVATE, RECLAIM_SPLIT, reclaimHuge } from '../huge-reclaim.ts';
import { arrangeMerged, isMerged, mergedInVain } from '../ksm-walk.ts';
import type { Mm } from '../mm.ts';
import {
  MN_INVALIDATE_PAGE,
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
} from '../mmu-notifier.ts';
import { visitedInVain } from '../rmap-areas.ts';
import { notifyRange } from '../unmap.ts';
import { ptepClearFlushYoung } from './referenced.ts';

// Arguments and locals.
const PFN = 1;
const MM = 2;
const HVN = 3;
const UNMAPPED = 4;
const RESULT = 5;
/** HOOKS_* of the mm. */
const HOOKS = 6;
const CALLEE = 7;

const HOOKS_NONE = 0;
const HOOKS_PAGE = 1;
/** As HOOKS_PAGE, and MADV_FREE was called on the page. */
const HOOKS_LAZY = 2;
const HOOKS_6 = 3;

// Program counters.
const START = 0;
const LOCK = 1;
const MAPPING = 2;
const RECHECK = 3;
const RANGE_START = 4;
const CLEAR = 5;
const CLEARED = 6;
const RANGE_END = 7;
const WRITE = 8;
const FREE = 9;
const RMAP = 10;
const CLEAR_DONE = 11;
const LAZY = 12;
const UNMAP = 13;

const GIVE_UP = 14;

/** Result bit of reclaimPage() beside RECLAIM_* and RECLAIM_ACTIVATE: the page was a huge one, 512 pages are free. */
export const RECLAIM_HUGE = 0x800;
/** Result bit: the device failed the write. */
export const RECLAIM_IO_ERROR = 0x200;

/** Reclaims the isolated page s[at + 1]. Result: RECLAIM_* bits; without RECLAIM_FREED it is still there. */
export function reclaimPage(t: Task, at: number, host: Host): boolean {
  const s = t.stack;
  for (;;) {
    switch (s[at]) {
      case START:
        if (host.thp !== 'never' && isHuge(host, s[at + PFN] as number)) {
          const result = reclaimHuge(host, s[at + PFN] as number, shadowKind(host));
          const whole = (result & abi.RECLAIM_FREED) !== 0 ? RECLAIM_HUGE : 0;
          if (result !== RECLAIM_SPLIT) return t.done(at, result | whole);
        }
        if (t.straight && plain(t, at, host)) return true;
        s[at + RESULT] = 0;
        s[at + MM] = 0;
        unmapInVain(host, s[at + PFN] as number);
        s[at] = LOCK;
      case LOCK:
        if (!t.tryLock(lockPage(s[at + PFN] as number))) return t.done(at, abi.RECLAIM_PINNED);
        s[at] = MAPPING;
      case MAPPING:
        if (!nextMapping(s, at, host)) continue;
      case RMAP:
        if (!t.lockShared(at, RMAP, lockRmap(s[at + MM] as number))) return false;
        s[at] = RECHECK;
      case RECHECK:
        if (host.generation.recheckYoung && host.policy.rechecks === true) {
          if (!ptepClearFlushYoung(t, at + CALLEE, host)) return false;
          if ((t.result & 1) !== 0) {
            t.unlockShared(lockRmap(s[at + MM] as number));
            return unlockDone(t, at, RECLAIM_ACTIVATE);
          }
        }
        host.emit(abi.EVENT_TRY_TO_UNMAP_ONE, s[at + HVN]);
        s[at] = CLEAR;
        if (s[at + HOOKS] !== HOOKS_6) continue;
        notify(s, at, MN_INVALIDATE_RANGE_START);
        s[at] = RANGE_START;
      case RANGE_START:
        if (!call(t, at, host)) return false;
        s[at] = CLEAR;
      case CLEAR:
        if (!t.lock(at, CLEAR, lockPte(s[at + MM] as number))) return false;
        s[at] = UNMAP;
        if (s[at + HOOKS] !== HOOKS_LAZY) continue;
        notify(s, at, MN_INVALIDATE_PAGE);
        s[at] = LAZY;
      case LAZY:
        // A lazily freed page is dropped unless it is dirty: only the sptes may know that it is, so
        // with hooks for single pages they go before the pte does.
        if (!call(t, at, host)) return false;
        s[at] = UNMAP;
      case UNMAP:
        unmap(s, at, host);
        if (s[at] === CLEARED) continue;
        t.unlock(lockPte(s[at + MM] as number));
        continue;
      case CLEARED:
        if (!call(t, at, host)) return false;
        t.unlock(lockPte(s[at + MM] as number));
        s[at] = CLEAR_DONE;
      case CLEAR_DONE:
        if (s[at + HOOKS] === HOOKS_6) notify(s, at, MN_INVALIDATE_RANGE_END);
        s[at] = RANGE_END;
      case RANGE_END:
        if (s[at + HOOKS] === HOOKS_6 && !call(t, at, host)) return false;
        t.unlockShared(lockRmap(s[at + MM] as number));
        if (s[at + UNMAPPED] === abi.UNMAP_DIRTY) return unlockDone(t, at, RECLAIM_ACTIVATE);
        s[at] = s[at + UNMAPPED] === abi.UNMAP_MORE ? MAPPING : WRITE;
        continue;
      case WRITE:
        if (t.preempt(at, FREE, 'shrink_page_list: write and free the page')) return false;
      case FREE:
        s[at + RESULT] = (s[at + RESULT] as number) | writeAndFree(s, at, host);
        return unlockDone(t, at, s[at + RESULT] as number);
      default:
        return unlockDone(t, at, s[at + RESULT] as number);
    }
  }
}

/**
 * A straight run for a page that is mapped once, under hooks for single pages or none: slot and pte go
 * in one call of the core, then the notifiers hear of it, then the page is written and freed. False: it
 * is not that plain, and nothing was done.
 */
function plain(t: Task, at: number, host: Host): boolean {
  const { core, generation, policy, aging, swap, disk } = host;
  const rechecks = generation.recheckYoung && policy.rechecks === true;
  if (rechecks || core.tracing || aging.hooks === '6.x' || swap.mayFail || disk.mayFail)
    return false;
  const s = t.stack;
  const hvn = core.x.reclaimUnmap(s[at + PFN] as number) >>> 0;
  if (hvn === abi.RECLAIM_NO_MAPPING) return false;
  if (hvn === abi.RECLAIM_NO_SWAP) return t.done(at, abi.RECLAIM_SWAP_FULL | RECLAIM_ACTIVATE);
  s[at + MM] = host.out(0);
  s[at + HVN] = hvn;
  if (aging.hooks !== 'none') {
    notify(s, at, MN_INVALIDATE_PAGE);
    call(t, at, host);
  }
  return t.done(at, writeAndFree(s, at, host));
}

/**
 * try_to_unmap_one() in areas that do not map the page any more, which come before the one that does: in 6.x their
 * notifiers are called all the same. The walk over one of KSM's pages looks in vain between its mappings, too.
 */
function unmapInVain(host: Host, pfn: number): void {
  if (isMerged(host, pfn)) return arrangeMerged(host, pfn);
  const shared = host.mms.length > 2 || host.core.tracing;
  if (shared) unmapNothing(host, visitedInVain(host, pfn));
}

/** try_to_unmap_one() where the page is not mapped. */
function unmapNothing(host: Host, visits: readonly { mm: Mm; hvn: number }[]): void {
  for (const { mm, hvn } of visits) {
    host.emit(abi.EVENT_TRY_TO_UNMAP_ONE, hvn);
    if (mm.hooks !== '6.x') continue;
    for (const op of [MN_INVALIDATE_RANGE_START, MN_INVALIDATE_RANGE_END]) {
      mm.runNested((t, at) => mm.notifiers.call(t, at), op, hvn, hvn + 1, abi.MMU_NOTIFY_CLEAR);
    }
  }
}

function isAnon(host: Host, pfn: number): boolean {
  return (host.core.x.pageFlags(pfn) & abi.PG_ANON) !== 0;
}

function isHuge(host: Host, pfn: number): boolean {
  return (host.core.x.pageFlags(pfn) & abi.PG_HUGE) !== 0;
}

/** Prepares the next mapping that is to go; false when none is left, or it can't. */
function nextMapping(s: Int32Array, at: number, host: Host): boolean {
  const pfn = s[at + PFN] as number;
  const hvn = host.core.x.reclaimNext(pfn) >>> 0;
  if (hvn === abi.RECLAIM_NO_MAPPING) {
    s[at] = WRITE;
    return false;
  }
  if (hvn === abi.RECLAIM_NO_SWAP) {
    s[at + RESULT] = abi.RECLAIM_SWAP_FULL | RECLAIM_ACTIVATE;
    s[at] = GIVE_UP;
    return false;
  }
  const mm = host.out(0);
  s[at + HOOKS] = hooksOf(host, mm);
  if (isMerged(host, pfn)) unmapNothing(host, mergedInVain(host, pfn, mm, hvn));
  s[at + MM] = mm;
  s[at + HVN] = hvn;
  s[at + CALLEE] = 0;
  s[at + CALLEE + 1] = pfn;
  s[at + CALLEE + 2] = 0;
  s[at] = RMAP;
  return true;
}

/** HOOKS_* for the page whose flags reclaimNext() left. */
function hooksOf(host: Host, mm: number): number {
  const { hooks } = host.mm(mm);
  if (hooks === '6.x') return HOOKS_6;
  if (hooks === 'none') return HOOKS_NONE;
  const lazy = (host.out(1) & (abi.PG_ANON | abi.PG_SWAPBACKED)) === abi.PG_ANON;
  return lazy ? HOOKS_LAZY : HOOKS_PAGE;
}

/** Whether ptep_clear_flush() tells secondary TLBs: ptes of PROT_NONE are in no TLB (pte_accessible). */
function flushesTlb(s: Int32Array, at: number, host: Host): boolean {
  const mm = host.mm(s[at + MM] as number);
  if (!mm.notifiers.withFlushes) return false;
  return (host.core.x.hpteGet(mm.id, s[at + HVN] as number) & abi.HPTE_PROTNONE) === 0;
}

/** Clears the pte; goes on at CLEARED when a notifier is to hear of it, else at CLEAR_DONE. */
function unmap(s: Int32Array, at: number, host: Host): void {
  const flushes = flushesTlb(s, at, host);
  const unmapped = host.core.x.tryToUnmapOne(s[at + PFN] as number);
  s[at + UNMAPPED] = unmapped;
  s[at] = CLEAR_DONE;
  if (flushes && unmapped !== abi.UNMAP_NONE) {
    notify(s, at, MN_INVALIDATE_RANGE);
    s[at] = CLEARED;
    return;
  }
  if (host.mm(s[at + MM] as number).notifiers.withFlushes) return;
  // A lazily freed page that was written again stays mapped.
  if (unmapped === abi.UNMAP_NONE || unmapped === abi.UNMAP_DIRTY || s[at + HOOKS] === HOOKS_NONE)
    return;
  // A page of a file can't be replaced before the range ends; an anonymous one is swapped by then.
  if (s[at + HOOKS] === HOOKS_6 && !isAnon(host, s[at + PFN] as number)) return;
  notify(s, at, s[at + HOOKS] === HOOKS_6 ? MN_INVALIDATE_RANGE : MN_INVALIDATE_PAGE);
  s[at] = CLEARED;
}

function unlockDone(t: Task, at: number, result: number): true {
  t.unlock(lockPage(t.stack[at + PFN] as number));
  return t.done(at, result);
}

function notify(s: Int32Array, at: number, op: number): void {
  const hvn = s[at + HVN] as number;
  notifyRange(s, at + CALLEE, op, hvn, hvn + 1, abi.MMU_NOTIFY_CLEAR);
}

function call(t: Task, at: number, host: Host): boolean {
  return host.mm(t.stack[at + MM] as number).notifiers.call(t, at + CALLEE);
}

/** Which shadow an evicted page leaves (pageoutFree). */
export function shadowKind(host: Host): number {
  if (!host.generation.workingset) return 0;
  return host.reclaimsForAll ? 3 : 1;
}

/** Writes the page if it is dirty, and frees it if nobody else holds it. RECLAIM_* bits. */
function writeAndFree(s: Int32Array, at: number, host: Host): number {
  const pfn = s[at + PFN] as number;
  if (host.swap.nextWriteFails() || host.disk.nextWriteFails()) {
    const error = failWrite(host, pfn);
    if (error !== 0) return error;
  }
  const done = host.core.x.pageoutFree(pfn, shadowKind(host), 0);
  if (done & abi.RECLAIM_WROTE) {
    const swapped = (host.out(1) & (abi.PG_ANON | abi.PG_SWAPBACKED)) !== 0;
    (swapped ? host.swap : host.disk).write(host.out(0));
  }
  if (done & abi.RECLAIM_FREED) {
    const wrote = (done & abi.RECLAIM_WROTE) !== 0;
    const { hooks } = host;
    if (hooks.evicted !== undefined) {
      hooks.evicted(s[at + MM] as number, s[at + HVN] as number, wrote);
    }
  }
  return done;
}

/** The page stays dirty in its cache and is activated (end_swap_bio_write: SetPageError). */
function failWrite(host: Host, pfn: number): number {
  const { x } = host.core;
  const flags = x.pageFlags(pfn);
  const device = flags & (abi.PG_ANON | abi.PG_SWAPBACKED) ? host.swap : host.disk;
  if ((flags & abi.PG_DIRTY) === 0 || !device.nextWriteFails()) return 0;
  device.write(0);
  x.statBump(COUNTER_SLOTS.swap_io_errors, 1);
  return RECLAIM_IO_ERROR;
}
