// Page faults that run() serves itself, without leaving for the host: the guest's own tables allow
// the access, and the host has the page present and writable. kvmPageFault() (src/kvm/page-fault.ts,
// the protocol) is these very functions with preemption points between them; here none is preempted,
// as in a straight run. Any other fault is the host's, and so are all while events are traced.

import {
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  FAULT_CHECK_NONE,
  FOLL_WRITE,
  FOLLOW_NONE,
  HPTE_PRESENT,
  HPTE_WRITE,
  KVM_FEATURE_GUP_WRITE,
  KVM_INVALIDATE_SEQ,
  PFERR_RSVD_MASK,
  REQ_TLB_FLUSH,
  RET_PF_CONTINUE,
  RET_PF_FIXED,
  RET_PF_RETRY,
  RET_PF_SPURIOUS,
  VCPU_FAULT_CODE,
  SLOT_BASE_GFN,
  SLOT_HVN,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GPA,
  VCPU_FAULT_GVA,
  VCPU_FAULT_HVN,
  VCPU_FAULT_READONLY,
  VCPU_FAULT_RESULT,
  VCPU_FAULT_TRANSLATED,
  VCPU_FAULT_WALKED,
  VCPU_FAULT_WANT,
  VCPU_REQUESTS,
  VCPU_ROOT,
  VCPU_TDP,
  VCPU_WALK_AD_SET,
  VCPU_WALK_GFN,
  WALK_OK,
} from '../abi';
import { GUEST_WALKS, SHADOW_PAGE_FAULTS } from '../counters';
import { isTracing } from '../events';
import { followAt } from '../mm/follow';
import { hpteGet, leafPmdp, ptepAt, ptepEpoch } from '../mm/pte';
import { bump } from '../stats';
import { straightGup } from '../straight/gup';
import { noTableTaken, tableTaken } from '../straight/reclaim';
import { Hvn, Pfn } from '../types';
import { setWalkFresh } from './fault';
import { guestWalk } from './guest_walk';
import { pagingRootLevel } from './guest_pte';
import { hasFeature, KVM } from './kvm';
import { gfnToMemslot, slotReadonly } from './memslot';
import { faultInstall, faultTranslate, isStale } from './page_fault';
import { walkCacheEnable } from './walk_cache';
import { folioSetReferenced, hvaToPfnFast, ptepToPfnFast, releasePfn } from './pfn';
import { shadowMapSettled } from './settled_map';
import { walkSettled } from './settled_walk';
import { isAbsentReached } from './shadow_walk';
import { spObsolete, tableToSp } from './shadow_page';

let enabled: bool = false;
let mmId: u32 = 0;
let touch: u32 = 0;
let gupFlags: u32 = 0;
let faultCheck: u32 = 0;
let marksAccessed: u32 = 0;
/** Faults in a row that ended in RET_PF_RETRY; the host counts those that make no progress. */
let retries: u32 = 0;
const RETRIES_MAX: u32 = 8;

/**
 * Lets run() serve faults (`on`), as the generation does it: TOUCH_* of the fast host lookup, or 0 and
 * the FOLL_* of follow_page; FAULT_CHECK_*; and whether releasing the page marks it accessed.
 */
export function quickFaultInit(
  on: u32,
  mm: u32,
  touchBy: u32,
  foll: u32,
  check: u32,
  releaseMarks: u32,
): void {
  enabled = on != 0;
  walkCacheEnable(enabled);
  mmId = mm;
  touch = touchBy;
  gupFlags = foll;
  faultCheck = check;
  marksAccessed = releaseMarks;
}

/**
 * The host page of VCPU_FAULT_HVN, writable and with a reference; FOLLOW_NONE: the host's turn. `pmdp` is
 * its leafPmdp().
 */
function lookUp(vcpu: usize, hvn: Hvn, pmdp: usize): Pfn {
  if (load<u32>(vcpu, VCPU_FAULT_READONLY) != 0) return FOLLOW_NONE;
  if (touch != 0) {
    return pmdp != 0 ? ptepToPfnFast(ptepAt(pmdp, hvn), touch) : hvaToPfnFast(mmId, hvn, touch);
  }
  // A page that may be written is in an area that may be written; what else is up to the areas.
  if (load<u32>(vcpu, VCPU_FAULT_WANT) != FOLL_WRITE) return FOLLOW_NONE;
  return followAt(mmId, hvn, pmdp, gupFlags | FOLL_WRITE);
}

/** Whether the host maps the page writable and its slot is not read-only; `ptep` is its pte, or 0. */
function mapsWritable(vcpu: usize, hvn: Hvn, ptep: usize): u32 {
  const pte = ptep != 0 ? load<u32>(ptep) : hpteGet(mmId, hvn);
  return (pte & HPTE_WRITE) != 0 && load<u32>(vcpu, VCPU_FAULT_READONLY) == 0 ? 1 : 0;
}

