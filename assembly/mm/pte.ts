// Host page tables: three levels over host virtual page numbers below 2^30, made as they are touched.
//
//   hvn  29            18 17           9 8            0
//       ┌────────────────┬──────────────┬──────────────┐
//       │ pgd, 4096 × u32│ pmd, 512 × u64│ pte, 512 × u32│
//       └────────────────┴──────────────┴──────────────┘
//   pmd entry: word 0 = leaf table (2 KiB, half of a page), or a huge pte (HPTE_PRESENT set);
//              word 1 = number of ptes in the leaf that are not 0 (a huge pte: 512).
//
// Invariants: a leaf or pmd table without entries is freed at once, so walking what is mapped costs
// what is mapped. With hpteKeepTables() an empty leaf stays until its area is unmapped, as the kernel's
// do, since a huge page is only made where there is none. The same tables serve as the page cache of
// a file, indexed by page offset.

import {
  HPAGE_PMD_NR,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_YOUNG,
  HVN_LIMIT,
  MM_MAX,
  PAGE_SIZE,
} from '../abi';
import { arenaAlloc, pageAlloc, pageFree } from '../layout';
import { Hpte, Hvn } from '../types';
import { chargeTable, unchargeTable } from './frame';

const PGD_BYTES: usize = 16384;
const LEAF_BYTES: usize = 2048;
const PTE_MASK: u32 = 511;
const PMD_SHIFT: u32 = 9;
const PGD_SHIFT: u32 = 18;
/** Word 1 of a pmd entry. */
const PMD_USED: usize = 4;

// Header of an mm, before its pgd.
const MM_PGD: usize = 64;
/** Ptes that are not 0. */
const MM_USED: usize = 0;
/** Next free mm id while this one is free. */
const MM_LINK: usize = 4;
/** Entries of the pgd in use. */
const MM_PMDS: usize = 8;

const TABLE: usize = memory.data(1024, 8);
if (MM_MAX * 4 != 1024) ERROR('abi: MM_MAX');
let mmTop: u32 = 1;
let freeMms: u32 = 0;
/** Halves of pages for leaf tables (0: none); the link is the first word. */
let freeLeaves: usize = 0;
/** Leaf tables in use. */
let leavesInUse: u32 = 0;
/** Empty leaf tables stay until hpteFreeTables(). */
let keepTables: bool = false;
/** Counts what makes the address of a pte wrong: a freed leaf table, a changed memslot. */
export let ptepEpoch: u32 = 0;

/** Addresses of ptes that were kept may be wrong from now on. */
export function ptepsMoved(): void {
  ptepEpoch++;
}

/** Whether empty leaf tables stay (1) until hpteFreeTables(). */
export function hpteKeepTables(keep: u32): void {
  keepTables = keep != 0;
}

/** A new address space (of a process, or the page cache of a file): its id, or 0 when all are used. */
export function mmCreate(): u32 {
  let id = freeMms;
  if (id != 0) {
    const mm = mmPtr(id);
    freeMms = load<u32>(mm, MM_LINK);
    store<u32>(mm, 0, MM_LINK);
    return id;
  }
  if (mmTop == MM_MAX) return 0;
  id = mmTop++;
  store<u32>(TABLE + ((<usize>id) << 2), <u32>arenaAlloc(MM_PGD + PGD_BYTES));
  return id;
}

/** Gives an address space without ptes back. */
export function mmDestroy(id: u32): void {
  const mm = mmPtr(id);
  assert(load<u32>(mm, MM_USED) == 0, 'an mm is destroyed after its ptes');
  hpteFreeTables(id, 0, HVN_LIMIT);
  store<u32>(mm, freeMms, MM_LINK);
  freeMms = id;
}

/** Address of an mm's header. */
function mmPtr(id: u32): usize {
  assert(id != 0 && id < mmTop, 'an mm id is one of mmCreate()');
  return load<u32>(TABLE + ((<usize>id) << 2));
}

/** Ptes of an mm that are not 0. */
export function mmUsed(id: u32): u32 {
  return load<u32>(mmPtr(id), MM_USED);
}

/** Leaf tables in use, of all mms. */
export function hpteTables(): u32 {
  return leavesInUse;
}

function pgdpOf(mm: usize, hvn: Hvn): usize {
  return mm + ((<usize>(hvn >> PGD_SHIFT)) << 2) + MM_PGD;
}

/** Address of the pmd entry of a page, or 0 when there is no pmd table. */
function pmdpOf(mm: usize, hvn: Hvn): usize {
  const pmds: usize = load<u32>(pgdpOf(mm, hvn));
  if (pmds == 0) return 0;
  return pmds + ((<usize>((hvn >> PMD_SHIFT) & PTE_MASK)) << 3);
}

