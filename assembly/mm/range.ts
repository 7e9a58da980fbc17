// Operations on ranges of host ptes: zap, fork, mprotect, mremap, ageing by madvise. They visit what is
// mapped and cost nothing for the rest. Pages that lose their last mapping are gathered first and freed
// afterwards (cf. struct mmu_gather), since the TLB flush and the notifiers stand between.
//
//   gather buffer (one a task): ┌───────┬──────────────────────────────┐
//                               │ count │ pfn × GATHER_PAGES           │
//                               └───────┴──────────────────────────────┘

import {
  FRAME_FLAGS,
  GATHER_BUFFERS,
  GATHER_PAGES,
  HPAGE_PMD_NR,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_PROTNONE,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  LAZYFREE_PAGE,
  LAZYFREE_PTE,
  PG_ANON,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_LOCKED,
  PG_REFERENCED,
  PG_SWAPCACHE,
  PROTECT_CLEAN,
  PROTECT_NONE,
  PROTECT_READ,
  PROTECT_SHARED,
  ZAP_FLUSH,
  ZAP_FULL,
  ZAP_SPLIT,
} from '../abi';
import { arenaAlloc } from '../layout';
import { Hpte, Hvn, Pfn } from '../types';
import { folioOf, framePtr, getPage, putPage } from './frame';
import { copyHugePmd, moveHugePmd, zapHugePmd } from './huge';
import { markPageAccessed } from './lru';
import { lruAddDrain } from './lru_add';
import { memcgGather } from './memcg';
import { mmOut, outWord, setPageDirty, tryToFreeSwap, tryToFreeSwapUnmapped } from './memory';
import { hpmdNextPopulated, hpmdNone, keepsTables } from './pgtable';
import { hpmdGet, hpmdMakeTable, hpmdMove, hpmdp } from './pmd';
import { hpteGet, hpteNextMapped, hpteSet, hpteTestAndClearYoung } from './pte';
import { pageMapcount, rmapAdd, rmapRemove } from './rmap';
import { isShmemPage } from './shmem';
import { swapCacheLookup, swapCount, swapDuplicate, swapFree } from './swap';

const GATHERS: usize = memory.data(64, 4);
if (GATHER_BUFFERS * 4 != 64) ERROR('abi: GATHER_BUFFERS');

function gatherOf(task: u32): usize {
  const at = GATHERS + ((<usize>(task & (GATHER_BUFFERS - 1))) << 2);
  if (load<u32>(at) == 0) store<u32>(at, <u32>arenaAlloc((<usize>GATHER_PAGES + 1) << 2));
  return load<u32>(at);
}

function gatherAdd(gather: usize, pfn: Pfn): void {
  const n = load<u32>(gather);
  store<u32>(gather + ((<usize>n + 1) << 2), pfn);
  store<u32>(gather, n + 1);
}

/** Frees what a task's zap gathered (tlb_finish_mmu); returns how many frames became free. */
export function gatherFree(task: u32): u32 {
  const gather = gatherOf(task);
  const n = load<u32>(gather);
  store<u32>(gather, 0);
  // free_pages_and_swap_cache: what waits in a batch reaches its list while the page is still held.
  if (n != 0) lruAddDrain();
  let freed: u32 = 0;
  memcgGather(1);
  for (let i: u32 = 0; i < n; i++) {
    const pfn = load<u32>(gather + ((<usize>i + 1) << 2));
    tryToFreeSwapUnmapped(pfn);
    freed += putPage(pfn);
  }
  memcgGather(0);
  return freed;
}

/** A present pte is gone; true when it made a page of a file dirty. */
function zapPresent(mm: u32, hvn: Hvn, pte: Hpte, gather: usize): bool {
  if (pte & HPTE_SWAP) return false;
  const pfn = pte >> HPTE_PFN_SHIFT;
  let dirty = false;
  if ((load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_ANON) == 0) {
    dirty = (pte & HPTE_DIRTY) != 0;
    if (dirty) setPageDirty(pfn);
    if (pte & HPTE_YOUNG) markPageAccessed(pfn);
  }
  rmapRemove(pfn, mm, hvn);
  gatherAdd(gather, pfn);
  return dirty;
}

/** A swap entry goes; its page leaves the swap cache when nobody else needs it or has it locked. */
function zapSwap(pte: Hpte): void {
  const slot = pte >> HPTE_PFN_SHIFT;
  const cached = swapCacheLookup(slot);
  swapFree(slot);
  if (cached != 0 && swapCount(slot) == 1) tryToFreeSwapUnmapped(cached);
}

