// The page of a pte for who wants it without a fault (cf. mm/gup.c: follow_page_pte()).

import {
  FOLL_TOUCH,
  FOLL_WRITE,
  FOLL_YOUNG,
  FOLLOW_NONE,
  HPAGE_PMD_NR,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  HPTE_YOUNG,
} from '../abi';
import { Hvn } from '../types';
import { getPage } from './frame';
import { markPageAccessed } from './lru';
import { setPageDirty } from './memory';
import { hpmdp } from './pmd';
import { leafPmdp, ptepAt } from './pte';

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
