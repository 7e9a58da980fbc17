// Faults that run() serves in the core must be the faults that kvmPageFault() serves: every counter
// agrees, whatever the protocol and the generation, whether the core may serve them or not.
import { expect, test } from 'vitest';
import type { CoreBuild } from '../../src/core/load.ts';
import { loadCore } from '../../src/core/load.ts';
import { Kvm } from '../../src/kvm/kvm.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { Host } from '../../src/mm/host.ts';
import { GENERATIONS, PROTOCOLS } from '../../src/simulate.ts';
import { Stats } from '../../src/stats/stats.ts';
import { createVm } from '../../src/machine.ts';
import { makePolicy } from '../../src/policies.ts';

const PAGES = 300;
const REFERENCES = 12_000;

/** A hot third and a cold rest, in two places of the address space. */
function* references(): Generator<[page: number, kind: number]> {
  let seed = 99;
  for (let i = 0; i < REFERENCES; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const page = seed % 4 === 0 ? (seed >>> 8) % PAGES : (seed >>> 8) % (PAGES / 3);
    yield [page, (seed >>> 20) % 3];
  }
}

function run(
  protocol: string,
  generation: string,
  quickFaults: boolean,
  policy: string,
  vcpus: number,
  backing: 'anon' | 'file' = 'anon',
) {
  const vm = createVm({
    // Pages under sptes that nothing drops can't be reclaimed.
    memoryPages: protocol === 'pinned' || protocol === 'none' ? 4096 : 200,
    guestPages: PAGES + 8,
    protocol,
    generation,
    policy: makePolicy(policy),
    quickFaults,
    vcpus,
    backing,
    seed: 3,
  });
  const records = vm.core.x.arenaAlloc(REFERENCES * 8) >>> 0;
  const { u32 } = vm.core.mem;
  let at = records / 4;
  for (const [page, kind] of references()) {
    u32[at++] = ((page * 3 + 5) << 12) | kind;
    u32[at++] = page % 2;
  }
  vm.runRecords(records, REFERENCES);
  return { ...vm.stats.read(), time: vm.deviceTime() };
}

const cases = PROTOCOLS.flatMap((protocol) => GENERATIONS.map((g) => [protocol, g] as const));

test.each(cases)('%s, %s: faults served in the core count as others', (protocol, generation) => {
  for (const policy of ['two-list', 'clock']) {
    const host = run(protocol, generation, false, policy, 2);
    expect(run(protocol, generation, true, policy, 2)).toEqual(host);
    expect(host.shadow_page_faults).toBeGreaterThan(PAGES);
  }
});

test.each(cases)('%s, %s: pages of a file, first in first out', (protocol, generation) => {
  const host = run(protocol, generation, false, 'fifo', 1, 'file');
  expect(run(protocol, generation, true, 'fifo', 1, 'file')).toEqual(host);
  expect(host.major_faults).toBeGreaterThan(PAGES - 1);
});

test.each(cases)('%s, %s: pages of a file with a second chance', (protocol, generation) => {
  const host = run(protocol, generation, false, 'clock', 2, 'file');
  expect(run(protocol, generation, true, 'clock', 2, 'file')).toEqual(host);
  if (protocol === 'pinned' || protocol === 'none') return;
  expect(host.pages_rotated).toBeGreaterThan(0);
  expect(host.file_writebacks).toBeGreaterThan(0);
});

/** Uniform references over more pages than fit, on a machine whose tables are looked at ahead. */
function runLarge(quickFaults: boolean, backing: 'anon' | 'file', core: CoreBuild) {
  const pages = 12_000;
  const vm = createVm({
    core,
    memoryPages: 9_000,
    guestPages: pages + 64,
    protocol: 'v3',
    policy: makePolicy('clock'),
    guestTables: 'resident',
    prefetch: false,
    flushScope: 'pages',
    quickFaults,
    backing,
  });
  const count = 30_000;
  const records = vm.core.x.arenaAlloc(count * 8) >>> 0;
  let seed = 5;
  for (let i = 0; i < count; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const page = i < pages ? i : (seed >>> 8) % pages;
    vm.core.mem.store32(records + 8 * i, (page << 12) | (seed >>> 31));
  }
  vm.runRecords(records, count);
  return { ...vm.stats.read(), time: vm.deviceTime() };
}

test.each(['anon', 'file'] as const)('%s: looking ahead changes no count', (backing) => {
  const host = runLarge(false, backing, 'release');
  expect(host.evictions).toBeGreaterThan(5_000);
  expect(runLarge(true, backing, 'release')).toEqual(host);
  expect(runLarge(true, backing, 'debug')).toEqual(host);
});

test('a hook that came after a snapshot hears of what runs after the restore', () => {
  const vm = createVm({
    memoryPages: 40,
    guestPages: 100,
    guestTables: 'resident',
    policy: makePolicy('fifo'),
  });
  const records = vm.core.x.arenaAlloc(90 * 8) >>> 0;
  for (let i = 0; i < 90; i++) vm.core.mem.store32(records + 8 * i, (i << 12) | 1);
  vm.runRecords(records, 90);
  const snapshot = vm.snapshot();
  let evicted = 0;
  vm.host.hooks = { ...vm.host.hooks, evicted: () => evicted++ };
  vm.runRecords(records, 90);
  expect(evicted).toBe(90);
  vm.restore(snapshot);
  vm.runRecords(records, 90);
  expect(evicted).toBe(180);
});

