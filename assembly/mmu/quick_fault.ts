// Page faults that run() serves itself, without leaving for the host: the guest's own tables allow
// the access, and the host has the page present and writable. kvmPageFault() (src/kvm/page-fault.ts,
// the protocol) is these very functions with preemption points between them; here none is preempted,
// as in a straight run. Any other fault is the host's, and so are all while events are traced.

import {
  FOLL_WRITE,
  FOLLOW_NONE,
  KVM_INVALIDATE_SEQ,
  PFERR_RSVD_MASK,
  REQ_TLB_FLUSH,
  RET_PF_CONTINUE,
  RET_PF_FIXED,
  RET_PF_SPURIOUS,
  VCPU_FAULT_CODE,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GPA,
  VCPU_FAULT_HVN,
  VCPU_FAULT_READONLY,
  VCPU_FAULT_RESULT,
  VCPU_FAULT_TRANSLATED,
  VCPU_FAULT_WALKED,
  VCPU_FAULT_WANT,
  VCPU_REQUESTS,
  VCPU_ROOT,
  VCPU_TDP,
  VCPU_WALK_GFN,
  WALK_OK,
} from '../abi';
import { SHADOW_PAGE_FAULTS } from '../counters';
import { isTracing } from '../events';
import { followPage } from '../mm/memory';
import { bump } from '../stats';
import { Pfn } from '../types';
import { setWalkFresh } from './fault';
import { guestWalk } from './guest_walk';
import { KVM } from './kvm';
import { faultInstall, faultTranslate } from './page_fault';
import { hvaToPfnFast } from './pfn';

let enabled: bool = false;
let mmId: u32 = 0;
let touch: u32 = 0;
let gupFlags: u32 = 0;
let faultCheck: u32 = 0;
let marksAccessed: u32 = 0;

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
  mmId = mm;
  touch = touchBy;
  gupFlags = foll;
  faultCheck = check;
  marksAccessed = releaseMarks;
}

/** The host page of VCPU_FAULT_HVN, writable and with a reference; FOLLOW_NONE: the host's turn. */
function lookUp(vcpu: usize): Pfn {
  if (load<u32>(vcpu, VCPU_FAULT_READONLY) != 0) return FOLLOW_NONE;
  const hvn = load<u32>(vcpu, VCPU_FAULT_HVN);
  if (touch != 0) return hvaToPfnFast(mmId, hvn, touch);
  // A page that may be written is in an area that may be written; what else is up to the areas.
  if (load<u32>(vcpu, VCPU_FAULT_WANT) != FOLL_WRITE) return FOLLOW_NONE;
  return followPage(mmId, hvn, gupFlags | FOLL_WRITE);
}

/** The guest walk, the translation, the lookup and the mapping; RET_PF_CONTINUE: the host's turn. */
function serve(vcpu: usize): u32 {
  const seq = load<u32>(KVM, KVM_INVALIDATE_SEQ);
  store<u32>(vcpu, 1, VCPU_FAULT_WALKED);
  if (load<u32>(vcpu, VCPU_TDP) != 0) {
    store<u32>(vcpu, <u32>(load<u64>(vcpu, VCPU_FAULT_GPA) >> 12), VCPU_WALK_GFN);
  } else if (guestWalk(vcpu, load<u32>(vcpu, VCPU_FAULT_FLAGS)) != WALK_OK) {
    return RET_PF_CONTINUE;
  }
  const early = faultTranslate(vcpu);
  store<u32>(vcpu, early, VCPU_FAULT_TRANSLATED);
  store<u32>(vcpu, 2, VCPU_FAULT_WALKED);
  if (early != RET_PF_CONTINUE) return RET_PF_CONTINUE;
  const pfn = lookUp(vcpu);
  if (pfn == FOLLOW_NONE) return RET_PF_CONTINUE;
  setWalkFresh(true);
  const result = faultInstall(vcpu, pfn, 1, faultCheck, seq, marksAccessed);
  setWalkFresh(false);
  return result;
}

/**
 * Serves the fault in VCPU_FAULT_* if it can; true: the access can be made now. Otherwise the host
 * finds in VCPU_FAULT_WALKED how far it came, and in VCPU_FAULT_RESULT what the fault came to
 * (RET_PF_CONTINUE: to nothing yet).
 */
export function quickFault(vcpu: usize): bool {
  if (!enabled || isTracing()) return false;
  if ((load<u32>(vcpu, VCPU_FAULT_CODE) & PFERR_RSVD_MASK) != 0) return false;
  if (load<u32>(vcpu, VCPU_ROOT) == 0) return false;
  const result = serve(vcpu);
  if (result == RET_PF_CONTINUE) return false;
  bump(SHADOW_PAGE_FAULTS);
  // A flush of everything was done when it was asked for; other requests are the host's.
  const requests = load<u32>(vcpu, VCPU_REQUESTS) & ~REQ_TLB_FLUSH;
  if ((result == RET_PF_FIXED || result == RET_PF_SPURIOUS) && requests == 0) {
    store<u32>(vcpu, 0, VCPU_REQUESTS);
    store<u32>(vcpu, 0, VCPU_FAULT_WALKED);
    return true;
  }
  store<u32>(vcpu, result, VCPU_FAULT_RESULT);
  return false;
}
