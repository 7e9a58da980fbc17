// The pages that the guest used, as a bitmap, under shadow and under two-dimensional paging.
import { expect, test } from 'vitest';
import { testClearYoung } from '../../src/kvm/young-bitmap.ts';
import { createVm } from '../../src/machine.ts';

/** More than one call of the core answers. */
const PAGES = 33_000;

test.each(['shadow', 'tdp'] as const)('%s: exactly what was used is young, once', (paging) => {
  const vm = createVm({
    tdp: paging === 'tdp',
    memoryPages: PAGES + 64,
    guestPages: PAGES,
    protocol: 'clear_young',
    guestTables: 'resident',
    prefetch: false,
  });
  const records = vm.core.x.arenaAlloc(PAGES * 8) >>> 0;
  for (let page = 0; page < PAGES; page++) {
    vm.core.mem.store32(records + 8 * page, (page << 12) | 1);
  }
  vm.runRecords(records, PAGES);
  const first = vm.hvnOf(vm.data.base);
  expect(testClearYoung(vm.kvm, first, PAGES).count).toBe(PAGES);
  expect(testClearYoung(vm.kvm, first, PAGES).count).toBe(0);
  // The TLB would hide the next accesses.
  vm.kvm.flushRemoteTlbs();
  for (let page = 0; page < PAGES; page += 1000) vm.runRecords(records + 8 * page, 1);
  const seen = testClearYoung(vm.kvm, first, PAGES, false);
  expect(seen.count).toBe(PAGES / 1000);
  expect(testClearYoung(vm.kvm, first, PAGES)).toEqual(seen);
  const bits = [...seen.bitmap].reduce(
    (sum, byte) => sum + byte.toString(2).split('1').length - 1,
    0,
  );
  expect(bits).toBe(PAGES / 1000);
  expect(testClearYoung(vm.kvm, first, PAGES).count).toBe(0);
});
