// The access path: runs a batch of access records on a vCPU. A hit in way 0 of an L1 set costs one
// load and one masked compare; every other lookup goes to tlb/, and a miss walks the shadow tables
// as the hardware would. The batch stops at a vmexit, with the exit in VCPU_EXIT_REASON and
// VCPU_FAULT_* and the record in VCPU_RECORD; the host handles it and runs the rest.

import {
  ACCESS_CONTROL,
  ACCESS_KIND_MASK,
  EXIT_CONTROL,
  EXIT_DONE,
  EXIT_GUEST_FAULT,
  EXIT_NONCANONICAL,
  EXIT_NPF,
  EXIT_PAGE_FAULT,
  PT64_NX_BIT,
  PT_DIRTY_BIT,
  PT_GLOBAL_BIT,
  PT_USER_BIT,
  PT_WRITABLE_BIT,
  VCPU_EXIT_REASON,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GVA,
  VCPU_RECORD,
  VCPU_ROOT_LEVEL,
  VCPU_TDP,
  VCPU_TLB_TAG,
} from './abi';
import {
  ACCESSES,
  FETCHES,
  READS,
  TLB_HITS,
  TLB_L2_HITS,
  TLB_MISSES,
  VMEXITS,
  WALK_STEPS,
  WRITES,
} from './counters';
import {
  LOCKSTEP_TICK,
  lockstepBegin,
  lockstepNow,
  lockstepOld,
  lockstepOldest,
  lockstepSetNow,
  lockstepWords,
} from './lockstep';
import {
  NESTED_GUEST_FAULT,
  NESTED_OK,
  nestedBits,
  nestedGfn,
  nestedLevel,
  nestedPfn,
  nestedPkey,
  nestedSteps,
  nestedWalk,
} from './mmu/nested_walk';
import { spGfnOf, sptepToSp, spteIndex } from './mmu/shadow_page';
import { shadowWalk, walkBits, walkLevel, walkPfn, walkPkey, walkSteps } from './mmu/shadow_walk';
import { quickFault } from './mmu/quick_fault';
import { bump, bumpBy } from './stats';
import {
  ARRAY_BASE,
  ARRAY_SETS,
  ARRAY_SHIFT,
  ARRAY_WAYS,
  INDEX_MASK,
  INDEX_SHIFT,
  TLB_KINDS,
  TLB_L1,
  TLB_MASKS,
  TLB_ND,
  TLB_NU,
  TLB_NW,
  TLB_NX,
  TLB_PAGE_MASK,
  TLB_SU,
} from './tlb/block';
import { TLB_L2_HIT, TLB_MISS, tlbFill, tlbLookup, tlbLookupL2 } from './tlb/lookup';
import { tlbEnter } from './tlb/rights';
import { tlbValue } from './tlb/sets';
import { Gfn, Sptep } from './types';

const FLAGS_MASK: u64 = 15;

/** L2 hits and misses of the running batch; hits are the rest. */
let l2Hits: u32 = 0;
let misses: u32 = 0;

/** Whether a gva has the sign extension that the paging mode asks for. */
function isCanonical(vcpu: usize, gva: u64): bool {
  const shift: i64 = load<u32>(vcpu, VCPU_ROOT_LEVEL) == 5 ? 7 : 16;
  return ((<i64>gva) << shift) >> shift == <i64>gva;
}

/** TLB deny bits of the rights that a walk found. */
function denyBits(bits: u64): u64 {
  let deny: u64 = (bits >> (<u64>PT_USER_BIT)) & 1 ? TLB_SU : TLB_NU;
  if (((bits >> (<u64>PT_WRITABLE_BIT)) & 1) == 0) deny |= TLB_NW;
  if (((bits >> (<u64>PT_DIRTY_BIT)) & 1) == 0) deny |= TLB_ND;
  if (bits >> (<u64>PT64_NX_BIT)) deny |= TLB_NX;
  return deny;
}

