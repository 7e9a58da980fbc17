// Shared memory: files without a disk (memfd, tmpfs), whose pages are dropped to swap (cf. mm/shmem.c and
// filemap_map_pages(), 6.1). A page is in the page cache, or its entry there names a swap slot.
//
//   entry of a swapped page: HPTE_SWAP | HPTE_AUX | slot << HPTE_PFN_SHIFT
//
// Invariant: such an entry is a user of its slot (SWAP_MAP_SHMEM).

import {
  EVENT_SWAP_READ,
  FRAME_FLAGS,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  IO_MAJOR,
  MAP_NO_FAULT,
  MAP_SHARED,
  MAP_UNEVICTABLE,
  MAP_VM_WRITE,
  MAP_WRITE_FAULT,
  MAP_WRITE_NOTIFY,
  MM_MAX,
  NO_SLOT,
  PG_ACTIVE,
  PG_DIRTY,
  PG_LOCKED,
  PG_SWAPBACKED,
  PG_UNEVICTABLE,
} from '../abi';
import { MAJOR_FAULTS, MINOR_FAULTS, SWAP_INS } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Hpte, Hvn, Pfn } from '../types';
import { filemapAdd, filemapDel, filemapGet, pageFile } from './filemap';
import { framePtr, getPage, putPage } from './frame';
import { lruSetFlags } from './lru';
import { folioAddLru, hasMlockBatch, lruAddDrain, lruCacheAdd } from './lru_add';
import { allocFor, becomesDirty, setPageDirty } from './memory';
import { hpteGet, hpteNextMapped, hpteSet } from './pte';
import { rmapAdd } from './rmap';
import {
  swapAlloc,
  swapCacheAdd,
  swapCacheDel,
  swapCacheLookup,
  swapDuplicate,
  swapFree,
  swapRead,
  swapShadow,
} from './swap';
import { workingsetRefault } from './workingset';

/** A byte a file: 1, it is shared memory. */
const SHMEM: usize = memory.data(256, 4);
if (MM_MAX != 256) ERROR('abi: MM_MAX');
const SWAPPED: u32 = HPTE_SWAP | HPTE_AUX;

/** Makes a new file shared memory. */
export function shmemInit(file: u32): void {
  store<u8>(SHMEM + <usize>file, 1);
}

/** Whether a file (0: none) is shared memory. */
export function isShmem(file: u32): bool {
  return load<u8>(SHMEM + <usize>file) != 0;
}

/** Slot of the page at an offset, or NO_SLOT. */
export function shmemSlot(file: u32, offset: u32): u32 {
  const entry = hpteGet(file, offset);
  return (entry & (HPTE_PRESENT | SWAPPED)) == SWAPPED ? entry >> HPTE_PFN_SHIFT : NO_SLOT;
}

/** A page of swap by way of the swap cache, with a reference, or 0 when no frame is free. */
function swapin(slot: u32, args: u32): u32 {
  const cached = swapCacheLookup(slot);
  if (cached != 0) {
    getPage(cached);
    return cached;
  }
  const pfn = allocFor(args, PG_SWAPBACKED);
  if (pfn == 0) return 0;
  swapDuplicate(slot);
  swapCacheAdd(pfn, slot);
  const inFault = (args & MAP_NO_FAULT) == 0;
  workingsetRefault(pfn, swapShadow(slot), inFault);
  if (inFault) lruCacheAdd(pfn);
  else folioAddLru(pfn);
  trace(EVENT_SWAP_READ, pfn);
  swapRead(pfn, slot);
  bump(SWAP_INS);
  bump(MAJOR_FAULTS);
  return pfn | IO_MAJOR;
}

/**
 * shmem_get_folio(): the page at an offset with a reference, made or read from swap (IO_MAJOR) when there
 * is none; 0 when no frame is free.
 */
export function shmemGet(file: u32, offset: u32, args: u32): u32 {
  let pfn = filemapGet(file, offset);
  const slot = shmemSlot(file, offset);
  bump(MINOR_FAULTS);
  if (pfn != 0) {
    getPage(pfn);
    return pfn;
  }
  if (slot == NO_SLOT) {
    pfn = allocFor(args, PG_SWAPBACKED);
    if (pfn == 0) return 0;
    filemapAdd(pfn, file, offset);
    lruCacheAdd(pfn);
    return pfn;
  }
  const found = swapin(slot, args);
  if (found == 0) return 0;
  pfn = found & ~IO_MAJOR;
  swapCacheDel(pfn);
  putPage(pfn);
  filemapAdd(pfn, file, offset);
  setPageDirty(pfn);
  swapFree(slot);
  return found;
}

