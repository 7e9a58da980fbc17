// The pieces of a host page fault (cf. mm/memory.c). Which piece comes when, with which notifier calls
// and locks around it, is src/mm/fault.ts; here is what each does to ptes, frames and lists.
//
// Reference rule: a function that returns a pfn gives the caller one reference; the map functions turn
// that reference into the mapping's.

import {
  EVENT_SWAP_READ,
  FAULT_NONE,
  FAULT_PRESENT,
  FAULT_SWAP,
  FAULT_WP,
  FOLL_FAST,
  FOLL_TOUCH,
  FOLL_WRITE,
  FOLL_YOUNG,
  FOLLOW_NONE,
  FRAME_FLAGS,
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  HPAGE_PMD_NR,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  IO_BUSY,
  IO_MAJOR,
  MAP_CHARGED,
  MAP_DIRTY_ALWAYS,
  MAP_OLD,
  MAP_SHARED,
  MAP_SWAP_DIRECT,
  MAP_SWAP_PREPARE,
  MAP_UNEVICTABLE,
  MAP_VM_WRITE,
  MAP_WRITE_FAULT,
  PG_ANON,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_KSM,
  PG_LOCKED,
  PG_LRU,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
  ZERO_PFN,
} from '../abi';
import { COW_FAULTS, MAJOR_FAULTS, MINOR_FAULTS, SWAP_INS } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Hpte, Hvn, Pfn } from '../types';
import {
  contentCopy,
  folioOf,
  frameAlloc,
  frameCharge,
  frameContent,
  framePtr,
  frameSetContent,
  getPage,
  putPage,
  tableCharge,
} from './frame';
import { filemapDel } from './filemap';
import { folioAddLru, lruAddDrain, lruCacheAdd, lruInFault, markPageAccessed } from './lru';
import { munlockPage } from './folio_batch';
import { hpmdp, hptep, hpteGet, hpteSet, hpteSetAt, leafPmdp, ptepAt } from './pte';
import { memcgUpdated } from './memcg';
import { isShmemPage } from './shmem';
import { workingsetRefault } from './workingset';
import { pageMapcount, rmapAdd, rmapRemove } from './rmap';
import {
  swapCacheAdd,
  swapCacheDel,
  swapCacheLookup,
  swapClaim,
  swapClaimed,
  swapCount,
  swapDuplicate,
  swapFree,
  swapRead,
  swapShadow,
  swapTotal,
  swapUnclaim,
  swapUsed,
} from './swap';

const OUT: usize = memory.data(64, 8);
/** In FRAME_PRIVATE of a page that was read past the swap cache and is not mapped yet: its slot. */
const DIRECT: u32 = 0x80000000;

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
  const pfn = allocFor(args, PG_ANON | PG_SWAPBACKED | PG_ANON_EXCLUSIVE);
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
 * The page of a swap slot, from the swap cache or (IO_MAJOR) the device; 0 when no frame is free, IO_BUSY
 * when the fault is to be tried again: another one reads the slot past the swap cache, or it is free.
 */
export function swapinBegin(slot: u32, args: u32): u32 {
  const cached = swapCacheLookup(slot);
  if (cached != 0) {
    getPage(cached);
    bump(MINOR_FAULTS);
    return cached;
  }
  // Room was made first: the slot may be free by now.
  if (swapClaimed(slot) != 0 || swapCount(slot) == 0) return IO_BUSY;
  const pfn = allocFor(args, PG_ANON | PG_SWAPBACKED);
  if (pfn == 0) return 0;
  // SWP_SYNCHRONOUS_IO: a page that a single entry names is read without the swap cache.
  const direct = (args & MAP_SWAP_DIRECT) != 0 && swapCount(slot) == 1;
  if (direct) {
    if (args & MAP_SWAP_PREPARE) swapClaim(slot);
  } else {
    swapDuplicate(slot);
    swapCacheAdd(pfn, slot);
  }
  workingsetRefault(pfn, swapShadow(slot));
  lruInFault(pfn);
  folioAddLru(pfn);
  trace(EVENT_SWAP_READ, pfn);
  swapRead(pfn, slot);
  if (direct) store<u32>(framePtr(pfn), slot | DIRECT, FRAME_PRIVATE);
  bump(SWAP_INS);
  bump(MAJOR_FAULTS);
  memcgUpdated(1);
  return pfn | IO_MAJOR;
}

