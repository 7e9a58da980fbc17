// Linux's active and inactive lists, as the host's policy sees them: the scan of 2.6.24 (zone.ts) or of
// 6.1 (lruvec.ts), and what a page gets that was asked for young. In 2.6.24 a referenced page goes back
// to (or onto) the active list; in 6.1 active pages are deactivated whether referenced or not, and an
// inactive page must be referenced twice to be activated.

import {
  PG_REFERENCED,
  PG_WORKINGSET,
  VERDICT_ACTIVATE,
  VERDICT_DEACTIVATE,
  VERDICT_KEEP,
  VERDICT_RECLAIM,
  VERDICT_ROTATE,
} from '../abi';
import { Pfn } from '../types';
import { lruVerdict } from './isolate';
import { lruSetFlags, testClearReferenced } from './lru';
import {
  lruvecActive,
  lruvecBegin,
  lruvecDone,
  lruvecInit,
  lruvecJoin,
  lruvecKeep,
  lruvecNext,
  lruvecRefKept,
} from './lruvec';
import { scanCountInit } from './scan_count';
import { zoneActive, zoneBegin, zoneDone, zoneInit, zoneNext } from './zone';

/** Anonymous and file pages have lists of their own, and with them the scan of 6.1. */
let splitLists: bool = false;
/** A referenced page must be seen twice before it is activated. */
let lookTwice: bool = false;

/** Sets the era's rules, vm.swappiness and the pages of a batch (32 at most). */
export function twoListInit(
  split: u32,
  twice: u32,
  swappiness: u32,
  cluster: u32,
  fresh: u32,
): void {
  splitLists = split != 0;
  lookTwice = twice != 0;
  scanCountInit(swappiness, fresh != 0);
  lruvecInit(cluster);
  zoneInit(cluster);
}

/** A run begins that is to free `target` pages. */
export function twoListBegin(target: u32): void {
  if (splitLists) lruvecBegin(target);
  else zoneBegin();
}

/** 1 when the run may end here. */
export function twoListDone(): u32 {
  return (splitLists ? lruvecDone() : zoneDone()) ? 1 : 0;
}

/** The next page off its list, with a reference; 0: no more this run; or SCAN_SHRINK_SLAB. */
export function twoListNext(): Pfn {
  return splitLists ? lruvecNext() : zoneNext();
}

/** VERDICT_* of a page of which `referenced` mappings were young. */
export function twoListJudge(pfn: Pfn, referenced: u32): u32 {
  const active = splitLists ? lruvecActive() : zoneActive();
  if (!lookTwice) {
    const seen = referenced + testClearReferenced(pfn);
    if (active) return seen != 0 ? VERDICT_ROTATE : VERDICT_DEACTIVATE;
    return seen != 0 ? VERDICT_ACTIVATE : VERDICT_RECLAIM;
  }
  if (!active) {
    const verdict = checkReferences(pfn, referenced);
    if (verdict == VERDICT_KEEP) lruvecRefKept(pfn);
    return verdict;
  }
  lruSetFlags(pfn, PG_WORKINGSET, 0);
  return VERDICT_DEACTIVATE;
}

/** The huge page that twoListNext() gave was split: its other frames, isolated too, are looked at next. */
export function twoListJoin(head: Pfn): void {
  assert(splitLists, 'huge pages came after the split of the lists');
  lruvecJoin(head);
}

/** The page that twoListNext() gave was not freed. */
export function twoListKeep(pfn: Pfn, verdict: u32): void {
  if (splitLists) lruvecKeep(pfn, verdict);
  else lruVerdict(pfn, verdict);
}

/** folio_check_references() of 6.1: VERDICT_* of an inactive page. */
export function checkReferences(pfn: Pfn, referenced: u32): u32 {
  const before = testClearReferenced(pfn);
  if (referenced == 0) return VERDICT_RECLAIM;
  lruSetFlags(pfn, PG_REFERENCED, 0);
  return before == 1 || referenced > 1 ? VERDICT_ACTIVATE : VERDICT_KEEP;
}
