// The page cache: for each file a table of its cached pages and a table of what the file holds, both
// by page offset (the sparse tables of pte.ts). A cached page has a reference of the cache's. An
// evicted page leaves a shadow entry when refaults are to be detected.
//
//   cache entry: HPTE_PRESENT | pfn << HPTE_PFN_SHIFT, or HPTE_SWAP | shadow << HPTE_PFN_SHIFT

import {
  FRAME_FILE_SHIFT,
  FRAME_FLAGS,
  FRAME_MAPCOUNT,
  FRAME_MAPCOUNT_MASK,
  FRAME_PRIVATE,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  MM_MAX,
  PG_DIRTY,
} from '../abi';
import { Pfn } from '../types';
import {
  contentCopy,
  contentFree,
  frameContent,
  framePtr,
  frameSetContent,
  getPage,
} from './frame';
import { mmCreate, mmDestroy, mmUsed } from './pgtable';
import { hpteGet, hpteNextMapped, hpteSet, hpteSetAt, leafPmdp, ptepAt } from './pte';

/** Id of the content table of each file. */
const CONTENTS: usize = memory.data(1024, 8);
if (MM_MAX * 4 != 1024) ERROR('abi: MM_MAX');
/** Page offsets of a file are below this. */
const OFFSET_LIMIT: u32 = 0x40000000;

/** A new file, all zeros and of any length; 0 when there are too many. */
export function fileCreate(): u32 {
  const file = mmCreate();
  if (file == 0) return 0;
  const contents = mmCreate();
  if (contents == 0) {
    mmDestroy(file);
    return 0;
  }
  store<u32>(CONTENTS + ((<usize>file) << 2), contents);
  return file;
}

function contentsOf(file: u32): u32 {
  return load<u32>(CONTENTS + ((<usize>file) << 2));
}

/** Removes a file that no page caches any more. */
export function fileDestroy(file: u32): void {
  const contents = contentsOf(file);
  let at = hpteNextMapped(contents, 0, OFFSET_LIMIT);
  while (at < OFFSET_LIMIT) {
    contentFree(hpteSet(contents, at, 0));
    at = hpteNextMapped(contents, at, OFFSET_LIMIT);
  }
  mmDestroy(contents);
  at = hpteNextMapped(file, 0, OFFSET_LIMIT);
  while (at < OFFSET_LIMIT) {
    assert((hpteSet(file, at, 0) & HPTE_PRESENT) == 0, 'a file goes after its cached pages');
    at = hpteNextMapped(file, at, OFFSET_LIMIT);
  }
  mmDestroy(file);
}

/** The cached page at an offset, or 0. */
export function filemapGet(file: u32, offset: u32): Pfn {
  return filemapGetAt(offset, leafPmdp(file, offset));
}

/** The same with the pmd entry of the cache's table, or 0. */
export function filemapGetAt(offset: u32, pmdp: usize): Pfn {
  const entry = pmdp == 0 ? 0 : load<u32>(ptepAt(pmdp, offset));
  return entry & HPTE_PRESENT ? entry >> HPTE_PFN_SHIFT : 0;
}

/** The shadow that the page at an offset left, or 0. */
export function filemapShadow(file: u32, offset: u32): u32 {
  const entry = hpteGet(file, offset);
  return entry & HPTE_SWAP ? entry >> HPTE_PFN_SHIFT : 0;
}

/** Adds a page to the cache. */
export function filemapAdd(pfn: Pfn, file: u32, offset: u32): void {
  filemapAddAt(pfn, file, offset, leafPmdp(file, offset));
}

/** The same with the pmd entry of the cache's table, or 0. */
export function filemapAddAt(pfn: Pfn, file: u32, offset: u32, pmdp: usize): void {
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_MAPCOUNT) | (file << FRAME_FILE_SHIFT), FRAME_MAPCOUNT);
  store<u32>(page, offset, FRAME_PRIVATE);
  hpteSetAt(file, offset, pmdp, HPTE_PRESENT | (pfn << HPTE_PFN_SHIFT));
  getPage(pfn);
}

/** Takes a page out of the cache, leaving a shadow (0: none); the caller drops the cache's reference. */
export function filemapDel(pfn: Pfn, shadow: u32): void {
  const page = framePtr(pfn);
  const counts = load<u32>(page, FRAME_MAPCOUNT);
  const entry = shadow != 0 ? HPTE_SWAP | (shadow << HPTE_PFN_SHIFT) : 0;
  hpteSet(counts >> FRAME_FILE_SHIFT, load<u32>(page, FRAME_PRIVATE), entry);
  store<u32>(page, counts & FRAME_MAPCOUNT_MASK, FRAME_MAPCOUNT);
  store<u32>(page, 0, FRAME_PRIVATE);
}

/** The file that a page caches, or 0. */
export function pageFile(pfn: Pfn): u32 {
  return load<u32>(framePtr(pfn), FRAME_MAPCOUNT) >> FRAME_FILE_SHIFT;
}

/** Whether a file holds nothing but zeros. */
export function fileIsBlank(file: u32): bool {
  return mmUsed(contentsOf(file)) == 0;
}

/** The file gets the page's content; the page is clean afterwards. */
export function fileWrite(pfn: Pfn): void {
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) & ~PG_DIRTY, FRAME_FLAGS);
  const contents = contentsOf(pageFile(pfn));
  const offset = load<u32>(page, FRAME_PRIVATE);
  const content = frameContent(pfn);
  // A file of zeros that stays one.
  if (content == 0 && mmUsed(contents) == 0) return;
  const old = hpteGet(contents, offset);
  if ((content | old) == 0) return;
  hpteSet(contents, offset, contentCopy(content));
  contentFree(old);
}

/** The page gets the file's content at an offset. */
export function fileRead(pfn: Pfn, file: u32, offset: u32): void {
  const contents = contentsOf(file);
  if (fileIsBlank(file)) return;
  const content = hpteGet(contents, offset);
  if (content != 0) frameSetContent(pfn, contentCopy(content));
}

/** Content word that the file holds at an offset. */
export function fileContent(file: u32, offset: u32): u32 {
  return hpteGet(contentsOf(file), offset);
}

/** Sets what the file holds at an offset (a stamp). */
export function fileSetContent(file: u32, offset: u32, content: u32): void {
  contentFree(hpteSet(contentsOf(file), offset, content));
}
