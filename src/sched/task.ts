// A task: one CPU's thread of control through the protocols that a race can break.
//
// Each protocol (page fault, reclaim of a page, invalidation, register, …) is written once, as a
// protothread: a `switch` over its program counter whose cases fall through, with a preemption
// point between them. Run straight, nothing is ever preempted and the switch is entered once at
// case 0; the explorer sets `preemptive`, and every point returns to it with the program counter
// and the locals kept in `stack`, where a state hash and a snapshot see them.
//
//   export function someProtocol(t: Task, at: number): boolean {
//     const s = t.stack;
//     switch (s[at]) {
//       case 0:
//         s[at + LOCAL] = …;
//         if (t.preempt(at, 1, 'kvm_page_fault: before the lookup')) return false;
//       case 1:
//         if (!t.lock(at, 1, LOCK_MMU)) return false;
//         s[at + SIZE] = 0;            // a callee starts at its case 0
//         s[at] = 2;
//       case 2:
//         if (!callee(t, at + SIZE)) return false;
//         …
//     }
//     return t.done(at, result);       // result is read by the caller as t.result
//   }
//
// A case may be entered again after `return false` from lock() or from a callee, so nothing with an
// effect stands between a case label and such a call.

/** Words in a task's stack: the deepest protocol nesting fits with room to spare. */
const STACK_WORDS = 256;
/** Words that the innermost frame and the arguments of a callee that did not begin fit in. */
export const FRAME_WORDS = 32;

/**
 * Decides whether a lock can be taken now; the explorer supplies one, straight runs need none. A
 * method that can block answers true, or false: the task is blocked and asks again when scheduled.
 */
export interface LockTable {
  /** Takes a spinlock, mutex or semaphore, or a reader-writer lock for writing. */
  acquire(task: Task, lock: number): boolean;
  release(task: Task, lock: number): void;
  /** Takes a reader-writer lock for reading. */
  acquireShared(task: Task, lock: number): boolean;
  releaseShared(task: Task, lock: number): void;
  /** Enters a read section of an RCU or SRCU domain; sections nest. */
  rcuReadLock(task: Task, domain: number): void;
  rcuReadUnlock(task: Task, domain: number): void;
  /** The first call begins a grace period; true once every read section of that moment has ended. */
  gracePeriod(task: Task, domain: number): boolean;
  /** Whether a fatal signal waits for the task. */
  signalPending(task: Task): boolean;
}

/** Values of `Task.blockedOn` that name no lock. */
export const BLOCKED_ON_NOTHING = -1;
/** The task waits for a condition that it tests itself when it is scheduled. */
export const BLOCKED_ON_CONDITION = -2;

/** One thread of control. */
export class Task {
  readonly id: number;
  /** Program counters and locals of the active protocols. */
  readonly stack = new Int32Array(STACK_WORDS);
  /** Result of the protocol that finished last; dead across a preemption point. */
  result = 0;
  /** True under the explorer: every preemption point returns. */
  preemptive = false;
  /** Offset of the innermost frame that was suspended last; nothing lies beyond its FRAME_WORDS. */
  top = 0;
  /** True until the first lock of a step: taking another lock is a preemption point of its own. */
  fresh = false;
  /** Lock or domain that the task waits for, or BLOCKED_ON_*. */
  blockedOn = BLOCKED_ON_NOTHING;
  /** True when it waits for `blockedOn` as a reader, or for a grace period. */
  blockedShared = false;
  /** True when a fatal signal ends the wait. */
  blockedKillable = false;
  /** lockKillable() came back without the lock; read at once, dead across a preemption point. */
  killed = false;
  /** Where the task was preempted, in the kernel's words. */
  where = '';
  /** Locks of the explored machine; null when run straight. */
  locks: LockTable | null = null;

  constructor(id: number) {
    this.id = id;
  }

  /** Nothing can come between this task's steps: whole runs of them may be made in one call. */
  get straight(): boolean {
    return !this.preemptive && this.locks === null;
  }

  /** Marks a preemption point: the protocol continues at case `pc`. True: return to the explorer. */
  preempt(at: number, pc: number, where: string): boolean {
    this.stack[at] = pc;
    if (!this.preemptive) return false;
    this.top = at;
    this.where = where;
    return true;
  }

