// The access path: runs a batch of access records on a vCPU. Hits in the L1 TLB are made here, the
// rest in access_path.ts. The batch stops at a vmexit, with the exit in VCPU_EXIT_REASON and
// VCPU_FAULT_*; the host handles it and runs the rest.
//
// Three loops do the same. On sets of four ways, runFirstWay() expects hits in way 0, which cost one
// load and one masked compare, and is best where three in four are there (unfiltered traces);
// runAnyWay() has no branch on the way and is best where the way is hard to predict. Each chunk of
// records chooses the loop of the next one, and whether its leaf sptes are loaded ahead. runAnySet() is
// for other geometries. The choice changes no counter: the L1 is exact LRU in all of them.
//
// Each loop is compiled twice: with the yardstick (lockstep.ts), which sees each reference, and
// without.

import { EXIT_DONE, VCPU_EXIT_REASON, VCPU_REQUESTS, VCPU_ROOT, VCPU_TLB_TAG } from './abi';
import { AHEAD_GROUP, lookAhead, worthAhead } from './ahead';
import {
  ACCESS_LEFT,
  ACCESS_MADE,
  accessExit,
  account,
  batchL2Hits,
  batchMisses,
  batchWalks,
  beginBatch,
  expectFaults,
  hitL2,
  missL1,
} from './access_path';
import {
  LOCKSTEP_TICK,
  lockstepBegin,
  lockstepNow,
  lockstepOld,
  lockstepOldest,
  lockstepSetNow,
  lockstepWords,
} from './lockstep';
import { accountKnown } from './straight/known_counts';
import {
  ARRAY_BASE,
  ARRAY_MASK,
  ARRAY_SHIFT,
  ARRAY_WAYS,
  INDEX_MASK,
  INDEX_SHIFT,
  TLB_L1,
  TLB_PAGE_MASK,
} from './tlb/block';
import { L2_HIT } from './tlb/lookup';
import { ROW_KINDS, ROW_MASKS, ROW_WORDS, rowOf, tlbEnter } from './tlb/rights';
import { tlbValue } from './tlb/sets';

/** Bytes of a chunk: 1,024 records. */
const CHUNK: usize = 8192;
/** runAnyWay() does the next chunk when more than one in 2^this was not served by way 0. */
const ANY_WAY_SHIFT: u32 = 2;
/** What promote…() return when no way allows the access; no entry has such a value. */
const NO_VALUE: u64 = 0xffff_ffff_ffff_ffff;

/** Entry value to the byte offset of the page's pair of words in the yardstick. */
const PAIR_SHIFT: u64 = INDEX_SHIFT - 3;
const PAIR_MASK: u64 = INDEX_MASK >> PAIR_SHIFT;

/** What the batch executed; see account(). */
let batchKinds: u64 = 0;
/** Records of the last chunk that were not served by way 0. */
let laterWays: u32 = 0;
/** The next chunk is for runAnyWay(). */
let anyWay: bool = false;
/** More than half of the last chunk missed the whole TLB: the leaves of the next one are loaded ahead. */
let mostMiss: bool = false;

/**
 * Looks through the ways of an L1 set from byte `from` to `bytes`; one that allows the access moves to
 * the front. Returns its value or NO_VALUE.
 */
function promote(set: usize, from: usize, bytes: usize, want: u64, mask: u64): u64 {
  for (let way = from; way < bytes; way += 16) {
    if (((load<u64>(set + way) ^ want) & mask) != 0) continue;
    const entry = v128.load(set + way);
    for (; way > 0; way -= 16) v128.store(set + way, v128.load(set + way - 16));
    v128.store(set, entry);
    return <u64>i64x2.extract_lane(entry, 1);
  }
  return NO_VALUE;
}

