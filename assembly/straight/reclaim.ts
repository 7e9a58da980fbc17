// Direct reclaim of a straight run under an exact policy (FIFO, CLOCK): try_charge and its reclaim of
// one page at a time. The protocols are src/mm/host.ts: tryCharge, src/mm/vmscan/shrink.ts,
// referenced.ts and reclaim-page.ts; the policies fifo.ts and clock.ts.

import {
  CONTENT_PAGE,
  DEVICE_DISK,
  DEVICE_SWAP,
  FRAME_FLAGS,
  FRAME_MAPCOUNT,
  FRAME_MAPCOUNT_MASK,
  PG_ANON,
  PG_HUGE,
  PG_MM_SHIFT,
  PG_MULTIMAP,
  PG_SWAPBACKED,
  RECLAIM_FREED,
  RECLAIM_NO_SWAP,
  RECLAIM_WROTE,
  STRAIGHT_AGES,
  STRAIGHT_ANSWER_COUNTS,
  STRAIGHT_ASKS,
  STRAIGHT_ASK_ONLY_YOUNG,
  STRAIGHT_GFN_BASE,
  STRAIGHT_GFN_END,
  STRAIGHT_GFN_FIRST,
  STRAIGHT_HOOKS,
  STRAIGHT_HOOKS_PAGE,
  STRAIGHT_HOOKS_RANGE,
  STRAIGHT_LIMIT,
  STRAIGHT_LIST,
  STRAIGHT_MM,
  STRAIGHT_SHADOW,
  VERDICT_ACTIVATE,
  VERDICT_KEEP,
  VERDICT_ROTATE,
} from '../abi';
import { ALLOCSTALL, PGSCAN_DIRECT, PGSTEAL_DIRECT } from '../counters';
import { lockstepEvicted, lockstepTested } from '../lockstep';
import { deviceWrite } from '../mm/device';
import { frameContent, framePtr, framesCharged } from '../mm/frame';
import { lruIsolate, lruSize, lruTail, lruVerdict } from '../mm/lru';
import { outRead } from '../mm/memory';
import { pageoutFree, pageReferencedOne, reclaimNext, tryToUnmapOne } from '../mm/vmscan';
import { bump } from '../stats';
import { Gfn, Hvn, Pfn } from '../types';
import { STRAIGHT } from './config';
import {
  callAge,
  callInvalidatePage,
  callInvalidateRange,
  callInvalidateRangeEnd,
  callInvalidateRangeStart,
} from './notifier';

/** pageReferencedOne()'s young bit, and the hvn beside it. */
const YOUNG_SHIFT: u32 = 31;
const HVN_MASK: u32 = 0x3fffffff;
/** No gfn that the yardstick knows. */
const NO_GFN: u32 = 0xffffffff;

/** Since noTableTaken() a page with bytes was evicted: it may be one of the guest's tables. */
export let tableTaken: bool = false;

/** From now on tableTaken says whether a table may have gone. */
export function noTableTaken(): void {
  tableTaken = false;
}

/** The gfn of the yardstick behind a page of the guest's memory. */
export function yardstickGfn(hvn: Hvn): Gfn {
  const gfn = hvn - load<u32>(STRAIGHT, STRAIGHT_GFN_BASE);
  const known =
    gfn >= load<u32>(STRAIGHT, STRAIGHT_GFN_FIRST) && gfn < load<u32>(STRAIGHT, STRAIGHT_GFN_END);
  return known ? gfn : NO_GFN;
}

/** Whether a page is mapped once, in the guest's memory, and is none that reclaim treats apart. */
function isPlain(pfn: Pfn): bool {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & (PG_HUGE | PG_MULTIMAP)) != 0) return false;
  if ((flags & (PG_ANON | PG_SWAPBACKED)) == PG_ANON) return false;
  if ((load<u32>(page, FRAME_MAPCOUNT) & FRAME_MAPCOUNT_MASK) != 1) return false;
  return flags >> PG_MM_SHIFT == load<u32>(STRAIGHT, STRAIGHT_MM);
}

