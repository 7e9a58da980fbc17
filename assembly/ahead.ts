// What the next records will read, loaded early and together. Where the tables exceed the caches and most
// references miss the TLB, each walk, and still more each fault with its reclaim, waits for memory a dozen times,
// one after the other: entries of the shadow tables, of the guest's and of the host's, the page cache, reverse
// maps. The records of a group say which ones come next, and the page list says which pages reclaim takes, so
// rows of loads that do not wait for each other fetch them for the whole group: first the leaf sptes; where some
// are absent, the guest's entries and what reclaim asks the pages of the list; then what these lead to.
//
// Nothing here has an effect on the machine: what is loaded is thrown away.

import {
  FRAME_FILE_SHIFT,
  FRAME_FLAGS,
  FRAME_LRU_PREV,
  FRAME_MAPCOUNT,
  FRAME_PRIVATE,
  FRAME_RMAP,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  KVM_N_USED_MMU_PAGES,
  LRU_POLICY_FIRST,
  PG_HUGE,
  PG_MM_SHIFT,
  PG_MULTIMAP,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_NPAGES,
  SLOT_RMAP,
  SP_GFN,
  SP_TRANSLATIONS,
  STRAIGHT_AREA_FILE,
  STRAIGHT_AREA_OFFSET,
  STRAIGHT_LIMIT,
  STRAIGHT_MM,
  STRAIGHT_ON,
  VCPU_TDP,
} from './abi';
import { PAGES_SCANNED } from './counters';
import { framePtr } from './mm/frame';
import { lruTail } from './mm/lru';
import { ptepNear } from './mm/pte';
import { slotPtr } from './mm/swap';
import { KVM } from './mmu/kvm';
import { gfnToMemslot, onlySlotOfHvn } from './mmu/memslot';
import { spteIndex, sptepToSp } from './mmu/shadow_page';
import { commonLeaf } from './mmu/shadow_walk';
import { tableContent } from './mmu/walk_cache';
import { STATS } from './stats';
import { STRAIGHT, straightArea } from './straight/config';
import { isTwoList } from './straight/scan';
import { Gfn, Hvn, Pfn } from './types';

/** Bytes of the records of a group: 32. */
export const AHEAD_GROUP: usize = 256;
/** Up to so many shadow pages, 1 MiB of them, the tables fit the caches. */
const TABLES_MIN: u32 = 256;
/** Below so many pages of memory what reclaim reads fits them, too. */
const LIMIT_MIN: u32 = 8192;
/** Pages of the list that are looked at for each fault that is expected, and at most for a group. */
const PAGES_EACH: u32 = 3;
const PAGES_MAX: u32 = 96;
/** Takes what is loaded, so that no compiler leaves it out; also what stands for "no address". */
const SINK: usize = memory.data(8, 8);

/** Addresses of what will be loaded, and their end. What stands behind that was loaded before. */
const QUEUE: usize = memory.data(1536, 64);
/** Of a group: what its leaves lead to, at most two addresses a record and three a page. */
if (AHEAD_GROUP / 2 + PAGES_MAX * 12 > 1536 - 32) ERROR('ahead: QUEUE');
let queueEnd: usize = QUEUE;
/** The leaf sptes of the group's records, then the guest's entries of those that are absent, and their end. */
const LEAVES: usize = memory.data(128, 64);
if (AHEAD_GROUP >> 1 != 128) ERROR('ahead: one leaf a record');
let leavesEnd: usize = LEAVES;
/** Rmap heads of the pages that were looked at, and their end. */
const HEADS: usize = memory.data(384, 64);
if (PAGES_MAX * 4 != 384) ERROR('ahead: one head a page');
let headsEnd: usize = HEADS;
/** Next page of the list, and how many pages will have been scanned when it is. */
let nextPfn: Pfn = 0;
let nextScan: u32 = 0;

function push(at: usize): void {
  store<u32>(queueEnd, <u32>at);
  queueEnd += 4;
}