/** A pte of a page of shared memory: writable at once where the area is, dirty after a write. */
function pteOf(pfn: Pfn, args: u32, write: u32): Hpte {
  let pte: Hpte = HPTE_PRESENT | HPTE_YOUNG | (pfn << HPTE_PFN_SHIFT);
  const shared = (args & (MAP_SHARED | MAP_VM_WRITE)) == (MAP_SHARED | MAP_VM_WRITE);
  if (shared && (write != 0 || (args & MAP_WRITE_NOTIFY) == 0)) pte |= HPTE_WRITE;
  return write != 0 ? pte | HPTE_DIRTY : pte;
}

/** mlock_vma_page(): a cached page that a locked area maps is locked from then on. */
function lockMapped(pfn: Pfn, args: u32): void {
  if (args & MAP_UNEVICTABLE && hasMlockBatch()) lruSetFlags(pfn, PG_UNEVICTABLE, PG_ACTIVE);
}

/** finish_fault(): maps a page, whose reference becomes the mapping's; 1: a write made it dirty. */
export function shmemMap(mm: u32, hvn: Hvn, pfn: Pfn, args: u32): u32 {
  if (hpteGet(mm, hvn) != 0) {
    putPage(pfn);
    return 0;
  }
  const write = args & MAP_WRITE_FAULT;
  hpteSet(mm, hvn, pteOf(pfn, args, write));
  rmapAdd(pfn, mm, hvn);
  lockMapped(pfn, args);
  return write != 0 && becomesDirty(pfn) ? 1 : 0;
}

/**
 * filemap_map_pages(): maps what the page cache holds for [start, end) where no pte is, without a fault of
 * its own; `offset` is that of `start`. 1 when `hvn` is mapped now.
 */
export function shmemMapAround(
  mm: u32,
  hvn: Hvn,
  start: Hvn,
  end: Hvn,
  file: u32,
  offset: u32,
  args: u32,
): u32 {
  let mapped: u32 = 0;
  for (let at = start; at < end; at++, offset++) {
    const pfn = filemapGet(file, offset);
    if (pfn == 0 || load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_LOCKED) continue;
    if (hpteGet(mm, at) != 0) continue;
    getPage(pfn);
    hpteSet(mm, at, pteOf(pfn, args, 0));
    rmapAdd(pfn, mm, at);
    lockMapped(pfn, args);
    if (at == hvn) mapped = 1;
  }
  return mapped;
}

/** Whether a page is one of shared memory that is in the page cache. */
export function isShmemPage(pfn: Pfn): bool {
  return isShmem(pageFile(pfn));
}

/**
 * shmem_writepage(): an unmapped page moves from the page cache to the swap cache, so that it can be
 * written; NO_SLOT when no slot is free.
 */
export function shmemToSwap(pfn: Pfn, file: u32, offset: u32): u32 {
  const slot = swapAlloc();
  if (slot == NO_SLOT) return NO_SLOT;
  filemapDel(pfn, 0);
  putPage(pfn);
  swapCacheAdd(pfn, slot);
  swapDuplicate(slot);
  hpteSet(file, offset, SWAPPED | (slot << HPTE_PFN_SHIFT));
  return slot;
}

/** shmem_truncate_range(): the pages of [start, end) of a file go, cached or swapped. */
export function shmemTruncate(file: u32, start: u32, end: u32): void {
  let at = hpteNextMapped(file, start, end);
  for (; at < end; at = hpteNextMapped(file, at + 1, end)) {
    const slot = shmemSlot(file, at);
    if (slot == NO_SLOT) {
      const pfn = filemapGet(file, at);
      if (pfn == 0) continue;
      const page = framePtr(pfn);
      store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~PG_DIRTY, FRAME_FLAGS);
      filemapDel(pfn, 0);
      putPage(pfn);
      continue;
    }
    hpteSet(file, at, 0);
    const cached = swapCacheLookup(slot);
    swapFree(slot);
    if (cached == 0) continue;
    swapCacheDel(cached);
    putPage(cached);
  }
}

/**
 * shmem_swapin_range(): what is swapped out of [start, end), and of the page after it, whose number the
 * walk is given as the last one, is read into the swap cache.
 */
export function shmemWillneed(file: u32, start: u32, end: u32, args: u32): void {
  end++;
  let at = hpteNextMapped(file, start, end);
  for (; at < end; at = hpteNextMapped(file, at + 1, end)) {
    const slot = shmemSlot(file, at);
    if (slot == NO_SLOT || swapCacheLookup(slot) != 0) continue;
    const found = swapin(slot, args);
    if (found == 0) break;
    putPage(found & ~IO_MAJOR);
  }
  lruAddDrain();
}
