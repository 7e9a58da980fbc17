// Page lists: rings linked both ways through the frame table, so a move is a handful of stores, and the oldest page
// becomes the newest by a turn of the ring. Which list a frame is on stands in its flags. The first page of a list is
// the newest one; reclaim takes from the end.
//
//   head: ┌──────────┬──────────┬───────┬───────┐
//         │ first pfn│ last pfn │ pages │ spare │   pfn 0 (the zero page, never listed) = none
//         └──────────┴──────────┴───────┴───────┘

import {
  FRAME_FLAGS,
  FRAME_LRU_NEXT,
  FRAME_LRU_PREV,
  LRU_ACTIVE_ANON,
  LRU_ACTIVE_FILE,
  LRU_GEN_FIRST,
  LRU_HEAD_PAGES,
  LRU_HEAD_SIZE,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
  LRU_LISTS,
  LRU_POLICY_FIRST,
  LRU_UNEVICTABLE,
  PG_ACTIVE,
  PG_HUGE,
  PG_LIST_MASK,
  PG_LIST_SHIFT,
  PG_LRU,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_UNEVICTABLE,
  VERDICT_ROTATE,
} from '../abi';
import { LRU_MOVES, PAGES_ROTATED, PAGES_SCANNED } from '../counters';
import { bump, bumpBy } from '../stats';
import { Pfn } from '../types';
import { folioOf, folioPages, framePtr } from './frame';
import { lruIsolate, lruVerdict } from './isolate';
import { genAdd, genDel, lruGenEnabled } from './lru_gen';
import { folioMarkAccessed } from './mark_accessed';
import { memcgEnabled, memcgUpdated } from './memcg';

const HEADS: usize = memory.data(512, 16);
const HEAD_FIRST: usize = 0;
const HEAD_LAST: usize = 4;
const HEAD_PAGES: usize = 8;
if (LRU_LISTS * LRU_HEAD_SIZE != 512) ERROR('abi: LRU_LISTS * LRU_HEAD_SIZE');
if (HEAD_PAGES != <usize>LRU_HEAD_PAGES) ERROR('abi: LRU_HEAD_PAGES');

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
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if (lruHead((flags & PG_LIST_MASK) >> PG_LIST_SHIFT) == pfn) return 0;
  return load<u32>(page, FRAME_LRU_PREV);
}

const NO_LIST: u32 = 0xffffffff;

/** The list that a frame is on, or 0xffffffff. */
export function lruListOf(pfn: Pfn): u32 {
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  return flags & PG_LRU ? (flags & PG_LIST_MASK) >> PG_LIST_SHIFT : NO_LIST;
}

function link(pfn: Pfn, list: u32): usize {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  assert((flags & PG_LRU) == 0, 'a page is on one list at most');
  store<u32>(page, (flags & ~PG_LIST_MASK) | PG_LRU | (list << PG_LIST_SHIFT), FRAME_FLAGS);
  const head = headOf(list);
  store<u32>(head, load<u32>(head, HEAD_PAGES) + folioPages(flags), HEAD_PAGES);
  return page;
}

/** Adds a page as the newest of a list; with generations the list is that of the page's generation. */
export function lruAdd(pfn: Pfn, list: u32): void {
  if (list <= LRU_ACTIVE_FILE && lruGenEnabled()) list = genAdd(pfn);
  lruLink(pfn, list);
  memcgUpdated(folioPages(load<u32>(framePtr(pfn), FRAME_FLAGS)));
}

/** Links a page as the newest of a list. */
export function lruLink(pfn: Pfn, list: u32): void {
  linkFirst(link(pfn, list), pfn, headOf(list));
}

/** Links a page as the newest of a list, and gives it its first flags. */
export function lruLinkNew(page: usize, pfn: Pfn, flags: u32, list: u32): void {
  store<u32>(page, flags | PG_LRU | (list << PG_LIST_SHIFT), FRAME_FLAGS);
  const head = headOf(list);
  store<u32>(head, load<u32>(head, HEAD_PAGES) + 1, HEAD_PAGES);
  linkFirst(page, pfn, head);
}

function linkFirst(page: usize, pfn: Pfn, head: usize): void {
  linkIn(page, pfn, head);
  store<u32>(head, pfn, HEAD_FIRST);
}

/** Links a page between the oldest and the newest of a list, neither of which it is yet unless it is alone. */
function linkIn(page: usize, pfn: Pfn, head: usize): void {
  const first = load<u32>(head, HEAD_FIRST);
  if (first == 0) {
    store<u32>(page, pfn, FRAME_LRU_NEXT);
    store<u32>(page, pfn, FRAME_LRU_PREV);
    store<u32>(head, pfn, HEAD_FIRST);
    store<u32>(head, pfn, HEAD_LAST);
    return;
  }
  const last = load<u32>(head, HEAD_LAST);
  store<u32>(page, first, FRAME_LRU_NEXT);
  store<u32>(page, last, FRAME_LRU_PREV);
  store<u32>(framePtr(first), pfn, FRAME_LRU_PREV);
  store<u32>(framePtr(last), pfn, FRAME_LRU_NEXT);
}

