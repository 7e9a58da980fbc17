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

/** Decides whether a lock can be taken now; the explorer supplies one, straight runs need none. */
export interface LockTable {
  /** True and held by the task, or false: the task is blocked on it. */
  acquire(task: Task, lock: number): boolean;
  release(task: Task, lock: number): void;
}

/** One thread of control. */
export class Task {
  readonly id: number;
  /** Program counters and locals of the active protocols. */
  readonly stack = new Int32Array(STACK_WORDS);
  /** Result of the protocol that finished last. */
  result = 0;
  /** True under the explorer: every preemption point returns. */
  preemptive = false;
  /** Lock that the task waits for, or -1. */
  blockedOn = -1;
  /** Where the task was preempted, in the kernel's words. */
  where = '';
  /** Locks of the explored machine; null when run straight. */
  locks: LockTable | null = null;

  constructor(id: number) {
    this.id = id;
  }

  /** Marks a preemption point: the protocol continues at case `pc`. True: return to the explorer. */
  preempt(at: number, pc: number, where: string): boolean {
    this.stack[at] = pc;
    if (!this.preemptive) return false;
    this.where = where;
    return true;
  }

  /** Takes a lock; false: blocked, and the protocol is entered again at case `pc`. */
  lock(at: number, pc: number, lock: number): boolean {
    this.stack[at] = pc;
    if (this.locks === null) return true;
    if (this.locks.acquire(this, lock)) {
      this.blockedOn = -1;
      return true;
    }
    this.blockedOn = lock;
    return false;
  }

  /** Releases a lock. */
  unlock(lock: number): void {
    if (this.locks !== null) this.locks.release(this, lock);
  }

  /** Ends a protocol with a result. */
  done(at: number, result: number): true {
    this.stack[at] = 0;
    this.result = result;
    return true;
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
