// The fault at a page of a file that must be read, where no cgroup counts and no generations are kept: FILE and
// FILE_MAP of the protocol (src/mm/fault.ts) for a new page that nobody else can see yet.

import {
  GUP_OUT_PLACE,
  GUP_OUT_READ,
  GUP_READ_FILE,
  GUP_SLOW,
  FRAME_FILE_SHIFT,
  FRAME_MAPCOUNT,
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  FRAME_RMAP,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  MAP_CHARGED,
  MAP_SHARED,
  MAP_UNEVICTABLE,
  MAP_WRITE_FAULT,
  PG_CHARGED,
  PG_MM_SHIFT,
  PG_UNEVICTABLE,
} from '../abi';
import { FILE_READS, MAJOR_FAULTS } from '../counters';
import { fileRead } from '../mm/filemap';
import { filemapPte } from '../mm/filemap_fault';
import { chargePage, frameAlloc, framePtr } from '../mm/frame';
import { lruLinkNew, lruTarget } from '../mm/lru';
import { lruBatchSize } from '../mm/lru_add';
import { followPte } from '../mm/follow';
import { outWord } from '../mm/memory';
import { leafPmdp, ptepAt, ptepFillAt } from '../mm/pte';
import { bump } from '../stats';
import { Hvn, Pfn } from '../types';
import { mayBePlain } from './plain';

/**
 * The leafPmdp() of the page's place in the page cache when a fault with MAP_* `args` must read the page, and
 * readPlain() can; 0: it is another fault.
 */
export function plainRead(pmdp: usize, hvn: Hvn, args: u32, file: u32, offset: u32): usize {
  if (file == 0 || pmdp == 0 || load<u32>(ptepAt(pmdp, hvn)) != 0) return 0;
  if ((args & (MAP_WRITE_FAULT | MAP_SHARED)) == MAP_WRITE_FAULT) return 0;
  if (lruBatchSize() != 0 || !mayBePlain()) return 0;
  const cache = leafPmdp(file, offset);
  return cache == 0 || load<u32>(ptepAt(cache, offset)) != 0 ? 0 : cache;
}

/** Reads and maps a page after plainRead(), as followPage() with `foll` gives it then; GUP_SLOW: no frame is free. */
export function readPlain(
  mm: u32,
  hvn: Hvn,
  pmdp: usize,
  foll: u32,
  args: u32,
  file: u32,
  offset: u32,
  cache: usize,
): Pfn {
  const pfn = frameAlloc();
  if (pfn == 0) return GUP_SLOW;
  const page = framePtr(pfn);
  // The page cache and the pte hold it.
  store<u32>(page, 2, FRAME_REFCOUNT);
  store<u32>(page, (file << FRAME_FILE_SHIFT) | 1, FRAME_MAPCOUNT);
  store<u32>(page, offset, FRAME_PRIVATE);
  store<u32>(page, hvn, FRAME_RMAP);
  let flags = mm << PG_MM_SHIFT;
  if ((args & MAP_UNEVICTABLE) != 0) flags |= PG_UNEVICTABLE;
  if ((args & MAP_CHARGED) != 0) {
    flags |= PG_CHARGED;
    chargePage();
  }
  lruLinkNew(page, pfn, flags, lruTarget(flags));
  fileRead(pfn, file, offset);
  ptepFillAt(file, cache, ptepAt(cache, offset), HPTE_PRESENT | (pfn << HPTE_PFN_SHIFT));
  const ptep = ptepAt(pmdp, hvn);
  ptepFillAt(mm, pmdp, ptep, filemapPte(pfn, args));
  bump(FILE_READS);
  bump(MAJOR_FAULTS);
  outWord(GUP_OUT_READ, GUP_READ_FILE);
  outWord(GUP_OUT_PLACE, offset);
  return followPte(ptep, foll, 0, false);
}
