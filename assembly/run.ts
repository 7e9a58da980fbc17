// The access path: runs a batch of access records on a vCPU. A hit in way 0 of an L1 set costs one
// load and one masked compare; every other lookup goes to tlb.ts, and a miss walks the shadow tables
// as the hardware would. The batch stops at a vmexit, with the exit in VCPU_EXIT_REASON and
// VCPU_FAULT_* and the record in VCPU_RECORD; the host handles it and runs the rest.

import {
  ACCESS_CONTROL,
  ACCESS_FETCH,
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
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
  NESTED_GUEST_FAULT,
  NESTED_OK,
  nestedBits,
  nestedLevel,
  nestedPfn,
  nestedPkey,
  nestedSteps,
  nestedWalk,
} from './mmu/nested_walk';
import { shadowWalk, walkBits, walkLevel, walkPfn, walkPkey, walkSteps } from './mmu/shadow_walk';
import { bump, bumpBy } from './stats';
import {
  ARRAY_BASE,
  ARRAY_SETS,
  ARRAY_SHIFT,
  TLB_L1,
  TLB_L2_HIT,
  TLB_MASKS,
  TLB_MISS,
  TLB_ND,
  TLB_NU,
  TLB_NW,
  TLB_NX,
  TLB_PAGE_MASK,
  TLB_SU,
  tlbEnter,
  tlbFill,
  tlbLookup,
} from './tlb';

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

/** The same on nested tables. */
function nestedWalkAndFill(vcpu: usize, want: u64, flags: u32): u32 {
  const result = nestedWalk(vcpu, want & TLB_PAGE_MASK, flags);
  bumpBy(WALK_STEPS, nestedSteps);
  if (result == NESTED_GUEST_FAULT) return EXIT_GUEST_FAULT;
  if (result != NESTED_OK) return EXIT_NPF;
  const global = ((nestedBits >> (<u64>PT_GLOBAL_BIT)) & 1) != 0;
  tlbFill(vcpu, want, denyBits(nestedBits), nestedLevel, nestedPfn, nestedPkey, global);
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
  tlbFill(vcpu, want, denyBits(walkBits), walkLevel, walkPfn, walkPkey, global);
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

/** Adds what a batch did to the counters. */
export function account(first: usize, end: usize): void {
  let writes: u32 = 0;
  let fetches: u32 = 0;
  for (let at = first; at < end; at += 8) {
    const kind = load<u32>(at) & ACCESS_KIND_MASK;
    writes += kind & ACCESS_WRITE;
    fetches += kind & ACCESS_FETCH;
  }
  const count = <u32>((end - first) >> 3);
  fetches /= ACCESS_FETCH;
  bumpBy(ACCESSES, count);
  bumpBy(WRITES, writes);
  bumpBy(FETCHES, fetches);
  bumpBy(READS, count - writes - fetches);
  bumpBy(TLB_L2_HITS, l2Hits);
  bumpBy(TLB_MISSES, misses);
  bumpBy(TLB_HITS, count - misses);
}

/**
 * Runs `count` access records. Returns how many were executed; the next one is the one that exited
 * (VCPU_EXIT_REASON), or all were (EXIT_DONE).
 */
export function runBatch(vcpu: usize, records: usize, count: u32): u32 {
  const tlb = tlbEnter(vcpu);
  const tag = <u64>load<u32>(vcpu, VCPU_TLB_TAG);
  const base = <usize>load<u32>(tlb + TLB_L1, ARRAY_BASE);
  const shift = <u64>load<u32>(tlb + TLB_L1, ARRAY_SHIFT);
  const sets = (<u64>load<u32>(tlb + TLB_L1, ARRAY_SETS)) << shift;
  const end = records + ((<usize>count) << 3);
  let exit = EXIT_DONE;
  l2Hits = 0;
  misses = 0;
  let at = records;
  for (; at < end; at += 8) {
    const record = load<u64>(at);
    const set = base + <usize>((record >> (12 - shift)) & sets);
    const want = (record & TLB_PAGE_MASK) | tag;
    const mask = load<u64>(tlb + ((<usize>(record & FLAGS_MASK)) << 3), TLB_MASKS);
    if (((load<u64>(set) ^ want) & mask) == 0) continue;
    store<u32>(vcpu, <u32>at, VCPU_RECORD);
    exit = slowAccess(vcpu, tlb, record);
    if (exit != EXIT_DONE) {
      store<u64>(vcpu, record & TLB_PAGE_MASK, VCPU_FAULT_GVA);
      store<u32>(vcpu, <u32>(record & FLAGS_MASK), VCPU_FAULT_FLAGS);
      bump(VMEXITS);
      break;
    }
  }
  store<u32>(vcpu, <u32>at, VCPU_RECORD);
  store<u32>(vcpu, exit, VCPU_EXIT_REASON);
  account(records, at);
  return <u32>((at - records) >> 3);
}
