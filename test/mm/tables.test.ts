// The host's tables in linear memory against plain Maps.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as abi from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';

const HVN_LIMIT = 2 ** 30;
const hvnArb = fc.oneof(
  fc.integer({ min: 0, max: 1100 }),
  fc.integer({ min: HVN_LIMIT - 600, max: HVN_LIMIT - 1 }),
  fc.integer({ min: 0, max: 40 }).map((i) => i * 262144 + 511),
);

test('host ptes hold what was written, and iteration visits exactly what is mapped', () => {
  const { x } = loadCore('debug');
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom(1, 2), hvnArb, fc.nat(0xffff)), { maxLength: 200 }),
      (writes) => {
        const before = x.hpteTables();
        const model = new Map<number, Map<number, number>>();
        const ids = [x.mmCreate(), x.mmCreate()];
        for (const id of ids) model.set(id, new Map());
        for (const [mm, hvn, pte] of writes) {
          const id = ids[mm - 1] as number;
          const ptes = model.get(id) as Map<number, number>;
          expect(x.hpteSet(id, hvn, pte)).toBe(ptes.get(hvn) ?? 0);
          if (pte === 0) ptes.delete(hvn);
          else ptes.set(hvn, pte);
        }
        for (const [id, ptes] of model) {
          expect(x.mmUsed(id)).toBe(ptes.size);
          const seen: number[] = [];
          for (let at = 0; (at = x.hpteNextMapped(id, at, HVN_LIMIT)) < HVN_LIMIT; at++) {
            expect(x.hpteGet(id, at)).toBe(ptes.get(at));
            seen.push(at);
          }
          expect(seen).toEqual([...ptes.keys()].toSorted((a, b) => a - b));
          for (const hvn of seen) x.hpteSet(id, hvn, 0);
          x.mmDestroy(id);
        }
        expect(x.hpteTables()).toBe(before);
      },
    ),
    { numRuns: 60 },
  );
});

test('a huge pte maps 512 pages and splits into the same ones', () => {
  const { x } = loadCore('debug');
  const mm = x.mmCreate();
  const pte = abi.HPTE_PRESENT | abi.HPTE_YOUNG | (512 << abi.HPTE_PFN_SHIFT);
  x.hpmdSet(mm, 1024, pte);
  const at = (i: number): number => x.hpteGet(mm, 1024 + i) >>> abi.HPTE_PFN_SHIFT;
  expect([at(0), at(1), at(511), x.hpteGet(mm, 1023)]).toEqual([512, 513, 1023, 0]);
  expect(x.hpteTestAndClearYoung(mm, 1030)).toBe(1);
  expect(x.hpteTestAndClearYoung(mm, 1031)).toBe(0);
  x.hpmdSplit(mm, 1024);
  expect([at(0), at(1), at(511), x.hpmdGet(mm, 1024)]).toEqual([512, 513, 1023, 0]);
  expect(x.mmUsed(mm)).toBe(512);
  x.hpteSet(mm, 1024, 0);
  expect(x.mmUsed(mm)).toBe(511);
});

describe('frames', () => {
  test('are freed with their last reference and come back zeroed', () => {
    const { x, mem } = loadCore('debug');
    x.frameInit(3);
    const all = [x.frameAlloc(), x.frameAlloc(), x.frameAlloc()];
    expect(all).toEqual([1, 2, 3]);
    expect(x.frameAlloc()).toBe(0);
    mem.store32(x.frameContentForWrite(2), 7);
    expect(mem.load32(x.frameContentPtr(2))).toBe(7);
    x.getPage(2);
    x.frameCharge(2);
    expect([x.putPage(2), x.framesCharged(), x.putPage(2), x.framesCharged()]).toEqual([
      0, 1, 1, 0,
    ]);
    expect(x.frameAlloc()).toBe(2);
    expect(x.frameContent(2)).toBe(0);
    expect(mem.load32(x.frameContentPtr(2))).toBe(0);
  });

  test('know every pte that maps them, oldest first', () => {
    const { x } = loadCore('debug');
    x.frameInit(4);
    const pfn = x.frameAlloc();
    const list = (): number[] =>
      Array.from({ length: x.pageMapcount(pfn) }, (_, i) => x.rmapHvn(pfn, i) + x.rmapMm(pfn, i));
    fc.assert(
      fc.property(fc.array(fc.nat(9), { maxLength: 40 }), (ops) => {
        const model: number[] = [];
        for (const hvn of ops) {
          const key = hvn * 1000 + 3;
          if (model.includes(key)) {
            model.splice(model.indexOf(key), 1);
            x.rmapRemove(pfn, 3, hvn * 1000);
          } else {
            model.push(key);
            x.rmapAdd(pfn, 3, hvn * 1000);
          }
          expect(list()).toEqual(model);
        }
        for (const key of model) x.rmapRemove(pfn, 3, key - 3);
      }),
    );
  });

  test('move between lists as in arrays', () => {
    const { x } = loadCore('debug');
    x.frameInit(8);
    for (let i = 0; i < 8; i++) x.frameAlloc();
    const lists: number[][] = [[], []];
    const walk = (list: number): number[] => {
      const out: number[] = [];
      for (let p = x.lruTail(list); p !== 0; p = x.lruNewer(p)) out.push(p);
      return out.toReversed();
    };
    const op = fc.tuple(fc.integer({ min: 1, max: 8 }), fc.nat(1), fc.constantFrom('add', 'tail'));
    fc.assert(
      fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
        for (const [pfn, to, end] of ops) {
          const from = lists.findIndex((l) => l.includes(pfn));
          expect(x.lruListOf(pfn) >>> 0).toBe(from < 0 ? 0xffffffff : from);
          if (from >= 0) {
            x.lruDel(pfn);
            lists[from] = (lists[from] as number[]).filter((p) => p !== pfn);
          }
          if (end === 'add') x.lruAdd(pfn, to);
          else x.lruAddTail(pfn, to);
          (lists[to] as number[])[end === 'add' ? 'unshift' : 'push'](pfn);
          expect([walk(0), walk(1)]).toEqual(lists);
          expect([x.lruSize(0), x.lruSize(1)]).toEqual(lists.map((l) => l.length));
        }
      }),
      { numRuns: 40 },
    );
  });
});
