// The one random generator: xoshiro256** (Blackman and Vigna, https://prng.di.unimi.it/), seeded
// through splitmix64. Its 32 bytes of state lie in linear memory, wherever the owner put them, so a
// snapshot holds them. All draws are exact integers: the same seed gives the same run everywhere.

import { RNG_STATE_SIZE } from './abi';

/** The state that the emulator itself draws from; workloads keep states of their own. */
const STATE: usize = memory.data(32, 8);

if (RNG_STATE_SIZE != 32) ERROR('abi: RNG_STATE_SIZE');

function rotl(x: u64, k: i32): u64 {
  return (x << (<u64>k)) | (x >> (<u64>(64 - k)));
}

/** Address of the emulator's own state. */
export function rngPtr(): u32 {
  return <u32>STATE;
}

/** Fills a state from a 64-bit seed. */
export function rngSeed(state: usize, seedLo: u32, seedHi: u32): void {
  let s = ((<u64>seedHi) << 32) | (<u64>seedLo);
  for (let i: usize = 0; i < 32; i += 8) {
    s += 0x9e3779b97f4a7c15;
    let z = s;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    store<u64>(state + i, z ^ (z >> 31));
  }
}

/** The next 64 bits of a state. */
export function rngU64(state: usize): u64 {
  const s0 = load<u64>(state);
  const s1 = load<u64>(state, 8);
  const s2 = load<u64>(state, 16) ^ s0;
  const s3 = load<u64>(state, 24) ^ s1;
  store<u64>(state, s0 ^ s3);
  store<u64>(state, s1 ^ s2, 8);
  store<u64>(state, s2 ^ (s1 << 17), 16);
  store<u64>(state, rotl(s3, 45), 24);
  return rotl(s1 * 5, 7) * 9;
}

/** The next 32 bits of a state (the upper half of a draw). */
export function rngU32(state: usize): u32 {
  return <u32>(rngU64(state) >> 32);
}

/** A number in [0, n), without bias (Lemire 2019); n = 0 gives 0. */
export function rngBelow(state: usize, n: u32): u32 {
  let product = (rngU64(state) >> 32) * <u64>n;
  if (<u32>product < n) {
    const threshold: u32 = (0 - n) % n;
    while (<u32>product < threshold) product = (rngU64(state) >> 32) * <u64>n;
  }
  return <u32>(product >> 32);
}
