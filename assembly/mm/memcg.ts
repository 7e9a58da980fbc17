// The statistics of the memory cgroup as reclaim reads them (cf. mm/memcontrol.c, 6.1). Each update is
// made on the CPU at once, but reclaim reads sums that are brought up to date only now and then:
// memcg_rstat_updated() counts updates, and mem_cgroup_flush_stats() adds them up once the count passed
// MEMCG_CHARGE_BATCH more than num_online_cpus() times. In between inactive_is_low(), the refault
// distance and the costs are judged by what the lists were.
//
// Until 5.13 (memcgPerItem()) nothing is flushed: each item's updates are added to its sum when they exceed a batch of
// their own (__mod_memcg_lruvec_state()), so that a sum that is read is off by a batch at most.
//
// Invariant: stat(i) is what list i (or counter of activated refaults) was at the last flush, or when its batch was full.

import { LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE } from '../abi';
import { lruSize } from './lru';

const MEMCG_CHARGE_BATCH: u32 = 64;
/** The same until 5.13: an item's updates on a CPU that are not added to its sum yet. */
const ITEM_BATCH: i32 = 32;
const ONLINE_CPUS: u32 = 1;
/** How much dearer a page that is written is than one that is looked at. */
const SWAP_CLUSTER_MAX: u32 = 32;
const KINDS: u32 = 2;

/** Not 0 when somebody reads the statistics: then updates are counted. PAGES: by the rules of 6.8 and later. */
let enabled: u32 = 0;
const PAGES: u32 = 2;
/** Updates on this CPU since the count was taken (stats_updates). */
let updates: u32 = 0;
/** Batches of updates since the last flush (stats_flush_threshold), or their sum (memcg->vmstats->stats_updates). */
let threshold: u32 = 0;

/** What was flushed: sizes of the four lists in order of LRU_*, then activated refaults. */
const FLUSHED: usize = memory.data(32, 4);
/** WORKINGSET_ACTIVATE by kind: anonymous, file. */
const ACTIVATED: usize = memory.data(8, 4);
/** lruvec->anon_cost and file_cost. */
const COST: usize = memory.data(8, 4);
if (LRU_INACTIVE_ANON != 0 || LRU_ACTIVE_ANON != 1) ERROR('abi: LRU_* are in order');
if (LRU_INACTIVE_FILE != 2 || LRU_ACTIVE_FILE != 3) ERROR('abi: LRU_* are in order');

/** Each item has a batch of its own. */
let perItem: bool = false;

/** Whether each item's updates are summed up by themselves (1), or all are flushed together (0, at first). */
export function memcgPerItem(on: u32): void {
  perItem = on != 0;
}

/** What an item is now: the size of a list, or activated refaults of a kind. */
function itemNow(i: u32): u32 {
  return i <= LRU_ACTIVE_FILE ? lruSize(i) : load<u32>(ACTIVATED + ((<usize>(i - 4)) << 2));
}

/** __mod_memcg_lruvec_state: adds up what exceeds a batch. */
function sumItems(): void {
  for (let i: u32 = 0; i < 4 + KINDS; i++) {
    const at = FLUSHED + ((<usize>i) << 2);
    const now = itemNow(i);
    if (abs<i32>(<i32>(now - load<u32>(at))) > ITEM_BATCH) store<u32>(at, now);
  }
}

/** Switches the statistics on (1; 2: by the rules of 6.8 and later) or off (0). */
export function memcgEnable(on: u32): void {
  enabled = on;
}

/** Whether the statistics are kept. */
export function memcgEnabled(): bool {
  return enabled != 0;
}

/** memcg_vmstats_needs_flush, or as many batches. */
function needsFlush(): bool {
  return threshold > (enabled == PAGES ? MEMCG_CHARGE_BATCH * ONLINE_CPUS : ONLINE_CPUS);
}

/** A charge, which is an event (PGPGIN) where control groups of the first version exist. */
export function memcgCharged(n: u32): void {
  if (enabled != PAGES) memcgUpdated(n);
}

