// Reclaim of one lruvec as Linux 6.1 does it (mm/vmscan.c: do_try_to_free_pages, shrink_lruvec,
// shrink_active_list, shrink_inactive_list). It is a state machine, since a page is asked for at a time: a
// batch is taken off a list at once, as isolate_lru_folios() does, and handed out page by page. What
// becomes of a page is its caller's.
//
// Invariant: of the batch, the pages that were handed out and are neither kept nor freed are the caller's.

import {
  DEF_PRIORITY,
  EVENT_VMSCAN_LRU_ISOLATE,
  EVENT_VMSCAN_LRU_SHRINK_ACTIVE,
  EVENT_VMSCAN_LRU_SHRINK_INACTIVE,
  FRAME_FLAGS,
  HPAGE_PMD_NR,
  LRU_ACTIVE_ANON,
  LRU_ACTIVE_FILE,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
  PG_SWAPBACKED,
  SCAN_SHRINK_SLAB,
  SLAB_PRIORITY,
  VERDICT_ACTIVATE,
} from '../abi';
import { FILE_WRITEBACKS, SWAP_OUTS } from '../counters';
import { trace } from '../events';
import { counterOf } from '../stats';
import { Pfn } from '../types';
import { folioPages, framePtr } from './frame';
import {
  lruIsolateBatch,
  lruIsolated,
  lruIsolatedPages,
  lruJoinBatch,
  lruVerdict,
} from './isolate';
import { lruAddDrain } from './lru_add';
import { lruNoteCost, memcgGather, memcgUpdated } from './memcg';
import {
  balanceRest,
  getScanCount,
  inactiveIsLow,
  mayDeactivate,
  moreToScan,
  prepareScanCount,
  scanLeft,
  setScanLeft,
  snapshotRefaults,
} from './scan_count';

const ACTIVE: u32 = 1;

/** Where the scan goes on. */
const PHASE_PRIORITY: u32 = 0;
const PHASE_LISTS: u32 = 1;
const PHASE_REBALANCE: u32 = 2;
const PHASE_SLAB: u32 = 3;
const PHASE_PRIORITY_END: u32 = 4;
const PHASE_DONE: u32 = 5;

let cluster: u32 = 0;
let phase: u32 = PHASE_DONE;
let priority: u32 = 0;
let target: u32 = 0;
let reclaimed: u32 = 0;
/** `reclaimed` when the priority began. */
let before: u32 = 0;
/** Active lists are scanned whatever the statistics say, since all else was in vain. */
let force: bool = false;
/** An active list was left out. */
let skipped: bool = false;
/** Next list of the round. */
let at: u32 = 0;

/** The batch in hand: its list, its pages, how many were handed out and how many are kept. */
let from: u32 = 0;
let taken: u32 = 0;
let given: u32 = 0;
let kept: u32 = 0;
/** The same in small pages: a huge page is one page of a batch, and counts as 512. */
let pages: u32 = 0;
let keptPages: u32 = 0;
/** Of kept ones: small pages that are activated, anonymous and of files, and that were found referenced. */
let activatedAnon: u32 = 0;
let activatedFile: u32 = 0;
let refKept: u32 = 0;
/** Small pages that could not be unmapped: freed lazily, but written since. */
let unmapFailed: u32 = 0;
/** (pfn, verdict) of what is kept: as many as a batch may become (isolate.ts). */
const KEPT: usize = memory.data(4352, 4);
let pagedOutBefore: u64 = 0;

/** Sets the pages of a batch. */
export function lruvecInit(batch: u32): void {
  cluster = batch;
}

/** try_to_free_mem_cgroup_pages: a run that is to free `pages` begins. */
export function lruvecBegin(pages: u32): void {
  phase = PHASE_PRIORITY;
  priority = DEF_PRIORITY;
  target = pages;
  reclaimed = 0;
  force = false;
  skipped = false;
  resetBatch();
}

/** Whether the run is over: a batch and a round are never left half done. */
export function lruvecDone(): bool {
  return phase == PHASE_DONE;
}

/** Whether the page in hand came off an active list. */
export function lruvecActive(): bool {
  return (from & ACTIVE) != 0;
}

/** The next page, or 0 at the end of the run; SCAN_SHRINK_SLAB: first the host's shrink_slab(). */
export function lruvecNext(): Pfn {
  while (true) {
    if (given < taken) {
      const next = given++;
      return load<u32>(lruIsolated() + ((<usize>next) << 2));
    }
    finishBatch();
    if (phase == PHASE_SLAB) {
      phase = PHASE_PRIORITY_END;
      if (priority <= SLAB_PRIORITY) return SCAN_SHRINK_SLAB;
    }
    if (!advance()) return 0;
  }
}

/** A page of the batch was not freed: it goes back with the others at the end of the batch. */
export function lruvecKeep(pfn: Pfn, verdict: u32): void {
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  const size = folioPages(flags);
  keptPages += size;
  if (verdict == VERDICT_ACTIVATE) {
    memcgUpdated(size);
    if (flags & PG_SWAPBACKED) activatedAnon += size;
    else activatedFile += size;
    if (flags & PG_SWAPBACKED && isFile() != 0) unmapFailed += size;
  }
  const entry = KEPT + ((<usize>kept) << 3);
  store<u32>(entry, pfn);
  store<u32>(entry, verdict, 4);
  kept++;
}

