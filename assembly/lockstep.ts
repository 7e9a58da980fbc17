// The yardstick that runs beside the emulator: an exact LRU over every guest access, with the same
// number of frames, and the time of each page's last access.
//
// It is keyed by gfn. The guest kernel tells it which gfn lies under which virtual page of each
// address space (lockstepMap), independently of the guest's own tables; references are replayed on
// it lazily, at the latest when reclaim asks about a page. What it answers:
//
// - `lockstepResident(gfn)`: an LRU that saw every access still holds the page. Asked at a refault it
//   makes the eviction spurious (DESIGN.md, glossary).
// - `lockstepLast(gfn)`: index of the page's last reference, for the aging accuracy.
// - its own faults and write-backs: the `ideal-lru` row.
//
// Node of a gfn, 16 bytes:
//   ┌──────┬──────┬──────────────┬───────────────────────────────┐
//   │ next │ prev │ last access  │ flags: RESIDENT, DIRTY, SEEN  │   u32 each
//   └──────┴──────┴──────────────┴───────────────────────────────┘
// The last access is a 32-bit reference index; a run of more than 2^32 - 2 references saturates it.

import {
  ACCESS_CONTROL,
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  LOCKSTEP_DIRTY,
  LOCKSTEP_EVICTED,
  LOCKSTEP_FAULTS,
  LOCKSTEP_NOW,
  LOCKSTEP_RESIDENT,
  LOCKSTEP_RESIDENT_PAGES,
  LOCKSTEP_SEEN,
  LOCKSTEP_STATE_SIZE,
  LOCKSTEP_TESTS,
  LOCKSTEP_WRITEBACKS,
  PAGE_SHIFT,
} from './abi';
import { FALSE_OLD, FALSE_YOUNG, SPURIOUS_SWAP_OUTS } from './counters';
import { arenaAlloc, pageAlloc, pageFree } from './layout';
import { bump } from './stats';
import { Gfn } from './types';

const NODE_SHIFT: usize = 4;
const NEXT: usize = 0;
const PREV: usize = 4;
const LAST: usize = 8;
const FLAGS: usize = 12;

/** Counters of the yardstick, read by the host: LOCKSTEP_* offsets. */
export const LOCKSTEP_STATE: usize = memory.data(32, 8);
if (LOCKSTEP_STATE_SIZE > 32) ERROR('lockstep: the state block has 32 bytes');

/** Levels of the radix tree over 36-bit page numbers, 10 bits each. */
const RADIX_BITS: u32 = 10;
const RADIX_MASK: u32 = 1023;
/** Address spaces that can be told apart. */
const MAX_SPACES: u32 = 4096;

let nodes: usize = 0;
/** When each page was tested last: one reference index a gfn. */
let tested: usize = 0;
let ngfns: u32 = 0;
let frames: u32 = 0;
/** Roots of the radix trees, one u32 an address space. */
let roots: usize = 0;
/** Leaf table and page group looked up last, per access kind. */
const RECENT: usize = memory.data(64, 8);
let now: u32 = 0;

/** Makes the yardstick for `gfns` guest frames and `limit` host frames. */
export function lockstepInit(gfns: u32, limit: u32): void {
  ngfns = gfns;
  frames = limit;
  // One node more: the list head, at index `gfns`.
  nodes = arenaAlloc((<usize>gfns + 1) << NODE_SHIFT);
  tested = arenaAlloc((<usize>gfns) << 2);
  roots = arenaAlloc((<usize>MAX_SPACES) << 2);
  const head = nodes + ((<usize>gfns) << NODE_SHIFT);
  store<u32>(head + NEXT, gfns);
  store<u32>(head + PREV, gfns);
  forgetRecent();
}

function forgetRecent(): void {
  for (let i: usize = 0; i < 64; i += 16) {
    store<u32>(RECENT + i, 0xffffffff);
    store<u32>(RECENT + i, 0xffffffff, 4);
  }
}

/** Address of the leaf word of a page, or 0 when the tree has no such leaf and `make` is false. */
function leafOf(space: u32, vpnHi: u32, vpnLo: u32, make: bool): usize {
  // vpn = vpnHi : vpnLo, 36 bits; the top level takes 6 of them.
  let slot = roots + ((<usize>space) << 2);
  const top = (vpnHi << 2) | (vpnLo >> 30);
  let level: u32 = 4;
  while (level > 0) {
    level--;
    let table = <usize>load<u32>(slot);
    if (table == 0) {
      if (!make) return 0;
      table = pageAlloc();
      store<u32>(slot, <u32>table);
    }
    const index = level == 3 ? top & RADIX_MASK : (vpnLo >> (level * RADIX_BITS)) & RADIX_MASK;
    slot = table + ((<usize>index) << 2);
  }
  return slot;
}

