// A run of reclaim, and direct reclaim for a page that is to be charged, where nothing can come between
// their steps. The protocols are src/mm/vmscan/shrink.ts and src/mm/host.ts: tryCharge.

import {
  RECLAIM_ROUNDS,
  STRAIGHT_CLUSTER,
  STRAIGHT_LIMIT,
  STRAIGHT_RECLAIMS,
  VERDICT_RECLAIM,
} from '../abi';
import { ALLOCSTALL, OOM_KILLS, PAGES_SCANNED, PGSCAN_DIRECT, PGSTEAL_DIRECT } from '../counters';
import { framesCharged } from '../mm/frame';
import { memcgDrainStock } from '../mm/memcg';
import { bump, bumpBy, counterOf } from '../stats';
import { disturb } from '../mmu/settled_table';
import { STRAIGHT } from './config';
import { noteFault } from './absent_page';
import { accountKnown } from './known_counts';
import { mayBePlain } from './plain';
import { looking } from './plain_rules';
import { FREED, reclaimPage } from './reclaim';
import {
  evictPlain,
  isTwoList,
  scanBegin,
  scanJudge,
  scanKeep,
  scanMayStop,
  scanNext,
} from './scan';

/** Whether the core may reclaim, now. */
export function mayReclaim(): bool {
  return load<u32>(STRAIGHT, STRAIGHT_RECLAIMS) != 0;
}

/** Pages that may be charged. */
export function straightLimit(): u32 {
  return load<u32>(STRAIGHT, STRAIGHT_LIMIT);
}

/** Frees `target` pages if it can, as FIFO's and CLOCK's are `plain`; how many were freed. */
function shrink(target: u32, plain: bool): u32 {
  let freed: u32 = 0;
  scanBegin(target);
  while (freed < target || !scanMayStop()) {
    if (plain && evictPlain()) {
      freed++;
      continue;
    }
    noteFault();
    const pfn = scanNext();
    if (pfn == 0) break;
    let verdict = scanJudge(pfn);
    if (verdict == VERDICT_RECLAIM) verdict = reclaimPage(pfn);
    if (verdict == FREED) freed++;
    else scanKeep(pfn, verdict);
  }
  return freed;
}

/** Frees `target` pages if it can; how many were freed. */
export function straightShrink(target: u32): u32 {
  // The host may have done anything before.
  disturb();
  return shrink(target, !isTwoList() && mayBePlain());
}

/** try_charge at the limit: makes room for one more page. False: the OOM killer found nothing to free. */
export function makeRoom(): bool {
  return makeRoomBy(!isTwoList() && mayBePlain());
}

/** The same where pages may be plain (mayBePlain()). */
export function makeRoomPlainly(): bool {
  return makeRoomBy(!isTwoList());
}

function makeRoomBy(plain: bool): bool {
  const target = load<u32>(STRAIGHT, STRAIGHT_CLUSTER);
  if (looking) accountKnown();
  let drained = false;
  for (let round: u32 = 0; round < RECLAIM_ROUNDS;) {
    const scanned = counterOf(PAGES_SCANNED);
    bump(ALLOCSTALL);
    const freed = shrink(target, plain);
    bumpBy(PGSCAN_DIRECT, <u32>(counterOf(PAGES_SCANNED) - scanned));
    bumpBy(PGSTEAL_DIRECT, freed);
    if (framesCharged() < straightLimit()) return true;
    if (!drained) {
      memcgDrainStock();
      drained = true;
    } else if (freed == 0) {
      round++;
    }
  }
  bump(OOM_KILLS);
  return false;
}