/** A page of the batch is kept for a reference (PAGEREF_KEEP). */
export function lruvecRefKept(pfn: Pfn): void {
  refKept += folioPages(load<u32>(framePtr(pfn), FRAME_FLAGS));
}

/** The huge page in hand was split: its other frames, held as it is, are looked at after the rest of the batch. */
export function lruvecJoin(head: Pfn): void {
  for (let i: u32 = 1; i < HPAGE_PMD_NR; i++) lruJoinBatch(head + i, taken++);
}

/** Goes on to the next call of shrink_list(); false: the run is over. */
function advance(): bool {
  while (true) {
    switch (phase) {
      case PHASE_PRIORITY:
        prepareScanCount(priority, force);
        getScanCount(priority);
        at = LRU_INACTIVE_ANON;
        before = reclaimed;
        phase = moreToScan() ? PHASE_LISTS : PHASE_REBALANCE;
        break;
      case PHASE_LISTS:
        if (nextList()) return true;
        break;
      case PHASE_REBALANCE:
        phase = PHASE_SLAB;
        if (inactiveIsLow(LRU_INACTIVE_ANON)) isolate(LRU_ACTIVE_ANON, cluster);
        return true;
      case PHASE_PRIORITY_END:
        endPriority();
        break;
      default:
        return false;
    }
  }
}

/** The loop of shrink_lruvec(): one list after the other; true when a batch was taken. */
function nextList(): bool {
  while (at <= LRU_ACTIVE_FILE) {
    const list = at++;
    const left = scanLeft(list);
    if (left == 0) continue;
    const batch = min<u32>(left, cluster);
    setScanLeft(list, left - batch);
    if ((list & ACTIVE) != 0 && !mayDeactivate(list)) {
      skipped = true;
      continue;
    }
    isolate(list, batch);
    return true;
  }
  at = LRU_INACTIVE_ANON;
  if (reclaimed - before >= target && !balanceRest()) phase = PHASE_REBALANCE;
  if (!moreToScan()) phase = PHASE_REBALANCE;
  return false;
}

/** isolate_lru_folios(): takes up to `n` pages off the old end of a list. */
function isolate(list: u32, n: u32): void {
  lruAddDrain();
  taken = lruIsolateBatch(list, n);
  pages = lruIsolatedPages();
  from = list;
  pagedOutBefore = pagedOut();
  trace(EVENT_VMSCAN_LRU_ISOLATE, n, pages, list, pages);
  if (taken != 0) memcgGather(1);
  else if (lruvecActive()) traceActive(0);
}

/** The end of shrink_inactive_list() or shrink_active_list(). */
function finishBatch(): void {
  if (taken == 0) return;
  const freed = pages - keptPages;
  memcgGather(0);
  for (let i: u32 = 0; i < kept; i++) {
    const entry = KEPT + ((<usize>i) << 3);
    lruVerdict(load<u32>(entry), load<u32>(entry, 4));
  }
  // PGDEACTIVATE, or PGSTEAL.
  memcgUpdated(lruvecActive() ? keptPages : freed);
  if (lruvecActive()) {
    traceActive(keptPages);
  } else {
    reclaimed += freed;
    lruNoteCost(isFile(), <u32>(pagedOut() - pagedOutBefore), keptPages);
    traceInactive(freed);
  }
  resetBatch();
}

function resetBatch(): void {
  taken = 0;
  given = 0;
  kept = 0;
  keptPages = 0;
  activatedAnon = 0;
  activatedFile = 0;
  refKept = 0;
  unmapFailed = 0;
}

/** 1 when the batch is of file pages. */
function isFile(): u32 {
  return from >= LRU_INACTIVE_FILE ? 1 : 0;
}

/** Pages of the batch's kind that were written so far (stat.nr_pageout is a difference of it). */
function pagedOut(): u64 {
  return counterOf(isFile() != 0 ? FILE_WRITEBACKS : SWAP_OUTS);
}

function traceActive(pages: u32): void {
  trace(EVENT_VMSCAN_LRU_SHRINK_ACTIVE, pages, pages, priority, isFile());
}

function traceInactive(freed: u32): void {
  const when = priority | (isFile() << 8) | (unmapFailed << 9);
  const outcome = refKept | (activatedAnon << 10) | (activatedFile << 20);
  trace(EVENT_VMSCAN_LRU_SHRINK_INACTIVE, pages, freed, when, outcome);
}

/** Goes on with the next priority, or once more from the start, unless enough is reclaimed. */
function endPriority(): void {
  const enough = reclaimed >= target;
  const again = priority == 0 && reclaimed == 0 && skipped && !force;
  if (enough || (priority == 0 && !again)) {
    snapshotRefaults();
    phase = PHASE_DONE;
    return;
  }
  phase = PHASE_PRIORITY;
  if (!again) {
    priority--;
    return;
  }
  force = true;
  skipped = false;
  priority = DEF_PRIORITY;
}
