// Looking translations up and entering them: the levels of the TLB in the order in which the processor
// asks them.

import { VCPU_TLB } from '../abi';
import { lockstepIndex } from '../lockstep';
import {
  ARRAY_WAYS,
  EPOCH_SHIFT,
  PKEY_SHIFT,
  TLB_EPOCH,
  TLB_HAS_LARGE,
  TLB_L1,
  TLB_L2,
  TLB_LARGE,
  largeWant,
  FRAME_BITS,
  INDEX_MASK,
  INDEX_SHIFT,
  TLB_ND,
  TLB_NW,
  TLB_PAGE_MASK,
} from './block';
import { removePage } from './flush';
import {
  AGED_KEYS,
  AGED_VALUES,
  PROBE_DENIED,
  PROBE_HIT,
  PROBE_MISS,
  candidates,
  fillAged,
  fillOrdered,
  mayHold,
  mayHoldOther,
  probeAged,
  probeOrdered,
  removeAged,
  removeFromFour,
  setOf,
  setTlbValue,
  tlbKey,
  tlbValue,
  touchAged,
} from './sets';

/** The lookup missed: walk. */
export const TLB_MISS: i32 = 0;
/** Translated by the L1 or the large array. */
export const TLB_HIT: i32 = 1;
/** Translated by the L2 (and now in the L1). */
export const TLB_L2_HIT: i32 = 2;

/** tlbLookupL2(): an entry allows the access. */
export const L2_HIT: u32 = 0;
/** There may be one that only tlbLookup() finds. */
export const L2_UNSURE: u32 = 1;
/** No entry of any level is about the page. */
export const L2_NONE: u32 = 2;

/** Whether an ordered set holds a way with a page number, or an empty one when that is 0. */
function holdsPage(array: usize, want: u64): bool {
  const set = setOf(array, want >> 12);
  const ways = load<u32>(array, ARRAY_WAYS);
  if (ways == 4) return mayHold(set, want & TLB_PAGE_MASK);
  const end = set + ((<usize>ways) << 4);
  for (let at = set; at < end; at += 16) {
    if (((load<u64>(at) ^ want) & TLB_PAGE_MASK) == 0) return true;
  }
  return false;
}

/**
 * Whether an entry of the L2 that is unlike what an access asks for denies it, a write, and no other entry is about its
 * page but the same one in the L1.
 */
function isDenied(tlb: usize, key: u64, unlike: u64): bool {
  const l1 = tlb + TLB_L1;
  const few = load<u32>(tlb + TLB_HAS_LARGE) == 0 && load<u32>(l1, ARRAY_WAYS) == 4;
  if (!few || key >> 12 == 0 || (unlike & ~(TLB_NW | TLB_ND)) != 0) return false;
  return !mayHoldOther(setOf(l1, key >> 12), key);
}

/**
 * The L2 lookup of the fast path: an entry of the current space that allows the access. Its key and
 * value move to the L1 as well. L2_*.
 */
export function tlbLookupL2(tlb: usize, want: u64, mask: u64): u32 {
  const array = tlb + TLB_L2;
  const page = want >> 12;
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  for (let left = candidates(set, ways, page); left != 0; left &= left - 1) {
    const way = <usize>ctz(left);
    const at = set + (way << 4);
    const key = load<u64>(at, AGED_KEYS);
    const value = load<u64>(at, AGED_VALUES);
    const unlike = (key ^ want) & mask;
    if (unlike != 0) {
      if ((unlike & TLB_PAGE_MASK) != 0) continue;
      const last = (left & (left - 1)) == 0 && value >> EPOCH_SHIFT == 0;
      if (!last || !isDenied(tlb, key, unlike)) return L2_UNSURE;
      removeFromFour(setOf(tlb + TLB_L1, page), want & TLB_PAGE_MASK);
      removeAged(set, ways, way);
      return L2_NONE;
    }
    // The L1 may hold a global translation under the tag of another space: not for the fast path.
    if (value >> EPOCH_SHIFT != 0) return L2_UNSURE;
    touchAged(set, way);
    setTlbValue(value);
    fillOrdered(tlb, tlb + TLB_L1, page, key, value);
    return L2_HIT;
  }
  if (load<u32>(tlb + TLB_HAS_LARGE) != 0) return L2_UNSURE;
  return holdsPage(tlb + TLB_L1, want) ? L2_UNSURE : L2_NONE;
}

