// Accesses made one by one by an embedder count as the same accesses run as records.
import { expect, test } from 'vitest';
import { createVm } from '../../src/machine.ts';
import { idealLruOf } from '../../src/result.ts';
import { DEFAULT_TLB, type TlbGeometry } from '../../src/units.ts';

const PAGES = 400;
const ACCESSES = 30_000;
/** 5 TiB: an address beyond 32 bits. */
const BASE = 5 * 2 ** 40;

function machine(yardstick: boolean, tlb: TlbGeometry) {
  return createVm({ memoryPages: 300, guestPages: PAGES + 8, protocol: 'v3', yardstick, tlb });
}

function* accesses(): Generator<[number, number]> {
  let seed = 5;
  for (let i = 0; i < ACCESSES; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const page = seed % 3 === 0 ? (seed >>> 8) % PAGES : (seed >>> 8) % 40;
    yield [BASE + page * 4096, (seed >>> 20) % 3];
  }
}

const SMALL: TlbGeometry = { l1Sets: 8, l1Ways: 2, l2Sets: 8, l2Ways: 12 };

test.each([
  ['with the yardstick', true, DEFAULT_TLB],
  ['without it', false, DEFAULT_TLB],
  ['on a TLB of two ways', true, SMALL],
])('access() is a record of its own: %s', (_, yardstick, tlb) => {
  const batch = machine(yardstick, tlb);
  const single = machine(yardstick, tlb);
  const records = batch.core.x.arenaAlloc(ACCESSES * 8) >>> 0;
  let at = records / 4;
  for (const [gva, kind] of accesses()) {
    batch.core.mem.u32[at++] = (gva % 2 ** 32) + kind;
    batch.core.mem.u32[at++] = Math.floor(gva / 2 ** 32);
    expect(single.access(gva + 123, kind)).toBe(true);
  }
  batch.runRecords(records, ACCESSES);
  expect(single.stats.read()).toEqual(batch.stats.read());
  expect(idealLruOf(single.core)).toEqual(idealLruOf(batch.core));
  expect(single.stats.get('accesses')).toBe(ACCESSES);
});

test('an access to an address that no table can map is refused', () => {
  const vm = machine(true, DEFAULT_TLB);
  expect(vm.access(2 ** 48)).toBe(false);
  expect(vm.stats.get('accesses')).toBe(0);
  expect(vm.stats.get('guest_access_violations')).toBe(1);
});
