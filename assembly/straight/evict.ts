// The eviction of a plain page of a file: reclaimPage() (reclaim.ts) without the states in between that nobody can see.

import {
  DEVICE_DISK,
  FRAME_FLAGS,
  FRAME_FILE_SHIFT,
  FRAME_MAPCOUNT,
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  HPTE_DIRTY,
  KVM_FEATURE_SPTE_PINS,
  PG_ANON,
  PG_DIRTY,
  PG_SWAPCACHE,
  STRAIGHT_HOOKS,
  STRAIGHT_HOOKS_NONE,
  STRAIGHT_HOOKS_PAGE,
  STRAIGHT_MM,
  STRAIGHT_RECHECKS,
} from '../abi';
import { CLEAN_DROPS, EVICTIONS, FILE_WRITEBACKS, PAGES_SCANNED } from '../counters';
import { lockstepEvicted, lockstepWords } from '../lockstep';
import { deviceWrite } from '../mm/device';
import { fileWrite } from '../mm/filemap';
import { frameRelease } from '../mm/frame';
import { lruUnlinkOldest } from '../mm/lru';
import { mappedPmdp, ptepAt, ptepClearAt } from '../mm/pte';
import { hasFeature } from '../mmu/kvm';
import { bump } from '../stats';
import { Hvn, Pfn } from '../types';
import { STRAIGHT, yardstickGfn } from './config';
import { callInvalidateRangeEnd, invalidatePageBegin, invalidateStartBegin } from './notifier';
import { dropPlain } from './plain';

/** Zaps the spte of a page, and flushes. */
function zap(page: usize, head: usize): void {
  if (load<u32>(head) != 0) dropPlain(page, head, true);
}

/** The notifier calls around the unmapping of a page of a file's; `head` is its rmap head. */
function notify(mm: u32, page: usize, hvn: Hvn, head: usize): void {
  const hooks = load<u32>(STRAIGHT, STRAIGHT_HOOKS);
  if (hooks == STRAIGHT_HOOKS_NONE) return;
  if (hooks == STRAIGHT_HOOKS_PAGE) invalidatePageBegin();
  else invalidateStartBegin(mm, hvn);
  zap(page, head);
  if (hooks != STRAIGHT_HOOKS_PAGE) callInvalidateRangeEnd(mm, hvn);
}

/** The same where no spte maps the page. */
export function notifyUnmapped(mm: u32, hvn: Hvn): void {
  const hooks = load<u32>(STRAIGHT, STRAIGHT_HOOKS);
  if (hooks == STRAIGHT_HOOKS_PAGE) {
    invalidatePageBegin();
  } else if (hooks != STRAIGHT_HOOKS_NONE) {
    invalidateStartBegin(mm, hvn);
    callInvalidateRangeEnd(mm, hvn);
  }
}

/** Whether a plain page with an rmap head, if it is old, is one for evictPage(). */
export function isEvictable(page: usize, head: usize): bool {
  // The page cache and the pte hold it, maybe the spte, which the notifier drops, and nobody else.
  let held: u32 = 2;
  if (hasFeature(KVM_FEATURE_SPTE_PINS) && load<u32>(head) != 0) {
    if (load<u32>(STRAIGHT, STRAIGHT_HOOKS) == STRAIGHT_HOOKS_NONE) return false;
    held = 3;
  }
  const other = load<u32>(page, FRAME_FLAGS) & (PG_ANON | PG_SWAPCACHE);
  return (
    ((load<u32>(page, FRAME_REFCOUNT) ^ held) | other | load<u32>(STRAIGHT, STRAIGHT_RECHECKS)) == 0
  );
}

/** Evicts such a page, which is old and still the oldest of its list. */
export function evictPage(
  pfn: Pfn,
  page: usize,
  hvn: Hvn,
  pmdp: usize,
  ptep: usize,
  head: usize,
): void {
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  bump(PAGES_SCANNED);
  lruUnlinkOldest(page);
  notify(mm, page, hvn, head);
  const dirty = (load<u32>(ptep) & HPTE_DIRTY) | (load<u32>(page, FRAME_FLAGS) & PG_DIRTY);
  ptepClearAt(mm, hvn, pmdp, ptep);
  const file = load<u32>(page, FRAME_MAPCOUNT) >> FRAME_FILE_SHIFT;
  const offset = load<u32>(page, FRAME_PRIVATE);
  const cache = mappedPmdp(file, offset);
  ptepClearAt(file, offset, cache, ptepAt(cache, offset));
  if (dirty != 0) {
    fileWrite(pfn);
    bump(FILE_WRITEBACKS);
  } else {
    bump(CLEAN_DROPS);
  }
  // Mapped nowhere, and no file's.
  store<u32>(page, 0, FRAME_MAPCOUNT);
  frameRelease(pfn, page);
  bump(EVICTIONS);
  if (dirty != 0) deviceWrite(DEVICE_DISK, offset);
  if (lockstepWords != 0) lockstepEvicted(yardstickGfn(mm, hvn));
}
