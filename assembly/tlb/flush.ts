// Taking translations out: INVLPG, INVPCID and MOV to CR3 of the guest, flushes by the host.

import { VCPU_TLB } from '../abi';
import { TLB_FLUSHES } from '../counters';
import { bump } from '../stats';
import {
  ARRAY_WAYS,
  EPOCH_MAX,
  EPOCH_NONE,
  TLB_EPOCH,
  TLB_FLUSH_COUNT,
  TLB_HAS_LARGE,
  TLB_L1,
  TLB_L2,
  TLB_LARGE,
  TLB_PAGE_MASK,
  TLB_SPACE,
  TLB_SPACE_TAG,
  largeWant,
} from './block';
import {
  AGED_KEYS,
  candidates,
  findAged,
  matches,
  mayHold,
  removeAged,
  removeFromFour,
  removeOrdered,
  setOf,
} from './sets';
import { retire, retireAll, selectSpace, sweep } from './tags';

function removeFrom(tlb: usize, array: usize, page: u64, want: u64): void {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  if (ways == 4 && !mayHold(set, want & TLB_PAGE_MASK)) return;
  for (let way: u32 = 0; way < ways;) {
    const at = set + ((<usize>way) << 4);
    const key = load<u64>(at);
    if (key != 0 && matches(tlb, key, load<u64>(at, 8), want)) removeOrdered(set, ways, way);
    else way++;
  }
}

/** Removes a page of the current space (want's tag) and global translations of it. */
export function removePage(tlb: usize, want: u64): void {
  removeFrom(tlb, tlb + TLB_L1, want >> 12, want);
  const l2 = tlb + TLB_L2;
  const set = setOf(l2, want >> 12);
  const ways = load<u32>(l2, ARRAY_WAYS);
  for (let way = findAged(tlb, set, ways, want); way >= 0; way = findAged(tlb, set, ways, want)) {
    removeAged(set, ways, <usize>way);
  }
  if (load<u32>(tlb + TLB_HAS_LARGE) == 0) return;
  removeFrom(tlb, tlb + TLB_LARGE, want >> 21, largeWant(want, false));
  removeFrom(tlb, tlb + TLB_LARGE, want >> 30, largeWant(want, true));
}

/** INVLPG: the page at vpn = `hi` << 32 | `lo` in a space, whatever its size, and globally. */
export function tlbFlushPage(vcpu: usize, space: u32, lo: u32, hi: u32): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  const tag = <u64>load<u8>(tlb + TLB_SPACE_TAG + <usize>space);
  // A space without a tag has no translations of its own; tag 0 then matches global ones only,
  // since no valid entry of a space carries it.
  removePage(tlb, ((((<u64>hi) << 32) | (<u64>lo)) << 12) | tag);
  bump(TLB_FLUSHES);
}

/** Whether a key is a valid one for a page, in whatever space. */
export function isPage(key: u64, want: u64): bool {
  if (((key ^ want) & TLB_PAGE_MASK) != 0) return false;
  return key != 0;
}

function removePageOrdered(array: usize, page: u64, want: u64): void {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  // An empty way looks like one for page 0.
  if (ways == 4 && page != 0) {
    removeFromFour(set, want & TLB_PAGE_MASK);
    return;
  }
  for (let way: u32 = 0; way < ways;) {
    if (isPage(load<u64>(set + ((<usize>way) << 4)), want)) removeOrdered(set, ways, way);
    else way++;
  }
}

/** Removes a page from a set of the L2, in every space. */
export function removePageAged(set: usize, ways: u32, gva: u64): void {
  for (let left = candidates(set, ways, gva >> 12); left != 0; left &= left - 1) {
    const way = <usize>ctz(left);
    if (isPage(load<u64>(set + (way << 4), AGED_KEYS), gva)) removeAged(set, ways, way);
  }
}

/** Flushes the page of a gva in every space, as the host does for an spte that it changed. */
export function tlbFlushGva(vcpu: usize, gva: u64): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  bump(TLB_FLUSHES);
  removePageOrdered(tlb + TLB_L1, gva >> 12, gva);
  const l2 = tlb + TLB_L2;
  removePageAged(setOf(l2, gva >> 12), load<u32>(l2, ARRAY_WAYS), gva);
  if (load<u32>(tlb + TLB_HAS_LARGE) != 0) removeLarge(tlb, gva);
}

/** Removes the large pages around a gva, in every space. */
export function removeLarge(tlb: usize, gva: u64): void {
  removePageOrdered(tlb + TLB_LARGE, gva >> 21, largeWant(gva, false));
  removePageOrdered(tlb + TLB_LARGE, gva >> 30, largeWant(gva, true));
}

/** INVPCID type 1, or MOV to CR3 without PCIDs: all of a space but global translations. */
export function tlbFlushSpace(vcpu: usize, space: u32): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  bump(TLB_FLUSHES);
  const tag = <u32>load<u8>(tlb + TLB_SPACE_TAG + <usize>space);
  if (tag == 0) return;
  retire(tlb, tag);
  store<u32>(tlb + TLB_FLUSH_COUNT, load<u32>(tlb + TLB_FLUSH_COUNT) + 1);
  if (load<u32>(tlb + TLB_SPACE) == space) selectSpace(vcpu, tlb, space);
}

/** INVPCID type 3: all spaces, global translations stay. */
export function tlbFlushNonGlobal(vcpu: usize): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  bump(TLB_FLUSHES);
  retireAll(tlb);
  selectSpace(vcpu, tlb, load<u32>(tlb + TLB_SPACE));
}

/** INVPCID type 2, a toggle of CR4.PGE or a flush by the host: everything. */
export function tlbFlushAll(vcpu: usize): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  store<u32>(tlb + TLB_HAS_LARGE, 0);
  const epoch = load<u32>(tlb + TLB_EPOCH);
  if (epoch == EPOCH_MAX) {
    store<u32>(tlb + TLB_EPOCH, EPOCH_NONE);
    sweep(tlb);
  }
  store<u32>(tlb + TLB_EPOCH, epoch == EPOCH_MAX ? 1 : epoch + 1);
  tlbFlushNonGlobal(vcpu);
}
