// A secondary MMU that mirrors pages of an mm and takes no reference on them: what GRU and XPMEM were in
// 2008, and what an RDMA card with on-demand paging or a GPU is today. Small enough to be read at
// once; its protocol is the driver's side of the notifiers, with or without a retry check.

import { FOLL_WRITE } from '../../assembly/abi.ts';
import { IntervalNotifier } from '../mm/interval-notifier.ts';
import type { Mm } from '../mm/mm.ts';
import type { MmuNotifierOps, MmuNotifierSteps } from '../mm/notifier-ops.ts';
import type { Task } from '../sched/task.ts';

/** The driver's own lock. */
export const LOCK_MIRROR = 6;

// Locals of fault().
const PAGE = 1;
const PFN = 2;
const SEQ = 3;
const CALLEE = 5;

/** A device's copy of a few ptes. */
export class Mirror {
  readonly #mm: Mm;
  readonly #first: number;
  /** pfn + 1 of each page, 0: not mapped. Replaced, never changed in place. */
  ptes: readonly number[];
  readonly stateFields = ['ptes'] as const;
  /** Interval notifier, or null: the mirror only follows invalidations. */
  readonly interval: IntervalNotifier | null;
  /** Leaves the retry check out: what a driver author is warned of. */
  readonly #checks: boolean;

  constructor(mm: Mm, first: number, npages: number, interval: boolean, checks = true) {
    this.#mm = mm;
    this.#first = first;
    this.ptes = Array.from({ length: npages }, () => 0);
    this.#checks = checks;
    this.interval = interval
      ? new IntervalNotifier(first, first + npages, (t, at) => this.#invalidate(t, at))
      : null;
  }

  /** What the driver registers. */
  get ops(): MmuNotifierOps {
    if (this.interval !== null) return this.interval.ops;
    const range = (t: Task, at: number): boolean => this.#drop(t, at);
    const steps: MmuNotifierSteps = {
      invalidatePage: (t, at) => {
        t.stack[at + 2] = (t.stack[at + 1] as number) + 1;
        return this.#drop(t, at);
      },
      invalidateRange: range,
      invalidateRangeStart: range,
      agePage: (t, at) => {
        t.stack[at + 2] = (t.stack[at + 1] as number) + 1;
        return this.#drop(t, at);
      },
      release: (t, at) => {
        t.stack[at + 1] = this.#first;
        t.stack[at + 2] = this.#first + this.ptes.length;
        return this.#drop(t, at);
      },
    };
    return { steps };
  }

  /** The frame that the device would reach for a page, or -1. */
  frameOf(page: number): number {
    return (this.ptes[page] as number) - 1;
  }

  /** The device faults on page s[at + 1]: looks it up and maps it. Result: 0 or a negative errno. */
  fault(t: Task, at: number): boolean {
    const s = t.stack;
    const { interval } = this;
    for (;;) {
      switch (s[at]) {
        case 0:
          if (interval !== null) {
            if (!interval.readBegin(t, at, 0)) return false;
            s[at + SEQ] = interval.readSeq();
          }
          if (t.preempt(at, 1, 'mirror_fault: get_user_pages')) return false;
        case 1:
          s[at + CALLEE] = 0;
          s[at + CALLEE + 1] = this.#first + (s[at + PAGE] as number);
          s[at + CALLEE + 2] = FOLL_WRITE;
          s[at] = 2;
        case 2:
          if (!this.#mm.getUserPages(t, at + CALLEE)) return false;
          if (t.result < 0) return t.done(at, t.result);
          s[at + PFN] = t.result;
          this.#mm.host.core.x.putPage(t.result);
          if (t.preempt(at, 3, 'mirror_fault: take the device lock')) return false;
        case 3:
          if (!t.lock(at, 3, LOCK_MIRROR)) return false;
          if (interval !== null && this.#checks && interval.readRetry(s[at + SEQ] as number)) {
            t.unlock(LOCK_MIRROR);
            s[at] = 0;
            continue;
          }
          this.ptes = this.ptes.with(s[at + PAGE] as number, (s[at + PFN] as number) + 1);
          t.unlock(LOCK_MIRROR);
          return t.done(at, 0);
      }
    }
  }

  /** The driver's side of an invalidation: s[at + 1] to s[at + 2] go. */
  #drop(t: Task, at: number): boolean {
    const s = t.stack;
    if (!t.lock(at, 0, LOCK_MIRROR)) return false;
    const start = (s[at + 1] as number) - this.#first;
    const end = (s[at + 2] as number) - this.#first;
    this.ptes = this.ptes.map((pte, page) => (page >= start && page < end ? 0 : pte));
    t.unlock(LOCK_MIRROR);
    return t.done(at, 0);
  }

  #invalidate(t: Task, at: number): boolean {
    const s = t.stack;
    if (!t.lock(at, 0, LOCK_MIRROR)) return false;
    this.interval?.setSeq(s[at + 3] as number);
    const start = (s[at + 1] as number) - this.#first;
    const end = (s[at + 2] as number) - this.#first;
    this.ptes = this.ptes.map((pte, page) => (page >= start && page < end ? 0 : pte));
    t.unlock(LOCK_MIRROR);
    return t.done(at, 0);
  }
}
