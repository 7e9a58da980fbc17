// Walker's alias method (Vose's construction): draws from a fixed distribution over n outcomes with
// one random number, in constant time. Entry of an outcome, 8 bytes:
//
//   │ u32 threshold: below it, the outcome itself │ u32 alias: else this one │

import { arenaAlloc } from '../layout';
import { rngU64 } from '../random';

const TWO_32: f64 = 4294967296.0;

function word(words: usize, i: u32): u32 {
  return load<u32>(words + ((<usize>i) << 2));
}

function setWord(words: usize, i: u32, value: u32): void {
  store<u32>(words + ((<usize>i) << 2), value);
}

/** A table for Zipf's law: outcome k of 0 … n-1 with weight 1 / (k+1)^s. */
export function zipfTable(n: u32, s: f64): usize {
  const table = arenaAlloc((<usize>n) << 3);
  const weights = arenaAlloc((<usize>n) << 3);
  let sum: f64 = 0;
  for (let k: u32 = 0; k < n; k++) {
    const weight = Math.pow(<f64>(k + 1), -s);
    store<f64>(weights + ((<usize>k) << 3), weight);
    sum += weight;
  }
  const scale = <f64>n / sum;
  // One array holds both work lists: the small from the front, the large from the back.
  const work = arenaAlloc((<usize>n) << 2);
  let small: u32 = 0;
  let large = n;
  for (let k: u32 = 0; k < n; k++) {
    const weight = load<f64>(weights + ((<usize>k) << 3)) * scale;
    store<f64>(weights + ((<usize>k) << 3), weight);
    if (weight < 1) setWord(work, small++, k);
    else setWord(work, --large, k);
  }
  while (small > 0 && large < n) {
    const less = word(work, --small);
    const more = word(work, large++);
    const weight = load<f64>(weights + ((<usize>less) << 3));
    setEntry(table, less, weight, more);
    const rest = weights + ((<usize>more) << 3);
    const left = load<f64>(rest) + weight - 1;
    store<f64>(rest, left);
    if (left < 1) setWord(work, small++, more);
    else setWord(work, --large, more);
  }
  while (large < n) {
    const k = word(work, large++);
    setEntry(table, k, 1, k);
  }
  while (small > 0) {
    const k = word(work, --small);
    setEntry(table, k, 1, k);
  }
  return table;
}

function setEntry(table: usize, outcome: u32, weight: f64, alias: u32): void {
  const entry = table + ((<usize>outcome) << 3);
  const threshold = weight >= 1 ? 0xffffffff : <u32>(weight * TWO_32);
  store<u32>(entry, threshold);
  store<u32>(entry, weight >= 1 ? outcome : alias, 4);
}

/** An outcome of a table of n. */
export function aliasDraw(table: usize, n: u32, rng: usize): u32 {
  const bits = rngU64(rng);
  // The upper half chooses the entry (bias below n / 2^32), the lower half between its two.
  const outcome = <u32>(((bits >> 32) * <u64>n) >> 32);
  const entry = table + ((<usize>outcome) << 3);
  return <u32>bits < load<u32>(entry) ? outcome : load<u32>(entry, 4);
}