/**
 * Maps a page of the swap cache in place of its swap entry (do_swap_page). 0 when the pte changed
 * meanwhile (the reference is dropped), 2 when it is writable now, else 1. A write maps writable only if nobody shares the page.
 */
export function swapinMap(mm: u32, hvn: Hvn, pfn: Pfn, args: u32): u32 {
  return swapinMapAt(mm, hvn, leafPmdp(mm, hvn), pfn, args);
}

/** The same with the pmd entry of the page, or 0. */
export function swapinMapAt(mm: u32, hvn: Hvn, pmdp: usize, pfn: Pfn, args: u32): u32 {
  const page = framePtr(pfn);
  const entry = pmdp != 0 ? load<u32>(ptepAt(pmdp, hvn)) : hpteGet(mm, hvn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const held = load<u32>(page, FRAME_PRIVATE);
  const direct = (held & DIRECT) != 0;
  const slot = held & ~DIRECT;
  const swapped = (entry & (HPTE_PRESENT | HPTE_SWAP)) == HPTE_SWAP;
  // Neither the page may have left the swap cache nor the pte have changed while the lock was waited for.
  const cached = direct || (flags & PG_SWAPCACHE) != 0;
  if (!cached || !swapped || entry >> HPTE_PFN_SHIFT != slot) {
    swapinAbort(pfn);
    return 0;
  }
  const write = args & MAP_WRITE_FAULT;
  const alone = pageMapcount(pfn) == 0 && swapCount(slot) == 2;
  const exclusive = direct || ((flags & PG_KSM) == 0 && ((entry & HPTE_AUX) != 0 || alone));
  let pte: Hpte = HPTE_PRESENT | (pfn << HPTE_PFN_SHIFT);
  if ((args & MAP_OLD) == 0) pte |= HPTE_YOUNG;
  if (write && exclusive && args & MAP_VM_WRITE) pte |= HPTE_WRITE | HPTE_DIRTY;
  hpteSetAt(mm, hvn, pmdp, pte);
  rmapAdd(pfn, mm, hvn);
  swapFree(slot);
  if (exclusive) {
    store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_ANON_EXCLUSIVE, FRAME_FLAGS);
  }
  // A write, or a swap device more than half full (vm_swap_full), gives the slot back.
  const release = write != 0 || swapUsed() * 2 > swapTotal();
  if (direct) {
    store<u32>(page, 0, FRAME_PRIVATE);
    swapUnclaim(slot);
  } else if (release && swapCount(slot) == 1) tryToFreeSwap(pfn);
  return pte & HPTE_WRITE ? 2 : 1;
}

