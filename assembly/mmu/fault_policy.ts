// How a generation of KVM looks the page of a fault up, checks that it is still the page, and gives it back: what
// the faults that run() serves itself (quick_fault.ts, straight/plain_fault.ts) know of it.

import { FOLLOW_NONE, FOLL_WRITE, HPTE_WRITE } from '../abi';
import { followAt } from '../mm/follow';
import { ptepsMoved } from '../mm/pgtable';
import { ptepAt } from '../mm/pte';
import { Hpte, Hvn, Pfn } from '../types';
import { hvaToPfnFast, ptepToPfnFast } from './pfn';
import { walkCacheEnable } from './walk_cache';

/** Faults may be served in run() at all. */
export let faultsHere: bool = false;
/** The VM's address space. */
export let mmId: u32 = 0;
/** TOUCH_* of the fast host lookup, or 0 and the FOLL_* of follow_page. */
export let touch: u32 = 0;
export let gupFlags: u32 = 0;
/** FAULT_CHECK_*. */
export let faultCheck: u32 = 0;
/** Releasing the page marks it accessed (1) or not (0). */
export let marksAccessed: u32 = 0;

/** Lets run() serve faults (`on`), as the generation does it. */
export function quickFaultInit(
  on: u32,
  mm: u32,
  touchBy: u32,
  foll: u32,
  check: u32,
  releaseMarks: u32,
): void {
  // What is known of pages was served by other rules.
  ptepsMoved();
  faultsHere = on != 0;
  walkCacheEnable(faultsHere);
  mmId = mm;
  touch = touchBy;
  gupFlags = foll;
  faultCheck = check;
  marksAccessed = releaseMarks;
}

/**
 * The host page of `hvn` without a fault, writable and with a reference; FOLLOW_NONE: there is none. `pmdp` is its
 * leafPmdp(), `want` FOLL_WRITE or 0.
 */
export function lookUp(hvn: Hvn, pmdp: usize, want: u32): Pfn {
  if (touch != 0) {
    return pmdp != 0 ? ptepToPfnFast(ptepAt(pmdp, hvn), touch) : hvaToPfnFast(mmId, hvn, touch);
  }
  // A page that may be written is in an area that may be written; what else is up to the areas.
  if (want != FOLL_WRITE) return FOLLOW_NONE;
  return followAt(mmId, hvn, pmdp, gupFlags | FOLL_WRITE);
}

/** Whether a page that was faulted in for `want` is looked at once more: mapped writable where that costs nothing. */
export function looksAgain(pte: Hpte, want: u32): bool {
  return (pte & HPTE_WRITE) != 0 && want == 0 && touch != 0;
}
