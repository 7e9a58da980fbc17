// The pieces of a write to a page that others may share (cf. mm/memory.c: do_wp_page(), wp_page_copy()).

import {
  FRAME_FLAGS,
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  MAP_DIRTY_ALWAYS,
  MAP_SHARED,
  MAP_VM_WRITE,
  PG_ANON,
  PG_ANON_EXCLUSIVE,
  PG_KSM,
  PG_LOCKED,
  PG_LRU,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  WP_DIRTIED,
  WP_REUSED,
} from '../abi';
import { COW_FAULTS, MINOR_FAULTS } from '../counters';
import { bump } from '../stats';
import { Hpte, Hvn, Pfn } from '../types';
import {
  anonExclusive,
  contentCopy,
  folioOf,
  frameContent,
  framePtr,
  frameSetContent,
  putPage,
} from './frame';
import { lruAddDrain, lruCacheAdd } from './lru_add';
import {
  allocFor,
  becomesDirty,
  setPageDirty,
  tryToFreeSwap,
  tryToFreeSwapUnmapped,
} from './memory';
import { hpteGet, hpteSet } from './pte';
import { pageMapcount, rmapAdd, rmapRemove } from './rmap';
import { isShmemPage } from './shmem';
import { swapCount } from './swap';

/**
 * A write to a read-only pte that needs no copy: maps it writable and returns WP_REUSED (do_wp_page), under
 * the page-table lock; WP_DIRTIED: a page of shared memory became dirty. With MAP_DIRTY_ALWAYS the rule of
 * 2.6.24 decides (one mapping), without marks of exclusive pages that of 5.10 (no reference but the
 * mapping's), else that of 6.1 (exclusive, or the references can be dropped). Who counts references or frees
 * the swap slot needs the page lock: when somebody else has it, the page is copied.
 */
export function wpReuse(mm: u32, hvn: Hvn, args: u32): u32 {
  const pte = hpteGet(mm, hvn);
  let reused: u32 = WP_REUSED;
  if ((pte & HPTE_PRESENT) == 0) return WP_REUSED;
  if (pte & HPTE_SWAP) return 0;
  const pfn = pte >> HPTE_PFN_SHIFT;
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if (flags & PG_ANON) {
    if (flags & PG_KSM) return 0;
    if ((flags & PG_ANON_EXCLUSIVE) == 0 && !wpMayReuse(pfn, args)) return 0;
    store<u32>(page, load<u32>(page, FRAME_FLAGS) | anonExclusive, FRAME_FLAGS);
  } else if ((args & MAP_SHARED) == 0) {
    return 0;
  } else if (isShmemPage(pfn) && becomesDirty(pfn)) {
    // fault_dirty_shared_page()
    reused = WP_DIRTIED;
  }
  hpteSet(mm, hvn, (pte & ~HPTE_AUX) | HPTE_WRITE | HPTE_DIRTY | HPTE_YOUNG);
  bump(MINOR_FAULTS);
  return reused;
}

/** Whether wpReuse() needs no look at references for the page of a pte: it makes the page writable. */
export function wpSurelyReuses(pte: Hpte, args: u32): bool {
  if ((pte & HPTE_SWAP) != 0) return false;
  const pfn = pte >> HPTE_PFN_SHIFT;
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  if ((flags & PG_ANON) != 0) return (flags & (PG_KSM | PG_ANON_EXCLUSIVE)) == PG_ANON_EXCLUSIVE;
  return (args & MAP_SHARED) != 0 && !isShmemPage(pfn);
}

/** Whether nobody but this mapping (and the swap cache) holds a page that is not marked exclusive. */
function wpMayReuse(pfn: Pfn, args: u32): bool {
  const page = framePtr(folioOf(pfn));
  const flags = load<u32>(page, FRAME_FLAGS);
  const cached: u32 = (flags & PG_SWAPCACHE) != 0 ? 1 : 0;
  if (flags & PG_LOCKED) return false;
  if (args & MAP_DIRTY_ALWAYS) {
    if (pageMapcount(pfn) != 1) return false;
    return cached == 0 || swapCount(load<u32>(page, FRAME_PRIVATE)) == 1;
  }
  // Neither the swap cache nor a batch of the CPU may hold it, and nothing is given up for the write (5.8 to 5.16).
  if (anonExclusive == 0) return load<u32>(page, FRAME_REFCOUNT) == 1 && pageMapcount(pfn) == 1;
  if (load<u32>(page, FRAME_REFCOUNT) > 3) return false;
  // References of the per-CPU batches are given up first.
  if ((flags & PG_LRU) == 0) lruAddDrain();
  if (load<u32>(page, FRAME_REFCOUNT) > 1 + cached) return false;
  if (cached != 0 && tryToFreeSwap(pfn) == 0) return false;
  return load<u32>(page, FRAME_REFCOUNT) == 1;
}

/** The new page of a copy on write of `from`, content copied, not yet mapped; 0: no frame is free. */
export function wpCopyBegin(from: Pfn, args: u32): Pfn {
  const pfn = allocFor(args, PG_ANON | PG_SWAPBACKED);
  if (pfn != 0) copyContent(pfn, from);
  return pfn;
}

function copyContent(to: Pfn, from: Pfn): void {
  const content = frameContent(from);
  if (content != 0) frameSetContent(to, contentCopy(content));
}

/** Clears a pte and leaves rmap and references as they are (ptep_clear_flush); returns the pte. */
export function ptepClear(mm: u32, hvn: Hvn): Hpte {
  return hpteSet(mm, hvn, 0);
}

/** Maps the copy and drops the page that `old` (the cleared pte, or 0) mapped. */
export function wpCopyInstall(mm: u32, hvn: Hvn, pfn: Pfn, old: Hpte, args: u32): void {
  let pte: Hpte = HPTE_PRESENT | HPTE_YOUNG | HPTE_DIRTY | (pfn << HPTE_PFN_SHIFT);
  if (args & MAP_VM_WRITE) pte |= HPTE_WRITE;
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | anonExclusive, FRAME_FLAGS);
  hpteSet(mm, hvn, pte);
  rmapAdd(pfn, mm, hvn);
  lruCacheAdd(pfn);
  bump(MINOR_FAULTS);
  bump(COW_FAULTS);
  if (old == 0 || (old & (HPTE_PRESENT | HPTE_SWAP)) != HPTE_PRESENT) return;
  const from = old >> HPTE_PFN_SHIFT;
  if (old & HPTE_DIRTY) setPageDirty(from);
  rmapRemove(from, mm, hvn);
  tryToFreeSwapUnmapped(from);
  putPage(from);
}
