// An explored system: actors over one shared state, stepped one preemption point at a time. Each
// step leaves a journal, by which it can be undone, hashed and compared with other actors' steps.

import type { Core } from '../core/load.ts';
import { COUNTERS } from '../stats/counters.ts';
import { BLOCKED_ON_NOTHING, FRAME_WORDS, Task } from '../sched/task.ts';
import type { Protocol } from '../sched/task.ts';
import {
  Journal,
  LOCK_CELL,
  mixHigh,
  mixLow,
  RECORD_CELL,
  TASK_CELL,
  TASK_CELLS,
  TASK_STATUS,
  WORDS_CELL,
} from './cells.ts';
import { Footprints } from './footprint.ts';
import type { FootprintId } from './footprint.ts';
import { ExploredLocks } from './locks.ts';
import { TrackedMemory } from './memory.ts';
import { Records } from './records.ts';
import type { StateObject } from './records.ts';
import { SharedWords } from './words.ts';

/** One thread of control of a scenario. */
export interface Actor {
  /** Short name, e.g. `vcpu0` or `kswapd`. */
  readonly name: string;
  /** Root protocol, started in frame 0 with its arguments in `args`. */
  readonly run: Protocol;
  /** What its first step does, in the kernel's words. @default 'start' */
  readonly begins?: string;
  /** Words written to the frame from offset 1 on before the start. */
  readonly args?: readonly number[];
  /** A daemon may be left blocked at the end without that being a deadlock. */
  readonly daemon?: boolean;
}

/** What must hold. */
export interface Property {
  readonly name: string;
  /** One line on what it promises. */
  readonly says: string;
  /** Tested in every state: null, or what is wrong. */
  readonly state?: () => string | null;
  /** Tested when every actor has ended: null, or what is wrong. */
  readonly end?: () => string | null;
}

/** A scenario that is ready to run: everything in its initial state. */
export interface SystemDefinition {
  readonly actors: readonly Actor[];
  readonly properties: readonly Property[];
  /** The core under the actors, made with loadCore('explore'); none for pure TypeScript actors. */
  readonly core?: Core;
  /** Shared words of actors written in TypeScript alone. */
  readonly words?: SharedWords;
  /** JavaScript objects whose fields protocols assign. */
  readonly records?: readonly StateObject[];
  /** Word ranges of linear memory that are no part of the state (statistics, time stamps). */
  readonly ignore?: readonly { readonly first: number; readonly end: number }[];
  /** Told of every exclusive lock that is taken or released, as a part of the actor's step. */
  readonly lockChanged?: (lock: number, held: boolean) => void;
  /** Violations that actors report while they run go here; see ViolationSink. */
  readonly sink?: ViolationSink;
}

/** Collects violations that an actor's own step finds (a use after free, a stale access). */
export class ViolationSink {
  readonly found: { property: string; detail: string }[] = [];

  report(property: string, detail: string): void {
    this.found.push({ property, detail });
  }
}

/** Status words of a task, kept beside its stack. */
const FINISHED = 0;
const BLOCKED = 1;
const SHARED = 2;
const KILLABLE = 3;
const STATUS_WORDS = 4;

/** True if what System.local() gave is of an actor that has ended. */
export function isFinished(local: Int32Array): boolean {
  return local[FINISHED] === 1;
}

/** Result of a step. */
export const STEP_MOVED = 0;
/** The actor cannot move in this state; nothing changed. */
export const STEP_DISABLED = 1;
/** The step threw: the machine is broken beyond this point. */
export const STEP_CRASHED = 2;

/** A system under exploration, in its current state. */
export class System {
  readonly definition: SystemDefinition;
  readonly actors: readonly Actor[];
  readonly tasks: readonly Task[];
  readonly locks: ExploredLocks;
  readonly footprints = new Footprints();
  readonly journal = new Journal();
  readonly sink: ViolationSink;
  readonly #memory: TrackedMemory | null;
  readonly #records: Records;
  readonly #words: SharedWords;
  /** finished, blockedOn, blockedShared, blockedKillable of each task. */
  readonly #status: Int32Array;
  /** Each task's stack as the current state has it: what a step is compared with. */
  readonly #stacks: readonly Int32Array[];
  /** Words of each task's stack beyond which all are 0. */
  readonly #used: Int32Array;
  /** Message of the exception of a step that crashed. */
  crash = '';

