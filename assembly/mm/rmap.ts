// From a frame back to the host ptes that map it. One mapping (nearly every page) stands in the frame
// itself: mm id in the flags, hvn in the rmap word. More are a circular chain of 16-byte nodes, oldest
// mapping first; the rmap word then points to the newest, whose link is the oldest.
//
//   node: ┌────────┬────────┬────────┬────────┐
//         │ mm id  │ hvn    │ next   │ spare  │
//         └────────┴────────┴────────┴────────┘
//
// Invariant: the number of entries is the frame's mapcount, and each names a present pte of the frame.

import {
  FRAME_FLAGS,
  FRAME_MAPCOUNT,
  FRAME_MAPCOUNT_MASK,
  FRAME_RMAP,
  PG_HUGE,
  PG_MM_SHIFT,
  PG_MULTIMAP,
} from '../abi';
import { blocksOfPage } from '../layout';
import { Hvn, Pfn } from '../types';
import { framePtr } from './frame';
import { memcgUpdated } from './memcg';

const NODE_MM: usize = 0;
const NODE_HVN: usize = 4;
const NODE_NEXT: usize = 8;
const NODE_BYTES: usize = 16;
const FLAGS_BELOW_MM: u32 = 0xffffff;

let freeNodes: usize = 0;

function nodeAlloc(mm: u32, hvn: Hvn): usize {
  if (freeNodes == 0) freeNodes = blocksOfPage(NODE_BYTES, NODE_NEXT);
  const node = freeNodes;
  freeNodes = load<u32>(node, NODE_NEXT);
  store<u32>(node, mm, NODE_MM);
  store<u32>(node, hvn, NODE_HVN);
  return node;
}

function nodeFree(node: usize): void {
  store<u32>(node, <u32>freeNodes, NODE_NEXT);
  freeNodes = node;
}

/** Number of host ptes that map a frame. */
export function pageMapcount(pfn: Pfn): u32 {
  return load<u32>(framePtr(pfn), FRAME_MAPCOUNT) & FRAME_MAPCOUNT_MASK;
}

/** Whether a single pte, and no huge one, maps the frame of a struct page: its hvn is the rmap word. */
export function isMappedOnce(page: usize): bool {
  if ((load<u32>(page, FRAME_FLAGS) & (PG_HUGE | PG_MULTIMAP)) != 0) return false;
  return (load<u32>(page, FRAME_MAPCOUNT) & FRAME_MAPCOUNT_MASK) == 1;
}

/** Records that the pte of `hvn` in `mm` maps the frame. */
export function rmapAdd(pfn: Pfn, mm: u32, hvn: Hvn): void {
  const page = framePtr(pfn);
  const counts = load<u32>(page, FRAME_MAPCOUNT);
  const flags = load<u32>(page, FRAME_FLAGS);
  store<u32>(page, counts + 1, FRAME_MAPCOUNT);
  if ((counts & FRAME_MAPCOUNT_MASK) == 0) {
    store<u32>(page, (flags & FLAGS_BELOW_MM) | (mm << PG_MM_SHIFT), FRAME_FLAGS);
    store<u32>(page, hvn, FRAME_RMAP);
    memcgUpdated(1);
    return;
  }
  const node = nodeAlloc(mm, hvn);
  if (flags & PG_MULTIMAP) {
    const newest: usize = load<u32>(page, FRAME_RMAP);
    store<u32>(node, load<u32>(newest, NODE_NEXT), NODE_NEXT);
    store<u32>(newest, <u32>node, NODE_NEXT);
  } else {
    const oldest = nodeAlloc(flags >> PG_MM_SHIFT, load<u32>(page, FRAME_RMAP));
    store<u32>(oldest, <u32>node, NODE_NEXT);
    store<u32>(node, <u32>oldest, NODE_NEXT);
    store<u32>(page, (flags & FLAGS_BELOW_MM) | PG_MULTIMAP, FRAME_FLAGS);
  }
  store<u32>(page, <u32>node, FRAME_RMAP);
}

