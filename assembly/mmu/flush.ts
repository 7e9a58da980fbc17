// TLB flushes that the MMU orders (cf. kvm_flush_remote_tlbs). The vCPUs are outside of guest mode
// when a flush returns, so it acts at once; the request bit only lets the next entry report it.
//
// KVM on x86 has one scope, everything. With KVM_FEATURE_FLUSH_PAGES a notifier call that touched a
// few pages drops their translations alone, as kvm_flush_remote_tlbs_range() does where the
// hypervisor below offers it: the pages are gathered while sptes change and dropped by the flush
// that ends the call.

import {
  EVENT_FLUSH_REMOTE_TLBS,
  EVENT_FLUSH_REMOTE_TLBS_RANGE,
  KVM_FEATURE_FLUSH_PAGES,
  KVM_FEATURE_FLUSH_RANGES,
  PAGE_SHIFT,
  KVM_TLBS_DIRTY,
  REQ_TLB_FLUSH,
  REQ_TLB_FLUSH_CURRENT,
  SP_GVA_BASE,
  SP_GVA_EPOCH,
  SP_PARENT_PTES,
  VCPU_REQUESTS,
} from '../abi';
import { REMOTE_TLB_FLUSHES } from '../counters';
import { isTracing, trace } from '../events';
import { bump } from '../stats';
import { tlbFlushAll, tlbFlushGva } from '../tlb/flush';
import { Gfn, Sptep } from '../types';
import { vcpuCount, vcpuPtr } from '../vcpu';
import { hasFeature, KVM } from './kvm';
import { rmapFirst } from './rmap';
import { spGfnOf, spLevel, spteIndex, sptepToSp } from './shadow_page';
import { disturb } from './settled_table';
import { walkCacheOn } from './walk_cache';

/** More pages than this are flushed as a whole (Linux: tlb_single_page_flush_ceiling). */
const CEILING: u32 = 33;
/** Gathered gvas. */
const PAGES: usize = memory.data(264, 8);
if (CEILING * 8 != 264) ERROR('flush: PAGES holds CEILING gvas');

/** Counts links between tables, made or cut: what a table noted of its gva before one may be wrong. */
export let linkEpoch: u32 = 1;
let gathered: u32 = 0;
/** A page could not be named: only a full flush will do. */
let wholesale: bool = false;

/** kvm_flush_remote_tlbs: every translation of every vCPU. */
export function flushRemoteTlbs(): void {
  trace(EVENT_FLUSH_REMOTE_TLBS);
  bump(REMOTE_TLB_FLUSHES);
  store<u32>(KVM, 0, KVM_TLBS_DIRTY);
  const count = vcpuCount();
  for (let i: u32 = 0; i < count; i++) {
    const vcpu = vcpuPtr(i);
    tlbFlushAll(vcpu);
    store<u32>(vcpu, load<u32>(vcpu, VCPU_REQUESTS) | REQ_TLB_FLUSH, VCPU_REQUESTS);
  }
}

/** KVM_REQ_TLB_FLUSH_CURRENT: the vCPU flushes its current address space before it enters the guest. */
export function requestFlushCurrent(vcpu: usize): void {
  store<u32>(vcpu, load<u32>(vcpu, VCPU_REQUESTS) | REQ_TLB_FLUSH_CURRENT, VCPU_REQUESTS);
}

/** Whether a sync dropped sptes that no flush of all vCPUs has followed yet. */
export function tlbsDirty(): bool {
  return load<u32>(KVM, KVM_TLBS_DIRTY) != 0;
}

/** kvm_flush_remote_tlbs_range: x86 without a hypervisor below flushes everything. */
export function flushRemoteTlbsRange(gfn: Gfn, pages: u32): void {
  if (isTracing() && hasFeature(KVM_FEATURE_FLUSH_RANGES)) {
    trace(EVENT_FLUSH_REMOTE_TLBS_RANGE, gfn, pages);
  }
  flushRemoteTlbs();
}

/** kvm_flush_remote_tlbs_sptep. */
export function flushRemoteTlbsSptep(sptep: Sptep): void {
  const sp = sptepToSp(sptep);
  flushRemoteTlbsRange(spGfnOf(sp, spteIndex(sptep)), (<u32>1) << ((spLevel(sp) - 1) * 9));
}

/** Starts a notifier call: nothing is gathered. */
export function gatherBegin(): void {
  gathered = 0;
  wholesale = false;
}

