// Reclaim of a zone as Linux 2.6.24 does it (mm/vmscan.c: shrink_zone, shrink_active_list,
// shrink_inactive_list): one pair of lists, each scanned in proportion to its size and the priority;
// what is below a batch is carried to the next run (zone->nr_scan_active). A page is handed out at a
// time, and what becomes of it is the caller's.

import { DEF_PRIORITY, LRU_ACTIVE_ANON, LRU_INACTIVE_ANON } from '../abi';
import { Pfn } from '../types';
import { lruIsolateTail } from './isolate';
import { lruSize } from './lru';

/** Pages still to scan of each list at this priority, and those carried over; by LRU_*. */
const QUOTA: usize = memory.data(8, 4);
const CARRY: usize = memory.data(8, 4);
if (LRU_INACTIVE_ANON != 0 || LRU_ACTIVE_ANON != 1) ERROR('abi: LRU_* are in order');

let cluster: u32 = 0;
let priority: u32 = 0;
/** Lists of the round that are still to come. A round takes the active list, then the inactive one. */
let toCome: u32 = 0;
/** The batch in hand: its list, and the pages left of it. */
let from: u32 = LRU_INACTIVE_ANON;
let batch: u32 = 0;

function quotaOf(list: u32): u32 {
  return load<u32>(QUOTA + ((<usize>list) << 2));
}

function setQuota(list: u32, pages: u32): void {
  store<u32>(QUOTA + ((<usize>list) << 2), pages);
}

/** Sets the pages of a batch. */
export function zoneInit(pages: u32): void {
  cluster = pages;
}

/** A run begins. */
export function zoneBegin(): void {
  priority = DEF_PRIORITY + 1;
  setQuota(LRU_ACTIVE_ANON, 0);
  setQuota(LRU_INACTIVE_ANON, 0);
  toCome = 2;
  batch = 0;
}

/** The run may end between two batches. */
export function zoneDone(): bool {
  return batch == 0;
}

/** Whether the page in hand came off the active list. */
export function zoneActive(): bool {
  return from == LRU_ACTIVE_ANON;
}

/** The next page, or 0 at the end of the run. */
export function zoneNext(): Pfn {
  while (batch != 0 || nextBatch()) {
    batch--;
    const pfn = lruIsolateTail(from);
    if (pfn != 0) return pfn;
    batch = 0;
  }
  return 0;
}

/** Goes on to the next list of the round that has a quota, or to the next priority. */
function nextBatch(): bool {
  while (true) {
    while (toCome != 0) {
      const list = --toCome;
      const left = quotaOf(list);
      if (left == 0) continue;
      batch = min<u32>(left, cluster);
      setQuota(list, left - batch);
      from = list;
      return true;
    }
    toCome = 2;
    const some = (quotaOf(LRU_ACTIVE_ANON) | quotaOf(LRU_INACTIVE_ANON)) != 0;
    if (!some && !lowerPriority()) return false;
  }
}

/** Goes on to the next priority at which there is something to scan. */
function lowerPriority(): bool {
  while (priority != 0) {
    priority--;
    for (let list = LRU_INACTIVE_ANON; list <= LRU_ACTIVE_ANON; list++) {
      const size = lruSize(list);
      const carry = CARRY + ((<usize>list) << 2);
      const want = load<u32>(carry) + (size >> priority) + 1;
      const scan: u32 = want >= cluster ? want : 0;
      store<u32>(carry, want - scan);
      setQuota(list, min<u32>(scan, 2 * size));
    }
    if ((quotaOf(LRU_ACTIVE_ANON) | quotaOf(LRU_INACTIVE_ANON)) != 0) return true;
  }
  return false;
}
