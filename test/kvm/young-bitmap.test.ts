// The pages that the guest used, as a bitmap, under shadow and under two-dimensional paging.
import { expect, test } from 'vitest';
import { testClearYoung } from '../../src/kvm/young-bitmap.ts';
import { createVm } from '../../src/machine.ts';
import { testRandom } from '../machine/helpers.ts';

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

test.each(['clear_young', 'access-track'])(
  '%s: a bit for each page, whatever its neighbours are',
  (protocol) => {
    const pages = 700;
    const vm = createVm({
      memoryPages: pages + 64,
      guestPages: pages,
      protocol,
      guestTables: 'resident',
      prefetch: false,
      yardstick: false,
    });
    const random = testRandom(17);
    const use = (page: number): void => {
      const at = vm.core.x.arenaAlloc(8) >>> 0;
      vm.core.mem.store32(at, (page << 12) | 1);
      vm.runRecords(at, 1);
    };
    for (let page = 0; page < pages; page++) use(page);
    const first = vm.hvnOf(vm.data.base);
    for (let round = 0; round < 40; round++) {
      testClearYoung(vm.kvm, first, pages);
      vm.kvm.flushRemoteTlbs();
      // From a page now and then to nearly all.
      const share = (round % 8) / 7;
      const used = new Set<number>();
      for (let page = 0; page < pages; page++) if (random() < share) used.add(page);
      for (const page of used) use(page);
      for (let page = 0; page < pages; page++) {
        if (random() >= 0.01) continue;
        vm.core.x.unmapHvaRange(vm.mm.id, first + page, first + page + 1);
        used.delete(page);
      }
      const from = round % 11;
      const { count, bitmap } = testClearYoung(vm.kvm, first + from, pages - from);
      const seen = Array.from({ length: pages - from }, (_, i) => i + from).filter(
        (page) => ((bitmap[(page - from) >> 3] as number) >> ((page - from) & 7)) & 1,
      );
      expect(seen).toEqual([...used].filter((page) => page >= from).toSorted((a, b) => a - b));
      expect(count).toBe(seen.length);
    }
  },
);
