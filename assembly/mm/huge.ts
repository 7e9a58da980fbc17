// Transparent huge pages: what faults, fork, mprotect and mremap do to a huge pte and its compound page
// (cf. mm/huge_memory.c, 6.1). The order of locks and notifier calls around them is
// src/mm/huge-memory.ts.
//
// A huge pte is one reference of the head. Each of its 512 pages has an rmap entry of its own, so that
// a page's mapcount is right whether huge or small ptes map it; splitting a huge pte then only adds
// references.

import {
  FRAME_FLAGS,
  FRAME_REFCOUNT,
  HPAGE_PMD_NR,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  MAP_CHARGED,
  MAP_UNEVICTABLE,
  PG_ACTIVE,
  PG_ANON,
  PG_ANON_EXCLUSIVE,
  PG_CHARGED,
  PG_DIRTY,
  PG_HUGE,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_UNEVICTABLE,
  PG_WORKINGSET,
} from '../abi';
import { MINOR_FAULTS } from '../counters';
import { bump } from '../stats';
import { Hpte, Hvn, Pfn } from '../types';
import {
  anonExclusive,
  contentCopy,
  folioOf,
  frameCharge,
  frameContent,
  framePtr,
  frameSetContent,
  getPage,
  hugeFrameAlloc,
  putPage,
} from './frame';
import { munlockPage } from './folio_batch';
import { holdIsolated, lruPutbackBatched } from './isolate';
import { lruAddNewer, lruListOf, lruShrinkToHead } from './lru';
import { hasMlockBatch, lruCacheAdd } from './lru_add';
import { tryToFreeSwapUnmapped } from './memory';
import { hpmdGet, hpmdMove, hpmdp, hpmdSet, hpmdSplit } from './pmd';
import { hptep, hpteSet } from './pte';
import { pageMapcount, rmapAdd, rmapRemove } from './rmap';

/** No list. */
const NOT_LISTED: u32 = 0xffffffff;
const LAST: u32 = HPAGE_PMD_NR - 1;

/** Head of the shared huge page of zeros, or 0 before it is first needed. */
let hugeZero: Pfn = 0;

/** Head of the huge zero page, or 0 when there is none yet. */
export function hugeZeroPage(): Pfn {
  return hugeZero;
}

function setFlags(pfn: Pfn, set: u32, clear: u32): void {
  const page = framePtr(pfn);
  store<u32>(page, (load<u32>(page, FRAME_FLAGS) | set) & ~clear, FRAME_FLAGS);
}

/** Makes a new compound page anonymous memory that a huge pte maps; `args` is MAP_*. */
function mapNew(mm: u32, hvn: Hvn, head: Pfn, args: u32): void {
  if (args & MAP_CHARGED) frameCharge(head);
  const evictable: u32 = args & MAP_UNEVICTABLE ? PG_UNEVICTABLE : 0;
  setFlags(head, PG_SWAPBACKED | anonExclusive | evictable, 0);
  for (let i: u32 = 0; i < HPAGE_PMD_NR; i++) {
    setFlags(head + i, PG_ANON, 0);
    rmapAdd(head + i, mm, hvn + i);
  }
  const rights: u32 = HPTE_PRESENT | HPTE_WRITE | HPTE_YOUNG | HPTE_DIRTY;
  lruCacheAdd(head);
  hpmdSet(mm, hvn, rights | (head << HPTE_PFN_SHIFT));
}

/** do_huge_pmd_anonymous_page for a write: the head, or 0 when there is no room. `hvn` is aligned. */
export function doHugeAnonymousPage(mm: u32, hvn: Hvn, args: u32): Pfn {
  const head = hugeFrameAlloc();
  if (head == 0) return 0;
  mapNew(mm, hvn, head, args);
  bump(MINOR_FAULTS);
  return head;
}

/** The same for a read: maps the huge zero page; 0 when there is no room for one. */
export function mapHugeZeroPage(mm: u32, hvn: Hvn): Pfn {
  if (hugeZero == 0) hugeZero = hugeFrameAlloc();
  if (hugeZero == 0) return 0;
  hpmdSet(mm, hvn, HPTE_PRESENT | HPTE_YOUNG | HPTE_SWAP | (hugeZero << HPTE_PFN_SHIFT));
  bump(MINOR_FAULTS);
  return hugeZero;
}

