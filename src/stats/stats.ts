// Access to the counters: the values lie in linear memory (one u64 a counter), so both sides bump
// the same ones and a snapshot of memory holds them.

import type { Core } from '../core/load.ts';
import { COUNTERS, type CounterName } from './counters.ts';

/** Slot of each counter by name. */
export const COUNTER_SLOTS = Object.fromEntries(
  COUNTERS.map((c, slot) => [c.name, slot]),
) as Readonly<Record<CounterName, number>>;

/** Values of all counters at one moment; numbers, exact below 2^53. */
export type CounterValues = Readonly<Record<CounterName, number>>;

/** Reads and bumps the counters of one core. */
export class Stats {
  readonly #core: Core;
  readonly #ptr: number;

  constructor(core: Core) {
    this.#core = core;
    this.#ptr = core.x.statsPtr() >>> 0;
  }

  /** Adds `n` to a counter. */
  bump(name: CounterName, n = 1): void {
    this.#core.x.statBump(COUNTER_SLOTS[name], n);
  }

  /** Value of one counter. */
  get(name: CounterName): number {
    return this.#core.mem.load64(this.#ptr + COUNTER_SLOTS[name] * 8);
  }

  /** Value of the counter in a slot of COUNTER_SLOTS: where the name costs too much. */
  at(slot: number): number {
    return this.#core.mem.load64(this.#ptr + slot * 8);
  }

  /** Values of all counters. */
  read(): CounterValues {
    const values = {} as Record<CounterName, number>;
    for (const { name } of COUNTERS) values[name] = this.get(name);
    return values;
  }
}

/** What was counted between two readings. */
export function counterDelta(after: CounterValues, before: CounterValues): CounterValues {
  const values = {} as Record<CounterName, number>;
  for (const { name } of COUNTERS) values[name] = after[name] - before[name];
  return values;
}