/** page_referenced of a page that is mapped once. */
function pageReferenced(pfn: Pfn): bool {
  const found = pageReferencedOne(pfn, 0);
  const hvn = found & HVN_MASK;
  let young: u32 = found >> YOUNG_SHIFT;
  const asks = young != 0 || load<u32>(STRAIGHT, STRAIGHT_ASK_ONLY_YOUNG) == 0;
  if (asks && load<u32>(STRAIGHT, STRAIGHT_AGES) != 0) {
    const answer = callAge(load<u32>(STRAIGHT, STRAIGHT_MM), hvn);
    if (load<u32>(STRAIGHT, STRAIGHT_ANSWER_COUNTS) != 0) young |= answer;
  }
  lockstepTested(yardstickGfn(hvn), young);
  return young != 0;
}

/** Unmaps an isolated page with the notifier calls that go with it; its hvn, or RECLAIM_NO_SWAP. */
function unmap(pfn: Pfn): Hvn {
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  const hooks = load<u32>(STRAIGHT, STRAIGHT_HOOKS);
  const hvn = reclaimNext(pfn);
  if (hvn == RECLAIM_NO_SWAP) return hvn;
  if (hooks == STRAIGHT_HOOKS_RANGE) callInvalidateRangeStart(mm, hvn);
  const anon = (load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_ANON) != 0;
  tryToUnmapOne(pfn);
  if (hooks == STRAIGHT_HOOKS_PAGE) callInvalidatePage(mm, hvn);
  if (hooks != STRAIGHT_HOOKS_RANGE) return hvn;
  // A page of a file can't be replaced before the range ends; an anonymous one is swapped by then.
  if (anon) callInvalidateRange();
  callInvalidateRangeEnd();
  return hvn;
}

/** Reclaims an isolated plain page; whether it was freed. */
function reclaimPage(pfn: Pfn): bool {
  if ((frameContent(pfn) & CONTENT_PAGE) != 0) tableTaken = true;
  const hvn = unmap(pfn);
  if (hvn == RECLAIM_NO_SWAP) {
    lruVerdict(pfn, VERDICT_ACTIVATE);
    return false;
  }
  const done = pageoutFree(pfn, load<u32>(STRAIGHT, STRAIGHT_SHADOW));
  if ((done & RECLAIM_WROTE) != 0) {
    const swapped = (outRead(1) & (PG_ANON | PG_SWAPBACKED)) != 0;
    deviceWrite(swapped ? DEVICE_SWAP : DEVICE_DISK, outRead(0));
  }
  if ((done & RECLAIM_FREED) == 0) {
    lruVerdict(pfn, VERDICT_KEEP);
    return false;
  }
  lockstepEvicted(yardstickGfn(hvn));
  return true;
}

/** Makes room for one more page that counts. False: that is the protocol's turn. */
export function makeRoom(): bool {
  const list = load<u32>(STRAIGHT, STRAIGHT_LIST);
  const limit = load<u32>(STRAIGHT, STRAIGHT_LIMIT);
  const asks = load<u32>(STRAIGHT, STRAIGHT_ASKS) != 0;
  for (let left = 2 * lruSize(list) + 1; left != 0; left--) {
    const pfn = lruTail(list);
    if (pfn == 0 || !isPlain(pfn)) return false;
    lruIsolate(pfn);
    bump(PGSCAN_DIRECT);
    if (asks && pageReferenced(pfn)) {
      lruVerdict(pfn, VERDICT_ROTATE);
      continue;
    }
    if (!reclaimPage(pfn)) continue;
    // A run of the protocol ends with the page that it frees; one that frees none is left to it.
    bump(PGSTEAL_DIRECT);
    bump(ALLOCSTALL);
    if (framesCharged() < limit) return true;
  }
  return false;
}
