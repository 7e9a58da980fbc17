// The pieces of a KVM page fault (cf. FNAME(page_fault) and direct_page_fault(), 6.1): what it does
// from one preemption point to the next. kvmPageFault() (src/kvm/page-fault.ts, the protocol) calls
// them with the points between; quickFault() calls the same ones without.

import {
  FAULT_CHECK_COUNT,
  FAULT_CHECK_GIVEN,
  FAULT_CHECK_NONE,
  FAULT_CHECK_RANGE,
  FAULT_NO_SLOT,
  FAULT_TO_READONLY,
  FOLL_WRITE,
  KVM_FEATURE_GUP_WRITE,
  KVM_INVALIDATE_IN_PROGRESS,
  KVM_INVALIDATE_SEQ,
  PFERR_PRESENT_MASK,
  PFERR_WRITE_MASK,
  RET_PF_CONTINUE,
  RET_PF_EMULATE,
  RET_PF_RETRY,
  RET_PF_REWALK,
  SLOT_BASE_GFN,
  SLOT_HVN,
  VCPU_FAULT_CODE,
  VCPU_FAULT_HVN,
  VCPU_FAULT_READONLY,
  VCPU_FAULT_WANT,
  VCPU_ROOT,
  VCPU_TDP,
  VCPU_WALK_GFN,
} from '../abi';
import { RETRIED_PAGE_FAULTS } from '../counters';
import { bump } from '../stats';
import { Hvn, Pfn } from '../types';
import { shadowMap } from './fault';
import { clearFloodCounts } from './invlpg';
import { hasFeature, invalidateRetry, KVM } from './kvm';
import { gfnToMemslot, slotReadonly } from './memslot';
import { gfnTracked } from './page_track';
import { releasePfn } from './pfn';
import { spObsolete, tableToSp } from './shadow_page';
import { tdpFastPageFault, tdpMap } from './tdp';

/**
 * From the gfn of the access (VCPU_WALK_GFN) to the host page: VCPU_FAULT_HVN, VCPU_FAULT_WANT
 * (FOLL_WRITE or 0) and VCPU_FAULT_READONLY. RET_PF_CONTINUE, or what the fault ends with at once:
 * RET_PF_*, FAULT_NO_SLOT, FAULT_TO_READONLY.
 */
export function faultTranslate(vcpu: usize): u32 {
  const gfn = load<u32>(vcpu, VCPU_WALK_GFN);
  const code = load<u32>(vcpu, VCPU_FAULT_CODE);
  const slot = gfnToMemslot(gfn);
  // page_fault_handle_page_track: an upper-level guest table is always emulated.
  const both = PFERR_PRESENT_MASK | PFERR_WRITE_MASK;
  if ((code & both) == both && slot != 0 && gfnTracked(slot, gfn) != 0) {
    clearFloodCounts(vcpu, <usize>load<u32>(vcpu, VCPU_ROOT));
    return RET_PF_EMULATE;
  }
  if (load<u32>(vcpu, VCPU_TDP) != 0) {
    const fast = tdpFastPageFault(vcpu, gfn);
    if (fast != RET_PF_CONTINUE) return fast;
  }
  if (slot == 0) return FAULT_NO_SLOT;
  const write = (code & PFERR_WRITE_MASK) != 0;
  const readonly = slotReadonly(slot);
  if (readonly && write) return FAULT_TO_READONLY;
  const always = !readonly && hasFeature(KVM_FEATURE_GUP_WRITE);
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  store<u32>(vcpu, hvn, VCPU_FAULT_HVN);
  store<u32>(vcpu, always || write ? FOLL_WRITE : 0, VCPU_FAULT_WANT);
  store<u32>(vcpu, readonly ? 1 : 0, VCPU_FAULT_READONLY);
  return RET_PF_CONTINUE;
}

/** Whether a page that was looked up at `seq` must not be mapped; `check` is FAULT_CHECK_*. */
export function isStale(check: u32, seq: u32, hvn: Hvn): bool {
  if (check == FAULT_CHECK_NONE) return false;
  if (check == FAULT_CHECK_GIVEN) return seq != 0;
  if (check == FAULT_CHECK_RANGE) return invalidateRetry(seq, hvn);
  assert(check == FAULT_CHECK_COUNT, 'a check is one of FAULT_CHECK_*');
  return (
    load<u32>(KVM, KVM_INVALIDATE_IN_PROGRESS) != 0 || load<u32>(KVM, KVM_INVALIDATE_SEQ) != seq
  );
}

/**
 * Under mmu_lock: installs the spte for `pfn`, unless an invalidation ran since `seq` or the root is
 * obsolete, and drops the lookup's reference (`marksAccessed`: as releasePfn()). RET_PF_*.
 */
export function faultInstall(
  vcpu: usize,
  pfn: Pfn,
  writable: u32,
  check: u32,
  seq: u32,
  marksAccessed: u32,
): u32 {
  const stale = isStale(check, seq, load<u32>(vcpu, VCPU_FAULT_HVN));
  const tdp = load<u32>(vcpu, VCPU_TDP) != 0;
  const root = <usize>load<u32>(vcpu, VCPU_ROOT);
  let result = RET_PF_RETRY;
  if (!stale && (tdp || root == 0 || !spObsolete(tableToSp(root)))) {
    result = tdp
      ? tdpMap(vcpu, load<u32>(vcpu, VCPU_WALK_GFN), pfn, writable)
      : shadowMap(vcpu, pfn, writable);
  }
  releasePfn(pfn, marksAccessed);
  if (stale) bump(RETRIED_PAGE_FAULTS);
  return result == RET_PF_REWALK ? RET_PF_RETRY : result;
}
