import { describe, expect, test } from 'vitest';
import { ALTIX4096, XEON80 } from '../../src/explore/contention/machine.ts';
import { collapse, SCHEMES, simulate, sweep } from '../../src/explore/contention/model.ts';
import { plotContention } from '../../src/explore/contention/plot.ts';

describe('contention model', () => {
  test('readers under RCU scale with the CPUs', () => {
    const one = simulate(ALTIX4096, 'rcu', 64).callsPerSecond;
    const many = simulate(ALTIX4096, 'rcu', 2048).callsPerSecond;
    expect(many / one).toBeGreaterThan(30);
    expect(many / one).toBeLessThan(34);
  });

  test('a saturated rwlock is bound by two transfers of its word a call', () => {
    // Mean cost of an atomic operation between two CPUs drawn at random, by enumeration.
    let total = 0;
    for (let a = 0; a < XEON80.cpus; a++) {
      for (let b = 0; b < XEON80.cpus; b++)
        total += a === b ? XEON80.ownAtomic : XEON80.atomic(a, b);
    }
    const mean = total / XEON80.cpus ** 2;
    const point = simulate(XEON80, 'rwlock', 80, { think: 100 });
    expect(point.callsPerSecond * 2 * mean).toBeGreaterThan(0.85e9);
    expect(point.callsPerSecond * 2 * mean).toBeLessThan(1.2e9);
  });

  test('a queued lock hands over in one transfer, a ticket lock collapses', () => {
    const ticket = simulate(XEON80, 'mmu_lock', 64).callsPerSecond;
    const queued = simulate(XEON80, 'mmu_lock-mcs', 64).callsPerSecond;
    // Each holder keeps the lock for the op and the transfer to the next.
    expect(queued).toBeLessThan(1e9 / (400 + 109 / 2.13));
    expect(queued).toBeGreaterThan(1e9 / (400 + 400 / 2.13));
    expect(ticket).toBeLessThan(queued / 4);
  });

  test('is deterministic, and the rwlock does hurt larger machines', () => {
    const points = sweep(ALTIX4096, 128, { calls: 10_000 });
    expect(points).toEqual(sweep(ALTIX4096, 128, { calls: 10_000 }));
    expect(points).toHaveLength(SCHEMES.length * 7);
    expect(collapse(points, 'rwlock')).not.toBeNull();
    expect(collapse(points, 'rcu')).toBeNull();
    expect(collapse(points, 'srcu')).toBeNull();
    const svg = plotContention(ALTIX4096, points);
    expect(svg.match(/<polyline/g)).toHaveLength(SCHEMES.length);
    expect(svg).not.toMatch(/NaN|undefined/);
    // Both kinds of RCU cost the same: the second curve lets the first one be seen.
    expect(svg).toMatch(/stroke="#0b57d0" stroke-width="2" stroke-dasharray/);
    expect(svg).not.toMatch(/stroke="#1b6e3c" stroke-width="2" stroke-dasharray/);
  });
});
