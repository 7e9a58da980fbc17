// The per-CPU batches of LRU moves (cf. mm/swap.c, 6.1): a page that is activated, deactivated or
// made lazily freeable waits here, with a reference, until its batch is full or someone drains the
// CPU's batches. Until then neither its list nor its flags change. New pages wait in the batch of
// lru.ts, and mlocked ones in the last batch here. Without batches (lruSetBatch(0)) everything happens at once.

import {
  EVENT_FOLIO_ACTIVATE,
  EVENT_LRU_ACTIVATE,
  FRAME_FLAGS,
  FRAME_REFCOUNT,
  LRU_POLICY_FIRST,
  PG_ACTIVE,
  PG_ANON,
  PG_CHARGED,
  PG_HUGE,
  PG_LRU,
  PG_LRU_PENDING,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
} from '../abi';
import { LRU_MOVES, PAGES_ACTIVATED, PAGES_DEACTIVATED } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Pfn } from '../types';
import { framePtr, putPage } from './frame';
import { memcgUpdated } from './memcg';
import { lruAdd, lruDel, lruListOf, lruSetFlags, lruTarget } from './lru';
import { lruBatchSize } from './lru_add';
import { lruGenEnabled } from './lru_gen';

/** Batches, in the order in which lru_add_drain() empties them. */
const DEACTIVATE: usize = 0;
const LAZYFREE: usize = 1;
const ACTIVATE: usize = 2;
/** New mlocked pages, and those that a locked area does not map any more (mlock_pvec). */
const MLOCK: usize = 3;
const KINDS: usize = 4;
const SLOTS: usize = 32;

/** Mark of a page that was new and mlocked when it got into the batch. */
const NEW_MLOCKED: u32 = 0x80000000;
/** Mark of a page that another locked area maps. */
const STILL_MLOCKED: u32 = 0x40000000;
const MLOCK_MARKS: u32 = NEW_MLOCKED | STILL_MLOCKED;

/** KINDS × (count, pfn[31]). */
const BATCHES: usize = memory.data(512, 4);

function isIdleLru(flags: u32): bool {
  return (flags & PG_LRU) != 0 && (flags & PG_UNEVICTABLE) == 0;
}

/** What a batch does to a page when it is emptied; the page may have changed meanwhile. */
function apply(kind: usize, pfn: Pfn): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if (!isIdleLru(flags)) return;
  const list = lruListOf(pfn);
  if (kind == ACTIVATE) {
    if ((flags & PG_ACTIVE) != 0) return;
    relist(pfn, list, 0, PG_ACTIVE);
    trace(EVENT_LRU_ACTIVATE, pfn);
    bump(PAGES_ACTIVATED);
  } else if (kind == DEACTIVATE) {
    if ((flags & PG_ACTIVE) == 0 && !lruGenEnabled()) return;
    relist(pfn, list, PG_ACTIVE | PG_REFERENCED, 0);
    bump(PAGES_DEACTIVATED);
  } else {
    const wanted = PG_ANON | PG_SWAPBACKED;
    if ((flags & (wanted | PG_SWAPCACHE)) != wanted) return;
    relist(pfn, list, PG_ACTIVE | PG_REFERENCED | PG_SWAPBACKED, 0);
  }
  memcgUpdated(1);
}

/** Changes flags of a page between its old list and its new one; other policies' lists stay. */
function relist(pfn: Pfn, list: u32, clear: u32, set: u32): void {
  const page = framePtr(pfn);
  const moves = list < LRU_POLICY_FIRST;
  if (moves) lruDel(pfn);
  const flags = (load<u32>(page, FRAME_FLAGS) & ~clear) | set;
  store<u32>(page, flags, FRAME_FLAGS);
  if (!moves) return;
  lruAdd(pfn, lruTarget(flags));
  bump(LRU_MOVES);
}

