// A fault whose guest walk goes the way of the last one keeps the tables of levels 4 to 2, but looks at what may
// have changed behind KVM's back: their host ptes, and their entries.
import { expect, test } from 'vitest';
import { HPTE_PRESENT, HPTE_YOUNG } from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { Kvm } from '../../src/kvm/kvm.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { Host } from '../../src/mm/host.ts';
import type { CounterName } from '../../src/stats/counters.ts';
import { Stats } from '../../src/stats/stats.ts';

const PAGES = 300;
/** Present, writable, user, accessed, dirty. */
const ENTRY = 0x67;

/** Tables of level 4 to 1 in the pages 0 to 3, which map each page to itself; `touch` reads one. */
function machine() {
  const core = loadCore('release');
  const aging = AGING_PRESETS.v3;
  const host = new Host(core, { frames: 2 * PAGES, aging });
  const mm = host.createMm();
  const hvn = mm.mmap({ npages: PAGES });
  const kvm = new Kvm({ core, mm, aging, prefetch: false });
  kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: PAGES, hvn });
  const vcpu = kvm.vcpus[0];
  if (vcpu === undefined) throw new Error('a VM has a vCPU');
  vcpu.setRegisters({ cr0: 0x80050033, cr4: 0x20, efer: 0xd00 });
  const map = (table: number, index: number, page: number): void => {
    vcpu.writeGuestPte(table, index, (page << 12) | ENTRY, 0);
  };
  for (let table = 0; table < 3; table++) map(table, 0, table + 1);
  for (let page = 0; page < PAGES; page++) map(3, page, page);
  vcpu.setGuestCr3(0);
  const record = core.x.arenaAlloc(8) >>> 0;
  const touch = (page: number): void => {
    core.mem.store32(record, page << 12);
    core.mem.store32(record + 4, 0);
    expect(vcpu.run(record, 1).kind).toBe('done');
  };
  const pte = (page: number): number => core.x.hpteGet(mm.id, hvn + page) >>> 0;
  for (const page of [20, 21, 22]) touch(page);
  const count = (name: CounterName): number => new Stats(core).read()[name];
  return { core, mm, hvn, map, touch, pte, count };
}

test.each([0, 1, 2, 3])(
  'a table in page %i that the host made old is young after the next walk',
  (table) => {
    const { core, mm, hvn, touch, pte } = machine();
    expect(core.x.hpteTestAndClearYoung(mm.id, hvn + table)).toBe(1);
    touch(23);
    expect(pte(table) & HPTE_YOUNG).toBe(HPTE_YOUNG);
  },
);

test.each([0, 1, 2])(
  'an entry of the table in page %i that the VMM wrote is the next walk’s',
  (table) => {
    const { core, map, touch, pte } = machine();
    // Other tables below the entry, in the pages 10 to 12, that map each page to the one 100 pages behind.
    for (let below = table + 1; below < 3; below++) map(9 + below, 0, 10 + below);
    for (let page = 0; page < 100; page++) map(12, page, page + 100);
    const entry = core.x.guestPagePtr(table) >>> 0;
    core.mem.store32(entry, ((10 + table) << 12) | ENTRY);
    touch(30);
    expect(pte(130) & HPTE_PRESENT).toBe(HPTE_PRESENT);
    expect(pte(30) & HPTE_PRESENT).toBe(0);
  },
);

test('a fault below a table starts the count of writes to it over', () => {
  const { map, touch, count } = machine();
  const write = (entry: number): void => map(2, entry, 3);
  write(100);
  write(101);
  touch(23);
  write(102);
  write(103);
  expect(count('shadow_pages_flooded')).toBe(0);
  // Three in a row are too many (detect_write_flooding()).
  write(104);
  expect(count('shadow_pages_flooded')).toBe(1);
});
