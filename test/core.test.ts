import { expect, test } from 'vitest';
import { ABI_VERSION } from '../assembly/abi.ts';
import { COUNTER_COUNT } from '../assembly/counters.ts';
import { loadCore } from '../src/core/load.ts';
import { COUNTERS } from '../src/stats/counters.ts';

test.each(['release', 'debug', 'profile'] as const)(
  'the %s core has the ABI of the host',
  (build) => {
    const core = loadCore(build);
    expect(core.x.abiVersion() >>> 0).toBe(ABI_VERSION);
    expect(COUNTER_COUNT).toBe(COUNTERS.length);
  },
);

test('a freed page is handed out again, zeroed', () => {
  const { x, mem } = loadCore('debug');
  const page = x.pageAlloc();
  mem.store32(page + 8, 7);
  x.pageFree(page);
  expect(x.pageAlloc()).toBe(page);
  expect(mem.load32(page + 8)).toBe(0);
});
