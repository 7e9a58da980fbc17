// The seeded generator for decisions that the host side takes (scheduling): xorshift128 by Marsaglia
// (Journal of Statistical Software 8(14), 2003), with its state where a snapshot finds it.

/** A seeded pseudo-random generator. */
export class Random {
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    // Spread the seed with the finaliser of MurmurHash3, so that near seeds give far streams.
    let x = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      x = (x + 0x9e3779b9) >>> 0;
      let h = x;
      h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
      h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
      this.#state[i] = h ^ (h >>> 16);
    }
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1;
  }

  /** A 32-bit number. */
  next(): number {
    const s = this.#state;
    let t = s[3] as number;
    const first = s[0] as number;
    s[3] = s[2] as number;
    s[2] = s[1] as number;
    s[1] = first;
    t ^= t << 11;
    t ^= t >>> 8;
    s[0] = t ^ first ^ (first >>> 19);
    return s[0] as number;
  }

  /** A whole number from 0 to `n` - 1. */
  below(n: number): number {
    return Math.floor((this.next() / 4294967296) * n);
  }

  /** The state, for snapshots. */
  save(): readonly number[] {
    return [...this.#state];
  }

  /** Goes back to a saved state. */
  restore(state: readonly number[]): void {
    this.#state.set(state);
  }
}
