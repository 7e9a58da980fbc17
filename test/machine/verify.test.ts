// Storms of guest accesses, guest kernel actions, host operations and notifiers under every protocol,
// with several vCPUs: no stale or foreign page is read, no write is lost, and the audit finds nothing.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Vm, type VmOptions, createVm } from '../../src/machine.ts';
import { makePolicy } from '../../src/policies.ts';
import { GENERATIONS, POLICIES, PROTOCOLS } from '../../src/simulate.ts';
import { testRandom } from './helpers.ts';
import { STEP_KINDS, type Step, Storm } from './storm.ts';

function machine(options: Partial<VmOptions> & { policyName?: string }): Vm {
  const { policyName = 'two-list', ...rest } = options;
  return createVm({
    memoryPages: 120,
    guestPages: 2_000,
    tablePages: 200,
    vcpus: 3,
    verify: true,
    core: 'debug',
    policy: makePolicy(policyName),
    ...rest,
  });
}

function randomStep(random: () => number): Step {
  const below = (n: number): number => Math.floor(random() * n);
  const kind = STEP_KINDS[below(STEP_KINDS.length)] as Step['kind'];
  return { kind, a: below(256), b: below(256), n: kind === 'touch' ? below(400) : below(32) };
}

/** Runs `steps` random steps; names the step when one fails. */
function storm(options: Parameters<typeof machine>[0], seed: number, steps: number): Storm {
  const it = new Storm(machine({ ...options, seed }));
  const random = testRandom(seed);
  for (let i = 0; i < steps; i++) {
    const step = randomStep(random);
    try {
      it.apply(step);
      if (i % 16 === 0) it.audit();
    } catch (error) {
      throw new Error(`seed ${seed}, step ${i} ${JSON.stringify(step)}: ${String(error)}`, {
        cause: error,
      });
    }
  }
  it.audit();
  return it;
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(...STEP_KINDS),
  a: fc.nat(255),
  b: fc.nat(255),
  n: fc.nat(60),
});

describe('storms', () => {
  for (const generation of GENERATIONS) {
    for (const protocol of PROTOCOLS) {
      if (protocol === 'pinned' || protocol === 'none') continue;
      test(`${protocol}, ${generation}`, () => {
        const done = storm({ protocol, generation }, 7, 400);
        expect(done.vm.outcome).toBe('done');
        expect(done.vm.verified?.reads).toBeGreaterThan(3_000);
      });
    }
  }

  for (const policyName of POLICIES) {
    test(`policy ${policyName}, file backing, no PCID`, () => {
      storm({ policyName, backing: 'file', pcid: false }, 11, 300);
    });
  }

  test('few steps, shrunk when they fail', () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 5, maxLength: 60 }),
        fc.constantFrom('v3', 'v4', 'clear_young', 'access-track'),
        (steps, protocol) => {
          const it = new Storm(machine({ protocol, memoryPages: 40 }));
          for (const s of steps) it.apply(s);
          it.audit();
        },
      ),
      { numRuns: 60, seed: 2008 },
    );
  });
});
