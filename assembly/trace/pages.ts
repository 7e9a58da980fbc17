// The page index: numbers the distinct (process, page) pairs of a stream 0, 1, 2, … in order of
// first use, so that what follows works on plain arrays. An open-addressing hash table over the
// keys, with the last page of each access kind in front of it.
//
//   key    │ process (19) │ page number (45: enough for 57-bit addresses) │
//   pageref│ index (30)                                           │ kind 2 │  u32
//
// Process 0 runs until a control record switches.

import {
  ACCESS_CONTROL,
  ACCESS_KIND_MASK,
  CONTROL_OPERAND_SHIFT,
  CONTROL_OP_SHIFT,
  CONTROL_SWITCH,
  PAGEREF_SHIFT,
  PAGES_COUNT,
  PAGES_KEYS,
  PAGES_KEY_PROCESS_SHIFT,
  PAGES_PROCESS,
} from '../abi';
import { arenaAlloc, pageAlloc } from '../layout';

// Private fields behind the public ones.
const CAPACITY: usize = 12;
const TABLE: usize = 16;
const TABLE_MASK: usize = 20;
/** Last key of each kind, u64[3], and its index, u32[3]. */
const LAST_KEY: usize = 32;
const LAST_INDEX: usize = 56;

const FIRST_CAPACITY: u32 = 4096;
const PAGE_MASK: u64 = ((<u64>1) << (<u64>PAGES_KEY_PROCESS_SHIFT)) - 1;

/** A page index without pages. */
export function pagesNew(): u32 {
  const index = pageAlloc();
  store<u32>(index + CAPACITY, FIRST_CAPACITY);
  store<u32>(index, <u32>arenaAlloc((<usize>FIRST_CAPACITY) << 3), PAGES_KEYS);
  store<u32>(index + TABLE, <u32>arenaAlloc((<usize>FIRST_CAPACITY) << 3));
  store<u32>(index + TABLE_MASK, 2 * FIRST_CAPACITY - 1);
  memory.fill(index + LAST_KEY, 0xff, 24);
  return <u32>index;
}

/** A larger copy of an array; the old one stays in the arena, at most half of all taken. */
export function growArray(old: usize, bytes: usize, newBytes: usize): usize {
  const larger = arenaAlloc(newBytes);
  memory.copy(larger, old, bytes);
  return larger;
}

function hashOf(key: u64): u32 {
  return <u32>((key * 0x9e3779b97f4a7c15) >> 32);
}

function grow(index: usize): void {
  const capacity = load<u32>(index + CAPACITY);
  const bytes = (<usize>capacity) << 3;
  const keys = growArray(<usize>load<u32>(index, PAGES_KEYS), bytes, bytes << 1);
  const mask = (capacity << 2) - 1;
  const table = arenaAlloc(bytes << 1);
  const count = load<u32>(index, PAGES_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    let at = hashOf(load<u64>(keys + ((<usize>i) << 3))) & mask;
    while (load<u32>(table + ((<usize>at) << 2)) != 0) at = (at + 1) & mask;
    store<u32>(table + ((<usize>at) << 2), i + 1);
  }
  store<u32>(index, <u32>keys, PAGES_KEYS);
  store<u32>(index + CAPACITY, capacity << 1);
  store<u32>(index + TABLE, <u32>table);
  store<u32>(index + TABLE_MASK, mask);
}

/** Index of a key, which is added when new. */
export function pagesLookup(index: usize, key: u64): u32 {
  const mask = load<u32>(index + TABLE_MASK);
  const table = <usize>load<u32>(index + TABLE);
  const keys = <usize>load<u32>(index, PAGES_KEYS);
  let at = hashOf(key) & mask;
  while (true) {
    const entry = load<u32>(table + ((<usize>at) << 2));
    if (entry == 0) break;
    if (load<u64>(keys + ((<usize>entry - 1) << 3)) == key) return entry - 1;
    at = (at + 1) & mask;
  }
  const count = load<u32>(index, PAGES_COUNT);
  store<u32>(table + ((<usize>at) << 2), count + 1);
  store<u64>(keys + ((<usize>count) << 3), key);
  store<u32>(index, count + 1, PAGES_COUNT);
  if (count + 1 == load<u32>(index + CAPACITY)) grow(index);
  return count;
}

/** Turns `count` access records into pagerefs; control records give none. Returns how many. */
export function pagesMap(index: usize, records: usize, count: u32, out: usize): u32 {
  let to = out;
  let process = (<u64>load<u32>(index, PAGES_PROCESS)) << (<u64>PAGES_KEY_PROCESS_SHIFT);
  const end = records + ((<usize>count) << 3);
  for (let p = records; p < end; p += 8) {
    const record = load<u64>(p);
    const kind = (<u32>record) & ACCESS_KIND_MASK;
    if (kind == ACCESS_CONTROL) {
      const low = (<u32>record) >> CONTROL_OP_SHIFT;
      if ((low & 15) == CONTROL_SWITCH) {
        const pid = (<u32>(record >> (<u64>CONTROL_OPERAND_SHIFT))) & 0x7ffff;
        store<u32>(index, pid, PAGES_PROCESS);
        process = (<u64>pid) << (<u64>PAGES_KEY_PROCESS_SHIFT);
      }
      continue;
    }
    const key = process | ((record >> 12) & PAGE_MASK);
    const lastKey = index + LAST_KEY + ((<usize>kind) << 3);
    const lastIndex = index + LAST_INDEX + ((<usize>kind) << 2);
    let id = load<u32>(lastIndex);
    if (load<u64>(lastKey) != key) {
      id = pagesLookup(index, key);
      store<u64>(lastKey, key);
      store<u32>(lastIndex, id);
    }
    store<u32>(to, (id << PAGEREF_SHIFT) | kind);
    to += 4;
  }
  return <u32>((to - out) >> 2);
}

/**
 * Number of distinct tables that map the pages of an index: the distinct keys without their lowest
 * `bits` bits (9 for page tables, 18, 27, 36, 45).
 */
export function pagesTables(index: usize, bits: u32): u32 {
  const tables = <usize>pagesNew();
  const keys = <usize>load<u32>(index, PAGES_KEYS);
  const count = load<u32>(index, PAGES_COUNT);
  let last: u64 = ~(<u64>0);
  for (let i: u32 = 0; i < count; i++) {
    const table = load<u64>(keys + ((<usize>i) << 3)) >> (<u64>bits);
    if (table != last) pagesLookup(tables, table);
    last = table;
  }
  return load<u32>(tables, PAGES_COUNT);
}
