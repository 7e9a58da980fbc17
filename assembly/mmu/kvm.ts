// State of the VM that the MMU reads on its paths (cf. struct kvm and struct kvm_arch), in one block
// that the host sees through kvmPtr().

import {
  KVM_FEATURE_INVALIDATE_IN_SLOTS,
  KVM_FEATURES,
  KVM_INVALIDATE_IN_PROGRESS,
  KVM_INVALIDATE_RANGE_END,
  KVM_INVALIDATE_RANGE_START,
  KVM_INVALIDATE_SEQ,
  KVM_N_MAX_MMU_PAGES,
  KVM_TDP_RULES,
} from '../abi';
import { Hvn } from '../types';
import { meetsSlot } from './memslot';

/** Address of the block. */
export const KVM: usize = memory.data(64, 8);

/** Address of the block, for the host. */
export function kvmPtr(): u32 {
  return <u32>KVM;
}

/** Sets what a generation can do (KVM_FEATURE_*, TDP_RULE_*) and how many shadow pages it may use. */
export function kvmInit(features: u32, tdpRules: u32, maxShadowPages: u32): void {
  store<u32>(KVM, features, KVM_FEATURES);
  store<u32>(KVM, tdpRules, KVM_TDP_RULES);
  store<u32>(KVM, maxShadowPages, KVM_N_MAX_MMU_PAGES);
}

/** Whether the generation has a feature. */
export function hasFeature(feature: u32): bool {
  return (load<u32>(KVM, KVM_FEATURES) & feature) != 0;
}

/** Whether the generation follows a rule of two-dimensional paging. */
export function hasTdpRule(rule: u32): bool {
  return (load<u32>(KVM, KVM_TDP_RULES) & rule) != 0;
}

/** kvm_mmu_invalidate_begin: faults that are under way for the range become stale. */
export function invalidateBegin(start: Hvn, end: Hvn): void {
  const count = load<u32>(KVM, KVM_INVALIDATE_IN_PROGRESS) + 1;
  store<u32>(KVM, count, KVM_INVALIDATE_IN_PROGRESS);
  if (count == 1) {
    store<u32>(KVM, start, KVM_INVALIDATE_RANGE_START);
    store<u32>(KVM, end, KVM_INVALIDATE_RANGE_END);
    return;
  }
  // Several at once: keep one range that covers them all.
  if (start < load<u32>(KVM, KVM_INVALIDATE_RANGE_START)) {
    store<u32>(KVM, start, KVM_INVALIDATE_RANGE_START);
  }
  if (end > load<u32>(KVM, KVM_INVALIDATE_RANGE_END)) {
    store<u32>(KVM, end, KVM_INVALIDATE_RANGE_END);
  }
}

/** kvm_mmu_invalidate_end: the sequence is bumped before the count falls, so that a fault that
 *  began inside the window sees one or the other. */
export function invalidateEnd(): void {
  store<u32>(KVM, load<u32>(KVM, KVM_INVALIDATE_SEQ) + 1, KVM_INVALIDATE_SEQ);
  const count = load<u32>(KVM, KVM_INVALIDATE_IN_PROGRESS);
  assert(count > 0, 'an invalidation that ends has begun');
  store<u32>(KVM, count - 1, KVM_INVALIDATE_IN_PROGRESS);
}

/** Whether an invalidation concerns the VM at all. */
function concerns(mm: u32, start: Hvn, end: Hvn): bool {
  return !hasFeature(KVM_FEATURE_INVALIDATE_IN_SLOTS) || meetsSlot(mm, start, end);
}

/** invalidateBegin() for a range that may lie outside all memslots. */
export function invalidateRangeBegin(mm: u32, start: Hvn, end: Hvn): void {
  if (concerns(mm, start, end)) invalidateBegin(start, end);
}

/** invalidateEnd() for such a range. */
export function invalidateRangeEnd(mm: u32, start: Hvn, end: Hvn): void {
  if (concerns(mm, start, end)) invalidateEnd();
}

/** mmu_invalidate_retry_hva: whether a fault that looked the page up at `seq` must be retried. */
export function invalidateRetry(seq: u32, hvn: Hvn): bool {
  if (
    load<u32>(KVM, KVM_INVALIDATE_IN_PROGRESS) != 0 &&
    hvn >= load<u32>(KVM, KVM_INVALIDATE_RANGE_START) &&
    hvn < load<u32>(KVM, KVM_INVALIDATE_RANGE_END)
  ) {
    return true;
  }
  return load<u32>(KVM, KVM_INVALIDATE_SEQ) != seq;
}

/** Whether new sptes are made without A/D bits (access tracking). */
export let adDisabled: bool = false;

/** Chooses between A/D bits and access tracking for the VM's sptes. */
export function kvmSetAdDisabled(disabled: u32): void {
  adDisabled = disabled != 0;
}
