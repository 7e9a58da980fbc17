// Faults that run() serves in the core must be the faults that kvmPageFault() serves: every counter
// agrees, whatever the protocol, whether the core may serve them or not.
import { expect, test } from 'vitest';
import { PROTOCOLS } from '../../src/simulate.ts';
import { createVm } from '../../src/machine.ts';
import { makePolicy } from '../../src/policies.ts';

const PAGES = 300;
const REFERENCES = 12_000;

function run(protocol: string, quickFaults: boolean, policy: string, vcpus: number) {
  const vm = createVm({
    // Pages under sptes that nothing drops can't be reclaimed.
    memoryPages: protocol === 'pinned' || protocol === 'none' ? 4096 : 200,
    guestPages: PAGES + 8,
    protocol,
    policy: makePolicy(policy),
    quickFaults,
    vcpus,
    seed: 3,
  });
  const records = vm.core.x.arenaAlloc(REFERENCES * 8) >>> 0;
  const { u32 } = vm.core.mem;
  let seed = 99;
  for (let i = 0; i < REFERENCES; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    // A hot third and a cold rest, in two places of the address space.
    const page = seed % 4 === 0 ? (seed >>> 8) % PAGES : (seed >>> 8) % (PAGES / 3);
    const kind = (seed >>> 20) % 3;
    u32[records / 4 + 2 * i] = ((page * 3 + 5) << 12) | kind;
    u32[records / 4 + 2 * i + 1] = page % 2;
  }
  vm.runRecords(records, REFERENCES);
  return vm.stats.read();
}

test.each(PROTOCOLS)('%s: faults served in the core count as the others do', (protocol) => {
  for (const policy of ['two-list', 'clock']) {
    const host = run(protocol, false, policy, 2);
    expect(run(protocol, true, policy, 2)).toEqual(host);
    expect(host.shadow_page_faults).toBeGreaterThan(PAGES);
  }
});
