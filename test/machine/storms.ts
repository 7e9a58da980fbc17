// Random machines and random storms on them, as fast-check makes and shrinks them.

import fc from 'fast-check';
import type { VmOptions } from '../../src/vm-options.ts';
import { GENERATIONS, POLICIES, PROTOCOLS } from '../../src/simulate.ts';
import { STEP_KINDS, type Step } from './storm.ts';

/** Steps of the longest storm. */
export const LONGEST = 600;

/** The machines: every option that changes what the mechanism does. */
export interface Machine {
  readonly policy: string;
  readonly options: Partial<VmOptions>;
}

const options: fc.Arbitrary<Partial<VmOptions>> = fc.record({
  memoryPages: fc.constantFrom(40, 80, 120, 300),
  backing: fc.constantFrom('anon' as const, 'anon' as const, 'file' as const),
  vcpus: fc.integer({ min: 1, max: 3 }),
  pcid: fc.boolean(),
  guestTables: fc.constantFrom('resident' as const, 'pageable' as const),
  flushScope: fc.constantFrom('all' as const, 'pages' as const),
  prefetch: fc.boolean(),
  quickFaults: fc.boolean(),
  seed: fc.integer({ min: 1, max: 1_000 }),
  deviceErrors: fc.constantFrom({}, {}, { failRead: 23 }, { failWrite: 7 }),
  swapPages: fc.constantFrom(4_096, 4_096, 4_096, 4_096, 300),
  reclaim: fc.constantFrom('memcg' as const, 'memcg' as const, 'watermarks' as const),
  // The reserve must leave frames for the guest, whatever the limit.
  minFreeKbytes: fc.constantFrom(8, 16),
});

export const machines: fc.Arbitrary<Machine> = fc.record({
  policy: fc.constantFrom('two-list', 'two-list', ...POLICIES),
  options,
});

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(...STEP_KINDS),
  a: fc.nat(255),
  b: fc.nat(255),
  n: fc.nat(60),
});

/** Storms of up to `maxLength` steps. */
export function storms(maxLength: number): fc.Arbitrary<Step[]> {
  return fc.noBias(fc.array(step, { minLength: 0, maxLength, size: 'max' }));
}

/** Every protocol under which pages that are mapped can be reclaimed, in every generation. */
export const STORM_CASES = PROTOCOLS.filter((name) => name !== 'pinned' && name !== 'none').flatMap(
  (protocol) => GENERATIONS.map((generation) => ({ protocol, generation })),
);
