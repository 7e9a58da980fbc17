// What the next faults will read, loaded early and together. A fault with its reclaim reads a dozen words
// that lie far apart (tables of the guest, of KVM and of the host, the page cache, reverse maps), and
// where these tables exceed the caches nearly each is a miss, one after the other. The addresses of the
// next ones are known before they are needed: from the records that follow in the batch, and from the
// page list that reclaim takes its pages from. Loads that do not wait for each other overlap.
//
// Nothing here has an effect on the machine: what is loaded is thrown away.

import {
  FRAME_FILE_SHIFT,
  FRAME_FLAGS,
  FRAME_LRU_PREV,
  FRAME_MAPCOUNT,
  FRAME_PRIVATE,
  FRAME_RMAP,
  LRU_POLICY_FIRST,
  PG_MM_SHIFT,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_NPAGES,
  SLOT_RMAP,
  SP_GFN,
  STRAIGHT_AREA_FILE,
  STRAIGHT_AREA_OFFSET,
  STRAIGHT_LIMIT,
  STRAIGHT_MM,
  STRAIGHT_ON,
} from '../abi';
import { PAGES_SCANNED } from '../counters';
import { framePtr } from '../mm/frame';
import { lruTail } from '../mm/lru';
import { leafPmdp, ptepAt } from '../mm/pte';
import { isMappedOnce } from '../mm/rmap';
import { gfnToMemslot, gfnToRmap } from '../mmu/memslot';
import { spteIndex, sptepToSp } from '../mmu/shadow_page';
import { commonLeaf } from '../mmu/shadow_walk';
import { tableContent } from '../mmu/walk_cache';
import { STATS } from '../stats';
import { Gfn, Hvn, Pfn, Sptep } from '../types';
import { isGuestMm, STRAIGHT, straightArea } from './config';
import { isTwoList } from './scan';

/** Takes what is loaded, so that no compiler leaves it out; also what stands for "no address". */
const SINK: usize = memory.data(8, 8);
/** Below so many pages of memory the tables fit the caches. */
const LIMIT_MIN: u32 = 8192;
/** Pages of the list that are looked at ahead of reclaim, and at most in one fault. */
const DISTANCE: u32 = 6;
const STEP_MAX: u32 = 4;
/** Rmap heads of the last pages looked at: their sptes come later. */
const HEADS: usize = memory.data(16, 4);
const HEADS_MASK: u32 = 3;

/** Record whose entries the last call found. */
let seenRecord: u64 = 0;
let seenSptep: Sptep = 0;
let seenGptep: usize = 0;
/** Next page of the list, and how many pages will have been scanned when it is. */
let nextPfn: Pfn = 0;
let nextScan: u32 = 0;

/** Address of the guest's entry that a leaf spte shadows. */
function gptepOf(sptep: Sptep): usize {
  if (sptep == SINK) return SINK;
  const table = tableContent(load<u32>(sptepToSp(sptep), SP_GFN));
  return table == 0 ? SINK : table + ((<usize>spteIndex(sptep)) << 3);
}

/** Finds the entries of the shadow table and of the guest's for a record. */
function seeRecord(vcpu: usize, record: u64): void {
  const sptep = commonLeaf(vcpu, record);
  seenRecord = record;
  seenSptep = sptep == 0 ? SINK : sptep;
  seenGptep = gptepOf(seenSptep);
}

/** Address of the entry of a host page table, or of the page cache. */
function entryOf(mm: u32, page: u32): usize {
  const pmdp = leafPmdp(mm, page);
  return pmdp == 0 ? SINK : ptepAt(pmdp, page);
}

/** Addresses of what will be loaded, at most 25, and their end. */
const QUEUE: usize = memory.data(128, 64);
let queueEnd: usize = QUEUE;

function push(at: usize): void {
  store<u32>(queueEnd, <u32>at);
  queueEnd += 4;
}

/** Loads from all addresses of the queue: none of the loads waits for another. */
function loadAll(): void {
  let sum: u32 = 0;
  for (let at = QUEUE; at < queueEnd; at += 4) sum += load<u32>(<usize>load<u32>(at));
  store<u32>(SINK, sum);
  queueEnd = QUEUE;
}

/** What a fault at a gfn looks up by then: the host pte, the rmap head, the page cache. */
function seeHost(slot: usize, gfn: Gfn): void {
  const hvn: Hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  push(entryOf(load<u32>(STRAIGHT, STRAIGHT_MM), hvn));
  push(gfnToRmap(slot, gfn, 1));
  const area = straightArea(hvn);
  if (area == 0) return;
  const file = load<u32>(area, STRAIGHT_AREA_FILE);
  if (file != 0) push(entryOf(file, hvn + load<u32>(area, STRAIGHT_AREA_OFFSET)));
}

/** What reclaim looks up of a page: the host pte, the rmap head, the page cache, and of a page that was
 *  seen before the spte. */
function seePage(page: usize, slot: usize): void {
  let head = SINK;
  if (isMappedOnce(page) && isGuestMm(load<u32>(page, FRAME_FLAGS) >> PG_MM_SHIFT)) {
    const hvn = load<u32>(page, FRAME_RMAP);
    push(entryOf(load<u32>(STRAIGHT, STRAIGHT_MM), hvn));
    const index = hvn - load<u32>(slot, SLOT_HVN);
    if (index < load<u32>(slot, SLOT_NPAGES)) {
      head = <usize>load<u32>(slot, SLOT_RMAP) + ((<usize>index) << 2);
      push(head);
    }
    const file = load<u32>(page, FRAME_MAPCOUNT) >> FRAME_FILE_SHIFT;
    if (file != 0) push(entryOf(file, load<u32>(page, FRAME_PRIVATE)));
  }
  const place = HEADS + ((<usize>(nextScan & HEADS_MASK)) << 2);
  const before = <usize>load<u32>(place);
  store<u32>(place, <u32>head);
  // A chain's descriptor is no spte, but as good to have at hand.
  if (before != 0) push(<usize>(load<u32>(before) & ~7));
}

/** Looks at the pages that FIFO and CLOCK come to soon. */
function seeList(slot: usize): void {
  const scanned = <u32>load<u64>(STATS + ((<usize>PAGES_SCANNED) << 3));
  if (nextPfn == 0 || nextScan - scanned > DISTANCE) {
    nextPfn = lruTail(LRU_POLICY_FIRST);
    nextScan = scanned;
  }
  for (let i: u32 = 0; i < STEP_MAX && nextPfn != 0 && nextScan - scanned < DISTANCE; i++) {
    const page = framePtr(nextPfn);
    seePage(page, slot);
    nextPfn = load<u32>(page, FRAME_LRU_PREV);
    push(framePtr(nextPfn));
    nextScan++;
  }
}

/** At a fault of the record at `at` in a batch that ends at `end`. */
export function touchAhead(vcpu: usize, at: usize, end: usize): void {
  if (load<u32>(STRAIGHT, STRAIGHT_LIMIT) < LIMIT_MIN) return;
  if (load<u32>(STRAIGHT, STRAIGHT_ON) == 0 || at + 16 >= end) return;
  const record = load<u64>(at, 8);
  if (record != seenRecord) seeRecord(vcpu, record);
  if (seenSptep != SINK && load<u64>(seenSptep) == 0) {
    const gfn = <u32>(load<u64>(seenGptep) >> 12);
    const slot = gfnToMemslot(gfn);
    if (slot != 0) {
      seeHost(slot, gfn);
      if (!isTwoList()) seeList(slot);
    }
  }
  seeRecord(vcpu, load<u64>(at, 16));
  push(seenSptep);
  push(seenGptep);
  loadAll();
}
