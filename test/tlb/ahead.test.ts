// Leaf sptes loaded ahead of their walks (assembly/ahead.ts) change no count: on tables that
// are enough for it, a run counts what the plain model of the TLB says.
import { expect, test } from 'vitest';
import { auditKvm } from '../../src/kvm/audit.ts';
import { createVm } from '../../src/machine.ts';
import { makePolicy } from '../../src/policies.ts';
import { testRandom } from '../machine/helpers.ts';
import { ModelTlb } from './model.ts';

/** More leaf tables than the look-ahead wants, and more pages than the TLB has entries. */
const TABLES = 300;
const PAGES_A_TABLE = 20;
const PAGES = TABLES * PAGES_A_TABLE;
const ACCESSES = 12_000;
/** Places of pages in a row, so that the first ones are spread over all tables. */
const vpnOf = (page: number): number =>
  (page % TABLES) * 512 + Math.floor(page / TABLES) * 25 + (page % 7);

/** A write to each page, then reads, writes and pages that recur for a while. */
function accesses(): { readonly vpn: number; readonly kind: number }[] {
  let seed = 9;
  return Array.from({ length: PAGES + ACCESSES }, (_, i) => {
    if (i < PAGES) return { vpn: vpnOf(i), kind: 1 };
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const pages = i % 4_000 < 3_200 ? PAGES : 100;
    return { vpn: vpnOf((seed >>> 8) % pages), kind: (seed >>> 30) % 2 };
  });
}

test.each(['release', 'debug'] as const)('leaves loaded ahead change no count: %s', (core) => {
  const vm = createVm({
    core,
    memoryPages: PAGES + 700,
    guestPages: PAGES + 64,
    guestTables: 'resident',
    tablePages: TABLES + 64,
    prefetch: false,
  });
  const model = new ModelTlb(16, 4, 128, 12);
  const list = accesses();
  const records = vm.core.x.arenaAlloc(list.length * 8) >>> 0;
  const rights = { user: true, write: true, exec: false, dirty: true };
  list.forEach(({ vpn, kind }, i) => {
    vm.core.mem.store32(records + 8 * i, ((vpn << 12) | kind) >>> 0);
    vm.core.mem.store32(records + 8 * i + 4, vpn >>> 20);
    const entry = { ...rights, space: 0, page: vpn, size: 1, global: false };
    model.access({ vpn, kind, supervisor: false }, () => entry);
  });
  vm.runRecords(records, PAGES);
  const first = vm.stats.read();
  expect(vm.stats.get('tlb_misses')).toBe(PAGES);
  vm.runRecords(records + 8 * PAGES, ACCESSES);
  const { l2, miss } = model.counts;
  expect(vm.stats.get('tlb_misses')).toBe(miss);
  expect(vm.stats.get('tlb_l2_hits')).toBe(l2);
  expect(miss).toBeGreaterThan(PAGES + ACCESSES / 2);
  expect(vm.stats.get('walk_steps') - first.walk_steps).toBe(4 * (miss - PAGES));
});

test('looks ahead at guests whose entries lead nowhere yet, and takes no pte from elsewhere', () => {
  const pages = 12_000;
  // Looking ahead at faults is for memory that exceeds the caches, and reclaim goes on.
  const vm = createVm({
    core: 'debug',
    memoryPages: 9_000,
    guestPages: pages + 64,
    tablePages: TABLES + 64,
    backing: 'file',
    policy: makePolicy('clock'),
    protocol: 'v3',
    guestTables: 'resident',
    prefetch: false,
    yardstick: false,
  });
  const random = testRandom(3);
  const count = 60_000;
  const records = vm.core.x.arenaAlloc(count * 8) >>> 0;
  const seen = new Set<number>();
  for (let i = 0; i < count; i++) {
    // First touches all along, among pages that were used before and are in memory or not.
    const page = Math.floor(random() * Math.min(pages, 2_000 + i / 4));
    const vpn = vpnOf(page);
    seen.add(vpn);
    vm.core.mem.store32(records + 8 * i, ((vpn << 12) | (random() < 0.3 ? 1 : 0)) >>> 0);
    vm.core.mem.store32(records + 8 * i + 4, vpn >>> 20);
  }
  for (let i = 0; i < count; i += 1_000) vm.runRecords(records + 8 * i, 1_000);
  expect(vm.stats.get('guest_page_faults')).toBe(seen.size);
  expect(vm.stats.get('evictions')).toBeGreaterThan(1_000);
  expect(auditKvm(vm.kvm)).toEqual([]);
});