/** The same on nested tables: pages 0 to 3 are the guest's tables, which map every page to itself. */
function runNested(protocol: keyof typeof AGING_PRESETS, quickFaults: boolean) {
  const core = loadCore('release');
  const aging = AGING_PRESETS[protocol];
  const host = new Host(core, { frames: PAGES >> 1, aging });
  const mm = host.createMm();
  const hvn = mm.mmap({ npages: PAGES });
  const kvm = new Kvm({ core, mm, aging, tdp: true, quickFaults });
  kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: PAGES, hvn });
  const vcpu = kvm.vcpus[0];
  vcpu?.setRegisters({ cr0: 0x80050033, cr4: 0x20, efer: 0xd00 });
  for (let table = 0; table < 3; table++) vcpu?.writeGuestPte(table, 0, ((table + 1) << 12) | 7, 0);
  for (let page = 0; page < PAGES; page++) vcpu?.writeGuestPte(3, page, (page << 12) | 7, 0);
  vcpu?.setGuestCr3(0);
  const record = core.x.arenaAlloc(8) >>> 0;
  let exits = 0;
  for (const [page, kind] of references()) {
    core.mem.store32(record, (Math.max(page, 4) << 12) | kind);
    core.mem.store32(record + 4, 0);
    while (vcpu?.run(record, 1).kind !== 'done') exits++;
  }
  expect(exits).toBe(0);
  return { ...new Stats(core).read(), swapped: host.swap.writes };
}

test.each(['clear_flush_young', 'access-track'] as const)('nested tables, %s', (protocol) => {
  const host = runNested(protocol, false);
  expect(host.shadow_page_faults).toBeGreaterThan(PAGES);
  expect(host.swapped).toBeGreaterThan(0);
  expect(runNested(protocol, true)).toEqual(host);
});

/** Shadow paging where the guest maps each page at two addresses: a page may have two sptes. */
function runAliased(protocol: keyof typeof AGING_PRESETS, quickFaults: boolean) {
  const core = loadCore('release');
  const aging = AGING_PRESETS[protocol];
  const frames = PAGES >> 1;
  const host = new Host(core, { frames, aging, policy: makePolicy('clock') });
  const mm = host.createMm();
  const hvn = mm.mmap({ npages: PAGES, file: host.createFile(), shared: true });
  const kvm = new Kvm({ core, mm, aging, quickFaults, prefetch: false, flushScope: 'pages' });
  kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: PAGES, hvn });
  mm.mlock(hvn, 8, true);
  const vcpu = kvm.vcpus[0];
  vcpu?.setRegisters({ cr0: 0x80050033, cr4: 0x20, efer: 0xd00 });
  for (let table = 0; table < 3; table++)
    vcpu?.writeGuestPte(table, 0, ((table + 1) << 12) | 0x67, 0);
  vcpu?.writeGuestPte(2, 1, (4 << 12) | 0x67, 0);
  for (let page = 0; page < PAGES; page++) {
    vcpu?.writeGuestPte(3, page, (page << 12) | 0x67, 0);
    vcpu?.writeGuestPte(4, page, (page << 12) | 0x67, 0);
  }
  vcpu?.setGuestCr3(0);
  const record = core.x.arenaAlloc(8) >>> 0;
  let exits = 0;
  for (const [page, kind] of references()) {
    const vpn = Math.max(page, 8) + (kind === 2 ? 512 : 0);
    core.mem.store32(record, (vpn << 12) | (kind & 1));
    core.mem.store32(record + 4, 0);
    exits += vcpu?.run(record, 1).kind === 'done' ? 0 : 1;
  }
  expect(exits).toBe(0);
  return new Stats(core).read();
}

test.each(['v3', 'clear_young'] as const)('two sptes a page, %s', (protocol) => {
  const host = runAliased(protocol, false);
  expect(host.evictions).toBeGreaterThan(PAGES);
  expect(host.sptes_installed).toBeGreaterThan(host.major_faults);
  expect(runAliased(protocol, true)).toEqual(host);
});

test('what the core reads from a file is what was written', () => {
  const vm = createVm({
    memoryPages: 120,
    guestPages: PAGES + 8,
    backing: 'file',
    policy: makePolicy('clock'),
    guestTables: 'resident',
    verify: true,
  });
  const records = vm.core.x.arenaAlloc(REFERENCES * 8) >>> 0;
  let at = records;
  for (const [page, kind] of references()) {
    vm.core.mem.store32(at, (page << 12) | (kind & 1));
    at += 8;
  }
  vm.runRecords(records, REFERENCES);
  expect(vm.stats.read().file_writebacks).toBeGreaterThan(PAGES);
  expect(vm.verified?.reads).toBeGreaterThan(REFERENCES / 2);
});
