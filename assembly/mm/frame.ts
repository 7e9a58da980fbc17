// The frame table: one 32-byte struct page for each host frame, and the allocator of frames.
//
//   0        4        8        12       16       20       24       28       32
//   ┌────────┬────────┬────────┬────────┬────────┬────────┬────────┬────────┐
//   │ flags  │refcount│mapcount│LRU next│LRU prev│content │private │ rmap   │
//   └────────┴────────┴────────┴────────┴────────┴────────┴────────┴────────┘
//
// Invariants:
// - refcount 0 exactly when the frame is free; the free list runs through the "LRU next" word.
// - Frame 0 is the shared zero page: never on a list, never counted, never freed.
// - A frame that holds no written bytes needs no content page; content is then 0 or a stamp.
// - A compound page is 512 aligned frames marked PG_HUGE. References, list and folio flags are the
//   head's; a tail has refcount 0, and its own mapcount, rmap, content and PG_ANON_EXCLUSIVE.

import {
  CONTENT_PAGE,
  EVENT_FRAME_ALLOC,
  FRAME_CONTENT,
  FRAME_FLAGS,
  FRAME_LRU_NEXT,
  FRAME_MAPCOUNT,
  FRAME_MAPCOUNT_MASK,
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  FRAME_RMAP,
  FRAME_SIZE,
  HPAGE_PMD_NR,
  PAGE_SHIFT,
  PAGE_SIZE,
  PG_ANON_EXCLUSIVE,
  PG_CHARGED,
  PG_HUGE,
  PG_LRU,
  PG_LRU_PENDING,
  PG_UNEVICTABLE,
  ZERO_PFN,
} from '../abi';
import { trace } from '../events';
import { arenaAlloc, pageAlloc, pageFree } from '../layout';
import { Pfn } from '../types';
import { lruDel } from './lru';
import { genForget } from './lru_gen';
import { memcgCharged, memcgUncharged, memcgUpdated } from './memcg';

/** log2 of FRAME_SIZE. */
const FRAME_SHIFT: u32 = 5;
if (FRAME_SIZE != (<u32>1) << FRAME_SHIFT) ERROR('abi: FRAME_SIZE');

let frames: usize = 0;
let frameCount: u32 = 0;
/** Frames at and above this one were never used. */
let frameTop: u32 = 0;
/** First frame of the free list (0: none). */
let freeFrames: u32 = 0;
/** First frame of the first free block of 512 (0: none), linked as the free list is. */
let freeBlocks: u32 = 0;
let freeCount: u32 = 0;
/** A word: frames charged to the limit. The host reads it before every fault that needs room. */
const CHARGED: usize = memory.data(4, 4);
/** A page of zeros that reads of untouched frames see. */
let zeroContent: usize = 0;

/** Makes the table for `nframes` usable frames (and the zero page); called once. */
export function frameInit(nframes: u32): void {
  assert(frames == 0, 'the frame table is made once');
  frameCount = nframes + 1;
  frames = arenaAlloc((<usize>frameCount) << FRAME_SHIFT);
  frameTop = 1;
  freeCount = nframes;
  zeroContent = pageAlloc();
  store<u32>(frames, 1, FRAME_REFCOUNT);
}

/** Address of the struct page of a frame. */
export function framePtr(pfn: Pfn): usize {
  assert(pfn < frameCount, 'a pfn lies in the frame table');
  return frames + ((<usize>pfn) << FRAME_SHIFT);
}

/** Base of the frame table. */
export function frameTable(): usize {
  return frames;
}

/** Usable frames. */
export function frameTotal(): u32 {
  return frameCount - 1;
}

/** Frames that frameAlloc() can still hand out. */
export function framesFree(): u32 {
  return freeCount;
}

/** Frames charged to the limit. */
export function framesCharged(): u32 {
  return load<u32>(CHARGED);
}

/** Address of the word with their number. */
export function framesChargedPtr(): u32 {
  return <u32>CHARGED;
}

/** A zeroed frame with one reference, or 0 when all are in use. */
export function frameAlloc(): Pfn {
  let pfn = freeFrames;
  if (pfn != 0) {
    const page = framePtr(pfn);
    freeFrames = load<u32>(page, FRAME_LRU_NEXT);
    store<u32>(page, 0, FRAME_LRU_NEXT);
  } else if (frameTop != frameCount) {
    pfn = frameTop++;
  } else {
    if (freeBlocks == 0) return 0;
    pfn = breakBlock();
  }
  freeCount--;
  // Who drops an spte after its page was freed marks a free frame; so does v3 at munmap() where sptes do not pin pages.
  store<u32>(framePtr(pfn), 0, FRAME_FLAGS);
  store<u32>(framePtr(pfn), 1, FRAME_REFCOUNT);
  trace(EVENT_FRAME_ALLOC, pfn);
  return pfn;
}

