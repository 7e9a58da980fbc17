// Shared words: state of actors that are written in TypeScript alone, with exact footprints.

import { IntList, WORDS_CELL } from './cells.ts';
import type { Journal } from './cells.ts';

/** A small array of 32-bit words that every actor may read and write through get() and set(). */
export class SharedWords {
  readonly cells: Int32Array;
  readonly #reads = new IntList(16);
  readonly #writes = new IntList(16);
  readonly #olds = new IntList(16);
  /** Step in which a word was last read or written. */
  readonly #readAt: Int32Array;
  readonly #writtenAt: Int32Array;
  #epoch = 1;

  constructor(count: number) {
    this.cells = new Int32Array(count);
    this.#readAt = new Int32Array(count);
    this.#writtenAt = new Int32Array(count);
  }

  get(index: number): number {
    if (this.#readAt[index] !== this.#epoch) {
      this.#readAt[index] = this.#epoch;
      this.#reads.push(index);
    }
    return this.cells[index] as number;
  }

  set(index: number, value: number): void {
    if (this.#writtenAt[index] !== this.#epoch) {
      this.#writtenAt[index] = this.#epoch;
      this.#writes.push(index);
      this.#olds.push(this.cells[index] as number);
    }
    this.cells[index] = value;
  }

  /** Reads a word without leaving a footprint: for properties. */
  peek(index: number): number {
    return this.cells[index] as number;
  }

  /** Empties the log before a step. */
  begin(): void {
    this.#epoch++;
    this.#reads.length = 0;
    this.#writes.length = 0;
    this.#olds.length = 0;
  }

  /** Appends what the step did to the journal. */
  collect(journal: Journal): void {
    for (let i = 0; i < this.#reads.length; i++) {
      journal.reads.push(WORDS_CELL + (this.#reads.data[i] as number));
    }
    for (let i = 0; i < this.#writes.length; i++) {
      const index = this.#writes.data[i] as number;
      const old = this.#olds.data[i] as number;
      const now = this.cells[index] as number;
      journal.writes.push(WORDS_CELL + index);
      if (now !== old) journal.change(WORDS_CELL + index, old, now);
    }
  }
}
