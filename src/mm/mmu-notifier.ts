// The notifier chain of an mm. The list is an hlist as in the kernel: entries carry their successor, a
// removed entry keeps it (so that an RCU reader that stands on it goes on), the newest is called first.
//
// v3 (20080121125204.GJ6970@v2.random): a rwlock, calls under read_lock, register and unregister under
// write_lock, release calls under the read lock and deletes each entry. Later generations replace the
// lock by SRCU, and add invalidate_range_start/end; `chainLock` says which.

import * as abi from '../../assembly/abi.ts';
import type { Core } from '../core/load.ts';
import { lockNotifier } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import { COUNTER_SLOTS } from '../stats/stats.ts';

/**
 * Callbacks of a secondary MMU. Pages are host virtual page numbers; ranges exclude `end`. All are
 * optional. Plain functions: what an embedder writes. `steps` has the same ops as protocols that can be
 * preempted, for a secondary MMU whose races are to be explored; an op found there is called instead.
 */
export interface MmuNotifierOps {
  /** v2: the mm goes; drop everything. Called once. */
  release?(): void;
  /** v3, v4: make the page old; true (v4) if the secondary MMU knows it was used. */
  agePage?(hvn: number): boolean | void;
  /** v2: the pte was cleared; the page is not free yet. */
  invalidatePage?(hvn: number): void;
  /** v2: the ptes were cleared; 6.x: secondary TLBs are to be flushed, before the pages are freed. */
  invalidateRange?(start: number, end: number): void;
  /** 2.6.27: the ptes of the range will be cleared or write-protected. `event`: MMU_NOTIFY_*. */
  invalidateRangeStart?(start: number, end: number, event: number): void;
  /** 2.6.27: they were. */
  invalidateRangeEnd?(start: number, end: number, event: number): void;
  /** 2.6.27: test and clear young, flush if any was; true if any was. */
  clearFlushYoung?(start: number, end: number): boolean;
  /** 4.3: the same without a flush. */
  clearYoung?(start: number, end: number): boolean;
  /** 2.6.39: test young only. */
  testYoung?(hvn: number): boolean;
  /** 2.6.32 to 6.9: the page of a pte was replaced. */
  changePte?(hvn: number, pte: number): void;
  readonly steps?: MmuNotifierSteps;
}

/** A notifier op as a protocol: s[at + 1] = start or hvn, s[at + 2] = end or pte, s[at + 3] = event. */
export type NotifierStep = (t: Task, at: number) => boolean;

/** The ops of MmuNotifierOps as protocols; the young ops leave 0 or 1 in `t.result`. */
export interface MmuNotifierSteps {
  readonly release?: NotifierStep;
  readonly agePage?: NotifierStep;
  readonly invalidatePage?: NotifierStep;
  readonly invalidateRange?: NotifierStep;
  readonly invalidateRangeStart?: NotifierStep;
  readonly invalidateRangeEnd?: NotifierStep;
  readonly clearFlushYoung?: NotifierStep;
  readonly clearYoung?: NotifierStep;
  readonly testYoung?: NotifierStep;
  readonly changePte?: NotifierStep;
}

/** Numbers of the ops, for call(). */
export const MN_RELEASE = 0;
export const MN_AGE_PAGE = 1;
export const MN_INVALIDATE_PAGE = 2;
export const MN_INVALIDATE_RANGE = 3;
export const MN_INVALIDATE_RANGE_START = 4;
export const MN_INVALIDATE_RANGE_END = 5;
export const MN_CLEAR_FLUSH_YOUNG = 6;
export const MN_CLEAR_YOUNG = 7;
export const MN_TEST_YOUNG = 8;
export const MN_CHANGE_PTE = 9;

const COUNTER_OF_OP = [
  COUNTER_SLOTS.release_calls,
  COUNTER_SLOTS.age_page_calls,
  COUNTER_SLOTS.invalidate_page_calls,
  COUNTER_SLOTS.invalidate_range_calls,
  COUNTER_SLOTS.invalidate_range_calls,
  -1,
  COUNTER_SLOTS.age_page_calls,
  COUNTER_SLOTS.age_page_calls,
  COUNTER_SLOTS.test_young_calls,
  -1,
] as const;

const EVENT_OF_OP = [
  abi.EVENT_MN_RELEASE,
  0,
  0,
  abi.EVENT_MN_INVALIDATE_RANGE,
  abi.EVENT_MN_INVALIDATE_RANGE_START,
  abi.EVENT_MN_INVALIDATE_RANGE_END,
  abi.EVENT_MN_CLEAR_FLUSH_YOUNG,
  abi.EVENT_MN_CLEAR_YOUNG,
  abi.EVENT_MN_TEST_YOUNG,
  abi.EVENT_MN_CHANGE_PTE,
] as const;

const EVENT_RET_OF_OP = [
  0,
  0,
  0,
  0,
  0,
  0,
  abi.EVENT_MN_CLEAR_FLUSH_YOUNG_RET,
  abi.EVENT_MN_CLEAR_YOUNG_RET,
  abi.EVENT_MN_TEST_YOUNG_RET,
  0,
] as const;

