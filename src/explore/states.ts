// The states that a search has seen: what each is (a 64-bit hash), how it was reached, and how to make
// it the current one.
//
// A state is kept as the difference that its step made to its parent's state, some ten cells. Going to a
// state over the tree of differences costs what lies between the two; so for states that wait to be
// expanded there is also an image: the values of all cells that any step ever changed, a few
// hundred words, in a ring that is bounded. Cells are numbered densely (slots) in the order of their
// first change; a cell beyond an image's slots has the value of the initial state.

import { IntList } from './cells.ts';
import type { System } from './system.ts';

/** Bytes of images: the rings of larger searches hold a part of the queue. */
const IMAGE_BYTES = 48 << 20;
const FIRST_STRIDE = 256;
const FIRST_ROWS = 256;
const NOBODY = -1;

/** Dense numbers of the cells that change. */
class Slots {
  readonly cells = new IntList(FIRST_STRIDE);
  /** Value of each in the initial state. */
  readonly initial = new IntList(FIRST_STRIDE);
  /** Open addressing over slot numbers + 1. */
  #table = new Int32Array(1024);

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
    this.cells.push(cell);
    this.initial.push(initial);
    if (this.cells.length * 2 > this.#table.length) {
      this.#table = new Int32Array(this.#table.length * 2);
      for (let slot = 0; slot < this.cells.length - 1; slot++) this.#enter(slot);
    }
    this.#enter(this.cells.length - 1);
    return this.cells.length - 1;
  }

  #enter(slot: number): void {
    const mask = this.#table.length - 1;
    let at = Math.imul(this.cells.data[slot] as number, 0x9e3779b1) >>> 16;
    while (this.#table[at & mask] !== 0) at++;
    this.#table[at & mask] = slot + 1;
  }
}

/** All states of a search, numbered in the order in which they were found; 0 is the initial one. */
export class States {
  readonly #system: System;
  /** The actor that came last, and the preemptions so far, tell states apart. */
  readonly #bounded: boolean;
  readonly parent = new IntList();
  /** Actor of the step that found it. */
  readonly actor = new IntList();
  readonly depth = new IntList();
  readonly low = new IntList();
  readonly high = new IntList();
  readonly preempted = new IntList();
  /** Differences to the parent: slot, old and new value. */
  readonly #deltaAt = new IntList();
  readonly #deltas = new IntList(1 << 14);
  readonly #slots = new Slots();
  /** Open addressing: state number + 1 and the low word of its hash. */
  #table = new Int32Array(1 << 12);
  /** Where find() ended. */
  #place = 0;
  /** Row 0 is the current state, the others a ring of images. */
  #rows = new Int32Array(FIRST_STRIDE * (FIRST_ROWS + 1));
  #stride = FIRST_STRIDE;
  /** State of each row of the ring, and how many slots its image has. */
  #holds = new Int32Array(FIRST_ROWS).fill(NOBODY);
  #width = new Int32Array(FIRST_ROWS);
  readonly #chain: number[] = [];
  #at = 0;
  /** States below this one were expanded: their images may go. */
  expanded = 0;

  constructor(system: System, bounded: boolean) {
    this.#system = system;
    this.#bounded = bounded;
  }

  get count(): number {
    return this.parent.length;
  }

  get current(): number {
    return this.#at;
  }

  /** The state of these hashes, or -1; add() then puts it there. */
  find(low: number, high: number, preempted: number, actor: number): number {
    const table = this.#table;
    const mask = table.length - 1;
    const highs = this.high.data;
    let place = ((low ^ (high >>> 7)) << 1) & mask;
    for (;;) {
      const state = (table[place] as number) - 1;
      if (state < 0) break;
      if (table[place + 1] === low && highs[state] === high) {
        if (!this.#bounded) return state;
        if (this.preempted.data[state] === preempted && this.actor.data[state] === actor) {
          return state;
        }
      }
      place = (place + 2) & mask;
    }
    this.#place = place;
    return -1;
  }

  /** Adds the state that the step in the journal led to from `parent` (-1: the initial state). */
  add(parent: number, actor: number, low: number, high: number, preempted: number): number {
    const state = this.parent.length;
    this.parent.push(parent);
    this.actor.push(actor);
    this.depth.push(parent < 0 ? 0 : (this.depth.data[parent] as number) + 1);
    this.low.push(low);
    this.high.push(high);
    this.preempted.push(preempted);
    this.#deltaAt.push(this.#deltas.length);
    if (parent >= 0) this.#keep(state);
    if (state * 4 > this.#table.length) this.#rehash(state);
    this.#enter(state);
    return state;
  }

  #rehash(count: number): void {
    this.#table = new Int32Array(this.#table.length * 2);
    for (let state = 0; state < count; state++) this.#enter(state);
  }

  #enter(state: number): void {
    const { low, high, preempted, actor } = this;
    this.find(
      low.data[state] as number,
      high.data[state] as number,
      preempted.data[state] as number,
      actor.data[state] as number,
    );
    this.#table[this.#place] = state + 1;
    this.#table[this.#place + 1] = low.data[state] as number;
  }

