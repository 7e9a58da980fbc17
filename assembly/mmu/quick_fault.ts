// Page faults that run() serves itself, without leaving for the host: the guest's own tables allow
// the access, and the host has the page present and writable. kvmPageFault() (src/kvm/page-fault.ts,
// the protocol) is these very functions with preemption points between them; here none is preempted,
// as in a straight run. Any other fault is the host's, and so are all while events are traced. Most
// are plain ones (straight/plain_fault.ts).

import {
  ACC_PKEY_SHIFT,
  FOLLOW_NONE,
  HPTE_PRESENT,
  HPTE_WRITE,
  KVM_INVALIDATE_SEQ,
  PFERR_RSVD_MASK,
  REQ_TLB_FLUSH,
  RET_PF_CONTINUE,
  RET_PF_FIXED,
  RET_PF_RETRY,
  RET_PF_SPURIOUS,
  VCPU_FAULT_CODE,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_HVN,
  VCPU_FAULT_READONLY,
  VCPU_FAULT_RESULT,
  VCPU_FAULT_WALKED,
  VCPU_FAULT_WANT,
  VCPU_REQUESTS,
  VCPU_ROOT,
  VCPU_TDP,
  VCPU_WALK_GFN,
  VCPU_WALK_LEVEL,
  VCPU_WALK_PKEY,
  VCPU_WALK_PTE_ACCESS,
} from '../abi';
import { SHADOW_PAGE_FAULTS } from '../counters';
import { isTracing } from '../events';
import { ptepEpoch } from '../mm/pgtable';
import { hpteGet, leafPmdp, ptepAt } from '../mm/pte';
import { bump } from '../stats';
import { straightGup } from '../straight/gup';
import { noTableTaken, tableTaken } from '../straight/reclaim';
import { Hvn, Pfn } from '../types';
import { setWalkFresh } from './fault';
import {
  faultCheck,
  faultsHere,
  gupFlags,
  lookUp,
  looksAgain,
  marksAccessed,
  mmId,
} from './fault_policy';
import { KVM } from './kvm';
import { gfnToMemslot } from './memslot';
import { faultInstall, isStale } from './page_fault';
import { folioSetReferenced, releasePfn } from './pfn';
import { isFirstMapping, mapFirst, mayMapFirst } from './settled_map';
import { isAbsentReached } from './shadow_walk';
import { translate } from './translate';

/** Faults in a row that ended in RET_PF_RETRY; the host counts those that make no progress. */
export let retries: u32 = 0;
const RETRIES_MAX: u32 = 8;

/** The host's pte of a page; `ptep` is where it lies, or 0. */
function pteOf(hvn: Hvn, ptep: usize): u32 {
  return ptep != 0 ? load<u32>(ptep) : hpteGet(mmId, hvn);
}

/** faultInstall() below tables that are all there; RET_PF_CONTINUE: it is to be called. */
function installSettled(vcpu: usize, pfn: Pfn, writable: u32, seq: u32, hvn: Hvn): u32 {
  if (tableTaken || load<u32>(vcpu, VCPU_TDP) != 0) return RET_PF_CONTINUE;
  if (!isAbsentReached()) return RET_PF_CONTINUE;
  if (load<u32>(vcpu, VCPU_WALK_LEVEL) != 1 || !mayMapFirst(vcpu)) return RET_PF_CONTINUE;
  if (isStale(faultCheck, seq, hvn)) return RET_PF_CONTINUE;
  const gfn = load<u32>(vcpu, VCPU_WALK_GFN);
  const slot = gfnToMemslot(gfn);
  const access =
    load<u32>(vcpu, VCPU_WALK_PTE_ACCESS) | (load<u32>(vcpu, VCPU_WALK_PKEY) << ACC_PKEY_SHIFT);
  const flags = load<u32>(vcpu, VCPU_FAULT_FLAGS);
  if (!isFirstMapping(slot, gfn, access, flags)) return RET_PF_CONTINUE;
  mapFirst(vcpu, slot, gfn, access, pfn, writable != 0);
  releasePfn(pfn, marksAccessed);
  return RET_PF_FIXED;
}

