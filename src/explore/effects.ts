// What a step of an actor does in a state, and what the tests of a state say: looked up (memo.ts), or
// found out by running it on the machine.

import { LOCK_CELL, mixHigh, mixLow, TASK_CELL } from './cells.ts';
import { Memo } from './memo.ts';
import type { Effect } from './memo.ts';
import type { States } from './states.ts';
import { STEP_CRASHED, STEP_DISABLED, STEP_MOVED } from './system.ts';
import type { Property, System } from './system.ts';

export const NO_CHANGE = new Int32Array(0);
/** One of so many effects that are looked up is held against the step itself. */
const AUDIT_EVERY = 64;

type Tests = readonly { readonly property: string; readonly test: () => string | null }[];

function testsOf(properties: readonly Property[], when: 'state' | 'end'): Tests {
  return properties.flatMap(({ name, [when]: test }) =>
    test === undefined ? [] : [{ property: name, test }],
  );
}

/** True for the cells of task stacks and status, which locals.ts numbers as a whole. */
function isLocal(cell: number): boolean {
  return cell >= TASK_CELL && cell < LOCK_CELL;
}

/** Effects in the states of one search. */
export class Effects {
  readonly #system: System;
  readonly #states: States;
  readonly #memo: Memo;
  /** What is tested in every state, and in those in which every actor has ended. */
  readonly #tests: readonly [state: Tests, end: Tests];
  readonly #actors: number;
  /** Slots that the step read or wrote; marked with the number of the step. */
  #marks = new Int32Array(256);
  #mark = 0;
  /** Steps that were looked up. */
  #looked = 0;

  constructor(system: System, states: States) {
    this.#system = system;
    this.#states = states;
    this.#actors = system.actors.length;
    this.#memo = new Memo(this.#actors + 2);
    const { properties } = system.definition;
    this.#tests = [testsOf(properties, 'state'), testsOf(properties, 'end')];
  }

  get bytes(): number {
    return this.#memo.bytes;
  }

  /** The effect of an actor's next step from a state. */
  step(state: number, actor: number): Effect {
    const row = this.#states.row(state);
    const { data } = this.#states.rows;
    const local = data[row + actor] as number;
    const known = this.#memo.find(actor, local, data, row);
    if (known === undefined) {
      const effect = this.#run(state, actor, local);
      const reads = this.#reads(false);
      const { rows } = this.#states;
      this.#memo.keep(actor, local, rows.data, this.#states.row(state), reads, effect);
      return effect;
    }
    if (++this.#looked % AUDIT_EVERY === 0) this.#audit(state, actor, local, known);
    return known;
  }

  /** Runs a step although its effect is known: they must be the same. */
  #audit(state: number, actor: number, local: number, known: Effect): void {
    const { outcome, changes, footprint, found } = this.#run(state, actor, local);
    const same =
      outcome === known.outcome &&
      footprint === known.footprint &&
      String(changes) === String(known.changes) &&
      JSON.stringify(found) === JSON.stringify(known.found);
    if (same) return;
    throw new Error(
      `${this.#system.actors[actor]?.name}: a step did something else in the same state: it reads ` +
        'what is neither in linear memory, nor in shared words, nor in the fields of a record',
    );
  }

  /** What the tests of a state report; `end`: those of a state in which every actor has ended. */
  test(state: number, end: boolean): Effect['found'] {
    const which = end ? 1 : 0;
    const tests = this.#tests[which];
    if (tests.length === 0) return [];
    const row = this.#states.row(state);
    const known = this.#memo.find(this.#actors + which, 0, this.#states.rows.data, row);
    return known !== undefined ? known.found : this.#runTests(state, which);
  }

  /** True if an actor has ended in a state. */
  finished(state: number, actor: number): boolean {
    const { rows, locals } = this.#states;
    const row = this.#states.row(state);
    return locals.finished(actor, rows.data[row + actor] as number);
  }

  /** Brings the machine into a state. */
  enter(state: number): void {
    this.#states.rows.enter(this.#states.row(state));
  }

  #run(state: number, actor: number, local: number): Effect {
    const system = this.#system;
    this.enter(state);
    const { sink } = system;
    const outcome = system.step(actor);
    const found = [...sink.found];
    sink.found.length = 0;
    const changes = outcome === STEP_DISABLED ? NO_CHANGE : this.#changes(actor, local);
    const { low, high } = this.#hashOf(changes);
    const effect: Effect = {
      outcome,
      changes,
      low,
      high,
      footprint: outcome === STEP_DISABLED ? 0 : system.footprint(),
      found,
      crash: outcome === STEP_CRASHED ? system.crash : '',
    };
    if (outcome !== STEP_DISABLED) system.undo();
    return effect;
  }

  #runTests(state: number, which: 0 | 1): Effect['found'] {
    const states = this.#states;
    this.enter(state);
    const found: { property: string; detail: string }[] = [];
    this.#system.watch(() => {
      for (const { property, test } of this.#tests[which]) {
        const detail = test();
        if (detail !== null) found.push({ property, detail });
      }
    });
    const effect: Effect = {
      outcome: STEP_MOVED,
      changes: NO_CHANGE,
      low: 0,
      high: 0,
      footprint: 0,
      found,
      crash: '',
    };
    const reads = this.#reads(true);
    const { data } = states.rows;
    this.#memo.keep(this.#actors + which, 0, data, states.row(state), reads, effect);
    return found;
  }

  /** The journal's changes by slots, with the actor's local state as one. */
  #changes(actor: number, local: number): Int32Array {
    const { journal } = this.#system;
    const { slots, locals } = this.#states;
    const out: number[] = [];
    const now = locals.current(actor);
    if (now !== local) out.push(actor, local, now);
    for (let i = 0; i < journal.count * 3; i += 3) {
      const cell = journal.changes[i] as number;
      if (isLocal(cell)) continue;
      const old = journal.changes[i + 1] as number;
      let slot = slots.find(cell);
      if (slot < 0) {
        slot = this.#states.addSlot(cell, old);
        this.#memo.clear();
      }
      out.push(slot, old, journal.changes[i + 2] as number);
    }
    return Int32Array.from(out);
  }

  #hashOf(changes: Int32Array): { low: number; high: number } {
    const cells = this.#states.slots.cells.data;
    let low = 0;
    let high = 0;
    for (let i = 0; i < changes.length; i += 3) {
      const cell = cells[changes[i] as number] as number;
      const old = changes[i + 1] as number;
      const now = changes[i + 2] as number;
      low = (low + mixLow(cell, now) - mixLow(cell, old)) | 0;
      high = (high + mixHigh(cell, now) - mixHigh(cell, old)) | 0;
    }
    return { low, high };
  }

  /**
   * Slots that the journal read or wrote, in ascending order. Records are read without a trace, so all of
   * them count; tests of a state may look at shared words in that way too.
   */
  #reads(words: boolean): Int32Array {
    const { slots } = this.#states;
    const { reads, writes } = this.#system.journal;
    if (slots.count > this.#marks.length) this.#marks = new Int32Array(slots.count * 2);
    const mark = ++this.#mark;
    const marks = this.#marks;
    const out: number[] = [];
    const add = (slot: number): void => {
      if (slot < 0 || marks[slot] === mark) return;
      marks[slot] = mark;
      out.push(slot);
    };
    for (let i = 0; i < reads.length; i++) add(slots.find(reads.data[i] as number));
    for (let i = 0; i < writes.length; i++) add(slots.find(writes.data[i] as number));
    for (const slot of slots.records) add(slot);
    if (words) for (const slot of slots.words) add(slot);
    return Int32Array.from(out).toSorted();
  }
}