/** Runs a chunk whose hits are mostly in way 0. Returns the address of the next record. */
function runFirstWay<Y>(vcpu: usize, tlb: usize, records: usize, end: usize): usize {
  const yardstick = sizeof<Y>() == 4;
  let tag = <u64>load<u32>(vcpu, VCPU_TLB_TAG);
  const l1 = <usize>load<u32>(tlb + TLB_L1, ARRAY_BASE);
  const setMask = <u64>load<u32>(tlb + TLB_L1, ARRAY_MASK);
  let now = lockstepNow;
  let oldest = lockstepOldest;
  let kinds: u64 = 0;
  let later: u32 = 0;
  let at = records;
  for (; at < end; at += 8) {
    const record = load<u64>(at);
    const set = l1 + <usize>((record >> 6) & setMask);
    const want = (record & TLB_PAGE_MASK) | tag;
    const row = rowOf(record);
    const mask = load<u64>(row, ROW_MASKS);
    let value = load<u64>(set, 8);
    if (((load<u64>(set) ^ want) & mask) != 0) {
      later++;
      value = promote(set, 16, 64, want, mask);
      if (value == NO_VALUE) {
        if (yardstick) lockstepSetNow(now);
        const how = missL1(vcpu, tlb, at, want, mask);
        if (how == ACCESS_LEFT) break;
        if (how != ACCESS_MADE) {
          tag = <u64>load<u32>(vcpu, VCPU_TLB_TAG);
          now = lockstepNow;
          oldest = lockstepOldest;
        }
        value = tlbValue;
      }
    }
    kinds += load<u64>(row, ROW_KINDS);
    if (yardstick) {
      const word = <usize>load<u32>(row, ROW_WORDS) + <usize>((value >> PAIR_SHIFT) & PAIR_MASK);
      now += LOCKSTEP_TICK;
      if (load<u32>(word) < oldest) oldest = lockstepOld(value, now);
      store<u32>(word, now);
    }
    // Hits come in runs: two at a time with one branch for both.
    for (; at + 16 < end; at += 16) {
      const first = load<u64>(at, 8);
      const second = load<u64>(at, 16);
      const row1 = rowOf(first);
      const row2 = rowOf(second);
      const set1 = l1 + <usize>((first >> 6) & setMask);
      const set2 = l1 + <usize>((second >> 6) & setMask);
      const want1 = (first & TLB_PAGE_MASK) | tag;
      const want2 = (second & TLB_PAGE_MASK) | tag;
      const diff1 = (load<u64>(set1) ^ want1) & load<u64>(row1, ROW_MASKS);
      const diff2 = (load<u64>(set2) ^ want2) & load<u64>(row2, ROW_MASKS);
      if ((diff1 | diff2) != 0) break;
      if (yardstick) {
        const pair1 = <usize>((load<u64>(set1, 8) >> PAIR_SHIFT) & PAIR_MASK);
        const pair2 = <usize>((load<u64>(set2, 8) >> PAIR_SHIFT) & PAIR_MASK);
        const word1 = <usize>load<u32>(row1, ROW_WORDS) + pair1;
        const word2 = <usize>load<u32>(row2, ROW_WORDS) + pair2;
        // Times are below 2^31: the sign says which is the older one.
        if (<i32>((load<u32>(word1) - oldest) | (load<u32>(word2) - oldest)) < 0) break;
        store<u32>(word1, now + LOCKSTEP_TICK);
        now += 2 * LOCKSTEP_TICK;
        store<u32>(word2, now);
      }
      kinds += load<u64>(row1, ROW_KINDS) + load<u64>(row2, ROW_KINDS);
    }
  }
  if (yardstick) lockstepSetNow(now);
  batchKinds += kinds;
  laterWays = later;
  return at;
}

/** All ones in the lanes of two keys that allow what is wanted. */
function allowing(keys: v128, want: u64, mask: u64): v128 {
  const unlike = v128.and(v128.xor(keys, i64x2.splat(want)), i64x2.splat(mask));
  return i64x2.eq(unlike, i64x2.splat(0));
}

