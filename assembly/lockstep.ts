// The yardstick that runs beside the emulator: an exact LRU over every guest access, with the same
// number of frames, keyed by gfn. What it answers:
//
// - `lockstepRefault(gfn)`: an evicted page is read again. An LRU that saw every access still holds it:
//   the eviction was spurious (docs/counters.md).
// - `lockstepTested(gfn)`: reclaim called a page young or old, and it was or was not accessed since
//   the last test: the aging accuracy.
// - its own faults and write-backs: the `ideal-lru` row.
//
// There is no list to move: a reference costs one store of its time, which run.ts makes on every hit.
//
// Words of a gfn, u32 each:
//   ┌──────────────────────────────┬───┬──────────────────────────────┬───┐
//   │ time of the last read, fetch │ T │ time of the last write       │ T │
//   └──────────────────────────────┴───┴──────────────────────────────┴───┘
//   T: the word is older than the last test for young. A new access stores a word without it.
//
// Invariants:
// - a page is held exactly when one of its words is at least `oldest`; the pages held are those that
//   an LRU list of `frames` entries has at that moment;
// - the second word is 0 when the page was not written since it was loaded: clean;
// - each page held has one slot of `order` (where there are fewer frames than gfns). Slots from
//   `cursor` on are sorted by the time of last use as of `sortedAt`; one whose page was used since has
//   lost its place, so a victim is the first that was not. When none is left all are sorted anew:
//   each slot that had to be passed over was paid for by a reference, so a fault costs constant time
//   on average.

import {
  LOCKSTEP_FAULTS,
  LOCKSTEP_MATRIX,
  LOCKSTEP_RESIDENT_PAGES,
  LOCKSTEP_STATE_SIZE,
  LOCKSTEP_WRITEBACKS,
} from './abi';
import { FALSE_OLD, FALSE_YOUNG, SPURIOUS_SWAP_OUTS } from './counters';
import { arenaAlloc } from './layout';
import { bump } from './stats';
import { INDEX_MASK, INDEX_SHIFT } from './tlb/block';
import { placeWords } from './tlb/rights';
import { Gfn } from './types';

const PAIR_SHIFT: usize = 3;
const WRITE_WORD: usize = 4;
/** T. */
const TESTED: u32 = 1;
/** One reference. */
export const LOCKSTEP_TICK: u32 = 2;
/** Times are numbered anew before they reach this. */
const NOW_MAX: u32 = 0x7fff_0000;

/** Counters of the yardstick, read by the host: LOCKSTEP_* offsets. */
export const LOCKSTEP_STATE: usize = memory.data(40, 8);
if (LOCKSTEP_STATE_SIZE > 40) ERROR('lockstep: the state block has 40 bytes');

/** Words of gfn 0; 0: there is no yardstick. */
export let lockstepWords: usize = 0;
/** gfns with words of their own. The pair behind them takes the references to all other gfns. */
export let lockstepGfns: u32 = 0;
/** Time of the last reference. */
export let lockstepNow: u32 = 0;
/** Words below this are of pages that the LRU does not hold. */
export let lockstepOldest: u32 = LOCKSTEP_TICK;

let frames: u32 = 0;
/** gfns of the pages held; 0: all pages fit. */
let order: usize = 0;
/** The other half of a sort. */
let scratch: usize = 0;
let cursor: u32 = 0;
let sortedAt: u32 = 0;
/** One bit a gfn: reclaim took the page and it was not read again yet. */
let evicted: usize = 0;

/** Makes the yardstick for `gfns` guest frames and `limit` host frames. */
export function lockstepInit(gfns: u32, limit: u32): void {
  assert(limit != 0, 'an LRU has a frame');
  assert(gfns < 1 << 26, 'an index fits into a TLB entry');
  lockstepGfns = gfns;
  frames = limit;
  lockstepWords = arenaAlloc((<usize>gfns + 1) << PAIR_SHIFT);
  placeWords(lockstepWords);
  evicted = arenaAlloc((((<usize>gfns) >> 5) + 1) << 2);
  if (limit >= gfns) return;
  order = arenaAlloc((<usize>limit) << 2);
  scratch = arenaAlloc((<usize>limit) << 2);
  cursor = limit;
}

/** Index of a gfn's words. */
export function lockstepIndex(gfn: Gfn): u32 {
  return min<u32>(gfn, lockstepGfns);
}

function pairOf(gfn: Gfn): usize {
  return lockstepWords + ((<usize>gfn) << PAIR_SHIFT);
}

