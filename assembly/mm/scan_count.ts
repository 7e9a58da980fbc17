// How many pages of each list reclaim looks at (mm/vmscan.c, 6.1: prepare_scan_count, get_scan_count,
// inactive_is_low, and the end of shrink_lruvec's loop). Judged by the statistics of the group as they
// were flushed last, but for the sizes of the lists themselves.
//
//   lists in order of LRU_*: inactive anonymous, active anonymous, inactive file, active file

import {
  CLOCK_NOW,
  LRU_ACTIVE_ANON,
  LRU_ACTIVE_FILE,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
} from '../abi';
import { CLOCK } from './device';
import { lruSize } from './lru';
import { lruCost, memcgFlushForReclaim, memcgStat } from './memcg';
import { swapTotal, swapUsed } from './swap';

/** The statistics are flushed every two seconds in any case (FLUSH_TIME), ns. */
const FLUSH_TIME: f64 = 2e9;
/** vm.swappiness goes from 0 to this. */
const SWAPPINESS_MAX: u32 = 200;
const ANON: u32 = LRU_INACTIVE_ANON;
const FILE: u32 = LRU_INACTIVE_FILE;
const ACTIVE: u32 = 1;
/** memcgStat(): WORKINGSET_ACTIVATE of anonymous and of file pages. */
const STAT_REFAULTS: u32 = 4;
/** Pages of 4 KiB in a gigabyte, as a shift. */
const GIGABYTE_SHIFT: u32 = 18;

/** Pages still to scan of each list, and at the start of the priority. */
const LEFT: usize = memory.data(16, 4);
const TARGETS: usize = memory.data(16, 4);

let swappiness: u32 = 0;
/** May pages of active lists be deactivated. */
let deactivatesAnon: bool = false;
let deactivatesFile: bool = false;
/** Inactive file pages alone are enough (cache_trim_mode). */
let trimsCache: bool = false;
/** WORKINGSET_ACTIVATE at the end of the last run (snapshot_refaults). */
let refaultsAnon: u32 = 0;
let refaultsFile: u32 = 0;
/** When the statistics were flushed last because of the time. */
let flushedAt: f64 = 0;
/** They are flushed before each run of reclaim. */
let alwaysDue: bool = false;

/** Sets vm.swappiness, and whether the timer that flushes the statistics is always taken to be due. */
export function scanCountInit(value: u32, fresh: bool): void {
  swappiness = value;
  alwaysDue = fresh;
}

/** Pages of a list that are still to be scanned. */
export function scanLeft(list: u32): u32 {
  return load<u32>(LEFT + ((<usize>list) << 2));
}

/** Says how many are left. */
export function setScanLeft(list: u32, pages: u32): void {
  store<u32>(LEFT + ((<usize>list) << 2), pages);
}

function targetOf(list: u32): u32 {
  return load<u32>(TARGETS + ((<usize>list) << 2));
}

/** Whether pages of the active list may be deactivated now. */
export function mayDeactivate(list: u32): bool {
  return list >= FILE ? deactivatesFile : deactivatesAnon;
}

/** Square root of the inactive ratio's gigabytes: 1 below one. */
function inactiveRatio(pages: u32): u32 {
  const gigabytes = pages >> GIGABYTE_SHIFT;
  return gigabytes > 0 ? <u32>Math.sqrt(<f64>(10 * gigabytes)) : 1;
}

/** inactive_is_low() for the lists of a kind, given its inactive one. */
export function inactiveIsLow(kind: u32): bool {
  const inactive = memcgStat(kind);
  const active = memcgStat(kind + ACTIVE);
  return <u64>inactive * <u64>inactiveRatio(inactive + active) < <u64>active;
}

/** What the kernel's timer would have flushed meanwhile, and mem_cgroup_flush_stats(). */
function flushStats(): void {
  const now = load<f64>(CLOCK, CLOCK_NOW);
  const due = alwaysDue || now - flushedAt >= FLUSH_TIME;
  if (due) flushedAt = now;
  memcgFlushForReclaim(due);
}

