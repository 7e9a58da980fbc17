// The pieces of reclaiming one page (cf. mm/vmscan.c, mm/rmap.c). The order of the pieces, the
// notifier calls between them and the choice of the page are src/mm/vmscan/.

import {
  EVENT_SWAP_WRITEPAGE,
  EVENT_VMSCAN_WRITE,
  FRAME_FLAGS,
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_SWAP,
  HPTE_YOUNG,
  IO_MAJOR,
  NO_SLOT,
  PG_ANON,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_ISOLATED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  RECLAIM_FREED,
  RECLAIM_NO_MAPPING,
  RECLAIM_NO_SWAP,
  RECLAIM_PINNED,
  RECLAIM_SWAP_FULL,
  RECLAIM_WROTE,
  UNMAP_DIRTY,
  UNMAP_LAST,
  UNMAP_MORE,
  UNMAP_NONE,
} from '../abi';
import {
  CLEAN_DROPS,
  EVICTIONS,
  FILE_WRITEBACKS,
  RMAP_NODES_VISITED,
  SWAP_FULL,
  SWAP_OUTS,
  YOUNG_TESTS,
} from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Hvn, Pfn } from '../types';
import { workingsetEviction } from './workingset';
import { filemapDel, fileWrite, pageFile } from './filemap';
import { framePtr, freePage } from './frame';
import { memcgUpdated } from './memcg';
import { outWord } from './memory';
import { hpmdp } from './pmd';
import { hpteGet, hptep, hpteSetAt, leafPmdp, ptepAt } from './pte';
import { pageMapcount, rmapHvn, rmapMm, rmapRemove } from './rmap';
import { isShmemPage, shmemToSwap } from './shmem';
import {
  swapAlloc,
  swapCacheAdd,
  swapCacheDel,
  swapCount,
  swapDuplicate,
  swapSetShadow,
  swapWrite,
} from './swap';

/** Result bit of pageReferencedOne(): the pte was young. */
const YOUNG_BIT: u32 = 0x80000000;
if (YOUNG_BIT != IO_MAJOR) ERROR('abi: IO_MAJOR is bit 31');

/** Result of pageReferencedOne() and reclaimNext() when there is no (further) mapping. */
const NO_MAPPING: u32 = 0xffffffff;
/** Result of reclaimNext() when no swap slot is free. */
const NO_SWAP: u32 = 0x7fffffff;
if (RECLAIM_NO_MAPPING != NO_MAPPING || RECLAIM_NO_SWAP != NO_SWAP) ERROR('abi: RECLAIM_NO_*');

/**
 * Clears the young bit of the i-th pte that maps a page. The result is its hvn, with bit 31 set when
 * it was young, or RECLAIM_NO_MAPPING; MM_OUT word 0 is its mm, word 1 the number of mappings.
 */
export function pageReferencedOne(pfn: Pfn, i: u32): u32 {
  const mapped = pageMapcount(pfn);
  outWord(1, mapped);
  if (i >= mapped) return NO_MAPPING;
  const hvn = rmapHvn(pfn, i);
  const mm = rmapMm(pfn, i);
  outWord(0, mm);
  let ptep = hptep(mm, hvn);
  if (ptep == 0) {
    ptep = hpmdp(mm, hvn);
  }
  return pteReferenced(ptep) ? hvn | YOUNG_BIT : hvn;
}

/** Clears the young bit of the pte at `ptep` (0: a mapping without one); whether it was set. */
export function pteReferenced(ptep: usize): bool {
  bump(RMAP_NODES_VISITED);
  bump(YOUNG_TESTS);
  if (ptep == 0) return false;
  const pte = load<u32>(ptep);
  if ((pte & HPTE_YOUNG) == 0) return false;
  store<u32>(ptep, pte & ~HPTE_YOUNG);
  return true;
}

/**
 * The next pte that is to be unmapped of a page that is reclaimed: its hvn, and its mm and the page's
 * flags in MM_OUT words 0 and 1; RECLAIM_NO_MAPPING when none is left. The first call gives an anonymous page its swap slot, or
 * says RECLAIM_NO_SWAP.
 */
