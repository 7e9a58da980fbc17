// Page replacement by itself, without an MMU: the exact fault and write-back counts that a stream
// causes with N frames under FIFO, CLOCK and LRU. A fault loads a page, cold ones included; evicting
// a page that was written since its load is a write-back; what is resident at the end is not
// written. Frames are filled in order first; CLOCK's hand moves past the frame that it replaced.
//
//   slot of a page   │ frame + 1 (30) │ dirty │ referenced │   0: not resident
//   frame            FIFO, CLOCK: u32 page
//                    LRU: u32 page | u32 next | u32 prev | u32 0, a ring through node 0

import {
  ACCESS_WRITE,
  PAGEREF_SHIFT,
  REPLACE_CLOCK,
  REPLACE_FAULTS,
  REPLACE_FIFO,
  REPLACE_LRU,
  REPLACE_WRITEBACKS,
} from '../abi';
import { pageAlloc } from '../layout';
import { growArray } from './pages';

const POLICY: usize = 16;
const FRAMES: usize = 20;
const USED: usize = 24;
const HAND: usize = 28;
const SLOTS: usize = 32;
const SLOT_CAPACITY: usize = 36;
const FRAME_TABLE: usize = 40;
const FRAME_CAPACITY: usize = 44;

const REFERENCED: u32 = 1;
const DIRTY: u32 = 2;
const SLOT_FRAME_SHIFT: u32 = 2;

if (ACCESS_WRITE << 1 != DIRTY) ERROR('replace: a write is made dirty by a shift');

/** A simulator of a policy (REPLACE_*) with `frames` frames, at least 1. */
export function replaceNew(policy: u32, frames: u32): u32 {
  const sim = pageAlloc();
  store<u32>(sim + POLICY, policy);
  store<u32>(sim + FRAMES, frames);
  return <u32>sim;
}

function frameShift(policy: u32): usize {
  return policy == REPLACE_LRU ? 4 : 2;
}

/** Makes room for pages below `npages` and for the frames that `count` faults can fill. */
function reserve(sim: usize, npages: u32, count: u32): void {
  const slots = load<u32>(sim + SLOT_CAPACITY);
  if (npages > slots) {
    const larger = max<u32>(npages, max<u32>(slots << 1, 1024));
    const old = <usize>load<u32>(sim + SLOTS);
    store<u32>(sim + SLOTS, <u32>growArray(old, (<usize>slots) << 2, (<usize>larger) << 2));
    store<u32>(sim + SLOT_CAPACITY, larger);
  }
  const frames = load<u32>(sim + FRAMES) + 1;
  const need = min<u32>(frames, min<u32>(load<u32>(sim + USED) + count, npages) + 1);
  const have = load<u32>(sim + FRAME_CAPACITY);
  if (need > have) {
    const larger = min<u32>(frames, max<u32>(need, max<u32>(have << 1, 1024)));
    const shift = frameShift(load<u32>(sim + POLICY));
    const old = <usize>load<u32>(sim + FRAME_TABLE);
    store<u32>(
      sim + FRAME_TABLE,
      <u32>growArray(old, (<usize>have) << shift, (<usize>larger) << shift),
    );
    store<u32>(sim + FRAME_CAPACITY, larger);
  }
}

/** Runs `count` pagerefs to pages below `npages`. */
export function replaceFeed(sim: usize, refs: usize, count: u32, npages: u32): void {
  reserve(sim, npages, count);
  if (load<u32>(sim + POLICY) == REPLACE_LRU) feedLru(sim, refs, count);
  else feedClock(sim, refs, count);
}

/** FIFO and both CLOCKs: a hit sets the reference bit, which FIFO does not read. */
function feedClock(sim: usize, refs: usize, count: u32): void {
  const slots = <usize>load<u32>(sim + SLOTS);
  const end = refs + ((<usize>count) << 2);
  for (let p = refs; p < end; p += 4) {
    const ref = load<u32>(p);
    const slot = slots + ((<usize>(ref >> PAGEREF_SHIFT)) << 2);
    const value = load<u32>(slot);
    if (value != 0) store<u32>(slot, value | REFERENCED | ((ref & ACCESS_WRITE) << 1));
    else loadClock(sim, slots, ref);
  }
}

