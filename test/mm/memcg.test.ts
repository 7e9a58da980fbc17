// The statistics of a memory cgroup and the reclaim that reads them. Rules and figures: Linux 6.1,
// mm/memcontrol.c, mm/vmscan.c, mm/workingset.c, mm/swap_slots.c.

import { describe, expect, test } from 'vitest';
import { LRU_ACTIVE_ANON, LRU_INACTIVE_ANON, VERDICT_ACTIVATE } from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { Host } from '../../src/mm/host.ts';
import { BlockDevice, DEVICES } from '../../src/mm/swap-device.ts';
import { TwoListPolicy } from '../../src/mm/vmscan/two-list.ts';

function makeHost(frames = 4096): { host: Host; touch: (first: number, n: number) => void } {
  const core = loadCore('debug');
  const host = new Host(core, {
    frames,
    generation: MM_GENERATIONS['6.1'],
    swap: new BlockDevice(DEVICES.zram),
    policy: new TwoListPolicy({ cluster: 32 }),
  });
  const mm = host.createMm();
  mm.mmap({ hvn: 0x1000, npages: 4096 });
  const touch = (first: number, n: number): void => {
    for (let i = 0; i < n; i++) mm.touch(0x1000 + first + i, true);
  };
  return { host, touch };
}

describe('statistics of a group', () => {
  test('are flushed once two batches of more than 64 updates came', () => {
    const { x } = makeHost().host.core;
    x.memcgEnable(0);
    x.lruAdd(x.frameAlloc(), LRU_INACTIVE_ANON);
    x.memcgEnable(1);
    const seen = [64, 1, 64, 1].map((updates) => {
      x.memcgUpdated(updates);
      x.memcgFlush(0);
      return x.memcgStat(LRU_INACTIVE_ANON);
    });
    expect(seen).toEqual([0, 0, 0, 1]);
  });

  test('one update of many pages counts as many, and what exceeds the batch is lost', () => {
    const { x } = makeHost().host.core;
    x.memcgUpdated(64);
    // 64 + 63 are one batch of 64: the other 63 are forgotten.
    x.memcgUpdated(63);
    x.memcgUpdated(64);
    x.memcgEnable(0);
    x.lruAdd(x.frameAlloc(), LRU_ACTIVE_ANON);
    x.memcgEnable(1);
    x.memcgFlush(0);
    expect(x.memcgStat(LRU_ACTIVE_ANON)).toBe(0);
    x.memcgUpdated(1);
    x.memcgFlush(0);
    expect(x.memcgStat(LRU_ACTIVE_ANON)).toBe(1);
  });

  test('freed swap slots are counted 64 at a time, those of others first', () => {
    const { x } = makeHost().host.core;
    const slots = [1, 2, 3].map(() => x.swapAlloc() >>> 0);
    x.memcgEnable(0);
    x.lruAdd(x.frameAlloc(), LRU_INACTIVE_ANON);
    x.memcgEnable(1);
    x.memcgUpdated(64);
    x.memcgUpdated(65);
    x.memcgFlush(0);
    x.memcgEnable(0);
    x.lruAdd(x.frameAlloc(), LRU_INACTIVE_ANON);
    x.memcgEnable(1);
    x.memcgUpdated(65);
    x.swapSetReturned(62);
    const seen = slots.map((slot) => {
      x.swapFree(slot);
      x.memcgUpdated(1);
      x.memcgFlush(0);
      return x.memcgStat(LRU_INACTIVE_ANON);
    });
    // The third finds the batch full: its 64 slots are 64 updates.
    expect(seen).toEqual([1, 1, 2]);
  });

  test('the costs are halved when they exceed a quarter of the lists as last flushed', () => {
    const { host, touch } = makeHost();
    const { x } = host.core;
    touch(0, 80);
    x.memcgFlush(1);
    x.lruNoteCost(0, 20, 0);
    expect(x.lruCost(0)).toBe(20);
    x.lruNoteCost(1, 1, 0);
    expect([x.lruCost(0), x.lruCost(1)]).toEqual([10, 0]);
  });
});

describe('reclaim by stale statistics', () => {
  test('active pages are not touched while the statistics know of none (EAGAIN)', () => {
    const { host, touch } = makeHost();
    const { x } = host.core;
    x.memcgFlush(1);
    touch(0, 16);
    while (x.lruSize(LRU_INACTIVE_ANON) > 0) {
      const page = x.lruIsolateTail(LRU_INACTIVE_ANON);
      x.lruVerdict(page, VERDICT_ACTIVATE);
    }
    x.memcgFlush(1);
    const stale = makeHost();
    // Flushed: the active list outweighs the inactive one, so it is aged and evicted.
    expect(host.reclaim(32)).toBe(16);
    // Not flushed: nothing is low, and a round needs inactive pages to begin.
    stale.touch(0, 8);
    const { x: y } = stale.host.core;
    while (y.lruSize(LRU_INACTIVE_ANON) > 0) {
      y.lruVerdict(y.lruIsolateTail(LRU_INACTIVE_ANON), VERDICT_ACTIVATE);
    }
    expect(stale.host.reclaim(32)).toBe(0);
    y.memcgFlush(1);
    expect(stale.host.reclaim(32)).toBe(8);
  });

  test('kept pages go back at the end of their batch, in the order in which they were looked at', () => {
    const { host, touch } = makeHost();
    const { x } = host.core;
    touch(0, 40);
    const oldest: number[] = [];
    for (let p = x.lruTail(LRU_INACTIVE_ANON); p !== 0; p = x.lruNewer(p)) oldest.push(p);
    host.policy.begin(32);
    const first = host.policy.next();
    host.policy.putBack(first, host.policy.judge(first, 1));
    expect(x.lruListOf(first) >>> 0).toBe(0xffffffff);
    expect(first).toBe(oldest[0]);
  });
});
