// Pages that the host takes from the guest, one by one: the flush of a page leaves the others of its sets, in their
// order. Pages of one L1 set that come and go, against the model.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TableGuest } from '../mmu/guest.ts';
import { ModelTlb } from './model.ts';

/** A set of the L1 holds 4 of these. */
const PAGES = [32, 48, 64, 80, 96, 112] as const;
const L1_SETS = 16;
const RIGHTS = { user: true, write: true, exec: true, dirty: true } as const;

const pageArb = fc.constantFrom(...PAGES);
const stepArb = fc.record({ page: pageArb, taken: fc.nat(3).map((n) => n === 0) });

test('hits and misses after flushes of single pages are those of the model', () => {
  expect(new Set(PAGES.map((page) => page % L1_SETS)).size).toBe(1);
  fc.assert(
    fc.property(fc.array(stepArb, { minLength: 20, maxLength: 200, size: 'max' }), (steps) => {
      const guest = new TableGuest({ pages: 128, memory: 'file', flushScope: 'pages' });
      for (const page of PAGES) guest.reach(page);
      const model = new ModelTlb(L1_SETS, 4, 128, 12);
      const before = guest.stats.read();
      for (const { page, taken } of steps) {
        if (taken) {
          guest.mm.madvise(guest.hvn + page, 1, 'dontneed');
          model.flushPage(0, page);
          continue;
        }
        guest.access(page);
        const entry = { ...RIGHTS, space: 0, page, size: 1, global: false };
        model.access({ vpn: page, kind: 0, supervisor: false }, () => entry);
        const now = guest.stats.read();
        expect({
          hits: now.tlb_hits - before.tlb_hits,
          l2: now.tlb_l2_hits - before.tlb_l2_hits,
          misses: now.tlb_misses - before.tlb_misses,
        }).toEqual({
          hits: model.counts.l1 + model.counts.l2,
          l2: model.counts.l2,
          misses: model.counts.miss,
        });
      }
    }),
    { numRuns: 60, seed: 11 },
  );
});
