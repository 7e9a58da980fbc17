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
import { leafSptep, leafTable } from './mmu/leaf_table';
import { gfnToMemslot, onlySlotOfHvn } from './mmu/memslot';
import { knownTable } from './mmu/settled_table';
import { sptepToSp } from './mmu/shadow_page';
import { tableContent } from './mmu/walk_cache';
import { STATS } from './stats';
import { areaOf, STRAIGHT } from './straight/config';
import { isTwoList } from './straight/scan';
import { TLB_PAGE_MASK } from './tlb/block';
import { Hvn, Pfn } from './types';

/** Bytes of the records of a group: 32. */
export const AHEAD_GROUP: usize = 256;
/** Up to so many shadow pages, 1 MiB of them, the tables fit the caches. */
const TABLES_MIN: u32 = 256;
/** Below so many pages of memory what reclaim reads fits them, too. */
const LIMIT_MIN: u32 = 8192;
/** Pages of the list that are looked at for each fault that is expected, and at most for a group. */
const PAGES_EACH: u32 = 3;
const PAGES_MAX: u32 = 96;
/** Takes what is loaded, so that no compiler leaves it out. */
const SINK: usize = memory.data(8, 8);
/** Stands for the pte where there is none: 0. */
const NO_PTE: usize = memory.data(8, 8);

/** Addresses of what will be loaded, and their end. What stands behind that was loaded before. */
const QUEUE: usize = memory.data(1536, 64);
/** Of a group: what its leaves lead to, at most two addresses a record and three a page. */
if (AHEAD_GROUP / 2 + PAGES_MAX * 12 > 1536 - 32) ERROR('ahead: QUEUE');
let queueEnd: usize = QUEUE;
/** The leaf sptes of the group's records, then the guest's entries of those that are absent, and their end. */
const LEAVES: usize = memory.data(256, 64);
if (AHEAD_GROUP != 256) ERROR('ahead: one leaf a record, and its table');
/** Offset of the leafTable() of a leaf. */
const LEAF_OF: usize = 128;
let leavesEnd: usize = LEAVES;
/** Rmap heads of the pages that were looked at, and their end. */
const HEADS: usize = memory.data(384, 64);
if (PAGES_MAX * 4 != 384) ERROR('ahead: one head a page');
let headsEnd: usize = HEADS;
/** Next page of the list, and how many pages will have been scanned when it is. */
let nextPfn: Pfn = 0;
let nextScan: u32 = 0;

function push(to: usize, at: usize): usize {
  store<u32>(to, <u32>at);
  return to + 4;
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
  let to = LEAVES;
  for (let at = records; at < end; at += 8) {
    const gva = load<u64>(at) & TLB_PAGE_MASK;
    const leaf = leafTable(vcpu, gva);
    const sptep = leaf == 0 ? 0 : leafSptep(leaf, gva);
    store<u32>(to, <u32>sptep);
    store<u32>(to, <u32>leaf, LEAF_OF);
    to += 4;
  }
  leavesEnd = to;
  loadAll(LEAVES, leavesEnd);
}

/** Finds the guest's entries that the absent leaves shadow; how many there are. */
function seeGuest(): u32 {
  let to = LEAVES;
  let queue = queueEnd;
  for (let at = LEAVES, end = leavesEnd; at < end; at += 4) {
    const sptep = <usize>load<u32>(at);
    if (sptep == 0 || load<u64>(sptep) != 0) continue;
    const sp = sptepToSp(sptep);
    const guest = knownTable(<usize>load<u32>(at, LEAF_OF));
    const table = guest != 0 ? guest : tableContent(load<u32>(sp, SP_GFN));
    if (table == 0) continue;
    const gptep = table + (sptep & 0xff8);
    store<u32>(to, <u32>gptep);
    to += 4;
    queue = push(queue, gptep);
    // What is only written holds the stores behind it up, all the same.
    queue = push(queue, <usize>load<u32>(sp, SP_TRANSLATIONS) + ((sptep & 0xff8) >> 1));
  }
  leavesEnd = to;
  queueEnd = queue;
  return <u32>((to - LEAVES) >> 2);
}

