// Watermarks and kswapd: where they lie, when background reclaim runs and when an allocation has to wait.
import { describe, expect, test } from 'vitest';
import { CLOCK_NOW } from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { auditHost } from '../../src/mm/audit.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { Host, type HostOptions } from '../../src/mm/host.ts';
import type { Mm } from '../../src/mm/mm.ts';
import { BlockDevice, DEVICES } from '../../src/mm/swap-device.ts';
import { FifoPolicy } from '../../src/mm/vmscan/fifo.ts';
import { TwoListPolicy } from '../../src/mm/vmscan/two-list.ts';
import { watermarksOf } from '../../src/mm/vmscan/watermarks.ts';
import { simulate } from '../../src/simulate.ts';
import { Stats } from '../../src/stats/stats.ts';
import { openWorkload } from '../../src/workload/open.ts';

const MIB_PAGES = 256;

/** A host of 64 frames with 4 free pages as min, 5 as low, 6 as high. */
function setUp(options: Partial<HostOptions> = {}): { host: Host; mm: Mm; base: number } {
  const host = new Host(loadCore('debug'), {
    frames: 64,
    policy: new FifoPolicy(),
    reclaim: 'watermarks',
    minFreeKbytes: 16,
    ...options,
  });
  const mm = host.createMm();
  return { host, mm, base: mm.mmap({ npages: 4096 }) };
}

function counters(host: Host) {
  return new Stats(host.core).read();
}

describe('where the watermarks lie', () => {
  // mm/page_alloc.c: "which yields 16MB: 512k …".
  test.each([
    [16, 512],
    [64, 1_024],
    [128, 1_448],
    [1_024, 4_096],
    [8_192, 11_584],
  ])('%i MiB keep %i KiB free, as the comment in the kernel says', (mib, kbytes) => {
    const { min, low, high } = watermarksOf(MM_GENERATIONS['2008'], mib * MIB_PAGES);
    expect(min * 4).toBeGreaterThan(kbytes - 4);
    expect(min * 4).toBeLessThanOrEqual(kbytes);
    expect([low - min, high - min]).toEqual([min >> 2, min >> 1]);
  });

  test('6.1 keeps low and high apart by a thousandth of the memory at least', () => {
    const pages = 65_536 * MIB_PAGES;
    const { min, low, high } = watermarksOf(MM_GENERATIONS['6.1'], pages);
    // sqrt(64 GiB × 16) KiB is 32 MiB; 0.1 % of the memory is more than a quarter of that.
    expect(min).toBe(8_192);
    expect([low - min, high - low]).toEqual([16_777, 16_777]);
  });

  test('min_free_kbytes is 64 MiB at most in 2.6.24, 256 MiB in 6.1', () => {
    const pages = 2 ** 24 * MIB_PAGES;
    expect(watermarksOf(MM_GENERATIONS['2008'], pages).min * 4).toBe(65_536);
    expect(watermarksOf(MM_GENERATIONS['6.1'], pages).min * 4).toBe(262_144);
  });

  test('a host that is all reserve is refused', () => {
    expect(() => setUp({ frames: 6 })).toThrow('6 frames are too few for watermarks of 4, 5 and 6');
  });
});

