// Belady's OPT in two passes over a stream: how few faults any policy could have with N frames.
//
// The first pass notes when each page is used next, but only where it can matter. Let K be the
// smallest number of frames asked for (at most NEAR_MAX). A reference whose page is among the K
// pages used most recently is *near*: with N >= K frames OPT never evicts that page before it, since
// fewer than K pages are used in between. All others are *events*, numbered in order. So it keeps
//
//   - one bit for each reference: the page's next reference is an event (or there is none),
//   - one u32 for each event: the number of the page's next event (NEVER: none),
//
// which is 1/8 byte a reference, and 4 bytes a miss of an LRU with K frames. The second pass runs a
// heap for each frame count. A page's key is the number of its next event; NEAR (0) while its next
// reference is near. Keys differ, so the faults do not depend on ties but for pages never used
// again, where the choice does not matter.

import { PAGEREF_SHIFT, REPLACE_FAULTS } from '../abi';
import { arenaAlloc, pageAlloc } from '../layout';
import { growArray } from './pages';

const NEAR_MAX: u32 = 8;
const NEVER: u32 = 0xffffffff;
const NEAR: u32 = 0;

// Fields of the index.
const NEAR_K: usize = 0;
/** References and events seen in the current pass. */
const POSITION: usize = 8;
const EVENTS: usize = 12;
const PAGE_CAPACITY: usize = 16;
/** Per page, u32 each: last position; current event; key (second pass). */
const LAST: usize = 20;
const CURRENT: usize = 24;
const KEY: usize = 28;
/** Directories of 4 KiB chunks (address, then capacity): the bits; the next events. */
const BITS: usize = 32;
const NEXT: usize = 40;
/** First heap of the second pass. */
const HEAPS: usize = 48;
/** The K pages used most recently, u32 each (index + 1). */
const RECENT: usize = 64;

// Fields of a heap, behind REPLACE_FAULTS.
const HEAP_FRAMES: usize = 16;
const HEAP_USED: usize = 20;
const HEAP_PAGES: usize = 24;
const HEAP_PLACES: usize = 28;
const HEAP_NEXT: usize = 32;

/** An index for frame counts of at least `minFrames`. */
export function optNew(minFrames: u32): u32 {
  const opt = pageAlloc();
  store<u32>(opt + NEAR_K, max<u32>(1, min<u32>(minFrames, NEAR_MAX)));
  return <u32>opt;
}

/** Address of byte `offset` of a chunked array; its chunk is made when missing. */
function chunkAt(opt: usize, directory: usize, offset: u64): usize {
  const chunk = <u32>(offset >> 12);
  const capacity = load<u32>(opt + directory + 4);
  let chunks = <usize>load<u32>(opt + directory);
  if (chunk >= capacity) {
    const larger = max<u32>(chunk + 1, max<u32>(capacity << 1, 1024));
    chunks = growArray(chunks, (<usize>capacity) << 2, (<usize>larger) << 2);
    store<u32>(opt + directory, <u32>chunks);
    store<u32>(opt + directory + 4, larger);
  }
  const entry = chunks + ((<usize>chunk) << 2);
  let at = load<u32>(entry);
  if (at == 0) {
    at = <u32>pageAlloc();
    store<u32>(entry, at);
  }
  return <usize>at + ((<usize>offset) & 4095);
}

function reservePages(opt: usize, npages: u32): void {
  const capacity = load<u32>(opt + PAGE_CAPACITY);
  if (npages <= capacity) return;
  const larger = max<u32>(npages, max<u32>(capacity << 1, 1024));
  for (let field = LAST; field <= CURRENT; field += 4) {
    const old = <usize>load<u32>(opt + field);
    const grown = growArray(old, (<usize>capacity) << 2, (<usize>larger) << 2);
    // Positions and events count from 1, so 0 means never.
    store<u32>(opt + field, <u32>grown);
  }
  store<u32>(opt + PAGE_CAPACITY, larger);
}

