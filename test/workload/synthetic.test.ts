// Synthetic workloads: what each promises, counted from its records.
import { describe, expect, test } from 'vitest';
import {
  CONTROL_EXIT,
  CONTROL_FORK,
  CONTROL_HOST,
  CONTROL_MARK,
  CONTROL_PROTECT_RO,
  CONTROL_PROTECT_RW,
  CONTROL_SWITCH,
  CONTROL_UNMAP,
} from '../../assembly/abi.ts';
import { UsageError } from '../../src/core/errors.ts';
import { loadCore } from '../../src/core/load.ts';
import { footprint } from '../../src/workload/analyse.ts';
import { openWorkload } from '../../src/workload/open.ts';
import { SYNTHETIC } from '../../src/workload/synthetic.ts';
import { readAll } from './helpers.ts';

interface Reference {
  page: number;
  kind: number;
}

/** First data page. */
const BASE = 0x10000;

function records(spec: string, seed = 1, batch = 64): bigint[] {
  const core = loadCore('debug');
  return readAll(core, openWorkload(spec, seed).open(core), batch);
}

function references(spec: string, seed = 1): Reference[] {
  return records(spec, seed)
    .filter((r) => (r & 3n) !== 3n)
    .map((r) => ({ page: Number(r >> 12n) - BASE, kind: Number(r & 3n) }));
}

/** Control records as [op, operand, count]. */
function control(record: bigint): [number, number, number] {
  return [
    Number((record >> 12n) & 15n),
    Number(record >> 28n),
    Number((record >> 16n) & 4095n) + 1,
  ];
}

function counts(refs: readonly Reference[]): Map<number, number> {
  const map = new Map<number, number>();
  for (const { page } of refs) map.set(page, (map.get(page) ?? 0) + 1);
  return map;
}

describe.each(SYNTHETIC.map((d) => d.name))('%s', (name) => {
  const spec = `${name}:refs=5000`;

  test('is the same for a seed, whatever the batches, and makes the references asked for', () => {
    const first = records(spec, 3);
    expect(records(spec, 3, 1000)).toEqual(first);
    expect(first.filter((r) => (r & 3n) !== 3n)).toHaveLength(5000);
    const source = openWorkload(spec).open(loadCore('debug'));
    expect([undefined, 5000]).toContain(source.references);
  });

  test('can be opened again', async () => {
    const workload = openWorkload(spec, 2);
    expect(await footprint(workload)).toBe(await footprint(workload));
  });
});

test('sequential: pages in order, with a stride', () => {
  const pages = references('sequential:pages=5,refs=7,stride=2').map((r) => r.page);
  expect(pages).toEqual([0, 2, 4, 1, 3, 0, 2]);
});

test('write=0 and write=1 are exact, between them it is a share', () => {
  expect(references('uniform:refs=500,write=0').every((r) => r.kind === 0)).toBe(true);
  expect(references('uniform:refs=500,write=100%').every((r) => r.kind === 1)).toBe(true);
  const writes = references('uniform:refs=20000,write=30%').filter((r) => r.kind === 1).length;
  // 30% of 20000 is 6000, four standard deviations are 259.
  expect(Math.abs(writes - 6000)).toBeLessThan(259);
});

test('uniform: chi-square over 100 pages', () => {
  const n = 50_000;
  const seen = counts(references(`uniform:pages=100,refs=${n}`));
  let chi = 0;
  for (let page = 0; page < 100; page++) chi += ((seen.get(page) ?? 0) - n / 100) ** 2 / (n / 100);
  // 99 degrees of freedom: mean 99, 99.99 % of draws below 161.
  expect(chi).toBeLessThan(161);
});

test('zipf: frequencies follow the law by rank', () => {
  const n = 100_000;
  const seen = [...counts(references(`zipf:pages=50,refs=${n},s=1`)).values()];
  const harmonic = Array.from({ length: 50 }, (_, k) => 1 / (k + 1)).reduce((a, b) => a + b);
  seen.sort((a, b) => b - a);
  for (let rank = 0; rank < 5; rank++) {
    const expected = n / (rank + 1) / harmonic;
    expect(Math.abs((seen[rank] as number) - expected)).toBeLessThan(4 * Math.sqrt(expected));
  }
});

test('hot-cold: the share of hot references, and a scan in order', () => {
  const refs = references('hot-cold:pages=200,hot=20,share=0.9,refs=20000');
  const cold = refs.filter((r) => r.page >= 20).map((r) => r.page);
  expect(Math.abs(cold.length - 2000)).toBeLessThan(170);
  expect(cold).toEqual(cold.map((_, i) => 20 + (i % 180)));
});

test('shifting: references stay in the window, which moves', () => {
  const refs = references('shifting:pages=100,window=10,period=50,step=4,refs=1000');
  refs.forEach(({ page }, i) => {
    const offset = (page - 4 * Math.floor(i / 50) + 400) % 100;
    expect(offset).toBeLessThan(10);
  });
});

