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
import {
  MN_INVALIDATE_PAGE,
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
} from '../mmu-notifier.ts';
import { notifyRange } from '../unmap.ts';
import { ptepClearFlushYoung } from './referenced.ts';

// Arguments and locals.
const PFN = 1;
const MM = 2;
const HVN = 3;
const UNMAPPED = 4;
const RESULT = 5;
const CALLEE = 6;

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

/** Result bit of reclaimPage() beside RECLAIM_*: the page turned out referenced or can't be unmapped. */
export const RECLAIM_ACTIVATE = 0x100;
/** Result bit: the device failed the write. */
export const RECLAIM_IO_ERROR = 0x200;

/** Reclaims the isolated page s[at + 1]. Result: RECLAIM_* bits; without RECLAIM_FREED it is still there. */
export function reclaimPage(t: Task, at: number, host: Host): boolean {
  const s = t.stack;
  const { x } = host.core;
  for (;;) {
    switch (s[at]) {
      case START:
        s[at + RESULT] = 0;
        s[at] = LOCK;
      case LOCK: {
        const pfn = s[at + PFN] as number;
        if (!t.tryLock(lockPage(pfn))) return t.done(at, abi.RECLAIM_PINNED);
        if (x.addToSwap(pfn) === 0) {
          t.unlock(lockPage(pfn));
          return t.done(at, abi.RECLAIM_SWAP_FULL | RECLAIM_ACTIVATE);
        }
        s[at] = MAPPING;
      }
      case MAPPING:
        if (!nextMapping(s, at, host)) continue;
      case RMAP:
        if (!t.lockShared(at, RMAP, lockRmap(s[at + MM] as number))) return false;
        s[at] = RECHECK;
      case RECHECK:
        if (host.generation.recheckYoung) {
          if (!ptepClearFlushYoung(t, at + CALLEE, host)) return false;
          if (t.result !== 0) {
            t.unlockShared(lockRmap(s[at + MM] as number));
            return unlockDone(t, at, RECLAIM_ACTIVATE);
          }
        }
        notify(s, at, MN_INVALIDATE_RANGE_START);
        s[at] = RANGE_START;
      case RANGE_START:
        if (hooksOf(host, s, at) === '6.x' && !call(t, at, host)) return false;
        s[at] = CLEAR;
      case CLEAR:
        if (!t.lock(at, CLEAR, lockPte(s[at + MM] as number))) return false;
        if (x.pageMapcount(s[at + PFN] as number) === 0) {
          // It was unmapped by somebody else meanwhile.
          s[at + UNMAPPED] = 1;
          t.unlock(lockPte(s[at + MM] as number));
          s[at] = CLEAR_DONE;
          continue;
        }
        if (isLazilyFreed(host, s, at)) {
          notify(s, at, MN_INVALIDATE_PAGE);
          s[at] = LAZY;
          continue;
        }
        s[at] = UNMAP;
        continue;
      case LAZY:
        // A lazily freed page is dropped unless it is dirty: only the sptes may know that it is, so
        // with hooks for single pages they go before the pte does.
        if (!call(t, at, host)) return false;
        s[at] = UNMAP;
      case UNMAP:
        host.emit(abi.EVENT_TRY_TO_UNMAP_ONE, s[at + HVN]);
        s[at + UNMAPPED] = x.tryToUnmapOne(s[at + PFN] as number);
        notify(s, at, hooksOf(host, s, at) === '6.x' ? MN_INVALIDATE_RANGE : MN_INVALIDATE_PAGE);
        s[at] = CLEARED;
      case CLEARED:
        // A lazily freed page that was written again stays mapped.
        if (s[at + UNMAPPED] !== 0 && hooksOf(host, s, at) !== 'none' && !call(t, at, host)) {
          return false;
        }
        t.unlock(lockPte(s[at + MM] as number));
        s[at] = CLEAR_DONE;
      case CLEAR_DONE:
        notify(s, at, MN_INVALIDATE_RANGE_END);
        s[at] = RANGE_END;
      case RANGE_END:
        if (hooksOf(host, s, at) === '6.x' && !call(t, at, host)) return false;
        t.unlockShared(lockRmap(s[at + MM] as number));
        if (s[at + UNMAPPED] === 0) return unlockDone(t, at, RECLAIM_ACTIVATE);
        s[at] = MAPPING;
        continue;
      case WRITE:
        if (t.preempt(at, FREE, 'shrink_page_list: write and free the page')) return false;
      case FREE:
        s[at + RESULT] = (s[at + RESULT] as number) | writeAndFree(s, at, host);
        return unlockDone(t, at, s[at + RESULT] as number);
    }
  }
}

