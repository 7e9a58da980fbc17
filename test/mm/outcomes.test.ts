// What goes wrong in a host, and what Linux makes of it; and what the devices cost.
import { describe, expect, test } from 'vitest';
import * as abi from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { AGING_PRESETS, type AgingPreset } from '../../src/mm/aging.ts';
import { auditHost } from '../../src/mm/audit.ts';
import { Host, type HostOptions } from '../../src/mm/host.ts';
import type { Mm } from '../../src/mm/mm.ts';
import { BlockDevice, DEVICES } from '../../src/mm/swap-device.ts';
import { FifoPolicy } from '../../src/mm/vmscan/fifo.ts';
import { TwoListPolicy } from '../../src/mm/vmscan/two-list.ts';
import { Stats } from '../../src/stats/stats.ts';

const ENOMEM = -12;
const EIO = -5;

function setUp(options: Partial<HostOptions>, npages = 64): { host: Host; mm: Mm; base: number } {
  const core = loadCore('debug');
  const host = new Host(core, { frames: 8, policy: new FifoPolicy(), ...options });
  const mm = host.createMm();
  return { host, mm, base: mm.mmap({ npages }) };
}

function counter(host: Host): Stats {
  return new Stats(host.core);
}

describe('when memory runs out', () => {
  test('a host whose pages are all pinned kills, and the fault says ENOMEM', () => {
    const { host, mm, base } = setUp({});
    const pinned = mm.pin(base, 8, true);
    expect(pinned).toHaveLength(8);
    expect(mm.access(base + 8, true)).toBe(ENOMEM);
    expect(counter(host).get('oom_kills')).toBe(1);
    mm.unpin(pinned, true);
    expect(mm.access(base + 8, true)).toBeGreaterThanOrEqual(0);
    expect(auditHost(host, 0).problems).toEqual([]);
  });

  test('a full swap device keeps anonymous pages, and file pages are dropped instead', () => {
    const { host, mm, base } = setUp({ swapPages: 2 });
    const file = mm.mmap({ npages: 8, file: host.createFile() });
    for (let i = 0; i < 6; i++) mm.access(base + i, true);
    for (let i = 0; i < 8; i++) expect(mm.access(file + i, false)).toBeGreaterThanOrEqual(0);
    expect(host.core.x.swapUsed()).toBe(2);
    expect(counter(host).get('swap_full')).toBeGreaterThan(0);
    for (let i = 6; i < 10; i++) mm.access(base + i, true);
    expect(mm.access(base + 10, true)).toBe(ENOMEM);
    expect(auditHost(host, 0).problems).toEqual([]);
  });
});

describe('when the device fails', () => {
  test('a read gives the process EIO and the page can be read later', () => {
    const swap = new BlockDevice(DEVICES.nvme, { failRead: 2 });
    const { host, mm, base } = setUp({ swap });
    for (let i = 0; i < 16; i++) mm.access(base + i, true);
    const results = [0, 1, 1].map((i) => mm.access(base + i, false));
    expect(results).toEqual([abi.VM_FAULT_MAJOR, EIO, abi.VM_FAULT_MAJOR]);
    expect(counter(host).get('swap_io_errors')).toBe(1);
    expect(auditHost(host, 0).problems).toEqual([]);
  });

  test('a write keeps the page, dirty, and another one goes', () => {
    const swap = new BlockDevice(DEVICES.nvme, { failWrite: 2 });
    const { host, mm, base } = setUp({ swap });
    for (let i = 0; i < 24; i++) expect(mm.access(base + i, true)).toBeGreaterThanOrEqual(0);
    const stats = counter(host);
    expect(stats.get('swap_io_errors')).toBeGreaterThan(0);
    expect(stats.get('swap_outs')).toBe(stats.get('evictions'));
    expect(auditHost(host, 0).problems).toEqual([]);
  });
});

test('a page that was swapped in and only read is dropped without a second write', () => {
  const { host, mm, base } = setUp({});
  for (let i = 0; i < 16; i++) mm.access(base + i, true);
  const before = counter(host).get('swap_outs');
  for (let i = 0; i < 8; i++) mm.access(base + i, false);
  expect(counter(host).get('swap_outs') - before).toBe(8);
  for (let i = 8; i < 16; i++) mm.access(base + i, false);
  expect(counter(host).get('swap_outs') - before).toBe(8);
  expect(counter(host).get('clean_drops')).toBe(8);
});

test('resident pages are outside of the limit and are never reclaimed', () => {
  const { host, mm, base } = setUp({});
  const tables = mm.mmap({ npages: 16, resident: true });
  for (let i = 0; i < 16; i++) mm.access(tables + i, true);
  expect(host.charged()).toBe(0);
  for (let i = 0; i < 64; i++) mm.access(base + i, true);
  for (let i = 0; i < 16; i++) {
    expect(host.core.x.hpteGet(mm.id, tables + i) & abi.HPTE_PRESENT).toBe(abi.HPTE_PRESENT);
  }
});

test('a disk is fast in sequence, slow at random, and serves one request at a time', () => {
  const core = loadCore();
  const disk = new BlockDevice(DEVICES.hdd).attach(core, abi.DEVICE_SWAP);
  const { readSequential, readRandom, writeSequential, writeRandom } = DEVICES.hdd;
  expect(disk.read(100)).toBe(readRandom);
  expect(disk.read(101)).toBe(readSequential);
  expect(disk.read(500)).toBe(readRandom);
  // The head is behind page 500: a write there is queued, and the read after it waits for both.
  expect(disk.write(501)).toBe(0);
  expect(disk.write(700)).toBe(0);
  expect(disk.read(900)).toBe(writeSequential + writeRandom + readRandom);
  const nvme = new BlockDevice(DEVICES.nvme).attach(core, abi.DEVICE_DISK);
  for (let i = 0; i < 1024; i++) expect(nvme.write(i * 10)).toBe(0);
  expect(nvme.write(7)).toBe(DEVICES.nvme.writeRandom);
});

/** A notifier that answers young, and counts how it was asked. */
function asked(aging: AgingPreset, young: boolean): { calls: number; evicted: boolean } {
  const { host, mm, base } = setUp({ aging, policy: new TwoListPolicy({ cluster: 1 }) });
  let calls = 0;
  const answer = (): boolean => {
    calls++;
    return young;
  };
  mm.registerNotifier({ agePage: answer, clearFlushYoung: answer, clearYoung: answer });
  mm.access(base, true);
  host.core.x.hpteTestAndClearYoung(mm.id, base);
  host.reclaim(1);
  host.reclaim(1);
  return { calls, evicted: (host.core.x.hpteGet(mm.id, base) & abi.HPTE_PRESENT) === 0 };
}

describe('aging', () => {
  test('v3 does not ask the notifier about a page whose pte is old', () => {
    expect(asked(AGING_PRESETS.v3, true)).toEqual({ calls: 0, evicted: true });
  });

  test('v4 asks always, and the accessed bit of the spte keeps the page', () => {
    const { calls, evicted } = asked(AGING_PRESETS.v4, true);
    expect(calls).toBeGreaterThan(0);
    expect(evicted).toBe(false);
    expect(asked(AGING_PRESETS.v4, false).evicted).toBe(true);
  });

  test('v2 has no op to call', () => {
    expect(asked(AGING_PRESETS.v2, true)).toEqual({ calls: 0, evicted: true });
  });
});
