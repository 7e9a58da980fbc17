import { describe, expect, test } from 'vitest';
import { COUNTERS, type CounterName } from '../../src/stats/counters.ts';
import { PROFILES, runTime } from '../../src/stats/profiles.ts';
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
  });

  test('no figure is assumed: each is published, or derived with its computation', () => {
    for (const { costs } of Object.values(PROFILES)) {
      for (const [name, { kind, source }] of Object.entries(costs)) {
        expect(['published', 'derived'], name).toContain(kind);
        // A derivation names quantities, and every source a document with its year or its number.
        if (kind === 'derived') expect(source, name).toMatch(/\d/);
        expect(source, name).toMatch(/(19|20)\d\d|Manual|access_tracking_perf_test|FSB/);
      }
    }
  });

  test("a path by its cache lines: as many times the memory's latency", () => {
    for (const { costs } of Object.values(PROFILES)) {
      const found = /^(\d+) cache lines \(.*\) × (\d+) ns/.exec(costs.evictions.source);
      expect(costs.evictions.ns).toBe(Number(found?.[1]) * Number(found?.[2]));
    }
  });

  const idle = { device: 'nvme', waitNs: 0, busyNs: 0 } as const;

  test('references alone run at slowdown 1', () => {
    expect(runTime(counters({ accesses: 1000 }), '2026', idle).slowdown).toBe(1);
  });

  test('waiting for a device adds to the time, its work for others does not', () => {
    const busy = { device: 'hdd', waitNs: 12_660_000, busyNs: 20_000_000 } as const;
    const time = runTime(counters({ accesses: 1 }), '2008', busy);
    expect(time.io_wait_ns).toBe(12_660_000);
    expect(time.total_ns).toBe(12_660_001);
    expect(time.device_busy_ns).toBe(20_000_000);
  });
});