/** How the chain is protected. */
export type ChainLock = 'none' | 'rwlock' | 'rcu' | 'srcu';

/** One registration. */
export class NotifierEntry {
  readonly ops: MmuNotifierOps;
  /** Id of the next entry of the list, 0 at its end; kept after removal. */
  next = 0;
  /** True while on the list. */
  listed = true;
  readonly stateFields = ['next', 'listed'] as const;

  constructor(ops: MmuNotifierOps) {
    this.ops = ops;
  }
}

// Locals of call().
const OP = 1;
const START = 2;
const END = 3;
const EVENT = 4;
const CURRENT = 5;
const RESULT = 6;
/** First word of a callee's frame. */
const CALLEE = 8;

/** Words of a frame of call() without its callee's. */
export const NOTIFIER_FRAME = CALLEE;

/** The chain of one mm. */
export class NotifierChain {
  readonly #core: Core;
  readonly #mm: number;
  /** Id of the first entry, 0 when nobody is registered. */
  head = 0;
  /** Every registration ever made; index = id. Replaced, never changed in place. */
  entries: readonly NotifierEntry[] = [new NotifierEntry({})];
  /** Protection of the list. */
  chainLock: ChainLock = 'rwlock';
  readonly stateFields = ['head', 'entries', 'chainLock'] as const;

  constructor(core: Core, mm: number) {
    this.#core = core;
    this.#mm = mm;
  }

  /** Notifiers that are registered now, newest first. */
  registered(): MmuNotifierOps[] {
    const list: MmuNotifierOps[] = [];
    for (let id = this.head; id !== 0; id = this.entry(id).next) list.push(this.entry(id).ops);
    return list;
  }

  /** The registration of an id. */
  entry(id: number): NotifierEntry {
    return this.entries[id] as NotifierEntry;
  }