/** The node before that of one pte in a chain. */
function nodeBefore(newest: usize, mm: u32, hvn: Hvn): usize {
  let before = newest;
  let node: usize = load<u32>(before, NODE_NEXT);
  while (load<u32>(node, NODE_MM) != mm || load<u32>(node, NODE_HVN) != hvn) {
    assert(node != newest, 'the chain holds the mapping');
    before = node;
    node = load<u32>(node, NODE_NEXT);
  }
  return before;
}

/** Removes the entry of one pte. */
export function rmapRemove(pfn: Pfn, mm: u32, hvn: Hvn): void {
  const page = framePtr(pfn);
  const counts = load<u32>(page, FRAME_MAPCOUNT);
  const flags = load<u32>(page, FRAME_FLAGS);
  assert((counts & FRAME_MAPCOUNT_MASK) != 0, 'a mapping that is removed exists');
  store<u32>(page, counts - 1, FRAME_MAPCOUNT);
  if ((flags & PG_MULTIMAP) == 0) {
    assert(flags >> PG_MM_SHIFT == mm && load<u32>(page, FRAME_RMAP) == hvn, 'it is the mapping');
    store<u32>(page, flags & FLAGS_BELOW_MM, FRAME_FLAGS);
    store<u32>(page, 0, FRAME_RMAP);
    memcgUpdated(1);
    return;
  }
  const newest: usize = load<u32>(page, FRAME_RMAP);
  const before = nodeBefore(newest, mm, hvn);
  const node: usize = load<u32>(before, NODE_NEXT);
  store<u32>(before, load<u32>(node, NODE_NEXT), NODE_NEXT);
  if (node == newest) store<u32>(page, <u32>before, FRAME_RMAP);
  nodeFree(node);
  if ((counts & FRAME_MAPCOUNT_MASK) == 2) {
    const last: usize = load<u32>(page, FRAME_RMAP);
    const single =
      (flags & ~PG_MULTIMAP & FLAGS_BELOW_MM) | (load<u32>(last, NODE_MM) << PG_MM_SHIFT);
    store<u32>(page, single, FRAME_FLAGS);
    store<u32>(page, load<u32>(last, NODE_HVN), FRAME_RMAP);
    nodeFree(last);
  }
}

/** The mapping of `hvn` in `mm`, one of several, counts as the oldest from now on. */
export function rmapMoveFirst(pfn: Pfn, mm: u32, hvn: Hvn): void {
  const page = framePtr(pfn);
  if ((load<u32>(page, FRAME_FLAGS) & PG_MULTIMAP) == 0) return;
  const newest: usize = load<u32>(page, FRAME_RMAP);
  const before = nodeBefore(newest, mm, hvn);
  const node: usize = load<u32>(before, NODE_NEXT);
  if (node == newest) {
    // The chain is circular: the one before the newest becomes it.
    store<u32>(page, <u32>before, FRAME_RMAP);
    return;
  }
  store<u32>(before, load<u32>(node, NODE_NEXT), NODE_NEXT);
  store<u32>(node, load<u32>(newest, NODE_NEXT), NODE_NEXT);
  store<u32>(newest, <u32>node, NODE_NEXT);
}

/** mm id of the i-th mapping, oldest first. */
export function rmapMm(pfn: Pfn, i: u32): u32 {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & PG_MULTIMAP) == 0) return flags >> PG_MM_SHIFT;
  return load<u32>(nodeAt(page, i), NODE_MM);
}

/** hvn of the i-th mapping, oldest first. */
export function rmapHvn(pfn: Pfn, i: u32): Hvn {
  const page = framePtr(pfn);
  if ((load<u32>(page, FRAME_FLAGS) & PG_MULTIMAP) == 0) return load<u32>(page, FRAME_RMAP);
  return load<u32>(nodeAt(page, i), NODE_HVN);
}

function nodeAt(page: usize, i: u32): usize {
  let node: usize = load<u32>(load<u32>(page, FRAME_RMAP), NODE_NEXT);
  for (; i != 0; i--) node = load<u32>(node, NODE_NEXT);
  return node;
}
