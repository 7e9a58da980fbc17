// The whole machine on two-dimensional paging: the guest's tables are its own, so KVM sees none of its
// page faults and none of its table writes, and everything else (reads, aging, reclaim) must hold as with shadow
// paging. Checked with stamps on every page and the audits.
import { describe, expect, test } from 'vitest';
import { createVm } from '../../src/machine.ts';
import { PROTOCOLS, simulate } from '../../src/simulate.ts';
import { openWorkload } from '../../src/workload/open.ts';

const workload = () => openWorkload('hot-cold:pages=300,hot=40,refs=20k', 1);
const common = { verify: true, core: 'debug', generation: '6.1', guestTables: 'resident' } as const;

/** Those whose sptes have to pin pages, or to be in a list of their own, are of shadow paging. */
const SHADOW_ONLY = ['none', 'pinned', 'spte-lru'];

describe.each(PROTOCOLS.filter((name) => !SHADOW_ONLY.includes(name)))('%s', (protocol) => {
  test.each([true, false])('A and D bits: %s', async (adBits) => {
    const options = { ...common, protocol, memory: { pages: 100 } } as const;
    const nested = await simulate(workload(), { ...options, tdp: true, adBits });
    const shadow = await simulate(workload(), options);
    expect(nested.outcome).toBe('done');
    expect(nested.machine.paging).toBe('tdp');
    expect(nested.verified?.reads).toBe(shadow.verified?.reads);
    expect(nested.counters.accesses).toBe(shadow.counters.accesses);
    // What the guest faults on is its own affair, and the same; KVM emulates no table write.
    expect(nested.counters.guest_page_faults).toBe(shadow.counters.guest_page_faults);
    expect(shadow.counters.guest_pte_writes + shadow.counters.shadow_pages_unsync).toBeGreaterThan(
      0,
    );
    expect(nested.counters.guest_pte_writes).toBe(0);
    expect(nested.counters.shadow_pages_unsync).toBe(0);
    expect(nested.counters.evictions).toBeGreaterThan(0);
  });
});

test('without pressure a page costs one exit, and none is aged', async () => {
  const memory = { pages: 600 };
  const { counters } = await simulate(workload(), { ...common, memory, tdp: true });
  expect(counters.major_faults + counters.age_page_calls).toBe(0);
  expect(counters.shadow_page_faults).toBeLessThanOrEqual(320);
});

test('what can not be is refused', () => {
  const sizes = { memoryPages: 64, guestPages: 64 };
  expect(() => createVm({ ...sizes, adBits: false })).toThrow(/two-dimensional paging/);
  for (const protocol of SHADOW_ONLY) {
    expect(() => createVm({ ...sizes, tdp: true, protocol })).toThrow(/needs shadow paging/);
  }
  expect(() => createVm({ ...sizes, tdp: true, vcpus: 2 })).toThrow(/one vCPU/);
  expect(() => createVm({ ...sizes, tdp: true, generation: '2008' })).toThrow(/6\.1/);
});
