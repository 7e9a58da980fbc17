// The counter block: one u64 a counter, indexed by the slots of counters.ts. The hot loop keeps its
// own counts in locals and adds them here once a batch.

import { COUNTER_COUNT } from './counters';

/** Address of the counter block. */
export const STATS: usize = memory.data(1024, 8);

if (COUNTER_COUNT > 128) ERROR('stats: the counter block holds 128 counters');

/** Adds one to a counter. */
export function bump(slot: u32): void {
  const at = STATS + ((<usize>slot) << 3);
  store<u64>(at, load<u64>(at) + 1);
}

/** Adds `n` to a counter. */
export function bumpBy(slot: u32, n: u32): void {
  const at = STATS + ((<usize>slot) << 3);
  store<u64>(at, load<u64>(at) + <u64>n);
}

/** What a counter stands at. */
export function counterOf(slot: u32): u64 {
  return load<u64>(STATS + ((<usize>slot) << 3));
}

/** Address of the counter block, for the host. */
export function statsPtr(): u32 {
  return <u32>STATS;
}

/** Adds `n` to a counter, for the host's side of a mechanism. */
export function statBump(slot: u32, n: u32): void {
  bumpBy(slot, n);
}
