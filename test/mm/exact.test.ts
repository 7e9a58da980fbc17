// FIFO and CLOCK through the host mm against their textbook definitions.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadCore } from '../../src/core/load.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { Host } from '../../src/mm/host.ts';
import { ClockPolicy } from '../../src/mm/vmscan/clock.ts';
import { FifoPolicy } from '../../src/mm/vmscan/fifo.ts';
import { Stats } from '../../src/stats/stats.ts';

interface Reference {
  readonly page: number;
  readonly write: boolean;
}

/** Faults and write-backs of a queue of frames; `secondChance`: CLOCK. */
function model(
  refs: readonly Reference[],
  frames: number,
  secondChance: boolean,
): [number, number] {
  const queue: number[] = [];
  const dirty = new Set<number>();
  const used = new Set<number>();
  let faults = 0;
  let writes = 0;
  for (const { page, write } of refs) {
    if (!queue.includes(page)) {
      faults++;
      if (queue.length === frames) {
        if (secondChance) {
          while (used.delete(queue[0] as number)) queue.push(queue.shift() as number);
        }
        const victim = queue.shift() as number;
        if (dirty.delete(victim)) writes++;
      }
      queue.push(page);
    }
    used.add(page);
    if (write) dirty.add(page);
  }
  return [faults, writes];
}

const refsArb = fc.array(fc.record({ page: fc.nat(30), write: fc.boolean() }), {
  minLength: 1,
  maxLength: 300,
});

describe.each([
  ['fifo', false],
  ['clock', true],
] as const)('%s over a file', (name, secondChance) => {
  test('reads and writes back exactly what the definition says', () => {
    fc.assert(
      fc.property(refsArb, fc.integer({ min: 1, max: 20 }), (refs, frames) => {
        const core = loadCore('debug');
        const policy = secondChance ? new ClockPolicy() : new FifoPolicy();
        const host = new Host(core, { frames, residentFrames: 4, policy, aging: AGING_PRESETS.v3 });
        const mm = host.createMm();
        const base = mm.mmap({ npages: 40, file: host.createFile() });
        for (const { page, write } of refs)
          expect(mm.access(base + page, write)).toBeGreaterThanOrEqual(0);
        const stats = new Stats(core);
        expect([stats.get('major_faults'), stats.get('file_writebacks')]).toEqual(
          model(refs, frames, secondChance),
        );
        expect(stats.get('file_reads')).toBe(stats.get('major_faults'));
        expect(host.charged()).toBeLessThanOrEqual(frames);
        expect(policy.name).toBe(name);
      }),
      { numRuns: 60, seed: 20080121 },
    );
  });
});
