// Which page a straight run's reclaim takes next: the policies that the core knows, one beside the
// other (STRAIGHT_SCAN_*). FIFO and CLOCK are src/mm/vmscan/fifo.ts and clock.ts over again; the two
// lists are those of the host's policy (assembly/mm/two_list.ts).

import {
  FRAME_RMAP,
  HPTE_YOUNG,
  LRU_ACTIVE_FILE,
  LRU_INACTIVE_ANON,
  LRU_POLICY_FIRST,
  SCAN_SHRINK_SLAB,
  STRAIGHT_MM,
  STRAIGHT_SCAN,
  STRAIGHT_SCAN_CLOCK,
  STRAIGHT_SCAN_TWO_LIST,
  VERDICT_RECLAIM,
} from '../abi';
import { lookAtOldest } from '../ahead';
import { framePtr } from '../mm/frame';
import { lruIsolate, lruVerdict } from '../mm/isolate';
import { countRotated, lruRotate, lruRotateOldest, lruSize, lruTail } from '../mm/lru';
import { mappedPmdp, ptepAt } from '../mm/pte';
import { twoListBegin, twoListDone, twoListJudge, twoListKeep, twoListNext } from '../mm/two_list';
import { Pfn } from '../types';
import { STRAIGHT } from './config';
import { evictPage, isEvictable } from './evict';
import { accountKnown } from './known_counts';
import { lookAtFrame } from './known_look';
import { askPlain, countAsked, plainHead } from './plain';
import { looking } from './plain_rules';
import { pageReferenced } from './referenced';

/** Pages that FIFO and CLOCK may still look at in this run. */
let left: u32 = 0;

/** Whether the policy is the two lists; it is FIFO or CLOCK otherwise. */
export function isTwoList(): bool {
  return load<u32>(STRAIGHT, STRAIGHT_SCAN) == STRAIGHT_SCAN_TWO_LIST;
}

/** A run begins that is to free `target` pages. */
export function scanBegin(target: u32): void {
  if (isTwoList()) {
    for (let list = LRU_INACTIVE_ANON; list <= LRU_ACTIVE_FILE; list++) lookAtOldest(list, target);
    twoListBegin(target);
  } else {
    left = 2 * lruSize(LRU_POLICY_FIRST) + 1;
  }
}

/** Whether the run may end here. */
export function scanMayStop(): bool {
  return !isTwoList() || twoListDone() != 0;
}

/** Pages that evictPlain() asked, and that went round. */
let asked: u32 = 0;
let rotated: u32 = 0;

/**
 * Evicts FIFO's or CLOCK's next page while pages are plain (mayBePlain()): exactNext() and what follows it. False:
 * the oldest page is to go that way.
 */
export function evictPlain(): bool {
  asked = 0;
  rotated = 0;
  const evicted = evictNextPlain(load<u32>(STRAIGHT, STRAIGHT_SCAN) == STRAIGHT_SCAN_CLOCK);
  countAsked(asked);
  countRotated(rotated);
  if (looking) accountKnown();
  return evicted;
}

function evictNextPlain(asks: bool): bool {
  for (; left != 0; left--) {
    const pfn = lruTail(LRU_POLICY_FIRST);
    if (pfn == 0) return false;
    const page = framePtr(pfn);
    if (asks && looking && lookAtFrame(pfn, page)) continue;
    const head = plainHead(page);
    if (head == 0) return false;
    const hvn = load<u32>(page, FRAME_RMAP);
    const pmdp = mappedPmdp(load<u32>(STRAIGHT, STRAIGHT_MM), hvn);
    const ptep = ptepAt(pmdp, hvn);
    // A young page is not evicted, whatever it is.
    const young = asks ? load<u32>(ptep) & HPTE_YOUNG : 0;
    if (young == 0 && !isEvictable(page, head)) return false;
    if (asks) {
      asked++;
      if (askPlain(page, hvn, ptep, head)) {
        if (lruRotateOldest(pfn, page)) rotated++;
        continue;
      }
    }
    left--;
    evictPage(pfn, page, hvn, pmdp, ptep, head);
    return true;
  }
  return false;
}

/**
 * FIFO's or CLOCK's next page off its list, which is to be reclaimed: CLOCK's young pages went round. They are asked
 * on their list, which neither the pte nor the ageing in KVM looks at.
 */
function exactNext(): Pfn {
  const asks = load<u32>(STRAIGHT, STRAIGHT_SCAN) == STRAIGHT_SCAN_CLOCK;
  for (; left != 0; left--) {
    const pfn = lruTail(LRU_POLICY_FIRST);
    if (pfn == 0) return 0;
    if (asks && pageReferenced(pfn) != 0) {
      lruRotate(pfn);
      continue;
    }
    left--;
    lruIsolate(pfn);
    return pfn;
  }
  return 0;
}

/** Takes the next page off its list, with a reference; 0: no more this run. */
export function scanNext(): Pfn {
  if (!isTwoList()) return exactNext();
  // The host has no kernel objects to shrink, or its reclaim would not be straight.
  let pfn = twoListNext();
  while (pfn == SCAN_SHRINK_SLAB) pfn = twoListNext();
  return pfn;
}

/** VERDICT_* of a page that scanNext() took. */
export function scanJudge(pfn: Pfn): u32 {
  return isTwoList() ? twoListJudge(pfn, pageReferenced(pfn)) : VERDICT_RECLAIM;
}

/** The page was not freed. */
export function scanKeep(pfn: Pfn, verdict: u32): void {
  if (isTwoList()) twoListKeep(pfn, verdict);
  else lruVerdict(pfn, verdict);
}