/**
 * The guest walk, the translation, the lookup and the mapping; RET_PF_CONTINUE: the host's turn. The
 * counts of the running batch are for the clock.
 */
function serve(vcpu: usize, accesses: u32, l2Hits: u32): u32 {
  const seq = load<u32>(KVM, KVM_INVALIDATE_SEQ);
  if (!translate(vcpu)) return RET_PF_CONTINUE;
  noTableTaken();
  const hvn = load<u32>(vcpu, VCPU_FAULT_HVN);
  const want = load<u32>(vcpu, VCPU_FAULT_WANT);
  const pmdp = leafPmdp(mmId, hvn);
  const epoch = ptepEpoch;
  const absent = pmdp != 0 && (load<u32>(ptepAt(pmdp, hvn)) & HPTE_PRESENT) == 0;
  const readonly = load<u32>(vcpu, VCPU_FAULT_READONLY) != 0;
  let pfn = absent || readonly ? FOLLOW_NONE : lookUp(hvn, pmdp, want);
  let writable: u32 = 1;
  if (pfn == FOLLOW_NONE) {
    pfn = straightGup(hvn, pmdp, gupFlags | want, accesses, l2Hits);
    if (pfn == FOLLOW_NONE) return RET_PF_CONTINUE;
    const pte = pteOf(hvn, absent && epoch == ptepEpoch ? ptepAt(pmdp, hvn) : 0);
    writable = (pte & HPTE_WRITE) != 0 && !readonly ? 1 : 0;
    if (writable != 0 && looksAgain(pte, want)) folioSetReferenced(pfn);
  }
  const settled = installSettled(vcpu, pfn, writable, seq, hvn);
  if (settled != RET_PF_CONTINUE) return settled;
  // Reclaim may have taken a table that was walked.
  setWalkFresh(!tableTaken);
  const result = faultInstall(vcpu, pfn, writable, faultCheck, seq, marksAccessed);
  setWalkFresh(false);
  return result;
}

/**
 * Serves the fault in VCPU_FAULT_* if it can; true: the access can be made now. Otherwise the host
 * finds in VCPU_FAULT_WALKED how far it came, and in VCPU_FAULT_RESULT what the fault came to
 * (RET_PF_CONTINUE: to nothing yet).
 */
export function quickFault(vcpu: usize, accesses: u32, l2Hits: u32): bool {
  if (!faultsHere || isTracing()) return false;
  if ((load<u32>(vcpu, VCPU_FAULT_CODE) & PFERR_RSVD_MASK) != 0) return false;
  if (load<u32>(vcpu, VCPU_ROOT) == 0) return false;
  return isServed(vcpu, serve(vcpu, accesses, l2Hits));
}

/** isServed() after RET_PF_FIXED, which nearly every fault comes to at once. */
export function isFixedServed(vcpu: usize): bool {
  if ((load<u32>(vcpu, VCPU_REQUESTS) | retries) != 0) return isServed(vcpu, RET_PF_FIXED);
  bump(SHADOW_PAGE_FAULTS);
  store<u32>(vcpu, 0, VCPU_FAULT_WALKED);
  return true;
}

/** The same after the fault came to `result`. */
export function isServed(vcpu: usize, result: u32): bool {
  if (result == RET_PF_CONTINUE) return false;
  bump(SHADOW_PAGE_FAULTS);
  // A flush of everything was done when it was asked for; other requests are the host's.
  const requests = load<u32>(vcpu, VCPU_REQUESTS) & ~REQ_TLB_FLUSH;
  retries = result == RET_PF_RETRY ? retries + 1 : 0;
  const again =
    retries != 0 ? retries < RETRIES_MAX : result == RET_PF_FIXED || result == RET_PF_SPURIOUS;
  if (again && requests == 0) {
    store<u32>(vcpu, 0, VCPU_REQUESTS);
    store<u32>(vcpu, 0, VCPU_FAULT_WALKED);
    return true;
  }
  store<u32>(vcpu, result, VCPU_FAULT_RESULT);
  return false;
}
