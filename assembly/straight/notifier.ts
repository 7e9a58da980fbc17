// The calls of a chain whose only notifier is KVM's: what KvmNotifierSteps (src/kvm/notifier.ts) does
// on a straight run of shadow paging, and the counters of NotifierChain.call() (src/mm/mmu-notifier.ts).
// Other address spaces have no notifiers: a call for one of them is none.

import {
  KVM_INVALIDATE_SEQ,
  STRAIGHT_AGE_ACTION,
  STRAIGHT_AGE_FLUSHES,
  AGE_NONE,
  STRAIGHT_BUMPS_SEQ,
  STRAIGHT_TELLS_RANGE,
} from '../abi';
import { AGE_PAGE_CALLS, INVALIDATE_PAGE_CALLS, INVALIDATE_RANGE_CALLS } from '../counters';
import { ageAndFlush, ageHvaRange, unmapAndFlush } from '../mmu/age';
import { invalidateRangeBegin, invalidateRangeEnd, KVM } from '../mmu/kvm';
import { bump } from '../stats';
import { Hvn } from '../types';
import { isGuestMm, STRAIGHT } from './config';

/** age_page, clear_flush_young or clear_young for one page; whether KVM answers young. */
export function callAge(mm: u32, hvn: Hvn): u32 {
  if (!isGuestMm(mm)) return 0;
  bump(AGE_PAGE_CALLS);
  const action = load<u32>(STRAIGHT, STRAIGHT_AGE_ACTION);
  if (action == AGE_NONE) return 0;
  return load<u32>(STRAIGHT, STRAIGHT_AGE_FLUSHES) != 0
    ? ageAndFlush(mm, hvn, hvn + 1, action)
    : ageHvaRange(mm, hvn, hvn + 1, action);
}

/** What invalidate_page of the guest's mm begins with, before the sptes go. */
export function invalidatePageBegin(): void {
  bump(INVALIDATE_PAGE_CALLS);
  if (load<u32>(STRAIGHT, STRAIGHT_BUMPS_SEQ) != 0) {
    store<u32>(KVM, load<u32>(KVM, KVM_INVALIDATE_SEQ) + 1, KVM_INVALIDATE_SEQ);
  }
}

/** invalidate_page. */
export function callInvalidatePage(mm: u32, hvn: Hvn): void {
  if (!isGuestMm(mm)) return;
  invalidatePageBegin();
  unmapAndFlush(mm, hvn, hvn + 1);
}

/** What invalidate_range_start of one page of the guest's mm begins with. */
export function invalidateStartBegin(mm: u32, hvn: Hvn): void {
  bump(INVALIDATE_RANGE_CALLS);
  invalidateRangeBegin(mm, hvn, hvn + 1);
}

/** invalidate_range_start. */
export function callInvalidateRangeStart(mm: u32, hvn: Hvn): void {
  if (!isGuestMm(mm)) return;
  invalidateStartBegin(mm, hvn);
  unmapAndFlush(mm, hvn, hvn + 1);
}

/** invalidate_range: KVM's TLBs were flushed with the sptes. */
export function callInvalidateRange(mm: u32): void {
  if (isGuestMm(mm) && load<u32>(STRAIGHT, STRAIGHT_TELLS_RANGE) != 0) bump(INVALIDATE_RANGE_CALLS);
}

/** invalidate_range_end. */
export function callInvalidateRangeEnd(mm: u32, hvn: Hvn): void {
  if (isGuestMm(mm)) invalidateRangeEnd(mm, hvn, hvn + 1);
}
