// folio_mark_accessed(): what a user of a page tells the LRU (cf. mm/swap.c).

import {
  EVENT_FOLIO_ACTIVATE,
  EVENT_FOLIO_MARK_ACCESSED,
  FRAME_FLAGS,
  LRU_ACTIVE_FILE,
  PG_ACTIVE,
  PG_LRU,
  PG_REFERENCED,
  PG_UNEVICTABLE,
  ZERO_PFN,
} from '../abi';
import { PAGES_ACTIVATED } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Pfn } from '../types';
import { framePtr } from './frame';
import { lruListOf, lruMove } from './lru';

/** Inactive, unreferenced → inactive, referenced → active. The zero page has no state. */
export function folioMarkAccessed(pfn: Pfn): void {
  if (pfn == ZERO_PFN) return;
  trace(EVENT_FOLIO_MARK_ACCESSED, pfn);
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & PG_REFERENCED) == 0) {
    store<u32>(page, flags | PG_REFERENCED, FRAME_FLAGS);
    return;
  }
  if ((flags & (PG_UNEVICTABLE | PG_ACTIVE)) != 0) return;
  store<u32>(page, (flags & ~PG_REFERENCED) | PG_ACTIVE, FRAME_FLAGS);
  // A page that waits to be put on a list goes to the active one then; the lists of other policies
  // than Linux's have no active half.
  const list = lruListOf(pfn);
  if ((flags & PG_LRU) != 0 && list <= LRU_ACTIVE_FILE) {
    trace(EVENT_FOLIO_ACTIVATE, pfn);
    lruMove(pfn, list | 1);
    bump(PAGES_ACTIVATED);
  }
}