/**
 * What the faults at the guest's entries that were found look up: the host pte, in whose place in LEAVES it stands then,
 * the rmap head, the page cache.
 */
function seeHosts(): void {
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  let queue = queueEnd;
  for (let leaf = LEAVES, end = leavesEnd; leaf < end; leaf += 4) {
    const gfn = <u32>(load<u64>(<usize>load<u32>(leaf)) >> 12);
    const slot = gfnToMemslot(gfn);
    store<u32>(leaf, <u32>NO_PTE);
    if (slot == 0) continue;
    const index = gfn - load<u32>(slot, SLOT_BASE_GFN);
    const hvn: Hvn = load<u32>(slot, SLOT_HVN) + index;
    const ptep = ptepNear(mm, hvn);
    store<u32>(leaf, <u32>ptep);
    queue = push(queue, <usize>load<u32>(slot, SLOT_RMAP) + ((<usize>index) << 2));
    queue = push(queue, ptep);
    const area = areaOf(hvn);
    const file = area == 0 ? 0 : load<u32>(area, STRAIGHT_AREA_FILE);
    if (file == 0) continue;
    queue = push(queue, ptepNear(file, hvn + load<u32>(area, STRAIGHT_AREA_OFFSET)));
  }
  queueEnd = queue;
}

/** The frames and swap slots that these ptes name. */
function seePages(): void {
  let queue = queueEnd;
  for (let leaf = LEAVES, end = leavesEnd; leaf < end; leaf += 4) {
    const pte = load<u32>(<usize>load<u32>(leaf));
    if ((pte & HPTE_PRESENT) != 0) queue = push(queue, framePtr(pte >> HPTE_PFN_SHIFT));
    else if ((pte & HPTE_SWAP) != 0) queue = push(queue, slotPtr(pte >> HPTE_PFN_SHIFT));
  }
  queueEnd = queue;
}

/** What reclaim looks up of a page: the host pte, the rmap head, the page cache. */
function seePage(page: usize, slot: usize): void {
  const flags = load<u32>(page, FRAME_FLAGS);
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  let queue = queueEnd;
  if ((((flags >> PG_MM_SHIFT) ^ mm) | (flags & (PG_MULTIMAP | PG_HUGE))) != 0) return;
  const hvn = load<u32>(page, FRAME_RMAP);
  const index = hvn - load<u32>(slot, SLOT_HVN);
  if (index < load<u32>(slot, SLOT_NPAGES)) {
    const head = <usize>load<u32>(slot, SLOT_RMAP) + ((<usize>index) << 2);
    queue = push(queue, head);
    store<u32>(headsEnd, <u32>head);
    headsEnd += 4;
  }
  queue = push(queue, ptepNear(mm, hvn));
  const file = load<u32>(page, FRAME_MAPCOUNT) >> FRAME_FILE_SHIFT;
  if (file != 0) queue = push(queue, ptepNear(file, load<u32>(page, FRAME_PRIVATE)));
  queueEnd = queue;
}

/** Looks at the pages that FIFO and CLOCK come to in the next `faults` faults. */
function seeList(slot: usize, faults: u32): void {
  const scanned = <u32>load<u64>(STATS + ((<usize>PAGES_SCANNED) << 3));
  if (nextPfn == 0 || nextScan - scanned > PAGES_MAX) {
    nextPfn = lruTail(LRU_POLICY_FIRST);
    nextScan = scanned;
  }
  const end = scanned + faults * PAGES_EACH;
  let pfn = nextPfn;
  let left = <i32>(end - nextScan);
  for (; pfn != 0 && left > 0; left--) {
    const page = framePtr(pfn);
    seePage(page, slot);
    pfn = load<u32>(page, FRAME_LRU_PREV);
  }
  nextPfn = pfn;
  nextScan = end - left;
}

/** The sptes of these pages. */
function seeSptes(): void {
  let queue = queueEnd;
  for (let at = HEADS, end = headsEnd; at < end; at += 4) {
    // A chain's descriptor is no spte, but as good to have at hand.
    queue = push(queue, <usize>(load<u32>(<usize>load<u32>(at)) & ~7));
  }
  queueEnd = queue;
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
  seePages();
  loadQueue();
}
