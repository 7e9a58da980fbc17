// Page faults that run() serves itself, without leaving for the host: the guest's own tables allow
// the access, the host has the page present and writable, and nothing else runs meanwhile. Then
// kvmPageFault() (src/kvm/page-fault.ts, the protocol) comes to exactly these steps, since no
// preemption point can bring an invalidation; for any other fault, while events are traced and under
// the explorer it is the host's turn. A test holds the two against each other.

import {
  KVM_INVALIDATE_IN_PROGRESS,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  PFERR_WRITE_MASK,
  REQ_TLB_FLUSH,
  RET_PF_CONTINUE,
  RET_PF_FIXED,
  RET_PF_RETRY,
  RET_PF_REWALK,
  RET_PF_SPURIOUS,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_MM,
  VCPU_FAULT_CODE,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_RESULT,
  VCPU_FAULT_WALKED,
  VCPU_REQUESTS,
  VCPU_ROOT,
  VCPU_WALK_GFN,
  WALK_OK,
} from '../abi';
import { SHADOW_PAGE_FAULTS } from '../counters';
import { isTracing } from '../events';
import { bump } from '../stats';
import { shadowMap } from './fault';
import { guestWalk } from './guest_walk';
import { KVM } from './kvm';
import { gfnToMemslot, gfnTrack, slotReadonly } from './memslot';
import { hvaToPfnFast, releasePfn } from './pfn';
import { spObsolete, tableToSp } from './shadow_page';

let enabled: bool = false;
let touch: u32 = 0;
let marksAccessed: u32 = 0;

/**
 * Lets run() serve faults (`on`), as the generation does it: TOUCH_* of the host lookup, and whether
 * releasing the page marks it accessed.
 */
export function quickFaultInit(on: u32, touchBy: u32, releaseMarks: u32): void {
  enabled = on != 0;
  touch = touchBy;
  marksAccessed = releaseMarks;
}

/** What is left of a fault when the walk was done: the lookup and the mapping. */
function lookUpAndMap(vcpu: usize): u32 {
  const gfn = load<u32>(vcpu, VCPU_WALK_GFN);
  const slot = gfnToMemslot(gfn);
  if (slot == 0 || slotReadonly(slot)) return RET_PF_CONTINUE;
  const both = PFERR_PRESENT_MASK | PFERR_WRITE_MASK;
  const tracked = load<u8>(gfnTrack(slot, gfn)) != 0;
  if (tracked && (load<u32>(vcpu, VCPU_FAULT_CODE) & both) == both) return RET_PF_CONTINUE;
  if (spObsolete(tableToSp(<usize>load<u32>(vcpu, VCPU_ROOT)))) return RET_PF_CONTINUE;
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  const pfn = hvaToPfnFast(load<u32>(slot, SLOT_MM), hvn, touch);
  if (pfn == 0xffffffff) return RET_PF_CONTINUE;
  const result = shadowMap(vcpu, pfn, 1);
  releasePfn(pfn, marksAccessed);
  return result == RET_PF_REWALK ? RET_PF_RETRY : result;
}

/**
 * Serves the fault in VCPU_FAULT_* if it can; true: the access can be made now. Otherwise the host
 * finds in VCPU_FAULT_WALKED whether the guest's tables were walked, and in VCPU_FAULT_RESULT what
 * the fault came to (RET_PF_CONTINUE: to nothing yet).
 */
export function quickFault(vcpu: usize): bool {
  if (!enabled || isTracing() || load<u32>(KVM, KVM_INVALIDATE_IN_PROGRESS) != 0) return false;
  if ((load<u32>(vcpu, VCPU_FAULT_CODE) & PFERR_RSVD_MASK) != 0) return false;
  if (load<u32>(vcpu, VCPU_ROOT) == 0) return false;
  store<u32>(vcpu, 1, VCPU_FAULT_WALKED);
  if (guestWalk(vcpu, load<u32>(vcpu, VCPU_FAULT_FLAGS)) != WALK_OK) return false;
  const result = lookUpAndMap(vcpu);
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
