// The first half of a fault that run() serves itself: from the gva by way of the guest's tables and a memslot to the
// host page. What it finds stands in VCPU_WALK_* and VCPU_FAULT_*, from where the host may go on.

import {
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  FOLL_WRITE,
  KVM_FEATURE_GUP_WRITE,
  RET_PF_CONTINUE,
  SLOT_BASE_GFN,
  SLOT_HVN,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GPA,
  VCPU_FAULT_GVA,
  VCPU_FAULT_HVN,
  VCPU_FAULT_READONLY,
  VCPU_FAULT_TRANSLATED,
  VCPU_FAULT_WALKED,
  VCPU_FAULT_WANT,
  VCPU_TDP,
  VCPU_WALK_AD_SET,
  VCPU_WALK_GFN,
  WALK_OK,
} from '../abi';
import { GUEST_WALKS } from '../counters';
import { bump } from '../stats';
import { pagingRootLevel } from './guest_pte';
import { guestWalk } from './guest_walk';
import { hasFeature } from './kvm';
import { gfnToMemslot, slotReadonly } from './memslot';
import { faultTranslate } from './page_fault';
import { walkSettled } from './settled_walk';
import { isAbsentReached } from './shadow_walk';

/** FOLL_WRITE if the host is asked for a writable page for an access, else 0, where the slot may be written. */
export function wantOf(flags: u32): u32 {
  const write = (flags & ACCESS_KIND_MASK) == ACCESS_WRITE || hasFeature(KVM_FEATURE_GUP_WRITE);
  return write ? FOLL_WRITE : 0;
}

/**
 * guestWalk() and faultTranslate() below shadow tables that the hardware's walk has just passed, where neither
 * has anything to do but to translate; false: nothing is known.
 */
export function translateSettled(vcpu: usize): bool {
  if (!isAbsentReached() || pagingRootLevel(vcpu) != 4) return false;
  const flags = load<u32>(vcpu, VCPU_FAULT_FLAGS);
  if (!walkSettled(vcpu, 4, load<u64>(vcpu, VCPU_FAULT_GVA), flags)) return false;
  const gfn = load<u32>(vcpu, VCPU_WALK_GFN);
  const slot = gfnToMemslot(gfn);
  if (slot == 0 || slotReadonly(slot)) return false;
  bump(GUEST_WALKS);
  store<u32>(vcpu, 0, VCPU_WALK_AD_SET);
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  store<u32>(vcpu, hvn, VCPU_FAULT_HVN);
  store<u32>(vcpu, wantOf(flags), VCPU_FAULT_WANT);
  store<u32>(vcpu, 0, VCPU_FAULT_READONLY);
  store<u32>(vcpu, RET_PF_CONTINUE, VCPU_FAULT_TRANSLATED);
  store<u32>(vcpu, 2, VCPU_FAULT_WALKED);
  return true;
}

/** The guest walk and the translation, as far as the fault is to be served here; false: it is not. */
export function translate(vcpu: usize): bool {
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