/** Runs a chunk on sets of four ways whose hits may be in any of them. */
function runAnyWay<Y>(vcpu: usize, tlb: usize, records: usize, end: usize): usize {
  const yardstick = sizeof<Y>() == 4;
  let tag = <u64>load<u32>(vcpu, VCPU_TLB_TAG);
  const l1 = <usize>load<u32>(tlb + TLB_L1, ARRAY_BASE);
  const setMask = <u64>load<u32>(tlb + TLB_L1, ARRAY_MASK);
  let now = lockstepNow;
  let oldest = lockstepOldest;
  let kinds: u64 = 0;
  let later: u32 = 0;
  let at = records;
  for (; at < end; at += 8) {
    const record = load<u64>(at);
    const set = l1 + <usize>((record >> 6) & setMask);
    const want = (record & TLB_PAGE_MASK) | tag;
    const row = rowOf(record);
    const mask = load<u64>(row, ROW_MASKS);
    const way0 = v128.load(set);
    const way1 = v128.load(set, 16);
    const way2 = v128.load(set, 32);
    const way3 = v128.load(set, 48);
    const in01 = allowing(v128.shuffle<u64>(way0, way1, 0, 2), want, mask);
    const in23 = allowing(v128.shuffle<u64>(way2, way3, 0, 2), want, mask);
    let value: u64 = 0;
    if (v128.any_true(v128.or(in01, in23))) {
      // All ones when the hit is in way 3, in 2 or 3, in 1 to 3: the neighbour in front moves up to there.
      const in1 = v128.shuffle<u64>(in01, in01, 1, 1);
      const in2 = v128.shuffle<u64>(in23, in23, 0, 0);
      const from3 = v128.shuffle<u64>(in23, in23, 1, 1);
      const from2 = v128.or(in2, from3);
      const from1 = v128.or(in1, from2);
      const before2 = v128.bitselect(way1, way0, in1);
      const entry = v128.bitselect(way3, v128.bitselect(way2, before2, in2), from3);
      v128.store(set, entry);
      v128.store(set, v128.bitselect(way0, way1, from1), 16);
      v128.store(set, v128.bitselect(way1, way2, from2), 32);
      v128.store(set, v128.bitselect(way2, way3, from3), 48);
      if (yardstick) value = <u64>i64x2.extract_lane(entry, 1);
      later -= <u32>i64x2.extract_lane(from1, 0);
    } else {
      later++;
      if (yardstick) lockstepSetNow(now);
      const how = missL1(vcpu, tlb, at, want, mask);
      if (how == ACCESS_LEFT) break;
      if (how != ACCESS_MADE) {
        tag = <u64>load<u32>(vcpu, VCPU_TLB_TAG);
        now = lockstepNow;
        oldest = lockstepOldest;
      }
      value = tlbValue;
    }
    kinds += load<u64>(row, ROW_KINDS);
    if (yardstick) {
      const word = <usize>load<u32>(row, ROW_WORDS) + <usize>((value >> PAIR_SHIFT) & PAIR_MASK);
      now += LOCKSTEP_TICK;
      if (load<u32>(word) < oldest) oldest = lockstepOld(value, now);
      store<u32>(word, now);
    }
  }
  if (yardstick) lockstepSetNow(now);
  batchKinds += kinds;
  laterWays = later;
  return at;
}

/** Notes an access through the entry with `value`, whose word lies in the pair array `words`. */
function stampWord(words: usize, value: u64): void {
  const word = words + <usize>((value >> PAIR_SHIFT) & PAIR_MASK);
  const now = lockstepNow + LOCKSTEP_TICK;
  if (load<u32>(word) < lockstepOldest) lockstepOld(value, now);
  lockstepSetNow(now);
  store<u32>(word, now);
}

/** Runs a chunk on sets of any size, one access at a time. */
function runAnySet<Y>(vcpu: usize, tlb: usize, records: usize, end: usize): usize {
  const yardstick = sizeof<Y>() == 4;
  const l1 = <usize>load<u32>(tlb + TLB_L1, ARRAY_BASE);
  const shift = <u64>load<u32>(tlb + TLB_L1, ARRAY_SHIFT);
  const setMask = <u64>load<u32>(tlb + TLB_L1, ARRAY_MASK);
  const bytes = (<usize>load<u32>(tlb + TLB_L1, ARRAY_WAYS)) << 4;
  let at = records;
  for (; at < end; at += 8) {
    const record = load<u64>(at);
    const set = l1 + <usize>((record >> (12 - shift)) & setMask);
    const want = (record & TLB_PAGE_MASK) | (<u64>load<u32>(vcpu, VCPU_TLB_TAG));
    const row = rowOf(record);
    const mask = load<u64>(row, ROW_MASKS);
    let value = promote(set, 0, bytes, want, mask);
    if (value == NO_VALUE) {
      const how = missL1(vcpu, tlb, at, want, mask);
      if (how == ACCESS_LEFT) break;
      value = tlbValue;
    }
    batchKinds += load<u64>(row, ROW_KINDS);
    if (yardstick) stampWord(<usize>load<u32>(row, ROW_WORDS), value);
  }
  return at;
}

