// The plain page of a straight run: a small page that the guest's mm alone maps, once, behind a single
// memslot, where one 4 KiB spte or none shows it to the guest. Nearly every page that reclaim looks at is one.
// What referenced.ts and reclaim.ts find out step by step is known of it at once, so here are the same
// steps with the addresses that they share, looked up once; the pages that are not plain are theirs.

import {
  AGE_CLEAR,
  AGE_DROP,
  AGE_NONE,
  CONTENT_PAGE,
  FRAME_CONTENT,
  FRAME_FLAGS,
  FRAME_MAPCOUNT,
  FRAME_MAPCOUNT_MASK,
  FRAME_REFCOUNT,
  FRAME_RMAP,
  HPTE_YOUNG,
  KVM_FEATURE_SPTE_PINS,
  PG_DIRTY,
  PG_HUGE,
  PG_MM_SHIFT,
  PG_MULTIMAP,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_MM,
  SLOT_NPAGES,
  SLOT_RMAP,
  STRAIGHT_AGES,
  STRAIGHT_AGE_ACTION,
  STRAIGHT_AGE_FLUSHES,
  STRAIGHT_ANSWER_COUNTS,
  STRAIGHT_ASK_ONLY_YOUNG,
  STRAIGHT_MM,
} from '../abi';
import { AGE_PAGE_CALLS, RMAP_NODES_VISITED, SPTES_DROPPED, YOUNG_TESTS } from '../counters';
import { isTracing } from '../events';
import { lockstepTested, lockstepWords } from '../lockstep';
import { lruGenEnabled } from '../mm/lru_gen';
import { memcgEnabled } from '../mm/memcg';
import { mappedPmdp, ptepAt } from '../mm/pte';
import { spteAge } from '../mmu/age';
import { flushOne } from '../mmu/flush';
import { hasFeature } from '../mmu/kvm';
import { gfnToRmap, lastAlone, onlySlotOfHvn, rmapLevels } from '../mmu/memslot';
import { isAccessedSpte, isDirtySpte } from '../mmu/spte';
import { spteLruOn } from '../mmu/spte_lru';
import { walkCacheOn } from '../mmu/walk_cache';
import { spNoteAbsent, spteIndex, sptepToSp } from '../mmu/shadow_page';
import { bump, bumpBy } from '../stats';
import { Gfn, Hvn } from '../types';
import { STRAIGHT, yardstickGfn } from './config';

/** Whether pages can be plain at all: nobody listens, counts for a cgroup or keeps lists of sptes. */
export function mayBePlain(): bool {
  const others = isTracing() || memcgEnabled() || lruGenEnabled() || spteLruOn;
  return !others && walkCacheOn();
}

/** Whether a gfn may be mapped by a large spte. */
function isMappedLarge(slot: usize, gfn: Gfn): bool {
  return (load<u32>(gfnToRmap(slot, gfn, 2)) | load<u32>(gfnToRmap(slot, gfn, 3))) != 0;
}

/** Not 0 when a page is not small, has other mappings than one of `mm`, or bytes: a table of the guest's has some. */
function oddities(page: usize, mm: u32): u32 {
  const flags = load<u32>(page, FRAME_FLAGS);
  return (
    ((flags >> PG_MM_SHIFT) ^ mm) |
    (flags & (PG_HUGE | PG_MULTIMAP)) |
    ((load<u32>(page, FRAME_MAPCOUNT) & FRAME_MAPCOUNT_MASK) ^ 1) |
    (load<u32>(page, FRAME_CONTENT) & CONTENT_PAGE)
  );
}

