// The pieces of a host page fault (cf. mm/memory.c). Which piece comes when, with which notifier calls
// and locks around it, is src/mm/fault.ts; here is what each does to ptes, frames and lists.
//
// Reference rule: a function that returns a pfn gives the caller one reference; the map functions turn
// that reference into the mapping's.

import {
  FAULT_NONE,
  FAULT_PRESENT,
  FAULT_SWAP,
  FAULT_WP,
  FRAME_FLAGS,
  FRAME_PRIVATE,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  MAP_CHARGED,
  MAP_DIRTY_ALWAYS,
  MAP_UNEVICTABLE,
  MAP_VM_WRITE,
  PG_ANON,
  PG_DIRTY,
  PG_LOCKED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
  ZERO_PFN,
} from '../abi';
import { MINOR_FAULTS } from '../counters';
import { bump } from '../stats';
import { Hpte, Hvn, Pfn } from '../types';
import {
  anonExclusive,
  folioOf,
  frameAlloc,
  frameCharge,
  framePtr,
  putPage,
  tableCharge,
} from './frame';
import { lruCacheAdd } from './lru_add';
import { memcgUpdated } from './memcg';
import { hpmdp } from './pmd';
import { hptep, hpteSet, hpteSetAt, leafPmdp } from './pte';
import { pageMapcount, rmapAdd } from './rmap';
import { swapCacheDel, swapCount } from './swap';

const OUT: usize = memory.data(64, 8);
/** Address of the scratch block of results. */
export function mmOut(): usize {
  return OUT;
}

/** Puts a second result where the host reads it. */
export function outWord(i: u32, value: u32): void {
  store<u32>(OUT + ((<usize>i) << 2), value);
}

/** A word that outWord() wrote. */
export function outRead(i: u32): u32 {
  return load<u32>(OUT + ((<usize>i) << 2));
}

/** A fault is counted (PGFAULT); no new leaf table is needed as far as is known (MM_OUT word 1). */
export function faultBegin(): void {
  memcgUpdated(1);
  outWord(1, 0);
}

/**
 * What a fault at a page meets. It is called without the page-table lock: who finds FAULT_PRESENT takes
 * it and calls faultPresent(). MM_OUT word 1 is what a new leaf table for the page would be charged as.
 */
export function faultClassify(mm: u32, hvn: Hvn): u32 {
  faultBegin();
  let ptep = hptep(mm, hvn);
  if (ptep == 0) {
    ptep = hpmdp(mm, hvn);
    if (ptep == 0) {
      outWord(1, tableCharge());
      return FAULT_NONE;
    }
  }
  const pte = load<u32>(ptep);
  if (pte & HPTE_PRESENT) return FAULT_PRESENT;
  if (pte == 0) return FAULT_NONE;
  outWord(0, pte >> HPTE_PFN_SHIFT);
  return FAULT_SWAP;
}

/**
 * A fault on a present pte, under the page-table lock: FAULT_PRESENT when the pte permits the access
 * (young and dirty are set now), FAULT_WP for a write that it does not permit, FAULT_NONE when the pte
 * changed meanwhile.
 */
export function faultPresent(mm: u32, hvn: Hvn, write: u32): u32 {
  let ptep = hptep(mm, hvn);
  if (ptep == 0) {
    ptep = hpmdp(mm, hvn);
    if (ptep == 0) return FAULT_NONE;
  }
  const pte = load<u32>(ptep);
  if ((pte & HPTE_PRESENT) == 0) return FAULT_NONE;
  if (write && (pte & HPTE_WRITE) == 0) return FAULT_WP;
  store<u32>(ptep, pte | HPTE_YOUNG | (write ? HPTE_DIRTY : 0));
  return FAULT_PRESENT;
}

/** A frame for a new page of a vma, or 0. */
export function allocFor(args: u32, flags: u32): Pfn {
  const pfn = frameAlloc();
  if (pfn == 0) return 0;
  if (args & MAP_CHARGED) frameCharge(pfn);
  const page = framePtr(pfn);
  const evictable: u32 = args & MAP_UNEVICTABLE ? PG_UNEVICTABLE : 0;
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | flags | evictable, FRAME_FLAGS);
  return pfn;
}

/** Maps a zeroed page where no pte is; 0 when no frame is free. */
export function doAnonymousPage(mm: u32, hvn: Hvn, args: u32): Pfn {
  return doAnonymousPageAt(mm, hvn, leafPmdp(mm, hvn), args);
}

/** The same with the pmd entry of the page, or 0. */
export function doAnonymousPageAt(mm: u32, hvn: Hvn, pmdp: usize, args: u32): Pfn {
  const pfn = allocFor(args, PG_ANON | PG_SWAPBACKED | anonExclusive);
  if (pfn == 0) return 0;
  let pte: Hpte = HPTE_PRESENT | HPTE_YOUNG | (pfn << HPTE_PFN_SHIFT);
  if (args & MAP_VM_WRITE) pte |= HPTE_WRITE | HPTE_DIRTY;
  else if (args & MAP_DIRTY_ALWAYS) pte |= HPTE_DIRTY;
  hpteSetAt(mm, hvn, pmdp, pte);
  rmapAdd(pfn, mm, hvn);
  lruCacheAdd(pfn);
  bump(MINOR_FAULTS);
  return pfn;
}

/** Maps the shared zero page read-only where no pte is. */
export function mapZeroPage(mm: u32, hvn: Hvn): void {
  hpteSet(mm, hvn, HPTE_PRESENT | HPTE_YOUNG | HPTE_SWAP | (ZERO_PFN << HPTE_PFN_SHIFT));
  bump(MINOR_FAULTS);
}

/**
 * Drops the slot of a page that only the swap cache still uses; the page is then dirty. The caller has
 * the page lock, or has seen that it is free and is not interrupted.
 */
export function tryToFreeSwap(pfn: Pfn): u32 {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & PG_SWAPCACHE) == 0) return 0;
  if (swapCount(load<u32>(page, FRAME_PRIVATE)) != 1) return 0;
  swapCacheDel(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_DIRTY, FRAME_FLAGS);
  putPage(pfn);
  return 1;
}

/** Frees the swap slot of a page that nobody maps any more and nobody has locked (free_swap_cache). */
export function tryToFreeSwapUnmapped(pfn: Pfn): void {
  if ((load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_LOCKED) != 0) return;
  if (pageMapcount(pfn) == 0) tryToFreeSwap(pfn);
}

/** Marks a page dirty (set_page_dirty). */
export function setPageDirty(pfn: Pfn): void {
  if (pfn != ZERO_PFN) becomesDirty(pfn);
}

/** Marks a page dirty; whether it was not. */
export function becomesDirty(pfn: Pfn): bool {
  const page = framePtr(folioOf(pfn));
  const flags = load<u32>(page, FRAME_FLAGS);
  store<u32>(page, flags | PG_DIRTY, FRAME_FLAGS);
  return (flags & PG_DIRTY) == 0;
}
