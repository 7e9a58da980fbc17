// Footprints: which shared cells a step read and wrote, interned, and whether two steps commute.
//
// Two steps of different actors that are both enabled in a state are independent there if neither
// writes what the other reads or writes: each then runs the same way after the other, and both
// orders end in the same state. Footprints are observed (every load and store of the core is
// logged), not declared, so independence needs no promise from a protocol's author.

import { mixHigh, mixLow } from './cells.ts';
import type { Journal } from './cells.ts';

/** Footprints are numbered from 1; 0 stands for a step that touched nothing shared. */
export type FootprintId = number;

/** Distinct footprints whose pairs are memoised at first, and at most. */
const FIRST_SIDE = 64;
const MAX_SIDE = 2048;

/** Interns footprints and answers whether two conflict. */
export class Footprints {
  readonly #reads: Int32Array[] = [new Int32Array(0)];
  readonly #writes: Int32Array[] = [new Int32Array(0)];
  readonly #records: boolean[] = [false];
  readonly #byHash = new Map<number, FootprintId>();
  /** 0 unknown, 1 independent, 2 conflict; a square of #side. */
  #memo = new Uint8Array(FIRST_SIDE * FIRST_SIDE);
  #side = FIRST_SIDE;

  get count(): number {
    return this.#reads.length;
  }

  get bytes(): number {
    let total = this.#memo.byteLength;
    for (let i = 0; i < this.#reads.length; i++) {
      total +=
        (this.#reads[i] as Int32Array).byteLength + (this.#writes[i] as Int32Array).byteLength;
    }
    return total;
  }

  /** The number of a step's footprint. */
  intern(journal: Journal): FootprintId {
    const { reads, writes } = journal;
    if (reads.length + writes.length === 0 && !journal.wroteRecords) return 0;
    // In order: a step that touches the same cells in another order is interned twice, which is rare.
    let low = journal.wroteRecords ? 1 : 2;
    let high = reads.length;
    for (let i = 0; i < reads.length; i++) {
      const cell = reads.data[i] as number;
      low = (Math.imul(low, 0x01000193) ^ cell) | 0;
      high = (Math.imul(high, 0x9e3779b1) + cell) | 0;
    }
    for (let i = 0; i < writes.length; i++) {
      const cell = writes.data[i] as number;
      low = (Math.imul(low, 0x01000193) ^ cell) | 0;
      high = (Math.imul(high, 0x9e3779b1) + cell) | 0;
    }
    low = mixLow(low, high);
    high = mixHigh(high, low);
    const hash = (low >>> 0) + (high & 0x1fffff) * 4294967296;
    let id = this.#byHash.get(hash);
    if (id === undefined) {
      id = this.#reads.length;
      this.#byHash.set(hash, id);
      this.#reads.push(reads.data.slice(0, reads.length).toSorted());
      this.#writes.push(writes.data.slice(0, writes.length).toSorted());
      this.#records.push(journal.wroteRecords);
    }
    return id;
  }

  /** True if the two steps may not commute. */
  conflict(a: FootprintId, b: FootprintId): boolean {
    if (a === 0 || b === 0) return (this.#records[a] || this.#records[b]) === true;
    if (a >= this.#side || b >= this.#side) {
      if (a >= MAX_SIDE || b >= MAX_SIDE) return this.#compute(a, b);
      this.#grow(Math.max(a, b));
    }
    const at = a * this.#side + b;
    const known = this.#memo[at] as number;
    if (known !== 0) return known === 2;
    const answer = this.#compute(a, b);
    this.#memo[at] = answer ? 2 : 1;
    this.#memo[b * this.#side + a] = answer ? 2 : 1;
    return answer;
  }

  /** Starts a larger memo; what it held is computed again when needed. */
  #grow(id: number): void {
    while (this.#side <= id) this.#side *= 2;
    this.#memo = new Uint8Array(this.#side * this.#side);
  }

  #compute(a: FootprintId, b: FootprintId): boolean {
    // Every step reads the host's records, so one that writes them commutes with none.
    if (this.#records[a] || this.#records[b]) return true;
    const writesA = this.#writes[a] as Int32Array;
    const writesB = this.#writes[b] as Int32Array;
    return (
      meet(writesA, writesB) ||
      meet(writesA, this.#reads[b] as Int32Array) ||
      meet(writesB, this.#reads[a] as Int32Array)
    );
  }
}

/** True if two sorted lists share an element. */
function meet(a: Int32Array, b: Int32Array): boolean {
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const x = a[i] as number;
    const y = b[j] as number;
    if (x === y) return true;
    if (x < y) i++;
    else j++;
  }
  return false;
}
