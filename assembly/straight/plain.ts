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
import { Gfn, Hvn, Sptep } from '../types';
import { STRAIGHT, yardstickGfn } from './config';

/** What seePlain() found: the page, its hvn, its pmd entry and pte, its rmap head and the spte in that. */
let seenPage: usize = 0;
export let seenHvn: Hvn = 0;
export let seenPmdp: usize = 0;
export let seenPtep: usize = 0;
let seenHead: usize = 0;
export let seenSptep: Sptep = 0;

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

/** Whether a page is plain; seen… says where it is mapped. */
export function seePlain(page: usize): bool {
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  if (oddities(page, mm) != 0) return false;
  const hvn = load<u32>(page, FRAME_RMAP);
  let slot = lastAlone;
  if (
    load<u32>(slot, SLOT_MM) != mm ||
    hvn - load<u32>(slot, SLOT_HVN) >= load<u32>(slot, SLOT_NPAGES)
  ) {
    slot = onlySlotOfHvn(mm, hvn);
    if (slot == 0) return false;
  }
  const index = hvn - load<u32>(slot, SLOT_HVN);
  const head = <usize>load<u32>(slot, SLOT_RMAP) + ((<usize>index) << 2);
  const sptep = <usize>load<u32>(head);
  // A head with bit 0 is a chain's.
  if ((sptep & 1) != 0) return false;
  if (rmapLevels > 1 && isMappedLarge(slot, load<u32>(slot, SLOT_BASE_GFN) + index)) return false;
  const pmdp = mappedPmdp(mm, hvn);
  seenPage = page;
  seenHvn = hvn;
  seenPmdp = pmdp;
  seenPtep = ptepAt(pmdp, hvn);
  seenHead = head;
  seenSptep = sptep;
  return true;
}

/**
 * Drops the spte of the page that was seen, which has one, and flushes when asked to (kvm_zap_all_rmap_sptes and its
 * caller). What its A bit says is lost: the protocol that drops does not ask it, and a page that is evicted has no use
 * for it.
 */
export function dropSeen(flushes: bool): void {
  const sptep = seenSptep;
  const spte = load<u64>(sptep);
  const sp = sptepToSp(sptep);
  const page = seenPage;
  const dirty: u32 = isDirtySpte(spte) ? PG_DIRTY : 0;
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | dirty, FRAME_FLAGS);
  store<u64>(sptep, 0);
  spNoteAbsent(sp, spteIndex(sptep));
  bump(SPTES_DROPPED);
  if (hasFeature(KVM_FEATURE_SPTE_PINS)) {
    store<u32>(page, load<u32>(page, FRAME_REFCOUNT) - 1, FRAME_REFCOUNT);
  }
  store<u32>(seenHead, 0);
  seenSptep = 0;
  if (flushes) flushOne(sptep);
}

/** The call of the notifier that ages the page that was seen; whether KVM answers young. */
function ageSeen(): bool {
  bump(AGE_PAGE_CALLS);
  const action = load<u32>(STRAIGHT, STRAIGHT_AGE_ACTION);
  const sptep = seenSptep;
  if (sptep == 0 || action == AGE_NONE) return false;
  const flushes = load<u32>(STRAIGHT, STRAIGHT_AGE_FLUSHES) != 0;
  if (action == AGE_DROP) {
    dropSeen(flushes);
    return true;
  }
  const young = action == AGE_CLEAR ? spteAge(sptep) : isAccessedSpte(load<u64>(sptep));
  if (young && flushes) flushOne(sptep);
  return young;
}

/** Whether the pte of the page that was seen is young. */
export function isSeenYoung(): bool {
  return (load<u32>(seenPtep) & HPTE_YOUNG) != 0;
}

/** page_referenced of the page that was seen. */
export function isSeenReferenced(): bool {
  countAsked(1);
  return askSeen();
}

/** Counts pages that were asked by askSeen(). */
export function countAsked(pages: u32): void {
  bumpBy(RMAP_NODES_VISITED, pages);
  bumpBy(YOUNG_TESTS, pages);
}

/** isSeenReferenced() without its counts: who asks many pages in a row counts them at once. */
export function askSeen(): bool {
  const pte = load<u32>(seenPtep);
  let young = pte & HPTE_YOUNG;
  if (young != 0) store<u32>(seenPtep, pte & ~HPTE_YOUNG);
  const asks = young | (load<u32>(STRAIGHT, STRAIGHT_ASK_ONLY_YOUNG) ^ 1);
  if (asks != 0 && load<u32>(STRAIGHT, STRAIGHT_AGES) != 0 && ageSeen()) {
    young |= load<u32>(STRAIGHT, STRAIGHT_ANSWER_COUNTS);
  }
  if (lockstepWords != 0) {
    lockstepTested(yardstickGfn(load<u32>(STRAIGHT, STRAIGHT_MM), seenHvn), young != 0 ? 1 : 0);
  }
  return young != 0;
}
