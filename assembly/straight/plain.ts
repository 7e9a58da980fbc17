// The plain page of a straight run: a small page that the guest's mm alone maps, once, behind a single
// memslot, where one 4 KiB spte or none shows it to the guest. Nearly every page that reclaim looks at is one.
// What referenced.ts and reclaim.ts find out step by step is known of it at once, so here are the same
// steps with the addresses that they share, looked up once; the pages that are not plain are theirs.

import {
  AGE_CLEAR,
  AGE_DROP,
  AGE_NONE,
  FRAME_FLAGS,
  FRAME_MAPCOUNT,
  FRAME_MAPCOUNT_MASK,
  FRAME_RMAP,
  HPTE_YOUNG,
  PG_HUGE,
  PG_MM_SHIFT,
  PG_MULTIMAP,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_RMAP,
  SPTE_BY_KVM_ZAP_ALL_RMAP_SPTES,
  STRAIGHT_AGES,
  STRAIGHT_AGE_ACTION,
  STRAIGHT_AGE_FLUSHES,
  STRAIGHT_ANSWER_COUNTS,
  STRAIGHT_ASK_ONLY_YOUNG,
  STRAIGHT_MM,
} from '../abi';
import { AGE_PAGE_CALLS, RMAP_NODES_VISITED, YOUNG_TESTS } from '../counters';
import { isTracing } from '../events';
import { lockstepTested, lockstepWords } from '../lockstep';
import { lruGenEnabled } from '../mm/lru_gen';
import { memcgEnabled } from '../mm/memcg';
import { leafPmdp, ptepAt } from '../mm/pte';
import { spteAge } from '../mmu/age';
import { flushOne } from '../mmu/flush';
import { gfnToRmap, isLastAlone, lastAlone, onlySlotOfHvn, rmapLevels } from '../mmu/memslot';
import { isAccessedSpte } from '../mmu/spte';
import { spteLruOn } from '../mmu/spte_lru';
import { walkCacheOn } from '../mmu/walk_cache';
import { clearSpteTrackBits } from '../mmu/zap';
import { sptepToSp } from '../mmu/shadow_page';
import { bump } from '../stats';
import { Gfn, Hvn, Sptep } from '../types';
import { STRAIGHT, yardstickGfn } from './config';

/** What seePlain() found: the page's hvn, its pmd entry, its pte and its rmap head. */
export let seenHvn: Hvn = 0;
export let seenPmdp: usize = 0;
export let seenPtep: usize = 0;
export let seenHead: usize = 0;

/** Whether pages can be plain at all: nobody listens, counts for a cgroup or keeps lists of sptes. */
export function mayBePlain(): bool {
  const others = isTracing() || memcgEnabled() || lruGenEnabled() || spteLruOn;
  return !others && walkCacheOn();
}

/** Whether a gfn may be mapped by a large spte. */
function isMappedLarge(slot: usize, gfn: Gfn): bool {
  return (load<u32>(gfnToRmap(slot, gfn, 2)) | load<u32>(gfnToRmap(slot, gfn, 3))) != 0;
}

/** Whether a page is plain; seen… says where it is mapped. */
export function seePlain(page: usize): bool {
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  const flags = load<u32>(page, FRAME_FLAGS);
  const special = flags & (PG_HUGE | PG_MULTIMAP);
  const others = ((load<u32>(page, FRAME_MAPCOUNT) & FRAME_MAPCOUNT_MASK) ^ 1) | special;
  if (((flags >> PG_MM_SHIFT) ^ mm) | others) return false;
  const hvn = load<u32>(page, FRAME_RMAP);
  const slot = isLastAlone(mm, hvn) ? lastAlone : onlySlotOfHvn(mm, hvn);
  if (slot == 0) return false;
  const pmdp = leafPmdp(mm, hvn);
  if (pmdp == 0) return false;
  const index = hvn - load<u32>(slot, SLOT_HVN);
  const head = <usize>load<u32>(slot, SLOT_RMAP) + ((<usize>index) << 2);
  // A head with bit 0 is a chain's.
  if ((load<u32>(head) & 1) != 0) return false;
  if (rmapLevels > 1 && isMappedLarge(slot, load<u32>(slot, SLOT_BASE_GFN) + index)) return false;
  seenHvn = hvn;
  seenPmdp = pmdp;
  seenPtep = ptepAt(pmdp, hvn);
  seenHead = head;
  return true;
}

/** Drops the spte of the page that was seen (kvm_zap_all_rmap_sptes); `accessed`: the mm hears of A. */
export function dropSeen(sptep: Sptep, accessed: bool): void {
  clearSpteTrackBits(sptepToSp(sptep), sptep, SPTE_BY_KVM_ZAP_ALL_RMAP_SPTES, accessed);
  store<u32>(seenHead, 0);
}

/** The call of the notifier that ages the page that was seen; whether KVM answers young. */
function ageSeen(): bool {
  bump(AGE_PAGE_CALLS);
  const action = load<u32>(STRAIGHT, STRAIGHT_AGE_ACTION);
  const sptep = <usize>load<u32>(seenHead);
  if (sptep == 0 || action == AGE_NONE) return false;
  if (action == AGE_DROP) dropSeen(sptep, false);
  else if (action == AGE_CLEAR) {
    if (!spteAge(sptep)) return false;
  } else if (!isAccessedSpte(load<u64>(sptep))) {
    return false;
  }
  if (load<u32>(STRAIGHT, STRAIGHT_AGE_FLUSHES) != 0) flushOne(sptep);
  return true;
}

/** page_referenced of the page that was seen. */
export function isSeenReferenced(): bool {
  bump(RMAP_NODES_VISITED);
  bump(YOUNG_TESTS);
  const pte = load<u32>(seenPtep);
  let young = (pte & HPTE_YOUNG) != 0;
  if (young) store<u32>(seenPtep, pte & ~HPTE_YOUNG);
  const asks = young || load<u32>(STRAIGHT, STRAIGHT_ASK_ONLY_YOUNG) == 0;
  if (asks && load<u32>(STRAIGHT, STRAIGHT_AGES) != 0 && ageSeen()) {
    if (load<u32>(STRAIGHT, STRAIGHT_ANSWER_COUNTS) != 0) young = true;
  }
  if (lockstepWords != 0) {
    lockstepTested(yardstickGfn(load<u32>(STRAIGHT, STRAIGHT_MM), seenHvn), young ? 1 : 0);
  }
  return young;
}
