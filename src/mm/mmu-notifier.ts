// The notifier chain of an mm: the protocols that change its list (notifier-list.ts) and that call the
// ops of those on it.
//
// Three fields say which generation's chain it is:
//  - `chainLock`: v2 had no lock of its own; v3 a rwlock, with calls under read_lock and changes under
//    write_lock (20080121125204.GJ6970@v2.random); the review (1201030127.6341.39.camel@lappy) and
//    2.6.27 a spinlock for changes and RCU for calls; 3.7 SRCU, so that ops may sleep (21a92735f660).
//  - `freeing`: what the owner of a notifier may do when unregister returns. Under a rwlock no call can
//    be under way any more. Under RCU one can: wait for a grace period (Andrea,
//    20080122203125.GC15848@v2.random), or keep the memory type-safe (Hugh Dickins,
//    Pine.LNX.4.64.0801222207080.27378@blonde.site), which is right only if a reader locks the entry and
//    checks again that it still is what it was.
//  - `releaseOrder`: v3 deletes an entry after its release op, 2.6.27 before it, which lets reclaim free
//    a page that is still mapped in between (fixed in 3.6, 3ad3d901bbcf, and again in 3.10,
//    d34883d4e35c): all ops first, then all deletions.

import { EVENT_MN_INVALIDATE_SECONDARY_TLBS, HPAGE_PMD_NR, HVN_LIMIT } from '../../assembly/abi.ts';
import type { Core } from '../core/load.ts';
import {
  LOCK_RCU,
  lockEntry,
  lockMmap,
  lockNotifier,
  lockRmap,
  srcuNotifier,
} from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import { type NotifierEntry, NotifierList } from './notifier-list.ts';
import {
  callPlain,
  callStep,
  COUNTER_OF_OP,
  EVENT_OF_OP,
  EVENT_RET_OF_OP,
  FLUSH_HUGE,
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_RELEASE,
  OP_NAMES,
} from './notifier-ops.ts';
import type { MmuNotifierOps } from './notifier-ops.ts';

export {
  MN_AGE_PAGE,
  MN_CHANGE_PTE,
  MN_CLEAR_FLUSH_YOUNG,
  MN_CLEAR_YOUNG,
  MN_INVALIDATE_PAGE,
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_ONLY_END,
  MN_INVALIDATE_RANGE_START,
  MN_RELEASE,
  MN_TEST_YOUNG,
} from './notifier-ops.ts';
export type { MmuNotifierOps, MmuNotifierSteps, NotifierStep } from './notifier-ops.ts';

/** How the chain is protected. */
export type ChainLock = 'none' | 'rwlock' | 'rcu' | 'srcu';

/** What unregister waits for before the owner may free the notifier. */
export type ChainFreeing = 'at-once' | 'grace-period' | 'type-safe' | 'type-safe-recheck';

/** Order of an entry's release op and its deletion when the mm goes. */
export type ReleaseOrder = 'call-delete' | 'delete-call' | 'call-all-delete-all';

/** What a preempted call says; made once, since calls are frequent. */
const CALL_NAMES = OP_NAMES.map((name) => `mmu_notifier: call ${name}`);

// Locals of call().
const OP = 1;
const START = 2;
const END = 3;
const EVENT = 4;
const CURRENT = 5;
const RESULT = 6;
/** The op that is called next. */
const SUB = 7;
/** First word of a callee's frame. */
const CALLEE = 8;

/** Most entries that are flushed one by one (tlb_single_page_flush_ceiling of x86). */
const FLUSH_CEILING = 33;

/** A flush of more pages is one of the whole address space (flush_tlb_mm_range). */
function widen(s: Int32Array, at: number): void {
  const stride = s[at + EVENT] === FLUSH_HUGE ? HPAGE_PMD_NR : 1;
  if ((s[at + END] as number) - (s[at + START] as number) <= FLUSH_CEILING * stride) return;
  s[at + START] = 0;
  s[at + END] = HVN_LIMIT;
}

