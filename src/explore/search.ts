// Exhaustive search: breadth first over the graph of states, with sleep sets.
//
// Breadth first, so that the first schedule that violates a property is a shortest one. How states are
// kept and made current again is in states.ts.
//
// Reduction: sleep sets with state matching (Godefroid, Partial-Order Methods for the Verification
// of Concurrent Systems, LNCS 1032, 1996, chapter 5, figure 5.2). From a state, an actor whose step
// was already explored from there sleeps in the states that the later actors' steps lead to, for as
// long as every step taken is independent of its own. A state that is reached again with fewer
// actors asleep wakes the difference. Sleep sets remove transitions, never states: every reachable
// state is visited, at its depth, and every property of a state is tested. A step that is not taken
// because its actor sleeps would run the same code on the same values as one that was, so what a
// step itself reports is not lost either.

import { IntList, mixHigh, mixLow } from './cells.ts';
import { Effects, NO_CHANGE } from './effects.ts';
import type { Effect } from './memo.ts';
import { States } from './states.ts';
import { STEP_CRASHED, STEP_DISABLED } from './system.ts';
import type { System } from './system.ts';

/** Options of a search. */
export interface SearchOptions {
  /** False: every enabled actor in every state. @default true */
  readonly reduction?: boolean;
  /** Schedules with at most this many preemptions; undefined: all. Turns the reduction off. */
  readonly preemptions?: number | undefined;
  /** Bytes that the search may use for its states. @default 1 GiB */
  readonly memory?: number;
  /** States to visit at most. @default unlimited */
  readonly maxStates?: number;
  /** Ends the search with the first violation. @default false */
  readonly stopAtFirst?: boolean;
  /** Called every few ten thousand transitions; true ends the search. */
  readonly progress?: (soFar: SearchProgress) => boolean | void;
}

/** Where a running search is. */
export interface SearchProgress {
  readonly states: number;
  readonly transitions: number;
  readonly depth: number;
  readonly queued: number;
}

/** One violated property with a shortest schedule that violates it. */
export interface Violation {
  readonly property: string;
  readonly detail: string;
  /** Actor of each step. */
  readonly schedule: readonly number[];
}

/** Outcome of a search. */
export interface SearchResult extends SearchProgress {
  /** True if every reachable state was visited (within the preemption bound). */
  readonly exhausted: boolean;
  /** Why not, else null. */
  readonly stopped: 'memory' | 'states' | 'first' | 'caller' | null;
  /** States in which every actor had ended. */
  readonly endStates: number;
  /** Transitions that the sleep sets saved. */
  readonly slept: number;
  readonly footprints: number;
  readonly bytes: number;
  readonly violations: readonly Violation[];
}

/** Property of a state in which nothing can move but somebody has not ended. */
export const DEADLOCK = 'deadlock';
/** Property that no step throws. */
export const CRASH = 'kernel_bug';

const DEFAULT_MEMORY = 1 << 30;
const PROGRESS_EVERY = 16384;
const VERIFY_EVERY = 1 << 18;

/** Explores a system from its current state, which is set again at the end. */
export function search(system: System, options: SearchOptions = {}): SearchResult {
  return new Search(system, options).run();
}

class Search {
  readonly #system: System;
  readonly #options: SearchOptions;
  readonly #actors: number;
  readonly #reduce: boolean;
  readonly #bound: number;

  readonly #states: States;
  readonly #effects: Effects;
  /** For each state the actors that sleep in it, and where the footprints of their steps lie. */
  readonly #asleep = new IntList();
  readonly #sleepers = new IntList();
  /** For each state with sleepers, the footprint of each actor's next step. */
  readonly #sleepData = new IntList();
  /** 1 once a state was expanded. */
  #expanded = new Uint8Array(1 << 12);

  readonly #steps: number[];
  /** Pairs (state, actors woken) to be expanded again. */
  readonly #woken: number[] = [];
  #transitions = 0;
  #slept = 0;
  #endStates = 0;
  #reached = 0;
  readonly #violations: Violation[] = [];
  readonly #violated = new Set<string>();
  #stopped: SearchResult['stopped'] = null;

  constructor(system: System, options: SearchOptions) {
    this.#system = system;
    this.#options = options;
    this.#actors = system.actors.length;
    this.#bound = options.preemptions ?? -1;
    this.#reduce = (options.reduction ?? true) && this.#bound < 0;
    this.#states = new States(system, this.#bound >= 0);
    this.#effects = new Effects(system, this.#states);
    this.#steps = Array.from({ length: this.#actors }, () => -1);
  }