/** memcg_rstat_updated: statistics changed by `n` in one update. */
export function memcgUpdated(n: u32): void {
  if (enabled == 0) return;
  if (perItem) {
    sumItems();
    return;
  }
  updates += n;
  if (enabled == PAGES) {
    if (updates < MEMCG_CHARGE_BATCH) return;
    if (!needsFlush()) threshold += updates;
    updates = 0;
    return;
  }
  if (updates <= MEMCG_CHARGE_BATCH) return;
  if (threshold <= ONLINE_CPUS) threshold += updates / MEMCG_CHARGE_BATCH;
  updates = 0;
}

/** mem_cgroup_flush_stats: adds up when enough changed, or (`force`, the periodic flush) in any case. */
export function memcgFlush(force: u32): void {
  if (perItem || (force == 0 && !needsFlush())) return;
  if (enabled == PAGES) updates = 0;
  for (let list: u32 = 0; list <= LRU_ACTIVE_FILE; list++) {
    store<u32>(FLUSHED + ((<usize>list) << 2), lruSize(list));
  }
  for (let kind: u32 = 0; kind < KINDS; kind++) {
    store<u32>(FLUSHED + ((<usize>kind) << 2), load<u32>(ACTIVATED + ((<usize>kind) << 2)), 16);
  }
  threshold = 0;
}

/** What reclaim does before it reads the statistics; later kernels leave that to the timer (`due`). */
export function memcgFlushForReclaim(due: bool): void {
  if (due || enabled != PAGES) memcgFlush(due ? 1 : 0);
}

/** lruvec_page_state: size of a list (LRU_*), or 4 + kind: activated refaults, at the last flush. */
export function memcgStat(i: u32): u32 {
  assert(i < 6, 'statistics are four lists and two counters');
  return load<u32>(FLUSHED + ((<usize>i) << 2));
}

/**
 * drain_all_stock: the bytes of kernel objects that the CPU's stock had gathered are folded into the
 * statistics, which are thousands: whatever was counted before, the next flush is due. By the later rules they are a page.
 */
export function memcgDrainStock(): void {
  if (enabled == 0 || perItem) return;
  if (enabled == PAGES) {
    memcgUpdated(1);
    return;
  }
  updates = 0;
  threshold = ONLINE_CPUS + 1;
}

/** Whether pages that are uncharged are gathered (a list that is freed at once), and how many were. */
let gathering: u32 = 0;
let gathered: u32 = 0;

/** mem_cgroup_uncharge_list: 1 begins to gather pages that are freed, 0 counts them in one update. */
export function memcgGather(on: u32): void {
  if (enabled == 0) return;
  gathering = on;
  if (on != 0 || gathered == 0) return;
  memcgUpdated(gathered);
  gathered = 0;
}

/** A page is freed (PGPGOUT). */
export function memcgUncharged(): void {
  if (enabled == 0 || enabled == PAGES) return;
  if (gathering != 0) gathered++;
  else memcgUpdated(1);
}

/** WORKINGSET_ACTIVATE of a kind (0 anonymous, 1 file) grows. */
export function memcgActivated(kind: u32): void {
  if (enabled == 0) return;
  const at = ACTIVATED + ((<usize>kind) << 2);
  store<u32>(at, load<u32>(at) + 1);
  memcgUpdated(1);
}

/**
 * lru_note_cost: `pages` of a kind were written out, or refaulted after they had been active, and `rotated` ones were
 * looked at in vain, which later kernels weigh, too (6.3, commit 0538a82c39e9).
 */
export function lruNoteCost(kind: u32, pages: u32, rotated: u32): void {
  if (enabled == 0) return;
  const at = COST + ((<usize>kind) << 2);
  const cost = enabled == PAGES ? pages * SWAP_CLUSTER_MAX + rotated : pages;
  store<u32>(at, load<u32>(at) + cost);
  const anon = load<u32>(COST);
  const file = load<u32>(COST, 4);
  let size: u32 = 0;
  for (let list: u32 = 0; list <= LRU_ACTIVE_FILE; list++) size += memcgStat(list);
  if (anon + file <= size >> 2) return;
  store<u32>(COST, anon >> 1);
  store<u32>(COST, file >> 1, 4);
}

/** The cost of a kind so far. */
export function lruCost(kind: u32): u32 {
  return load<u32>(COST + ((<usize>kind) << 2));
}
