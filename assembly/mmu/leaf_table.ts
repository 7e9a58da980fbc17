// The leaf tables that walks of 4-level shadow tables came to, so that the next walk of the same 2 MiB is a look at
// the leaf: the tables above it are the same until a link between tables is made or cut (linkEpoch), and their
// entries keep A, which the first walk set.
//
//   entry:  0        8        12       16       20       24       32
//           ┌────────┬────────┬────────┬────────┬────────┬────────┐
//           │gva>>21 │ root   │ links  │ table  │ guest  │ quiet  │   2,048 of them
//           └────────┴────────┴────────┴────────┴────────┴────────┘
//
// `guest` and `quiet` are what is known of the guest's own table (settled_table.ts). Where the walk cache is off there
// are no entries: there one would be state.

import { ACC_ALL, VCPU_ROOT, VCPU_ROOT_LEVEL } from '../abi';
import { Sptep } from '../types';
import { linkEpoch } from './flush';
import {
  PT64_BASE_MASK,
  PT64_NX,
  PT_ACCESSED,
  PT_PAGE_SIZE,
  PT_PRESENT,
  PT_USER,
  PT_WRITABLE,
} from './pte_bits';
import { SPTE_AD_DISABLED } from './spte';
import { walkCacheOn } from './walk_cache';

const ENTRIES: usize = memory.data(65536, 64);
const ENTRY_SHIFT: u64 = 5;
const INDEX_MASK: usize = 2047 << 5;
if (INDEX_MASK + 32 != 65536) ERROR('leaf_table: 2048 entries');
const LEAF_PAGE: usize = 0;
/** Root and links, as one u64. */
const LEAF_WAY: usize = 8;
const LEAF_TABLE: usize = 16;
/** Address of the guest's entries, with the ACC_* of the levels above and GUEST_CALM in the bits below. */
export const LEAF_GUEST: usize = 20;
/** The flood counts of the tables on the way were cleared in this quiet. */
export const GUEST_CALM: u32 = 8;
/** Bits of LEAF_GUEST that are no address. */
export const GUEST_BITS: u32 = GUEST_CALM | ACC_ALL;
export const LEAF_QUIET: usize = 24;

/** What every upper entry has: it leads a user on, whatever the access, and has no A to be set. */
const LEADS_ON: u64 = PT_PRESENT | PT_WRITABLE | PT_USER;
/** What none has. */
const STOPS: u64 = PT_PAGE_SIZE | PT64_NX;

/** What the entries of a vCPU are known by: its root, and the links below it. */
function wayOf(vcpu: usize): u64 {
  return (<u64>load<u32>(vcpu, VCPU_ROOT)) | ((<u64>linkEpoch) << 32);
}

/** The entry for a gva of the vCPU, or 0: a walk to its leaf has more to do than to read. */
export function leafTable(vcpu: usize, gva: u64): usize {
  const entry = ENTRIES + ((<usize>(gva >> (21 - ENTRY_SHIFT))) & INDEX_MASK);
  const other =
    (load<u64>(entry, LEAF_PAGE) ^ (gva >> 21)) | (load<u64>(entry, LEAF_WAY) ^ wayOf(vcpu));
  return other == 0 ? entry : findLeafTable(vcpu, gva, entry);
}

/** Address of the leaf spte of a gva in the table of an entry. */
export function leafSptep(entry: usize, gva: u64): Sptep {
  return <usize>load<u32>(entry, LEAF_TABLE) + ((<usize>(gva >> 9)) & 0xff8);
}

/** Whether an upper entry leads on without more ado. */
function leadsOn(spte: u64): bool {
  if ((spte & (LEADS_ON | STOPS)) != LEADS_ON) return false;
  return (spte & (PT_ACCESSED | SPTE_AD_DISABLED)) != 0;
}

/** The entry for a gva in a table of level `level`. */
function entryOf(table: u64, gva: u64, level: u64): u64 {
  return load<u64>(
    <usize>(table & PT64_BASE_MASK) + (((<usize>(gva >> (3 + 9 * level))) & 511) << 3),
  );
}

/** Walks to the leaf table, and notes it. */
function findLeafTable(vcpu: usize, gva: u64, entry: usize): usize {
  const root = <u64>load<u32>(vcpu, VCPU_ROOT);
  const canonical = ((<i64>gva) << 16) >> 16 == <i64>gva;
  if (load<u32>(vcpu, VCPU_ROOT_LEVEL) != 4 || root == 0 || !canonical || !walkCacheOn()) return 0;
  const e4 = entryOf(root, gva, 4);
  if (!leadsOn(e4)) return 0;
  const e3 = entryOf(e4, gva, 3);
  if (!leadsOn(e3)) return 0;
  const e2 = entryOf(e3, gva, 2);
  if (!leadsOn(e2)) return 0;
  store<u64>(entry, gva >> 21, LEAF_PAGE);
  store<u64>(entry, wayOf(vcpu), LEAF_WAY);
  store<u32>(entry, <u32>(e2 & PT64_BASE_MASK), LEAF_TABLE);
  store<u64>(entry, 0, LEAF_QUIET);
  return entry;
}
