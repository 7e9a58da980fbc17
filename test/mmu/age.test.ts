// Ageing of a range through the rmap: eight sptes in a row at a time where the mapping is dense, one
// by one elsewhere. Every layout must age exactly what a look at each spte alone would.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  AGE_CLEAR,
  AGE_TEST,
  PT_ACCESSED_BIT,
  PT_PRESENT_BIT,
  SLOT_MAPPED,
  SLOT_RMAP,
  SPTE_AD_DISABLED_BIT,
  SPTE_MMU_PRESENT_BIT,
} from '../../assembly/abi.ts';
import { SPTES_AGED } from '../../assembly/counters.ts';
import { loadCore } from '../../src/core/load.ts';

const A = 1n << BigInt(PT_ACCESSED_BIT);
const P = 1n << BigInt(PT_PRESENT_BIT);
const AD_DISABLED = 1n << BigInt(SPTE_AD_DISABLED_BIT);
const MMU_PRESENT = 1n << BigInt(SPTE_MMU_PRESENT_BIT);
const PAGES = 96;
const FIRST_HVN = 1000;

/** What a page of the slot is mapped by: nothing, or an spte young or old, with A bits or without. */
type Page = 'none' | 'young' | 'old' | 'tracked' | 'untracked';

/** is_accessed_spte(): with A bits, A; without, whether P was not taken away for tracking. */
function isYoung(page: Page): boolean {
  return page === 'young' || page === 'untracked';
}

function spteOf(page: Page, pfn: number): bigint {
  const base = (BigInt(pfn) << 12n) | MMU_PRESENT;
  if (page === 'young') return base | P | A;
  if (page === 'old') return base | P;
  return base | AD_DISABLED | (page === 'untracked' ? P : 0n);
}

const runArb = fc.tuple(
  fc.constantFrom<Page>('none', 'young', 'young', 'old', 'tracked', 'untracked'),
  fc.integer({ min: 1, max: 20 }),
);

test('a range is aged as spte by spte', () => {
  fc.assert(
    fc.property(
      fc.array(runArb, { minLength: 1, maxLength: 20 }),
      fc.array(fc.nat(PAGES - 1), { maxLength: 4 }),
      fc.nat(PAGES - 1),
      fc.integer({ min: 1, max: PAGES }),
      fc.constantFrom(AGE_CLEAR, AGE_TEST),
      (runs, swaps, start, length, action) => {
        const { x, mem } = loadCore('debug');
        x.frameInit(PAGES);
        const mm = x.mmCreate();
        // Gfns 480 to 575: the slot reaches over a boundary of 512.
        x.memslotSet(0, 480, PAGES, FIRST_HVN, mm, 0);
        const rmap = mem.load32(x.slotPtr(0) + SLOT_RMAP);
        const mapped = mem.load32(x.slotPtr(0) + SLOT_MAPPED);
        const table = x.pageAlloc();
        const pages = runs.flatMap(([page, n]) => Array<Page>(n).fill(page)).slice(0, PAGES);
        const at = pages.map((_, i) => table + i * 8);
        for (const i of swaps) {
          // Neighbours that are not in a row.
          if (i + 1 < at.length) [at[i], at[i + 1]] = [at[i + 1] as number, at[i] as number];
        }
        pages.forEach((page, i) => {
          if (page === 'none') return;
          mem.store32(rmap + i * 4, at[i] as number);
          mem.u8[mapped + (i < 32 ? 0 : 1)] = 1;
          mem.storeBig(at[i] as number, spteOf(page, i + 1));
        });
        const inRange = (i: number): boolean => i >= start && i < start + length;
        const young = pages.filter((page, i) => inRange(i) && isYoung(page)).length;
        const found = x.ageHvaRange(mm, FIRST_HVN + start, FIRST_HVN + start + length, action);
        expect(found).toBe(young > 0 ? 1 : 0);
        const aged = mem.load64((x.statsPtr() >>> 0) + SPTES_AGED * 8);
        expect(aged).toBe(action === AGE_CLEAR ? young : 0);
        pages.forEach((page, i) => {
          if (page === 'none') return;
          const spte = mem.loadBig(at[i] as number);
          const left = action === AGE_CLEAR && inRange(i) ? false : isYoung(page);
          const accessed = (spte & AD_DISABLED) === 0n ? spte & A : spte & P;
          expect(accessed !== 0n).toBe(left);
          expect((spte >> 12n) & 0xffffn).toBe(BigInt(i + 1));
        });
      },
    ),
    { numRuns: 300, seed: 11 },
  );
});