  /** Keeps the journal as the state's difference, and an image if there is room. */
  #keep(state: number): void {
    const { changes, count } = this.#system.journal;
    const deltas = this.#deltas;
    const from = deltas.length;
    deltas.reserve(count * 3);
    const { data } = deltas;
    for (let i = 0; i < count * 3; i += 3) {
      const cell = changes[i] as number;
      const old = changes[i + 1] as number;
      let slot = this.#slots.find(cell);
      if (slot < 0) slot = this.#newSlot(cell, old);
      data[from + i] = slot;
      data[from + i + 1] = old;
      data[from + i + 2] = changes[i + 2] as number;
    }
    deltas.length = from + count * 3;
    const ring = this.#rowFor(state);
    if (ring < 0) return;
    const rows = this.#rows;
    const width = this.#slots.cells.length;
    const row = (ring + 1) * this.#stride;
    rows.copyWithin(row, 0, width);
    for (let i = from; i < deltas.length; i += 3) {
      rows[row + (data[i] as number)] = data[i + 2] as number;
    }
    this.#holds[ring] = state;
    this.#width[ring] = width;
  }

  #newSlot(cell: number, initial: number): number {
    const slot = this.#slots.add(cell, initial);
    if (slot >= this.#stride) this.#resize(this.#stride * 2, this.#holds.length);
    this.#rows[slot] = initial;
    return slot;
  }

  /** Row of the ring for a new state, or -1 when states that wait hold all that may be used. */
  #rowFor(state: number): number {
    const ring = state % this.#holds.length;
    if ((this.#holds[ring] as number) < this.expanded) return ring;
    const more = this.#holds.length * 2;
    if (more * this.#stride * 4 > IMAGE_BYTES) return -1;
    this.#resize(this.#stride, more);
    return state % more;
  }

  #resize(stride: number, count: number): void {
    const [rows, holds, width, before] = [this.#rows, this.#holds, this.#width, this.#stride];
    this.#rows = new Int32Array(stride * (count + 1));
    this.#holds = new Int32Array(count).fill(NOBODY);
    this.#width = new Int32Array(count);
    this.#stride = stride;
    this.#rows.set(rows.subarray(0, before));
    for (let ring = 0; ring < holds.length; ring++) {
      const state = holds[ring] as number;
      if (state < this.expanded) continue;
      const to = state % count;
      this.#rows.set(rows.subarray((ring + 1) * before, (ring + 2) * before), (to + 1) * stride);
      this.#holds[to] = state;
      this.#width[to] = width[ring] as number;
    }
  }

  /** Makes a state the current one. */
  goTo(target: number): void {
    if (target === this.#at) return;
    const ring = target % this.#holds.length;
    if (this.#holds[ring] === target) this.#copyImage(ring);
    else this.#walk(target);
    this.#at = target;
  }

  #copyImage(ring: number): void {
    const rows = this.#rows;
    const cells = this.#slots.cells.data;
    const system = this.#system;
    const row = (ring + 1) * this.#stride;
    const width = this.#width[ring] as number;
    for (let slot = 0; slot < width; slot++) {
      const value = rows[row + slot] as number;
      if (value === rows[slot]) continue;
      rows[slot] = value;
      system.set(cells[slot] as number, value);
    }
    const initial = this.#slots.initial.data;
    for (let slot = width; slot < this.#slots.cells.length; slot++) {
      const value = initial[slot] as number;
      if (value === rows[slot]) continue;
      rows[slot] = value;
      system.set(cells[slot] as number, value);
    }
  }

  /** Over the tree: up to the common ancestor, then down. */
  #walk(target: number): void {
    const { data: parent } = this.parent;
    const { data: depth } = this.depth;
    const chain = this.#chain;
    chain.length = 0;
    let up = this.#at;
    let down = target;
    while (up !== down) {
      if ((depth[up] as number) >= (depth[down] as number)) {
        this.#applyDelta(up, 1);
        up = parent[up] as number;
      } else {
        chain.push(down);
        down = parent[down] as number;
      }
    }
    for (let i = chain.length - 1; i >= 0; i--) this.#applyDelta(chain[i] as number, 2);
  }

  /** Sets the old (1) or the new (2) values of a state's difference. */
  #applyDelta(state: number, which: number): void {
    const at = this.#deltaAt.data;
    const end = state + 1 < this.#deltaAt.length ? (at[state + 1] as number) : this.#deltas.length;
    const { data } = this.#deltas;
    const cells = this.#slots.cells.data;
    for (let i = at[state] as number; i < end; i += 3) {
      const slot = data[i] as number;
      const value = data[i + which] as number;
      this.#rows[slot] = value;
      this.#system.set(cells[slot] as number, value);
    }
  }

  /** Actor of each step on the way to a state. */
  scheduleTo(state: number): number[] {
    const schedule: number[] = [];
    for (let s = state; s > 0; s = this.parent.data[s] as number) {
      schedule.push(this.actor.data[s] as number);
    }
    return schedule.toReversed();
  }

  /** Bytes allocated. */
  get bytes(): number {
    const { parent, actor, depth, low, high, preempted } = this;
    const lists = [parent, actor, depth, low, high, preempted, this.#deltaAt, this.#deltas];
    let total = this.#table.byteLength + this.#rows.byteLength + this.#slots.bytes;
    total += this.#holds.byteLength * 2;
    for (const list of lists) total += list.bytes;
    return total;
  }
}