/** Virtual page (vpnHi:vpnLo, 36 bits) of a space now lies on `gfn`; 0xffffffff: on none. */
export function lockstepMap(space: u32, vpnHi: u32, vpnLo: u32, gfn: Gfn): void {
  if (nodes == 0) return;
  assert(space < MAX_SPACES, 'a guest has at most 4096 address spaces at a time');
  const leaf = leafOf(space, vpnHi, vpnLo, gfn != 0xffffffff);
  if (leaf != 0) store<u32>(leaf, gfn + 1);
}

/** gfn under a virtual page of a space, 0xffffffff when none. */
export function lockstepGfn(space: u32, vpnHi: u32, vpnLo: u32): Gfn {
  const leaf = leafOf(space, vpnHi, vpnLo, false);
  return leaf == 0 ? 0xffffffff : load<u32>(leaf) - 1;
}

function freeTree(table: usize, level: u32): void {
  if (level > 0) {
    for (let i: usize = 0; i < 4096; i += 4) {
      const child = <usize>load<u32>(table + i);
      if (child != 0) freeTree(child, level - 1);
    }
  }
  pageFree(table);
}

/** Forgets all pages of an address space. */
export function lockstepDropSpace(space: u32): void {
  if (nodes == 0) return;
  const slot = roots + ((<usize>space) << 2);
  const table = <usize>load<u32>(slot);
  if (table == 0) return;
  freeTree(table, 3);
  store<u32>(slot, 0);
  forgetRecent();
}

function unlink(node: usize): void {
  const next = load<u32>(node + NEXT);
  const prev = load<u32>(node + PREV);
  store<u32>(nodes + ((<usize>prev) << NODE_SHIFT) + NEXT, next);
  store<u32>(nodes + ((<usize>next) << NODE_SHIFT) + PREV, prev);
}

function evictLast(): void {
  const victim = load<u32>(nodes + ((<usize>ngfns) << NODE_SHIFT) + PREV);
  const node = nodes + ((<usize>victim) << NODE_SHIFT);
  unlink(node);
  const flags = load<u32>(node + FLAGS);
  if ((flags & LOCKSTEP_DIRTY) != 0) {
    store<u64>(
      LOCKSTEP_STATE + <usize>LOCKSTEP_WRITEBACKS,
      load<u64>(LOCKSTEP_STATE + <usize>LOCKSTEP_WRITEBACKS) + 1,
    );
  }
  store<u32>(node + FLAGS, flags & ~(LOCKSTEP_RESIDENT | LOCKSTEP_DIRTY));
  const resident = LOCKSTEP_STATE + <usize>LOCKSTEP_RESIDENT_PAGES;
  store<u32>(resident, load<u32>(resident) - 1);
}

function touchGfn(gfn: Gfn, write: u32): void {
  const node = nodes + ((<usize>gfn) << NODE_SHIFT);
  store<u32>(node + LAST, now);
  const flags = load<u32>(node + FLAGS);
  const head = nodes + ((<usize>ngfns) << NODE_SHIFT);
  if ((flags & LOCKSTEP_RESIDENT) != 0) {
    if (load<u32>(head + NEXT) == gfn) {
      if (write != 0) store<u32>(node + FLAGS, flags | LOCKSTEP_DIRTY);
      return;
    }
    unlink(node);
  } else {
    const resident = LOCKSTEP_STATE + <usize>LOCKSTEP_RESIDENT_PAGES;
    if (load<u32>(resident) == frames) evictLast();
    store<u32>(resident, load<u32>(resident) + 1);
    const faults = LOCKSTEP_STATE + <usize>LOCKSTEP_FAULTS;
    store<u64>(faults, load<u64>(faults) + 1);
  }
  store<u32>(node + FLAGS, flags | LOCKSTEP_RESIDENT | LOCKSTEP_SEEN | (write * LOCKSTEP_DIRTY));
  const first = load<u32>(head + NEXT);
  store<u32>(node + NEXT, first);
  store<u32>(node + PREV, ngfns);
  store<u32>(nodes + ((<usize>first) << NODE_SHIFT) + PREV, gfn);
  store<u32>(head + NEXT, gfn);
}

