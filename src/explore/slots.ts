// Slots: dense numbers of what differs between the states of a search. The first slots are the
// actors' local states (a number each, see locals.ts); then come the shared cells that some step
// changed, in the order of their first change. A cell without a slot has its initial value in every
// state seen so far.

import { IntList, RECORD_CELL, TASK_CELL, TASK_CELLS, WORDS_CELL } from './cells.ts';

/** Slots that there is room for at first. */
export const FIRST_STRIDE = 128;

/** The slots of one search. */
export class Slots {
  /** Cell of each slot; of an actor's local state, its first cell. */
  readonly cells = new IntList(FIRST_STRIDE);
  /** Value of each in the initial state. */
  readonly initial = new IntList(FIRST_STRIDE);
  /** Slots of host records, and of shared words. */
  readonly records: number[] = [];
  readonly words: number[] = [];
  /** Open addressing over slot numbers + 1. */
  #table = new Int32Array(1024);

  constructor(actors: number) {
    for (let actor = 0; actor < actors; actor++) this.add(TASK_CELL + actor * TASK_CELLS, 0);
  }

  get count(): number {
    return this.cells.length;
  }

  get bytes(): number {
    return this.cells.bytes + this.initial.bytes + this.#table.byteLength;
  }

  /** Slot of a cell, or -1. */
  find(cell: number): number {
    const table = this.#table;
    const cells = this.cells.data;
    const mask = table.length - 1;
    for (let at = Math.imul(cell, 0x9e3779b1) >>> 16; ; at++) {
      const slot = (table[at & mask] as number) - 1;
      if (slot < 0 || cells[slot] === cell) return slot;
    }
  }

  /** A new slot, for a cell that never changed before. */
  add(cell: number, initial: number): number {
    const slot = this.cells.length;
    this.cells.push(cell);
    this.initial.push(initial);
    if (cell >= RECORD_CELL) this.records.push(slot);
    else if (cell >= WORDS_CELL && cell < TASK_CELL) this.words.push(slot);
    if (this.cells.length * 2 > this.#table.length) {
      this.#table = new Int32Array(this.#table.length * 2);
      for (let other = 0; other < slot; other++) this.#enter(other);
    }
    this.#enter(slot);
    return slot;
  }

  #enter(slot: number): void {
    const mask = this.#table.length - 1;
    let at = Math.imul(this.cells.data[slot] as number, 0x9e3779b1) >>> 16;
    while (this.#table[at & mask] !== 0) at++;
    this.#table[at & mask] = slot + 1;
  }
}