/** Whether gatherSpte() has anything to do. */
export function gathering(): bool {
  return hasFeature(KVM_FEATURE_FLUSH_PAGES) && !wholesale;
}

/** Gathers the page of a leaf spte that changes in a way that cached translations must not survive. */
export function gatherSpte(sptep: Sptep): void {
  if (!gathering()) return;
  if (gathered == CEILING) {
    wholesale = true;
    return;
  }
  const sp = sptepToSp(sptep);
  let gva: u64 = 0;
  if (load<u32>(sp, SP_GVA_EPOCH) == linkEpoch) {
    gva = notedGva(sp, sptep);
  } else {
    gva = findGva(sptep);
    if (wholesale) return;
  }
  store<u64>(PAGES + ((<usize>gathered) << 3), gva);
  gathered++;
}

/** A table was linked or unlinked. */
export function linksChanged(): void {
  // Nothing is noted where the walk cache is off: there an epoch would be state, too.
  if (walkCacheOn()) linkEpoch++;
  disturb();
}

/** gva that an spte translates, by way of its tables' parents; `wholesale` when there is no single one. */
function findGva(sptep: Sptep): u64 {
  let gva: u64 = 0;
  let at = sptep;
  let level: u32 = 0;
  while (at != 0) {
    const sp = sptepToSp(at);
    level = spLevel(sp);
    const shift: u64 = PAGE_SHIFT + 9 * (level - 1);
    gva |= (<u64>spteIndex(at)) << shift;
    // A table that several others point to is seen at several gvas.
    const parents = load<u32>(sp, SP_PARENT_PTES);
    if ((parents & 1) != 0) wholesale = true;
    at = rmapFirst(sp + <usize>SP_PARENT_PTES);
  }
  if (level < 4) wholesale = true;
  if (wholesale) return 0;
  const leaf = sptepToSp(sptep);
  if (level == 4 && spLevel(leaf) == 1 && walkCacheOn()) {
    store<u32>(leaf, <u32>(gva >> 21), SP_GVA_BASE);
    store<u32>(leaf, linkEpoch, SP_GVA_EPOCH);
  }
  const unused: u64 = level == 5 ? 7 : 16;
  return <u64>((<i64>(gva << unused)) >> (<i64>unused));
}

/** The flush that ends a notifier call which changed a single spte, and gathered nothing else. */
export function flushOne(sptep: Sptep): void {
  const sp = sptepToSp(sptep);
  if (
    load<u32>(sp, SP_GVA_EPOCH) != linkEpoch ||
    !hasFeature(KVM_FEATURE_FLUSH_PAGES) ||
    isTracing()
  ) {
    gatherBegin();
    gatherSpte(sptep);
    flushGathered();
    return;
  }
  bump(REMOTE_TLB_FLUSHES);
  const gva = notedGva(sp, sptep);
  tlbFlushGva(vcpuPtr(0), gva);
  if (vcpuCount() != 1) flushOthers(gva);
}

/** The same on the other vCPUs. */
function flushOthers(gva: u64): void {
  const count = vcpuCount();
  for (let i: u32 = 1; i < count; i++) tlbFlushGva(vcpuPtr(i), gva);
}

/** gva of an spte in a table that noted its own. */
function notedGva(sp: usize, sptep: Sptep): u64 {
  const gva = ((<u64>load<u32>(sp, SP_GVA_BASE)) << 21) | ((<u64>spteIndex(sptep)) << PAGE_SHIFT);
  return <u64>((<i64>(gva << 16)) >> 16);
}

/** Many sptes changed at once: the flush will be of everything. */
export function gatherMany(): void {
  wholesale = true;
}

/**
 * The flush that ends a notifier call. A flush of pages raises no request: REQ_TLB_FLUSH says that
 * everything was flushed, and would stand for a flush of the current space that is still to come.
 */
export function flushGathered(): void {
  if (!hasFeature(KVM_FEATURE_FLUSH_PAGES) || wholesale || gathered == 0) {
    flushRemoteTlbs();
    return;
  }
  trace(EVENT_FLUSH_REMOTE_TLBS);
  bump(REMOTE_TLB_FLUSHES);
  const count = vcpuCount();
  for (let i: u32 = 0; i < count; i++) {
    const vcpu = vcpuPtr(i);
    for (let page: u32 = 0; page < gathered; page++) {
      tlbFlushGva(vcpu, load<u64>(PAGES + ((<usize>page) << 3)));
    }
  }
}