describe('background reclaim', () => {
  test('kswapd is woken at the low mark and goes on until more than high is free', () => {
    const { host, mm, base } = setUp();
    for (let i = 0; i < 59; i++) mm.access(base + i, true);
    expect(host.charged()).toBe(59);
    expect(counters(host).pageoutrun).toBe(0);
    // 5 pages are free: low is reached, and the next allocation wakes kswapd first.
    mm.access(base + 59, true);
    const { pageoutrun, pgsteal_kswapd, allocstall } = counters(host);
    expect([pageoutrun, pgsteal_kswapd, allocstall]).toEqual([1, 2, 0]);
    expect(host.charged()).toBe(58);
  });

  test('with a device that keeps up no allocation waits, and every page is freed by kswapd', () => {
    const { host, mm, base } = setUp({ policy: new TwoListPolicy() });
    for (let i = 0; i < 1_000; i++) {
      expect(mm.access(base + i, true)).toBeGreaterThanOrEqual(0);
      expect(host.charged()).toBeLessThanOrEqual(60);
      host.core.mem.storeF64(host.clock + CLOCK_NOW, host.now + 1e6);
    }
    const found = counters(host);
    expect([found.allocstall, found.pgsteal_direct, found.pgscan_direct]).toEqual([0, 0, 0]);
    expect(found.pgsteal_kswapd).toBe(found.evictions);
    expect(found.pgscan_kswapd).toBe(found.pages_scanned);
    expect(found.evictions).toBeGreaterThan(900);
    expect(auditHost(host, 0).problems).toEqual([]);
  });

  test('a full write queue stops kswapd: allocations go below low, down to min, and then wait', () => {
    const { host, mm, base } = setUp({
      swap: new BlockDevice({ ...DEVICES.hdd, queueDepth: 2 }),
    });
    let lowest = 64;
    for (let i = 0; i < 200; i++) {
      mm.access(base + i, true);
      lowest = Math.min(lowest, 64 - host.charged());
    }
    const found = counters(host);
    expect(lowest).toBe(4);
    expect(found.allocstall).toBeGreaterThan(0);
    expect(found.pgsteal_direct).toBeGreaterThan(0);
    expect(found.pgsteal_kswapd).toBeGreaterThan(0);
    expect(found.pgsteal_direct + found.pgsteal_kswapd).toBe(found.evictions);
    // It waits on its own time, the allocations on that of the guest.
    expect(host.kswapd?.waitNs).toBeGreaterThan(0);
    expect(host.now).toBeGreaterThan(0);
  });

  test('what can not be freed makes the node hopeless, and the OOM killer runs at min', () => {
    const { host, mm, base } = setUp();
    const pinned = mm.pin(base, 60, true);
    expect(pinned).toHaveLength(60);
    expect(mm.access(base + 60, true)).toBe(-12);
    expect(host.kswapd?.failures).toBe(16);
    expect(counters(host).oom_kills).toBe(1);
    mm.unpin(pinned, true);
    // Direct reclaim frees a page: kswapd may try again.
    expect(mm.access(base + 60, true)).toBeGreaterThanOrEqual(0);
    expect(host.kswapd?.failures).toBe(0);
  });
});

describe('a control group', () => {
  test('has no kswapd: who needs a page reclaims', () => {
    const { host, mm, base } = setUp({ reclaim: 'memcg' });
    for (let i = 0; i < 100; i++) mm.access(base + i, true);
    const found = counters(host);
    expect(host.charged()).toBe(64);
    expect([found.pageoutrun, found.pgsteal_kswapd]).toEqual([0, 0]);
    expect([found.pgsteal_direct, found.allocstall]).toEqual([36, 36]);
    expect(found.pgscan_direct).toBe(found.pages_scanned);
  });
});

describe('a whole machine with watermarks', () => {
  const workload = openWorkload('hot-cold:pages=3000,refs=60000', 1);
  const options = { memory: { pages: 1_000 }, protocol: 'v4', verify: true } as const;

  test('pays for direct reclaim alone; what kswapd does is in its own time', async () => {
    const result = await simulate(workload, { ...options, reclaim: 'watermarks' });
    const { counters: found, machine, time } = result;
    // sqrt(1,000 pages × 4 KiB × 16) = 252 KiB.
    expect(machine.watermarks).toEqual({ min: 63, low: 63 + 15, high: 63 + 31 });
    expect(found.pgsteal_kswapd + found.pgsteal_direct).toBe(found.evictions);
    expect(found.pgsteal_kswapd).toBeGreaterThan(0);
    expect(time.kswapd_ns).toBeGreaterThan(0);
    const group = await simulate(workload, options);
    expect(group.machine.watermarks).toBeNull();
    expect(group.time.kswapd_ns).toBe(0);
    // The reserve costs faults: there are fewer frames for the guest.
    expect(found.major_faults).toBeGreaterThan(group.counters.major_faults);
  });
});