function zapped(from: Hvn, to: Hvn): void {
  if (load<u32>(mmOut(), 4) == 0) outWord(0, from);
  outWord(1, to);
}

/**
 * Clears the ptes of [hvn, end) until the task's gather buffer is full; returns where it stopped
 * (`end`: all done). The caller frees the gathered pages with gatherFree(). MM_OUT words 0 and 1 are
 * the first present page and the page after the last one that were cleared (0, 0: none), word 2 is why
 * it stopped: ZAP_SPLIT: a huge pte there reaches out of the range and must be split; ZAP_FLUSH
 * (only with `eager`): dirty pages of a file are to be flushed at the end of their table.
 */
export function zapRange(mm: u32, hvn: Hvn, end: Hvn, task: u32, eager: u32): Hvn {
  const gather = gatherOf(task);
  outWord(0, 0);
  outWord(1, 0);
  outWord(2, ZAP_FULL);
  let dirty = false;
  let tableEnd: Hvn = 0;
  hvn = hpteNextMapped(mm, hvn, end);
  while (hvn < end) {
    if (dirty && hvn >= tableEnd) break;
    if (load<u32>(gather) >= GATHER_PAGES) return hvn;
    tableEnd = (hvn | (HPAGE_PMD_NR - 1)) + 1;
    if (hpmdGet(mm, hvn) != 0) {
      if ((hvn & (HPAGE_PMD_NR - 1)) != 0 || end - hvn < HPAGE_PMD_NR) {
        outWord(2, ZAP_SPLIT);
        return hvn;
      }
      zapped(hvn, hvn + HPAGE_PMD_NR);
      const head = zapHugePmd(mm, hvn);
      if (head != 0) gatherAdd(gather, head);
      hvn = hpteNextMapped(mm, hvn + HPAGE_PMD_NR, end);
      continue;
    }
    const pte = hpteSet(mm, hvn, 0);
    if (pte & HPTE_PRESENT) {
      zapped(hvn, hvn + 1);
      if (zapPresent(mm, hvn, pte, gather) && eager != 0) dirty = true;
    } else {
      zapSwap(pte);
    }
    hvn = hpteNextMapped(mm, hvn + 1, end);
  }
  if (dirty) outWord(2, ZAP_FLUSH);
  return hvn;
}

/**
 * Copies what a child of fork() needs of [hvn, end): anonymous pages, shared read-only from now on in
 * both; swap entries; zero-page ptes. File pages are left to the child's own faults. Returns how many
 * ptes were copied.
 */
export function copyRange(from: u32, to: u32, hvn: Hvn, end: Hvn): u32 {
  let copied: u32 = 0;
  hvn = hpteNextMapped(from, hvn, end);
  while (hvn < end) {
    if (hpmdGet(from, hvn) != 0) {
      copyHugePmd(from, to, hvn);
      copied += HPAGE_PMD_NR;
      hvn = hpteNextMapped(from, hvn + HPAGE_PMD_NR, end);
      continue;
    }
    let pte = hpteGet(from, hvn);
    if ((pte & HPTE_PRESENT) == 0) {
      // A shared slot is nobody's own any more.
      pte &= ~HPTE_AUX;
      hpteSet(from, hvn, pte);
      swapDuplicate(pte >> HPTE_PFN_SHIFT);
      hpteSet(to, hvn, pte);
      copied++;
    } else if (pte & HPTE_SWAP) {
      hpteSet(to, hvn, pte);
      copied++;
    } else {
      const pfn = pte >> HPTE_PFN_SHIFT;
      const page = framePtr(pfn);
      const flags = load<u32>(page, FRAME_FLAGS);
      if (flags & PG_ANON) {
        store<u32>(page, flags & ~PG_ANON_EXCLUSIVE, FRAME_FLAGS);
        pte &= ~HPTE_WRITE;
        hpteSet(from, hvn, pte);
        getPage(pfn);
        // The child's pte starts old (copy_one_pte: pte_mkold).
        hpteSet(to, hvn, pte & ~HPTE_YOUNG);
        rmapAdd(pfn, to, hvn);
        copied++;
      } else if (isShmemPage(pfn)) {
        // A private mapping of a file is copied whole once it has anonymous pages.
        getPage(pfn);
        hpteSet(to, hvn, pte & ~HPTE_YOUNG);
        rmapAdd(pfn, to, hvn);
        copied++;
      }
    }
    hvn = hpteNextMapped(from, hvn + 1, end);
  }
  return copied;
}

/** Where the ptes end that the last protectRange() changed. */
let changedEnd: Hvn = 0;

/** End of the last protectRange()'s changes. */
export function protectedEnd(): u32 {
  return changedEnd;
}

