// The sets of the TLB's arrays: finding, filling, promoting and purging their ways. Sets of the L1 and
// of the large array are kept in recency order, those of the L2 by ages; both are exact LRU.

import { PAGE_SHIFT } from '../abi';
import {
  ARRAY_BASE,
  ARRAY_PURGED,
  ARRAY_SETS,
  ARRAY_SHIFT,
  ARRAY_WAYS,
  EPOCH_SHIFT,
  TAG_LIVE,
  TLB_EPOCH,
  TLB_FLUSH_COUNT,
  TLB_L1,
  TLB_L2,
  TLB_MATCH_MASK,
  TLB_PAGE_MASK,
  TLB_TAG_MASK,
  TLB_TAG_STATE,
} from './block';
import { entryAllows } from './rights';

/** Whether a way of an ordered set of four may hold a page (bits 63:12), in whatever space. */
export function mayHold(set: usize, page: u64): bool {
  // Of two keys of a page only the bits below it differ.
  const below = ~TLB_PAGE_MASK;
  const nearest = min<u64>(
    min<u64>(load<u64>(set) ^ page, load<u64>(set, 16) ^ page),
    min<u64>(load<u64>(set, 32) ^ page, load<u64>(set, 48) ^ page),
  );
  return nearest <= below;
}

/** Whether one may hold the page of a key under another key. */
export function mayHoldOther(set: usize, key: u64): bool {
  // The key itself, less 1, is the greatest number.
  const nearest = min<u64>(
    min<u64>((load<u64>(set) ^ key) - 1, (load<u64>(set, 16) ^ key) - 1),
    min<u64>((load<u64>(set, 32) ^ key) - 1, (load<u64>(set, 48) ^ key) - 1),
  );
  return nearest < ~TLB_PAGE_MASK;
}

/** Address of the set of a page number. */
export function setOf(array: usize, page: u64): usize {
  const set = (<usize>page) & (<usize>load<u32>(array, ARRAY_SETS));
  return <usize>load<u32>(array, ARRAY_BASE) + (set << (<usize>load<u32>(array, ARRAY_SHIFT)));
}

/** Whether an entry translates a page for the current space. */
export function matches(tlb: usize, key: u64, value: u64, want: u64): bool {
  const diff = key ^ want;
  if ((diff & TLB_MATCH_MASK) == 0) return true;
  return (diff & TLB_PAGE_MASK) == 0 && <u32>(value >> EPOCH_SHIFT) == load<u32>(tlb + TLB_EPOCH);
}

/** Whether a way holds nothing that could ever match again. */
export function isDead(tlb: usize, key: u64, value: u64): bool {
  const tag = <usize>(key & TLB_TAG_MASK);
  if (load<u8>(tlb + TLB_TAG_STATE + tag) == TAG_LIVE) return false;
  return <u32>(value >> EPOCH_SHIFT) != load<u32>(tlb + TLB_EPOCH);
}

/** All ones when the key of a way is one for a page (bits 63:12 of both lanes), or 0. */
function holding(way: v128, page: v128): v128 {
  const unlike = i64x2.shr_u(v128.xor(way, page), PAGE_SHIFT);
  const same = i64x2.eq(unlike, i64x2.splat(0));
  return v128.shuffle<u64>(same, same, 0, 0);
}

/**
 * Removes a page (bits 63:12, not 0) from an ordered set of four, in whatever space. Which way it is in nobody can
 * foresee, so there is no branch about it.
 */
export function removeFromFour(set: usize, page: u64): void {
  const pages = i64x2.splat(page);
  for (let found: i64 = -2; found < -1;) {
    const way0 = v128.load(set);
    const way1 = v128.load(set, 16);
    const way2 = v128.load(set, 32);
    const way3 = v128.load(set, 48);
    const in0 = holding(way0, pages);
    const in1 = holding(way1, pages);
    const in2 = holding(way2, pages);
    const in3 = holding(way3, pages);
    // Each way that holds it counts -1.
    found = i64x2.extract_lane(i64x2.add(i64x2.add(in0, in1), i64x2.add(in2, in3)), 0);
    if (found == 0) return;
    const upTo1 = v128.or(in0, in1);
    v128.store(set, v128.bitselect(way1, way0, in0));
    v128.store(set, v128.bitselect(way2, way1, upTo1), 16);
    v128.store(set, v128.bitselect(way3, way2, v128.or(upTo1, in2)), 32);
    v128.store(set, i64x2.splat(0), 48);
  }
}

/** The same of a page that is in one way or in none. */
export function removeOnceFromFour(set: usize, page: u64): void {
  const pages = i64x2.splat(page);
  const way0 = v128.load(set);
  const way1 = v128.load(set, 16);
  const way2 = v128.load(set, 32);
  const way3 = v128.load(set, 48);
  const in0 = holding(way0, pages);
  const upTo1 = v128.or(in0, holding(way1, pages));
  const upTo2 = v128.or(upTo1, holding(way2, pages));
  const upTo3 = v128.or(upTo2, holding(way3, pages));
  v128.store(set, v128.bitselect(way1, way0, in0));
  v128.store(set, v128.bitselect(way2, way1, upTo1), 16);
  v128.store(set, v128.bitselect(way3, way2, upTo2), 32);
  v128.store(set, v128.andnot(way3, upTo3), 48);
}

