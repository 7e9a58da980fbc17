// The generator against published outputs: xoshiro256** with the state 1, 2, 3, 4 as in the tests of
// Rust's rand_xoshiro (made with the reference C code), splitmix64 with the seed 1234567 as in
// Rosetta Code's task "Pseudo-random numbers/Splitmix64".
import { expect, test } from 'vitest';
import { loadCore } from '../../src/core/load.ts';

const U64 = (1n << 64n) - 1n;

test('the seed fills the state by splitmix64', () => {
  const { x, mem } = loadCore('debug');
  const state = x.pageAlloc() >>> 0;
  x.rngSeed(state, 1234567, 0);
  expect([0, 8, 16, 24].map((o) => mem.loadBig(state + o))).toEqual([
    6457827717110365317n,
    3203168211198807973n,
    9817491932198370423n,
    4593380528125082431n,
  ]);
});

test('the draws are those of xoshiro256**', () => {
  const { x, mem } = loadCore('debug');
  const state = x.pageAlloc() >>> 0;
  [1n, 2n, 3n, 4n].forEach((word, i) => mem.storeBig(state + i * 8, word));
  const expected = [
    11520n,
    0n,
    1509978240n,
    1215971899390074240n,
    1216172134540287360n,
    607988272756665600n,
    16172922978634559625n,
    8476171486693032832n,
    10595114339597558777n,
    2904607092377533576n,
  ];
  for (const value of expected) expect(x.rngU32(state) >>> 0).toBe(Number((value & U64) >> 32n));
});

test('a number below n is below n, and all of them come up', () => {
  const { x } = loadCore('debug');
  const state = x.pageAlloc() >>> 0;
  x.rngSeed(state, 5, 0);
  const seen = new Set<number>();
  for (let i = 0; i < 500; i++) seen.add(x.rngBelow(state, 7) >>> 0);
  expect([...seen].toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(x.rngBelow(state, 0)).toBe(0);
  expect(x.rngBelow(state, 0x80000001) >>> 0).toBeLessThan(0x80000001);
});
