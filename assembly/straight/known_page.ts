// Pages whose plain fault (plain_fault.ts) was served before: where all lies that such a fault looks up and changes.
// Under ageing by dropped sptes a hot page faults again and again at what the host still maps, and nothing is
// different but the spte. The addresses in an entry hold until the links between shadow tables or the host's tables may
// be others (stampNow()); what the guest's tables above its entry, memslots and areas permit is looked at anew in each
// quiet (settled_table.ts), and what the words at the addresses say by each fault.
//
//   entry, two lines:
//   ┌──────────┬──────────┬──────────┬──────────┬──────────┬──────────┬───────┬───────┬───────┬───────┐
//   │ gva,kinds│ stamp    │ quiet    │ gpte     │ spte     │ writable │ sptep │ gptep │ head  │ hptep │
//   ├───────┬──┴────┬─────┴─┬───────┬┴──────┬───┴───┬──────┴─┬────────┴───────┴───────┴───────┴───────┤
//   │ sp    │mapped │ gfn   │ hvn   │ pmdp  │ guest │ access │                                          │
//   └───────┴───────┴───────┴───────┴───────┴───────┴────────┴──────────────────────────────────────────┘
//   kinds: bit ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH when the guest allows it and the area serves it
//   guest: settledTable(); access: ACC_* and the protection key above them
//   spte: what maps the page to frame 0 where the host maps it read-only; writable: what changes where it may be written
//
// There are no entries where the tables exceed the caches: there nearly every fault is at another page.

import { ptepEpoch } from '../mm/pgtable';
import { linkEpoch } from '../mmu/flush';
import { Sptep } from '../types';

const ENTRIES: usize = memory.data(262144, 64);
const ENTRY_SHIFT: u64 = 7;
const INDEX_MASK: u64 = 2047;
if ((<u32>INDEX_MASK + 1) << (<u32>ENTRY_SHIFT) != 262144) ERROR('known_page: 2048 entries');

const KNOWN_PAGE: usize = 0;
const KNOWN_STAMP: usize = 8;
export const KNOWN_QUIET: usize = 16;
export const KNOWN_GPTE: usize = 24;
export const KNOWN_SPTE: usize = 32;
export const KNOWN_WRITABLE: usize = 40;
const KNOWN_SPTEP: usize = 48;
export const KNOWN_GPTEP: usize = 52;
export const KNOWN_HEAD: usize = 56;
export const KNOWN_HPTEP: usize = 60;
export const KNOWN_SP: usize = 64;
export const KNOWN_MAPPED: usize = 68;
export const KNOWN_GFN: usize = 72;
export const KNOWN_HVN: usize = 76;
export const KNOWN_PMDP: usize = 80;
export const KNOWN_GUEST: usize = 84;
export const KNOWN_ACCESS: usize = 88;
const KINDS_MASK: u64 = 7;

/** What changes when the addresses of an entry may be wrong: the sum of two numbers that only grow. */
function stampNow(): u64 {
  return <u64>linkEpoch + <u64>ptepEpoch;
}

function entryOf(gva: u64): usize {
  const page = gva >> 12;
  return ENTRIES + <usize>(((page ^ (page >> 11)) & INDEX_MASK) << ENTRY_SHIFT);
}

/** The entry of a page (bits 63:12 of `gva`, the others 0) at a leaf spte, or 0. */
export function knownPage(sptep: Sptep, gva: u64): usize {
  const entry = entryOf(gva);
  const other =
    ((load<u64>(entry, KNOWN_PAGE) ^ gva) & ~KINDS_MASK) |
    (load<u64>(entry, KNOWN_STAMP) ^ stampNow()) |
    (<u64>(load<u32>(entry, KNOWN_SPTEP) ^ (<u32>sptep)));
  return other == 0 ? entry : 0;
}

/** Whether an access of a kind to the page of an entry may be known. */
export function mayBeOfKind(entry: usize, kind: u32): bool {
  return ((load<u32>(entry, KNOWN_PAGE) >> kind) & 1) != 0;
}

/**
 * A new entry for a page, whose other words the caller writes; 0: the last fault in its place was at another page. So
 * where more pages fault in turn than there are entries, none is made.
 */
export function newEntry(sptep: Sptep, gva: u64): usize {
  const entry = entryOf(gva);
  if (((load<u64>(entry, KNOWN_PAGE) ^ gva) & ~KINDS_MASK) != 0) {
    store<u64>(entry, gva, KNOWN_PAGE);
    store<u64>(entry, 0, KNOWN_STAMP);
    return 0;
  }
  store<u64>(entry, stampNow(), KNOWN_STAMP);
  store<u32>(entry, <u32>sptep, KNOWN_SPTEP);
  return entry;
}

/** Says for which kinds (a bit each) an entry is good in this quiet. */
export function renewKnown(entry: usize, kinds: u32, now: u64): void {
  const page = load<u64>(entry, KNOWN_PAGE) & ~KINDS_MASK;
  store<u64>(entry, page | (<u64>kinds), KNOWN_PAGE);
  store<u64>(entry, now, KNOWN_QUIET);
}