  constructor(definition: SystemDefinition) {
    this.definition = definition;
    this.actors = definition.actors;
    this.sink = definition.sink ?? new ViolationSink();
    this.locks = new ExploredLocks(this.actors.length, definition.lockChanged);
    this.#status = new Int32Array(this.actors.length * STATUS_WORDS);
    this.#used = new Int32Array(this.actors.length).fill(FRAME_WORDS);
    this.#stacks = this.actors.map(() => new Int32Array(TASK_STATUS));
    this.tasks = this.actors.map((actor, id) => {
      const task = new Task(id);
      task.preemptive = true;
      task.locks = this.locks;
      task.where = actor.begins ?? 'start';
      (actor.args ?? []).forEach((word, i) => (task.stack[1 + i] = word));
      (this.#stacks[id] as Int32Array).set(task.stack);
      this.#status[id * STATUS_WORDS + BLOCKED] = BLOCKED_ON_NOTHING;
      return task;
    });
    this.#records = new Records(definition.records ?? []);
    this.#words = definition.words ?? new SharedWords(0);
    this.#memory = definition.core ? new TrackedMemory(definition.core, COUNTERS.length * 8) : null;
    for (const { first, end } of definition.ignore ?? []) this.#memory?.ignore(first, end);
    this.#memory?.start();
  }

  finished(actor: number): boolean {
    return this.#status[actor * STATUS_WORDS + FINISHED] === 1;
  }

  /** True if the actor has not ended and waits for no lock that it cannot have. */
  mayMove(actor: number): boolean {
    if (this.#status[actor * STATUS_WORDS + FINISHED] === 1) return false;
    const task = this.tasks[actor] as Task;
    if (task.blockedOn < 0) return true;
    return this.locks.available(task);
  }

  /** Runs one actor to its next preemption point. The journal then holds what it did. */
  step(actor: number): number {
    const { journal } = this;
    journal.clear();
    this.locks.clearJournal();
    if (!this.mayMove(actor)) {
      this.locks.collect(journal);
      return STEP_DISABLED;
    }
    const task = this.tasks[actor] as Task;
    const status = actor * STATUS_WORDS;
    task.top = this.#used[actor] as number;
    this.#memory?.begin();
    this.#words.begin();
    task.fresh = true;
    task.result = 0;
    task.blockedOn = BLOCKED_ON_NOTHING;
    let ended = false;
    let crashed = false;
    try {
      ended = (this.actors[actor] as Actor).run(task, 0);
    } catch (error) {
      crashed = true;
      this.crash = error instanceof Error ? error.message : String(error);
    }
    if (ended) task.blockedOn = BLOCKED_ON_NOTHING;
    this.#collect(actor, task);
    const blocked = task.blockedOn !== BLOCKED_ON_NOTHING;
    if (journal.count === 0 && blocked && !crashed) {
      // It only tried; to have tried is no part of the state.
      task.blockedOn = this.#status[status + BLOCKED] as number;
      task.blockedShared = this.#status[status + SHARED] === 1;
      task.blockedKillable = this.#status[status + KILLABLE] === 1;
      return STEP_DISABLED;
    }
    const base = TASK_CELL + actor * TASK_CELLS + TASK_STATUS;
    this.#setStatus(base, status, FINISHED, ended ? 1 : 0);
    this.#setStatus(base, status, BLOCKED, task.blockedOn);
    this.#setStatus(base, status, SHARED, task.blockedShared ? 1 : 0);
    this.#setStatus(base, status, KILLABLE, task.blockedKillable ? 1 : 0);
    return crashed ? STEP_CRASHED : STEP_MOVED;
  }

  /** The footprint of the last step. */
  footprint(): FootprintId {
    return this.footprints.intern(this.journal);
  }

  /** Undoes the last step. */
  undo(): void {
    const { changes, count } = this.journal;
    for (let i = 0; i < count * 3; i += 3) this.set(changes[i] as number, changes[i + 1] as number);
  }

  /** Sets a cell. */
  set(cell: number, value: number): void {
    if (cell < WORDS_CELL) (this.#memory as TrackedMemory).core.mem.u32[cell] = value;
    else this.#setHost(cell, value);
  }

  /** Throws if something that is not tracked differs from the initial state, which must be set. */
  verify(): void {
    const field = this.#records.corrupted();
    if (field !== null) {
      throw new Error(`${field} was changed in place: explored records must be replaced`);
    }
    const word = this.#memory?.escaped() ?? -1;
    if (word >= 0) {
      throw new Error(
        `word 0x${(word * 4).toString(16)} was stored past the journal: write it through ` +
          `CoreMemory.store32(), not through a raw view`,
      );
    }
  }

  /** Gives the core back. */
  close(): void {
    this.#memory?.stop();
  }

  #collect(actor: number, task: Task): void {
    const { journal, locks } = this;
    this.#memory?.collect(journal);
    this.#words.collect(journal);
    const base = TASK_CELL + actor * TASK_CELLS;
    const before = this.#stacks[actor] as Int32Array;
    const { stack } = task;
    const end = Math.min(
      TASK_STATUS,
      Math.max(this.#used[actor] as number, task.top + FRAME_WORDS),
    );
    let used = 0;
    for (let i = 0; i < end; i++) {
      const value = stack[i] as number;
      const old = before[i] as number;
      if (value !== 0) used = i + 1;
      if (value === old) continue;
      before[i] = value;
      journal.change(base + i, old, value);
    }
    this.#used[actor] = used;
    if (this.#records.collect(journal)) journal.wroteRecords = true;
    locks.collect(journal);
  }

  /** Runs a test of the current state; the journal then holds what it read. */
  watch(test: () => void): void {
    const { journal } = this;
    journal.clear();
    this.locks.clearJournal();
    this.#memory?.begin();
    this.#words.begin();
    test();
    this.#memory?.collect(journal);
    this.#words.collect(journal);
  }

  /** An actor's own cells: its status, then its stack as far as it is in use. */
  local(actor: number): Int32Array {
    const stack = this.#stacks[actor] as Int32Array;
    let used = this.#used[actor] as number;
    while (used > 0 && stack[used - 1] === 0) used--;
    const words = new Int32Array(STATUS_WORDS + used);
    const status = actor * STATUS_WORDS;
    words.set(this.#status.subarray(status, status + STATUS_WORDS));
    words.set(stack.subarray(0, used), STATUS_WORDS);
    return words;
  }

  /** Puts back what local() gave. */
  setLocal(actor: number, words: Int32Array): void {
    const base = TASK_CELL + actor * TASK_CELLS;
    for (let i = 0; i < STATUS_WORDS; i++) {
      this.#setHost(base + TASK_STATUS + i, words[i] as number);
    }
    const used = words.length - STATUS_WORDS;
    const task = this.tasks[actor] as Task;
    const before = this.#stacks[actor] as Int32Array;
    const end = Math.max(used, this.#used[actor] as number);
    for (let i = 0; i < end; i++) {
      const value = i < used ? (words[STATUS_WORDS + i] as number) : 0;
      task.stack[i] = value;
      before[i] = value;
    }
    this.#used[actor] = used;
  }

  #setStatus(base: number, status: number, which: number, value: number): void {
    const old = this.#status[status + which] as number;
    if (old === value) return;
    this.#status[status + which] = value;
    this.journal.change(base + which, old, value);
  }

  #setHost(cell: number, value: number): void {
    if (cell < TASK_CELL) {
      this.#words.cells[cell - WORDS_CELL] = value;
    } else if (cell < LOCK_CELL) {
      const index = cell - TASK_CELL;
      const actor = (index / TASK_CELLS) | 0;
      const at = index - actor * TASK_CELLS;
      const task = this.tasks[actor] as Task;
      if (at < TASK_STATUS) {
        task.stack[at] = value;
        (this.#stacks[actor] as Int32Array)[at] = value;
        if (value !== 0 && at >= (this.#used[actor] as number)) this.#used[actor] = at + 1;
        return;
      }
      this.#status[actor * STATUS_WORDS + at - TASK_STATUS] = value;
      if (at - TASK_STATUS === BLOCKED) task.blockedOn = value;
      else if (at - TASK_STATUS === SHARED) task.blockedShared = value === 1;
      else if (at - TASK_STATUS === KILLABLE) task.blockedKillable = value === 1;
    } else if (cell < RECORD_CELL) {
      this.locks.cells[cell - LOCK_CELL] = value;
    } else {
      this.#records.assign(cell - RECORD_CELL, value);
    }
  }
}

/** Low and high word of the change of a state's hash that a journal makes. */
export function hashChange(journal: Journal, out: Int32Array): void {
  let low = 0;
  let high = 0;
  const { changes, count } = journal;
  for (let i = 0; i < count * 3; i += 3) {
    const cell = changes[i] as number;
    const old = changes[i + 1] as number;
    const now = changes[i + 2] as number;
    low = (low + mixLow(cell, now) - mixLow(cell, old)) | 0;
    high = (high + mixHigh(cell, now) - mixHigh(cell, old)) | 0;
  }
  out[0] = low;
  out[1] = high;
}
