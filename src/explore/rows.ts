// Rows: the value of every slot in the states that wait to be expanded, in a ring that is bounded,
// and the state that the machine itself is in, which follows only when a step must really run.

import type { Locals } from './locals.ts';
import { FIRST_STRIDE } from './slots.ts';
import type { Slots } from './slots.ts';
import type { System } from './system.ts';

/** Bytes of rows: the rings of larger searches hold a part of the queue. */
const ROW_BYTES = 48 << 20;
const FIRST_ROWS = 256;
const NOBODY = -1;

/** Rows of one search. Row 0 is for walks over the tree of states, the others are the ring. */
export class Rows {
  readonly #system: System;
  readonly #slots: Slots;
  readonly #locals: Locals;
  readonly #actors: number;
  data = new Int32Array(FIRST_STRIDE * (FIRST_ROWS + 1));
  #stride = FIRST_STRIDE;
  /** State of each row of the ring. */
  #holds = new Int32Array(FIRST_ROWS).fill(NOBODY);
  /** Value of each slot in the machine. */
  #live = new Int32Array(FIRST_STRIDE);
  /** States below this one were expanded: their rows may go. */
  expanded = 0;

  constructor(system: System, slots: Slots, locals: Locals) {
    this.#system = system;
    this.#slots = slots;
    this.#locals = locals;
    this.#actors = system.actors.length;
  }

  get bytes(): number {
    return this.data.byteLength + this.#holds.byteLength + this.#live.byteLength;
  }

  /** Index in `data` of the row that holds a state, or -1. */
  find(state: number): number {
    const ring = state % this.#holds.length;
    return this.#holds[ring] === state ? (ring + 1) * this.#stride : -1;
  }

  /** Copies a row for a new state that differs from it by `changes`; not if the ring is full. */
  derive(state: number, from: number, changes: Int32Array): void {
    const ring = state % this.#holds.length;
    if ((this.#holds[ring] as number) >= this.expanded) return;
    this.#holds[ring] = state;
    const to = (ring + 1) * this.#stride;
    const { data } = this;
    data.copyWithin(to, from, from + this.#slots.count);
    for (let i = 0; i < changes.length; i += 3) {
      data[to + (changes[i] as number)] = changes[i + 2] as number;
    }
  }

  /** Makes room for a new state, if that may be; the other rows may move. */
  makeRoom(state: number): void {
    const ring = state % this.#holds.length;
    if ((this.#holds[ring] as number) < this.expanded) return;
    const more = this.#holds.length * 2;
    if (more * this.#stride * 4 <= ROW_BYTES) this.#resize(this.#stride, more);
  }

  /** A slot was added: every row has its initial value there. */
  addSlot(slot: number, initial: number): void {
    if (slot >= this.#stride) this.#resize(this.#stride * 2, this.#holds.length);
    for (let at = slot; at < this.data.length; at += this.#stride) this.data[at] = initial;
    this.#live[slot] = initial;
  }

  #resize(stride: number, count: number): void {
    const [data, holds, before] = [this.data, this.#holds, this.#stride];
    this.data = new Int32Array(stride * (count + 1));
    this.#holds = new Int32Array(count).fill(NOBODY);
    this.#stride = stride;
    this.data.set(data.subarray(0, before));
    for (let ring = 0; ring < holds.length; ring++) {
      const state = holds[ring] as number;
      if (state < this.expanded) continue;
      const to = state % count;
      this.data.set(data.subarray((ring + 1) * before, (ring + 2) * before), (to + 1) * stride);
      this.#holds[to] = state;
    }
    const live = new Int32Array(stride);
    live.set(this.#live);
    this.#live = live;
  }

  /** Brings the machine into the state of a row. */
  enter(row: number): void {
    const { data } = this;
    const live = this.#live;
    const cells = this.#slots.cells.data;
    const count = this.#slots.count;
    for (let slot = 0; slot < count; slot++) {
      const value = data[row + slot] as number;
      if (value === live[slot]) continue;
      live[slot] = value;
      if (slot < this.#actors) this.#locals.restore(slot, value);
      else this.#system.set(cells[slot] as number, value);
    }
  }
}