function leafAlloc(): usize {
  leavesInUse++;
  chargeTable();
  let leaf = freeLeaves;
  if (leaf == 0) {
    leaf = pageAlloc();
    freeLeaves = leaf + LEAF_BYTES;
    return leaf;
  }
  freeLeaves = load<u32>(leaf);
  memory.fill(leaf, 0, LEAF_BYTES);
  return leaf;
}

function leafFree(leaf: usize): void {
  ptepsMoved();
  leavesInUse--;
  unchargeTable();
  store<u32>(leaf, <u32>freeLeaves);
  freeLeaves = leaf;
}

function pmdpAlloc(mm: usize, hvn: Hvn): usize {
  const pgdp = pgdpOf(mm, hvn);
  if (load<u32>(pgdp) == 0) {
    store<u32>(pgdp, <u32>pageAlloc());
    store<u32>(mm, load<u32>(mm, MM_PMDS) + 1, MM_PMDS);
  }
  return pmdpOf(mm, hvn);
}

/** The pte of a page; of a huge mapping, the pte that this page would have. */
export function hpteGet(id: u32, hvn: Hvn): Hpte {
  assert(hvn < HVN_LIMIT, 'an hvn is below 2^30');
  const pmdp = pmdpOf(mmPtr(id), hvn);
  if (pmdp == 0) return 0;
  const leaf: usize = load<u32>(pmdp);
  if (leaf & (<usize>HPTE_PRESENT)) return <u32>leaf + ((hvn & PTE_MASK) << HPTE_PFN_SHIFT);
  if (leaf == 0) return 0;
  return load<u32>(leaf + ((<usize>(hvn & PTE_MASK)) << 2));
}

/**
 * The pmd entry above a page when it has a leaf table (so is not mapped huge), or 0. ptepAt() and
 * hpteSetAt() find the pte from there without another walk, until ptepEpoch moves.
 */
export function leafPmdp(id: u32, hvn: Hvn): usize {
  assert(hvn < HVN_LIMIT, 'an hvn is below 2^30');
  const pmds: usize = load<u32>(pgdpOf(mmPtr(id), hvn));
  if (pmds == 0) return 0;
  const pmdp = pmds + ((<usize>((hvn >> PMD_SHIFT) & PTE_MASK)) << 3);
  const leaf = load<u32>(pmdp);
  if (leaf == 0) return 0;
  return pmdp & (<usize>(leaf & HPTE_PRESENT) - 1);
}

/** leafPmdp() of a page that has a pte. */
export function mappedPmdp(id: u32, hvn: Hvn): usize {
  const pmds: usize = load<u32>(pgdpOf(mmPtr(id), hvn));
  assert(pmds != 0, 'a page with a pte has a leaf table');
  return pmds + ((<usize>((hvn >> PMD_SHIFT) & PTE_MASK)) << 3);
}

/** Address of the pte of a page in the leaf table of a pmd entry. */
export function ptepAt(pmdp: usize, hvn: Hvn): usize {
  return <usize>load<u32>(pmdp) + ((<usize>(hvn & PTE_MASK)) << 2);
}

/** Address of the pte of a page for who only wants it in the cache; any other where there is none. */
export function ptepNear(id: u32, hvn: Hvn): usize {
  const mm = mmPtr(id);
  const pmds: usize = load<u32>(pgdpOf(mm, hvn));
  if (pmds == 0) return mm;
  const leaf = load<u32>(pmds + ((<usize>((hvn >> PMD_SHIFT) & PTE_MASK)) << 3));
  // No table is as good as one at address 0.
  return (leaf & HPTE_PRESENT) != 0 ? mm : <usize>leaf + ((<usize>(hvn & PTE_MASK)) << 2);
}

/** Address of the pte of a page, or 0 when it has no leaf table (or is mapped huge). */
export function hptep(id: u32, hvn: Hvn): usize {
  const pmdp = leafPmdp(id, hvn);
  return pmdp == 0 ? 0 : ptepAt(pmdp, hvn);
}

/** Address of the huge pte that maps a page, or 0. */
export function hpmdp(id: u32, hvn: Hvn): usize {
  assert(hvn < HVN_LIMIT, 'an hvn is below 2^30');
  const pmdp = pmdpOf(mmPtr(id), hvn);
  return pmdp != 0 && load<u32>(pmdp) & HPTE_PRESENT ? pmdp : 0;
}

/** The huge pte that maps a page, or 0. */
export function hpmdGet(id: u32, hvn: Hvn): Hpte {
  const pmdp = hpmdp(id, hvn);
  return pmdp == 0 ? 0 : load<u32>(pmdp);
}