  run(): SearchResult {
    this.#addState(-1, -1, 0, 0, 0, 0, NO_CHANGE);
    this.#testState(0);
    let next = 0;
    while (this.#stopped === null && (next < this.#states.count || this.#woken.length > 0)) {
      if (this.#woken.length > 0) {
        const mask = this.#woken.pop() as number;
        const state = this.#woken.pop() as number;
        this.#expand(state, mask);
        continue;
      }
      this.#states.rows.expanded = next;
      this.#expand(next, -1);
      next++;
      if (next % VERIFY_EVERY === 0) this.#verify();
      if (next % 256 === 0) this.#limits(next);
    }
    this.#verify();
    return {
      states: this.#states.count,
      transitions: this.#transitions,
      depth: this.#reached,
      queued: this.#states.count - next,
      exhausted: this.#stopped === null,
      stopped: this.#stopped,
      endStates: this.#endStates,
      slept: this.#slept,
      footprints: this.#system.footprints.count,
      bytes: this.#bytes(),
      violations: this.#violations,
    };
  }

  /** Steps the actors of `mask` (-1: all) that are not asleep from a state. */
  #expand(state: number, mask: number): void {
    this.#expanded[state] = 1;
    let sleeping = this.#asleep.data[state] as number;
    const sleepAt = this.#sleepers.data[state] as number;
    const steps = this.#steps;
    for (let a = 0; a < this.#actors; a++) {
      steps[a] = ((sleeping >>> a) & 1) === 1 ? (this.#sleepData.data[sleepAt + a] as number) : -1;
    }
    // Actors woken later run with those asleep that slept here or were explored from here before.
    if (mask !== -1) sleeping = this.#asleep.data[state] as number;
    let moved = sleeping !== 0;
    for (let a = 0; a < this.#actors; a++) {
      if (((mask >>> a) & 1) === 0) continue;
      if (((sleeping >>> a) & 1) === 1) {
        this.#slept++;
        continue;
      }
      if (this.#stopped !== null) return;
      const footprint = this.#take(state, a, sleeping);
      if (footprint < 0) continue;
      moved = true;
      if (this.#reduce) {
        steps[a] = footprint;
        sleeping |= 1 << a;
      }
    }
    if (!moved && mask === -1) this.#testEnd(state);
  }

  /** One step of an actor from a state; -1 if it cannot move, else its footprint. */
  #take(state: number, actor: number, sleeping: number): number {
    if (this.#exceedsBound(state, actor)) return -1;
    const effect = this.#effects.step(state, actor);
    if (effect.outcome === STEP_DISABLED) return -1;
    this.#transitions++;
    if (this.#transitions % PROGRESS_EVERY === 0) this.#report();
    if (effect.outcome === STEP_CRASHED) this.#violate(CRASH, effect.crash, state, actor);
    for (let i = 0; i < effect.found.length; i++) {
      const { property, detail } = effect.found[i] as Effect['found'][number];
      this.#violate(property, detail, state, actor);
    }
    const { footprint } = effect;
    let asleep = 0;
    if (sleeping !== 0) {
      const { footprints } = this.#system;
      for (let b = 0; b < this.#actors; b++) {
        if (((sleeping >>> b) & 1) === 0) continue;
        if (!footprints.conflict(this.#steps[b] as number, footprint)) asleep |= 1 << b;
      }
    }
    if (effect.outcome !== STEP_CRASHED) this.#arrive(state, actor, effect, asleep);
    return footprint;
  }

  #arrive(from: number, actor: number, effect: Effect, asleep: number): void {
    const states = this.#states;
    const low = ((states.low.data[from] as number) + effect.low) | 0;
    const high = ((states.high.data[from] as number) + effect.high) | 0;
    const preempted = this.#bound < 0 ? 0 : this.#preemptionsAfter(from, actor);
    const known = states.find(low, high, preempted, actor);
    if (known < 0) {
      const { changes } = effect;
      this.#testState(this.#addState(from, actor, low, high, asleep, preempted, changes));
      return;
    }
    const before = this.#asleep.data[known] as number;
    const wake = before & ~asleep;
    if (wake === 0) return;
    this.#asleep.data[known] = before & asleep;
    if (this.#expanded[known] === 1) this.#woken.push(known, wake);
  }

  #addState(
    parent: number,
    actor: number,
    low: number,
    high: number,
    asleep: number,
    preempted: number,
    changes: Int32Array,
  ): number {
    const state = this.#states.add(parent, actor, low, high, preempted, changes);
    const depth = this.#states.depth.data[state] as number;
    if (depth > this.#reached) this.#reached = depth;
    this.#asleep.push(asleep);
    this.#sleepers.push(this.#sleepData.length);
    if (asleep !== 0) {
      for (let b = 0; b < this.#actors; b++) this.#sleepData.push(this.#steps[b] as number);
    }
    if (state >= this.#expanded.length) {
      const bigger = new Uint8Array(this.#expanded.length * 2);
      bigger.set(this.#expanded);
      this.#expanded = bigger;
    }
    return state;
  }

  #exceedsBound(state: number, actor: number): boolean {
    return this.#bound >= 0 && this.#preemptionsAfter(state, actor) > this.#bound;
  }

  /** Preemptions so far, with this step: switches away from an actor that could have gone on. */
  #preemptionsAfter(state: number, actor: number): number {
    const last = this.#states.actor.data[state] as number;
    const before = this.#states.preempted.data[state] as number;
    const preempts = last >= 0 && last !== actor && this.#couldGoOn(state, last);
    return preempts ? before + 1 : before;
  }

  #couldGoOn(state: number, actor: number): boolean {
    this.#effects.enter(state);
    return this.#system.mayMove(actor);
  }

  #testState(state: number): void {
    const found = this.#effects.test(state, false);
    for (let i = 0; i < found.length; i++) {
      const { property, detail } = found[i] as Effect['found'][number];
      this.#violateAt(property, detail, state);
    }
  }

  #testEnd(state: number): void {
    const stuck = this.#system.actors.filter(
      (actor, a) => actor.daemon !== true && !this.#effects.finished(state, a),
    );
    if (stuck.length > 0) {
      // Under a preemption bound the last actor may only have been kept from going on.
      for (let a = 0; a < this.#actors; a++) {
        if (this.#effects.step(state, a).outcome !== STEP_DISABLED) return;
      }
      const names = stuck.map((actor) => actor.name).join(', ');
      return this.#violateAt(DEADLOCK, `no actor can move; waiting: ${names}`, state);
    }
    this.#endStates++;
    const found = this.#effects.test(state, true);
    for (let i = 0; i < found.length; i++) {
      const { property, detail } = found[i] as Effect['found'][number];
      this.#violateAt(property, detail, state);
    }
  }

  #violate(property: string, detail: string, state: number, actor: number): void {
    if (this.#violated.has(property)) return;
    this.#violated.add(property);
    this.#violations.push({
      property,
      detail,
      schedule: [...this.#states.scheduleTo(state), actor],
    });
    if (this.#options.stopAtFirst === true) this.#stopped = 'first';
  }

  #violateAt(property: string, detail: string, state: number): void {
    if (this.#violated.has(property)) return;
    this.#violated.add(property);
    this.#violations.push({ property, detail, schedule: this.#states.scheduleTo(state) });
    if (this.#options.stopAtFirst === true) this.#stopped = 'first';
  }

  #limits(next: number): void {
    if (this.#bytes() > (this.#options.memory ?? DEFAULT_MEMORY)) this.#stopped = 'memory';
    const { maxStates } = this.#options;
    if (maxStates !== undefined && next >= maxStates) this.#stopped = 'states';
  }

  #report(): void {
    const stop = this.#options.progress?.({
      states: this.#states.count,
      transitions: this.#transitions,
      depth: this.#reached,
      queued: 0,
    });
    if (stop === true) this.#stopped = 'caller';
  }

  #bytes(): number {
    const own = this.#asleep.bytes + this.#sleepers.bytes + this.#sleepData.bytes;
    const shared = this.#states.bytes + this.#system.footprints.bytes + this.#effects.bytes;
    return own + shared + this.#expanded.byteLength;
  }

  #verify(): void {
    this.#effects.enter(0);
    this.#system.verify();
  }
}

/** Mixes a number into a hash for reports: a digest of a set of hashes that ignores their order. */
export function digest(low: number, high: number): number {
  return (mixLow(low, high) >>> 0) + (mixHigh(low, high) & 0x1fffff) * 4294967296;
}