/** Whether somebody else maps a part of a huge page (reuse_swap_page() of 5.10). */
function isPartShared(head: Pfn): bool {
  for (let i: u32 = 0; i < HPAGE_PMD_NR; i++) if (pageMapcount(head + i) > 1) return true;
  return false;
}

/** do_huge_pmd_wp_page: 1 when the huge pte is writable now, 0 when it must be split. */
export function hugeWpReuse(mm: u32, hvn: Hvn): u32 {
  const pmdp = hpmdp(mm, hvn);
  const pmd = load<u32>(pmdp);
  if (pmd & HPTE_SWAP) return 0;
  const head = pmd >> HPTE_PFN_SHIFT;
  const page = framePtr(head);
  if (anonExclusive == 0) {
    if (isPartShared(head)) return 0;
  } else if ((load<u32>(page, FRAME_FLAGS) & PG_ANON_EXCLUSIVE) == 0) {
    if (load<u32>(page, FRAME_REFCOUNT) != 1) return 0;
    setFlags(head, PG_ANON_EXCLUSIVE, 0);
  }
  store<u32>(pmdp, pmd | HPTE_WRITE | HPTE_DIRTY | HPTE_YOUNG);
  bump(MINOR_FAULTS);
  return 1;
}

/**
 * __split_huge_pmd_locked: 512 ptes in place of a huge one. The dirty bit goes to the page; with `keep`
 * (the page itself is split next, and migration entries carry the bit; later kernels always) the ptes have it too.
 */
export function splitHugePmd(mm: u32, hvn: Hvn, keep: u32): void {
  hvn &= ~LAST;
  const pmd = hpmdGet(mm, hvn);
  if (pmd & HPTE_SWAP) {
    // The huge zero page gives way to the small one.
    hpmdSet(mm, hvn, 0);
    const pte: Hpte = HPTE_PRESENT | HPTE_YOUNG | HPTE_SWAP;
    for (let i: u32 = 0; i < HPAGE_PMD_NR; i++) hpteSet(mm, hvn + i, pte);
    return;
  }
  const head = pmd >> HPTE_PFN_SHIFT;
  const page = framePtr(head);
  if (pmd & HPTE_DIRTY) setFlags(head, PG_DIRTY, 0);
  store<u32>(page, load<u32>(page, FRAME_REFCOUNT) + LAST, FRAME_REFCOUNT);
  const exclusive = load<u32>(page, FRAME_FLAGS) & PG_ANON_EXCLUSIVE;
  hpmdSplit(mm, hvn);
  for (let i: u32 = 0; i < HPAGE_PMD_NR; i++) {
    setFlags(head + i, exclusive, 0);
    const ptep = hptep(mm, hvn + i);
    if (keep == 0) store<u32>(ptep, load<u32>(ptep) & ~HPTE_DIRTY);
  }
}

/** Flags that a tail takes over from the head when the page is split (__split_huge_page_tail). */
const TAIL_FLAGS: u32 =
  PG_REFERENCED |
  PG_SWAPBACKED |
  PG_ACTIVE |
  PG_WORKINGSET |
  PG_UNEVICTABLE |
  PG_DIRTY |
  PG_CHARGED;

/**
 * __split_huge_page: the frames of a compound page that small ptes map become pages of their own; those
 * that nobody maps are freed. The caller holds a reference on the head. The tails of a listed page join
 * its list, each as the next newer one of the page before it. `isolated`: reclaim has the page, and has each tail
 * from then on.
 */
export function splitHugePage(head: Pfn, isolated: u32): void {
  const page = framePtr(head);
  const listed = lruListOf(head) != NOT_LISTED;
  if (listed) lruShrinkToHead(head);
  const flags = load<u32>(page, FRAME_FLAGS) & ~PG_HUGE;
  store<u32>(page, flags, FRAME_FLAGS);
  let refs = load<u32>(page, FRAME_REFCOUNT);
  let newest = head;
  for (let pfn = head + 1; pfn <= head + LAST; pfn++) {
    const tail = framePtr(pfn);
    const mapped = pageMapcount(pfn);
    const own = load<u32>(tail, FRAME_FLAGS) & ~PG_HUGE;
    store<u32>(tail, own | (flags & TAIL_FLAGS), FRAME_FLAGS);
    store<u32>(tail, mapped + 1, FRAME_REFCOUNT);
    if (isolated != 0) holdIsolated(pfn);
    refs -= mapped;
    if (listed && mapped != 0) {
      lruAddNewer(pfn, newest);
      newest = pfn;
    }
    putPage(pfn);
  }
  store<u32>(page, refs, FRAME_REFCOUNT);
}

