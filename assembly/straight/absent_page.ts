// The lookup of a plain fault (plain_fault.ts) at a page that the host does not map: it is read, or faulted in otherwise,
// and reclaim may run for it and come to pages that are not plain.

import {
  FOLLOW_NONE,
  HPTE_WRITE,
  KVM_INVALIDATE_SEQ,
  RET_PF_CONTINUE,
  RET_PF_RETRY,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GVA,
  VCPU_REQUESTS,
} from '../abi';
import { GUEST_WALKS, RETRIED_PAGE_FAULTS } from '../counters';
import { ptepEpoch } from '../mm/pgtable';
import { hpteGet, ptepAt } from '../mm/pte';
import { setWalkFresh } from '../mmu/fault';
import { faultCheck, gupFlags, looksAgain, marksAccessed, mmId } from '../mmu/fault_policy';
import { KVM } from '../mmu/kvm';
import { faultInstall } from '../mmu/page_fault';
import { folioSetReferenced, releasePfn } from '../mmu/pfn';
import { isAbsentReached, plainWalk, WALK_FAULT } from '../mmu/shadow_walk';
import { translateSettled } from '../mmu/translate';
import { bump } from '../stats';
import { Hvn, Pfn } from '../types';
import { noteReadPte, plainRead, READ_NOT, readAt, readPte } from './file_fault';
import { straightGup } from './gup';
import {
  KNOWN_AREA,
  KNOWN_CACHE,
  KNOWN_CACHEP,
  KNOWN_HPTEP,
  KNOWN_HVN,
  KNOWN_PMDP,
} from './known_page';
import { isStaleHere, mayRead } from './plain_rules';
import { noTableTaken, tableTaken } from './reclaim';

/** vCPU with a plain fault of which nothing stands in VCPU_WALK_* and VCPU_FAULT_*; 0: there is none. */
let unnoted: usize = 0;
/** No walk of the hardware's came to the fault: its page is known (known_page.ts). */
let unwalked: bool = false;

/**
 * Reclaim comes to a page that is not plain and may take a guest's table with it: writes down what the fault at hand
 * found, for who serves it from there.
 */
export function noteFault(): void {
  if (unnoted == 0) return;
  walkNow(unnoted);
  const settled = translateSettled(unnoted);
  assert(settled, 'what a plain fault found settles again');
  unnoted = 0;
}

/** Makes the walk that faults, if it was left out. */
function walkNow(vcpu: usize): void {
  if (!unwalked) return;
  unwalked = false;
  const faulted = plainWalk(
    vcpu,
    load<u64>(vcpu, VCPU_FAULT_GVA),
    load<u32>(vcpu, VCPU_FAULT_FLAGS),
  );
  assert(faulted == WALK_FAULT, 'the spte of a known page is not present');
}

/** The page of an entry's file with a reference, if that is not cached, as plainRead() gives it; READ_NOT. */
function readKnown(entry: usize, foll: u32, accesses: u32, l2Hits: u32): Pfn {
  const ptep = <usize>load<u32>(entry, KNOWN_HPTEP);
  const cachep = <usize>load<u32>(entry, KNOWN_CACHEP);
  if (!mayRead || cachep == 0 || load<u32>(ptep) != 0) return READ_NOT;
  const area = <usize>load<u32>(entry, KNOWN_AREA);
  const pmdp = <usize>load<u32>(entry, KNOWN_PMDP);
  const cache = <usize>load<u32>(entry, KNOWN_CACHE);
  const hvn = load<u32>(entry, KNOWN_HVN);
  return readAt(area, hvn, pmdp, ptep, cache, cachep, foll, accesses, l2Hits);
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
 * RET_PF_CONTINUE: the host's turn). `entry` is that of a known page (known_page.ts), to whose fault no walk came, or
 * 0; one has come in the end where it is not READ_IN or a request was raised.
 */
export function readIn(
  vcpu: usize,
  hvn: Hvn,
  pmdp: usize,
  want: u32,
  accesses: u32,
  l2Hits: u32,
  entry: usize,
): u32 {
  const seq = load<u32>(KVM, KVM_INVALIDATE_SEQ);
  noTableTaken();
  unnoted = vcpu;
  unwalked = entry != 0;
  let pfn = entry != 0 ? readKnown(entry, gupFlags | want, accesses, l2Hits) : READ_NOT;
  if (pfn == READ_NOT) pfn = readOrGup(hvn, pmdp, gupFlags | want, accesses, l2Hits);
  if (pfn == FOLLOW_NONE) {
    noteFault();
    return RET_PF_CONTINUE;
  }
  const noted = unnoted == 0;
  unnoted = 0;
  if (!noted) bump(GUEST_WALKS);
  if (looksAgain(readPte, want)) folioSetReferenced(pfn);
  if (isStaleHere(seq, hvn)) {
    walkNow(vcpu);
    releasePfn(pfn, marksAccessed);
    bump(RETRIED_PAGE_FAULTS);
    return RET_PF_RETRY;
  }
  inPfn = pfn;
  if (load<u32>(vcpu, VCPU_REQUESTS) != 0) walkNow(vcpu);
  if (unwalked) {
    unwalked = false;
    return READ_IN;
  }
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
