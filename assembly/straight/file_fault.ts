// The fault at a page of a file that must be read, where no cgroup counts and no generations are kept: FILE and
// FILE_MAP of the protocol (src/mm/fault.ts) for a new page that nobody else can see yet, with the room that is made
// for it first.

import {
  DEVICE_DISK,
  FOLLOW_NONE,
  FOLL_TOUCH,
  FOLL_WRITE,
  FOLL_YOUNG,
  FRAME_FILE_SHIFT,
  FRAME_FLAGS,
  FRAME_MAPCOUNT,
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  FRAME_RMAP,
  GUP_NO_READ,
  GUP_OUT_NO_MEMORY,
  GUP_OUT_PLACE,
  GUP_OUT_READ,
  GUP_READ_FILE,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  HPTE_YOUNG,
  MAP_CHARGED,
  MAP_SHARED,
  MAP_UNEVICTABLE,
  MAP_WRITE_FAULT,
  PG_CHARGED,
  PG_DIRTY,
  PG_MM_SHIFT,
  PG_UNEVICTABLE,
  STRAIGHT_AREA_FILE,
  STRAIGHT_AREA_OFFSET,
  STRAIGHT_CLOCK,
  STRAIGHT_MM,
  STRAIGHT_NOT,
} from '../abi';
import { FILE_READS, MAJOR_FAULTS } from '../counters';
import { lockstepRefault, lockstepWords } from '../lockstep';
import { clockAdvance, deviceRead } from '../mm/device';
import { fileRead } from '../mm/filemap';
import { filemapPte } from '../mm/filemap_fault';
import { chargePage, frameAlloc, framePtr, framesCharged } from '../mm/frame';
import { lruLinkNew, lruTarget } from '../mm/lru';
import { lruBatchSize } from '../mm/lru_add';
import { folioMarkAccessed } from '../mm/mark_accessed';
import { outWord } from '../mm/memory';
import { ptepEpoch } from '../mm/pgtable';
import { hpteGet, leafPmdp, ptepAt, ptepFillAt } from '../mm/pte';
import { bump } from '../stats';
import { Hpte, Hvn, Pfn } from '../types';
import { areaOf, forgetArea, STRAIGHT, yardstickGfn } from './config';
import { argsOf, noMemory, roomMade } from './gup';
import { mayBePlain } from './plain';
import { makeRoomPlainly, mayReclaim, straightLimit } from './shrink';

/** plainRead(): it is another fault, and nothing was done. */
export const READ_NOT: Pfn = 0xfffffffe;

/** The pte of the page that plainRead() gave. */
export let readPte: Hpte = 0;
/** The same of a page that another gave. */
export function noteReadPte(pte: Hpte): void {
  readPte = pte;
}

/** Whether plainRead() may be asked, from now on until the host may have changed something. */
export function mayReadPlain(): bool {
  forgetArea();
  return mayBePlain() && lruBatchSize() == 0;
}

/**
 * Reads and maps the page of `hvn`, whose pte is empty, as straightGup() does, when it is a page of a file that is not
 * cached: readPte is its pte. FOLLOW_NONE: the protocol is to go on; READ_NOT.
 */
export function plainRead(hvn: Hvn, pmdp: usize, foll: u32, accesses: u32, l2Hits: u32): Pfn {
  const area = areaOf(hvn);
  if (area == 0) return READ_NOT;
  const file = load<u32>(area, STRAIGHT_AREA_FILE);
  if (file == 0) return READ_NOT;
  const offset = hvn + load<u32>(area, STRAIGHT_AREA_OFFSET);
  const cache = leafPmdp(file, offset);
  if (cache == 0) return READ_NOT;
  const cachep = ptepAt(cache, offset);
  return readAt(area, hvn, pmdp, ptepAt(pmdp, hvn), cache, cachep, foll, accesses, l2Hits);
}

/** plainRead() with the addresses of the ptes of a page of a file, and the pmd entries above them. */
export function readAt(
  area: usize,
  hvn: Hvn,
  pmdp: usize,
  ptep: usize,
  cache: usize,
  cachep: usize,
  foll: u32,
  accesses: u32,
  l2Hits: u32,
): Pfn {
  const args = argsOf(area, foll);
  if (args == STRAIGHT_NOT || load<u32>(cachep) != 0) return READ_NOT;
  // A write to a private page of a file copies it.
  if ((args & (MAP_WRITE_FAULT | MAP_SHARED)) == MAP_WRITE_FAULT) return READ_NOT;
  const full = (args & MAP_CHARGED) != 0 && framesCharged() >= straightLimit();
  if (full && !mayReclaim()) return READ_NOT;
  outWord(GUP_OUT_NO_MEMORY, 0);
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  const file = load<u32>(area, STRAIGHT_AREA_FILE);
  const offset = hvn + load<u32>(area, STRAIGHT_AREA_OFFSET);
  // No time passes in a fault but that for which a device is waited.
  if (load<u32>(STRAIGHT, STRAIGHT_CLOCK) != 0) clockAdvance(accesses, l2Hits, 0);
  const epoch = ptepEpoch;
  if (full && !makeRoomPlainly()) return noMemory();
  if (epoch != ptepEpoch) {
    // A table of the host's went with a page.
    const got = roomMade(mm, hvn, foll, args, file, offset);
    readPte = hpteGet(mm, hvn);
    return got;
  }
  const pfn = frameAlloc();
  if (pfn == 0) {
    outWord(GUP_OUT_READ, GUP_NO_READ);
    return FOLLOW_NONE;
  }
  const page = framePtr(pfn);
  enterPage(pfn, page, mm, hvn, args, file, offset);
  ptepFillAt(file, cache, cachep, HPTE_PRESENT | (pfn << HPTE_PFN_SHIFT));
  readPte = touchNew(pfn, page, filemapPte(pfn, args), foll);
  ptepFillAt(mm, pmdp, ptep, readPte);
  bump(FILE_READS);
  bump(MAJOR_FAULTS);
  outWord(GUP_OUT_READ, GUP_READ_FILE);
  outWord(GUP_OUT_PLACE, offset);
  if (lockstepWords != 0) lockstepRefault(yardstickGfn(mm, hvn));
  deviceRead(DEVICE_DISK, offset);
  return pfn;
}

/** A new page of a file, read and mapped once: the page cache, the pte and the caller hold it. */
function enterPage(
  pfn: Pfn,
  page: usize,
  mm: u32,
  hvn: Hvn,
  args: u32,
  file: u32,
  offset: u32,
): void {
  store<u32>(page, 3, FRAME_REFCOUNT);
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
}

/** What followPte() (follow.ts) with `foll` does to a new page and to its pte `pte`, which is returned. */
function touchNew(pfn: Pfn, page: usize, pte: Hpte, foll: u32): Hpte {
  assert(
    (foll & FOLL_WRITE) == 0 || (pte & HPTE_WRITE) != 0,
    'a page faulted in for writing is writable',
  );
  if ((foll & FOLL_TOUCH) == 0) return pte;
  if ((foll & FOLL_WRITE) != 0 && (pte & HPTE_DIRTY) == 0) {
    store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_DIRTY, FRAME_FLAGS);
  }
  if ((foll & FOLL_YOUNG) != 0) return pte | HPTE_YOUNG;
  folioMarkAccessed(pfn);
  return pte;
}