/** copy_huge_pmd: a fork's child maps the huge page too, both read-only. `hvn` is aligned. */
export function copyHugePmd(from: u32, to: u32, hvn: Hvn): void {
  const pmd = hpmdGet(from, hvn) & ~HPTE_WRITE;
  hpmdSet(from, hvn, pmd);
  hpmdSet(to, hvn, pmd & ~HPTE_YOUNG);
  if (pmd & HPTE_SWAP) return;
  const head = pmd >> HPTE_PFN_SHIFT;
  setFlags(head, 0, PG_ANON_EXCLUSIVE);
  getPage(head);
  for (let i: u32 = 0; i < HPAGE_PMD_NR; i++) rmapAdd(head + i, to, hvn + i);
}

/** move_huge_pmd: the huge mapping goes to another place of the same mm. Both hvns are aligned. */
export function moveHugePmd(mm: u32, hvn: Hvn, target: Hvn): void {
  hpmdMove(mm, hvn, target);
  const pmd = hpmdGet(mm, target);
  if (pmd & HPTE_SWAP) return;
  // It counts as written from now on (move_soft_dirty_pmd).
  store<u32>(hpmdp(mm, target), pmd & ~HPTE_AUX);
  const head = pmd >> HPTE_PFN_SHIFT;
  for (let i: u32 = 0; i < HPAGE_PMD_NR; i++) {
    rmapRemove(head + i, mm, hvn + i);
    rmapAdd(head + i, mm, target + i);
  }
}

/** zap_huge_pmd: clears a huge pte. The head, whose reference is the caller's now; 0: the zero page. */
export function zapHugePmd(mm: u32, hvn: Hvn): Pfn {
  const pmd = hpmdGet(mm, hvn);
  hpmdSet(mm, hvn, 0);
  if (pmd & HPTE_SWAP) return 0;
  const head = pmd >> HPTE_PFN_SHIFT;
  for (let i: u32 = 0; i < HPAGE_PMD_NR; i++) rmapRemove(head + i, mm, hvn + i);
  return head;
}

/** A locked area does not map a page any more, as when it is unmapped; a part of a huge one was not locked (munlock_vma_page). */
function munlockCopied(pfn: Pfn): void {
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  if ((flags & (PG_UNEVICTABLE | PG_HUGE)) == PG_UNEVICTABLE && hasMlockBatch())
    munlockPage(pfn, 1);
}

/**
 * __collapse_huge_page_copy and what follows: the contents of 512 small pages go to a compound page that
 * takes their place; what they were is given back. 0 when there is no room. `hvn` is aligned.
 */
export function collapseHugePage(mm: u32, hvn: Hvn, args: u32): Pfn {
  const head = hugeFrameAlloc();
  if (head == 0) return 0;
  let compound: Pfn = 0;
  for (let i: u32 = 0; i < HPAGE_PMD_NR; i++) {
    const pte = hpteSet(mm, hvn + i, 0);
    if ((pte & (HPTE_PRESENT | HPTE_SWAP)) != HPTE_PRESENT) continue;
    const pfn = pte >> HPTE_PFN_SHIFT;
    const content = frameContent(pfn);
    if (content != 0) frameSetContent(head + i, contentCopy(content));
    // The page goes back to its list by way of the batch, and is freed from there.
    const folio = folioOf(pfn);
    if (folio == pfn && (load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_HUGE) == 0) {
      lruPutbackBatched(pfn);
    } else if (folio != compound) {
      if (compound != 0) lruPutbackBatched(compound);
      compound = folio;
    }
    rmapRemove(pfn, mm, hvn + i);
    if (args & MAP_UNEVICTABLE) munlockCopied(pfn);
    tryToFreeSwapUnmapped(pfn);
    putPage(pfn);
  }
  if (compound != 0) lruPutbackBatched(compound);
  mapNew(mm, hvn, head, args);
  return head;
}
