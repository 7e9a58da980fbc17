// The multi-generational LRU (cf. mm/vmscan.c and mm_inline.h of 6.1, lru_gen): pages are kept in up to
// four generations a type (anonymous, file) instead of two lists. New and promoted pages belong to the
// youngest one, eviction takes the oldest. A page that was found young is promoted by its generation
// number alone; it moves to its list when eviction meets it.
//
//   a byte a frame: ┌───────┬──────┬─────────┐
//                   │ 7:5   │ 4:3  │ 2:0     │   gen + 1 (0: in no generation), and accesses beyond
//                   │ spare │ refs │ gen + 1 │   PG_referenced and PG_workingset (LRU_REFS_WIDTH 2)
//                   └───────┴──────┴─────────┘
//
// Invariants:
// - A page on a generation's list has a generation, maybe a younger one than the list's.
// - pages(gen, type) counts pages by the generation in their byte.
// - minSeq + 1 <= maxSeq <= minSeq + 3, and anonymous pages are never younger than file pages.

import {
  LRU_GEN_FIRST,
  FRAME_FLAGS,
  PG_ACTIVE,
  PG_DIRTY,
  PG_RECLAIM,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
  PG_WORKINGSET,
  PG_WRITEBACK,
  ZERO_PFN,
  MIN_NR_GENS,
  MAX_NR_GENS,
  MIN_LRU_BATCH,
} from '../abi';
import { arenaAlloc } from '../layout';
import { Pfn } from '../types';
import { folioPages, framePtr, frameTotal, isLocking } from './frame';

const MAX_NR_TIERS: u32 = 4;
const TYPES: u32 = 2;

const GEN_MASK: u32 = 7;
const REFS_SHIFT: u32 = 3;
const REFS_MAX: u32 = 3;
const REFS_MASK: u32 = REFS_MAX << REFS_SHIFT;

let enabled: u32 = 0;
let bytes: usize = 0;
let maxSeq: u32 = MIN_NR_GENS + 1;

/** minSeq[type], then pages[gen][type]. */
const MIN_SEQ: usize = memory.data(8, 4);
const PAGES: usize = memory.data(32, 4);
/** By type and tier: refaulted and evicted of the oldest generation, protected, and their averages. */
const REFAULTED: usize = memory.data(32, 4);
const EVICTED: usize = memory.data(32, 4);
const PROTECTED: usize = memory.data(32, 4);
const AVG_REFAULTED: usize = memory.data(32, 4);
const AVG_TOTAL: usize = memory.data(32, 4);
if (MAX_NR_GENS * TYPES * 4 != 32 || MAX_NR_TIERS * TYPES * 4 != 32) ERROR('lru_gen: tables');

/** A frame that is freed has no accesses. */
export function genForget(pfn: Pfn): void {
  if (bytes != 0) store<u8>(bytes + <usize>pfn, 0);
}

/** Whether pages go to generations. */
export function lruGenEnabled(): bool {
  return enabled != 0;
}

/** Sets whether pages that are added from now on go to generations (lrugen->enabled). */
export function lruGenSwitch(on: u32): void {
  if (bytes == 0) bytes = arenaAlloc((<usize>frameTotal() + 1 + 7) & ~7);
  enabled = on;
}

/** max_seq. */
export function lruGenMaxSeq(): u32 {
  return maxSeq;
}

/** min_seq of a type: 0 anonymous, 1 file. */
export function lruGenMinSeq(type: u32): u32 {
  return load<u32>(MIN_SEQ + ((<usize>type) << 2));
}

function setMinSeq(type: u32, seq: u32): void {
  store<u32>(MIN_SEQ + ((<usize>type) << 2), seq);
}

function at(table: usize, type: u32, tier: u32): usize {
  return table + ((<usize>type * MAX_NR_TIERS + tier) << 2);
}

function add(cell: usize, n: i32): void {
  store<u32>(cell, load<u32>(cell) + <u32>n);
}

/** Generation of a sequence number. */
export function genOfSeq(seq: u32): u32 {
  return seq % MAX_NR_GENS;
}

/** The list of a generation and type. */
export function genList(gen: u32, type: u32): u32 {
  return LRU_GEN_FIRST + gen * TYPES + type;
}

/** Pages of a generation and type (lrugen->nr_pages). */
export function lruGenPages(gen: u32, type: u32): u32 {
  return load<u32>(PAGES + ((<usize>(gen * TYPES + type)) << 2));
}

function countPages(gen: u32, type: u32, n: i32): void {
  add(PAGES + ((<usize>(gen * TYPES + type)) << 2), n);
}

/** folio_is_file_lru. */
export function genType(flags: u32): u32 {
  return flags & PG_SWAPBACKED ? 0 : 1;
}

function byteOf(pfn: Pfn): u32 {
  return load<u8>(bytes + <usize>pfn);
}

/** folio_lru_gen: -1 when the page is in no generation. */
export function genOf(pfn: Pfn): i32 {
  return <i32>(byteOf(pfn) & GEN_MASK) - 1;
}