/** Loads from eight addresses: none of the loads waits for another. */
function loadEight(at: usize): u32 {
  const a = load<u32>(<usize>load<u32>(at)) + load<u32>(<usize>load<u32>(at, 4));
  const b = load<u32>(<usize>load<u32>(at, 8)) + load<u32>(<usize>load<u32>(at, 12));
  const c = load<u32>(<usize>load<u32>(at, 16)) + load<u32>(<usize>load<u32>(at, 20));
  const d = load<u32>(<usize>load<u32>(at, 24)) + load<u32>(<usize>load<u32>(at, 28));
  return a + b + (c + d);
}

/** Loads from all addresses from `at` to `end`. */
function loadAll(at: usize, end: usize): void {
  let sum: u32 = 0;
  for (; at < end; at += 32) sum += loadEight(at);
  store<u32>(SINK, sum);
}

function loadQueue(): void {
  loadAll(QUEUE, queueEnd);
  queueEnd = QUEUE;
}

/** Loads the leaf sptes of the records; of those without one, what lies at address 0. */
function seeLeaves(vcpu: usize, records: usize, end: usize): void {
  let leaf = LEAVES;
  for (let at = records; at < end; at += 8) {
    store<u32>(leaf, <u32>commonLeaf(vcpu, load<u64>(at)));
    leaf += 4;
  }
  leavesEnd = leaf;
  loadAll(LEAVES, leavesEnd);
}

/** Finds the guest's entries that the absent leaves shadow; how many there are. */
function seeGuest(): u32 {
  let to = LEAVES;
  for (let leaf = LEAVES; leaf < leavesEnd; leaf += 4) {
    const sptep = <usize>load<u32>(leaf);
    if (sptep == 0 || load<u64>(sptep) != 0) continue;
    const sp = sptepToSp(sptep);
    const table = tableContent(load<u32>(sp, SP_GFN));
    if (table == 0) continue;
    const index = <usize>spteIndex(sptep);
    const gptep = table + (index << 3);
    store<u32>(to, <u32>gptep);
    to += 4;
    push(gptep);
    // What is only written holds the stores behind it up, all the same.
    push(<usize>load<u32>(sp, SP_TRANSLATIONS) + (index << 2));
  }
  leavesEnd = to;
  return <u32>((to - LEAVES) >> 2);
}

/** What a fault at a gfn looks up: the host pte, whose address is returned, the rmap head, the page cache. */
function seeHost(slot: usize, gfn: Gfn): usize {
  const index = gfn - load<u32>(slot, SLOT_BASE_GFN);
  const hvn: Hvn = load<u32>(slot, SLOT_HVN) + index;
  const ptep = ptepNear(load<u32>(STRAIGHT, STRAIGHT_MM), hvn);
  push(<usize>load<u32>(slot, SLOT_RMAP) + ((<usize>index) << 2));
  push(ptep);
  const area = straightArea(hvn);
  if (area == 0) return ptep;
  const file = load<u32>(area, STRAIGHT_AREA_FILE);
  if (file != 0) push(ptepNear(file, hvn + load<u32>(area, STRAIGHT_AREA_OFFSET)));
  return ptep;
}

/** The same for the guest's entries that were found, in whose place the host ptes stand then. */
function seeHosts(): void {
  for (let leaf = LEAVES; leaf < leavesEnd; leaf += 4) {
    const gfn = <u32>(load<u64>(<usize>load<u32>(leaf)) >> 12);
    const slot = gfnToMemslot(gfn);
    store<u32>(leaf, <u32>(slot == 0 ? SINK : seeHost(slot, gfn)));
  }
}

/** The swap slots that these ptes name. */
function seeSwap(): void {
  for (let leaf = LEAVES; leaf < leavesEnd; leaf += 4) {
    const pte = load<u32>(<usize>load<u32>(leaf));
    if ((pte & (HPTE_PRESENT | HPTE_SWAP)) == HPTE_SWAP) push(slotPtr(pte >> HPTE_PFN_SHIFT));
  }
}