/** A swap-in ends without a mapping: the reader's reference goes, and its claim of the slot. */
export function swapinAbort(pfn: Pfn): void {
  const page = framePtr(pfn);
  const held = load<u32>(page, FRAME_PRIVATE);
  if (held & DIRECT) {
    store<u32>(page, 0, FRAME_PRIVATE);
    swapUnclaim(held & ~DIRECT);
  }
  putPage(pfn);
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

/** A page that could not be read leaves its cache, and the reader drops its reference. */
export function readFailed(pfn: Pfn): void {
  const page = framePtr(pfn);
  if (load<u32>(page, FRAME_PRIVATE) & DIRECT && load<u32>(page, FRAME_FLAGS) & PG_ANON) {
    swapinAbort(pfn);
    return;
  }
  if (load<u32>(page, FRAME_FLAGS) & PG_SWAPCACHE) swapCacheDel(pfn);
  else filemapDel(pfn, 0);
  putPage(pfn);
  putPage(pfn);
}

/**
 * A write to a read-only pte that needs no copy: maps it writable and returns 1 (do_wp_page), under the
 * page-table lock. With MAP_DIRTY_ALWAYS the rule of 2.6.24 decides (one mapping), else that of 6.1
 * (exclusive, or no reference but the mapping's). Who counts references or frees the swap slot needs
 * the page lock: when somebody else has it, the page is copied.
 */
export function wpReuse(mm: u32, hvn: Hvn, args: u32): u32 {
  const pte = hpteGet(mm, hvn);
  if ((pte & HPTE_PRESENT) == 0) return 1;
  if (pte & HPTE_SWAP) return 0;
  const pfn = pte >> HPTE_PFN_SHIFT;
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if (flags & PG_ANON) {
    if (flags & PG_KSM) return 0;
    if ((flags & PG_ANON_EXCLUSIVE) == 0 && !wpMayReuse(pfn, args)) return 0;
    store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_ANON_EXCLUSIVE, FRAME_FLAGS);
  } else if ((args & MAP_SHARED) == 0) {
    return 0;
  } else if (isShmemPage(pfn)) {
    // fault_dirty_shared_page()
    setPageDirty(pfn);
  }
  hpteSet(mm, hvn, (pte & ~HPTE_AUX) | HPTE_WRITE | HPTE_DIRTY | HPTE_YOUNG);
  bump(MINOR_FAULTS);
  return 1;
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
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_ANON_EXCLUSIVE, FRAME_FLAGS);
  hpteSet(mm, hvn, pte);
  rmapAdd(pfn, mm, hvn);
  lruCacheAdd(pfn);
  bump(MINOR_FAULTS);
  bump(COW_FAULTS);
  if (old == 0 || (old & (HPTE_PRESENT | HPTE_SWAP)) != HPTE_PRESENT) return;
  const from = old >> HPTE_PFN_SHIFT;
  if (old & HPTE_DIRTY) setPageDirty(from);
  rmapRemove(from, mm, hvn);
  // page_remove_rmap: the locked area does not hold it any more (munlock_vma_page).
  if (args & MAP_UNEVICTABLE) munlockPage(from);
  tryToFreeSwapUnmapped(from);
  putPage(from);
}

/** Frees the swap slot of a page that nobody maps any more and nobody has locked (free_swap_cache). */
export function tryToFreeSwapUnmapped(pfn: Pfn): void {
  if ((load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_LOCKED) != 0) return;
  if (pageMapcount(pfn) == 0) tryToFreeSwap(pfn);
}

/** Marks a page dirty (set_page_dirty). */
export function setPageDirty(pfn: Pfn): void {
  if (pfn == ZERO_PFN) return;
  const page = framePtr(folioOf(pfn));
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_DIRTY, FRAME_FLAGS);
}

/**
 * The page of a present pte that permits the access, with a reference; FOLLOW_NONE when a fault must
 * come first (follow_page_pte).
 */
export function followPage(mm: u32, hvn: Hvn, flags: u32): u32 {
  return followAt(mm, hvn, leafPmdp(mm, hvn), flags);
}

/** The same with the leafPmdp() of the page. */
export function followAt(mm: u32, hvn: Hvn, pmdp: usize, flags: u32): u32 {
  if (pmdp != 0) return followPte(ptepAt(pmdp, hvn), flags, 0, false);
  const huge = hpmdp(mm, hvn);
  return huge == 0 ? FOLLOW_NONE : followPte(huge, flags, hvn & (HPAGE_PMD_NR - 1), true);
}

/** The same with the pte, or (`huge`) the huge pte of a page `below` pages behind its start. */
export function followPte(ptep: usize, flags: u32, below: u32, huge: bool): u32 {
  const pte = load<u32>(ptep);
  if ((pte & HPTE_PRESENT) == 0) return FOLLOW_NONE;
  if (flags & FOLL_WRITE && (pte & HPTE_WRITE) == 0) return FOLLOW_NONE;
  const pfn = (pte >> HPTE_PFN_SHIFT) + below;
  getPage(pfn);
  if (flags & FOLL_FAST) {
    const page = framePtr(folioOf(pfn));
    store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_REFERENCED, FRAME_FLAGS);
    return pfn;
  }
  if ((flags & FOLL_TOUCH) == 0) return pfn;
  if (huge) {
    // touch_pmd(): x86's pmdp_set_access_flags() changes nothing for a read.
    if (flags & FOLL_WRITE) store<u32>(ptep, pte | HPTE_YOUNG | HPTE_DIRTY);
    return pfn;
  }
  if (flags & FOLL_WRITE && (pte & HPTE_DIRTY) == 0) setPageDirty(pfn);
  if (flags & FOLL_YOUNG) store<u32>(ptep, pte | HPTE_YOUNG);
  else markPageAccessed(pfn);
  return pfn;
}