/** True if the page was among the K most recent; it is the most recent one afterwards. */
function touchNear(opt: usize, page: u32): bool {
  const recent = opt + RECENT;
  const k = load<u32>(opt + NEAR_K);
  let carried = page + 1;
  for (let i: u32 = 0; i < k; i++) {
    const at = recent + ((<usize>i) << 2);
    const other = load<u32>(at);
    store<u32>(at, carried);
    if (other == page + 1) return true;
    carried = other;
  }
  return false;
}

/** First pass over `count` pagerefs to pages below `npages`. False: more than 2^32 - 2 of them. */
export function optScan(opt: usize, refs: usize, count: u32, npages: u32): bool {
  reservePages(opt, npages);
  const last = <usize>load<u32>(opt + LAST);
  const current = <usize>load<u32>(opt + CURRENT);
  let position = load<u32>(opt + POSITION);
  let events = load<u32>(opt + EVENTS);
  if (position + count < position || position + count == NEVER) return false;
  const end = refs + ((<usize>count) << 2);
  for (let p = refs; p < end; p += 4) {
    const page = load<u32>(p) >> PAGEREF_SHIFT;
    const slot = (<usize>page) << 2;
    position++;
    if (!touchNear(opt, page)) {
      events++;
      const before = load<u32>(last + slot);
      if (before != 0) {
        markBit(opt, before);
        store<u32>(chunkAt(opt, NEXT, (<u64>load<u32>(current + slot)) << 2), events);
      }
      store<u32>(chunkAt(opt, NEXT, (<u64>events) << 2), NEVER);
      store<u32>(current + slot, events);
    }
    store<u32>(last + slot, position);
  }
  store<u32>(opt + POSITION, position);
  store<u32>(opt + EVENTS, events);
  return true;
}

function markBit(opt: usize, position: u32): void {
  const at = chunkAt(opt, BITS, (<u64>(position >> 5)) << 2);
  store<u32>(at, load<u32>(at) | ((<u32>1) << (position & 31)));
}

/** Ends the first pass over a stream of `npages` pages. */
export function optSeal(opt: usize, npages: u32): void {
  reservePages(opt, npages);
  const last = <usize>load<u32>(opt + LAST);
  for (let page: u32 = 0; page < npages; page++) {
    markBit(opt, load<u32>(last + ((<usize>page) << 2)));
  }
  const bytes = (<usize>load<u32>(opt + PAGE_CAPACITY)) << 2;
  memory.fill(<usize>load<u32>(opt + CURRENT), 0, bytes);
  const keys = arenaAlloc(bytes);
  memory.fill(keys, 0xff, bytes);
  store<u32>(opt + KEY, <u32>keys);
  store<u32>(opt + POSITION, 0);
  store<u32>(opt + EVENTS, 0);
}

/** A simulator of the second pass; REPLACE_FAULTS is its result. */
export function optAdd(opt: usize, frames: u32, npages: u32): u32 {
  const heap = pageAlloc();
  store<u32>(heap + HEAP_FRAMES, frames);
  store<u32>(heap + HEAP_PAGES, <u32>arenaAlloc((<usize>(min<u32>(frames, npages) + 1)) << 2));
  store<u32>(heap + HEAP_PLACES, <u32>arenaAlloc((<usize>npages) << 2));
  store<u32>(heap + HEAP_NEXT, load<u32>(opt + HEAPS));
  store<u32>(opt + HEAPS, <u32>heap);
  return <u32>heap;
}

