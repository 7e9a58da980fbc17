// Pages whose plain fault (plain_fault.ts) was served before: where all lies that such a fault, and reclaim that looks at
// the page, look up and change. Under ageing by dropped sptes a hot page faults again and again at what the host still
// maps, and nothing is different but the spte.
//
// An entry is good for a quiet (settled_table.ts): its first fault in one finds out whether the guest's tables above its
// entry and the memslot still permit what they did, and that no TLB holds the page. What it says holds longer, until the
// links between shadow tables, the host's tables, memslots, areas or rules may be others (stampNow()), of which the
// first three end a quiet, too. What the words at the addresses say is looked at by each fault.
//
//   entry, two lines:
//   ┌───────────────┬───────────────┬───────────────┬───────────────┬───────────────┬───────┬───────┐
//   │ gva           │ quiet         │ gpte          │ spte          │ writable      │ sptep │ gptep │
//   ├───────┬───────┼───────┬───────┼───────┬───────┼───────┬───────┼───────┬───────┼───────┼───────┤
//   │ head  │ hptep │ denies│ L2 way│ where │ bitmap│ transl│ purged│ pfn   │ hvn   │ pmdp  │ L1 set│
//   ├───────┼───────┼───────┼───────┼───────┼───────┼───────┴───────┼───────┴───────┴───────┴───────┘
//   │ L2 set│ fresh │ cachep│ cache │ area  │ guest │ stamp         │
//   └───────┴───────┴───────┴───────┴───────┴───────┴───────────────┘
//   spte: what maps the page to frame 0 where the host maps it read-only; writable: what changes where it may be written
//   denies: a bit for each ACCESS_* that is not for here, and two fields for the TLB; where: of `transl`, gfn << 3 and ACC_*, in the shadow page
//   purged: flush count at which its sets of the TLB held no dead way; pfn: the frame that it was mapped to last
//   guest: settledTable()
//   fresh: how the page is mapped when it is read in the place of another, for a read or a write (known_touch.ts)
//   cachep, cache: the page cache's pte and the pmd entry above it; 0: the page is no file's
//
// There are no entries where the tables exceed the caches: there nearly every fault is at another page.

import { ptepEpoch } from '../mm/pgtable';
import { linkEpoch } from '../mmu/flush';
import { quiet } from '../mmu/settled_table';
import { Pfn, Sptep } from '../types';
import { rulesEpoch } from './plain_rules';

const ENTRIES: usize = memory.data(262144, 64);
const ENTRY_SHIFT: u32 = 7;
const INDEX_MASK: u32 = 2047;
if ((INDEX_MASK + 1) << ENTRY_SHIFT != 262144) ERROR('known_page: 2048 entries');

const KNOWN_PAGE: usize = 0;
const KNOWN_QUIET: usize = 8;
export const KNOWN_GPTE: usize = 16;
export const KNOWN_SPTE: usize = 24;
export const KNOWN_WRITABLE: usize = 32;
export const KNOWN_SPTEP: usize = 40;
export const KNOWN_GPTEP: usize = 44;
export const KNOWN_HEAD: usize = 48;
export const KNOWN_HPTEP: usize = 52;
/** Three fields: u16 for the kinds, u8 for KNOWN_KEYS, u8 for KNOWN_SIGNATURE. */
const KNOWN_DENIES: usize = 56;
/** The deny bits of a TLB's key above its SU, in the low half where the host maps the page read-only. */
export const KNOWN_KEYS: usize = 58;
export const KNOWN_SIGNATURE: usize = 59;
/** Address of the key of the way of the L2 that was filled last. */
export const KNOWN_L2_WAY: usize = 60;
export const KNOWN_WHERE: usize = 64;
/** Address of the word of the shadow page's bitmap that has the bit of the spte. */
export const KNOWN_BITMAP: usize = 68;
export const KNOWN_TRANSLATION: usize = 72;
export const KNOWN_PURGED: usize = 76;
const KNOWN_PFN: usize = 80;
export const KNOWN_HVN: usize = 84;
export const KNOWN_PMDP: usize = 88;
export const KNOWN_L1_SET: usize = 92;
export const KNOWN_L2_SET: usize = 96;
export const KNOWN_FRESH: usize = 100;
export const KNOWN_CACHEP: usize = 104;
export const KNOWN_CACHE: usize = 108;
export const KNOWN_AREA: usize = 112;
export const KNOWN_GUEST: usize = 116;
const KNOWN_STAMP: usize = 120;