  /** Adds a notifier at the head of the list; result: its id. */
  register(t: Task, at: number, ops: MmuNotifierOps): boolean {
    switch (t.stack[at]) {
      case 0:
      case 1:
        if (this.chainLock !== 'none' && !t.lock(at, 1, lockNotifier(this.#mm))) return false;
    }
    const entry = new NotifierEntry(ops);
    entry.next = this.head;
    this.entries = [...this.entries, entry];
    this.head = this.entries.length - 1;
    if (this.chainLock !== 'none') t.unlock(lockNotifier(this.#mm));
    return t.done(at, this.head);
  }

  /** Takes a notifier off the list: s[at + 1] = its id. With RCU it waits until no call runs. */
  unregister(t: Task, at: number): boolean {
    const s = t.stack;
    const lock = lockNotifier(this.#mm);
    switch (s[at]) {
      case 0:
      case 1:
        if (this.chainLock !== 'none' && !t.lock(at, 1, lock)) return false;
        this.#unlink(s[at + 1] as number);
        if (this.chainLock !== 'none') t.unlock(lock);
        s[at] = 2;
      case 2:
        if (this.chainLock === 'rcu' || this.chainLock === 'srcu') {
          if (!t.synchronizeRcu(at, 2, lock)) return false;
        }
    }
    return t.done(at, 0);
  }

  #unlink(id: number): void {
    const entry = this.entry(id);
    if (!entry.listed) return;
    entry.listed = false;
    if (this.head === id) {
      this.head = entry.next;
      return;
    }
    for (let at = this.head; at !== 0; at = this.entry(at).next) {
      const before = this.entry(at);
      if (before.next === id) before.next = entry.next;
    }
  }

  /**
   * Calls an op of every notifier: s[at + 1] = MN_*, s[at + 2] = start or hvn, s[at + 3] = end,
   * s[at + 4] = MMU_NOTIFY_* (or the pte of change_pte). Result: the or of what they answered.
   */
  call(t: Task, at: number): boolean {
    const s = t.stack;
    for (;;) {
      switch (s[at]) {
        case 0:
          if (this.head === 0) return t.done(at, 0);
          this.#began(s, at);
          s[at] = 1;
        case 1:
          if (this.chainLock === 'rwlock') {
            if (!t.lockShared(at, 1, lockNotifier(this.#mm))) return false;
          } else {
            t.rcuReadLock(lockNotifier(this.#mm));
          }
          s[at + CURRENT] = this.head;
          s[at + RESULT] = 0;
          s[at] = 2;
        case 2:
          if (s[at + CURRENT] === 0) return this.#ended(t, at);
          if (t.preempt(at, 3, 'mmu_notifier: call the next notifier')) return false;
        case 3:
          this.#prepare(s, at);
          s[at] = 4;
        case 4:
          if (!this.#callOne(t, at, this.entry(s[at + CURRENT] as number).ops)) return false;
          if (t.result !== 0) s[at + RESULT] = 1;
          s[at + CURRENT] = this.entry(s[at + CURRENT] as number).next;
          s[at] = 2;
      }
    }
  }

  /** Calls release of every notifier and takes each off the list (mmu_notifier_release). */
  release(t: Task, at: number): boolean {
    const s = t.stack;
    const lock = lockNotifier(this.#mm);
    for (;;) {
      switch (s[at]) {
        case 0:
        case 1:
          if (this.chainLock === 'rwlock') {
            if (!t.lockShared(at, 1, lock)) return false;
          } else if (this.chainLock !== 'none' && !t.lock(at, 1, lock)) return false;
          s[at] = 2;
        case 2:
          s[at + CURRENT] = this.head;
          if (this.head === 0) {
            if (this.chainLock === 'rwlock') t.unlockShared(lock);
            else if (this.chainLock !== 'none') t.unlock(lock);
            return t.done(at, 0);
          }
          s[at + OP] = MN_RELEASE;
          this.#began(s, at);
          if (t.preempt(at, 3, 'mmu_notifier_release: call release')) return false;
        case 3:
          this.#prepare(s, at);
          s[at] = 4;
        case 4:
          if (!this.#callOne(t, at, this.entry(s[at + CURRENT] as number).ops)) return false;
          this.#unlink(s[at + CURRENT] as number);
          s[at] = 2;
      }
    }
  }

  #began(s: Int32Array, at: number): void {
    const op = s[at + OP] as number;
    const counter = COUNTER_OF_OP[op] as number;
    if (counter >= 0) this.#core.x.statBump(counter, 1);
    if (this.#core.tracing && EVENT_OF_OP[op] !== 0) {
      const start = s[at + START] as number;
      const pages = (s[at + END] as number) - start;
      this.#core.emit(EVENT_OF_OP[op] as number, start, pages, s[at + EVENT] as number, 0);
    }
  }

  #ended(t: Task, at: number): true {
    const s = t.stack;
    if (this.chainLock === 'rwlock') t.unlockShared(lockNotifier(this.#mm));
    else t.rcuReadUnlock(lockNotifier(this.#mm));
    const result = s[at + RESULT] as number;
    const event = EVENT_RET_OF_OP[s[at + OP] as number] as number;
    if (this.#core.tracing && event !== 0) this.#core.emit(event, result, 0, 0, 0);
    return t.done(at, result);
  }

  #prepare(s: Int32Array, at: number): void {
    s[at + CALLEE] = 0;
    s[at + CALLEE + 1] = s[at + START] as number;
    s[at + CALLEE + 2] = s[at + END] as number;
    s[at + CALLEE + 3] = s[at + EVENT] as number;
  }

  #callOne(t: Task, at: number, ops: MmuNotifierOps): boolean {
    const step =
      ops.steps === undefined ? undefined : stepOf(ops.steps, t.stack[at + OP] as number);
    if (step !== undefined) return step.call(ops.steps, t, at + CALLEE);
    t.result = callPlain(ops, t.stack, at) ? 1 : 0;
    return true;
  }
}

function stepOf(steps: MmuNotifierSteps, op: number): NotifierStep | undefined {
  switch (op) {
    case MN_RELEASE:
      return steps.release;
    case MN_AGE_PAGE:
      return steps.agePage;
    case MN_INVALIDATE_PAGE:
      return steps.invalidatePage;
    case MN_INVALIDATE_RANGE:
      return steps.invalidateRange;
    case MN_INVALIDATE_RANGE_START:
      return steps.invalidateRangeStart;
    case MN_INVALIDATE_RANGE_END:
      return steps.invalidateRangeEnd;
    case MN_CLEAR_FLUSH_YOUNG:
      return steps.clearFlushYoung;
    case MN_CLEAR_YOUNG:
      return steps.clearYoung;
    case MN_TEST_YOUNG:
      return steps.testYoung;
    default:
      return steps.changePte;
  }
}

function callPlain(ops: MmuNotifierOps, s: Int32Array, at: number): boolean | void {
  const start = s[at + START] as number;
  const end = s[at + END] as number;
  const event = s[at + EVENT] as number;
  switch (s[at + OP]) {
    case MN_RELEASE:
      return ops.release?.();
    case MN_AGE_PAGE:
      return ops.agePage?.(start);
    case MN_INVALIDATE_PAGE:
      return ops.invalidatePage?.(start);
    case MN_INVALIDATE_RANGE:
      return ops.invalidateRange?.(start, end);
    case MN_INVALIDATE_RANGE_START:
      return ops.invalidateRangeStart?.(start, end, event);
    case MN_INVALIDATE_RANGE_END:
      return ops.invalidateRangeEnd?.(start, end, event);
    case MN_CLEAR_FLUSH_YOUNG:
      return ops.clearFlushYoung?.(start, end);
    case MN_CLEAR_YOUNG:
      return ops.clearYoung?.(start, end);
    case MN_TEST_YOUNG:
      return ops.testYoung?.(start);
    default:
      return ops.changePte?.(start, event);
  }
}