/** What mlock_pagevec() does to a page: the new one gets to its list, the other may be evicted again. */
function applyMlock(entry: u32): void {
  if ((entry & STILL_MLOCKED) != 0) return;
  const pfn = entry & ~MLOCK_MARKS;
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((entry & NEW_MLOCKED) == 0) {
    if ((flags & PG_UNEVICTABLE) == 0) return;
    if ((flags & PG_CHARGED) != 0) lruSetFlags(pfn, 0, PG_UNEVICTABLE);
    else countOthersMove();
    return;
  }
  const clear = flags & PG_UNEVICTABLE ? PG_LRU_PENDING | PG_ACTIVE : PG_LRU_PENDING;
  store<u32>(page, flags & ~clear, FRAME_FLAGS);
  lruAdd(pfn, lruTarget(flags & ~clear));
}

/** A page of another group moves between lists that are not known here; the CPU counts that, too. */
function countOthersMove(): void {
  memcgUpdated(1);
  memcgUpdated(1);
}

function drain(kind: usize): void {
  drainFirst(kind, load<u32>(BATCHES + kind * SLOTS * 4));
}

/** Empties a batch of its first n pages; the rest waits on. */
function drainFirst(kind: usize, n: u32): void {
  const batch = BATCHES + kind * SLOTS * 4;
  const rest = load<u32>(batch) - n;
  store<u32>(batch, rest);
  for (let i: u32 = 1; i <= n; i++) {
    const entry = load<u32>(batch + ((<usize>i) << 2));
    if (kind == MLOCK) applyMlock(entry);
    else apply(kind, entry);
    // The last reference may be the batch's: the page was unmapped meanwhile.
    putPage(entry & ~MLOCK_MARKS);
  }
  memory.copy(batch + 4, batch + 4 + ((<usize>n) << 2), (<usize>rest) << 2);
}

/** The batch of mlocked pages was full once `pfn` waited in it, by pages that are not known here. */
export function mlockDrainThrough(pfn: Pfn): void {
  const batch = BATCHES + MLOCK * SLOTS * 4;
  const n = load<u32>(batch);
  let at: u32 = 1;
  while (at <= n && (load<u32>(batch + ((<usize>at) << 2)) & ~MLOCK_MARKS) != pfn) at++;
  if (at <= n) drainFirst(MLOCK, at);
}

function add(kind: usize, pfn: Pfn, tag: u32 = 0): void {
  const size = lruBatchSize();
  if (size == 0) {
    if (kind == MLOCK) applyMlock(pfn | tag);
    else apply(kind, pfn);
    return;
  }
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_REFCOUNT) + 1, FRAME_REFCOUNT);
  const batch = BATCHES + kind * SLOTS * 4;
  const n = load<u32>(batch) + 1;
  store<u32>(batch, n);
  store<u32>(batch + ((<usize>n) << 2), pfn | tag);
  if (n == size || load<u32>(page, FRAME_FLAGS) & PG_HUGE) drain(kind);
}

/** Empties all batches but that of new pages, which lru_add_drain() empties first. */
export function folioBatchDrain(): void {
  for (let kind: usize = 0; kind < KINDS; kind++) drain(kind);
}

/** mlock_new_page: a new page of a locked area, which waits in this batch and not in that of new pages. */
export function mlockNewPage(pfn: Pfn): void {
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_LRU_PENDING, FRAME_FLAGS);
  add(MLOCK, pfn, NEW_MLOCKED);
}

/** munlock_page: a locked area does not map the page any more; `last`: nor does another one. */
export function munlockPage(pfn: Pfn, last: u32): void {
  add(MLOCK, pfn, last != 0 ? 0 : STILL_MLOCKED);
}

/** folio_activate. */
export function folioActivate(pfn: Pfn): void {
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  trace(EVENT_FOLIO_ACTIVATE, pfn);
  if (isIdleLru(flags) && (flags & PG_ACTIVE) == 0) add(ACTIVATE, pfn);
}

/** deactivate_page. */
export function deactivatePage(pfn: Pfn): void {
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  const younger = (flags & PG_ACTIVE) != 0 || lruGenEnabled();
  if (isIdleLru(flags) && younger) add(DEACTIVATE, pfn);
}

/** mark_page_lazyfree. */
export function markPageLazyfree(pfn: Pfn): void {
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  const wanted = PG_ANON | PG_SWAPBACKED;
  if (isIdleLru(flags) && (flags & (wanted | PG_SWAPCACHE)) == wanted) add(LAZYFREE, pfn);
}
