// The explored machine's locks: spinlocks, mutexes, reader-writer locks, RCU and SRCU domains. A
// task that cannot have a lock is not enabled, so blocked actors really block and deadlocks show.
//
// One lock is 1 + tasks cells: the owner (task + 1), then for each task its count of shared holds or
// of nested read sections. Readers touch only their own cell, so that two readers commute. Each task
// also has two cells for a grace period that it waits for: the domain + 1, and the readers (a bit
// each) that were inside when it began and have not left since; and one for a fatal signal.

import { LOCK_CELL } from './cells.ts';
import { IntList } from './cells.ts';
import type { Journal } from './cells.ts';
import type { LockTable, Task } from '../sched/task.ts';

/** Locks that one scenario can use. */
const MAX_LOCKS = 256;

/** Lock table of an explored machine. Tasks are numbered from 0. */
export class ExploredLocks implements LockTable {
  readonly cells: Int32Array;
  /** Cells read and written since the journal was last cleared, each once; olds of the writes. */
  readonly reads = new IntList(64);
  readonly writes = new IntList(64);
  readonly olds = new IntList(64);
  readonly #tasks: number;
  readonly #stride: number;
  /** Step in which a cell was last read or written. */
  readonly #readAt: Int32Array;
  readonly #writtenAt: Int32Array;
  #epoch = 1;
  /** Lock id to the number of its cells' group. */
  readonly #index = new Map<number, number>();
  readonly #domains = new Set<number>();

  /** Told of every exclusive lock that is taken or released. */
  readonly #changed: ((lock: number, held: boolean) => void) | undefined;

  constructor(tasks: number, changed?: (lock: number, held: boolean) => void) {
    this.#tasks = tasks;
    this.#changed = changed;
    this.#stride = 1 + tasks;
    this.cells = new Int32Array(3 * tasks + MAX_LOCKS * this.#stride);
    this.#readAt = new Int32Array(this.cells.length);
    this.#writtenAt = new Int32Array(this.cells.length);
  }

  acquire(task: Task, lock: number): boolean {
    const at = this.#at(lock);
    for (let i = 0; i < this.#stride; i++) if (this.#read(at + i) !== 0) return false;
    this.#write(at, task.id + 1);
    this.#changed?.(lock, true);
    return true;
  }

  release(task: Task, lock: number): void {
    const at = this.#at(lock);
    if (this.#read(at) !== task.id + 1) throw new Error(`${task.where}: releases a lock not held`);
    this.#write(at, 0);
    this.#changed?.(lock, false);
  }

  acquireShared(task: Task, lock: number): boolean {
    const at = this.#at(lock);
    if (this.#read(at) !== 0) return false;
    this.#add(at + 1 + task.id, 1);
    return true;
  }

  releaseShared(task: Task, lock: number): void {
    const cell = this.#at(lock) + 1 + task.id;
    if (this.#read(cell) === 0) throw new Error(`${task.where}: releases a lock not held`);
    this.#add(cell, -1);
  }

  rcuReadLock(task: Task, domain: number): void {
    this.#domains.add(domain);
    this.#add(this.#at(domain) + 1 + task.id, 1);
  }

  rcuReadUnlock(task: Task, domain: number): void {
    const at = this.#at(domain);
    const cell = at + 1 + task.id;
    if (this.#read(cell) === 0) throw new Error(`${task.where}: leaves no RCU read section`);
    this.#add(cell, -1);
    if (this.#read(cell) !== 0) return;
    for (let waiter = 0; waiter < this.#tasks; waiter++) {
      if (this.#read(2 * waiter) !== domain + 1) continue;
      this.#write(2 * waiter + 1, this.#read(2 * waiter + 1) & ~(1 << task.id));
    }
  }

  gracePeriod(task: Task, domain: number): boolean {
    this.#domains.add(domain);
    const wait = 2 * task.id;
    if (this.#read(wait) === 0) {
      const at = this.#at(domain);
      let inside = 0;
      for (let i = 0; i < this.#tasks; i++) if (this.#read(at + 1 + i) !== 0) inside |= 1 << i;
      if (inside === 0) return true;
      this.#write(wait, domain + 1);
      this.#write(wait + 1, inside);
      return false;
    }
    if (this.#read(wait + 1) !== 0) return false;
    this.#write(wait, 0);
    return true;
  }

  /** A fatal signal is sent to a task. */
  signal(task: number): void {
    this.#write(2 * this.#tasks + task, 1);
  }

  signalPending(task: Task): boolean {
    return this.#read(2 * this.#tasks + task.id) !== 0;
  }

  /** True if the task, blocked on a lock or a grace period, could proceed now. */
  available(task: Task): boolean {
    const lock = task.blockedOn;
    const wait = 2 * task.id;
    if (task.blockedKillable && this.#read(2 * this.#tasks + task.id) !== 0) return true;
    if (this.#read(wait) !== 0) return this.#read(wait + 1) === 0;
    if (this.#domains.has(lock)) return true;
    const at = this.#at(lock);
    if (this.#read(at) !== 0) return false;
    if (task.blockedShared) return true;
    for (let i = 1; i < this.#stride; i++) if (this.#read(at + i) !== 0) return false;
    return true;
  }

  /** True if the task holds the lock, shared or not, or is in a read section of the domain. */
  holds(task: number, lock: number): boolean {
    const at = this.#at(lock);
    return this.#read(at) === task + 1 || this.#read(at + 1 + task) !== 0;
  }

  /** Ids of the locks and domains that a task holds. */
  held(task: number): number[] {
    return [...this.#index.keys()].filter((lock) => this.holds(task, lock));
  }

  /** Appends what the step did to the journal. */
  collect(journal: Journal): void {
    for (let i = 0; i < this.writes.length; i++) {
      const cell = this.writes.data[i] as number;
      journal.writes.push(cell);
      const old = this.olds.data[i] as number;
      const value = this.cells[cell - LOCK_CELL] as number;
      if (value !== old) journal.change(cell, old, value);
    }
    for (let i = 0; i < this.reads.length; i++) journal.reads.push(this.reads.data[i] as number);
  }

  clearJournal(): void {
    this.#epoch++;
    this.reads.length = 0;
    this.writes.length = 0;
    this.olds.length = 0;
  }

  #at(lock: number): number {
    let index = this.#index.get(lock);
    if (index === undefined) {
      index = this.#index.size;
      if (index >= MAX_LOCKS) throw new Error(`more than ${MAX_LOCKS} locks in one scenario`);
      this.#index.set(lock, index);
    }
    return 3 * this.#tasks + index * this.#stride;
  }

  #read(cell: number): number {
    if (this.#readAt[cell] !== this.#epoch) {
      this.#readAt[cell] = this.#epoch;
      this.reads.push(LOCK_CELL + cell);
    }
    return this.cells[cell] as number;
  }

  #write(cell: number, value: number): void {
    if (this.#writtenAt[cell] !== this.#epoch) {
      this.#writtenAt[cell] = this.#epoch;
      this.writes.push(LOCK_CELL + cell);
      this.olds.push(this.cells[cell] as number);
    }
    this.cells[cell] = value;
  }

  #add(cell: number, by: number): void {
    this.#write(cell, (this.cells[cell] as number) + by);
  }
}
