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

type Core = ReturnType<typeof loadCore>;

/** The ways to age a range: whether page `start + i` was young, or any was. */
const WAYS = {
  'in one call'(core: Core, mm: number, start: number, length: number, action: number) {
    return core.x.ageHvaRange(mm, start, start + length, action) !== 0;
  },
  'a call a page'(core: Core, mm: number, start: number, length: number, action: number) {
    return Array.from({ length }, (_, i) => {
      return core.x.ageHvaRange(mm, start + i, start + i + 1, action) !== 0;
    });
  },
  'with a bitmap'(core: Core, mm: number, start: number, length: number, action: number) {
    core.x.testClearYoung(mm, start, start + length, action);
    const bitmap = core.x.youngBitmapPtr() >>> 0;
    return Array.from({ length }, (_, i) => {
      return ((core.mem.u8[bitmap + (i >> 3)] as number) & (1 << (i & 7))) !== 0;
    });
  },
} as const;

const WAY_NAMES = Object.keys(WAYS) as (keyof typeof WAYS)[];

test.each(WAY_NAMES)('a range is aged as spte by spte: %s', (way) => {
  fc.assert(
    fc.property(
      fc.array(runArb, { minLength: 1, maxLength: 20 }),
      fc.array(fc.nat(PAGES - 1), { maxLength: 4 }),
      fc.nat(PAGES - 1),
      fc.integer({ min: 1, max: PAGES }),
      fc.constantFrom(AGE_CLEAR, AGE_TEST),
      (runs, swaps, start, length, action) => {
        const core = loadCore('debug');
        const { x, mem } = core;
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
        const found = WAYS[way](core, mm, FIRST_HVN + start, length, action);
        if (typeof found === 'boolean') expect(found).toBe(young > 0);
        else expect(found).toEqual(found.map((_, i) => isYoung(pages[start + i] ?? 'none')));
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

test('a page that two slots map is young in either', () => {
  const core = loadCore('debug');
  const { x, mem } = core;
  x.frameInit(PAGES);
  const mm = x.mmCreate();
  x.memslotSet(0, 0, 8, FIRST_HVN, mm, 0);
  x.memslotSet(1, 512, 8, FIRST_HVN + 4, mm, 0);
  const table = x.pageAlloc();
  // Page 6 of the first slot is page 2 of the second one.
  const place = (slot: number, page: number, sptep: number, what: Page): void => {
    mem.store32(mem.load32(x.slotPtr(slot) + SLOT_RMAP) + page * 4, sptep);
    mem.u8[mem.load32(x.slotPtr(slot) + SLOT_MAPPED)] = 1;
    mem.storeBig(sptep, spteOf(what, 7));
  };
  for (const way of WAY_NAMES) {
    place(0, 6, table, 'old');
    place(1, 2, table + 8, 'young');
    const old = [false, false, false, false, false, false];
    const expected = [false, false, true, false, false, false];
    const ask = (): boolean | boolean[] => WAYS[way](core, mm, FIRST_HVN + 4, 6, AGE_CLEAR);
    expect(ask(), way).toEqual(way === 'in one call' ? true : expected);
    expect(ask(), way).toEqual(way === 'in one call' ? false : old);
  }
  // The second slot goes: what it mapped is asked of the first one alone.
  x.memslotSet(1, 512, 0, 0, mm, 0);
  place(0, 6, table, 'young');
  expect(x.ageHvaRange(mm, FIRST_HVN + 6, FIRST_HVN + 7, AGE_CLEAR)).toBe(1);
  expect(x.ageHvaRange(mm, FIRST_HVN + 6, FIRST_HVN + 7, AGE_CLEAR)).toBe(0);
});
