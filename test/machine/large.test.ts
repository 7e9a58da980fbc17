// Machines of millions of pages: tables whose size follows the guest's must lie where nothing else does,
// and a guest that touches little of them costs little.
import { expect, test } from 'vitest';
import { createVm } from '../../src/machine.ts';
import { auditKvm } from '../../src/kvm/audit.ts';

const PAGES = 3 << 20;
/** One page in each 512, so that every unit of every table of the slot is used. */
const STRIDE = 512;

test('a guest of 12 GiB, one page in 512 touched, keeps its counters and its mappings', () => {
  const vm = createVm({
    memoryPages: PAGES + 64,
    guestPages: PAGES,
    tablePages: (PAGES / STRIDE) * 2,
    guestTables: 'resident',
    yardstick: false,
    prefetch: false,
  });
  const { x, mem } = vm.core;
  const count = PAGES / STRIDE;
  const records = x.arenaAlloc(count * 8) >>> 0;
  for (let i = 0; i < count; i++) {
    const vpn = i * STRIDE;
    mem.store32(records + i * 8, ((vpn << 12) | 1) >>> 0);
    mem.store32(records + i * 8 + 4, vpn >>> 20);
  }
  vm.runRecords(records, count);
  const { accesses, writes, tlb_misses, tlb_hits } = vm.stats.read();
  expect({ accesses, writes, tlb_misses, tlb_hits }).toEqual({
    accesses: count,
    writes: count,
    tlb_misses: count,
    tlb_hits: 0,
  });
  expect(auditKvm(vm.kvm)).toEqual([]);
  // Every page of the slot is unmapped: nothing may be left, and nothing else may go.
  const first = vm.hvnOf(vm.data.base);
  const mapped = vm.stats.read().sptes_dropped;
  x.unmapHvaRange(vm.mm.id, first, first + vm.data.count);
  x.flushTlbs();
  expect(vm.stats.read().sptes_dropped - mapped).toBe(count);
  expect(auditKvm(vm.kvm)).toEqual([]);
});