/** Runs records chunk by chunk, with the yardstick when `Y` is a u32, without when it is a u64. */
function runChunks<Y>(vcpu: usize, tlb: usize, records: usize, end: usize): usize {
  if (load<u32>(tlb + TLB_L1, ARRAY_WAYS) != 4) return runAnySet<Y>(vcpu, tlb, records, end);
  let at = records;
  while (at < end) {
    const from = at;
    const missesBefore = batchMisses();
    const otherBefore = batchL2Hits() + batchWalks();
    const ahead = mostMiss && worthAhead(vcpu);
    const stop = min<usize>(at + (ahead ? AHEAD_GROUP : CHUNK), end);
    if (ahead) lookAhead(vcpu, at, stop);
    at = anyWay ? runAnyWay<Y>(vcpu, tlb, at, stop) : runFirstWay<Y>(vcpu, tlb, at, stop);
    const done = <u32>((at - from) >> 3);
    anyWay = laterWays << ANY_WAY_SHIFT > done;
    const missed = batchMisses() - missesBefore;
    mostMiss = missed << 1 > done;
    const other = batchL2Hits() + batchWalks() - otherBefore;
    expectFaults(missed > other << 1);
    if (at < stop) break;
  }
  return at;
}

/**
 * Runs `count` access records. Returns how many were executed; the next one is the one that exited
 * (VCPU_EXIT_REASON), or all were (EXIT_DONE).
 */
export function runBatch(vcpu: usize, records: usize, count: u32): u32 {
  const tlb = tlbEnter(vcpu);
  const end = records + ((<usize>count) << 3);
  beginBatch(records);
  batchKinds = 0;
  let at = records;
  if (lockstepWords == 0) {
    at = runChunks<u64>(vcpu, tlb, records, end);
  } else {
    lockstepBegin(count);
    at = runChunks<u32>(vcpu, tlb, records, end);
  }
  store<u32>(vcpu, at < end ? accessExit : EXIT_DONE, VCPU_EXIT_REASON);
  const done = <u32>((at - records) >> 3);
  account(done, batchKinds);
  accountKnown();
  return done;
}

/**
 * One access of an embedder, gva = `hi`:`lo`, when the TLB serves it at once. 0: nothing was done, it is
 * to be run as a record.
 */
export function accessHit(vcpu: usize, lo: u32, hi: u32, flags: u32): u32 {
  if (load<u32>(vcpu, VCPU_REQUESTS) != 0 || load<u32>(vcpu, VCPU_ROOT) == 0) return 0;
  const tlb = tlbEnter(vcpu);
  const gva = ((<u64>hi) << 32) | (<u64>lo);
  const want = (gva & TLB_PAGE_MASK) | (<u64>load<u32>(vcpu, VCPU_TLB_TAG));
  const row = rowOf(<u64>flags);
  const mask = load<u64>(row, ROW_MASKS);
  const array = tlb + TLB_L1;
  const ways = (<usize>load<u32>(array, ARRAY_WAYS)) << 4;
  const set =
    ((<usize>(gva >> 12)) << load<u32>(array, ARRAY_SHIFT)) & (<usize>load<u32>(array, ARRAY_MASK));
  beginBatch(0);
  let value = promote(<usize>load<u32>(array, ARRAY_BASE) + set, 0, ways, want, mask);
  if (value == NO_VALUE) {
    if (hitL2(tlb, want, mask) != L2_HIT) return 0;
    value = tlbValue;
  }
  if (lockstepWords != 0) {
    lockstepBegin(1);
    stampWord(<usize>load<u32>(row, ROW_WORDS), value);
  }
  account(1, load<u64>(row, ROW_KINDS));
  return 1;
}
