// folio_mark_accessed(): what a user of a page tells the LRU (cf. mm/swap.c).

import {
  EVENT_FOLIO_MARK_ACCESSED,
  FRAME_FLAGS,
  LRU_POLICY_FIRST,
  PG_ACTIVE,
  PG_LRU,
  PG_ANON,
  PG_LIST_MASK,
  PG_LIST_SHIFT,
  PG_LRU_PENDING,
  PG_REFERENCED,
  PG_UNEVICTABLE,
  ZERO_PFN,
} from '../abi';
import { PAGES_ACTIVATED } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Pfn } from '../types';
import { folioActivate } from './folio_batch';
import { folioOf, framePtr, isLocking } from './frame';
import { hasMlockBatch, lruBatchSize } from './lru_add';
import { genIncRefs, lruGenEnabled } from './lru_gen';
import { memcgEnabled } from './memcg';
import { workingsetAge } from './workingset';

/** folioMarkAccessed() of a small page whose flags are `flags`, where no generations are kept and no event is traced. */
export function markPlain(pfn: Pfn, page: usize, flags: u32): void {
  if ((flags & PG_REFERENCED) == 0) store<u32>(page, flags | PG_REFERENCED, FRAME_FLAGS);
  else markReferencedAgain(pfn, page, flags);
}

/** The same where PG_REFERENCED is among the flags. */
function markReferencedAgain(pfn: Pfn, page: usize, flags: u32): void {
  const state = flags & (PG_LRU | PG_LRU_PENDING | PG_UNEVICTABLE | PG_ACTIVE);
  if ((state & PG_LRU_PENDING) == 0 && (state & (PG_UNEVICTABLE | PG_ACTIVE)) != 0) return;
  // On a list of a policy's own it stays, with other flags.
  const stays = (flags & PG_LIST_MASK) >= LRU_POLICY_FIRST << PG_LIST_SHIFT;
  if (state == PG_LRU && stays && lruBatchSize() == 0 && !memcgEnabled()) {
    store<u32>(page, flags ^ (PG_ACTIVE | PG_REFERENCED), FRAME_FLAGS);
    bump(PAGES_ACTIVATED);
  } else {
    folioMarkAccessed(pfn);
  }
}

/** Whether a mlocked page waits in the batch that only such pages have. */
function isInMlockBatch(flags: u32): bool {
  return (flags & PG_ANON) != 0 && hasMlockBatch();
}

/**
 * Inactive, unreferenced → inactive, referenced → active. A page that waits for its list becomes
 * active there; one that reclaim holds only loses its referenced bit, as the zero page does.
 */
export function folioMarkAccessed(pfn: Pfn): void {
  const told = pfn;
  pfn = folioOf(pfn);
  trace(EVENT_FOLIO_MARK_ACCESSED, pfn, told);
  if (lruGenEnabled()) {
    genIncRefs(pfn);
    return;
  }
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & PG_REFERENCED) == 0) {
    store<u32>(page, flags | PG_REFERENCED, FRAME_FLAGS);
    return;
  }
  const locking = isLocking(flags);
  if (!locking && (flags & (PG_UNEVICTABLE | PG_ACTIVE)) != 0) return;
  if ((flags & PG_LRU) != 0) folioActivate(pfn);
  // The batch of mlocked pages is not searched.
  else if ((flags & PG_LRU_PENDING) != 0 && !(locking && isInMlockBatch(flags))) {
    store<u32>(page, flags | PG_ACTIVE, FRAME_FLAGS);
    bump(PAGES_ACTIVATED);
  }
  store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~PG_REFERENCED, FRAME_FLAGS);
  // workingset_activation(); the zero page belongs to no group.
  if (pfn != ZERO_PFN && memcgEnabled()) workingsetAge(1);
}
