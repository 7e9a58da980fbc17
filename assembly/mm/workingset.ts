// Refault detection (cf. mm/workingset.c, 6.1): an evicted page leaves a shadow with the age of the
// inactive list; if it comes back before more pages than the active lists hold were evicted or
// activated meanwhile, it belongs to the working set and starts active.

import {
  EVENT_WORKINGSET_EVICTION,
  EVENT_WORKINGSET_REFAULT,
  FRAME_FLAGS,
  LRU_ACTIVE_ANON,
  LRU_ACTIVE_FILE,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
  PG_ACTIVE,
  PG_SWAPBACKED,
  PG_WORKINGSET,
} from '../abi';
import { WORKINGSET_REFAULTS } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Pfn } from '../types';
import { framePtr } from './frame';
import { lruNoteCost, memcgActivated, memcgStat, memcgUpdated } from './memcg';

/** A swap slot keeps 24 bits of a shadow: 22 of the age. */
const AGE_MASK: u32 = 0x3fffff;

/** lruvec->nonresident_age: evictions and activations so far. */
let nonresidentAge: u32 = 0;

/** workingset_age_nonresident. */
export function workingsetAge(pages: u32): void {
  nonresidentAge += pages;
}

/** workingset_eviction: the shadow of a page that is evicted now; never 0. */
export function workingsetEviction(pfn: Pfn): u32 {
  trace(EVENT_WORKINGSET_EVICTION, pfn);
  const was = load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_WORKINGSET ? 1 : 0;
  const shadow = ((nonresidentAge & AGE_MASK) << 2) | ((<u32>was) << 1) | 1;
  nonresidentAge++;
  return shadow;
}

/** workingset_refault: the page comes back; with a shadow (not 0) it may start active. */
export function workingsetRefault(pfn: Pfn, shadow: u32): void {
  if (shadow == 0) return;
  trace(EVENT_WORKINGSET_REFAULT, pfn);
  bump(WORKINGSET_REFAULTS);
  memcgUpdated(1);
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const file = (flags & PG_SWAPBACKED) == 0;
  const distance = (nonresidentAge - (shadow >> 2)) & AGE_MASK;
  // By the statistics of the last flush: how many pages could stay if the lists gave way.
  let size = memcgStat(LRU_ACTIVE_FILE) + memcgStat(LRU_ACTIVE_ANON);
  size += memcgStat(file ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE);
  if (distance > size) return;
  workingsetAge(1);
  memcgActivated(file ? 1 : 0);
  if ((shadow & 2) != 0) {
    lruNoteCost(file ? 1 : 0, 1);
    memcgUpdated(1);
  }
  const again: u32 = (shadow & 2) != 0 ? PG_WORKINGSET : 0;
  store<u32>(page, flags | PG_ACTIVE | again, FRAME_FLAGS);
}