function loadClock(sim: usize, slots: usize, ref: u32): void {
  store<u64>(sim, load<u64>(sim, REPLACE_FAULTS) + 1, REPLACE_FAULTS);
  const policy = load<u32>(sim + POLICY);
  const frames = load<u32>(sim + FRAMES);
  const table = <usize>load<u32>(sim + FRAME_TABLE);
  const used = load<u32>(sim + USED);
  let frame = used;
  if (used < frames) {
    store<u32>(sim + USED, used + 1);
  } else {
    frame = load<u32>(sim + HAND);
    while (true) {
      const victim = slots + ((<usize>load<u32>(table + ((<usize>frame) << 2))) << 2);
      const value = load<u32>(victim);
      if (policy == REPLACE_FIFO || (value & REFERENCED) == 0) {
        if ((value & DIRTY) != 0) {
          store<u64>(sim, load<u64>(sim, REPLACE_WRITEBACKS) + 1, REPLACE_WRITEBACKS);
        }
        store<u32>(victim, 0);
        break;
      }
      store<u32>(victim, value & ~REFERENCED);
      frame = frame + 1 == frames ? 0 : frame + 1;
    }
    store<u32>(sim + HAND, frame + 1 == frames ? 0 : frame + 1);
  }
  const page = ref >> PAGEREF_SHIFT;
  store<u32>(table + ((<usize>frame) << 2), page);
  const referenced = policy == REPLACE_CLOCK ? REFERENCED : 0;
  const bits = referenced | ((ref & ACCESS_WRITE) << 1);
  store<u32>(slots + ((<usize>page) << 2), ((frame + 1) << SLOT_FRAME_SHIFT) | bits);
}

function nodeOf(table: usize, node: u32): usize {
  return table + ((<usize>node) << 4);
}

function unlink(table: usize, node: u32): void {
  const next = load<u32>(nodeOf(table, node), 4);
  const prev = load<u32>(nodeOf(table, node), 8);
  store<u32>(nodeOf(table, prev), next, 4);
  store<u32>(nodeOf(table, next), prev, 8);
}

function linkFirst(table: usize, node: u32): void {
  const first = load<u32>(table, 4);
  store<u32>(nodeOf(table, node), first, 4);
  store<u32>(nodeOf(table, node), 0, 8);
  store<u32>(nodeOf(table, first), node, 8);
  store<u32>(table, node, 4);
}

function feedLru(sim: usize, refs: usize, count: u32): void {
  const slots = <usize>load<u32>(sim + SLOTS);
  const table = <usize>load<u32>(sim + FRAME_TABLE);
  const end = refs + ((<usize>count) << 2);
  for (let p = refs; p < end; p += 4) {
    const ref = load<u32>(p);
    const slot = slots + ((<usize>(ref >> PAGEREF_SHIFT)) << 2);
    const value = load<u32>(slot);
    if (value == 0) {
      loadLru(sim, slots, table, ref);
      continue;
    }
    const node = value >> SLOT_FRAME_SHIFT;
    store<u32>(slot, value | ((ref & ACCESS_WRITE) << 1));
    if (load<u32>(table, 4) == node) continue;
    unlink(table, node);
    linkFirst(table, node);
  }
}

function loadLru(sim: usize, slots: usize, table: usize, ref: u32): void {
  store<u64>(sim, load<u64>(sim, REPLACE_FAULTS) + 1, REPLACE_FAULTS);
  const used = load<u32>(sim + USED);
  let node = used + 1;
  if (used < load<u32>(sim + FRAMES)) {
    store<u32>(sim + USED, used + 1);
  } else {
    node = load<u32>(table, 8);
    const victim = slots + ((<usize>load<u32>(nodeOf(table, node))) << 2);
    if ((load<u32>(victim) & DIRTY) != 0) {
      store<u64>(sim, load<u64>(sim, REPLACE_WRITEBACKS) + 1, REPLACE_WRITEBACKS);
    }
    store<u32>(victim, 0);
    unlink(table, node);
  }
  linkFirst(table, node);
  const page = ref >> PAGEREF_SHIFT;
  store<u32>(nodeOf(table, node), page);
  const dirty = (ref & ACCESS_WRITE) << 1;
  store<u32>(slots + ((<usize>page) << 2), (node << SLOT_FRAME_SHIFT) | dirty);
}