/** What a present pte becomes; one that could be written is judged anew (pte_modify() takes the right). */
function protectedPte(pte: u32, rights: u32, upgrade: u32): u32 {
  if ((pte & HPTE_PRESENT) == 0) return pte;
  pte &= ~HPTE_WRITE;
  if (rights == PROTECT_NONE) return pte | HPTE_PROTNONE;
  pte &= ~HPTE_PROTNONE;
  if (rights == PROTECT_READ) return pte;
  if (upgrade & PROTECT_SHARED) return pte | HPTE_WRITE;
  const dirty = (upgrade & PROTECT_CLEAN) != 0 || (pte & HPTE_DIRTY) != 0;
  if (upgrade && dirty && (pte & (HPTE_SWAP | HPTE_AUX)) == 0) {
    const flags = load<u32>(framePtr(pte >> HPTE_PFN_SHIFT), FRAME_FLAGS);
    if (flags & PG_ANON_EXCLUSIVE) return pte | HPTE_WRITE;
  }
  return pte;
}

/**
 * Changes the `rights` (PROTECT_*) of [hvn, end) (change_protection); `upgrade`: exclusive anonymous pages
 * that were written before become writable at once (can_change_pte_writable), else at their next write
 * fault. Returns where the ptes that changed begin, `end` when none did; they end at protectedEnd().
 */
export function protectRange(mm: u32, hvn: Hvn, end: Hvn, rights: u32, upgrade: u32): u32 {
  let first = end;
  changedEnd = end;
  hvn = hpteNextMapped(mm, hvn, end);
  while (hvn < end) {
    const at = hvn;
    let changed = false;
    const pmdp = hpmdp(mm, hvn);
    if (pmdp != 0) {
      const pmd = load<u32>(pmdp);
      // change_huge_pmd() of 6.1 never makes a huge pte writable, pmd_modify() of 6.6 and later drops its dirty bit.
      const kept = upgrade & PROTECT_CLEAN ? pmd & ~HPTE_DIRTY : pmd;
      const to = protectedPte(kept, rights, upgrade & PROTECT_CLEAN);
      changed = to != pmd;
      if (changed) store<u32>(pmdp, to);
      hvn += HPAGE_PMD_NR;
    } else {
      const pte = hpteGet(mm, hvn);
      const to = protectedPte(pte, rights, upgrade);
      changed = to != pte;
      if (changed) hpteSet(mm, hvn, to);
      hvn++;
    }
    if (changed) {
      if (first == end) first = at;
      changedEnd = hvn;
    }
    hvn = hpteNextMapped(mm, hvn, end);
  }
  return first;
}

/**
 * Moves the ptes of [hvn, end) to another place of the same mm (move_page_tables), table by table of either side. MM_OUT
 * word 0 is how many. It stops at a huge pte that can't move whole, which must be split; returns where (`end`: done).
 */
export function moveRange(mm: u32, hvn: Hvn, end: Hvn, target: Hvn): Hvn {
  const shift = target - hvn;
  let moved: u32 = 0;
  hvn = hpmdNextPopulated(mm, hvn, end);
  while (hvn < end) {
    const next = min(min(tableEnd(hvn), tableEnd(hvn + shift) - shift), end);
    const whole = next - hvn == HPAGE_PMD_NR;
    if (hpmdGet(mm, hvn) != 0) {
      if (!whole) break;
      moveHugePmd(mm, hvn, hvn + shift);
      moved += HPAGE_PMD_NR;
    } else if (whole && hpmdNone(mm, hvn + shift) != 0) {
      moved += moveTable(mm, hvn, hvn + shift);
    } else {
      moved += movePtes(mm, hvn, next, shift);
    }
    hvn = hpmdNextPopulated(mm, next, end);
  }
  outWord(0, moved);
  return hvn;
}

/** End of the table that maps a page. */
function tableEnd(hvn: Hvn): Hvn {
  return (hvn | (HPAGE_PMD_NR - 1)) + 1;
}

/** move_normal_pmd: the ptes stay in their table as they are. Result: how many. */
function moveTable(mm: u32, hvn: Hvn, target: Hvn): u32 {
  hpmdMove(mm, hvn, target);
  let moved: u32 = 0;
  const end = target + HPAGE_PMD_NR;
  for (let to = hpteNextMapped(mm, target, end); to < end; to = hpteNextMapped(mm, to + 1, end)) {
    rmapMove(mm, hpteGet(mm, to), to - target + hvn, to);
    moved++;
  }
  return moved;
}

