// Pages that reclaim takes off their lists and puts back (cf. mm/vmscan.c: isolate_lru_folios(),
// move_folios_to_lru()).

import {
  FRAME_FLAGS,
  FRAME_REFCOUNT,
  PG_ACTIVE,
  PG_ISOLATED,
  VERDICT_ACTIVATE,
  VERDICT_DEACTIVATE,
  VERDICT_ROTATE,
} from '../abi';
import {
  LRU_MOVES,
  PAGES_ACTIVATED,
  PAGES_DEACTIVATED,
  PAGES_ROTATED,
  PAGES_SCANNED,
} from '../counters';
import { bump } from '../stats';
import { Pfn } from '../types';
import { framePtr, putPage } from './frame';
import { lruAdd, lruDel, lruTail, lruTarget, lruUnlink } from './lru';
import { folioAddLru } from './lru_add';
import { memcgEnabled, memcgUpdated } from './memcg';
import { workingsetAge } from './workingset';

/** Puts a page that reclaim isolated back where its flags say, and drops reclaim's reference. */
export function lruPutback(pfn: Pfn): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS) & ~PG_ISOLATED;
  store<u32>(page, flags, FRAME_FLAGS);
  if (load<u32>(page, FRAME_REFCOUNT) != 1) lruAdd(pfn, lruTarget(flags));
  putPage(pfn);
  bump(LRU_MOVES);
}

/** folio_putback_lru: the same by way of the batch of new pages, even if nobody else has the page any more. */
export function lruPutbackBatched(pfn: Pfn): void {
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~PG_ISOLATED, FRAME_FLAGS);
  folioAddLru(pfn);
  putPage(pfn);
}

/** Pages that lruIsolateBatch() took. */
const ISOLATED: usize = memory.data(128, 4);
const ISOLATED_MAX: u32 = 32;

/** Where lruIsolateBatch() leaves its pages. */
export function lruIsolated(): usize {
  return ISOLATED;
}

/**
 * Takes up to `n` (at most 32) of the oldest pages off a list for reclaim, each with a reference
 * (isolate_lru_folios); returns how many. They are counted as scanned.
 */
export function lruIsolateBatch(list: u32, n: u32): u32 {
  assert(n <= ISOLATED_MAX, 'a batch has at most SWAP_CLUSTER_MAX pages');
  let taken: u32 = 0;
  for (; taken < n; taken++) {
    const pfn = lruTail(list);
    if (pfn == 0) break;
    lruUnlink(pfn);
    hold(pfn);
    store<u32>(ISOLATED + ((<usize>taken) << 2), pfn);
  }
  memcgUpdated(taken);
  memcgUpdated(taken);
  return taken;
}

/** Takes the oldest page off a list for reclaim, with a reference; 0 when the list is empty. */
export function lruIsolateTail(list: u32): Pfn {
  const pfn = lruTail(list);
  if (pfn != 0) lruIsolate(pfn);
  return pfn;
}

/** Takes a page off its list for reclaim, with a reference. */
export function lruIsolate(pfn: Pfn): void {
  lruDel(pfn);
  hold(pfn);
}

function hold(pfn: Pfn): void {
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_ISOLATED, FRAME_FLAGS);
  store<u32>(page, load<u32>(page, FRAME_REFCOUNT) + 1, FRAME_REFCOUNT);
  bump(PAGES_SCANNED);
}

/** Takes a page that is on no list for reclaim, with a reference. */
export function holdIsolated(pfn: Pfn): void {
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_ISOLATED, FRAME_FLAGS);
  store<u32>(page, load<u32>(page, FRAME_REFCOUNT) + 1, FRAME_REFCOUNT);
}

/** Puts an isolated page back as VERDICT_* says, and drops reclaim's reference. */
export function lruVerdict(pfn: Pfn, verdict: u32): void {
  const page = framePtr(pfn);
  let flags = load<u32>(page, FRAME_FLAGS);
  if (verdict == VERDICT_ACTIVATE) {
    flags |= PG_ACTIVE;
    bump(PAGES_ACTIVATED);
  } else if (verdict == VERDICT_DEACTIVATE) {
    flags &= ~PG_ACTIVE;
    bump(PAGES_DEACTIVATED);
  } else if (verdict == VERDICT_ROTATE) {
    bump(PAGES_ROTATED);
  }
  store<u32>(page, flags, FRAME_FLAGS);
  lruPutback(pfn);
  // move_folios_to_lru() ages what is not resident with each page that is active.
  if (flags & PG_ACTIVE && memcgEnabled()) workingsetAge(1);
}
