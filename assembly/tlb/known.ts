// The TLB of a vCPU at pages whose places in it are known (straight/known_page.ts): sets of four ways in the L1, the sets
// of the L2, and no large pages.

import { ARRAY_WAYS, TLB_FLUSH_COUNT, TLB_HAS_LARGE, TLB_L1, TLB_L2, TLB_PAGE_MASK } from './block';
import { isPage, removeLarge, removePageAged } from './flush';
import {
  AGED_KEYS,
  candidates,
  enterAged,
  enterFour,
  mayHold,
  purgeFor,
  removeAged,
  removeOnceFromFour,
  setOf,
  setTlbValue,
  signatureOf,
} from './sets';

/** Whether no entry is about a page, in whatever space; false also where the TLB is not one for here. */
export function tlbHoldsNone(tlb: usize, page: u64): bool {
  const l1 = tlb + TLB_L1;
  if (load<u32>(tlb + TLB_HAS_LARGE) != 0 || load<u32>(l1, ARRAY_WAYS) != 4) return false;
  if (page == 0 || mayHold(setOf(l1, page >> 12), page)) return false;
  const l2 = tlb + TLB_L2;
  const set = setOf(l2, page >> 12);
  const ways = load<u32>(l2, ARRAY_WAYS);
  for (let left = candidates(set, ways, page >> 12); left != 0; left &= left - 1) {
    if (isPage(load<u64>(set + ((<usize>ctz(left)) << 4), AGED_KEYS), page)) return false;
  }
  return true;
}

/** The set of a page in the L1. */
export function placeL1(tlb: usize, gva: u64): usize {
  return setOf(tlb + TLB_L1, gva >> 12);
}

/** The set of a page in the L2. */
export function placeL2(tlb: usize, gva: u64): usize {
  return setOf(tlb + TLB_L2, gva >> 12);
}

/** Where the key of the first way of a set of the L2 lies. */
export function firstWay(l2Set: usize): usize {
  return l2Set + AGED_KEYS;
}

/** Removes a page, which is in no other space, from its sets; `l2Way` is where the key in the L2 may lie. */
export function removePlaced(tlb: usize, l1Set: usize, l2Set: usize, l2Way: usize, gva: u64): void {
  removeOnceFromFour(l1Set, gva);
  const ways = load<u32>(tlb + TLB_L2, ARRAY_WAYS);
  // An empty way would be one of page 0.
  if (((load<u64>(l2Way) ^ gva) & TLB_PAGE_MASK) == 0)
    removeAged(l2Set, ways, (l2Way - l2Set - AGED_KEYS) >> 4);
  else removePageAged(l2Set, ways, gva);
  if (load<u32>(tlb + TLB_HAS_LARGE) != 0) removeLarge(tlb, gva);
}

/** Counts flushes that leave dead ways behind. */
export function tlbFlushCount(tlb: usize): u32 {
  return load<u32>(tlb, TLB_FLUSH_COUNT);
}

/** Removes dead ways from the sets of a page. */
export function purgePlaced(tlb: usize, gva: u64): void {
  purgeFor(tlb, gva >> 12);
}

/** The signature of a page in the L2. */
export function placeSignature(gva: u64): u8 {
  return signatureOf(gva >> 12);
}

/** Enters a page into its sets, which hold no dead way; returns where its key in the L2 lies. */
export function placePage(
  tlb: usize,
  l1Set: usize,
  l2Set: usize,
  signature: u8,
  key: u64,
  value: u64,
): usize {
  setTlbValue(value);
  const ways = load<u32>(tlb + TLB_L2, ARRAY_WAYS);
  const way = enterAged(l2Set, ways, signature, key, value);
  enterFour(l1Set, key, value);
  return way;
}