/** One access to a guest frame that is not in the records (the guest kernel's own, the host's). */
export function lockstepTouch(gfn: Gfn, write: u32): void {
  if (nodes == 0 || gfn >= ngfns) return;
  if (now < 0xffffffff) now++;
  touchGfn(gfn, write);
}

/** Replays `count` references of an address space; control records are passed over. */
export function lockstepRun(records: usize, count: u32, space: u32): void {
  if (nodes == 0) return;
  const end = records + ((<usize>count) << 3);
  for (let at = records; at < end; at += 8) {
    const lo = load<u32>(at);
    const hi = load<u32>(at, 4);
    const kind = lo & ACCESS_KIND_MASK;
    if (kind == ACCESS_CONTROL) continue;
    if (now < 0xffffffff) now++;
    // One recent leaf table per kind: fetches and data alternate between pages.
    const recent = RECENT + ((<usize>kind) << 4);
    const group = lo >> (PAGE_SHIFT + RADIX_BITS);
    let table: usize;
    if (load<u32>(recent) == group && load<u32>(recent, 4) == (hi ^ (space << 20))) {
      table = <usize>load<u32>(recent, 8);
    } else {
      const vpnLo = (lo >> PAGE_SHIFT) | (hi << 20);
      const leaf = leafOf(space, (hi >> 12) & 15, vpnLo, false);
      if (leaf == 0) continue;
      table = leaf & ~(<usize>4095);
      store<u32>(recent, group);
      store<u32>(recent, hi ^ (space << 20), 4);
      store<u32>(recent, <u32>table, 8);
    }
    const gfn = load<u32>(table + ((<usize>((lo >> PAGE_SHIFT) & RADIX_MASK)) << 2)) - 1;
    if (gfn < ngfns) touchGfn(gfn, kind == ACCESS_WRITE ? 1 : 0);
  }
  store<u64>(LOCKSTEP_STATE + <usize>LOCKSTEP_NOW, <u64>now);
}

/** An LRU that saw every access holds the page. */
export function lockstepResident(gfn: Gfn): u32 {
  if (gfn >= ngfns) return 0;
  return load<u32>(nodes + ((<usize>gfn) << NODE_SHIFT) + FLAGS) & LOCKSTEP_RESIDENT;
}

/** Index of the last reference of a page; 0: none yet. */
export function lockstepLast(gfn: Gfn): u32 {
  if (gfn >= ngfns) return 0;
  return load<u32>(nodes + ((<usize>gfn) << NODE_SHIFT) + LAST);
}

/**
 * Reclaim tested a page and called it young or old. It was really accessed since its last test when
 * its last reference is later. The host replays the references up to now before it asks.
 */
export function lockstepTested(gfn: Gfn, young: u32): void {
  if (gfn >= ngfns) return;
  const at = tested + ((<usize>gfn) << 2);
  const accessed = lockstepLast(gfn) > load<u32>(at);
  store<u32>(at, now);
  const count = LOCKSTEP_STATE + <usize>LOCKSTEP_TESTS;
  store<u32>(count, load<u32>(count) + 1);
  if (young != 0 && !accessed) bump(FALSE_YOUNG);
  if (young == 0 && accessed) bump(FALSE_OLD);
}

/** Reclaim took a page from the guest. */
export function lockstepEvicted(gfn: Gfn): void {
  if (gfn >= ngfns) return;
  const flags = nodes + ((<usize>gfn) << NODE_SHIFT) + FLAGS;
  store<u32>(flags, load<u32>(flags) | LOCKSTEP_EVICTED);
}

/** An evicted page is read again. Spurious when the exact LRU still has it: it would never have left. */
export function lockstepRefault(gfn: Gfn): void {
  if (gfn >= ngfns) return;
  const at = nodes + ((<usize>gfn) << NODE_SHIFT) + FLAGS;
  const flags = load<u32>(at);
  if ((flags & LOCKSTEP_EVICTED) == 0) return;
  store<u32>(at, flags & ~LOCKSTEP_EVICTED);
  if ((flags & LOCKSTEP_RESIDENT) != 0) bump(SPURIOUS_SWAP_OUTS);
}

/** Address of the LOCKSTEP_* counters. */
export function lockstepState(): u32 {
  return <u32>LOCKSTEP_STATE;
}
