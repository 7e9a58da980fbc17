// What the core does of itself on a straight run (faults, reclaim) is what the protocols do: two machines
// that differ in nothing but that weather the same storm, and every counter, time and answer agrees. In every other
// storm the events of the protocols' machine are traced, which keeps the host's own short cuts out as well.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { accuracyOf } from '../../src/result.ts';
import { createVm } from '../../src/machine.ts';
import { makePolicy } from '../../src/policies.ts';
import { type Step, Storm } from './storm.ts';
import { type Machine, machines, STORM_CASES, storms } from './storms.ts';

const LONGEST = 300;
const RUNS = Number(process.env['SHADOWMMU_TWINS'] ?? 5);

function weather(
  protocol: string,
  generation: string,
  { policy, options }: Machine,
  list: readonly Step[],
  quickFaults: boolean,
  traced = false,
) {
  const vm = createVm({
    memoryPages: 40,
    guestPages: 1_100,
    tablePages: 100,
    verify: true,
    policy: makePolicy(policy),
    protocol,
    generation,
    ...options,
    quickFaults,
  });
  if (traced) vm.core.trace(() => {});
  const storm = new Storm(vm);
  for (const step of list) storm.apply(step);
  const { outcome } = vm;
  const time = vm.deviceTime();
  return { outcome, counters: vm.stats.read(), accuracy: accuracyOf(vm.core), time };
}

describe('core and protocols', () => {
  for (const [i, { protocol, generation }] of STORM_CASES.entries()) {
    test(`${protocol}, ${generation}`, () => {
      const property = fc.property(machines, storms(LONGEST), (which, list) => {
        const traced = list.length % 2 === 0;
        const expected = weather(protocol, generation, which, list, false, traced);
        expect(weather(protocol, generation, which, list, true)).toEqual(expected);
      });
      fc.assert(property, { numRuns: RUNS, seed: 61 + i });
    }, 120_000);
  }
});