/** Prepares the next mapping that is to go; false (and on to WRITE) when none is left. */
function nextMapping(s: Int32Array, at: number, host: Host): boolean {
  const { x } = host.core;
  const pfn = s[at + PFN] as number;
  if (x.pageMapcount(pfn) === 0) {
    s[at] = WRITE;
    return false;
  }
  s[at + MM] = x.rmapMm(pfn, 0);
  s[at + HVN] = x.rmapHvn(pfn, 0);
  s[at + CALLEE] = 0;
  s[at + CALLEE + 1] = pfn;
  s[at + CALLEE + 2] = 0;
  s[at] = RMAP;
  return true;
}

/** Whether MADV_FREE was called on the page, and its secondary MMUs are told page by page. */
function isLazilyFreed(host: Host, s: Int32Array, at: number): boolean {
  const hooks = hooksOf(host, s, at);
  if (hooks === 'none' || hooks === '6.x') return false;
  const flags = host.core.x.pageFlags(s[at + PFN] as number);
  return (flags & abi.PG_ANON) !== 0 && (flags & abi.PG_SWAPBACKED) === 0;
}

function unlockDone(t: Task, at: number, result: number): true {
  t.unlock(lockPage(t.stack[at + PFN] as number));
  return t.done(at, result);
}

function hooksOf(host: Host, s: Int32Array, at: number): string {
  return host.mm(s[at + MM] as number).hooks;
}

function notify(s: Int32Array, at: number, op: number): void {
  const hvn = s[at + HVN] as number;
  notifyRange(s, at + CALLEE, op, hvn, hvn + 1, abi.MMU_NOTIFY_CLEAR);
}

function call(t: Task, at: number, host: Host): boolean {
  return host.mm(t.stack[at + MM] as number).notifiers.call(t, at + CALLEE);
}

/** Writes the page if it is dirty, and frees it if nobody else holds it. RECLAIM_* bits. */
function writeAndFree(s: Int32Array, at: number, host: Host): number {
  const { x } = host.core;
  const pfn = s[at + PFN] as number;
  const flags = x.pageFlags(pfn);
  const anon = (flags & abi.PG_ANON) !== 0;
  const swapcache = (flags & abi.PG_SWAPCACHE) !== 0;
  const device = anon ? host.swap : host.disk;
  if ((flags & abi.PG_DIRTY) !== 0 && device.nextWriteFails()) {
    // The page stays dirty in its cache and is activated (end_swap_bio_write: SetPageError).
    device.write(host.now, 0);
    x.statBump(COUNTER_SLOTS.swap_io_errors, 1);
    return RECLAIM_IO_ERROR;
  }
  const place = host.core.mem.load32((x.framePtr(pfn) >>> 0) + abi.FRAME_PRIVATE);
  const wrote = x.pageout(pfn);
  if (wrote & abi.RECLAIM_WROTE) {
    if (anon) host.emit(abi.EVENT_SWAP_WRITEPAGE, pfn);
    host.emit(abi.EVENT_VMSCAN_WRITE, pfn);
    const wait = device.write(host.now, place);
    if (wait > 0) host.wait(wait);
  }
  if (wrote & (abi.RECLAIM_PINNED | abi.RECLAIM_SWAP_FULL)) return wrote;
  const shadow = swapcache && host.generation.workingset ? x.workingsetEviction(pfn) : 0;
  const done = wrote | x.removeMapping(pfn, shadow);
  if (done & abi.RECLAIM_FREED) {
    if (wrote === 0) x.statBump(COUNTER_SLOTS.clean_drops, 1);
    host.hooks.evicted?.(s[at + MM] as number, s[at + HVN] as number, wrote !== 0);
  }
  return done;
}