export function removeOrdered(set: usize, ways: u32, way: u32): void {
  const last = set + ((<usize>(ways - 1)) << 4);
  for (let at = set + ((<usize>way) << 4); at < last; at += 16) v128.store(at, v128.load(at, 16));
  v128.store(last, i64x2.splat(0));
}

/** Moves the ways in front of `at` one back, over it; way 0 is then free to be stored. */
function makeRoom(set: usize, at: usize): void {
  for (; at > set; at -= 16) v128.store(at, v128.load(at - 16));
}

/** Before a set is filled: removes what died since its last purge. True when it is up to date. */
function needsPurge(tlb: usize, array: usize, page: u64): bool {
  const set = (<usize>page) & (<usize>load<u32>(array, ARRAY_SETS));
  const at = <usize>load<u32>(array, ARRAY_PURGED) + (set << 2);
  const now = load<u32>(tlb + TLB_FLUSH_COUNT);
  if (load<u32>(at) == now) return false;
  store<u32>(at, now);
  return true;
}

export function purgeOrdered(tlb: usize, set: usize, ways: u32): void {
  for (let way = ways; way > 0; way--) {
    const at = set + ((<usize>(way - 1)) << 4);
    const key = load<u64>(at);
    if (key != 0 && isDead(tlb, key, load<u64>(at, 8))) removeOrdered(set, ways, way - 1);
  }
}

export function fillOrdered(tlb: usize, array: usize, page: u64, key: u64, value: u64): void {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  if (needsPurge(tlb, array, page)) purgeOrdered(tlb, set, ways);
  if (ways == 4) {
    enterFour(set, key, value);
    return;
  }
  makeRoom(set, set + ((<usize>(ways - 1)) << 4));
  v128.store(set, i64x2.replace_lane(i64x2.splat(key), 1, value));
}

/** Enters a translation into an ordered set of four without dead ways. */
export function enterFour(set: usize, key: u64, value: u64): void {
  const way0 = v128.load(set);
  const way1 = v128.load(set, 16);
  v128.store(set, v128.load(set, 32), 48);
  v128.store(set, way1, 32);
  v128.store(set, way0, 16);
  v128.store(set, i64x2.replace_lane(i64x2.splat(key), 1, value));
}

/** Result of a lookup or fill that translated an access: the pfn in bits 31:0. */
export let tlbValue: u64 = 0;

/** Says what a lookup or fill found. */
export function setTlbValue(value: u64): void {
  tlbValue = value;
}

/** Result of a probe: the matching entry's key. */
export let tlbKey: u64 = 0;

export const PROBE_MISS: i32 = 0;
export const PROBE_HIT: i32 = 1;
/** There is an entry, but it denies the access; it was removed. */
export const PROBE_DENIED: i32 = 2;

export function probeOrdered(
  tlb: usize,
  array: usize,
  page: u64,
  want: u64,
  vcpu: usize,
  flags: u32,
): i32 {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  for (let way: u32 = 0; way < ways; way++) {
    const at = set + ((<usize>way) << 4);
    const key = load<u64>(at);
    if (((key ^ want) & TLB_PAGE_MASK) != 0) continue;
    const value = load<u64>(at, 8);
    if (key == 0 || !matches(tlb, key, value, want)) continue;
    if (!entryAllows(vcpu, key, value, flags)) {
      removeOrdered(set, ways, way);
      return PROBE_DENIED;
    }
    tlbKey = (key & ~TLB_TAG_MASK) | (want & TLB_TAG_MASK);
    tlbValue = value;
    makeRoom(set, at);
    store<u64>(set, tlbKey);
    store<u64>(set, value, 8);
    return PROBE_HIT;
  }
  return PROBE_MISS;
}

// A set of the L2: 16 bytes of ages, 16 of signatures, then a key and a value for each way.
/** Offset of the signatures: a hash of a way's page number each. */
const SIGNATURES: usize = 16;
/** Bytes in front of the first key, and of the first value. */
export const AGED_KEYS: usize = 32;
export const AGED_VALUES: usize = 40;
/** 2^64 over the golden ratio: neighbouring pages get unlike signatures. */
const HASH: u64 = 0x9e37_79b9_7f4a_7c15;

/** The signature of a page number. */
export function signatureOf(page: u64): u8 {
  return <u8>((page * HASH) >> 56);
}

/**
 * The ways, a bit each, that may hold a page: those with its signature. A way that is not among them
 * does not hold it, so a lookup that misses reads one line of the set.
 */
