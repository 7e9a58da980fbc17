// The host's page tables: three levels over host virtual page numbers below 2^30, made as they are touched. Here are the
// address spaces and their tables; what stands in a leaf table is in pte.ts, what maps 512 pages at once in pmd.ts.
//
//   hvn  29            18 17           9 8            0
//       ┌────────────────┬──────────────┬──────────────┐
//       │ pgd, 4096 × u32│ pmd, 512 × u64│ pte, 512 × u32│
//       └────────────────┴──────────────┴──────────────┘
//   pmd entry: word 0 = leaf table (2 KiB, half of a page), or a huge pte (HPTE_PRESENT set);
//              word 1 = number of ptes in the leaf that are not 0 (a huge pte: 512).
//
// Invariants: a leaf or pmd table without entries is freed at once, so walking what is mapped costs
// what is mapped. With hpteKeepTables() an empty table stays until its area is unmapped, as the kernel's
// do, since a huge page is only made where there is no leaf, and looked for wherever there is a pmd table. The same
// tables serve as the page cache of a file, indexed by page offset.

import { HPTE_PRESENT, HVN_LIMIT, MM_MAX, PAGE_SIZE } from '../abi';
import { arenaAlloc, pageAlloc, pageFree } from '../layout';
import { Hvn } from '../types';
import { disturb } from '../mmu/settled_table';
import { chargeTable, unchargeTable } from './frame';

const PGD_BYTES: usize = 16384;
export const LEAF_BYTES: usize = 2048;
export const PTE_MASK: u32 = 511;
export const PMD_SHIFT: u32 = 9;
export const PGD_SHIFT: u32 = 18;
/** Word 1 of a pmd entry: the ptes of its leaf that are not 0. */
export const PMD_USED: usize = 4;

// Header of an mm, before its pgd.
const MM_PGD: usize = 64;
/** Ptes that are not 0. */
export const MM_USED: usize = 0;
/** Next free mm id while this one is free. */
const MM_LINK: usize = 4;
/** Entries of the pgd in use. */
const MM_PMDS: usize = 8;
/** 0: what a page without a leaf table has for a pte. */
export const MM_NO_PTE: usize = 12;

const TABLE: usize = memory.data(1024, 8);
if (MM_MAX * 4 != 1024) ERROR('abi: MM_MAX');
let mmTop: u32 = 1;
let freeMms: u32 = 0;
/** Halves of pages for leaf tables (0: none); the link is the first word. */
let freeLeaves: usize = 0;
/** Leaf tables in use. */
let leavesInUse: u32 = 0;
/** Empty tables stay until hpteFreeTables() and hpmdFreeTables(). */
let keepTables: bool = false;
/** Counts what makes the address of a pte wrong: a freed leaf table, a changed memslot. */
export let ptepEpoch: u32 = 0;

/** Addresses of ptes that were kept may be wrong from now on. */
export function ptepsMoved(): void {
  ptepEpoch++;
  disturb();
}

/** Whether empty tables stay (1) until hpteFreeTables() and hpmdFreeTables(). */
export function hpteKeepTables(keep: u32): void {
  keepTables = keep != 0;
}

/** Whether empty tables stay. */
export function keepsTables(): bool {
  return keepTables;
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
  hpmdFreeTables(id, 0, HVN_LIMIT);
  store<u32>(mm, freeMms, MM_LINK);
  freeMms = id;
}

/** Address of an mm's header. */
export function mmPtr(id: u32): usize {
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

/** Address of the pgd entry of a page. */
export function pgdpOf(mm: usize, hvn: Hvn): usize {
  return mm + ((<usize>(hvn >> PGD_SHIFT)) << 2) + MM_PGD;
}

/** Address of the pmd entry of a page, or 0 when there is no pmd table. */
export function pmdpOf(mm: usize, hvn: Hvn): usize {
  const pmds: usize = load<u32>(pgdpOf(mm, hvn));
  if (pmds == 0) return 0;
  return pmds + ((<usize>((hvn >> PMD_SHIFT) & PTE_MASK)) << 3);
}

/** An empty leaf table. */
export function leafAlloc(): usize {
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

/** Gives a leaf table back that no pmd entry leads to any more. */
export function leafFree(leaf: usize): void {
  ptepsMoved();
  leavesInUse--;
  unchargeTable();
  store<u32>(leaf, <u32>freeLeaves);
  freeLeaves = leaf;
}

/** pmdpOf(), with a pmd table made if there is none. */
export function pmdpAlloc(mm: usize, hvn: Hvn): usize {
  const pgdp = pgdpOf(mm, hvn);
  if (load<u32>(pgdp) == 0) {
    store<u32>(pgdp, <u32>pageAlloc());
    store<u32>(mm, load<u32>(mm, MM_PMDS) + 1, MM_PMDS);
  }
  return pmdpOf(mm, hvn);
}

/** Counts ptes that were filled below a pmd entry. */
export function usedAdd(mm: usize, pmdp: usize, n: u32): void {
  store<u32>(pmdp, load<u32>(pmdp, PMD_USED) + n, PMD_USED);
  store<u32>(mm, load<u32>(mm, MM_USED) + n, MM_USED);
}

/** Counts ptes that were cleared; the last one takes its table along. */
export function usedSub(mm: usize, hvn: Hvn, pmdp: usize, n: u32): void {
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

/** Clears a pmd entry, and frees its table with the last one. */
export function pmdClear(mm: usize, hvn: Hvn, pmdp: usize): void {
  store<u32>(pmdp, 0);
  if (!keepTables) pmdsDrop(mm, hvn);
}

/** Frees the pmd table of a page if there is an empty one. */
function pmdsDrop(mm: usize, hvn: Hvn): void {
  const pgdp = pgdpOf(mm, hvn);
  const pmds: usize = load<u32>(pgdp);
  if (pmds == 0) return;
  for (let at = pmds; at < pmds + <usize>PAGE_SIZE; at += 8) {
    if (load<u32>(at) != 0) return;
  }
  pageFree(pmds);
  store<u32>(pgdp, 0);
  store<u32>(mm, load<u32>(mm, MM_PMDS) - 1, MM_PMDS);
}

/** 1 when neither a table nor a huge pte is at a page's place in the pmd (pmd_none). */
export function hpmdNone(id: u32, hvn: Hvn): u32 {
  assert(hvn < HVN_LIMIT, 'an hvn is below 2^30');
  const pmdp = pmdpOf(mmPtr(id), hvn);
  return pmdp == 0 || load<u32>(pmdp) == 0 ? 1 : 0;
}

/** 1 when there is a pmd table for a page's place (pud_present). */
export function hpmdTable(id: u32, hvn: Hvn): u32 {
  assert(hvn < HVN_LIMIT, 'an hvn is below 2^30');
  return pmdpOf(mmPtr(id), hvn) != 0 ? 1 : 0;
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

/** Frees the empty pmd tables around each page of [hvn, end) (free_pmd_range). */
export function hpmdFreeTables(id: u32, hvn: Hvn, end: Hvn): void {
  const mm = mmPtr(id);
  for (; hvn < end; hvn = ((hvn >> PGD_SHIFT) + 1) << PGD_SHIFT) pmdsDrop(mm, hvn);
}
