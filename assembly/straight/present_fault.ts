// The fault at a page that the host maps, as straightGup() serves it: the pte permits the access as it is, or after a
// write that needs no copy (PRESENT of src/mm/fault.ts). Nothing has to be made room for, and no time passes.

import {
  FOLL_WRITE,
  FOLLOW_NONE,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_WRITE,
  HPTE_YOUNG,
  STRAIGHT_NOT,
} from '../abi';
import { MINOR_FAULTS } from '../counters';
import { wpSurelyReuses } from '../mm/cow';
import { followPte } from '../mm/follow';
import { faultBegin } from '../mm/memory';
import { bump } from '../stats';
import { Hvn, Pfn } from '../types';
import { areaOf } from './config';
import { argsOf } from './gup';

/**
 * The page of a present pte of a leaf table for an access with FOLL_* `foll`, with a reference; FOLLOW_NONE: it is
 * another fault, and nothing was done.
 */
export function plainPresent(hvn: Hvn, ptep: usize, foll: u32): Pfn {
  const area = areaOf(hvn);
  if (area == 0) return FOLLOW_NONE;
  const args = argsOf(area, foll);
  if (args == STRAIGHT_NOT) return FOLLOW_NONE;
  const pte = load<u32>(ptep);
  if ((foll & FOLL_WRITE) != 0 && (pte & HPTE_WRITE) == 0) {
    if (!wpSurelyReuses(pte, args)) return FOLLOW_NONE;
    // wpReuse()
    faultBegin();
    store<u32>(ptep, (pte & ~HPTE_AUX) | HPTE_WRITE | HPTE_DIRTY | HPTE_YOUNG);
    bump(MINOR_FAULTS);
  }
  return followPte(ptep, foll, 0, false);
}
