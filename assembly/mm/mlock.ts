// Mlocked pages where they have no batch of their own (cf. mm/mlock.c until 5.17): a page that is locked or unlocked is
// taken off its list and put back by way of the CPU's batch of new pages, or at once.

import { FRAME_FLAGS, PG_LRU, PG_UNEVICTABLE } from '../abi';
import { Pfn } from '../types';
import { folioOf, framePtr } from './frame';
import { lruAdd, lruDel, lruTarget } from './lru';
import { folioAddLru, lruAddDrain } from './lru_add';
import { pageMapcount } from './rmap';

function isOnList(flags: u32): bool {
  return (flags & PG_LRU) != 0;
}

/** What follow_page_pte() with FOLL_MLOCK does to a page: the batches are emptied, then mlock_vma_page(). */
export function mlockVmaPage(pfn: Pfn): void {
  pfn = folioOf(pfn);
  lruAddDrain();
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & PG_UNEVICTABLE) != 0) return;
  if (isOnList(flags)) lruDel(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_UNEVICTABLE, FRAME_FLAGS);
  if (isOnList(flags)) folioAddLru(pfn);
}

/** munlock_vma_page: one page whose locked area does not map it any more. */
export function munlockVmaPage(pfn: Pfn): void {
  pfn = folioOf(pfn);
  if (munlockIsolate(pfn) == 2) folioAddLru(pfn);
}

/**
 * __munlock_isolate_lru_page: 2 a locked page is off its list, 1 it was on none, 0 it was not locked. Evictable it is
 * from now on.
 */
export function munlockIsolate(pfn: Pfn): u32 {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & PG_UNEVICTABLE) == 0) return 0;
  if (isOnList(flags)) lruDel(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~PG_UNEVICTABLE, FRAME_FLAGS);
  return isOnList(flags) ? 2 : 1;
}

/** Puts an isolated page back: 1 at once, because nobody else maps it; 0 by way of the batch. */
export function munlockPutback(pfn: Pfn, fast: u32): u32 {
  const alone = pageMapcount(pfn) <= 1;
  if (alone != (fast != 0)) return 0;
  if (alone) lruAdd(pfn, lruTarget(load<u32>(framePtr(pfn), FRAME_FLAGS)));
  else folioAddLru(pfn);
  return 1;
}
