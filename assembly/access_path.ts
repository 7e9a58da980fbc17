// One access that the L1 TLB does not serve: the other levels of the TLB, the walk of the shadow or
// nested tables as the hardware makes it, the vmexit; and what a batch adds to the counters. The loops
// over records are run.ts's.

import {
  ACCESS_CONTROL,
  ACCESS_KIND_MASK,
  EXIT_CONTROL,
  EXIT_DONE,
  EXIT_GUEST_FAULT,
  EXIT_NONCANONICAL,
  EXIT_NPF,
  EXIT_PAGE_FAULT,
  FAULTS_MAX,
  PT64_PKEY_BIT,
  PT_GLOBAL_BIT,
  RET_PF_FIXED,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GVA,
  VCPU_FAULTS_LEFT,
  VCPU_FAULTS_SERVED,
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
import { lockstepWords } from './lockstep';
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
import { disturb } from './mmu/settled_table';
import { isFixedServed, isServed, quickFault } from './mmu/quick_fault';
import { spGfnOf, spteIndex, sptepToSp } from './mmu/shadow_page';
import {
  codeFault,
  plainSptep,
  plainWalk,
  plainWalkAgain,
  shadowWalk,
  WALK_FAULT,
  WALK_OTHER,
  walkBits,
  walkLevel,
  walkPfn,
  walkPkey,
  walkSteps,
} from './mmu/shadow_walk';
import { bump, bumpBy } from './stats';
import { KNOWN_NOT, KNOWN_SERVED, serveKnown, WALK_LEVELS } from './straight/known_fault';
import { renewKnown } from './straight/known_note';
import { entryOf, isKnownFor } from './straight/known_page';
import { PLAIN_NOT, plainFault } from './straight/plain_fault';
import { knowing } from './straight/plain_rules';
import { TLB_PAGE_MASK } from './tlb/block';
import {
  L2_HIT,
  L2_NONE,
  TLB_L2_HIT,
  TLB_MISS,
  tlbFill,
  tlbFillPage,
  tlbLookup,
  tlbLookupL2,
  tlbValueOf,
} from './tlb/lookup';
import { denyBits, ROW_KINDS, rowOf, userDenyBits } from './tlb/rights';
import { Gfn, Sptep } from './types';

/** ACCESS_* flags of a record. */
const FLAGS_MASK: u64 = 15;

/** First record of the running batch. */
let batchStart: usize = 0;
/** Its L2 hits and misses so far; hits are the rest. */
let l2Hits: u32 = 0;
let misses: u32 = 0;

/** A word: see batchWalks(). */
const WALKS: usize = memory.data(4, 4);
/** Most accesses that miss the L1 fault, so that is found out first. */
let knownFirst: bool = false;

/** The last walk faulted at a leaf entry, and left the error code to be written. */
let isUncoded: bool = false;

/** Whether a gva has the sign extension that the paging mode asks for. */
function isCanonical(vcpu: usize, gva: u64): bool {
  const shift: i64 = load<u32>(vcpu, VCPU_ROOT_LEVEL) == 5 ? 7 : 16;
  return ((<i64>gva) << shift) >> shift == <i64>gva;
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
  const spte = plainWalk(vcpu, gva, flags);
  isUncoded = spte == WALK_FAULT;
  if (spte == WALK_OTHER) return fillFrom(vcpu, want, shadowWalk(vcpu, gva, flags));
  bumpBy(WALK_STEPS, walkSteps);
  if (spte == WALK_FAULT) return EXIT_PAGE_FAULT;
  fillPlain(vcpu, want, spte);
  return EXIT_DONE;
}

/** The same after the fault of the access was served. */
function walkAgainAndFill(vcpu: usize, want: u64, flags: u32): u32 {
  if (load<u32>(vcpu, VCPU_TDP) != 0) return nestedWalkAndFill(vcpu, want, flags);
  const spte = plainWalkAgain(flags);
  if (spte == WALK_OTHER) return walkAndFill(vcpu, want, flags);
  bumpBy(WALK_STEPS, walkSteps);
  fillPlain(vcpu, want, spte);
  return EXIT_DONE;
}

/** Enters the leaf entry that a plain walk ended at: a user's, and not global. */
function fillPlain(vcpu: usize, want: u64, spte: u64): void {
  const gfn = lockstepWords == 0 ? 0 : spGfnOf(sptepToSp(plainSptep), spteIndex(plainSptep));
  const pkey = (<u32>(spte >> (<u64>PT64_PKEY_BIT))) & 15;
  tlbFillPage(vcpu, want | userDenyBits(spte), tlbValueOf(walkPfn, gfn, pkey));
}

/** Enters what a walk of the shadow tables found, if it ended at an spte. */
function fillFrom(vcpu: usize, want: u64, sptep: Sptep): u32 {
  bumpBy(WALK_STEPS, walkSteps);
  if (sptep == 0) return EXIT_PAGE_FAULT;
  const global = ((walkBits >> (<u64>PT_GLOBAL_BIT)) & 1) != 0;
  const gfn = walkGfn(sptep, want & TLB_PAGE_MASK);
  tlbFill(vcpu, want, denyBits(walkBits), walkLevel, walkPfn, gfn, walkPkey, global);
  return EXIT_DONE;
}

/** Whether the L2 serves an access at once: L2_*. */
export function hitL2(tlb: usize, want: u64, mask: u64): u32 {
  const l2 = tlbLookupL2(tlb, want, mask);
  if (l2 == L2_HIT) l2Hits++;
  return l2;
}

/** missL1() made the access; tlbValue has its translation. */
export const ACCESS_MADE: u32 = 0;
/** The same after a fault that was served: the tag and the yardstick's time may be others now. */
export const ACCESS_SERVED: u32 = 1;
/** A vmexit for the host: `accessExit`. */
export const ACCESS_LEFT: u32 = 2;

/** Of accessKnown(): nothing was done. */
const NOT_KNOWN: u32 = 3;

/** EXIT_* of the last ACCESS_LEFT. */
export let accessExit: u32 = 0;

/** An access that the fast lookup of the L1 did not find. ACCESS_*. */
export function missL1(vcpu: usize, tlb: usize, at: usize, want: u64, mask: u64): u32 {
  const first = knowing && knownFirst;
  const known = first ? accessKnown(vcpu, at, want, WALK_LEVELS) : NOT_KNOWN;
  return known != NOT_KNOWN ? known : missUnknown(vcpu, tlb, at, want, mask);
}

/** The same, but for faults at known pages. */
function missUnknown(vcpu: usize, tlb: usize, at: usize, want: u64, mask: u64): u32 {
  const record = load<u64>(at);
  const l2 = hitL2(tlb, want, mask);
  if (l2 == L2_HIT) return ACCESS_MADE;
  const kind = (<u32>record) & ACCESS_KIND_MASK;
  return l2 == L2_NONE && kind != ACCESS_CONTROL
    ? missAll(vcpu, at, record, want)
    : slowAccess(vcpu, tlb, at, record, l2);
}

/**
 * An access that faults at a known page: the fault, and the fill. ACCESS_*; NOT_KNOWN: nothing was done. `steps` of the
 * walk that faults were not counted.
 */
function accessKnown(vcpu: usize, at: usize, want: u64, steps: u32): u32 {
  const record = load<u64>(at);
  const flags = <u32>(record & FLAGS_MASK);
  const gva = want & TLB_PAGE_MASK;
  const entry = entryOf(gva);
  // The first access of a batch may have faulted too often already.
  if (!isKnownFor(entry, gva, flags) || at == batchStart) return NOT_KNOWN;
  const accesses = <u32>((at - batchStart) >> 3);
  const result = serveKnown(vcpu, entry, want, flags, steps, accesses, l2Hits);
  if (result == KNOWN_NOT) return NOT_KNOWN;
  if (result != KNOWN_SERVED) {
    isUncoded = true;
    return faultAndFill(vcpu, at, record, EXIT_PAGE_FAULT, result);
  }
  misses++;
  return ACCESS_SERVED;
}

/** Everything but the fast paths; `l2` is what the lookup of the L2 said. ACCESS_*. */
export function slowAccess(vcpu: usize, tlb: usize, at: usize, record: u64, l2: u32): u32 {
  const flags = <u32>(record & FLAGS_MASK);
  if ((flags & ACCESS_KIND_MASK) == ACCESS_CONTROL) {
    return faultAndFill(vcpu, at, record, EXIT_CONTROL, PLAIN_NOT);
  }
  const want = (record & TLB_PAGE_MASK) | (<u64>load<u32>(vcpu, VCPU_TLB_TAG));
  if (l2 != L2_NONE) {
    const found = tlbLookup(vcpu, tlb, want, flags);
    if (found == TLB_L2_HIT) l2Hits++;
    if (found != TLB_MISS) return ACCESS_MADE;
    const known = accessKnown(vcpu, at, want, WALK_LEVELS);
    if (known != NOT_KNOWN) return known;
  }
  return missAll(vcpu, at, record, want);
}

/** An access that missed every level. ACCESS_*. */
function missAll(vcpu: usize, at: usize, record: u64, want: u64): u32 {
  const flags = <u32>(record & FLAGS_MASK);
  const exit = walkAndFill(vcpu, want, flags);
  if (exit == EXIT_DONE) {
    misses++;
    store<u32>(WALKS, load<u32>(WALKS) + 1);
    return ACCESS_MADE;
  }
  if (exit == EXIT_PAGE_FAULT && isUncoded && knowing && renewKnown(vcpu, want)) {
    const known = accessKnown(vcpu, at, want, 0);
    if (known != NOT_KNOWN) return known;
  }
  return faultAndFill(vcpu, at, record, exit, PLAIN_NOT);
}

/**
 * A vmexit; when it is a fault that can be served here, the walk and the fill that follow. No TLB holds
 * the page by then: the lookup found none, or removed one that denied the access. The host counts the faults in a row
 * without progress, and ends them; a record was made before every one but the first. `result` is what the fault came to
 * already (RET_PF_*), or PLAIN_NOT.
 */
function faultAndFill(vcpu: usize, at: usize, record: u64, exit: u32, result: u32): u32 {
  const flags = <u32>(record & FLAGS_MASK);
  store<u64>(vcpu, record & TLB_PAGE_MASK, VCPU_FAULT_GVA);
  store<u32>(vcpu, flags, VCPU_FAULT_FLAGS);
  const most = at == batchStart ? load<u32>(vcpu, VCPU_FAULTS_LEFT) : FAULTS_MAX + 1;
  for (let served: u32 = 0; ; served++) {
    // What the guest kernel does on a control record counts its own exits; its own #PF is none.
    if (exit == EXIT_PAGE_FAULT || (exit != EXIT_CONTROL && exit != EXIT_GUEST_FAULT))
      bump(VMEXITS);
    if (served == most) writeCode(vcpu, exit);
    if (served == most || !serveFault(vcpu, exit, result, <u32>((at - batchStart) >> 3))) {
      store<u32>(vcpu, served, VCPU_FAULTS_SERVED);
      accessExit = exit;
      return ACCESS_LEFT;
    }
    result = PLAIN_NOT;
    const want = (record & TLB_PAGE_MASK) | (<u64>load<u32>(vcpu, VCPU_TLB_TAG));
    exit = walkAgainAndFill(vcpu, want, flags);
    if (exit != EXIT_DONE) continue;
    misses++;
    return ACCESS_SERVED;
  }
}

/** Writes the error code that the last walk left to be written, for who asks for it. */
function writeCode(vcpu: usize, exit: u32): void {
  if (exit == EXIT_PAGE_FAULT && isUncoded) codeFault(vcpu, load<u32>(vcpu, VCPU_FAULT_FLAGS));
  isUncoded = false;
}

/** Whether a vmexit is a fault that was served here, or came to `result` here. */
function serveFault(vcpu: usize, exit: u32, result: u32, accesses: u32): bool {
  if (exit == EXIT_PAGE_FAULT) {
    const plain = result != PLAIN_NOT ? result : plainFault(vcpu, accesses, l2Hits);
    if (plain == RET_PF_FIXED) return isFixedServed(vcpu);
    writeCode(vcpu, exit);
    if (plain != PLAIN_NOT) return isServed(vcpu, plain);
  } else if (exit != EXIT_NPF) {
    return false;
  }
  return quickFault(vcpu, accesses, l2Hits);
}

/** Starts the counts of a batch with records from `records` on. */
export function beginBatch(records: usize): void {
  batchStart = records;
  disturb();
  l2Hits = 0;
  misses = 0;
  store<u32>(WALKS, 0);
}

/** Accesses of the running batch that no level of the TLB served. */
export function batchMisses(): u32 {
  return misses;
}

/** Those that the L2 served. */
export function batchL2Hits(): u32 {
  return l2Hits;
}

/** Misses of the running batch that a walk served at once; the others faulted. */
export function batchWalks(): u32 {
  return load<u32>(WALKS);
}

/** Says whether most of the next accesses that miss the L1 will fault. */
export function expectFaults(most: bool): void {
  knownFirst = most;
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
export function kindOf(record: u64): u64 {
  return load<u64>(rowOf(record), ROW_KINDS);
}

/** Frame that the last walk on `vcpu` led to. */
export function lastWalkPfn(vcpu: usize): u32 {
  return load<u32>(vcpu, VCPU_TDP) != 0 ? nestedPfn : walkPfn;
}
