// Which page a straight run's reclaim takes next: the policies that the core knows, one beside the
// other (STRAIGHT_SCAN_*). FIFO and CLOCK are src/mm/vmscan/fifo.ts and clock.ts over again; the two
// lists are those of the host's policy (assembly/mm/two_list.ts).

import {
  LRU_POLICY_FIRST,
  SCAN_SHRINK_SLAB,
  STRAIGHT_SCAN,
  STRAIGHT_SCAN_CLOCK,
  STRAIGHT_SCAN_FIFO,
  STRAIGHT_SCAN_TWO_LIST,
  VERDICT_RECLAIM,
  VERDICT_ROTATE,
} from '../abi';
import { lruIsolateTail, lruSize, lruVerdict } from '../mm/lru';
import { twoListBegin, twoListDone, twoListJudge, twoListKeep, twoListNext } from '../mm/two_list';
import { Pfn } from '../types';
import { STRAIGHT } from './config';

/** Pages that FIFO and CLOCK may still look at in this run. */
let left: u32 = 0;

function isTwoList(): bool {
  return load<u32>(STRAIGHT, STRAIGHT_SCAN) == STRAIGHT_SCAN_TWO_LIST;
}

/** A run begins that is to free `target` pages. */
export function scanBegin(target: u32): void {
  if (isTwoList()) twoListBegin(target);
  else left = 2 * lruSize(LRU_POLICY_FIRST) + 1;
}

/** Whether the run may end here. */
export function scanMayStop(): bool {
  return !isTwoList() || twoListDone() != 0;
}

/** Takes the next page off its list, with a reference; 0: no more this run. */
export function scanNext(): Pfn {
  if (!isTwoList()) {
    if (left == 0) return 0;
    left--;
    return lruIsolateTail(LRU_POLICY_FIRST);
  }
  // The host has no kernel objects to shrink, or its reclaim would not be straight.
  let pfn = twoListNext();
  while (pfn == SCAN_SHRINK_SLAB) pfn = twoListNext();
  return pfn;
}

/** Whether pages are tested for young before they are judged. */
export function scanAsks(): bool {
  return load<u32>(STRAIGHT, STRAIGHT_SCAN) != STRAIGHT_SCAN_FIFO;
}

/** VERDICT_* of a page of which `referenced` mappings were young. */
export function scanJudge(pfn: Pfn, referenced: u32): u32 {
  if (isTwoList()) return twoListJudge(pfn, referenced);
  const clock = load<u32>(STRAIGHT, STRAIGHT_SCAN) == STRAIGHT_SCAN_CLOCK;
  return clock && referenced != 0 ? VERDICT_ROTATE : VERDICT_RECLAIM;
}

/** The page was not freed. */
export function scanKeep(pfn: Pfn, verdict: u32): void {
  if (isTwoList()) twoListKeep(pfn, verdict);
  else lruVerdict(pfn, verdict);
}
