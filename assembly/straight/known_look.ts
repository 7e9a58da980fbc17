// CLOCK's look at a known page (known_page.ts) that is young: what askPlain() (plain.ts) does under ageing by dropped
// sptes, and the page goes round, with the addresses of its entry.

import {
  AGE_DROP,
  CONTENT_PAGE,
  FRAME_CONTENT,
  FRAME_FLAGS,
  FRAME_MAPCOUNT,
  FRAME_MAPCOUNT_MASK,
  FRAME_REFCOUNT,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_YOUNG,
  KVM_FEATURE_FLUSH_PAGES,
  KVM_FEATURE_SPTE_PINS,
  LRU_POLICY_FIRST,
  PG_DIRTY,
  PG_HUGE,
  PG_LRU,
  PG_MM_SHIFT,
  PG_MULTIMAP,
  PG_UNEVICTABLE,
  STRAIGHT_AGES,
  STRAIGHT_AGE_ACTION,
  STRAIGHT_AGE_FLUSHES,
  STRAIGHT_ASK_ONLY_YOUNG,
  STRAIGHT_MM,
  VCPU_TLB,
} from '../abi';
import { lockstepTested, lockstepWords } from '../lockstep';
import { isOneList, lruTurn } from '../mm/lru';
import { hasFeature } from '../mmu/kvm';
import { spFlipPresent } from '../mmu/shadow_page';
import { isDirtySpte } from '../mmu/spte';
import { removePlaced } from '../tlb/known';
import { Hpte, Pfn, Sptep } from '../types';
import { vcpuCount, vcpuPtr } from '../vcpu';
import { STRAIGHT, yardstickGfn } from './config';
import { COUNT_LOOKED, countKnown } from './known_counts';
import {
  KNOWN_BITMAP,
  KNOWN_HEAD,
  KNOWN_HVN,
  KNOWN_L1_SET,
  KNOWN_L2_SET,
  KNOWN_L2_WAY,
  KNOWN_SPTEP,
  entryOfFrame,
  isKnownFrame,
  pageOfEntry,
  ptepOfFrame,
} from './known_page';
import { mayBePlain } from './plain';

/** Flags of a page that matter. */
const FLAGS_MASK: u32 =
  ((<u32>0xffffffff) << PG_MM_SHIFT) | PG_HUGE | PG_MULTIMAP | PG_UNEVICTABLE | PG_LRU;
/** Bits of a pte that say which frame it maps. */
const MAPPED_MASK: u32 = ((<u32>0xffffffff) << HPTE_PFN_SHIFT) | HPTE_PRESENT;

/** Whether looks are such, in this quiet: KVM is asked about young pages, and drops and flushes by page on one vCPU. */
export function mayLook(): bool {
  const drops =
    load<u32>(STRAIGHT, STRAIGHT_AGES) != 0 &&
    load<u32>(STRAIGHT, STRAIGHT_ASK_ONLY_YOUNG) != 0 &&
    load<u32>(STRAIGHT, STRAIGHT_AGE_ACTION) == AGE_DROP &&
    load<u32>(STRAIGHT, STRAIGHT_AGE_FLUSHES) != 0;
  const flushes = hasFeature(KVM_FEATURE_FLUSH_PAGES) && vcpuCount() == 1;
  return drops && flushes && isOneList(LRU_POLICY_FIRST) && mayBePlain();
}

/** dropPlain() with a flush. */
function dropKnown(entry: usize, page: usize, sptep: Sptep): void {
  // Which pages are dirty nobody can foresee.
  const dirty = select<u32>(PG_DIRTY, 0, isDirtySpte(load<u64>(sptep)));
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | dirty, FRAME_FLAGS);
  store<u64>(sptep, 0);
  store<u32>(<usize>load<u32>(entry, KNOWN_HEAD), 0);
  spFlipPresent(sptep, <usize>load<u32>(entry, KNOWN_BITMAP), -1);
  if (hasFeature(KVM_FEATURE_SPTE_PINS)) {
    store<u32>(page, load<u32>(page, FRAME_REFCOUNT) - 1, FRAME_REFCOUNT);
  }
  removePlaced(
    <usize>load<u32>(vcpuPtr(0), VCPU_TLB),
    <usize>load<u32>(entry, KNOWN_L1_SET),
    <usize>load<u32>(entry, KNOWN_L2_SET),
    <usize>load<u32>(entry, KNOWN_L2_WAY),
    pageOfEntry(entry),
  );
}

/**
 * Not 0 when the page in a frame is not a plain one (plain.ts) on the policy's list, or not the page of an entry whose pte
 * is `pte`.
 */
export function strangeness(pfn: Pfn, page: usize, pte: Hpte): u32 {
  const flags = (load<u32>(STRAIGHT, STRAIGHT_MM) << PG_MM_SHIFT) | PG_LRU;
  const mapped = (pfn << HPTE_PFN_SHIFT) | HPTE_PRESENT;
  return (
    ((load<u32>(page, FRAME_FLAGS) ^ flags) & FLAGS_MASK) |
    ((load<u32>(page, FRAME_MAPCOUNT) & FRAME_MAPCOUNT_MASK) ^ 1) |
    (load<u32>(page, FRAME_CONTENT) & CONTENT_PAGE) |
    ((pte ^ mapped) & MAPPED_MASK)
  );
}

/**
 * Looks at the oldest page, which is young, and whose frame is known for the entry; its pte is at `ptep`. False: nothing was
 * done. Who calls counts it.
 */
export function lookYoung(pfn: Pfn, page: usize, entry: usize, ptep: usize): bool {
  const pte = load<u32>(ptep);
  const sptep = <usize>load<u32>(entry, KNOWN_SPTEP);
  const mapped = <usize>load<u32>(<usize>load<u32>(entry, KNOWN_HEAD));
  if ((strangeness(pfn, page, pte) | (<u32>(mapped ^ sptep))) != 0) return false;
  store<u32>(ptep, pte & ~HPTE_YOUNG);
  dropKnown(entry, page, sptep);
  if (lockstepWords != 0) {
    lockstepTested(yardstickGfn(load<u32>(STRAIGHT, STRAIGHT_MM), load<u32>(entry, KNOWN_HVN)), 1);
  }
  lruTurn(pfn, page, LRU_POLICY_FIRST);
  return true;
}

/** The same for one page among others, if it is known and young; counted. */
export function lookAtFrame(pfn: Pfn, page: usize): bool {
  const entry = entryOfFrame(pfn);
  const ptep = ptepOfFrame(pfn);
  if (!isKnownFrame(entry, pfn) || (load<u32>(ptep) & HPTE_YOUNG) == 0) return false;
  if (!lookYoung(pfn, page, entry, ptep)) return false;
  countKnown(COUNT_LOOKED);
  return true;
}
