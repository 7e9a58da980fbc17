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
import { folioPages, framePtr } from './frame';
import { genEviction, genRefault, genRefs, lruGenEnabled } from './lru_gen';
import { lruNoteCost, memcgActivated, memcgStat, memcgUpdated } from './memcg';

/** A swap slot keeps 24 bits of a shadow: 21 of the age. */
const AGE_MASK: u32 = 0x1fffff;
const SHADOW_AGE_SHIFT: u32 = 3;
/** The page was evicted for the whole host's sake (MADV_PAGEOUT), not by its group's limit. */
const SHADOW_ROOT: u32 = 4;
const SHADOW_WORKINGSET: u32 = 2;
const SHADOW_VALID: u32 = 1;
/** Pages on the lists of the rest of the host, which the emulator does not have. */
let outsidePages: u32 = 0;

/** lruvec->nonresident_age: evictions and activations so far. */
let nonresidentAge: u32 = 0;
/** An eviction ages what is not resident before its shadow is made, not after. */
let agesFirst: bool = false;

/** Whether a page that comes back at once was at a distance of 0 (1: 5.10), or of 1 (0, at first). */
export function workingsetSetAgesFirst(on: u32): void {
  agesFirst = on != 0;
}

/** workingset_age_nonresident. */
export function workingsetAge(pages: u32): void {
  nonresidentAge += pages;
}

/** Sets how many pages the rest of the host has on its lists (0 at first). */
export function workingsetSetOutside(pages: u32): void {
  outsidePages = pages;
}

/**
 * workingset_eviction: the shadow of a page that is evicted now; never 0. `root`: not for a group's
 * limit, so a refault will be judged by the lists of the whole host. `before`: pages of the same huge page that
 * were evicted before this one, since all of them are of one age.
 */
export function workingsetEviction(pfn: Pfn, root: u32, before: u32): u32 {
  trace(EVENT_WORKINGSET_EVICTION, pfn);
  if (lruGenEnabled()) {
    let token = SHADOW_VALID;
    if (genRefs(pfn) != 0) token |= SHADOW_WORKINGSET;
    return token | ((genEviction(pfn) & AGE_MASK) << SHADOW_AGE_SHIFT);
  }
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  const age = nonresidentAge - before + (agesFirst ? folioPages(flags) : 0);
  let shadow = ((age & AGE_MASK) << SHADOW_AGE_SHIFT) | SHADOW_VALID;
  if (flags & PG_WORKINGSET) shadow |= SHADOW_WORKINGSET;
  if (root != 0) shadow |= SHADOW_ROOT;
  nonresidentAge++;
  return shadow;
}

/** workingset_refault: the page comes back, in a fault or not; with a shadow (not 0) it may start active. */
export function workingsetRefault(pfn: Pfn, shadow: u32, inFault: bool): void {
  if (shadow == 0) return;
  trace(EVENT_WORKINGSET_REFAULT, pfn);
  bump(WORKINGSET_REFAULTS);
  memcgUpdated(1);
  if (lruGenEnabled()) {
    const was: u32 = shadow & SHADOW_WORKINGSET ? 1 : 0;
    genRefault(pfn, shadow >> SHADOW_AGE_SHIFT, was, inFault);
    return;
  }
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const file = (flags & PG_SWAPBACKED) == 0;
  const distance = (nonresidentAge - (shadow >> SHADOW_AGE_SHIFT)) & AGE_MASK;
  // By the statistics of the last flush: how many pages could stay if the lists gave way.
  let size = memcgStat(LRU_ACTIVE_FILE) + memcgStat(LRU_ACTIVE_ANON);
  size += memcgStat(file ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE);
  if ((shadow & SHADOW_ROOT) != 0) size += outsidePages;
  if (distance > size) return;
  workingsetAge(1);
  memcgActivated(file ? 1 : 0);
  if ((shadow & SHADOW_WORKINGSET) != 0) {
    lruNoteCost(file ? 1 : 0, 1, 0);
    memcgUpdated(1);
  }
  const again: u32 = (shadow & SHADOW_WORKINGSET) != 0 ? PG_WORKINGSET : 0;
  store<u32>(page, flags | PG_ACTIVE | again, FRAME_FLAGS);
}