/** What reclaim looks up of a page: the host pte, the rmap head, the page cache. */
function seePage(page: usize, slot: usize): void {
  const flags = load<u32>(page, FRAME_FLAGS);
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  if ((((flags >> PG_MM_SHIFT) ^ mm) | (flags & (PG_MULTIMAP | PG_HUGE))) != 0) return;
  const hvn = load<u32>(page, FRAME_RMAP);
  const index = hvn - load<u32>(slot, SLOT_HVN);
  if (index < load<u32>(slot, SLOT_NPAGES)) {
    const head = <usize>load<u32>(slot, SLOT_RMAP) + ((<usize>index) << 2);
    push(head);
    store<u32>(headsEnd, <u32>head);
    headsEnd += 4;
  }
  push(ptepNear(mm, hvn));
  const file = load<u32>(page, FRAME_MAPCOUNT) >> FRAME_FILE_SHIFT;
  if (file != 0) push(ptepNear(file, load<u32>(page, FRAME_PRIVATE)));
}

/** Looks at the pages that FIFO and CLOCK come to in the next `faults` faults. */
function seeList(slot: usize, faults: u32): void {
  const scanned = <u32>load<u64>(STATS + ((<usize>PAGES_SCANNED) << 3));
  if (nextPfn == 0 || nextScan - scanned > PAGES_MAX) {
    nextPfn = lruTail(LRU_POLICY_FIRST);
    nextScan = scanned;
  }
  const end = scanned + faults * PAGES_EACH;
  for (; nextPfn != 0 && <i32>(end - nextScan) > 0; nextScan++) {
    const page = framePtr(nextPfn);
    seePage(page, slot);
    nextPfn = load<u32>(page, FRAME_LRU_PREV);
  }
}

/** The sptes of these pages. */
function seeSptes(): void {
  for (let at = HEADS; at < headsEnd; at += 4) {
    // A chain's descriptor is no spte, but as good to have at hand.
    push(<usize>(load<u32>(<usize>load<u32>(at)) & ~7));
  }
  headsEnd = HEADS;
}

/** Before a run of reclaim takes the oldest pages of a list: what it looks up of them. */
export function lookAtOldest(list: u32, pages: u32): void {
  if (load<u32>(STRAIGHT, STRAIGHT_LIMIT) < LIMIT_MIN) return;
  let slot: usize = 0;
  let pfn = lruTail(list);
  for (let i = min<u32>(pages, PAGES_MAX); i != 0 && pfn != 0; i--) {
    const page = framePtr(pfn);
    if (slot == 0)
      slot = onlySlotOfHvn(load<u32>(STRAIGHT, STRAIGHT_MM), load<u32>(page, FRAME_RMAP));
    if (slot != 0) seePage(page, slot);
    pfn = load<u32>(page, FRAME_LRU_PREV);
  }
  loadQueue();
  seeSptes();
  loadQueue();
}

/** Whether to look ahead is worth it for a vCPU: its tables are shadow tables, and many. */
export function worthAhead(vcpu: usize): bool {
  return load<u32>(KVM, KVM_N_USED_MMU_PAGES) > TABLES_MIN && load<u32>(vcpu, VCPU_TDP) == 0;
}

/** Before the records from `records` to `end` are run, a group at most. */
export function lookAhead(vcpu: usize, records: usize, end: usize): void {
  seeLeaves(vcpu, records, end);
  if (load<u32>(STRAIGHT, STRAIGHT_LIMIT) < LIMIT_MIN) return;
  if (load<u32>(STRAIGHT, STRAIGHT_ON) == 0) return;
  const faults = seeGuest();
  if (faults == 0) return;
  const slot = gfnToMemslot(<u32>(load<u64>(<usize>load<u32>(LEAVES)) >> 12));
  if (slot != 0 && !isTwoList()) seeList(slot, faults);
  loadQueue();
  seeHosts();
  seeSptes();
  loadQueue();
  seeSwap();
  loadQueue();
}
