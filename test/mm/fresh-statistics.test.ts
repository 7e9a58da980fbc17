// Reclaim by a control group's lists under every generation of the host mm. Where statistics are brought up to date by
// a timer of two seconds alone (6.12), a run, which is shorter, takes it to be due: by the
// clock the group would end.
import { expect, test } from 'vitest';
import { GENERATIONS, simulate } from '../../src/simulate.ts';
import { openWorkload } from '../../src/workload/open.ts';

const workload = openWorkload('hot-cold:pages=300,hot=50,refs=20000', 1);
const memory = { pages: 100 };

test.each(GENERATIONS)('a small group of %s lives on what it reclaims', async (generation) => {
  const { counters } = await simulate(workload, { memory, generation, verify: true });
  expect(counters.oom_kills).toBe(0);
  expect(counters.evictions).toBeGreaterThan(1_000);
});