test('chase: one cycle through all pages', () => {
  const pages = references('chase:pages=64,refs=128').map((r) => r.page);
  expect(new Set(pages.slice(0, 64)).size).toBe(64);
  expect(pages.slice(64)).toEqual(pages.slice(0, 64));
});

test('burst repeats a page, code fetches before each reference', () => {
  const pages = references('uniform:pages=1000,refs=90,burst=9').map((r) => r.page);
  for (let i = 0; i < 90; i++) expect(pages[i]).toBe(pages[i - (i % 9)]);
  const all = records('uniform:refs=300,code=2');
  expect(all).toHaveLength(600);
  expect(all.map((r) => Number(r & 3n) === 2)).toEqual(all.map((_, i) => i % 2 === 0));
  expect(new Set(all.filter((r) => (r & 3n) === 2n)).size).toBe(2);
});

/** What a request of the fork server looks like. */
const child = (pid: number) => [
  '.',
  '.',
  `${CONTROL_FORK} ${pid}`,
  `${CONTROL_SWITCH} ${pid}`,
  '.',
  '.',
  '.',
  `${CONTROL_SWITCH} 0`,
  `${CONTROL_EXIT} ${pid}`,
];

test('fork-server: fork, switch, child, back, exit', () => {
  const story = records('fork-server:pages=8,child=3,parent=2,refs=23').map((r) =>
    (r & 3n) === 3n ? control(r).slice(0, 2).join(' ') : '.',
  );
  expect(story.slice(0, 8)).toEqual(Array(8).fill('.'));
  expect(story.slice(8, 26)).toEqual([...child(1), ...child(1)]);
});

test('switch: time slices in turn', () => {
  const story = records('switch:processes=3,slice=4,refs=16');
  const switches = story.filter((r) => (r & 3n) === 3n).map((r) => control(r)[1]);
  expect(switches).toEqual([1, 2, 0]);
  expect(story.findIndex((r) => (r & 3n) === 3n)).toBe(4);
});

test('churn: touch, protect, make writable, touch, unmap', () => {
  const story = records('churn:pages=8,region=4,passes=2,refs=9');
  const controls = story.filter((r) => (r & 3n) === 3n).map(control);
  expect(controls).toEqual([
    [CONTROL_PROTECT_RO, BASE, 4],
    [CONTROL_PROTECT_RW, BASE, 4],
    [CONTROL_UNMAP, BASE, 4],
  ]);
  expect(references('churn:pages=8,region=4,passes=2,refs=9').at(-1)?.page).toBe(4);
});

const mark = (n: number) => `${CONTROL_MARK} ${n}`;

test('access-tracking: five phases with marks, idle before the last two', () => {
  const story = records('access-tracking:pages=3,refs=15').map((r) =>
    (r & 3n) === 3n ? control(r).slice(0, 2).join(' ') : 'rw'[Number(r & 3n)],
  );
  const host = `${CONTROL_HOST} 0`;
  expect(story.join()).toBe(
    [
      [mark(0), ...'www'],
      [mark(1), ...'www'],
      [mark(2), ...'rrr'],
      [mark(3), host, ...'www'],
      [mark(4), host, ...'rrr'],
    ]
      .flat()
      .join(),
  );
});

test.each([
  ['zipff', 'unknown workload "zipff"; did you mean zipf?'],
  ['blah', 'unknown workload "blah"; there are sequential, uniform,'],
  ['zipf:pags=4', 'workload zipf: unknown parameter "pags"; did you mean pages?'],
  ['zipf:quux=4', 'workload zipf: unknown parameter "quux"; it takes pages, refs,'],
  ['zipf:pages', 'expected key=value, found "pages"'],
  ['zipf:pages=4,pages=5', 'pages is given twice'],
  ['zipf:pages=0', 'workload zipf: pages=0: must be from 1 to 16777216'],
  [
    'zipf:pages=4.5',
    'workload zipf: pages=4.5: expected a number of pages or a size such as 64MiB',
  ],
  ['zipf:write=2', 'workload zipf: write=2: must be from 0 to 1'],
  ['zipf:write=x', 'workload zipf: write=x: expected a share such as 0.9 or 90%'],
  ['zipf:refs=-1', 'workload zipf: refs=-1: expected a whole number such as 5000000 or 5M'],
  ['hot-cold:hot=9000', 'workload hot-cold: hot=9000 leaves no cold pages of pages=8192'],
])('%s is refused', (spec, message) => {
  expect(() => openWorkload(spec)).toThrow(UsageError);
  expect(() => openWorkload(spec)).toThrow(message);
});

test('sizes and thousands', async () => {
  expect(await footprint(openWorkload('sequential:pages=1MiB,refs=2k'))).toBe(256);
});
