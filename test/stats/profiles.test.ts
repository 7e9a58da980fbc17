import { describe, expect, test } from 'vitest';
import { COUNTERS, type CounterName } from '../../src/stats/counters.ts';
import { DEVICE_COSTS, PROFILES, runTime } from '../../src/stats/profiles.ts';
import type { CounterValues } from '../../src/stats/stats.ts';

function counters(set: Partial<Record<CounterName, number>>): CounterValues {
  const all = Object.fromEntries(COUNTERS.map(({ name }) => [name, 0]));
  return { ...all, ...set } as CounterValues;
}

describe('cost profiles', () => {
  test('every figure is positive and names its source', () => {
    for (const { costs } of Object.values(PROFILES)) {
      for (const { ns, source } of Object.values(costs)) {
        expect(ns).toBeGreaterThan(0);
        expect(source.length).toBeGreaterThan(10);
      }
    }
    for (const { read, write } of Object.values(DEVICE_COSTS)) {
      expect(read.source.length + write.source.length).toBeGreaterThan(20);
    }
  });

  test('references alone run at slowdown 1', () => {
    expect(runTime(counters({ accesses: 1000 }), '2026').slowdown).toBe(1);
  });

  test('a swap-in of 2008 waits for the disk: 12.7 ms', () => {
    const time = runTime(counters({ accesses: 1, swap_ins: 1 }), '2008');
    expect(time.io_wait_ns).toBe(12_700_000);
    expect(time.total_ns).toBe(12_700_001);
  });

  test('writes keep the device busy and nobody waiting', () => {
    const time = runTime(counters({ swap_outs: 10 }), '2026', 'zram');
    expect(time.io_wait_ns).toBe(0);
    expect(time.device_busy_ns).toBe(52_510);
  });
});