function addCharged(pages: i32): void {
  store<u32>(CHARGED, load<u32>(CHARGED) + pages);
}

/** Gives the frames of a free block but the first to the free list; returns the first. */
function breakBlock(): Pfn {
  const first = freeBlocks;
  freeBlocks = load<u32>(framePtr(first), FRAME_LRU_NEXT);
  store<u32>(framePtr(first), 0, FRAME_LRU_NEXT);
  for (let pfn = first + HPAGE_PMD_NR - 1; pfn != first; pfn--) listFree(pfn);
  return first;
}

function listFree(pfn: Pfn): void {
  store<u32>(framePtr(pfn), freeFrames, FRAME_LRU_NEXT);
  freeFrames = pfn;
}

/** 512 zeroed frames in a row as one page with one reference: the first of them, or 0. */
export function hugeFrameAlloc(): Pfn {
  let head = freeBlocks;
  if (head != 0) {
    freeBlocks = load<u32>(framePtr(head), FRAME_LRU_NEXT);
    store<u32>(framePtr(head), 0, FRAME_LRU_NEXT);
  } else {
    head = (frameTop + HPAGE_PMD_NR - 1) & ~(HPAGE_PMD_NR - 1);
    if (head + HPAGE_PMD_NR > frameCount) return 0;
    for (; frameTop < head; frameTop++) listFree(frameTop);
    frameTop = head + HPAGE_PMD_NR;
  }
  freeCount -= HPAGE_PMD_NR;
  store<u32>(framePtr(head), 1, FRAME_REFCOUNT);
  for (let pfn = head; pfn < head + HPAGE_PMD_NR; pfn++) {
    store<u32>(framePtr(pfn), PG_HUGE, FRAME_FLAGS);
    trace(EVENT_FRAME_ALLOC, pfn);
  }
  return head;
}

/** The frame that stands for a page: the head of a compound one (page_folio). */
export function folioOf(pfn: Pfn): Pfn {
  return load<u32>(framePtr(pfn), FRAME_FLAGS) & PG_HUGE ? pfn & ~(HPAGE_PMD_NR - 1) : pfn;
}

/** A new page of a locked area that waits for its list is not unevictable yet. */
export function isLocking(flags: u32): bool {
  const both = PG_UNEVICTABLE | PG_LRU_PENDING;
  return (flags & both) == both;
}

/** Pages of a folio with these flags. */
export function folioPages(flags: u32): u32 {
  return flags & PG_HUGE ? HPAGE_PMD_NR : 1;
}

/** A small page is marked PG_CHARGED where no cgroup counts: it goes against the limit until it is freed. */
export function chargePage(): void {
  addCharged(1);
}

/** Counts a folio against the limit until it is freed. */
export function frameCharge(pfn: Pfn): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if (flags & PG_CHARGED) return;
  store<u32>(page, flags | PG_CHARGED, FRAME_FLAGS);
  addCharged(folioPages(flags));
  memcgCharged(folioPages(flags));
}

/** Whether host page tables count against the limit, as they do in a memory cgroup. */
let tablesCount: u32 = 0;

/** PG_ANON_EXCLUSIVE, or 0 where pages are not marked as one mapping's own (until 5.19). */
export let anonExclusive: u32 = PG_ANON_EXCLUSIVE;

/** Whether anonymous pages are marked as one mapping's own. */
export function frameMarkExclusive(on: u32): void {
  anonExclusive = on != 0 ? PG_ANON_EXCLUSIVE : 0;
}

/** Says whether host page tables count against the limit (1) or not (0). */
export function frameChargeTables(on: u32): void {
  tablesCount = on;
}

/** Pages that a new leaf table of a host page table counts as. */
export function tableCharge(): u32 {
  return tablesCount;
}

/** A leaf table was made: a page of kernel memory (MEMCG_KMEM), and one of page tables. */
export function chargeTable(): void {
  if (tablesCount == 0) return;
  addCharged(1);
  memcgUpdated(1);
  memcgUpdated(1);
}

/** A leaf table was freed. */
export function unchargeTable(): void {
  if (tablesCount == 0) return;
  addCharged(-1);
  memcgUpdated(1);
  memcgUpdated(1);
}

function frameFree(pfn: Pfn, page: usize): void {
  const flags = load<u32>(page, FRAME_FLAGS);
  if (flags & PG_LRU) lruDel(pfn);
  genForget(pfn);
  if (flags & PG_CHARGED) {
    addCharged(-(<i32>folioPages(flags)));
    memcgUncharged();
  }
  if ((flags & PG_HUGE) == 0) {
    frameClear(page);
    listFree(pfn);
    freeCount++;
    return;
  }
  for (let i: u32 = 0; i < HPAGE_PMD_NR; i++) frameClear(framePtr(pfn + i));
  store<u32>(page, freeBlocks, FRAME_LRU_NEXT);
  freeBlocks = pfn;
  freeCount += HPAGE_PMD_NR;
}

