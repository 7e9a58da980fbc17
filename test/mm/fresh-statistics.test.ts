// Reclaim by a control group's lists under every generation of the host mm. Where statistics are brought up to date by
// a timer of two seconds alone (6.12), a run, which is shorter, takes it to be due:
// by the clock the group would end.
import { expect, test } from 'vitest';
import { GENERATIONS, simulate } from '../../src/simulate.ts';
import { limited } from '../../src/workload/source.ts';
import { openTrace } from '../../src/workload/trace-source.ts';

const trace = openTrace(new URL('../../traces/sqlite.smt.gz', import.meta.url).pathname);
const workload = limited(trace, 200_000);
const memory = { pages: 26 };

test.each(GENERATIONS)('a small group of %s lives on what it reclaims', async (generation) => {
  const { counters } = await simulate(workload, { memory, generation });
  expect(counters.oom_kills).toBe(0);
  expect(counters.evictions).toBeGreaterThan(1_000);
});