/** Adds a page as the oldest of a list. */
export function lruAddTail(pfn: Pfn, list: u32): void {
  lruLinkTail(pfn, list);
}

/** Links a page as the oldest of a list. */
export function lruLinkTail(pfn: Pfn, list: u32): void {
  const head = headOf(list);
  linkIn(link(pfn, list), pfn, head);
  store<u32>(head, pfn, HEAD_LAST);
}

/** Takes a page off its list. */
export function lruDel(pfn: Pfn): void {
  const list = lruListOf(pfn);
  lruUnlink(pfn);
  if (list >= LRU_GEN_FIRST && list < LRU_POLICY_FIRST) genDel(pfn, false);
  memcgUpdated(folioPages(load<u32>(framePtr(pfn), FRAME_FLAGS)));
}

/** Unlinks a page from its list. */
export function lruUnlink(pfn: Pfn): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  assert((flags & PG_LRU) != 0, 'a page that is taken off a list is on one');
  const head = headOf((flags & PG_LIST_MASK) >> PG_LIST_SHIFT);
  unlinkFrom(page, pfn, head);
  store<u32>(head, load<u32>(head, HEAD_PAGES) - folioPages(flags), HEAD_PAGES);
  store<u32>(page, flags & ~(PG_LRU | PG_LIST_MASK), FRAME_FLAGS);
}

/** The same for the oldest page of a list, small. */
export function lruUnlinkOldest(page: usize): void {
  const flags = load<u32>(page, FRAME_FLAGS);
  const head = headOf((flags & PG_LIST_MASK) >> PG_LIST_SHIFT);
  assert((flags & PG_LRU) != 0, 'the page is the oldest of a list');
  unlinkFrom(page, load<u32>(head, HEAD_LAST), head);
  store<u32>(head, load<u32>(head, HEAD_PAGES) - 1, HEAD_PAGES);
  store<u32>(page, flags & ~(PG_LRU | PG_LIST_MASK), FRAME_FLAGS);
}

function unlinkFrom(page: usize, pfn: Pfn, head: usize): void {
  const next = load<u32>(page, FRAME_LRU_NEXT);
  const prev = load<u32>(page, FRAME_LRU_PREV);
  store<u32>(framePtr(next), prev, FRAME_LRU_PREV);
  store<u32>(framePtr(prev), next, FRAME_LRU_NEXT);
  const alone = next == pfn;
  if (load<u32>(head, HEAD_FIRST) == pfn) store<u32>(head, alone ? 0 : next, HEAD_FIRST);
  if (load<u32>(head, HEAD_LAST) == pfn) store<u32>(head, alone ? 0 : prev, HEAD_LAST);
  store<u32>(page, 0, FRAME_LRU_NEXT);
  store<u32>(page, 0, FRAME_LRU_PREV);
}

/**
 * What lruIsolate() and lruVerdict(VERDICT_ROTATE) come to for a mapped page on a list of a policy's own:
 * a second chance, without the flags, reference and counts that would only change to and fro.
 */
export function lruRotate(pfn: Pfn): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const list = (flags & PG_LIST_MASK) >> PG_LIST_SHIFT;
  if (list < LRU_POLICY_FIRST || lruTarget(flags) != list || memcgEnabled()) {
    lruIsolate(pfn);
    lruVerdict(pfn, VERDICT_ROTATE);
    return;
  }
  const head = headOf(list);
  unlinkFrom(page, pfn, head);
  linkFirst(page, pfn, head);
  bump(PAGES_SCANNED);
  bump(PAGES_ROTATED);
  bump(LRU_MOVES);
}

/**
 * lruRotate() of the oldest page of a list of a policy's own, where no cgroup counts. True: it is still to be counted
 * (countRotated()).
 */
export function lruRotateOldest(pfn: Pfn, page: usize): bool {
  const flags = load<u32>(page, FRAME_FLAGS);
  const list = (flags & PG_LIST_MASK) >> PG_LIST_SHIFT;
  if (lruTarget(flags) != list) {
    lruRotate(pfn);
    return false;
  }
  lruTurn(pfn, page, list);
  return true;
}

/** The same of a page that stays on that list, `list`. */
export function lruTurn(pfn: Pfn, page: usize, list: u32): void {
  const head = headOf(list);
  store<u32>(head, load<u32>(page, FRAME_LRU_PREV), HEAD_LAST);
  store<u32>(head, pfn, HEAD_FIRST);
}

/** Counts pages that lruRotateOldest() moved. */
export function countRotated(pages: u32): void {
  bumpBy(PAGES_SCANNED, pages);
  bumpBy(PAGES_ROTATED, pages);
  bumpBy(LRU_MOVES, pages);
}

