// The leaf tables that walks came to are known by root and links, and an entry that maps 2 MiB leads to none.
import { expect, test } from 'vitest';
import { HPTE_PRESENT } from '../../assembly/abi.ts';
import { ENTRY, PT, TableGuest } from './guest.ts';

const DATA = 20;
const GENERATIONS = ['2008', '6.1'] as const;

test('the walk under one root does not end in the leaf table of another', () => {
  const guest = new TableGuest({ pages: 64 });
  const { mm, hvn, vcpu } = guest;
  const root = 4;
  for (let table = root; table < root + 3; table++) guest.map(table, 0, table + 1);
  guest.map(PT, DATA, DATA);
  guest.map(root + 3, DATA, DATA + 1);
  const inRoot = (gfn: number): void => {
    vcpu.setCr3(gfn);
    expect(guest.access(DATA).kind).toBe('done');
  };
  // Twice: the first accesses make links between tables, which make all that is known void.
  for (const gfn of [0, root, 0, root]) inRoot(gfn);
  expect(mm.madvise(hvn + DATA, 2, 'dontneed')).toBe(0);
  expect([guest.hpte(DATA), guest.hpte(DATA + 1)]).toEqual([0, 0]);
  inRoot(0);
  expect(guest.hpte(DATA) & HPTE_PRESENT).toBe(HPTE_PRESENT);
  expect(guest.hpte(DATA + 1)).toBe(0);
  inRoot(root);
  expect(guest.hpte(DATA + 1) & HPTE_PRESENT).toBe(HPTE_PRESENT);
});

test.each(GENERATIONS)('%s: the walk of a 2 MiB page ends at its entry', (generation) => {
  const guest = new TableGuest({ pages: 1024, generation, thp: 'always' });
  const { stats, vcpu } = guest;
  guest.map(2, 1, 512, ENTRY | 0x80);
  // With a listener every fault leaves the core, so that one that never ends does not stay there.
  guest.core.trace(() => {});
  expect(guest.access(512 + 7).kind).toBe('done');
  expect(guest.core.x.hpmdGet(guest.mm.id, guest.hvn + 512) & HPTE_PRESENT).toBe(HPTE_PRESENT);
  const installed = stats.get('sptes_installed');
  const faults = stats.get('shadow_page_faults');
  const misses = stats.get('tlb_misses');
  for (const page of [512, 700, 1023]) {
    vcpu.setCr3(0);
    expect(guest.access(page).kind).toBe('done');
  }
  expect(stats.get('tlb_misses')).toBe(misses + 3);
  expect(stats.get('shadow_page_faults')).toBe(faults);
  expect(stats.get('sptes_installed')).toBe(installed);
});