/** prepare_scan_count(): may the active lists be scanned at all. `force`: they may. */
export function prepareScanCount(priority: u32, force: bool): void {
  flushStats();
  const anon = memcgStat(STAT_REFAULTS) != refaultsAnon;
  const file = memcgStat(STAT_REFAULTS + 1) != refaultsFile;
  deactivatesAnon = force || anon || inactiveIsLow(ANON);
  deactivatesFile = force || file || inactiveIsLow(FILE);
  trimsCache = memcgStat(LRU_INACTIVE_FILE) >> priority != 0 && !deactivatesFile;
}

/** snapshot_refaults(), at the end of a run. */
export function snapshotRefaults(): void {
  refaultsAnon = memcgStat(STAT_REFAULTS);
  refaultsFile = memcgStat(STAT_REFAULTS + 1);
}

/** By which share of their size the lists of a kind are scanned, and the sum of both shares. */
let share: u64 = 0;
let shares: u64 = 0;

/** Sets them for file pages or anonymous ones, by what reclaim of each kind cost so far. */
function weigh(file: bool): void {
  const anonCost = <u64>lruCost(0);
  const fileCost = <u64>lruCost(1);
  const anonWeight = anonCost + fileCost + anonCost;
  const fileWeight = anonCost + fileCost + fileCost;
  const sum = anonWeight + fileWeight + 1;
  const anonShare = (<u64>swappiness * sum) / (anonWeight + 1);
  const fileShare = (<u64>(SWAPPINESS_MAX - swappiness) * sum) / (fileWeight + 1);
  share = file ? fileShare : anonShare;
  shares = anonShare + fileShare;
}

/** get_scan_count(): what this priority looks at of each list. */
export function getScanCount(priority: u32): void {
  const onlyFile = swapUsed() >= swapTotal() || swappiness == 0 || (priority != 0 && trimsCache);
  for (let list = LRU_INACTIVE_ANON; list <= LRU_ACTIVE_FILE; list++) {
    let scan = lruSize(list) >> priority;
    const file = list >= FILE;
    // A short list has nothing to scan at most priorities.
    if (scan != 0 && onlyFile) scan = file ? scan : 0;
    else if (scan != 0 && priority != 0) {
      weigh(file);
      scan = <u32>((<u64>scan * share) / shares);
    }
    setScanLeft(list, scan);
    store<u32>(TARGETS + ((<usize>list) << 2), scan);
  }
}

/** Active anonymous pages alone do not keep the loop of shrink_lruvec() going. */
export function moreToScan(): bool {
  return (
    (scanLeft(LRU_INACTIVE_ANON) | scanLeft(LRU_INACTIVE_FILE) | scanLeft(LRU_ACTIVE_FILE)) != 0
  );
}

/**
 * Enough is reclaimed: the smaller kind is left alone, the larger scanned in proportion. False: one of
 * them is done already, and so is the priority.
 */
export function balanceRest(): bool {
  const file = scanLeft(LRU_INACTIVE_FILE) + scanLeft(LRU_ACTIVE_FILE);
  const anon = scanLeft(LRU_INACTIVE_ANON) + scanLeft(LRU_ACTIVE_ANON);
  if (file == 0 || anon == 0) return false;
  const smaller = file > anon ? ANON : FILE;
  const larger = file > anon ? FILE : ANON;
  const wanted = targetOf(smaller) + targetOf(smaller + ACTIVE) + 1;
  const percentage = (<u64>min<u32>(file, anon) * 100) / <u64>wanted;
  for (let list = larger; list <= larger + ACTIVE; list++) {
    const target = targetOf(list);
    const done = target - scanLeft(list);
    const left = <u32>((<u64>target * (100 - percentage)) / 100);
    setScanLeft(list, left - min<u32>(left, done));
  }
  setScanLeft(smaller, 0);
  setScanLeft(smaller + ACTIVE, 0);
  return true;
}