function frameClear(page: usize): void {
  assert(
    (load<u32>(page, FRAME_MAPCOUNT) & FRAME_MAPCOUNT_MASK) == 0,
    'a freed frame is mapped nowhere',
  );
  const content = load<u32>(page, FRAME_CONTENT);
  if (content & CONTENT_PAGE) pageFree((<usize>(content & ~CONTENT_PAGE)) << PAGE_SHIFT);
  store<u32>(page, 0, FRAME_FLAGS);
  store<u32>(page, 0, FRAME_MAPCOUNT);
  store<u32>(page, 0, FRAME_CONTENT);
  store<u32>(page, 0, FRAME_PRIVATE);
  store<u32>(page, 0, FRAME_RMAP);
}

/** Frees a small page that is on no list and that nobody holds any more. */
export function frameRelease(pfn: Pfn, page: usize): void {
  if ((load<u32>(page, FRAME_FLAGS) & PG_CHARGED) != 0) {
    addCharged(-1);
    memcgUncharged();
  }
  store<u32>(page, 0, FRAME_REFCOUNT);
  frameClear(page);
  listFree(pfn);
  freeCount++;
}

/** Frees a page whose references are all the caller's, and are dropped with it. */
export function freePage(pfn: Pfn): void {
  const page = framePtr(folioOf(pfn));
  store<u32>(page, 0, FRAME_REFCOUNT);
  frameFree(folioOf(pfn), page);
}

/** Takes a reference (get_page). */
export function getPage(pfn: Pfn): void {
  if (pfn == ZERO_PFN) return;
  let page = framePtr(pfn);
  let refs = load<u32>(page, FRAME_REFCOUNT);
  if (refs == 0) {
    page = framePtr(folioOf(pfn));
    refs = load<u32>(page, FRAME_REFCOUNT);
    assert(refs != 0, 'only a frame in use can gain a reference');
  }
  store<u32>(page, refs + 1, FRAME_REFCOUNT);
}

/** Drops a reference and frees the frame with the last one (put_page). 1 when it was freed. */
export function putPage(pfn: Pfn): u32 {
  if (pfn == ZERO_PFN) return 0;
  let page = framePtr(pfn);
  let refs = load<u32>(page, FRAME_REFCOUNT);
  if (refs == 0) {
    pfn = folioOf(pfn);
    page = framePtr(pfn);
    refs = load<u32>(page, FRAME_REFCOUNT);
    assert(refs != 0, 'a frame in use has a reference');
  }
  store<u32>(page, refs - 1, FRAME_REFCOUNT);
  if (refs != 1) return 0;
  frameFree(pfn, page);
  return 1;
}

/** 4 KiB of content for reading: a page of zeros when nothing was written as bytes. */
export function frameContentPtr(pfn: Pfn): usize {
  const content = load<u32>(framePtr(pfn), FRAME_CONTENT);
  if (content & CONTENT_PAGE) return (<usize>(content & ~CONTENT_PAGE)) << PAGE_SHIFT;
  return zeroContent;
}

/** 4 KiB of content for writing; a stamp that was there is replaced by zeros. */
export function frameContentForWrite(pfn: Pfn): usize {
  assert(pfn != ZERO_PFN, 'the zero page is never written');
  const page = framePtr(pfn);
  const content = load<u32>(page, FRAME_CONTENT);
  if (content & CONTENT_PAGE) return (<usize>(content & ~CONTENT_PAGE)) << PAGE_SHIFT;
  const bytes = pageAlloc();
  store<u32>(page, CONTENT_PAGE | (<u32>(bytes >> PAGE_SHIFT)), FRAME_CONTENT);
  return bytes;
}

/** The content word of a frame: 0, a stamp, or CONTENT_PAGE and a page number. */
export function frameContent(pfn: Pfn): u32 {
  return load<u32>(framePtr(pfn), FRAME_CONTENT);
}

/** A copy of a content word: stamps are values, content pages are duplicated. */
export function contentCopy(content: u32): u32 {
  if ((content & CONTENT_PAGE) == 0) return content;
  const bytes = pageAlloc();
  memory.copy(bytes, (<usize>(content & ~CONTENT_PAGE)) << PAGE_SHIFT, <usize>PAGE_SIZE);
  return CONTENT_PAGE | (<u32>(bytes >> PAGE_SHIFT));
}

/** Gives back what a content word owns. */
export function contentFree(content: u32): void {
  if (content & CONTENT_PAGE) pageFree((<usize>(content & ~CONTENT_PAGE)) << PAGE_SHIFT);
}

/** Replaces the content word of a frame and gives back what the old one owned. */
export function frameSetContent(pfn: Pfn, content: u32): void {
  const page = framePtr(pfn);
  const old = load<u32>(page, FRAME_CONTENT);
  if (old != content) contentFree(old);
  store<u32>(page, content, FRAME_CONTENT);
}