  /** Takes a lock; false: blocked, and the protocol is entered again at case `pc`. */
  lock(at: number, pc: number, lock: number): boolean {
    this.stack[at] = pc;
    if (this.locks === null) return true;
    if (this.fresh && this.locks.acquire(this, lock)) return this.#entered();
    return this.#blocked(at, lock, false);
  }

  /**
   * Takes a lock as lock() does, unless a fatal signal comes first (lock_page_killable): then it is
   * true without the lock, and `killed` is set.
   */
  lockKillable(at: number, pc: number, lock: number): boolean {
    this.stack[at] = pc;
    if (this.locks === null) return true;
    if (this.fresh && this.locks.acquire(this, lock)) return this.#entered();
    if (this.fresh && this.locks.signalPending(this)) {
      this.killed = true;
      return this.#entered();
    }
    this.#blocked(at, lock, false);
    this.blockedKillable = true;
    return false;
  }

  /** fatal_signal_pending(): the protocol is to end early. */
  signalPending(): boolean {
    return this.locks !== null && this.locks.signalPending(this);
  }

  /** Takes a lock if that is possible at once. */
  tryLock(lock: number): boolean {
    return this.locks === null || this.locks.acquire(this, lock);
  }

  /** Releases a lock. */
  unlock(lock: number): void {
    if (this.locks !== null) this.locks.release(this, lock);
  }

  /** Takes a reader-writer lock for reading; as lock(). */
  lockShared(at: number, pc: number, lock: number): boolean {
    this.stack[at] = pc;
    if (this.locks === null) return true;
    if (this.fresh && this.locks.acquireShared(this, lock)) return this.#entered();
    return this.#blocked(at, lock, true);
  }

  /** Releases a lock taken with lockShared(). */
  unlockShared(lock: number): void {
    if (this.locks !== null) this.locks.releaseShared(this, lock);
  }

  /** Enters a read section of an RCU or SRCU domain (a lock id); never blocks. */
  rcuReadLock(domain: number): void {
    if (this.locks !== null) this.locks.rcuReadLock(this, domain);
  }

  /** Leaves it. */
  rcuReadUnlock(domain: number): void {
    if (this.locks !== null) this.locks.rcuReadUnlock(this, domain);
  }

  /** Waits until every read section that runs now has ended; as lock(). */
  synchronizeRcu(at: number, pc: number, domain: number): boolean {
    this.stack[at] = pc;
    if (this.locks === null) return true;
    if (this.fresh && this.locks.gracePeriod(this, domain)) return this.#entered();
    return this.#blocked(at, domain, true);
  }

  /**
   * Waits for a condition (a count that drains, an event): `ready` is evaluated by the caller each
   * time the case is entered, which it must be without side effects.
   */
  wait(at: number, pc: number, ready: boolean, what: string): boolean {
    this.stack[at] = pc;
    if (ready) return this.preemptive ? this.#entered() : true;
    if (!this.preemptive) throw new Error(`a straight run would wait for ever: ${what}`);
    this.top = at;
    this.where = what;
    this.blockedOn = BLOCKED_ON_CONDITION;
    return false;
  }

  /** Ends a protocol with a result. */
  done(at: number, result: number): true {
    // Dead locals would tell states apart that behave alike.
    if (this.preemptive) this.stack.fill(0, at, Math.max(at, this.top) + FRAME_WORDS);
    else this.stack[at] = 0;
    this.result = result;
    return true;
  }

  #entered(): true {
    this.fresh = false;
    this.blockedOn = BLOCKED_ON_NOTHING;
    this.blockedKillable = false;
    return true;
  }

  #blocked(at: number, lock: number, shared: boolean): false {
    this.top = at;
    this.blockedOn = lock;
    this.blockedShared = shared;
    this.blockedKillable = false;
    return false;
  }
}

/** A protocol as the emulator and the explorer both call it. */
export type Protocol = (task: Task, at: number) => boolean;

/** Runs a protocol from its start to its end and returns its result. */
export function runStraight(task: Task, protocol: Protocol, at = 0): number {
  task.stack[at] = 0;
  if (!protocol(task, at)) throw new Error(`a straight run was preempted at ${task.where}`);
  return task.result;
}