export function reclaimNext(pfn: Pfn): u32 {
  if (addToSwap(pfn) == 0) return NO_SWAP;
  if (pageMapcount(pfn) == 0) return NO_MAPPING;
  outWord(0, rmapMm(pfn, 0));
  outWord(1, load<u32>(framePtr(pfn), FRAME_FLAGS));
  return rmapHvn(pfn, 0);
}

/** Gives an anonymous page a swap slot and puts it into the swap cache; 0: no slot is free. */
export function addToSwap(pfn: Pfn): u32 {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & (PG_ANON | PG_SWAPBACKED)) != (PG_ANON | PG_SWAPBACKED)) return 1;
  if (flags & PG_SWAPCACHE) return 1;
  const slot = swapAlloc();
  if (slot == NO_SLOT) {
    bump(SWAP_FULL);
    return 0;
  }
  swapCacheAdd(pfn, slot);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_DIRTY, FRAME_FLAGS);
  return 1;
}

/**
 * Replaces the oldest pte that maps the page by what finds the page again (a swap entry, or nothing
 * for a file page); UNMAP_*.
 */
export function tryToUnmapOne(pfn: Pfn): u32 {
  if (pageMapcount(pfn) == 0) return UNMAP_NONE;
  const mm = rmapMm(pfn, 0);
  const hvn = rmapHvn(pfn, 0);
  return tryToUnmapAt(pfn, mm, hvn, leafPmdp(mm, hvn));
}

/** The same for a mapping that is known, with the pmd entry of its page. */
export function tryToUnmapAt(pfn: Pfn, mm: u32, hvn: Hvn, pmdp: usize): u32 {
  const page = framePtr(pfn);
  const pte = load<u32>(ptepAt(pmdp, hvn));
  let flags = load<u32>(page, FRAME_FLAGS);
  if (pte & HPTE_DIRTY) flags |= PG_DIRTY;
  let entry: u32 = 0;
  if (flags & PG_ANON) {
    if (flags & PG_SWAPBACKED) {
      assert((flags & PG_SWAPCACHE) != 0, 'an anonymous page has its slot before it is unmapped');
      const slot = load<u32>(page, FRAME_PRIVATE);
      swapDuplicate(slot);
      entry = HPTE_SWAP | (flags & PG_ANON_EXCLUSIVE ? HPTE_AUX : 0) | (slot << HPTE_PFN_SHIFT);
      flags &= ~PG_ANON_EXCLUSIVE;
    } else if (flags & PG_DIRTY) {
      store<u32>(page, flags | PG_SWAPBACKED, FRAME_FLAGS);
      return UNMAP_DIRTY;
    }
  }
  store<u32>(page, flags, FRAME_FLAGS);
  hpteSetAt(mm, hvn, pmdp, entry);
  rmapRemove(pfn, mm, hvn);
  store<u32>(page, load<u32>(page, FRAME_REFCOUNT) - 1, FRAME_REFCOUNT);
  return pageMapcount(pfn) == 0 ? UNMAP_LAST : UNMAP_MORE;
}

/**
 * reclaimNext() and tryToUnmapOne() in one, for a page with one mapping that was not freed lazily: its
 * hvn (mm and flags in MM_OUT), or RECLAIM_NO_SWAP; RECLAIM_NO_MAPPING for any other page.
 */
export function reclaimUnmap(pfn: Pfn): u32 {
  const lazy = (load<u32>(framePtr(pfn), FRAME_FLAGS) & (PG_ANON | PG_SWAPBACKED)) == PG_ANON;
  if (lazy || pageMapcount(pfn) != 1) return NO_MAPPING;
  const hvn = reclaimNext(pfn);
  if (hvn != NO_SWAP) tryToUnmapOne(pfn);
  return hvn;
}

/** True when nothing but reclaim and the cache (swap or page cache) holds the page. */
function isCacheFreeable(page: usize, flags: u32, file: bool): bool {
  const cached: u32 = file || flags & PG_SWAPCACHE ? 1 : 0;
  return load<u32>(page, FRAME_REFCOUNT) == 1 + cached;
}