export function candidates(set: usize, ways: u32, page: u64): u32 {
  const signatures = v128.load(set, SIGNATURES);
  const same = i8x16.bitmask(i8x16.eq(signatures, i8x16.splat(<i8>signatureOf(page))));
  return (<u32>same) & (((<u32>1) << ways) - 1);
}

/** Makes a way the most recent: every younger way ages by one. */
export function touchAged(set: usize, way: usize): void {
  makeYoungest(set, v128.load(set), i8x16.splat(load<i8>(set + way)));
}

/**
 * The same of the way that has an age, which no other has. Stores all ages as one: processors hold up a load of
 * several stores until the last of them is in the cache.
 */
function makeYoungest(set: usize, ages: v128, age: v128): void {
  const older = i8x16.sub(ages, i8x16.lt_u(ages, age));
  v128.store(set, v128.andnot(older, i8x16.eq(ages, age)));
}

/** Makes a way invalid and the first to be filled: every older way gets younger by one. */
export function removeAged(set: usize, ways: u32, way: usize): void {
  const ages = v128.load(set);
  const age = i8x16.splat(load<i8>(set + way));
  // As signed numbers, the bytes behind the ways are less than any age.
  const younger = i8x16.add(ages, i8x16.gt_s(ages, age));
  v128.store(set, v128.bitselect(i8x16.splat(<i8>(ways - 1)), younger, i8x16.eq(ages, age)));
  // The page may come back, and would be looked for here.
  store<u8>(set + way, ~load<u8>(set + way, SIGNATURES), SIGNATURES);
  v128.store(set + (way << 4), i64x2.splat(0), AGED_KEYS);
}

export function purgeAged(tlb: usize, set: usize, ways: u32): void {
  for (let way: usize = 0; way < <usize>ways; way++) {
    const key = load<u64>(set + (way << 4), AGED_KEYS);
    const value = load<u64>(set + (way << 4), AGED_VALUES);
    if (key != 0 && isDead(tlb, key, value)) removeAged(set, ways, way);
  }
}

export function fillAged(tlb: usize, array: usize, page: u64, key: u64, value: u64): void {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  if (needsPurge(tlb, array, page)) purgeAged(tlb, set, ways);
  enterAged(set, ways, signatureOf(page), key, value);
}

/** Enters a translation into a set of the L2 without dead ways; returns where its key lies. */
export function enterAged(set: usize, ways: u32, signature: u8, key: u64, value: u64): usize {
  // The ages of the ways are a permutation of 0 .. ways - 1; the bytes behind them stay 255.
  const ages = v128.load(set);
  const last = i8x16.splat(<i8>(ways - 1));
  const way = <usize>ctz(i8x16.bitmask(i8x16.eq(ages, last)));
  makeYoungest(set, ages, last);
  store<u8>(set + way, signature, SIGNATURES);
  const at = set + (way << 4) + AGED_KEYS;
  store<u64>(at, key);
  store<u64>(at, value, 8);
  return at;
}

/** Removes dead ways from the set of a page in the L1 and in the L2. */
export function purgeFor(tlb: usize, page: u64): void {
  const l1 = tlb + TLB_L1;
  const l2 = tlb + TLB_L2;
  if (needsPurge(tlb, l1, page)) purgeOrdered(tlb, setOf(l1, page), load<u32>(l1, ARRAY_WAYS));
  if (needsPurge(tlb, l2, page)) purgeAged(tlb, setOf(l2, page), load<u32>(l2, ARRAY_WAYS));
}

/** As probeOrdered(); finds the way and leaves judging to the caller. Returns the way or -1. */
export function findAged(tlb: usize, set: usize, ways: u32, want: u64): i32 {
  for (let left = candidates(set, ways, want >> 12); left != 0; left &= left - 1) {
    const way = ctz(left);
    const at = set + ((<usize>way) << 4);
    const key = load<u64>(at, AGED_KEYS);
    if (((key ^ want) & TLB_PAGE_MASK) != 0 || key == 0) continue;
    if (matches(tlb, key, load<u64>(at, AGED_VALUES), want)) return <i32>way;
  }
  return -1;
}

export function probeAged(
  tlb: usize,
  array: usize,
  page: u64,
  want: u64,
  vcpu: usize,
  flags: u32,
): i32 {
  const set = setOf(array, page);
  const ways = load<u32>(array, ARRAY_WAYS);
  const way = findAged(tlb, set, ways, want);
  if (way < 0) return PROBE_MISS;
  const at = set + ((<usize>way) << 4);
  const key = load<u64>(at, AGED_KEYS);
  const value = load<u64>(at, AGED_VALUES);
  if (!entryAllows(vcpu, key, value, flags)) {
    removeAged(set, ways, <usize>way);
    return PROBE_DENIED;
  }
  tlbKey = (key & ~TLB_TAG_MASK) | (want & TLB_TAG_MASK);
  tlbValue = value;
  store<u64>(at, tlbKey, AGED_KEYS);
  touchAged(set, <usize>way);
  return PROBE_HIT;
}
