// The reclaim of one page on a straight run: swap slot, every pte with the notifier calls of the
// generation, write-back, freeing. The protocol is src/mm/vmscan/reclaim-page.ts.

import {
  CONTENT_PAGE,
  DEVICE_DISK,
  DEVICE_SWAP,
  NO_GFN,
  PG_ANON,
  PG_SWAPBACKED,
  RECLAIM_FREED,
  RECLAIM_NO_MAPPING,
  RECLAIM_NO_SWAP,
  RECLAIM_WROTE,
  STRAIGHT_CLOCK,
  STRAIGHT_HOOKS,
  STRAIGHT_HOOKS_PAGE,
  STRAIGHT_HOOKS_RANGE,
  STRAIGHT_RECHECKS,
  STRAIGHT_SHADOW,
  UNMAP_DIRTY,
  UNMAP_MORE,
  VERDICT_ACTIVATE,
  VERDICT_KEEP,
} from '../abi';
import { lockstepEvicted } from '../lockstep';
import { deviceWrite } from '../mm/device';
import { frameContent } from '../mm/frame';
import { pageFlags } from '../mm/lru';
import { outRead } from '../mm/memory';
import { pageoutFree, reclaimNext, tryToUnmapOne } from '../mm/vmscan';
import { spteLruOn, spteLruReclaimed } from '../mmu/spte_lru';
import { disturb } from '../mmu/settled_table';
import { Gfn, Hvn, Pfn } from '../types';
import { STRAIGHT, yardstickGfn } from './config';
import {
  callInvalidatePage,
  callInvalidateRange,
  callInvalidateRangeEnd,
  callInvalidateRangeStart,
} from './notifier';
import { ptepClearFlushYoung } from './referenced';

/** reclaimPage(): the page is gone. */
export const FREED: u32 = 0xffffffff;

/** Since noTableTaken() a page with bytes was evicted: it may be one of the guest's tables. */
export let tableTaken: bool = false;

/** From now on tableTaken says whether a table may have gone. */
export function noTableTaken(): void {
  tableTaken = false;
}

/** A page with bytes is evicted. */
function noteTableTaken(): void {
  tableTaken = true;
  disturb();
}

/** Unmaps one pte of a page, with the notifier calls that go with it; UNMAP_*. */
function unmapOne(pfn: Pfn, mm: u32, hvn: Hvn): u32 {
  const hooks = load<u32>(STRAIGHT, STRAIGHT_HOOKS);
  const flags = pageFlags(pfn);
  if (hooks == STRAIGHT_HOOKS_RANGE) {
    callInvalidateRangeStart(mm, hvn);
    const unmapped = tryToUnmapOne(pfn);
    // A page of a file can't be replaced before the range ends; an anonymous one is swapped by then.
    if ((flags & PG_ANON) != 0 && unmapped != UNMAP_DIRTY) callInvalidateRange(mm);
    callInvalidateRangeEnd(mm, hvn);
    return unmapped;
  }
  // A lazily freed page is dropped unless it is dirty, which the sptes alone may know.
  const lazy = (flags & (PG_ANON | PG_SWAPBACKED)) == PG_ANON;
  if (lazy && hooks == STRAIGHT_HOOKS_PAGE) callInvalidatePage(mm, hvn);
  const unmapped = tryToUnmapOne(pfn);
  if (unmapped != UNMAP_DIRTY && hooks == STRAIGHT_HOOKS_PAGE) callInvalidatePage(mm, hvn);
  return unmapped;
}

/** Writes an unmapped page if it is dirty, and frees it if nobody else holds it. */
function writeAndFree(pfn: Pfn, gfn: Gfn): u32 {
  const done = pageoutFree(pfn, load<u32>(STRAIGHT, STRAIGHT_SHADOW), 0);
  if ((done & RECLAIM_WROTE) != 0) {
    const swapped = (outRead(1) & (PG_ANON | PG_SWAPBACKED)) != 0;
    deviceWrite(swapped ? DEVICE_SWAP : DEVICE_DISK, outRead(0));
  }
  if ((done & RECLAIM_FREED) == 0) return VERDICT_KEEP;
  lockstepEvicted(gfn);
  // The hooks of the machine are where the shrinker of `spte-lru` hangs.
  if (spteLruOn && load<u32>(STRAIGHT, STRAIGHT_CLOCK) != 0) spteLruReclaimed(1);
  return FREED;
}

/** Reclaims an isolated page: FREED, or the VERDICT_* to put it back with. */
export function reclaimPage(pfn: Pfn): u32 {
  if ((frameContent(pfn) & CONTENT_PAGE) != 0) noteTableTaken();
  let gfn = NO_GFN;
  let unmapped = UNMAP_MORE;
  while (unmapped == UNMAP_MORE) {
    const hvn = reclaimNext(pfn);
    if (hvn == RECLAIM_NO_SWAP) return VERDICT_ACTIVATE;
    if (hvn == RECLAIM_NO_MAPPING) break;
    const mm = outRead(0);
    gfn = yardstickGfn(mm, hvn);
    const rechecks = load<u32>(STRAIGHT, STRAIGHT_RECHECKS) != 0;
    if (rechecks && (ptepClearFlushYoung(pfn, 0) & 1) != 0) return VERDICT_ACTIVATE;
    unmapped = unmapOne(pfn, mm, hvn);
    if (unmapped == UNMAP_DIRTY) return VERDICT_ACTIVATE;
  }
  return writeAndFree(pfn, gfn);
}