/** gfn of the 4 KiB page that a walk of the shadow tables led to; the yardstick asks for it. */
function walkGfn(sptep: Sptep, gva: u64): Gfn {
  if (lockstepWords == 0) return 0;
  const inside: u32 = ((<u32>1) << (9 * (walkLevel - 1))) - 1;
  const first = spGfnOf(sptepToSp(sptep), spteIndex(sptep)) & ~inside;
  return first | ((<u32>(gva >> 12)) & inside);
}

/** The same on nested tables. */
function nestedWalkAndFill(vcpu: usize, want: u64, flags: u32): u32 {
  const result = nestedWalk(vcpu, want & TLB_PAGE_MASK, flags);
  bumpBy(WALK_STEPS, nestedSteps);
  if (result == NESTED_GUEST_FAULT) return EXIT_GUEST_FAULT;
  if (result != NESTED_OK) return EXIT_NPF;
  const global = ((nestedBits >> (<u64>PT_GLOBAL_BIT)) & 1) != 0;
  const deny = denyBits(nestedBits);
  tlbFill(vcpu, want, deny, nestedLevel, nestedPfn, nestedGfn, nestedPkey, global);
  return EXIT_DONE;
}

/** An access that missed every level: walk and fill, or report why not. Returns EXIT_*. */
function walkAndFill(vcpu: usize, want: u64, flags: u32): u32 {
  const gva = want & TLB_PAGE_MASK;
  if (!isCanonical(vcpu, gva)) return EXIT_NONCANONICAL;
  if (load<u32>(vcpu, VCPU_TDP) != 0) return nestedWalkAndFill(vcpu, want, flags);
  const sptep = shadowWalk(vcpu, gva, flags);
  bumpBy(WALK_STEPS, walkSteps);
  if (sptep == 0) return EXIT_PAGE_FAULT;
  const global = ((walkBits >> (<u64>PT_GLOBAL_BIT)) & 1) != 0;
  const gfn = walkGfn(sptep, gva);
  tlbFill(vcpu, want, denyBits(walkBits), walkLevel, walkPfn, gfn, walkPkey, global);
  return EXIT_DONE;
}

/** Everything but a hit in way 0. Returns EXIT_*; EXIT_DONE: the access was made. */
export function slowAccess(vcpu: usize, tlb: usize, record: u64): u32 {
  const flags = <u32>(record & FLAGS_MASK);
  if ((flags & ACCESS_KIND_MASK) == ACCESS_CONTROL) return EXIT_CONTROL;
  const want = (record & TLB_PAGE_MASK) | (<u64>load<u32>(vcpu, VCPU_TLB_TAG));
  const found = tlbLookup(vcpu, tlb, want, flags);
  if (found == TLB_L2_HIT) l2Hits++;
  if (found != TLB_MISS) return EXIT_DONE;
  const exit = walkAndFill(vcpu, want, flags);
  if (exit == EXIT_DONE) misses++;
  return exit;
}

/** Starts the counts of a batch. */
export function beginBatch(): void {
  l2Hits = 0;
  misses = 0;
}

/** Adds what a batch did to the counters; `kinds` are the writes and, from bit 32, the fetches. */
export function account(count: u32, kinds: u64): void {
  const writes = <u32>kinds;
  const fetches = <u32>(kinds >> 32);
  bumpBy(ACCESSES, count);
  bumpBy(WRITES, writes);
  bumpBy(FETCHES, fetches);
  bumpBy(READS, count - writes - fetches);
  bumpBy(TLB_L2_HITS, l2Hits);
  bumpBy(TLB_MISSES, misses);
  bumpBy(TLB_HITS, count - misses);
}

/** What a record adds to the `kinds` of account(). */
export function kindOf(tlb: usize, record: u64): u64 {
  return load<u64>(tlb + ((<usize>(record & FLAGS_MASK)) << 3), TLB_KINDS);
}

/** Masks of the rotation in promoteFour(), by way: ways 1, 2, 3 take their neighbour's entry. */
const ROTATE: usize = memory.data<u64>(
  [
    0, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1,
    -1, -1, 0, 0,
  ],
  16,
);