/** The chain of one mm. */
export class NotifierChain {
  readonly #core: Core;
  readonly #mm: number;
  /** Who is registered. */
  readonly list = new NotifierList();
  /** Protection of the list. */
  chainLock: ChainLock = 'rwlock';
  freeing: ChainFreeing = 'at-once';
  releaseOrder: ReleaseOrder = 'call-delete';
  /** register() keeps every invalidation out (mm_take_all_locks). */
  takeAllLocks = false;
  /**
   * invalidate_range goes with every flush of the processor's TLB (arch_invalidate_secondary_tlbs, 6.6), not with the
   * end of a range.
   */
  withFlushes = false;
  /** Told when a call reaches an entry that it must not; the explorer listens. */
  onMisuse: ((what: string) => void) | null = null;

  constructor(core: Core, mm: number) {
    this.#core = core;
    this.#mm = mm;
  }

  /**
   * Adds a notifier at the head of the list; result: its id. Since 2.6.27 mm_take_all_locks() keeps
   * every invalidation out meanwhile (commit 7906d00cd1f6), so that no notifier sees only the end
   * of one.
   */
  register(t: Task, at: number, ops: MmuNotifierOps): boolean {
    const locks = this.chainLock !== 'none';
    switch (t.stack[at]) {
      case 0:
        if (!t.fresh && t.preempt(at, 1, 'mmu_notifier_register: take the locks')) return false;
        t.stack[at] = 1;
      case 1:
        if (this.takeAllLocks && !t.lock(at, 1, lockMmap(this.#mm))) return false;
        t.stack[at] = 2;
      case 2:
        if (this.takeAllLocks && !t.lock(at, 2, lockRmap(this.#mm))) return false;
        t.stack[at] = 3;
      case 3:
        if (locks && !t.lock(at, 3, lockNotifier(this.#mm))) return false;
    }
    this.list.add(ops);
    if (locks) t.unlock(lockNotifier(this.#mm));
    if (this.takeAllLocks) {
      t.unlock(lockRmap(this.#mm));
      t.unlock(lockMmap(this.#mm));
    }
    return t.done(at, this.list.head);
  }

  /**
   * Takes a notifier off the list: s[at + 1] = its id. When it returns the owner may free the
   * notifier, as far as `freeing` is right.
   */
  unregister(t: Task, at: number): boolean {
    const s = t.stack;
    const id = s[at + 1] as number;
    const recheck = this.freeing === 'type-safe-recheck';
    for (;;) {
      switch (s[at]) {
        case 0:
          if (t.preempt(at, 1, 'mmu_notifier_unregister: take the lock of the list')) return false;
        case 1: {
          if (!this.#lockList(t, at, 1)) return false;
          // Since 2.6.27 unregister also releases, unless the exit of the mm already does: before
          // the deletion or after it, as release() does.
          s[at] = 2;
          if (!this.list.entry(id).listed || this.releaseOrder === 'call-delete') continue;
          this.#readLock(t);
          if (this.releaseOrder === 'delete-call') this.list.unlink(id);
          this.#unlockList(t);
          s[at + CALLEE] = 0;
          s[at] = 5;
          continue;
        }
        case 2:
          // Whoever locked the entry before finds it listed and calls it; we wait for that call.
          if (recheck && !t.lock(at, 2, lockEntry(id))) return false;
          this.list.unlink(id);
          if (recheck) t.unlock(lockEntry(id));
          this.#unlockList(t);
          s[at] = 3;
        case 3:
          if (this.freeing === 'grace-period' && !this.#synchronize(t, at, 3)) return false;
          return t.done(at, 0);
        case 5:
          if (!this.#callRelease(t, at, id)) return false;
          this.#readUnlock(t);
          s[at] = 6;
        case 6:
          if (!this.#lockList(t, at, 6)) return false;
          s[at] = 2;
      }
    }
  }

  #lockList(t: Task, at: number, pc: number): boolean {
    return this.chainLock === 'none' || t.lock(at, pc, lockNotifier(this.#mm));
  }

  #unlockList(t: Task): void {
    if (this.chainLock !== 'none') t.unlock(lockNotifier(this.#mm));
  }

  #callRelease(t: Task, at: number, id: number): boolean {
    const { ops } = this.list.entry(id);
    if (ops.steps?.release !== undefined) return ops.steps.release(t, at + CALLEE);
    ops.release?.();
    return true;
  }

  /** Waits for the calls under way, as the generation's mmu_notifier_unregister does. */
  #synchronize(t: Task, at: number, pc: number): boolean {
    const srcu = this.chainLock === 'srcu';
    return t.synchronizeRcu(at, pc, srcu ? srcuNotifier(this.#mm) : LOCK_RCU);
  }

  /**
   * mmu_notifier_release, when the mm exits: calls the release op of every notifier and empties the
   * list.
   */
  release(t: Task, at: number): boolean {
    const s = t.stack;
    const recheck = this.freeing === 'type-safe-recheck';
    for (;;) {
      switch (s[at]) {
        case 0:
          if (this.list.head === 0) return t.done(at, 0);
          s[at + CURRENT] = this.list.head;
          s[at] = 1;
        case 1:
          // v3 walks and deletes under the read lock: nobody else is left to change the list.
          if (this.chainLock === 'rwlock') {
            if (!t.lockShared(at, 1, lockNotifier(this.#mm))) return false;
          } else this.#readLock(t);
          this.#began(s, at, MN_RELEASE);
          s[at] = 2;
        case 2: {
          const current = s[at + CURRENT] as number;
          if (current === 0) {
            s[at] = 5;
            continue;
          }
          if (this.releaseOrder === 'delete-call') this.list.unlink(current);
          if (t.preempt(at, 3, 'mmu_notifier_release: call ops->release')) return false;
        }
        case 3: {
          const current = s[at + CURRENT] as number;
          if (recheck && !t.lock(at, 3, lockEntry(current))) return false;
          if (recheck && !this.list.entry(current).listed) {
            t.unlock(lockEntry(current));
            s[at + CURRENT] = this.list.head;
            s[at] = 2;
            continue;
          }
          s[at + CALLEE] = 0;
          s[at] = 4;
        }
        case 4: {
          const current = s[at + CURRENT] as number;
          if (!this.#callRelease(t, at, current)) return false;
          s[at + CURRENT] = this.list.entry(current).next;
          if (this.releaseOrder === 'call-delete') this.list.unlink(current);
          if (recheck) t.unlock(lockEntry(current));
          s[at] = 2;
          continue;
        }
        case 5:
          if (t.preempt(at, 6, 'mmu_notifier_release: all are called')) return false;
        case 6:
          while (this.list.head !== 0) this.list.unlink(this.list.head);
          this.#readUnlock(t);
          s[at] = 7;
        case 7:
          if (this.freeing === 'grace-period' && !this.#synchronize(t, at, 7)) return false;
          return t.done(at, 0);
      }
    }
  }

  #readLock(t: Task): void {
    if (this.chainLock === 'rcu') t.rcuReadLock(LOCK_RCU);
    else if (this.chainLock === 'srcu') t.rcuReadLock(srcuNotifier(this.#mm));
  }

  #readUnlock(t: Task): void {
    if (this.chainLock === 'rwlock') t.unlockShared(lockNotifier(this.#mm));
    else if (this.chainLock === 'rcu') t.rcuReadUnlock(LOCK_RCU);
    else if (this.chainLock === 'srcu') t.rcuReadUnlock(srcuNotifier(this.#mm));
  }

  /**
   * Calls an op of every notifier: s[at + 1] = MN_*, s[at + 2] = start or hvn, s[at + 3] = end,
   * s[at + 4] = MMU_NOTIFY_* (or the pte of change_pte). Result: the or of what they answered.
   */
  call(t: Task, at: number): boolean {
    const s = t.stack;
    const recheck = this.freeing === 'type-safe-recheck';
    for (;;) {
      switch (s[at]) {
        case 0:
          if (this.list.head === 0) return t.done(at, 0);
          if (this.withFlushes && s[at + OP] === MN_INVALIDATE_RANGE) widen(s, at);
          this.#began(s, at, s[at + OP] as number);
          s[at] = 1;
        case 1:
          if (this.chainLock === 'rwlock') {
            if (!t.lockShared(at, 1, lockNotifier(this.#mm))) return false;
          } else this.#readLock(t);
          s[at + CURRENT] = this.list.head;
          s[at + RESULT] = 0;
          s[at] = 2;
        case 2:
          if (s[at + CURRENT] === 0) return this.#ended(t, at);
          if (t.preempt(at, 3, CALL_NAMES[s[at + OP] as number] as string)) return false;
        case 3: {
          const current = s[at + CURRENT] as number;
          if (recheck && !t.lock(at, 3, lockEntry(current))) return false;
          if (recheck && !this.list.entry(current).listed) {
            // It is no longer what the list led to: look from the start again.
            t.unlock(lockEntry(current));
            s[at + CURRENT] = this.list.head;
            s[at] = 2;
            continue;
          }
          if (this.onMisuse !== null) this.#inspect(this.list.entry(current));
          // The end of a range includes invalidate_range (mn_hlist_invalidate_end).
          s[at + SUB] = s[at + OP] as number;
          if (s[at + SUB] === MN_INVALIDATE_RANGE_END && !this.withFlushes)
            s[at + SUB] = MN_INVALIDATE_RANGE;
          this.#prepare(s, at);
          s[at] = 4;
        }
        case 4: {
          const current = s[at + CURRENT] as number;
          if (!this.#callOne(t, at, this.list.entry(current).ops)) return false;
          if (t.result !== 0) s[at + RESULT] = 1;
          if (s[at + SUB] === MN_INVALIDATE_RANGE && s[at + OP] === MN_INVALIDATE_RANGE_END) {
            s[at + SUB] = MN_INVALIDATE_RANGE_END;
            this.#prepare(s, at);
            continue;
          }
          s[at + CURRENT] = this.list.entry(current).next;
          if (recheck) t.unlock(lockEntry(current));
          else if (this.onMisuse !== null) this.#inspect(this.list.entry(current));
          s[at] = 2;
        }
      }
    }
  }

  /** Reports an entry that the caller of an op must not be at. */
  #inspect(entry: NotifierEntry): void {
    if (!entry.freed) return;
    const reused = this.freeing === 'type-safe';
    this.onMisuse?.(
      `a notifier op runs on a notifier that was freed${reused ? ' and reused' : ''}`,
    );
  }

  #began(s: Int32Array, at: number, op: number): void {
    const counter = COUNTER_OF_OP[op] as number;
    const flush = this.withFlushes && op === MN_INVALIDATE_RANGE;
    // The op of secondary TLBs is not invalidate_range.
    if (counter >= 0 && !flush) this.#core.bump(counter);
    if (this.#core.tracing && EVENT_OF_OP[op] !== 0) {
      const start = s[at + START] as number;
      const pages = (s[at + END] as number) - start;
      const event = flush ? EVENT_MN_INVALIDATE_SECONDARY_TLBS : (EVENT_OF_OP[op] as number);
      this.#core.emit(event, start, pages, s[at + EVENT] as number, 0);
    }
  }

  #ended(t: Task, at: number): true {
    const s = t.stack;
    this.#readUnlock(t);
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
    const op = t.stack[at + SUB] as number;
    const done = ops.steps === undefined ? undefined : callStep(ops.steps, op, t, at + CALLEE);
    if (done !== undefined) return done;
    const s = t.stack;
    const start = s[at + START] as number;
    t.result = callPlain(ops, op, start, s[at + END] as number, s[at + EVENT] as number) ? 1 : 0;
    return true;
  }
}
