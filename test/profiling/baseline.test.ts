// The guard against silent extra work: exact operation counts of two workloads against stored ones.
// Nothing is timed. After a change that is meant to alter them, run this test with STORE_COUNTS=1.
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type OperationCounts, deviations, parseCounts } from '../../src/profiling/counts.ts';
import { countCrossings } from '../../src/profiling/crossings.ts';
import { type SimulateOptions, simulate } from '../../src/simulate.ts';
import { resolveWorkload } from '../../src/workload-spec.ts';

const BUNDLED = new URL('../../traces/sqlite.smt.gz', import.meta.url).pathname;
/** A smaller change is let through: a counter that moves by a few is not a slowdown. */
const LIMIT = 0.02;

const WORKLOADS: Record<string, { limit: number; options: SimulateOptions }> = {
  'sqlite-v3': { limit: 1_000_000, options: { memory: { share: 0.25 }, protocol: 'v3' } },
  'sqlite-clock': {
    limit: 500_000,
    options: { memory: { share: 0.1 }, protocol: 'clear_flush_young', policy: 'clock' },
  },
};

test.each(Object.keys(WORKLOADS))('%s: operation counts are the stored ones', async (name) => {
  const { limit, options } = WORKLOADS[name] as { limit: number; options: SimulateOptions };
  const file = new URL(`./${name}.json`, import.meta.url);
  let counts: OperationCounts | undefined;
  const crossings = await countCrossings(async () => {
    const workload = resolveWorkload({ kind: 'trace', name: BUNDLED, limit }, 1);
    const { counters } = await simulate(workload, options);
    counts = { schema: 'shadowmmu.counts/1', workload: name, counters, crossings: {} };
  });
  const found = { ...(counts as OperationCounts), crossings };
  if (process.env['STORE_COUNTS']) writeFileSync(file, `${JSON.stringify(found, null, 2)}\n`);
  const stored = parseCounts(readFileSync(file, 'utf8'), file.pathname);
  expect(deviations(stored, found, LIMIT)).toEqual([]);
});