/** move_ptes: one by one, to a table that is made even if none is to move; they count as written from now on. */
function movePtes(mm: u32, hvn: Hvn, end: Hvn, shift: u32): u32 {
  let moved: u32 = 0;
  if (keepsTables()) hpmdMakeTable(mm, hvn + shift);
  for (hvn = hpteNextMapped(mm, hvn, end); hvn < end; hvn = hpteNextMapped(mm, hvn + 1, end)) {
    let pte = hpteSet(mm, hvn, 0);
    if (pte & HPTE_PRESENT) pte &= ~HPTE_AUX;
    hpteSet(mm, hvn + shift, pte);
    rmapMove(mm, pte, hvn, hvn + shift);
    moved++;
  }
  return moved;
}

/** The page that a pte maps is mapped elsewhere. */
function rmapMove(mm: u32, pte: Hpte, from: Hvn, to: Hvn): void {
  if ((pte & (HPTE_PRESENT | HPTE_SWAP)) != HPTE_PRESENT) return;
  const pfn = pte >> HPTE_PFN_SHIFT;
  rmapRemove(pfn, mm, from);
  rmapAdd(pfn, mm, to);
}

/**
 * Write-protects what is mapped in [hvn, end) and notes that it was not written since (clear_soft_dirty):
 * mprotect() must not make such a pte writable by itself.
 */
export function clearSoftDirtyRange(mm: u32, hvn: Hvn, end: Hvn): void {
  hvn = hpteNextMapped(mm, hvn, end);
  while (hvn < end) {
    const pmdp = hpmdp(mm, hvn);
    if (pmdp != 0) {
      store<u32>(pmdp, (load<u32>(pmdp) & ~HPTE_WRITE) | HPTE_AUX);
      hvn = hpteNextMapped(mm, (hvn | (HPAGE_PMD_NR - 1)) + 1, end);
      continue;
    }
    const pte = hpteGet(mm, hvn);
    if ((pte & (HPTE_PRESENT | HPTE_SWAP)) == HPTE_PRESENT) {
      hpteSet(mm, hvn, (pte & ~HPTE_WRITE) | HPTE_AUX);
    }
    hvn = hpteNextMapped(mm, hvn + 1, end);
  }
}

/** Clears young and referenced without asking anyone (clear_refs, MADV_COLD's first half). */
export function clearRefsRange(mm: u32, hvn: Hvn, end: Hvn): u32 {
  let seen: u32 = 0;
  hvn = hpteNextMapped(mm, hvn, end);
  while (hvn < end) {
    const pte = hpteGet(mm, hvn);
    const huge = hpmdGet(mm, hvn) != 0;
    // The small zero page is nobody's (vm_normal_page); of a huge pte all are looked at.
    const looks = huge ? HPTE_PRESENT : HPTE_PRESENT | HPTE_SWAP;
    if ((pte & looks) == HPTE_PRESENT) {
      hpteTestAndClearYoung(mm, hvn);
      const page = framePtr(folioOf(pte >> HPTE_PFN_SHIFT));
      store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~PG_REFERENCED, FRAME_FLAGS);
      seen++;
    }
    hvn = hpteNextMapped(mm, huge ? (hvn | (HPAGE_PMD_NR - 1)) + 1 : hvn + 1, end);
  }
  return seen;
}

/**
 * MADV_FREE on one page (madvise_free_pte_range): a swap entry goes; a page whose content can be given
 * up becomes clean. Result: LAZYFREE_PAGE when the page may be marked lazily freeable, with
 * LAZYFREE_PTE when its pte was young or dirty.
 */
export function lazyFreeOne(mm: u32, hvn: Hvn): u32 {
  const pte = hpteGet(mm, hvn);
  if (pte == 0) return 0;
  if ((pte & HPTE_PRESENT) == 0) {
    hpteSet(mm, hvn, 0);
    zapSwap(pte);
    return 0;
  }
  if (pte & HPTE_SWAP) return 0;
  const pfn = pte >> HPTE_PFN_SHIFT;
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & PG_ANON) == 0) return 0;
  if (flags & (PG_SWAPCACHE | PG_DIRTY)) {
    if (pageMapcount(pfn) != 1 || flags & PG_LOCKED) return 0;
    if (flags & PG_SWAPCACHE && tryToFreeSwap(pfn) == 0) return 0;
    store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~PG_DIRTY, FRAME_FLAGS);
  }
  if ((pte & (HPTE_YOUNG | HPTE_DIRTY)) == 0) return LAZYFREE_PAGE;
  hpteSet(mm, hvn, pte & ~(HPTE_YOUNG | HPTE_DIRTY));
  return LAZYFREE_PAGE | LAZYFREE_PTE;
}
