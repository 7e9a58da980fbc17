// get_user_pages where nothing can come between its steps: the pieces of the host page fault in the
// order of handleMmFault() (src/mm/fault.ts, the protocol), without its preemption points, for the
// plain cases. Whatever is not plain is left to the protocol, before anything is changed.

import {
  FAULT_WP,
  FOLLOW_NONE,
  GUP_CHARGE,
  GUP_NO_READ,
  GUP_OUT_PLACE,
  GUP_OUT_READ,
  GUP_READ_FILE,
  GUP_READ_SWAP,
  GUP_SLOW,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  IO_BUSY,
  IO_MAJOR,
  MAP_CHARGED,
  MAP_ROOM_MADE,
  MAP_SHARED,
  MAP_WRITE_FAULT,
  MAP_ZERO_PAGE,
} from '../abi';
import { isTracing } from '../events';
import { Hpte, Hvn, Pfn } from '../types';
import { filemapGetAt } from './filemap';
import { filemapMapAt, filemapReadAt } from './filemap_fault';
import { framesCharged, tableCharge } from './frame';
import { wpReuse, wpSurelyReuses } from './cow';
import { followAt } from './follow';
import {
  doAnonymousPageAt,
  faultBegin,
  faultClassify,
  faultPresent,
  mapZeroPage,
  outRead,
  outWord,
} from './memory';
import { swapinBegin, swapinMapAt } from './swapin';
import { hpteGet, leafPmdp, ptepAt } from './pte';
import { swapCacheLookup } from './swap';

/** Notes for the host that a device was read: which, and where. */
function noteRead(device: u32, place: u32): void {
  outWord(GUP_OUT_READ, device);
  outWord(GUP_OUT_PLACE, place);
}

/** A page of a file: FILE and FILE_MAP of the protocol. */
function fileFault(
  mm: u32,
  hvn: Hvn,
  pmdp: usize,
  args: u32,
  file: u32,
  offset: u32,
  cache: usize,
): u32 {
  const found = filemapReadAt(file, offset, args, cache);
  if (found == 0) return GUP_SLOW;
  if ((found & IO_MAJOR) != 0) noteRead(GUP_READ_FILE, offset);
  filemapMapAt(mm, hvn, pmdp, found & ~IO_MAJOR, args);
  return 0;
}

/** A page in swap: SWAP and SWAP_MAP. */
function swapFault(mm: u32, hvn: Hvn, pmdp: usize, args: u32, slot: u32): u32 {
  const found = swapinBegin(slot, args);
  if (found == 0 || found == IO_BUSY) return GUP_SLOW;
  if ((found & IO_MAJOR) != 0) noteRead(GUP_READ_SWAP, slot);
  swapinMapAt(mm, hvn, pmdp, found & ~IO_MAJOR, args);
  return 0;
}

/** Whether a fault at a page that never was maps the shared zero page. */
function mapsZeroPage(args: u32): bool {
  return (args & (MAP_ZERO_PAGE | MAP_WRITE_FAULT)) == MAP_ZERO_PAGE;
}

/** A page that never was: ANON. */
function anonFault(mm: u32, hvn: Hvn, pmdp: usize, args: u32): u32 {
  if (mapsZeroPage(args)) {
    mapZeroPage(mm, hvn);
    return 0;
  }
  return doAnonymousPageAt(mm, hvn, pmdp, args) == 0 ? GUP_SLOW : 0;
}

/** A write to a present pte that permits no write, of a page that needs no copy: PRESENT. */
function presentFault(mm: u32, hvn: Hvn, args: u32, entry: u32): u32 {
  if ((args & MAP_WRITE_FAULT) == 0 || !wpSurelyReuses(entry, args)) return GUP_SLOW;
  faultClassify(mm, hvn);
  if (faultPresent(mm, hvn, MAP_WRITE_FAULT) == FAULT_WP) wpReuse(mm, hvn, args);
  return 0;
}

/**
 * The pfn of a page with a reference, as followPage() with `foll` gives it, faulted in when needed with
 * MAP_* `args`; `file` (0: none) and `offset` are what lies behind it, `limit` how many pages may be
 * charged. GUP_CHARGE: room must be made first (and then the call repeated with MAP_ROOM_MADE). GUP_SLOW: the protocol is to go on. MM_OUT words
 * GUP_OUT_*: the device read, if there was one.
 */