/** Writes an unmapped, isolated page if it is dirty. Result: RECLAIM_WROTE, RECLAIM_PINNED or 0. */
export function pageout(pfn: Pfn): u32 {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const anon = (flags & PG_ANON) != 0;
  if (pageMapcount(pfn) != 0 || !isCacheFreeable(page, flags, !anon)) return RECLAIM_PINNED;
  if ((flags & PG_DIRTY) == 0) return 0;
  if (!anon && (flags & PG_SWAPCACHE) == 0 && isShmemPage(pfn)) {
    const offset = load<u32>(page, FRAME_PRIVATE);
    if (shmemToSwap(pfn, pageFile(pfn), offset) == NO_SLOT) return RECLAIM_SWAP_FULL;
  } else if (!anon && (flags & PG_SWAPCACHE) == 0) {
    fileWrite(pfn);
    bump(FILE_WRITEBACKS);
    trace(EVENT_VMSCAN_WRITE, pfn);
    return RECLAIM_WROTE;
  } else if ((flags & PG_SWAPCACHE) == 0) {
    return flags & PG_SWAPBACKED ? RECLAIM_SWAP_FULL : 0;
  }
  if (swapCount(load<u32>(page, FRAME_PRIVATE)) == 1) return forgetSwap(pfn);
  // NR_WRITEBACK goes up and down.
  memcgUpdated(1);
  memcgUpdated(1);
  swapWrite(pfn, load<u32>(page, FRAME_PRIVATE));
  store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~PG_DIRTY, FRAME_FLAGS);
  bump(SWAP_OUTS);
  trace(EVENT_SWAP_WRITEPAGE, pfn);
  trace(EVENT_VMSCAN_WRITE, pfn);
  return RECLAIM_WROTE;
}

/** swap_writepage() of a page that nobody will swap in (try_to_free_swap): it stays, and stays dirty. */
function forgetSwap(pfn: Pfn): u32 {
  trace(EVENT_SWAP_WRITEPAGE, pfn);
  trace(EVENT_VMSCAN_WRITE, pfn);
  swapCacheDel(pfn);
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_REFCOUNT) - 1, FRAME_REFCOUNT);
  return RECLAIM_PINNED;
}

/**
 * Takes a clean, unmapped, isolated page out of its cache and frees it (remove_mapping), leaving a
 * shadow when `shadow` is not 0. Result: RECLAIM_FREED, or RECLAIM_PINNED and the page is as it was.
 */
export function removeMapping(pfn: Pfn, shadow: u32): u32 {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const anon = (flags & PG_ANON) != 0;
  if (!isCacheFreeable(page, flags, !anon) || flags & PG_DIRTY) return RECLAIM_PINNED;
  store<u32>(page, flags & ~PG_ISOLATED, FRAME_FLAGS);
  if (flags & PG_SWAPCACHE) {
    if (shadow != 0) swapSetShadow(load<u32>(page, FRAME_PRIVATE), shadow);
    swapCacheDel(pfn);
  } else if (!anon) {
    filemapDel(pfn, shadow);
  }
  // The cache's reference and reclaim's own were the last ones.
  freePage(pfn);
  bump(EVICTIONS);
  return RECLAIM_FREED;
}

/**
 * Write-back and freeing of an unmapped page in one call, for reclaim that nothing can interrupt.
 * Result: RECLAIM_* bits; RECLAIM_FREED without RECLAIM_WROTE is a clean drop. MM_OUT word 0 is the slot
 * or file offset that the page had, word 1 its flags. `workingset`: leave a shadow (1,
 * with 2: one that the whole host's lists will judge) or none (0). `before`: pages of the same huge page that
 * went before it.
 */
export function pageoutFree(pfn: Pfn, workingset: u32, before: u32): u32 {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  outWord(0, load<u32>(page, FRAME_PRIVATE));
  outWord(1, flags);
  const wrote = pageout(pfn);
  if (wrote & (RECLAIM_PINNED | RECLAIM_SWAP_FULL)) return wrote;
  const cached = load<u32>(page, FRAME_FLAGS) & PG_SWAPCACHE;
  const shadow: u32 = workingset && cached ? workingsetEviction(pfn, workingset >> 1, before) : 0;
  const freed = removeMapping(pfn, shadow);
  if (freed == RECLAIM_FREED && wrote == 0) bump(CLEAN_DROPS);
  return wrote | freed;
}

/** True (1) when the hvn's pte was young; used where only the pte is asked. */
export function hpteYoung(mm: u32, hvn: Hvn): u32 {
  return hpteGet(mm, hvn) & HPTE_YOUNG ? 1 : 0;
}
