// The states that a search has seen: what each is (a 64-bit hash), how it was reached, and how to make
// it the current one.
//
// A state is kept as the difference that its step made to its parent's state, a few slots. Going to a
// state over the tree of differences costs what lies between the two; so states that wait to be
// expanded also have a row, with the values of all slots, as far as there is room (rows.ts).

import { IntList } from './cells.ts';
import { Locals } from './locals.ts';
import { Rows } from './rows.ts';
import { Slots } from './slots.ts';
import type { System } from './system.ts';

/** The states of one search. */
export class States {
  readonly slots: Slots;
  readonly locals: Locals;
  readonly rows: Rows;
  /** True: the preemptions so far, and who came last, tell states apart. */
  readonly #bounded: boolean;
  /** Parent state and the actor whose step led from it; -1: the initial state. */
  readonly parent = new IntList();
  readonly actor = new IntList();
  readonly depth = new IntList();
  readonly low = new IntList();
  readonly high = new IntList();
  /** Under a preemption bound: preemptions on the way. */
  readonly preempted = new IntList();
  /** First word of a state's difference to the parent: slot, old and new value. */
  readonly #deltaAt = new IntList();
  readonly #deltas = new IntList(1 << 14);
  /** Open addressing: state number + 1 and the low word of its hash. */
  #table = new Int32Array(1 << 12);
  /** Where find() ended. */
  #place = 0;
  readonly #chain: number[] = [];
  /** State of row 0. */
  #at = 0;

  constructor(system: System, bounded: boolean) {
    this.#bounded = bounded;
    this.slots = new Slots(system.actors.length);
    this.locals = new Locals(system);
    this.rows = new Rows(system, this.slots, this.locals);
  }

  get count(): number {
    return this.parent.length;
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

  /** Adds the state that `changes` led to from `parent` (-1: the initial state). */
  add(
    parent: number,
    actor: number,
    low: number,
    high: number,
    preempted: number,
    changes: Int32Array,
  ): number {
    const state = this.parent.length;
    this.parent.push(parent);
    this.actor.push(actor);
    this.depth.push(parent < 0 ? 0 : (this.depth.data[parent] as number) + 1);
    this.low.push(low);
    this.high.push(high);
    if (this.#bounded) this.preempted.push(preempted);
    this.#deltaAt.push(this.#deltas.length);
    if (parent >= 0) this.#keep(state, parent, changes);
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

  #keep(state: number, parent: number, changes: Int32Array): void {
    const deltas = this.#deltas;
    deltas.reserve(changes.length);
    deltas.data.set(changes, deltas.length);
    deltas.length += changes.length;
    this.rows.makeRoom(state);
    this.rows.derive(state, this.row(parent), changes);
  }

  /** A new slot, for a shared cell that never changed before. */
  addSlot(cell: number, initial: number): number {
    const slot = this.slots.add(cell, initial);
    this.rows.addSlot(slot, initial);
    return slot;
  }

  /** Index in rows.data of a row with a state's values; valid until a state or slot is added. */
  row(state: number): number {
    const kept = this.rows.find(state);
    if (kept >= 0) return kept;
    if (state !== this.#at) this.#walk(state);
    return 0;
  }

  /** Row 0 becomes a state's: over the tree, up to the common ancestor, then down. */
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
    this.#at = target;
  }

  /** Sets the old (1) or the new (2) values of a state's difference in row 0. */
  #applyDelta(state: number, which: number): void {
    const at = this.#deltaAt.data;
    const end = state + 1 < this.#deltaAt.length ? (at[state + 1] as number) : this.#deltas.length;
    const { data } = this.#deltas;
    const row = this.rows.data;
    for (let i = at[state] as number; i < end; i += 3) {
      row[data[i] as number] = data[i + which] as number;
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
    let total = this.#table.byteLength + this.rows.bytes + this.slots.bytes + this.locals.bytes;
    for (const list of lists) total += list.bytes;
    return total;
  }
}