function setGen(pfn: Pfn, gen: i32): void {
  store<u8>(bytes + <usize>pfn, <u8>((byteOf(pfn) & ~GEN_MASK) | ((<u32>(gen + 1)) & GEN_MASK)));
}

/** LRU_REFS_MASK | LRU_REFS_FLAGS are cleared. */
export function genClearRefs(pfn: Pfn): void {
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~(PG_REFERENCED | PG_WORKINGSET), FRAME_FLAGS);
  store<u8>(bytes + <usize>pfn, <u8>(byteOf(pfn) & ~REFS_MASK));
}

/** folio_lru_refs: accesses beyond the first. */
export function genRefs(pfn: Pfn): u32 {
  const workingset: u32 = load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_WORKINGSET ? 1 : 0;
  return ((byteOf(pfn) & REFS_MASK) >> REFS_SHIFT) + workingset;
}

/** lru_tier_from_refs: order_base_2(refs + 1). */
export function genTier(refs: u32): u32 {
  return refs == 0 ? 0 : 32 - <u32>clz(refs);
}

/** folio_inc_refs: an access through folio_mark_accessed(). */
export function genIncRefs(pfn: Pfn): void {
  if (pfn == ZERO_PFN) {
    const zero = framePtr(pfn);
    store<u32>(zero, load<u32>(zero, FRAME_FLAGS) | PG_REFERENCED, FRAME_FLAGS);
    return;
  }
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if (flags & PG_UNEVICTABLE && !isLocking(flags)) return;
  if ((flags & PG_REFERENCED) == 0) {
    store<u32>(page, flags | PG_REFERENCED, FRAME_FLAGS);
    return;
  }
  if ((flags & PG_WORKINGSET) == 0) {
    store<u32>(page, flags | PG_WORKINGSET, FRAME_FLAGS);
    return;
  }
  const byte = byteOf(pfn);
  if ((byte & REFS_MASK) != REFS_MASK)
    store<u8>(bytes + <usize>pfn, <u8>(byte + ((<u32>1) << REFS_SHIFT)));
}

function isActive(gen: u32): bool {
  return gen == genOfSeq(maxSeq) || gen == genOfSeq(maxSeq - 1);
}

/** lru_gen_add_folio: the generation of a page that is listed now; returns its list. */
export function genAdd(pfn: Pfn): u32 {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const type = genType(flags);
  const minSeq = lruGenMinSeq(type);
  let seq = maxSeq;
  if ((flags & PG_ACTIVE) == 0) {
    const writing = (flags & PG_RECLAIM) != 0 && (flags & (PG_DIRTY | PG_WRITEBACK)) != 0;
    if ((type == 0 && (flags & PG_SWAPCACHE) == 0) || writing) seq = maxSeq - 1;
    else seq = minSeq + MIN_NR_GENS >= maxSeq ? minSeq : minSeq + 1;
  }
  const gen = genOfSeq(seq);
  store<u32>(page, flags & ~PG_ACTIVE, FRAME_FLAGS);
  setGen(pfn, gen);
  countPages(gen, type, folioPages(flags));
  return genList(gen, type);
}

/** lru_gen_del_folio: the page leaves its generation; for reclaim without being called active. */
export function genDel(pfn: Pfn, reclaiming: bool): void {
  const gen = genOf(pfn);
  if (gen < 0) return;
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  countPages(gen, genType(flags), -(<i32>folioPages(flags)));
  setGen(pfn, -1);
  if (!reclaiming && isActive(gen)) store<u32>(page, flags | PG_ACTIVE, FRAME_FLAGS);
}

/**
 * folio_update_gen and lru_gen_update_size: a page that was found young goes to the youngest
 * generation; one that reclaim holds is only marked.
 */
export function genPromote(pfn: Pfn): void {
  const gen = genOf(pfn);
  if (gen < 0) {
    const page = framePtr(pfn);
    store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_REFERENCED, FRAME_FLAGS);
    return;
  }
  genClearRefs(pfn);
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  const type = genType(flags);
  const young = genOfSeq(maxSeq);
  const pages = <i32>folioPages(flags);
  setGen(pfn, young);
  countPages(gen, type, -pages);
  countPages(young, type, pages);
}

/** folio_inc_gen: a page of the oldest generation goes to the second oldest; returns its generation. */
export function genAdvance(pfn: Pfn, type: u32): u32 {
  const oldest = genOfSeq(lruGenMinSeq(type));
  const now = genOf(pfn);
  if (now >= 0 && <u32>now != oldest) return now;
  const next = (oldest + 1) % MAX_NR_GENS;
  genClearRefs(pfn);
  setGen(pfn, next);
  const pages = <i32>folioPages(load<u32>(framePtr(pfn), FRAME_FLAGS));
  countPages(oldest, type, -pages);
  countPages(next, type, pages);
  return next;
}