/**
 * guestWalk() and faultTranslate() below shadow tables that the hardware's walk has just passed, where neither
 * has anything to do but to translate; false: nothing is known.
 */
function translateSettled(vcpu: usize): bool {
  if (!isAbsentReached() || pagingRootLevel(vcpu) != 4) return false;
  const flags = load<u32>(vcpu, VCPU_FAULT_FLAGS);
  if (!walkSettled(vcpu, 4, load<u64>(vcpu, VCPU_FAULT_GVA), flags)) return false;
  const gfn = load<u32>(vcpu, VCPU_WALK_GFN);
  const slot = gfnToMemslot(gfn);
  if (slot == 0 || slotReadonly(slot)) return false;
  bump(GUEST_WALKS);
  store<u32>(vcpu, 0, VCPU_WALK_AD_SET);
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  const write = (flags & ACCESS_KIND_MASK) == ACCESS_WRITE || hasFeature(KVM_FEATURE_GUP_WRITE);
  store<u32>(vcpu, hvn, VCPU_FAULT_HVN);
  store<u32>(vcpu, write ? FOLL_WRITE : 0, VCPU_FAULT_WANT);
  store<u32>(vcpu, 0, VCPU_FAULT_READONLY);
  store<u32>(vcpu, RET_PF_CONTINUE, VCPU_FAULT_TRANSLATED);
  store<u32>(vcpu, 2, VCPU_FAULT_WALKED);
  return true;
}

/** The guest walk and the translation, as far as the fault is to be served here; false: it is not. */
function translate(vcpu: usize): bool {
  if (translateSettled(vcpu)) return true;
  store<u32>(vcpu, 1, VCPU_FAULT_WALKED);
  if (load<u32>(vcpu, VCPU_TDP) != 0) {
    store<u32>(vcpu, <u32>(load<u64>(vcpu, VCPU_FAULT_GPA) >> 12), VCPU_WALK_GFN);
  } else if (guestWalk(vcpu, load<u32>(vcpu, VCPU_FAULT_FLAGS)) != WALK_OK) {
    return false;
  }
  const early = faultTranslate(vcpu);
  store<u32>(vcpu, early, VCPU_FAULT_TRANSLATED);
  store<u32>(vcpu, 2, VCPU_FAULT_WALKED);
  return early == RET_PF_CONTINUE;
}

/** faultInstall() below tables that are all there; RET_PF_CONTINUE: it is to be called. */
function installSettled(vcpu: usize, pfn: Pfn, writable: u32, seq: u32, hvn: Hvn): u32 {
  if (tableTaken || load<u32>(vcpu, VCPU_TDP) != 0) return RET_PF_CONTINUE;
  if (faultCheck != FAULT_CHECK_NONE && isStale(faultCheck, seq, hvn)) return RET_PF_CONTINUE;
  if (spObsolete(tableToSp(<usize>load<u32>(vcpu, VCPU_ROOT)))) return RET_PF_CONTINUE;
  const slot = gfnToMemslot(load<u32>(vcpu, VCPU_WALK_GFN));
  const result = shadowMapSettled(vcpu, slot, pfn, writable);
  if (result != RET_PF_CONTINUE) releasePfn(pfn, marksAccessed);
  return result;
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
  const pmdp = leafPmdp(mmId, hvn);
  const epoch = ptepEpoch;
  const absent = pmdp != 0 && (load<u32>(ptepAt(pmdp, hvn)) & HPTE_PRESENT) == 0;
  let pfn = absent ? FOLLOW_NONE : lookUp(vcpu, hvn, pmdp);
  let writable: u32 = 1;
  if (pfn == FOLLOW_NONE) {
    const want = load<u32>(vcpu, VCPU_FAULT_WANT);
    pfn = straightGup(hvn, pmdp, gupFlags | want, accesses, l2Hits);
    if (pfn == FOLLOW_NONE) return RET_PF_CONTINUE;
    writable = mapsWritable(vcpu, hvn, absent && epoch == ptepEpoch ? ptepAt(pmdp, hvn) : 0);
    // A read fault is mapped writable if that costs nothing: one more look, for writing.
    if (writable != 0 && want == 0 && touch != 0) folioSetReferenced(pfn);
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
  if (!enabled || isTracing()) return false;
  if ((load<u32>(vcpu, VCPU_FAULT_CODE) & PFERR_RSVD_MASK) != 0) return false;
  if (load<u32>(vcpu, VCPU_ROOT) == 0) return false;
  const result = serve(vcpu, accesses, l2Hits);
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
