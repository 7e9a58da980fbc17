// Effects of steps, kept for states in which they would be the same.
//
// A step is a deterministic program: what it does follows from its actor's local state and from the
// values that it reads. The log knows what it read (and wrote, for a part of a word may be written). So a
// step whose actor is in the same local state, and that would find the same values in these
// cells, has the same effect, and need not run again. Most transitions of a search are such steps:
// the other actors moved meanwhile, but elsewhere. Values are compared, not hashes of them.

import type { FootprintId } from './footprint.ts';

/** What a step did. */
export interface Effect {
  /** STEP_*. */
  readonly outcome: number;
  /** Triples of a slot, its old and its new value. */
  readonly changes: Int32Array;
  /** What it adds to the two words of the state's hash. */
  readonly low: number;
  readonly high: number;
  readonly footprint: FootprintId;
  /** Violations that the step itself, or a test of the state, reported. */
  readonly found: readonly { readonly property: string; readonly detail: string }[];
  /** Message of the exception of a step that crashed. */
  readonly crash: string;
}

/** An effect under the values that it was found for. */
interface Kept {
  readonly values: Int32Array;
  readonly effect: Effect;
  readonly next: Kept | undefined;
}

/** Effects that depend on the same slots. */
interface Reading {
  readonly slots: Int32Array;
  readonly byHash: Map<number, Kept>;
}

/** Effects are forgotten when they take more than this. */
const MEMO_BYTES = 128 << 20;
/** Bytes of an entry beside its arrays, about. */
const ENTRY_BYTES = 320;

/** Hash of the values that a row has in some slots. */
function hashValues(slots: Int32Array, data: Int32Array, row: number): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < slots.length; i++) {
    h = Math.imul(h ^ (data[row + (slots[i] as number)] as number), 0x01000193);
    h ^= h >>> 15;
  }
  return h;
}

/** True if the row has these values there. */
function sameValues(kept: Kept, slots: Int32Array, data: Int32Array, row: number): boolean {
  const { values } = kept;
  for (let i = 0; i < slots.length; i++) {
    if (data[row + (slots[i] as number)] !== values[i]) return false;
  }
  return true;
}

/** The effects that a search keeps, by actor (or kind of test) and local state. */
export class Memo {
  /** For each actor the readings of each local state. */
  readonly #readings: (Reading[] | undefined)[][];
  bytes = 0;

  constructor(actors: number) {
    this.#readings = Array.from({ length: actors }, () => []);
  }

  /** The effect of an actor's step in the state of a row, if it is known. */
  find(actor: number, local: number, data: Int32Array, row: number): Effect | undefined {
    const readings = (this.#readings[actor] as (Reading[] | undefined)[])[local];
    if (readings === undefined) return undefined;
    for (let i = 0; i < readings.length; i++) {
      const { slots, byHash } = readings[i] as Reading;
      let kept = byHash.get(hashValues(slots, data, row));
      for (; kept !== undefined; kept = kept.next) {
        if (sameValues(kept, slots, data, row)) return kept.effect;
      }
    }
    return undefined;
  }

  /** Keeps the effect of a step that read `slots` (in ascending order). */
  keep(
    actor: number,
    local: number,
    data: Int32Array,
    row: number,
    slots: Int32Array,
    effect: Effect,
  ): void {
    if (this.bytes > MEMO_BYTES) this.clear();
    const locals = this.#readings[actor] as (Reading[] | undefined)[];
    const readings = (locals[local] ??= []);
    let reading = readings.find((known) => equal(known.slots, slots));
    if (reading === undefined) {
      reading = { slots, byHash: new Map() };
      readings.push(reading);
    }
    const hash = hashValues(slots, data, row);
    const values = slots.map((slot) => data[row + slot] as number);
    reading.byHash.set(hash, { values, effect, next: reading.byHash.get(hash) });
    this.bytes += ENTRY_BYTES + values.byteLength + effect.changes.byteLength;
  }

  /** Forgets all: a cell that some step read got its slot only now. */
  clear(): void {
    for (const locals of this.#readings) locals.length = 0;
    this.bytes = 0;
  }
}

function equal(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}