/** Writes the pte of a page, making or freeing its tables; returns the old one. */
export function hpteSet(id: u32, hvn: Hvn, pte: Hpte): Hpte {
  assert(hvn < HVN_LIMIT, 'an hvn is below 2^30');
  const mm = mmPtr(id);
  let pmdp = pmdpOf(mm, hvn);
  if (pmdp == 0 || load<u32>(pmdp) == 0) {
    if (pte == 0) return 0;
    if (pmdp == 0) pmdp = pmdpAlloc(mm, hvn);
    store<u32>(pmdp, <u32>leafAlloc());
  }
  return leafSet(id, hvn, pmdp, pte);
}

/** The same with the leafPmdp() of the page; 0: it has none. */
export function hpteSetAt(id: u32, hvn: Hvn, pmdp: usize, pte: Hpte): Hpte {
  return pmdp == 0 ? hpteSet(id, hvn, pte) : leafSet(id, hvn, pmdp, pte);
}

function leafSet(id: u32, hvn: Hvn, pmdp: usize, pte: Hpte): Hpte {
  assert(
    pmdp == pmdpOf(mmPtr(id), hvn) && (load<u32>(pmdp) & HPTE_PRESENT) == 0,
    'a huge pte is split before one of its pages changes',
  );
  const ptep = ptepAt(pmdp, hvn);
  const old = load<u32>(ptep);
  store<u32>(ptep, pte);
  if (old == 0) {
    if (pte != 0) usedAdd(mmPtr(id), pmdp, 1);
  } else if (pte == 0) {
    usedSub(mmPtr(id), hvn, pmdp, 1);
  }
  return old;
}

/** Clears the pte at `ptep`, which is not 0, below the pmd entry of its page. */
export function ptepClearAt(id: u32, hvn: Hvn, pmdp: usize, ptep: usize): void {
  store<u32>(ptep, 0);
  const mm = mmPtr(id);
  const used = load<u32>(pmdp, PMD_USED);
  if (used == 1) {
    usedSub(mm, hvn, pmdp, 1);
    return;
  }
  store<u32>(pmdp, used - 1, PMD_USED);
  store<u32>(mm, load<u32>(mm, MM_USED) - 1, MM_USED);
}

/** Fills the pte at `ptep`, which is 0, below the pmd entry of its page. */
export function ptepFillAt(id: u32, pmdp: usize, ptep: usize, pte: Hpte): void {
  store<u32>(ptep, pte);
  usedAdd(mmPtr(id), pmdp, 1);
}

function usedAdd(mm: usize, pmdp: usize, n: u32): void {
  store<u32>(pmdp, load<u32>(pmdp, PMD_USED) + n, PMD_USED);
  store<u32>(mm, load<u32>(mm, MM_USED) + n, MM_USED);
}

function usedSub(mm: usize, hvn: Hvn, pmdp: usize, n: u32): void {
  store<u32>(mm, load<u32>(mm, MM_USED) - n, MM_USED);
  const used = load<u32>(pmdp, PMD_USED) - n;
  store<u32>(pmdp, used, PMD_USED);
  if (used != 0) return;
  const huge = (load<u32>(pmdp) & HPTE_PRESENT) != 0;
  if (huge) pmdClear(mm, hvn, pmdp);
  else if (!keepTables) leafDrop(mm, hvn, pmdp);
}

/** Frees an empty leaf table. */
function leafDrop(mm: usize, hvn: Hvn, pmdp: usize): void {
  leafFree(load<u32>(pmdp));
  pmdClear(mm, hvn, pmdp);
}

function pmdClear(mm: usize, hvn: Hvn, pmdp: usize): void {
  store<u32>(pmdp, 0);
  const pmds = pmdp & ~(<usize>PAGE_SIZE - 1);
  for (let at = pmds; at < pmds + <usize>PAGE_SIZE; at += 8) {
    if (load<u32>(at) != 0) return;
  }
  pageFree(pmds);
  store<u32>(pgdpOf(mm, hvn), 0);
  store<u32>(mm, load<u32>(mm, MM_PMDS) - 1, MM_PMDS);
}

/** Writes a huge pte where nothing is mapped, or clears one (0); `hvn` is aligned to 512 pages. */
export function hpmdSet(id: u32, hvn: Hvn, pte: Hpte): void {
  assert((hvn & PTE_MASK) == 0, 'a huge mapping is aligned');
  const mm = mmPtr(id);
  const pmdp = pmdpAlloc(mm, hvn);
  let old = load<u32>(pmdp);
  if (old != 0 && (old & HPTE_PRESENT) == 0) {
    assert(load<u32>(pmdp, PMD_USED) == 0, 'a huge pte takes an empty place');
    leafFree(old);
    old = 0;
    store<u32>(pmdp, 0);
  }
  if (pte == 0) {
    if (old != 0) usedSub(mm, hvn, pmdp, HPAGE_PMD_NR);
    else pmdClear(mm, hvn, pmdp);
    return;
  }
  store<u32>(pmdp, pte);
  if (old == 0) usedAdd(mm, pmdp, HPAGE_PMD_NR);
}

