// Where ageing drops sptes without a flush, translations outlive them, and no page is known (assembly/straight/known_page.ts):
// a fault at a known page looks into no TLB, so that such a page would fault although the L2 still translates it.
import { describe, expect, test } from 'vitest';
import { ACCESS_READ, ACCESS_WRITE } from '../../assembly/abi.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { createVm } from '../../src/machine.ts';
import { makePolicy } from '../../src/policies.ts';
import { GENERATIONS } from '../../src/simulate.ts';
import { BASE_VPN, testRandom } from '../machine/helpers.ts';
import { countsOf, hostState, kvmState } from './machine-state.ts';

const { v3 } = AGING_PRESETS;
/** So few pages stay in the TLB and in memory that most accesses fault, and are looked for among known pages first. */
const PAGES = 60;
const FRAMES = 20;
const ACCESSES = 3_000;

function play(generation: string, quickFaults: boolean) {
  const vm = createVm({
    protocol: { ...v3, kvm: { ...v3.kvm, flush: false } },
    generation,
    policy: makePolicy('clock'),
    backing: 'file',
    flushScope: 'pages',
    guestTables: 'resident',
    memoryPages: FRAMES,
    guestPages: PAGES,
    tablePages: 20,
    tlb: { l1Sets: 1, l1Ways: 4, l2Sets: 1, l2Ways: 12 },
    quickFaults,
  });
  const records = vm.core.x.arenaAlloc(8 * ACCESSES) >>> 0;
  const random = testRandom(3);
  const counts: unknown[] = [];
  for (let batch = 0; batch < 3; batch++) {
    for (let i = 0; i < ACCESSES; i++) {
      const kind = random() < 0.3 ? ACCESS_WRITE : ACCESS_READ;
      const page = BASE_VPN + Math.floor(random() * PAGES);
      vm.core.mem.store32(records + 8 * i, (page << 12) | kind);
      vm.core.mem.store32(records + 8 * i + 4, 0);
    }
    vm.runRecords(records, ACCESSES);
    counts.push(countsOf(vm));
  }
  const vpns = Array.from({ length: PAGES }, (_, i) => BASE_VPN + i);
  const { sptes, tlb } = kvmState(vm, vpns)[0]!;
  // An entry begins with its gva.
  const outlive = tlb.some((entry) => sptes[parseInt(entry, 16) / 4096 - BASE_VPN] === '0');
  return { counts, host: hostState(vm), sptes, tlb, outlive };
}

describe('translations that outlive their sptes', () => {
  test.each(GENERATIONS)('are used, %s', (generation) => {
    const core = play(generation, true);
    expect(core.outlive).toBe(true);
    expect(core).toEqual(play(generation, false));
  });
});