/** promoteL1() for sets of four ways, without a branch on the way: it is hard to predict. */
function promoteFour(set: usize, want: u64, mask: u64): bool {
  const hit1 = select<usize>(1, 0, ((load<u64>(set, 16) ^ want) & mask) == 0);
  const hit2 = select<usize>(2, 0, ((load<u64>(set, 32) ^ want) & mask) == 0);
  const hit3 = select<usize>(3, 0, ((load<u64>(set, 48) ^ want) & mask) == 0);
  const way = hit1 + hit2 + hit3;
  if (way == 0) return false;
  const rotate = ROTATE + (way << 6);
  const entry = v128.load(set + (way << 4));
  const way0 = v128.load(set);
  const way1 = v128.load(set, 16);
  const way2 = v128.load(set, 32);
  const way3 = v128.load(set, 48);
  v128.store(set, entry);
  v128.store(set, v128.bitselect(way0, way1, v128.load(rotate)), 16);
  v128.store(set, v128.bitselect(way1, way2, v128.load(rotate, 16)), 32);
  v128.store(set, v128.bitselect(way2, way3, v128.load(rotate, 32)), 48);
  return true;
}

/**
 * Looks through ways 1 and up of an L1 set, `bytes` long; a way that allows the access moves to the
 * front.
 */
function promoteL1(set: usize, bytes: usize, want: u64, mask: u64): bool {
  for (let way: usize = 16; way < bytes; way += 16) {
    if (((load<u64>(set + way) ^ want) & mask) != 0) continue;
    const entry = v128.load(set + way);
    for (; way > 0; way -= 16) v128.store(set + way, v128.load(set + way - 16));
    v128.store(set, entry);
    return true;
  }
  return false;
}

/** How the running loop came to its end: EXIT_*, and what it executed (see account()). */
let batchExit: u32 = 0;
let batchKinds: u64 = 0;

/** Address of the yardstick's word for an access by `record` through the entry with `value`. */
function wordOf(value: u64, record: u64): usize {
  const pair = <usize>((value & INDEX_MASK) >> (INDEX_SHIFT - 3));
  return lockstepWords + pair + ((<usize>(record & 1)) << 2);
}

/** Notes the access on the yardstick; returns its `oldest`. */
function stamp(value: u64, record: u64, now: u32, oldest: u32): u32 {
  const word = wordOf(value, record);
  if (load<u32>(word) < oldest) {
    oldest = lockstepOld(<u32>((value & INDEX_MASK) >> INDEX_SHIFT), now);
  }
  store<u32>(word, now);
  return oldest;
}

/**
 * The loop of runBatch(), with the yardstick when `Y` is a u32, without when it is a u64: asc makes
 * two functions of it. Returns the address of the next record.
 */
