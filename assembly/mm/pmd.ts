// Huge ptes: the pmd entries of the host (pgtable.ts) that map 512 pages without a leaf table.

import { HPAGE_PMD_NR, HPTE_PFN_SHIFT, HPTE_PRESENT, HVN_LIMIT } from '../abi';
import { Hpte, Hvn } from '../types';
import {
  LEAF_BYTES,
  PMD_USED,
  PTE_MASK,
  leafAlloc,
  leafFree,
  mmPtr,
  pmdClear,
  pmdpAlloc,
  pmdpOf,
  ptepsMoved,
  usedAdd,
  usedSub,
} from './pgtable';

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

/** Moves what a pmd entry holds, a table or a huge pte, to another place without any (move_normal_pmd). */
export function hpmdMove(id: u32, hvn: Hvn, target: Hvn): void {
  const mm = mmPtr(id);
  const from = pmdpOf(mm, hvn);
  const to = pmdpAlloc(mm, target);
  assert(from != 0 && load<u32>(to) == 0, 'a pmd entry moves to an empty place');
  store<u64>(to, load<u64>(from));
  store<u64>(from, 0);
  pmdClear(mm, hvn, from);
  ptepsMoved();
}

/** Makes a leaf table where there is none, and it may be empty (pte_alloc). */
export function hpmdMakeTable(id: u32, hvn: Hvn): void {
  const pmdp = pmdpAlloc(mmPtr(id), hvn);
  if (load<u32>(pmdp) == 0) store<u32>(pmdp, <u32>leafAlloc());
}