/** For each frame number, modulo their count: where the entry that a page was last mapped by lies, and its hptep. */
const FRAMES: usize = memory.data(16384, 64);
const FRAME_SHIFT: u32 = 3;
const FRAME_ENTRY: usize = 0;
const FRAME_HPTEP: usize = 4;
const FRAMES_MASK: u32 = 2047;
if ((FRAMES_MASK + 1) << FRAME_SHIFT != 16384) ERROR('known_page: 2048 frames');

/** What changes when an entry may be wrong: the sum of numbers that only grow. */
function stampNow(): u64 {
  return <u64>linkEpoch + <u64>ptepEpoch + <u64>rulesEpoch;
}

/** Where the entry of a page is, if there is one. */
export function entryOf(gva: u64): usize {
  const page = <u32>(gva >> 12);
  return ENTRIES + <usize>(((page ^ (page >> 11)) & INDEX_MASK) << ENTRY_SHIFT);
}

/**
 * Whether the entry of a page (bits 63:12 of `gva`, the others 0) is good now, for an access with ACCESS_* flags. Who
 * needs the entry takes it from entryOf(), so that it is not waited for what is looked at here.
 */
export function isKnownFor(entry: usize, gva: u64, flags: u32): bool {
  const other =
    (load<u64>(entry, KNOWN_PAGE) ^ gva) |
    (load<u64>(entry, KNOWN_QUIET) ^ quiet) |
    (<u64>(((<u32>load<u16>(entry, KNOWN_DENIES)) >> flags) & 1));
  return other == 0;
}

/** The entry of a page at a leaf spte, whose addresses are right, or 0. */
export function notedPage(sptep: Sptep, gva: u64): usize {
  const entry = entryOf(gva);
  const other =
    (load<u64>(entry, KNOWN_PAGE) ^ gva) |
    (load<u64>(entry, KNOWN_STAMP) ^ stampNow()) |
    (<u64>(load<u32>(entry, KNOWN_SPTEP) ^ (<u32>sptep)));
  return other == 0 ? entry : 0;
}

/** Whether an entry is good in this quiet. */
export function isKnown(entry: usize): bool {
  return load<u64>(entry, KNOWN_QUIET) == quiet;
}

/**
 * A new entry for a page and the accesses that `kinds` has a bit for, whose other words the caller writes; 0: the last fault in its place was at another page. So
 * where more pages fault in turn than there are entries, none is made.
 */
export function newEntry(sptep: Sptep, gva: u64, kinds: u32): usize {
  const entry = entryOf(gva);
  store<u64>(entry, 0, KNOWN_QUIET);
  if (load<u64>(entry, KNOWN_PAGE) != gva) {
    store<u64>(entry, gva, KNOWN_PAGE);
    store<u64>(entry, 0, KNOWN_STAMP);
    return 0;
  }
  store<u64>(entry, stampNow(), KNOWN_STAMP);
  store<u32>(entry, <u32>sptep, KNOWN_SPTEP);
  store<u16>(entry, <u16>~kinds, KNOWN_DENIES);
  return entry;
}

/** An entry is good in this quiet. */
export function makeKnown(entry: usize): void {
  store<u32>(entry, 0, KNOWN_PFN);
  store<u64>(entry, quiet, KNOWN_QUIET);
}

/** The page of an entry is mapped to a frame, and reclaim may look at it by way of the entry. */
export function noteFrame(entry: usize, pfn: Pfn): void {
  store<u32>(entry, pfn, KNOWN_PFN);
  store<u32>(placeOf(pfn), <u32>(entry - ENTRIES), FRAME_ENTRY);
  store<u32>(placeOf(pfn), load<u32>(entry, KNOWN_HPTEP), FRAME_HPTEP);
}

function placeOf(pfn: Pfn): usize {
  return FRAMES + ((<usize>(pfn & FRAMES_MASK)) << FRAME_SHIFT);
}

/** The entry that a frame was noted for last, if it was. */
export function entryOfFrame(pfn: Pfn): usize {
  return ENTRIES + <usize>load<u32>(placeOf(pfn), FRAME_ENTRY);
}

/** Whether a frame was noted for that entry in this quiet. */
export function isKnownFrame(entry: usize, pfn: Pfn): bool {
  const other =
    (load<u64>(entry, KNOWN_QUIET) ^ quiet) | (<u64>(load<u32>(entry, KNOWN_PFN) ^ pfn));
  return other == 0;
}

/** KNOWN_HPTEP of the entry of a known frame: two loads sooner. */
export function ptepOfFrame(pfn: Pfn): usize {
  return <usize>load<u32>(placeOf(pfn), FRAME_HPTEP);
}

/** gva of the page of an entry. */
export function pageOfEntry(entry: usize): u64 {
  return load<u64>(entry, KNOWN_PAGE);
}