function runRecords<Y>(vcpu: usize, tlb: usize, records: usize, end: usize): usize {
  const yardstick = sizeof<Y>() == 4;
  let tag = <u64>load<u32>(vcpu, VCPU_TLB_TAG);
  const l1 = <usize>load<u32>(tlb + TLB_L1, ARRAY_BASE);
  const shift = <u64>load<u32>(tlb + TLB_L1, ARRAY_SHIFT);
  const setMask = (<u64>load<u32>(tlb + TLB_L1, ARRAY_SETS)) << shift;
  const setShift = 12 - shift;
  const bytes = (<usize>load<u32>(tlb + TLB_L1, ARRAY_WAYS)) << 4;
  let now = lockstepNow;
  let oldest = lockstepOldest;
  let exit = EXIT_DONE;
  let kinds: u64 = 0;
  let at = records;
  for (; at < end; at += 8) {
    const record = load<u64>(at);
    const set = l1 + <usize>((record >> setShift) & setMask);
    const want = (record & TLB_PAGE_MASK) | tag;
    const row = tlb + ((<usize>(record & FLAGS_MASK)) << 3);
    const mask = load<u64>(row, TLB_MASKS);
    kinds += load<u64>(row, TLB_KINDS);
    if (((load<u64>(set) ^ want) & mask) == 0) {
      if (yardstick) {
        now += LOCKSTEP_TICK;
        oldest = stamp(load<u64>(set, 8), record, now, oldest);
      }
      // Hits come in runs: two at a time with one branch for both.
      for (; at + 16 < end; at += 16) {
        const first = load<u64>(at, 8);
        const second = load<u64>(at, 16);
        const row1 = tlb + ((<usize>(first & FLAGS_MASK)) << 3);
        const row2 = tlb + ((<usize>(second & FLAGS_MASK)) << 3);
        const set1 = l1 + <usize>((first >> setShift) & setMask);
        const set2 = l1 + <usize>((second >> setShift) & setMask);
        const want1 = (first & TLB_PAGE_MASK) | tag;
        const want2 = (second & TLB_PAGE_MASK) | tag;
        const diff1 = (load<u64>(set1) ^ want1) & load<u64>(row1, TLB_MASKS);
        const diff2 = (load<u64>(set2) ^ want2) & load<u64>(row2, TLB_MASKS);
        if ((diff1 | diff2) != 0) break;
        if (yardstick) {
          const word1 = wordOf(load<u64>(set1, 8), first);
          const word2 = wordOf(load<u64>(set2, 8), second);
          if (min<u32>(load<u32>(word1), load<u32>(word2)) < oldest) break;
          store<u32>(word1, now + LOCKSTEP_TICK);
          now += 2 * LOCKSTEP_TICK;
          store<u32>(word2, now);
        }
        kinds += load<u64>(row1, TLB_KINDS) + load<u64>(row2, TLB_KINDS);
      }
      continue;
    }
    let value: u64 = 0;
    if (bytes == 64 ? promoteFour(set, want, mask) : promoteL1(set, bytes, want, mask)) {
      if (yardstick) value = load<u64>(set, 8);
    } else if (tlbLookupL2(tlb, want, mask)) {
      l2Hits++;
      value = tlbValue;
    } else {
      store<u32>(vcpu, <u32>at, VCPU_RECORD);
      exit = slowAccess(vcpu, tlb, record);
      value = tlbValue;
      if (exit != EXIT_DONE) {
        kinds -= load<u64>(row, TLB_KINDS);
        store<u64>(vcpu, record & TLB_PAGE_MASK, VCPU_FAULT_GVA);
        store<u32>(vcpu, <u32>(record & FLAGS_MASK), VCPU_FAULT_FLAGS);
        bump(VMEXITS);
        if (yardstick) lockstepSetNow(now);
        if ((exit != EXIT_PAGE_FAULT && exit != EXIT_NPF) || !quickFault(vcpu)) break;
        // The access is made now; a flush may have given the space another tag.
        exit = EXIT_DONE;
        tag = <u64>load<u32>(vcpu, VCPU_TLB_TAG);
        if (yardstick) {
          now = lockstepNow;
          oldest = lockstepOldest;
        }
        at -= 8;
        continue;
      }
    }
    if (yardstick) {
      now += LOCKSTEP_TICK;
      oldest = stamp(value, record, now, oldest);
    }
  }
  if (yardstick) lockstepSetNow(now);
  batchExit = exit;
  batchKinds = kinds;
  return at;
}

/**
 * Runs `count` access records. Returns how many were executed; the next one is the one that exited
 * (VCPU_EXIT_REASON), or all were (EXIT_DONE).
 */
export function runBatch(vcpu: usize, records: usize, count: u32): u32 {
  const tlb = tlbEnter(vcpu);
  const end = records + ((<usize>count) << 3);
  beginBatch();
  let at: usize = 0;
  if (lockstepWords == 0) {
    at = runRecords<u64>(vcpu, tlb, records, end);
  } else {
    lockstepBegin(count);
    at = runRecords<u32>(vcpu, tlb, records, end);
  }
  store<u32>(vcpu, <u32>at, VCPU_RECORD);
  store<u32>(vcpu, batchExit, VCPU_EXIT_REASON);
  const done = <u32>((at - records) >> 3);
  account(done, batchKinds);
  return done;
}

/** Frame that the last walk on `vcpu` led to. */
export function lastWalkPfn(vcpu: usize): u32 {
  return load<u32>(vcpu, VCPU_TDP) != 0 ? nestedPfn : walkPfn;
}
