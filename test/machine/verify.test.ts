// Storms of guest accesses, guest kernel actions, host operations and notifiers under every protocol,
// with several vCPUs and several subsystems on the mm: no stale or foreign page is read, no write is
// lost, and the audits of KVM and of the host find nothing, in the middle and at the end, when nothing
// may be left over.
//
// SHADOWMMU_STORM=n runs n steps in all; a failure shrinks to a few steps and prints its seed.
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { createVm } from '../../src/machine.ts';
import type { VmOptions } from '../../src/vm-options.ts';
import { makePolicy } from '../../src/policies.ts';
import { GENERATIONS, POLICIES, PROTOCOLS } from '../../src/simulate.ts';
import { STEP_KINDS, type Step, Storm } from './storm.ts';

const TOTAL = Number(process.env['SHADOWMMU_STORM'] ?? 24_000);
const SEED = Number(process.env['SHADOWMMU_SEED'] ?? 2008);
/** Steps of the longest storm. */
const LONGEST = 600;
const AUDIT_EVERY = 40;
/** Time for one protocol; a failure that still shrinks then is shown as it is. */
const LIMIT_MS = 30_000 + TOTAL;

/** The machines: every option that changes what the mechanism does. */
interface Machine {
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

const machine: fc.Arbitrary<Machine> = fc.record({
  policy: fc.constantFrom('two-list', 'two-list', ...POLICIES),
  options,
});

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(...STEP_KINDS),
  a: fc.nat(255),
  b: fc.nat(255),
  n: fc.nat(60),
});

const storm = fc.noBias(fc.array(step, { minLength: 0, maxLength: LONGEST, size: 'max' }));

let steps = 0;
let references = 0;
let reads = 0;
let writes = 0;
let notified = 0;
let killed = 0;

function run(protocol: string, generation: string, { policy, options }: Machine, list: Step[]) {
  const vm = createVm({
    memoryPages: 40,
    guestPages: 1_100,
    tablePages: 100,
    verify: true,
    core: 'debug',
    policy: makePolicy(policy),
    protocol,
    generation,
    ...options,
  });
  const it = new Storm(vm);
  list.forEach((s, i) => {
    it.apply(s);
    // A short list is a shrunk one: there the first step that leaves something wrong is wanted.
    if (i % AUDIT_EVERY === 0 || list.length < AUDIT_EVERY) it.audit();
  });
  it.finish();
  steps += list.length;
  references += it.references;
  notified += it.notified;
  if (vm.outcome !== 'done') killed++;
  reads += vm.verified?.reads ?? 0;
  writes += vm.verified?.writes ?? 0;
}

const cases = PROTOCOLS.filter((name) => name !== 'pinned' && name !== 'none').flatMap((protocol) =>
  GENERATIONS.map((generation) => ({ protocol, generation })),
);

describe('storms', () => {
  for (const [i, { protocol, generation }] of cases.entries()) {
    const numRuns = Math.max(2, Math.ceil(TOTAL / cases.length / (LONGEST / 2)));
    test(
      `${protocol}, ${generation}`,
      () => {
        fc.assert(
          fc.property(machine, storm, (which, list) => run(protocol, generation, which, list)),
          {
            numRuns,
            seed: SEED + i,
            interruptAfterTimeLimit: LIMIT_MS,
            markInterruptAsFailure: true,
          },
        );
      },
      2 * LIMIT_MS,
    );
  }

  afterAll(() => {
    const checked = `${reads} reads and ${writes} writes checked`;
    console.log(
      `storms: ${steps} steps, ${references} references, ${checked}, ${notified} notifier calls, ` +
        `${killed} machines that ended early`,
    );
    expect(references).toBeGreaterThan(steps);
  });
});