export function gupPlain(
  mm: u32,
  hvn: Hvn,
  foll: u32,
  args: u32,
  file: u32,
  offset: u32,
  limit: u32,
): Pfn {
  outWord(GUP_OUT_READ, GUP_NO_READ);
  const pmdp = leafPmdp(mm, hvn);
  const present = followAt(mm, hvn, pmdp, foll);
  if (present != FOLLOW_NONE) return present;
  return gupAbsent(mm, hvn, pmdp, foll, args, file, offset, limit);
}

/** The pte of a page, with its leafPmdp(). */
function entryAt(mm: u32, hvn: Hvn, pmdp: usize): Hpte {
  return pmdp == 0 ? hpteGet(mm, hvn) : load<u32>(ptepAt(pmdp, hvn));
}

/**
 * Whether the fault at an absent pte `entry` needs a page more than may be charged. `cache` is the leafPmdp()
 * of the file's page, MM_OUT word 1 what a new leaf table would be charged as.
 */
function needsRoom(entry: Hpte, args: u32, file: u32, offset: u32, cache: usize, limit: u32): bool {
  if ((args & MAP_CHARGED) == 0 || framesCharged() + tableCharge() < limit) return false;
  if (entry != 0) {
    return framesCharged() >= limit && swapCacheLookup(entry >> HPTE_PFN_SHIFT) == 0;
  }
  if (file != 0) return framesCharged() >= limit && filemapGetAt(offset, cache) == 0;
  return framesCharged() + outRead(1) >= limit && !mapsZeroPage(args);
}

/** The same after followPage() found nothing, with the pmd entry of the page, or 0. */
export function gupAbsent(
  mm: u32,
  hvn: Hvn,
  pmdp: usize,
  foll: u32,
  args: u32,
  file: u32,
  offset: u32,
  limit: u32,
): Pfn {
  outWord(GUP_OUT_READ, GUP_NO_READ);
  const entry = entryAt(mm, hvn, pmdp);
  const copies = file != 0 && (args & (MAP_WRITE_FAULT | MAP_SHARED)) == MAP_WRITE_FAULT;
  if (isTracing() || (entry == 0 && copies)) return GUP_SLOW;
  if ((entry & HPTE_PRESENT) != 0) {
    return presentFault(mm, hvn, args, entry) == 0 ? followAt(mm, hvn, pmdp, foll) : GUP_SLOW;
  }
  const cache = entry == 0 && file != 0 ? leafPmdp(file, offset) : 0;
  // The fault is counted once, before room is made for it.
  if ((args & MAP_ROOM_MADE) == 0) {
    if (pmdp == 0) faultClassify(mm, hvn);
    else faultBegin();
    if (needsRoom(entry, args, file, offset, cache, limit)) return GUP_CHARGE;
  }
  return mapAbsent(mm, hvn, pmdp, foll, args, file, offset, entry, cache);
}

/** The same after GUP_CHARGE, when room was made. */
export function gupRoomMade(
  mm: u32,
  hvn: Hvn,
  pmdp: usize,
  foll: u32,
  args: u32,
  file: u32,
  offset: u32,
): Pfn {
  const entry = entryAt(mm, hvn, pmdp);
  const cache = entry == 0 && file != 0 ? leafPmdp(file, offset) : 0;
  return mapAbsent(mm, hvn, pmdp, foll, args, file, offset, entry, cache);
}

/** Maps a page for which there is room in place of the absent pte `entry`. */
function mapAbsent(
  mm: u32,
  hvn: Hvn,
  pmdp: usize,
  foll: u32,
  args: u32,
  file: u32,
  offset: u32,
  entry: Hpte,
  cache: usize,
): Pfn {
  let done: u32 = 0;
  if (entry != 0) done = swapFault(mm, hvn, pmdp, args, entry >> HPTE_PFN_SHIFT);
  else if (file != 0) done = fileFault(mm, hvn, pmdp, args, file, offset, cache);
  else done = anonFault(mm, hvn, pmdp, args);
  if (done != 0) return done;
  // The leaf table may be new.
  return followAt(mm, hvn, pmdp != 0 ? pmdp : leafPmdp(mm, hvn), foll);
}