/** A listed compound page is split: from now on only its first frame is listed. */
export function lruShrinkToHead(head: Pfn): void {
  const page = framePtr(head);
  const flags = load<u32>(page, FRAME_FLAGS);
  const at = headOf((flags & PG_LIST_MASK) >> PG_LIST_SHIFT);
  store<u32>(at, load<u32>(at, HEAD_PAGES) - (folioPages(flags) - 1), HEAD_PAGES);
  store<u32>(page, flags & ~PG_HUGE, FRAME_FLAGS);
}

/** Adds a page to the list of `older`, as the next newer one. */
export function lruAddNewer(pfn: Pfn, older: Pfn): void {
  const list = lruListOf(older);
  const page = link(pfn, list);
  const newer = load<u32>(framePtr(older), FRAME_LRU_PREV);
  store<u32>(page, older, FRAME_LRU_NEXT);
  store<u32>(page, newer, FRAME_LRU_PREV);
  store<u32>(framePtr(older), pfn, FRAME_LRU_PREV);
  store<u32>(framePtr(newer), pfn, FRAME_LRU_NEXT);
  if (lruHead(list) == older) store<u32>(headOf(list), pfn, HEAD_FIRST);
}

/** Moves a listed page to the newest end of a list. */
export function lruMove(pfn: Pfn, list: u32): void {
  lruDel(pfn);
  lruAdd(pfn, list);
  bump(LRU_MOVES);
}

// ---- where a page belongs (cf. folio_lru_list(), mm/swap.c) --------------------------------------

/** List of inactive anon, active anon, inactive file, active file pages; a policy may merge them. */
let inactiveAnon: u32 = LRU_INACTIVE_ANON;
let activeAnon: u32 = LRU_ACTIVE_ANON;
let inactiveFile: u32 = LRU_INACTIVE_FILE;
let activeFile: u32 = LRU_ACTIVE_FILE;
/** New anonymous pages start on the active list (before Linux 5.9). */
export let anonStartsActive: u32 = 0;
/** The list of all of these; 0xffffffff: there is none. */
let oneList: u32 = NO_LIST;
/** Says which list stands for which kind of page, and whether new anonymous pages are active. */
export function lruSetMap(ia: u32, aa: u32, ifile: u32, af: u32, startActive: u32): void {
  inactiveAnon = ia;
  activeAnon = aa;
  inactiveFile = ifile;
  activeFile = af;
  anonStartsActive = startActive;
  oneList = ((ia ^ aa) | (ia ^ ifile) | (ia ^ af)) == 0 ? ia : NO_LIST;
}

/** Whether all evictable pages belong on one list. */
export function isOneList(list: u32): bool {
  return oneList == list;
}

/** The list on which a page with these flags belongs. */
export function lruTarget(flags: u32): u32 {
  if (flags & PG_UNEVICTABLE) return LRU_UNEVICTABLE;
  if (oneList != NO_LIST) return oneList;
  const active = flags & PG_ACTIVE;
  // A lazily freeable anonymous page is kept with the file pages.
  if (flags & PG_SWAPBACKED) return active ? activeAnon : inactiveAnon;
  return active ? activeFile : inactiveFile;
}

/** Changes flags of a page and moves it to the list that they call for, if that is another one. */
export function lruSetFlags(pfn: Pfn, set: u32, clear: u32): void {
  const page = framePtr(pfn);
  const flags = (load<u32>(page, FRAME_FLAGS) | set) & ~clear;
  store<u32>(page, flags, FRAME_FLAGS);
  if ((flags & PG_LRU) == 0) return;
  const target = lruTarget(flags);
  const list = (flags & PG_LIST_MASK) >> PG_LIST_SHIFT;
  if (list >= LRU_GEN_FIRST && list < LRU_POLICY_FIRST) {
    // A page in a generation moves when it becomes unevictable or changes its type.
    const inType: u32 = list & 1 ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON;
    if ((target & ~(<u32>1)) == inType) return;
    lruMove(pfn, target);
    // lru_gen_del_folio() has called it active if it was young.
    store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~clear, FRAME_FLAGS);
    return;
  }
  if (target != (flags & PG_LIST_MASK) >> PG_LIST_SHIFT) lruMove(pfn, target);
}

/** A second touch activates a page (mark_page_accessed); 1 when this one did. */
export function markPageAccessed(pfn: Pfn): u32 {
  pfn = folioOf(pfn);
  const was = load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_ACTIVE;
  folioMarkAccessed(pfn);
  return was == 0 && (load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_ACTIVE) != 0 ? 1 : 0;
}

/** Clears PG_REFERENCED; 1 when it was set (TestClearPageReferenced). */
export function testClearReferenced(pfn: Pfn): u32 {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((flags & PG_REFERENCED) == 0) return 0;
  store<u32>(page, flags & ~PG_REFERENCED, FRAME_FLAGS);
  return 1;
}

/** The flags word of a frame. */
export function pageFlags(pfn: Pfn): u32 {
  return load<u32>(framePtr(pfn), FRAME_FLAGS);
}
