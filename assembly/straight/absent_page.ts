// The lookup of a plain fault (plain_fault.ts) at a page that the host does not map: it is read, or faulted in otherwise,
// and reclaim may run for it and come to pages that are not plain.

import { FOLLOW_NONE, HPTE_WRITE, RET_PF_RETRY } from '../abi';
import { GUEST_WALKS, RETRIED_PAGE_FAULTS } from '../counters';
import { ptepEpoch } from '../mm/pgtable';
import { hpteGet, ptepAt } from '../mm/pte';
import { setWalkFresh } from '../mmu/fault';
import { faultCheck, gupFlags, looksAgain, marksAccessed, mmId } from '../mmu/fault_policy';
import { faultInstall } from '../mmu/page_fault';
import { folioSetReferenced, releasePfn } from '../mmu/pfn';
import { translateSettled } from '../mmu/translate';
import { bump } from '../stats';
import { Hpte, Hvn, Pfn } from '../types';
import { noteReadPte, plainRead, READ_NOT, readPte } from './file_fault';
import { straightGup } from './gup';
import { mayRead } from './plain_rules';
import { noTableTaken, tableTaken } from './reclaim';

/** vCPU with a plain fault of which nothing stands in VCPU_WALK_* and VCPU_FAULT_*; 0: there is none. */
let unnoted: usize = 0;

/**
 * Reclaim comes to a page that is not plain and may take a guest's table with it: writes down what the fault at hand
 * found, for who serves it from there.
 */
export function noteFault(): void {
  if (unnoted == 0) return;
  const settled = translateSettled(unnoted);
  assert(settled, 'what a plain fault found settles again');
  unnoted = 0;
}

/** The page of an empty or swapped pte with a reference, as straightGup() gives it; readPte is its pte then. */
function readOrGup(hvn: Hvn, pmdp: usize, foll: u32, accesses: u32, l2Hits: u32): Pfn {
  if (mayRead && load<u32>(ptepAt(pmdp, hvn)) == 0) {
    const pfn = plainRead(hvn, pmdp, foll, accesses, l2Hits);
    if (pfn != READ_NOT) return pfn;
  }
  const epoch = ptepEpoch;
  const pfn = straightGup(hvn, pmdp, foll, accesses, l2Hits);
  noteReadPte(epoch == ptepEpoch ? load<u32>(ptepAt(pmdp, hvn)) : hpteGet(mmId, hvn));
  return pfn;
}

/** The page of a fault at a page that the host does not map, looked up; FOLLOW_NONE: the host's turn. */
export function readIn(
  vcpu: usize,
  hvn: Hvn,
  pmdp: usize,
  want: u32,
  accesses: u32,
  l2Hits: u32,
): Pfn {
  noTableTaken();
  unnoted = vcpu;
  const pfn = readOrGup(hvn, pmdp, gupFlags | want, accesses, l2Hits);
  if (pfn == FOLLOW_NONE) noteFault();
  else if (looksAgain(readPte, want)) folioSetReferenced(pfn);
  return pfn;
}

/** After readIn(): whether reclaim came to a page that is not plain, and so wrote down what the fault found. */
export function isNoted(): bool {
  const noted = unnoted == 0;
  unnoted = 0;
  if (!noted) bump(GUEST_WALKS);
  return noted;
}

/** The page must not be mapped. */
export function retry(pfn: Pfn): u32 {
  releasePfn(pfn, marksAccessed);
  bump(RETRIED_PAGE_FAULTS);
  return RET_PF_RETRY;
}

/** Maps a page where tables may have gone. */
export function installNoted(vcpu: usize, noted: bool, pfn: Pfn, pte: Hpte, seq: u32): u32 {
  assert(noted, 'only reclaim that is not plain takes tables and cuts links');
  setWalkFresh(!tableTaken);
  const writable: u32 = (pte & HPTE_WRITE) != 0 ? 1 : 0;
  const result = faultInstall(vcpu, pfn, writable, faultCheck, seq, marksAccessed);
  setWalkFresh(false);
  return result;
}
