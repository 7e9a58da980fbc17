// The host's ptes, found through its tables (pgtable.ts).

import { HPTE_DIRTY, HPTE_PFN_SHIFT, HPTE_PRESENT, HPTE_YOUNG, HVN_LIMIT } from '../abi';
import { Hpte, Hvn } from '../types';
import {
  MM_NO_PTE,
  MM_USED,
  PGD_SHIFT,
  PMD_SHIFT,
  PMD_USED,
  PTE_MASK,
  leafAlloc,
  mmPtr,
  pgdpOf,
  pmdpAlloc,
  pmdpOf,
  usedAdd,
  usedSub,
} from './pgtable';
import { hpmdp } from './pmd';

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

/** Address of the pte of a page, or of a word that is 0 where there is none. */
export function ptepNear(id: u32, hvn: Hvn): usize {
  const mm = mmPtr(id);
  const pmds: usize = load<u32>(pgdpOf(mm, hvn));
  const leaf = pmds == 0 ? 0 : load<u32>(pmds + ((<usize>((hvn >> PMD_SHIFT) & PTE_MASK)) << 3));
  // A huge page has no table.
  const none = leaf == 0 || (leaf & HPTE_PRESENT) != 0;
  return none ? mm + MM_NO_PTE : <usize>leaf + ((<usize>(hvn & PTE_MASK)) << 2);
}

/** Address of the pte of a page, or 0 when it has no leaf table (or is mapped huge). */
export function hptep(id: u32, hvn: Hvn): usize {
  const pmdp = leafPmdp(id, hvn);
  return pmdp == 0 ? 0 : ptepAt(pmdp, hvn);
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
