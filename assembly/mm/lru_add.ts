// New pages on their way to a list, through the CPU's batch where there is one (cf. mm/swap.c: folio_add_lru(),
// lru_add_drain()).

import {
  EVENT_LRU_INSERT,
  FRAME_FLAGS,
  FRAME_REFCOUNT,
  PG_ACTIVE,
  PG_ANON,
  PG_HUGE,
  PG_LRU_PENDING,
  PG_SWAPBACKED,
  PG_UNEVICTABLE,
} from '../abi';
import { trace } from '../events';
import { Pfn } from '../types';
import { folioBatchDrain, mlockDrainThrough, mlockNewPage } from './folio_batch';
import { framePtr, putPage } from './frame';
import { anonStartsActive, lruAdd, lruTarget } from './lru';
import { lruGenEnabled } from './lru_gen';

/** Pages that wait in the per-CPU batch before they reach a list (0: none wait). */
let batchSize: u32 = 0;
let batchFill: u32 = 0;
const BATCH: usize = memory.data(128, 4);
const BATCH_MAX: u32 = 31;

/** Mlocked pages have a batch of their own. */
let mlockBatch: bool = true;

/** Whether mlocked pages have a batch of their own (5.18), or wait with all others. */
export function lruSetMlockBatch(on: u32): void {
  mlockBatch = on != 0;
}

/** Whether they have. */
export function hasMlockBatch(): bool {
  return mlockBatch;
}

/** Sets the size of the per-CPU batch of new pages (15 in Linux 6.1; 0 here: none). */
export function lruSetBatch(pages: u32): void {
  lruAddDrain();
  assert(pages <= BATCH_MAX, 'a batch has at most 31 pages');
  batchSize = pages;
}

/**
 * Adds a new page to its list, by way of the batch when there is one (folio_add_lru). That of a locked area has a batch
 * of its own, but for a file's, which was added before it is mapped.
 */
export function lruCacheAdd(pfn: Pfn): void {
  lruInFault(pfn);
  const locked = PG_UNEVICTABLE | PG_ANON;
  if ((load<u32>(framePtr(pfn), FRAME_FLAGS) & locked) == locked && batchSize != 0 && mlockBatch)
    mlockNewPage(pfn);
  else folioAddLru(pfn);
}

/** A page that a fault brings starts in the youngest generation (lru_gen_in_fault). */
export function lruInFault(pfn: Pfn): void {
  if (!lruGenEnabled()) return;
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & PG_UNEVICTABLE) == 0) store<u32>(page, flags | PG_ACTIVE, FRAME_FLAGS);
}

/** The same for a page that is not new, and no locked area's (folio_add_lru). */
export function folioAddLru(pfn: Pfn): void {
  const page = framePtr(pfn);
  let flags = load<u32>(page, FRAME_FLAGS);
  if (flags & PG_SWAPBACKED && anonStartsActive) {
    flags |= PG_ACTIVE;
    store<u32>(page, flags, FRAME_FLAGS);
  }
  if (batchSize == 0) {
    lruAdd(pfn, lruTarget(flags));
    return;
  }
  store<u32>(page, flags | PG_LRU_PENDING, FRAME_FLAGS);
  store<u32>(page, load<u32>(page, FRAME_REFCOUNT) + 1, FRAME_REFCOUNT);
  store<u32>(BATCH + ((<usize>batchFill) << 2), pfn);
  batchFill++;
  if (batchFill == batchSize || flags & PG_HUGE) drainNew();
}

/** Pages that a per-CPU batch holds; 0: there are none. */
export function lruBatchSize(): u32 {
  return batchSize;
}

/** Empties all batches of the CPU (lru_add_drain); returns how many new pages waited. */
export function lruAddDrain(): u32 {
  const n = drainNew();
  folioBatchDrain();
  return n;
}

/** The batch of mlocked pages was full once `pfn` waited in it, by pages that are not known here. */
export function lruDrainThrough(pfn: Pfn): void {
  if (mlockBatch) {
    mlockDrainThrough(pfn);
    return;
  }
  let n: u32 = 0;
  while (n < batchFill && load<u32>(BATCH + ((<usize>n) << 2)) != pfn) n++;
  if (n == batchFill) return;
  n++;
  const rest = batchFill - n;
  for (let i: u32 = 0; i < n; i++) insertNew(load<u32>(BATCH + ((<usize>i) << 2)));
  memory.copy(BATCH, BATCH + ((<usize>n) << 2), (<usize>rest) << 2);
  batchFill = rest;
}

/** Empties the batch of new pages onto the lists. */
function drainNew(): u32 {
  const n = batchFill;
  batchFill = 0;
  for (let i: u32 = 0; i < n; i++) insertNew(load<u32>(BATCH + ((<usize>i) << 2)));
  return n;
}

/** A page of the batch gets to its list. */
function insertNew(pfn: Pfn): void {
  const page = framePtr(pfn);
  let flags = load<u32>(page, FRAME_FLAGS) & ~PG_LRU_PENDING;
  if (flags & PG_UNEVICTABLE) flags &= ~PG_ACTIVE;
  store<u32>(page, flags, FRAME_FLAGS);
  lruAdd(pfn, lruTarget(flags));
  trace(EVENT_LRU_INSERT, pfn, lruTarget(load<u32>(page, FRAME_FLAGS)));
  // The last reference may be the batch's: the page was unmapped meanwhile.
  putPage(pfn);
}
