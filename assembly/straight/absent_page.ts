// The lookup of a plain fault (plain_fault.ts) at a page that the host does not map: it is read, or faulted in otherwise,
// and reclaim may run for it and come to pages that are not plain.

import { FOLLOW_NONE, HPTE_WRITE, KVM_INVALIDATE_SEQ, RET_PF_CONTINUE, RET_PF_RETRY } from '../abi';
import { GUEST_WALKS, RETRIED_PAGE_FAULTS } from '../counters';
import { ptepEpoch } from '../mm/pgtable';
import { hpteGet, ptepAt } from '../mm/pte';
import { setWalkFresh } from '../mmu/fault';
import { faultCheck, gupFlags, looksAgain, marksAccessed, mmId } from '../mmu/fault_policy';
import { KVM } from '../mmu/kvm';
import { faultInstall } from '../mmu/page_fault';
import { folioSetReferenced, releasePfn } from '../mmu/pfn';
import { isAbsentReached } from '../mmu/shadow_walk';
import { translateSettled } from '../mmu/translate';
import { bump } from '../stats';
import { Hvn, Pfn } from '../types';
import { noteReadPte, plainRead, READ_NOT, readPte } from './file_fault';
import { straightGup } from './gup';
import { isStaleHere, mayRead } from './plain_rules';
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

/** readIn(): the page in `inPfn` is to be mapped at reachedSptep, by `readPte`, and then released. */
export const READ_IN: u32 = 0xfffffffd;
/** The page, with a reference. */
export let inPfn: Pfn = 0;

/**
 * Reads or faults in the page of a fault at a page that the host does not map: READ_IN, or what the fault comes to (RET_PF_*;
 * RET_PF_CONTINUE: the host's turn).
 */
export function readIn(
  vcpu: usize,
  hvn: Hvn,
  pmdp: usize,
  want: u32,
  accesses: u32,
  l2Hits: u32,
): u32 {
  const seq = load<u32>(KVM, KVM_INVALIDATE_SEQ);
  noTableTaken();
  unnoted = vcpu;
  const pfn = readOrGup(hvn, pmdp, gupFlags | want, accesses, l2Hits);
  if (pfn == FOLLOW_NONE) {
    noteFault();
    return RET_PF_CONTINUE;
  }
  const noted = unnoted == 0;
  unnoted = 0;
  if (!noted) bump(GUEST_WALKS);
  if (looksAgain(readPte, want)) folioSetReferenced(pfn);
  if (isStaleHere(seq, hvn)) {
    releasePfn(pfn, marksAccessed);
    bump(RETRIED_PAGE_FAULTS);
    return RET_PF_RETRY;
  }
  inPfn = pfn;
  if (!tableTaken && isAbsentReached()) return READ_IN;
  assert(noted, 'only reclaim that is not plain takes tables and cuts links');
  return installNoted(vcpu, pfn, seq);
}

/** Maps a page where tables may have gone. */
function installNoted(vcpu: usize, pfn: Pfn, seq: u32): u32 {
  setWalkFresh(!tableTaken);
  const writable: u32 = (readPte & HPTE_WRITE) != 0 ? 1 : 0;
  const result = faultInstall(vcpu, pfn, writable, faultCheck, seq, marksAccessed);
  setWalkFresh(false);
  return result;
}
