// Page lists: doubly linked through the frame table, so a move is a handful of stores. Which list a
// frame is on stands in its flags. The first page of a list is the newest one; reclaim takes from
// the end.
//
//   head: ┌──────────┬──────────┬───────┬───────┐
//         │ first pfn│ last pfn │ pages │ spare │   pfn 0 (the zero page, never listed) = none
//         └──────────┴──────────┴───────┴───────┘

import {
  FRAME_FLAGS,
  FRAME_LRU_NEXT,
  FRAME_LRU_PREV,
  LRU_HEAD_SIZE,
  LRU_LISTS,
  PG_LIST_MASK,
  PG_LIST_SHIFT,
  PG_LRU,
} from '../abi';
import { LRU_MOVES } from '../counters';
import { bump } from '../stats';
import { Pfn } from '../types';
import { framePtr } from './frame';

const HEADS: usize = memory.data(512, 16);
const HEAD_FIRST: usize = 0;
const HEAD_LAST: usize = 4;
const HEAD_PAGES: usize = 8;
if (LRU_LISTS * LRU_HEAD_SIZE != 512) ERROR('abi: LRU_LISTS * LRU_HEAD_SIZE');

function headOf(list: u32): usize {
  assert(list < LRU_LISTS, 'a list number is below LRU_LISTS');
  return HEADS + ((<usize>list) << 4);
}

/** Address of the list heads, for the host's audit. */
export function lruHeads(): usize {
  return HEADS;
}

/** Pages on a list. */
export function lruSize(list: u32): u32 {
  return load<u32>(headOf(list), HEAD_PAGES);
}

/** Oldest page of a list, or 0. */
export function lruTail(list: u32): Pfn {
  return load<u32>(headOf(list), HEAD_LAST);
}

/** Newest page of a list, or 0. */
export function lruHead(list: u32): Pfn {
  return load<u32>(headOf(list), HEAD_FIRST);
}

/** The next newer page on the same list, or 0. */
export function lruNewer(pfn: Pfn): Pfn {
  return load<u32>(framePtr(pfn), FRAME_LRU_PREV);
}

/** The list that a frame is on, or 0xffffffff. */
export function lruListOf(pfn: Pfn): u32 {
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  return flags & PG_LRU ? (flags & PG_LIST_MASK) >> PG_LIST_SHIFT : 0xffffffff;
}

function link(pfn: Pfn, list: u32): usize {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  assert((flags & PG_LRU) == 0, 'a page is on one list at most');
  store<u32>(page, (flags & ~PG_LIST_MASK) | PG_LRU | (list << PG_LIST_SHIFT), FRAME_FLAGS);
  const head = headOf(list);
  store<u32>(head, load<u32>(head, HEAD_PAGES) + 1, HEAD_PAGES);
  return page;
}

/** Adds a page as the newest of a list. */
export function lruAdd(pfn: Pfn, list: u32): void {
  const page = link(pfn, list);
  const head = headOf(list);
  const first = load<u32>(head, HEAD_FIRST);
  store<u32>(page, first, FRAME_LRU_NEXT);
  store<u32>(page, 0, FRAME_LRU_PREV);
  if (first != 0) store<u32>(framePtr(first), pfn, FRAME_LRU_PREV);
  else store<u32>(head, pfn, HEAD_LAST);
  store<u32>(head, pfn, HEAD_FIRST);
}

/** Adds a page as the oldest of a list. */
export function lruAddTail(pfn: Pfn, list: u32): void {
  const page = link(pfn, list);
  const head = headOf(list);
  const last = load<u32>(head, HEAD_LAST);
  store<u32>(page, 0, FRAME_LRU_NEXT);
  store<u32>(page, last, FRAME_LRU_PREV);
  if (last != 0) store<u32>(framePtr(last), pfn, FRAME_LRU_NEXT);
  else store<u32>(head, pfn, HEAD_FIRST);
  store<u32>(head, pfn, HEAD_LAST);
}

/** Takes a page off its list. */
export function lruDel(pfn: Pfn): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  assert((flags & PG_LRU) != 0, 'a page that is taken off a list is on one');
  const head = headOf((flags & PG_LIST_MASK) >> PG_LIST_SHIFT);
  const next = load<u32>(page, FRAME_LRU_NEXT);
  const prev = load<u32>(page, FRAME_LRU_PREV);
  if (next != 0) store<u32>(framePtr(next), prev, FRAME_LRU_PREV);
  else store<u32>(head, prev, HEAD_LAST);
  if (prev != 0) store<u32>(framePtr(prev), next, FRAME_LRU_NEXT);
  else store<u32>(head, next, HEAD_FIRST);
  store<u32>(head, load<u32>(head, HEAD_PAGES) - 1, HEAD_PAGES);
  store<u32>(page, 0, FRAME_LRU_NEXT);
  store<u32>(page, 0, FRAME_LRU_PREV);
  store<u32>(page, flags & ~(PG_LRU | PG_LIST_MASK), FRAME_FLAGS);
}

/** Moves a listed page to the newest end of a list. */
export function lruMove(pfn: Pfn, list: u32): void {
  lruDel(pfn);
  lruAdd(pfn, list);
  bump(LRU_MOVES);
}
