// Pages that reclaim takes off their lists and puts back (cf. mm/vmscan.c: isolate_lru_folios(),
// move_folios_to_lru()).

import {
  FRAME_FLAGS,
  FRAME_REFCOUNT,
  HPAGE_PMD_NR,
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
import { folioPages, framePtr, putPage } from './frame';
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

/** Pages that lruIsolateBatch() took: SWAP_CLUSTER_MAX, and the other frames of a huge page that is split then. */
const ISOLATED_MAX: u32 = 32;
const ISOLATED: usize = memory.data(2176, 4);
if ((ISOLATED_MAX + HPAGE_PMD_NR) << 2 != 2176) ERROR('isolate: SWAP_CLUSTER_MAX + HPAGE_PMD_NR');
/** Small pages that those were. */
let pages: u32 = 0;

/** Where lruIsolateBatch() leaves its pages. */
export function lruIsolated(): usize {
  return ISOLATED;
}

/** Small pages that lruIsolateBatch() took, at least as many as it was asked for unless the list was short. */
export function lruIsolatedPages(): u32 {
  return pages;
}

/** A page that the caller holds isolated joins a batch of `taken`. */
export function lruJoinBatch(pfn: Pfn, taken: u32): void {
  assert(taken < ISOLATED_MAX + HPAGE_PMD_NR, 'a batch has one huge page at most');
  store<u32>(ISOLATED + ((<usize>taken) << 2), pfn);
}

/**
 * Takes up to `n` (at most 32) of the oldest pages off a list for reclaim, each with a reference
 * (isolate_lru_folios); returns how many. They are counted as scanned. A huge page counts as 512.
 */
export function lruIsolateBatch(list: u32, n: u32): u32 {
  assert(n <= ISOLATED_MAX, 'a batch has at most SWAP_CLUSTER_MAX pages');
  let taken: u32 = 0;
  for (pages = 0; pages < n; taken++) {
    const pfn = lruTail(list);
    if (pfn == 0) break;
    pages += folioPages(load<u32>(framePtr(pfn), FRAME_FLAGS));
    lruUnlink(pfn);
    hold(pfn);
    store<u32>(ISOLATED + ((<usize>taken) << 2), pfn);
  }
  memcgUpdated(pages);
  memcgUpdated(pages);
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
  if (flags & PG_ACTIVE && memcgEnabled()) workingsetAge(folioPages(flags));
}