/** Time of a page's last use, with TESTED. */
function lastOf(pair: usize): u32 {
  return max<u32>(load<u32>(pair), load<u32>(pair, WRITE_WORD));
}

function countUp(at: u32): void {
  const counter = LOCKSTEP_STATE + <usize>at;
  store<u64>(counter, load<u64>(counter) + 1);
}

// ---- the order of the pages held -----------------------------------------------------------------

const DIGIT_BITS: u32 = 11;
const DIGITS: u32 = 1 << DIGIT_BITS;
const COUNTS: usize = memory.data(8192, 16);
if ((<usize>DIGITS) << 2 != 8192) ERROR('lockstep: one count a digit');

/** Sorts the first `n` slots by the time of last use; least significant digits first. */
function sortOrder(n: u32): void {
  const range = lockstepNow - lockstepOldest;
  const end = (<usize>n) << 2;
  for (let shift: u32 = 1; shift < 32 && range >> shift != 0; shift += DIGIT_BITS) {
    memory.fill(COUNTS, 0, 8192);
    for (let at: usize = 0; at < end; at += 4) {
      const age = lastOf(pairOf(load<u32>(order + at))) - lockstepOldest;
      const count = COUNTS + ((<usize>((age >> shift) & (DIGITS - 1))) << 2);
      store<u32>(count, load<u32>(count) + 1);
    }
    let place: u32 = 0;
    for (let count: usize = COUNTS; count < COUNTS + 8192; count += 4) {
      const here = load<u32>(count);
      store<u32>(count, place);
      place += here;
    }
    for (let at: usize = 0; at < end; at += 4) {
      const gfn = load<u32>(order + at);
      const age = lastOf(pairOf(gfn)) - lockstepOldest;
      const count = COUNTS + ((<usize>((age >> shift) & (DIGITS - 1))) << 2);
      const to = load<u32>(count);
      store<u32>(count, to + 1);
      store<u32>(scratch + ((<usize>to) << 2), gfn);
    }
    const sorted = scratch;
    scratch = order;
    order = sorted;
  }
}

/** The LRU gives up its oldest page. Returns the slot that is free now. */
function takeOldest(): usize {
  while (true) {
    for (; cursor < frames; cursor++) {
      const slot = order + ((<usize>cursor) << 2);
      const pair = pairOf(load<u32>(slot));
      const last = lastOf(pair);
      if (last > sortedAt) continue;
      if (load<u32>(pair, WRITE_WORD) != 0) countUp(LOCKSTEP_WRITEBACKS);
      lockstepOldest = (last | TESTED) + 1;
      cursor++;
      return slot;
    }
    sortOrder(frames);
    cursor = 0;
    // The reference that is being made is not in the words yet.
    sortedAt = lockstepNow - 1;
  }
}

/** A page that the LRU does not hold is used: its fault. */
function loadPage(gfn: Gfn): void {
  countUp(LOCKSTEP_FAULTS);
  store<u32>(pairOf(gfn), 0, WRITE_WORD);
  const held = LOCKSTEP_STATE + <usize>LOCKSTEP_RESIDENT_PAGES;
  const pages = load<u32>(held);
  if (pages < frames) {
    if (order != 0) store<u32>(order + ((<usize>pages) << 2), gfn);
    store<u32>(held, pages + 1);
  } else {
    store<u32>(takeOldest(), gfn);
  }
}

// ---- references ----------------------------------------------------------------------------------

/**
 * A reference at `now` through the TLB entry with `value` finds its word below `oldest`: the page is used this way for the first time in
 * long, or it is not held. The caller stores the word then. Returns `oldest`, which may have moved.
 */
export function lockstepOld(value: u64, now: u32): u32 {
  const index = <u32>((value & INDEX_MASK) >> INDEX_SHIFT);
  lockstepNow = now;
  if (index != lockstepGfns && lastOf(pairOf(index)) < lockstepOldest) loadPage(index);
  return lockstepOldest;
}

/** Says what the time is, after a loop that kept it in a local. */
export function lockstepSetNow(now: u32): void {
  lockstepNow = now;
}

/** Makes room for the times of `count` references. */
export function lockstepBegin(count: u32): void {
  if (<u64>lockstepNow + <u64>count * <u64>LOCKSTEP_TICK >= <u64>NOW_MAX) renumber();
}

