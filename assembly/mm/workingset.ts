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
import { lruSize } from './lru';

/** A swap slot keeps 24 bits of a shadow: 22 of the age. */
const AGE_MASK: u32 = 0x3fffff;

/** lruvec->nonresident_age: evictions and activations so far. */
let nonresidentAge: u32 = 0;

/** WORKINGSET_ACTIVATE by kind: anonymous, file. */
let activatedAnon: u32 = 0;
let activatedFile: u32 = 0;
/** Refaults of pages that had been active and were not yet taken by workingsetTakeCost(). */
let refaultCost: u32 = 0;

/** WORKINGSET_ACTIVATE of a kind: 0 anonymous, 1 file. */
export function workingsetActivated(file: u32): u32 {
  return file != 0 ? activatedFile : activatedAnon;
}

/** Anonymous refaults of pages that had been active, since the last call (lru_note_cost_folio). */
export function workingsetTakeCost(): u32 {
  const cost = refaultCost;
  refaultCost = 0;
  return cost;
}

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
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const file = (flags & PG_SWAPBACKED) == 0;
  const distance = (nonresidentAge - (shadow >> 2)) & AGE_MASK;
  let size = lruSize(LRU_ACTIVE_FILE) + lruSize(LRU_ACTIVE_ANON);
  size += lruSize(file ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE);
  if (distance > size) return;
  workingsetAge(1);
  if (file) activatedFile++;
  else activatedAnon++;
  if ((shadow & 2) != 0 && !file) refaultCost++;
  const again: u32 = (shadow & 2) != 0 ? PG_WORKINGSET : 0;
  store<u32>(page, flags | PG_ACTIVE | again, FRAME_FLAGS);
}
