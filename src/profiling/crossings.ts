// Calls over the boundary between host and core, counted by export. Counting wraps every export, so
// it is done in a run of its own, never in one that is timed.

import type { CoreExports } from '../core/exports.ts';
import { interceptCores } from '../core/load.ts';

/** Calls by export, most first. */
export type Crossings = Readonly<Record<string, number>>;

/** Runs `work` with every core that it loads counting the calls to its exports. */
export async function countCrossings(work: () => Promise<void>): Promise<Crossings> {
  const calls = new Map<string, number>();
  interceptCores((x) => {
    const counted: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(x)) {
      if (typeof value !== 'function') {
        counted[name] = value;
        continue;
      }
      const call = value as (...args: readonly unknown[]) => unknown;
      counted[name] = (...args: readonly unknown[]): unknown => {
        calls.set(name, (calls.get(name) ?? 0) + 1);
        return call(...args);
      };
    }
    return counted as unknown as CoreExports;
  });
  try {
    await work();
  } finally {
    interceptCores(undefined);
  }
  const sorted = [...calls].toSorted(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return Object.fromEntries(sorted);
}
