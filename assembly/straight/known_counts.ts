// What was done at known pages (known_page.ts) and is not in the counters yet: one word for each kind of event, which
// moves several counters.

import {
  AGE_PAGE_CALLS,
  ALLOCSTALL,
  CLEAN_DROPS,
  EVICTIONS,
  FILE_READS,
  FILE_WRITEBACKS,
  GUEST_WALKS,
  MAJOR_FAULTS,
  PAGES_SCANNED,
  PGSCAN_DIRECT,
  PGSTEAL_DIRECT,
  REMOTE_TLB_FLUSHES,
  RMAP_NODES_VISITED,
  SHADOW_PAGE_FAULTS,
  SPTES_DROPPED,
  SPTES_INSTALLED,
  TLB_FLUSHES,
  VMEXITS,
  YOUNG_TESTS,
} from '../counters';
import { countRotated } from '../mm/lru';
import { bumpBy } from '../stats';

/** The words, u32 each. */
const WORDS: usize = memory.data(24, 8);
/** Faults that were served: each with a walk of the guest's tables, and an spte that is made or changed. */
export const COUNT_SERVED: usize = 0;
/** How many of those changed one. */
export const COUNT_UPGRADED: usize = 4;
/** Young pages that were looked at, lost their sptes, each with a flush, and went round, but for COUNT_DIRECT. */
export const COUNT_LOOKED: usize = 8;
/** Pages that took the place of an old one (known_replace.ts). */
export const COUNT_REPLACED: usize = 12;
/** How many of those were dirty. */
export const COUNT_WRITTEN: usize = 16;
/** Young pages that were looked at for one that took a place. */
export const COUNT_DIRECT: usize = 20;

/** Counts one more. */
export function countKnown(what: usize): void {
  store<u32>(WORDS + what, load<u32>(WORDS + what) + 1);
}

/** Counts `n` more. */
export function countKnownBy(what: usize, n: u32): void {
  store<u32>(WORDS + what, load<u32>(WORDS + what) + n);
}

function isAnyCounted(): bool {
  return (load<u64>(WORDS) | load<u64>(WORDS, 8) | load<u64>(WORDS, 16)) != 0;
}

/** Brings the counters up to date. */
export function accountKnown(): void {
  if (!isAnyCounted()) return;
  const served = load<u32>(WORDS, COUNT_SERVED);
  const direct = load<u32>(WORDS, COUNT_DIRECT);
  const looked = load<u32>(WORDS, COUNT_LOOKED) + direct;
  bumpBy(VMEXITS, served);
  bumpBy(SHADOW_PAGE_FAULTS, served);
  bumpBy(GUEST_WALKS, served);
  bumpBy(SPTES_INSTALLED, served - load<u32>(WORDS, COUNT_UPGRADED));
  accountLooks(looked);
  accountReplaced(load<u32>(WORDS, COUNT_REPLACED), load<u32>(WORDS, COUNT_WRITTEN));
  bumpBy(PGSCAN_DIRECT, direct);
  memory.fill(WORDS, 0, 24);
}

function accountLooks(looked: u32): void {
  bumpBy(RMAP_NODES_VISITED, looked);
  bumpBy(YOUNG_TESTS, looked);
  bumpBy(AGE_PAGE_CALLS, looked);
  countRotated(looked);
  bumpBy(SPTES_DROPPED, looked);
  bumpBy(REMOTE_TLB_FLUSHES, looked);
  bumpBy(TLB_FLUSHES, looked);
}

function accountReplaced(replaced: u32, written: u32): void {
  bumpBy(ALLOCSTALL, replaced);
  bumpBy(RMAP_NODES_VISITED, replaced);
  bumpBy(YOUNG_TESTS, replaced);
  bumpBy(PAGES_SCANNED, replaced);
  bumpBy(PGSCAN_DIRECT, replaced);
  bumpBy(PGSTEAL_DIRECT, replaced);
  bumpBy(EVICTIONS, replaced);
  bumpBy(FILE_WRITEBACKS, written);
  bumpBy(CLEAN_DROPS, replaced - written);
  bumpBy(FILE_READS, replaced);
  bumpBy(MAJOR_FAULTS, replaced);
}
