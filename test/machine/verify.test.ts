// Storms of guest accesses, guest kernel actions, host operations and notifiers under every protocol,
// with several vCPUs and several subsystems on the mm: no stale or foreign page is read, no write is
// lost, and the audits of KVM and of the host find nothing, in the middle and at the end, when nothing
// may be left over.
//
// SHADOWMMU_STORM=n runs n steps in all; a failure shrinks to a few steps and prints its seed.
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { createVm } from '../../src/machine.ts';
import { makePolicy } from '../../src/policies.ts';
import { type Step, Storm } from './storm.ts';
import { LONGEST, type Machine, machines, STORM_CASES, storms } from './storms.ts';

const TOTAL = Number(process.env['SHADOWMMU_STORM'] ?? 24_000);
const SEED = Number(process.env['SHADOWMMU_SEED'] ?? 2008);
const AUDIT_EVERY = 40;
/** Time for one protocol; a failure that still shrinks then is shown as it is. */
const LIMIT_MS = 30_000 + TOTAL;

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

test('sptes that were aged without a flush: a TLB may write by them until they are protected or gone', () => {
  const options = {
    memoryPages: 40,
    backing: 'anon',
    vcpus: 1,
    pcid: false,
    guestTables: 'resident',
    flushScope: 'all',
    prefetch: false,
    quickFaults: false,
    seed: 1,
    deviceErrors: {},
    swapPages: 4096,
    reclaim: 'memcg',
    minFreeKbytes: 8,
  } as const;
  // The look around a page that MGLRU finds young asks clear_young.
  run('access-track', '6.12', { policy: 'mglru', options }, [
    { kind: 'touch', a: 0, b: 0, n: 14 },
    { kind: 'slot_gone', a: 0, b: 182, n: 4 },
    { kind: 'touch', a: 14, b: 202, n: 32 },
  ]);
});

describe('storms', () => {
  for (const [i, { protocol, generation }] of STORM_CASES.entries()) {
    const numRuns = Math.max(2, Math.ceil(TOTAL / STORM_CASES.length / (LONGEST / 2)));
    test(
      `${protocol}, ${generation}`,
      () => {
        fc.assert(
          fc.property(machines, storms(LONGEST), (which, list) =>
            run(protocol, generation, which, list),
          ),
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
