// page_referenced on a straight run; the protocol is src/mm/vmscan/referenced.ts.

import {
  CONTENT_PAGE,
  FRAME_CONTENT,
  FRAME_FLAGS,
  FRAME_RMAP,
  HVN_LIMIT,
  PG_MM_SHIFT,
  RECLAIM_NO_MAPPING,
  STRAIGHT_AGES,
  STRAIGHT_ANSWER_COUNTS,
  STRAIGHT_ASK_ONLY_YOUNG,
} from '../abi';
import { isTracing } from '../events';
import { lockstepTested } from '../lockstep';
import { framePtr } from '../mm/frame';
import { outRead } from '../mm/memory';
import { hptep } from '../mm/pte';
import { isMappedOnce } from '../mm/rmap';
import { pageReferencedOne, pteReferenced } from '../mm/vmscan';
import { disturb } from '../mmu/settled_table';
import { walkCacheOn } from '../mmu/walk_cache';
import { Hvn, Pfn } from '../types';
import { STRAIGHT, yardstickGfn } from './config';
import { callAge } from './notifier';
import { isPlainReferenced, plainHead } from './plain';

/** pageReferencedOne()'s young bit, beside the hvn. */
const YOUNG_SHIFT: u32 = 31;
/** Result bit of ptepClearFlushYoung(): the page has further mappings. */
const MORE: u32 = 2;

/** ptep_clear_flush_young of the i-th mapping of a page. Bit 0: it was young, bit 1: there are more. */
export function ptepClearFlushYoung(pfn: Pfn, i: u32): u32 {
  const found = pageReferencedOne(pfn, i);
  if (found == RECLAIM_NO_MAPPING) return 0;
  const mm = outRead(0);
  const more: u32 = i + 1 < outRead(1) ? MORE : 0;
  return ask(mm, found & (HVN_LIMIT - 1), found >> YOUNG_SHIFT) | more;
}

/** Asks the notifiers after the pte of a page, which was young or not; whether the page is. */
function ask(mm: u32, hvn: Hvn, young: u32): u32 {
  const asks = young != 0 || load<u32>(STRAIGHT, STRAIGHT_ASK_ONLY_YOUNG) == 0;
  if (asks && load<u32>(STRAIGHT, STRAIGHT_AGES) != 0) {
    const answer = callAge(mm, hvn);
    if (answer != 0 && load<u32>(STRAIGHT, STRAIGHT_ANSWER_COUNTS) != 0) young = 1;
  }
  lockstepTested(yardstickGfn(mm, hvn), young);
  return young;
}

/** Counts the mappings of a page that were young, and makes all of them old. */
export function pageReferenced(pfn: Pfn): u32 {
  const page = framePtr(pfn);
  const head: usize = !isTracing() && walkCacheOn() ? plainHead(page) : 0;
  if (head != 0) return isPlainReferenced(page, head) ? 1 : 0;
  if ((load<u32>(page, FRAME_CONTENT) & CONTENT_PAGE) != 0) disturb();
  if (isMappedOnce(page)) {
    const mm = load<u32>(page, FRAME_FLAGS) >> PG_MM_SHIFT;
    const hvn = load<u32>(page, FRAME_RMAP);
    return ask(mm, hvn, pteReferenced(hptep(mm, hvn)) ? 1 : 0);
  }
  let young: u32 = 0;
  let answer = MORE;
  for (let i: u32 = 0; (answer & MORE) != 0; i++) {
    answer = ptepClearFlushYoung(pfn, i);
    young += answer & 1;
  }
  return young;
}