/** The tier's count of protected pages grows. */
export function genProtected(type: u32, tier: u32): void {
  add(at(PROTECTED, type, tier - 1), 1);
}

// ---- refaults (workingset.c: lru_gen_eviction, lru_gen_refault) -----------------------------------

/** The token of an evicted page, 22 bits: min_seq and its accesses; counts the eviction. */
export function genEviction(pfn: Pfn): u32 {
  const type = genType(load<u32>(framePtr(pfn), FRAME_FLAGS));
  const refs = genRefs(pfn);
  add(at(EVICTED, type, genTier(refs)), 1);
  return (lruGenMinSeq(type) << 2) | (refs > 0 ? refs - 1 : 0);
}

/**
 * A page with a token comes back. If it is of the oldest generation still, that counts against its tier; if a fault
 * brings it, or it had most accesses, the page is marked as of the working set with most accesses.
 */
export function genRefault(pfn: Pfn, token: u32, workingset: u32, inFault: bool): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const type = genType(flags);
  if (token >> 2 != (lruGenMinSeq(type) & 0x7ffff)) return;
  const refs = (token & 3) + workingset;
  add(at(REFAULTED, type, genTier(refs)), 1);
  if (!inFault && refs <= REFS_MAX) return;
  store<u32>(page, flags | PG_WORKINGSET, FRAME_FLAGS);
  store<u8>(bytes + <usize>pfn, <u8>(byteOf(pfn) | REFS_MASK));
}

/** reset_ctrl_pos: the oldest generation ends, and its rates enter the averages. */
function carryOver(type: u32): void {
  for (let tier: u32 = 0; tier < MAX_NR_TIERS; tier++) {
    const refaulted =
      load<u32>(at(AVG_REFAULTED, type, tier)) + load<u32>(at(REFAULTED, type, tier));
    store<u32>(at(AVG_REFAULTED, type, tier), refaulted >> 1);
    let total = load<u32>(at(AVG_TOTAL, type, tier)) + load<u32>(at(EVICTED, type, tier));
    if (tier != 0) total += load<u32>(at(PROTECTED, type, tier - 1));
    store<u32>(at(AVG_TOTAL, type, tier), total >> 1);
    store<u32>(at(REFAULTED, type, tier), 0);
    store<u32>(at(EVICTED, type, tier), 0);
    if (tier != 0) store<u32>(at(PROTECTED, type, tier - 1), 0);
  }
}

function refaultedOf(type: u32, tier: u32): u64 {
  return <u64>load<u32>(at(AVG_REFAULTED, type, tier)) + load<u32>(at(REFAULTED, type, tier));
}

function totalOf(type: u32, tier: u32): u64 {
  let total = <u64>load<u32>(at(AVG_TOTAL, type, tier)) + load<u32>(at(EVICTED, type, tier));
  if (tier != 0) total += load<u32>(at(PROTECTED, type, tier - 1));
  return total;
}

/** positive_ctrl_err: the second tier refaults seldom, or not more than the first does. */
function positive(t1: u32, tier1: u32, gain1: u64, t2: u32, tier2: u32, gain2: u64): bool {
  const pv = refaultedOf(t2, tier2);
  if (pv < MIN_LRU_BATCH) return true;
  const left = pv * (totalOf(t1, tier1) + MIN_LRU_BATCH) * gain1;
  return left <= (refaultedOf(t1, tier1) + 1) * totalOf(t2, tier2) * gain2;
}

/** get_tier_idx: the last tier of a type that eviction takes. */
export function lruGenTier(type: u32): u32 {
  let tier: u32 = 1;
  while (tier < MAX_NR_TIERS && positive(type, 0, 1, type, tier, 2)) tier++;
  return tier - 1;
}

/** get_type_to_scan: the type to scan, and from bit 1 on its last tier. */
export function lruGenTypeToScan(swappiness: u32): u32 {
  const anonGain: u64 = swappiness;
  const fileGain: u64 = 200 - swappiness;
  const type: u32 = positive(0, 0, anonGain, 1, 0, fileGain) ? 1 : 0;
  const other: u32 = 1 - type;
  const otherGain = other == 0 ? anonGain : fileGain;
  const gain = type == 0 ? anonGain : fileGain;
  let tier: u32 = 1;
  while (tier < MAX_NR_TIERS && positive(other, 0, otherGain, type, tier, gain)) tier++;
  return type | ((tier - 1) << 1);
}

// ---- sequence numbers ------------------------------------------------------------------------------

/** The oldest generation of a type ends. */
export function genIncMinSeq(type: u32): void {
  carryOver(type);
  setMinSeq(type, lruGenMinSeq(type) + 1);
}

/** Sets min_seq of a type that may skip empty generations. */
export function genSetMinSeq(type: u32, seq: u32): bool {
  if (seq == lruGenMinSeq(type)) return false;
  carryOver(type);
  setMinSeq(type, seq);
  return true;
}

/** A new youngest generation begins. */
export function genIncMaxSeq(): void {
  maxSeq++;
}