/** The rmap head of a page that is plain, with its spte or 0 in it; 0: it is not plain. */
export function plainHead(page: usize): usize {
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  if (oddities(page, mm) != 0) return 0;
  const hvn = load<u32>(page, FRAME_RMAP);
  let slot = lastAlone;
  const outside = hvn - load<u32>(slot, SLOT_HVN) >= load<u32>(slot, SLOT_NPAGES) ? 1 : 0;
  if (((load<u32>(slot, SLOT_MM) ^ mm) | outside) != 0) {
    slot = onlySlotOfHvn(mm, hvn);
    if (slot == 0) return 0;
  }
  const index = hvn - load<u32>(slot, SLOT_HVN);
  const head = <usize>load<u32>(slot, SLOT_RMAP) + ((<usize>index) << 2);
  // A head with bit 0 is a chain's.
  if ((load<u32>(head) & 1) != 0) return 0;
  if (rmapLevels > 1 && isMappedLarge(slot, load<u32>(slot, SLOT_BASE_GFN) + index)) return 0;
  return head;
}

/**
 * Drops the spte of a plain page, which has one, and flushes when asked to (kvm_zap_all_rmap_sptes and its caller). What
 * its A bit says is lost: the protocol that drops does not ask it, and a page that is evicted has no use for it.
 */
export function dropPlain(page: usize, head: usize, flushes: bool): void {
  const sptep = <usize>load<u32>(head);
  const spte = load<u64>(sptep);
  const sp = sptepToSp(sptep);
  const dirty: u32 = isDirtySpte(spte) ? PG_DIRTY : 0;
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | dirty, FRAME_FLAGS);
  store<u64>(sptep, 0);
  spNoteAbsent(sp, spteIndex(sptep));
  bump(SPTES_DROPPED);
  if (hasFeature(KVM_FEATURE_SPTE_PINS)) {
    store<u32>(page, load<u32>(page, FRAME_REFCOUNT) - 1, FRAME_REFCOUNT);
  }
  store<u32>(head, 0);
  if (flushes) flushOne(sptep);
}

/** The call of the notifier that ages a plain page; whether KVM answers young. */
function agePlain(page: usize, head: usize): bool {
  bump(AGE_PAGE_CALLS);
  const action = load<u32>(STRAIGHT, STRAIGHT_AGE_ACTION);
  const sptep = <usize>load<u32>(head);
  if (sptep == 0 || action == AGE_NONE) return false;
  const flushes = load<u32>(STRAIGHT, STRAIGHT_AGE_FLUSHES) != 0;
  if (action == AGE_DROP) {
    dropPlain(page, head, flushes);
    return true;
  }
  const young = action == AGE_CLEAR ? spteAge(sptep) : isAccessedSpte(load<u64>(sptep));
  if (young && flushes) flushOne(sptep);
  return young;
}

/** page_referenced of a plain page. */
export function isPlainReferenced(page: usize, head: usize): bool {
  countAsked(1);
  const hvn = load<u32>(page, FRAME_RMAP);
  return askPlain(page, hvn, ptepAt(mappedPmdp(load<u32>(STRAIGHT, STRAIGHT_MM), hvn), hvn), head);
}

/** Counts pages that were asked by askPlain(). */
export function countAsked(pages: u32): void {
  bumpBy(RMAP_NODES_VISITED, pages);
  bumpBy(YOUNG_TESTS, pages);
}

/** isPlainReferenced() without its counts: who asks many pages in a row counts them at once. */
export function askPlain(page: usize, hvn: Hvn, ptep: usize, head: usize): bool {
  const pte = load<u32>(ptep);
  let young = pte & HPTE_YOUNG;
  if (young != 0) store<u32>(ptep, pte & ~HPTE_YOUNG);
  const asks = young | (load<u32>(STRAIGHT, STRAIGHT_ASK_ONLY_YOUNG) ^ 1);
  if (asks != 0 && load<u32>(STRAIGHT, STRAIGHT_AGES) != 0 && agePlain(page, head)) {
    young |= load<u32>(STRAIGHT, STRAIGHT_ANSWER_COUNTS);
  }
  if (lockstepWords != 0) {
    lockstepTested(yardstickGfn(load<u32>(STRAIGHT, STRAIGHT_MM), hvn), young != 0 ? 1 : 0);
  }
  return young != 0;
}
