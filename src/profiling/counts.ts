// The profile without a clock: how often each operation of the core was done. The same on every
// machine and Node version, so a CI can compare it with a stored baseline.

import { DataError } from '../core/errors.ts';
import type { CounterValues } from '../stats/stats.ts';
import type { Crossings } from './crossings.ts';

/** Exact counts of one run. */
export interface OperationCounts {
  readonly schema: 'shadowmmu.counts/1';
  readonly workload: string;
  readonly counters: CounterValues;
  /** Calls from the host into the core, by export. */
  readonly crossings: Crossings;
}

/** A count that left its baseline. */
export interface Deviation {
  readonly name: string;
  readonly expected: number;
  readonly found: number;
  /** (found - expected) / expected; Infinity when nothing was expected. */
  readonly change: number;
}

/** Reads a stored baseline. */
export function parseCounts(text: string, file: string): OperationCounts {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new DataError(`${file}: not JSON`);
  }
  const counts = value as Partial<OperationCounts> | null;
  if (counts?.schema !== 'shadowmmu.counts/1' || !counts.counters || !counts.crossings) {
    throw new DataError(`${file}: not a baseline of operation counts (shadowmmu.counts/1)`);
  }
  return counts as OperationCounts;
}

function compare(
  prefix: string,
  expected: Readonly<Record<string, number>>,
  found: Readonly<Record<string, number>>,
  limit: number,
): Deviation[] {
  const names = new Set([...Object.keys(expected), ...Object.keys(found)]);
  return [...names].flatMap((name) => {
    const from = expected[name] ?? 0;
    const to = found[name] ?? 0;
    if (Math.abs(to - from) <= limit * from) return [];
    return [{ name: prefix + name, expected: from, found: to, change: (to - from) / from }];
  });
}

/** Counts that differ from the baseline by more than `limit` (0.02: 2 %), in either direction. */
export function deviations(
  baseline: OperationCounts,
  counts: OperationCounts,
  limit: number,
): Deviation[] {
  return [
    ...compare('', baseline.counters, counts.counters, limit),
    ...compare('crossings.', baseline.crossings, counts.crossings, limit),
  ];
}