/** 1 when neither a table nor a huge pte is at a page's place in the pmd (pmd_none). */
export function hpmdNone(id: u32, hvn: Hvn): u32 {
  assert(hvn < HVN_LIMIT, 'an hvn is below 2^30');
  const pmdp = pmdpOf(mmPtr(id), hvn);
  return pmdp == 0 || load<u32>(pmdp) == 0 ? 1 : 0;
}

/** The first page in [hvn, end) at whose place in the pmd there is a table or a huge pte, or `end`. */
export function hpmdNextPopulated(id: u32, hvn: Hvn, end: Hvn): Hvn {
  const mm = mmPtr(id);
  while (hvn < end) {
    const pmdp = pmdpOf(mm, hvn);
    if (pmdp == 0) {
      hvn = ((hvn >> PGD_SHIFT) + 1) << PGD_SHIFT;
      continue;
    }
    if (load<u32>(pmdp) != 0) return hvn;
    hvn = ((hvn >> PMD_SHIFT) + 1) << PMD_SHIFT;
  }
  return end;
}

/** Frees the empty leaf tables of the 512 pages around each page of [hvn, end) (free_pgtables). */
export function hpteFreeTables(id: u32, hvn: Hvn, end: Hvn): void {
  const mm = mmPtr(id);
  for (hvn = hpmdNextPopulated(id, hvn, end); hvn < end; hvn = hpmdNextPopulated(id, hvn, end)) {
    const pmdp = pmdpOf(mm, hvn);
    const empty = load<u32>(pmdp, PMD_USED) == 0;
    if (empty) leafDrop(mm, hvn, pmdp);
    hvn = ((hvn >> PMD_SHIFT) + 1) << PMD_SHIFT;
  }
}

/** Replaces a huge pte by 512 ptes with the same bits (__split_huge_pmd). */
export function hpmdSplit(id: u32, hvn: Hvn): void {
  const pmdp = hpmdp(id, hvn);
  assert(pmdp != 0, 'only a huge pte can be split');
  let pte = load<u32>(pmdp);
  const leaf = leafAlloc();
  for (let at = leaf; at < leaf + LEAF_BYTES; at += 4) {
    store<u32>(at, pte);
    pte += (<u32>1) << HPTE_PFN_SHIFT;
  }
  store<u32>(pmdp, <u32>leaf);
}

/** Clears the young bit of a pte (or huge pte); 1 when it was set (ptep_test_and_clear_young). */
export function hpteTestAndClearYoung(id: u32, hvn: Hvn): u32 {
  let ptep = hptep(id, hvn);
  if (ptep == 0) {
    ptep = hpmdp(id, hvn);
    if (ptep == 0) return 0;
  }
  const pte = load<u32>(ptep);
  if ((pte & (HPTE_PRESENT | HPTE_YOUNG)) != (HPTE_PRESENT | HPTE_YOUNG)) return 0;
  store<u32>(ptep, pte & ~HPTE_YOUNG);
  return 1;
}

/** Sets bits (HPTE_YOUNG, HPTE_DIRTY) in a present pte. */
export function hpteOr(id: u32, hvn: Hvn, bits: u32): void {
  let ptep = hptep(id, hvn);
  if (ptep == 0) ptep = hpmdp(id, hvn);
  assert(ptep != 0, 'bits are set in a pte that exists');
  assert((bits & ~(HPTE_YOUNG | HPTE_DIRTY)) == 0, 'only young and dirty are set in place');
  store<u32>(ptep, load<u32>(ptep) | bits);
}

/** The first page in [hvn, end) whose pte is not 0, or `end`. */
export function hpteNextMapped(id: u32, hvn: Hvn, end: Hvn): Hvn {
  const mm = mmPtr(id);
  if (load<u32>(mm, MM_USED) == 0) return end;
  while (hvn < end) {
    const pmdp = pmdpOf(mm, hvn);
    if (pmdp == 0) {
      hvn = ((hvn >> PGD_SHIFT) + 1) << PGD_SHIFT;
      continue;
    }
    const leaf: usize = load<u32>(pmdp);
    if (leaf & (<usize>HPTE_PRESENT)) return hvn;
    const next = min<u32>(((hvn >> PMD_SHIFT) + 1) << PMD_SHIFT, end);
    if (leaf != 0) {
      let at = leaf + ((<usize>(hvn & PTE_MASK)) << 2);
      for (; hvn < next; hvn++, at += 4) {
        if (load<u32>(at) != 0) return hvn;
      }
    }
    hvn = next;
  }
  return end;
}