/** Value of the 4 KiB page `inside` pages behind the start of a large one. */
function insideLarge(value: u64, inside: u64): u64 {
  const gfn = ((value & INDEX_MASK) >> INDEX_SHIFT) + inside;
  return ((value & ~INDEX_MASK) + inside) | ((<u64>lockstepIndex(<u32>gfn)) << INDEX_SHIFT);
}

/**
 * The lookup behind the fast path, exact for every entry. An entry that denies the access is
 * removed everywhere, as a page fault and an assist to set D do, so that the walk fills afresh.
 */
export function tlbLookup(vcpu: usize, tlb: usize, want: u64, flags: u32): i32 {
  const page = want >> 12;
  const l1 = probeOrdered(tlb, tlb + TLB_L1, page, want, vcpu, flags);
  if (l1 == PROBE_HIT) return TLB_HIT;
  if (l1 == PROBE_DENIED) {
    removePage(tlb, want);
    return TLB_MISS;
  }
  const l2 = probeAged(tlb, tlb + TLB_L2, page, want, vcpu, flags);
  if (l2 == PROBE_HIT) {
    fillOrdered(tlb, tlb + TLB_L1, page, tlbKey, tlbValue);
    return TLB_L2_HIT;
  }
  if (l2 == PROBE_DENIED) {
    removePage(tlb, want);
    return TLB_MISS;
  }
  if (load<u32>(tlb + TLB_HAS_LARGE) == 0) return TLB_MISS;
  const large = tlb + TLB_LARGE;
  const mega = probeOrdered(tlb, large, want >> 21, largeWant(want, false), vcpu, flags);
  if (mega == PROBE_HIT) {
    setTlbValue(insideLarge(tlbValue, (want >> 12) & 0x1ff));
    return TLB_HIT;
  }
  if (mega == PROBE_MISS) {
    const giga = probeOrdered(tlb, large, want >> 30, largeWant(want, true), vcpu, flags);
    if (giga == PROBE_HIT) {
      setTlbValue(insideLarge(tlbValue, (want >> 12) & 0x3ffff));
      return TLB_HIT;
    }
  }
  removePage(tlb, want);
  return TLB_MISS;
}

/** Enters the translation of a 4 KiB page that is not global: the want of an access with deny bits, and its value. */
export function tlbFillPage(vcpu: usize, key: u64, value: u64): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  const page = key >> 12;
  setTlbValue(value);
  fillAged(tlb, tlb + TLB_L2, page, key, value);
  fillOrdered(tlb, tlb + TLB_L1, page, key, value);
}

/** Value of a translation that is not global. */
export function tlbValueOf(pfn: u32, gfn: u32, pkey: u32): u64 {
  assert(<u64>pfn <= FRAME_BITS, 'a pfn fits into a TLB entry');
  const index = (<u64>lockstepIndex(gfn)) << INDEX_SHIFT;
  return (<u64>pfn) | index | ((<u64>pkey) << PKEY_SHIFT);
}

/**
 * Enters a translation. `deny` are the TLB_* deny bits of the leaf's combined rights, `level` the
 * leaf's level, `pfn` and `gfn` the frames of the 4 KiB page.
 */
export function tlbFill(
  vcpu: usize,
  want: u64,
  deny: u64,
  level: u32,
  pfn: u32,
  gfn: u32,
  pkey: u32,
  global: bool,
): void {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  let value = tlbValueOf(pfn, gfn, pkey);
  if (global) value |= (<u64>load<u32>(tlb + TLB_EPOCH)) << EPOCH_SHIFT;
  setTlbValue(value);
  if (level == 1) {
    const page = want >> 12;
    fillAged(tlb, tlb + TLB_L2, page, want | deny, value);
    fillOrdered(tlb, tlb + TLB_L1, page, want | deny, value);
    return;
  }
  store<u32>(tlb + TLB_HAS_LARGE, 1);
  const key = largeWant(want, level == 3) | deny;
  const inside = (want >> 12) & (level == 3 ? 0x3ffff : 0x1ff);
  const first = lockstepIndex(gfn - <u32>inside);
  const large = (value & ~INDEX_MASK & ~FRAME_BITS) | ((<u64>first) << INDEX_SHIFT);
  const frame = <u64>pfn - inside;
  fillOrdered(tlb, tlb + TLB_LARGE, want >> (level == 3 ? 30 : 21), key, large | frame);
}