/** Second pass over the same pagerefs. */
export function optFeed(opt: usize, refs: usize, count: u32): void {
  const keys = <usize>load<u32>(opt + KEY);
  const current = <usize>load<u32>(opt + CURRENT);
  let position = load<u32>(opt + POSITION);
  let events = load<u32>(opt + EVENTS);
  let bits: usize = 0;
  const end = refs + ((<usize>count) << 2);
  for (let p = refs; p < end; p += 4) {
    const page = load<u32>(p) >> PAGEREF_SHIFT;
    const slot = (<usize>page) << 2;
    position++;
    if (bits == 0 || (position & 31) == 0) bits = chunkAt(opt, BITS, (<u64>(position >> 5)) << 2);
    const before = load<u32>(keys + slot);
    const isEvent = before != NEAR;
    const nextIsEvent = ((load<u32>(bits) >> (position & 31)) & 1) != 0;
    if (!isEvent && !nextIsEvent) continue;
    if (isEvent) store<u32>(current + slot, ++events);
    const event = <u64>load<u32>(current + slot);
    const key = nextIsEvent ? load<u32>(chunkAt(opt, NEXT, event << 2)) : NEAR;
    let heap = <usize>load<u32>(opt + HEAPS);
    while (heap != 0) {
      if (load<u32>(<usize>load<u32>(heap + HEAP_PLACES) + slot) == 0) makeRoom(heap, keys);
      heap = <usize>load<u32>(heap + HEAP_NEXT);
    }
    store<u32>(keys + slot, key);
    heap = <usize>load<u32>(opt + HEAPS);
    while (heap != 0) {
      place(heap, keys, page, key, before);
      heap = <usize>load<u32>(heap + HEAP_NEXT);
    }
  }
  store<u32>(opt + POSITION, position);
  store<u32>(opt + EVENTS, events);
}

// The heaps: places count from 1, the largest key is at 1; 0 means not resident.

function keyOf(keys: usize, page: u32): u32 {
  return load<u32>(keys + ((<usize>page) << 2));
}

function put(heap: usize, place: u32, page: u32): void {
  store<u32>(<usize>load<u32>(heap + HEAP_PAGES) + ((<usize>place) << 2), page);
  store<u32>(<usize>load<u32>(heap + HEAP_PLACES) + ((<usize>page) << 2), place);
}

function siftUp(heap: usize, keys: usize, page: u32, key: u32, from: u32): void {
  const pages = <usize>load<u32>(heap + HEAP_PAGES);
  let place = from;
  while (place > 1) {
    const parent = load<u32>(pages + ((<usize>(place >> 1)) << 2));
    if (keyOf(keys, parent) >= key) break;
    put(heap, place, parent);
    place >>= 1;
  }
  put(heap, place, page);
}

function siftDown(heap: usize, keys: usize, page: u32, key: u32, from: u32): void {
  const pages = <usize>load<u32>(heap + HEAP_PAGES);
  const used = load<u32>(heap + HEAP_USED);
  let place = from;
  while (true) {
    let child = place << 1;
    if (child > used) break;
    let largest = load<u32>(pages + ((<usize>child) << 2));
    if (child < used) {
      const right = load<u32>(pages + ((<usize>(child + 1)) << 2));
      if (keyOf(keys, right) > keyOf(keys, largest)) {
        largest = right;
        child++;
      }
    }
    if (keyOf(keys, largest) <= key) break;
    put(heap, place, largest);
    place = child;
  }
  put(heap, place, page);
}

/** A fault: evicts the page used furthest in the future when all frames are taken. */
function makeRoom(heap: usize, keys: usize): void {
  store<u64>(heap, load<u64>(heap, REPLACE_FAULTS) + 1, REPLACE_FAULTS);
  const used = load<u32>(heap + HEAP_USED);
  if (used < load<u32>(heap + HEAP_FRAMES)) return;
  const pages = <usize>load<u32>(heap + HEAP_PAGES);
  const victim = load<u32>(pages, 4);
  store<u32>(<usize>load<u32>(heap + HEAP_PLACES) + ((<usize>victim) << 2), 0);
  const last = load<u32>(pages + ((<usize>used) << 2));
  store<u32>(heap + HEAP_USED, used - 1);
  if (used > 1) siftDown(heap, keys, last, keyOf(keys, last), 1);
}

/** Enters a page, or moves it to where its new key belongs. */
function place(heap: usize, keys: usize, page: u32, key: u32, before: u32): void {
  const at = load<u32>(<usize>load<u32>(heap + HEAP_PLACES) + ((<usize>page) << 2));
  if (at == 0) {
    const used = load<u32>(heap + HEAP_USED) + 1;
    store<u32>(heap + HEAP_USED, used);
    siftUp(heap, keys, page, key, used);
  } else if (key > before) {
    siftUp(heap, keys, page, key, at);
  } else {
    siftDown(heap, keys, page, key, at);
  }
}
