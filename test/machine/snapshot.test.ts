// A machine that goes back to a snapshot runs on as it did the first time, whatever its policy, and its
// host remembers neither notifiers nor children that came later.
import { describe, expect, test } from 'vitest';
import { ACCESS_WRITE } from '../../assembly/abi.ts';
import { type Vm, createVm } from '../../src/machine.ts';
import { POLICY_NAMES, makePolicy } from '../../src/policies.ts';
import type { VmOptions } from '../../src/vm-options.ts';
import type { HostOperation } from '../../src/workload/host-op.ts';
import { testRandom } from './helpers.ts';

const REFERENCES = 3_000;

/** Writes as many references twice over, most of them to a fifth of the pages; returns where. */
function references(vm: Vm, pages: number): number {
  const random = testRandom(7);
  const records = vm.core.x.arenaAlloc(2 * REFERENCES * 8) >>> 0;
  for (let i = 0; i < 2 * REFERENCES; i++) {
    const page = Math.floor(random() * (random() < 0.7 ? pages / 5 : pages));
    const flags = random() < 0.4 ? ACCESS_WRITE : 0;
    vm.core.mem.store32(records + 8 * i, (page << 12) | flags);
  }
  return records;
}

/** Everything that a run counts, and who is there at its end. */
function seen(vm: Vm): unknown {
  const { children } = vm.ops;
  const newest = vm.mm.notifiers.list.head;
  return { ...vm.stats.read(), time: vm.deviceTime(), phases: vm.phases, children, newest };
}

/** Runs on twice from one snapshot. */
function expectSame(options: VmOptions, operations: readonly HostOperation[] = []): void {
  const vm = createVm(options);
  const records = references(vm, options.guestPages);
  vm.runRecords(records, REFERENCES);
  const snapshot = vm.snapshot();
  const runOn = (): unknown => {
    for (const operation of operations) vm.ops.apply(operation);
    vm.runRecords(records + REFERENCES * 8, REFERENCES);
    vm.mark(1);
    return seen(vm);
  };
  const first = runOn();
  vm.restore(snapshot);
  expect(runOn()).toEqual(first);
}

describe('back to a snapshot', () => {
  test.each(POLICY_NAMES)('under %s', (policy) => {
    const memory = { memoryPages: 120, guestPages: 400, vcpus: 2 };
    for (const protocol of ['v3', 'clear_young']) {
      expectSame({ ...memory, protocol, policy: makePolicy(policy) });
    }
  });

  test('with kswapd', () => {
    expectSame({ memoryPages: 1200, guestPages: 4000, reclaim: 'watermarks', protocol: 'v4' });
  });

  test('before a notifier was registered and the VMM had forked', () => {
    const operations: HostOperation[] = [
      { op: 'register_notifier', name: 'device' },
      { op: 'fork', stays: true },
      { op: 'write', page: 10, pages: 20 },
    ];
    const memory = { memoryPages: 120, guestPages: 400, protocol: 'clear_young' };
    expectSame({ ...memory, verify: true }, operations);
  });

  test('a child that was there sees what it saw then', () => {
    const vm = createVm({ memoryPages: 120, guestPages: 400, verify: true });
    const child = vm.ops.fork();
    vm.ops.write(3, child);
    const snapshot = vm.snapshot();
    vm.ops.write(3, child);
    vm.ops.reap(child);
    expect(vm.ops.fork()).toBe(child + 1);
    vm.restore(snapshot);
    expect(vm.ops.children).toEqual([child]);
    expect(vm.ops.read(3, child)).toBe(true);
    expect(vm.ops.fork()).toBe(child + 1);
  });
});
