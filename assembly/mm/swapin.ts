// The pieces of a fault at a page in swap (cf. mm/memory.c: do_swap_page()).

import {
  EVENT_SWAP_READ,
  FRAME_FLAGS,
  FRAME_PRIVATE,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  IO_BUSY,
  IO_MAJOR,
  MAP_OLD,
  MAP_NO_FAULT,
  MAP_SWAP_DIRECT,
  MAP_SWAP_PREPARE,
  MAP_SWAP_WRITABLE,
  MAP_VM_WRITE,
  MAP_WRITE_FAULT,
  PG_ANON,
  PG_DIRTY,
  PG_KSM,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
} from '../abi';
import { MAJOR_FAULTS, MINOR_FAULTS, SWAP_INS } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Hpte, Hvn, Pfn } from '../types';
import { wpCopyBegin } from './cow';
import { filemapDel } from './filemap';
import { anonExclusive, framePtr, getPage, putPage } from './frame';
import { hasMerged } from './ksm';
import { folioAddLru, lruCacheAdd, lruInFault } from './lru_add';
import { memcgUpdated } from './memcg';
import { allocFor, tryToFreeSwap } from './memory';
import { hpteGet, hpteSetAt, leafPmdp, ptepAt } from './pte';
import { pageMapcount, rmapAdd, rmapHvn } from './rmap';
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
import { workingsetRefault } from './workingset';

/** In FRAME_PRIVATE of a page that was read past the swap cache and is not mapped yet: its slot. */
const DIRECT: u32 = 0x80000000;

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
  const inFault = (args & MAP_NO_FAULT) == 0;
  workingsetRefault(pfn, swapShadow(slot), inFault);
  if (inFault) lruInFault(pfn);
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
 * meanwhile (the reference is dropped), 2 when a write made it writable, else 1. It becomes writable only if nobody shares
 * the page: by a write, or with MAP_SWAP_WRITABLE by a read too.
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
  if (mightNeedToCopy(pfn, hvn)) return mapCopy(mm, hvn, pmdp, pfn, args);
  const write = args & MAP_WRITE_FAULT;
  const alone = pageMapcount(pfn) == 0 && swapCount(slot) == 2;
  const exclusive = direct || ((flags & PG_KSM) == 0 && ((entry & HPTE_AUX) != 0 || alone));
  let pte: Hpte = HPTE_PRESENT | (pfn << HPTE_PFN_SHIFT);
  if ((args & MAP_OLD) == 0) pte |= HPTE_YOUNG;
  if (exclusive && args & MAP_VM_WRITE) {
    if (write) pte |= HPTE_WRITE | HPTE_DIRTY;
    else if (args & MAP_SWAP_WRITABLE) pte |= HPTE_WRITE;
  }
  hpteSetAt(mm, hvn, pmdp, pte);
  rmapAdd(pfn, mm, hvn);
  swapFree(slot);
  if (exclusive) {
    store<u32>(page, load<u32>(page, FRAME_FLAGS) | anonExclusive, FRAME_FLAGS);
  }
  // A write, or a swap device more than half full (vm_swap_full), gives the slot back.
  const release = write != 0 || swapUsed() * 2 > swapTotal();
  if (direct) {
    store<u32>(page, 0, FRAME_PRIVATE);
    swapUnclaim(slot);
  } else if (release && swapCount(slot) == 1) tryToFreeSwap(pfn);
  return write != 0 && pte & HPTE_WRITE ? 2 : 1;
}

/**
 * ksm_might_need_to_copy(): merged pages share a slot though they belong to different places. The first of them that is
 * read in again is an ordinary page of its place, and a copy serves each other one. (A place is told by its hvn: what
 * fork() shares lies at one.)
 */
function mightNeedToCopy(pfn: Pfn, hvn: Hvn): bool {
  if (!hasMerged() || pageMapcount(pfn) == 0) return false;
  if ((load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_KSM) != 0) return false;
  return rmapHvn(pfn, 0) != hvn;
}

/** Maps a copy of a page of the swap cache in place of its entry there, which goes; results as of swapinMap(). */
function mapCopy(mm: u32, hvn: Hvn, pmdp: usize, from: Pfn, args: u32): u32 {
  const slot = load<u32>(framePtr(from), FRAME_PRIVATE);
  const pfn = wpCopyBegin(from, args);
  putPage(from);
  if (pfn == 0) return 0;
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  store<u32>(page, flags | PG_DIRTY | anonExclusive, FRAME_FLAGS);
  let pte: Hpte = HPTE_PRESENT | (pfn << HPTE_PFN_SHIFT);
  if ((args & MAP_OLD) == 0) pte |= HPTE_YOUNG;
  const writes = (args & MAP_WRITE_FAULT) != 0 && (args & MAP_VM_WRITE) != 0;
  if (writes) pte |= HPTE_WRITE | HPTE_DIRTY;
  hpteSetAt(mm, hvn, pmdp, pte);
  rmapAdd(pfn, mm, hvn);
  lruCacheAdd(pfn);
  swapFree(slot);
  return writes ? 2 : 1;
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
