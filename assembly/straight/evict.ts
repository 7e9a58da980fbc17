// The eviction of a plain page of a file: reclaimPage() (reclaim.ts) for the page that seePlain() saw, without
// the states in between that nobody can see.

import {
  CONTENT_PAGE,
  DEVICE_DISK,
  FRAME_CONTENT,
  FRAME_FLAGS,
  FRAME_MAPCOUNT,
  FRAME_MAPCOUNT_MASK,
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
import { filemapDel, fileWrite } from '../mm/filemap';
import { frameRelease } from '../mm/frame';
import { lruUnlink } from '../mm/lru';
import { ptepClearAt } from '../mm/pte';
import { flushOne } from '../mmu/flush';
import { hasFeature } from '../mmu/kvm';
import { bump } from '../stats';
import { Pfn } from '../types';
import { STRAIGHT, yardstickGfn } from './config';
import { callInvalidateRangeEnd, invalidatePageBegin, invalidateStartBegin } from './notifier';
import { dropSeen, seenHead, seenHvn, seenPmdp, seenPtep } from './plain';
import { noteTableTaken } from './reclaim';

/** Zaps the spte of the page that was seen, and flushes. */
function zapSeen(): void {
  const sptep = <usize>load<u32>(seenHead);
  if (sptep == 0) return;
  dropSeen(sptep, true);
  flushOne(sptep);
}

/** The notifier calls around the unmapping of the page that was seen, of a file's. */
function notifySeen(mm: u32): void {
  const hooks = load<u32>(STRAIGHT, STRAIGHT_HOOKS);
  if (hooks == STRAIGHT_HOOKS_NONE) return;
  if (hooks == STRAIGHT_HOOKS_PAGE) {
    invalidatePageBegin();
    zapSeen();
    return;
  }
  invalidateStartBegin(mm, seenHvn);
  zapSeen();
  callInvalidateRangeEnd(mm, seenHvn);
}

/** Whether a plain page, if it is old, is one for evictSeen(). */
export function isEvictable(page: usize): bool {
  // The page cache and the pte hold it, maybe the spte, which the notifier drops, and nobody else.
  let held: u32 = 2;
  if (hasFeature(KVM_FEATURE_SPTE_PINS) && load<u32>(seenHead) != 0) {
    if (load<u32>(STRAIGHT, STRAIGHT_HOOKS) == STRAIGHT_HOOKS_NONE) return false;
    held = 3;
  }
  const other = load<u32>(page, FRAME_FLAGS) & (PG_ANON | PG_SWAPCACHE);
  return (
    ((load<u32>(page, FRAME_REFCOUNT) ^ held) | other | load<u32>(STRAIGHT, STRAIGHT_RECHECKS)) == 0
  );
}

/** Evicts the page that was seen, which is old and still on its list. */
export function evictSeen(pfn: Pfn, page: usize): void {
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  if ((load<u32>(page, FRAME_CONTENT) & CONTENT_PAGE) != 0) noteTableTaken();
  bump(PAGES_SCANNED);
  lruUnlink(pfn);
  notifySeen(mm);
  const dirty =
    ((load<u32>(seenPtep) & HPTE_DIRTY) | (load<u32>(page, FRAME_FLAGS) & PG_DIRTY)) != 0;
  ptepClearAt(mm, seenHvn, seenPmdp, seenPtep);
  const offset = load<u32>(page, FRAME_PRIVATE);
  if (dirty) {
    fileWrite(pfn);
    bump(FILE_WRITEBACKS);
  } else {
    bump(CLEAN_DROPS);
  }
  // Mapped nowhere.
  store<u32>(page, load<u32>(page, FRAME_MAPCOUNT) & ~FRAME_MAPCOUNT_MASK, FRAME_MAPCOUNT);
  filemapDel(pfn, 0);
  frameRelease(pfn, page);
  bump(EVICTIONS);
  if (dirty) deviceWrite(DEVICE_DISK, offset);
  if (lockstepWords != 0) lockstepEvicted(yardstickGfn(mm, seenHvn));
}