/** One access to a guest frame that is not in the records (the guest kernel's own, the host's). */
export function lockstepTouch(gfn: Gfn, write: u32): void {
  if (lockstepWords == 0 || gfn >= lockstepGfns) return;
  lockstepBegin(1);
  const word = pairOf(gfn) + ((<usize>write) << 2);
  const now = lockstepNow + LOCKSTEP_TICK;
  if (load<u32>(word) < lockstepOldest) lockstepOld((<u64>gfn) << INDEX_SHIFT, now);
  lockstepNow = now;
  store<u32>(word, now);
}

/** A word with the time `now`; 0 stays 0, and TESTED stays. */
function movedTo(word: u32, now: u32): u32 {
  return word == 0 ? 0 : now | (word & TESTED);
}

function moveTo(gfn: Gfn, now: u32): void {
  const pair = pairOf(gfn);
  store<u32>(pair, movedTo(load<u32>(pair), now));
  store<u32>(pair, movedTo(load<u32>(pair, WRITE_WORD), now), WRITE_WORD);
}

/** Gives the pages held the times 2, 3, … in their order, and all others 1. */
function renumber(): void {
  const held = load<u32>(LOCKSTEP_STATE + <usize>LOCKSTEP_RESIDENT_PAGES);
  if (order != 0) sortOrder(held);
  for (let gfn: u32 = 0; gfn < lockstepGfns; gfn++) {
    if (order == 0 || lastOf(pairOf(gfn)) < lockstepOldest) moveTo(gfn, LOCKSTEP_TICK);
  }
  lockstepOldest = order == 0 ? LOCKSTEP_TICK : 2 * LOCKSTEP_TICK;
  lockstepNow = LOCKSTEP_TICK;
  if (order == 0) return;
  for (let i: u32 = 0; i < held; i++) {
    lockstepNow += LOCKSTEP_TICK;
    moveTo(load<u32>(order + ((<usize>i) << 2)), lockstepNow);
  }
  cursor = held == frames ? 0 : frames;
  sortedAt = lockstepNow | TESTED;
}

/** Lets the next reference have the time `now`, as after a long run. For tests. */
export function lockstepAdvance(now: u32): void {
  lockstepNow = max<u32>(lockstepNow, now * LOCKSTEP_TICK);
}

// ---- questions -----------------------------------------------------------------------------------

/** An LRU that saw every access holds the page. */
export function lockstepResident(gfn: Gfn): u32 {
  if (gfn >= lockstepGfns) return 0;
  return lastOf(pairOf(gfn)) >= lockstepOldest ? 1 : 0;
}

/** Whether a word is of an access after the last test. */
function isFresh(word: u32): bool {
  return word != 0 && (word & TESTED) == 0;
}

/** Reclaim tested a page and called it young or old. */
export function lockstepTested(gfn: Gfn, young: u32): void {
  if (gfn >= lockstepGfns) return;
  const pair = pairOf(gfn);
  const read = load<u32>(pair);
  const written = load<u32>(pair, WRITE_WORD);
  const accessed = isFresh(read) || isFresh(written);
  if (read != 0) store<u32>(pair, read | TESTED);
  if (written != 0) store<u32>(pair, written | TESTED, WRITE_WORD);
  const cell: u32 = (young != 0 ? 2 : 0) + (accessed ? 1 : 0);
  const count = LOCKSTEP_STATE + <usize>LOCKSTEP_MATRIX + ((<usize>cell) << 2);
  store<u32>(count, load<u32>(count) + 1);
  if (young != 0 && !accessed) bump(FALSE_YOUNG);
  if (young == 0 && accessed) bump(FALSE_OLD);
}

/** Reclaim took a page from the guest. */
export function lockstepEvicted(gfn: Gfn): void {
  if (gfn >= lockstepGfns) return;
  const word = evicted + (((<usize>gfn) >> 5) << 2);
  store<u32>(word, load<u32>(word) | ((<u32>1) << (gfn & 31)));
}

/** An evicted page is read again. Spurious when the exact LRU still has it: it would never have left. */
export function lockstepRefault(gfn: Gfn): void {
  if (gfn >= lockstepGfns) return;
  const word = evicted + (((<usize>gfn) >> 5) << 2);
  const bit = (<u32>1) << (gfn & 31);
  if ((load<u32>(word) & bit) == 0) return;
  store<u32>(word, load<u32>(word) & ~bit);
  if (lockstepResident(gfn) != 0) bump(SPURIOUS_SWAP_OUTS);
}

/** Address of the LOCKSTEP_* counters. */
export function lockstepState(): u32 {
  return <u32>LOCKSTEP_STATE;
}
