// Interval notifiers (cf. mmu_interval_notifier, mm/mmu_notifier.c of 5.5 and later): a driver that
// mirrors a range of an mm samples a sequence number, looks its pages up, takes its own lock and maps
// them only if no invalidation of the range ran meanwhile.
//
//   mmu_interval_read_begin()            invalidate_range_start
//   get_user_pages()                       → the driver's invalidate(): its lock,
//   driver's lock                              mmu_interval_set_seq(), unmap
//   mmu_interval_read_retry()? again     ptes are cleared, pages freed
//   map, unlock                          invalidate_range_end: wakes read_begin
//
// The mm's sequence is odd while an invalidation of a subscribed range runs. set_seq() under the
// driver's lock pairs with read_retry() under the same lock.

import type { Task } from '../sched/task.ts';
import type { MmuNotifierOps, MmuNotifierSteps } from './notifier-ops.ts';

/** Driver's callback: s[at + 1] = first page, s[at + 2] = end, s[at + 3] = sequence for setSeq(). */
export type IntervalInvalidate = (t: Task, at: number) => boolean;

const START = 1;
const END = 2;
const CALLEE = 5;

/** A subscription to a range of pages of an mm. */
export class IntervalNotifier {
  readonly start: number;
  readonly end: number;
  readonly #invalidate: IntervalInvalidate;
  /** The mm's sequence; odd: an invalidation of the range runs. */
  invalidateSeq = 2;
  /** Invalidations that run, of any range. */
  active = 0;
  /** Sequence of the last invalidation that the driver saw. */
  seen = 1;
  readonly stateFields = ['invalidateSeq', 'active', 'seen'] as const;

  constructor(start: number, end: number, invalidate: IntervalInvalidate) {
    this.start = start;
    this.end = end;
    this.#invalidate = invalidate;
  }

  /** What is registered on the mm's chain. */
  get ops(): MmuNotifierOps {
    const steps: MmuNotifierSteps = {
      invalidateRangeStart: (t, at) => this.#rangeStart(t, at),
      invalidateRangeEnd: (t, at) => this.#rangeEnd(t, at),
      release: (t, at) => this.#release(t, at),
    };
    return { steps };
  }

  /**
   * mmu_interval_read_begin(), as a case of the driver's protocol: false, it waits for an
   * invalidation of the range to end. Then readSeq() is the sample.
   */
  readBegin(t: Task, at: number, pc: number): boolean {
    const idle = this.seen !== this.invalidateSeq;
    return t.wait(at, pc, idle, 'mmu_interval_read_begin: wait for the invalidation to end');
  }

  /** The sample that goes with readBegin(). */
  readSeq(): number {
    return this.seen;
  }

  /** mmu_interval_read_retry(): under the driver's lock, true if the pages may be stale. */
  readRetry(seq: number): boolean {
    return this.seen !== seq;
  }

  /** mmu_interval_set_seq(): by the driver's callback, under its lock. */
  setSeq(seq: number): void {
    this.seen = seq;
  }

  #rangeStart(t: Task, at: number): boolean {
    const s = t.stack;
    const hit = (s[at + START] as number) < this.end && (s[at + END] as number) > this.start;
    switch (s[at]) {
      case 0:
        this.active++;
        if (!hit) return t.done(at, 0);
        this.invalidateSeq |= 1;
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = s[at + START] as number;
        s[at + CALLEE + 2] = s[at + END] as number;
        s[at + CALLEE + 3] = this.invalidateSeq;
        if (t.preempt(at, 1, 'mn_itree_invalidate: call the driver')) return false;
      case 1:
        if (!this.#invalidate(t, at + CALLEE)) return false;
    }
    return t.done(at, 0);
  }

  #rangeEnd(t: Task, at: number): boolean {
    this.active--;
    if (this.active === 0 && (this.invalidateSeq & 1) === 1) this.invalidateSeq++;
    return t.done(at, 0);
  }

  /** mn_itree_release: the mm goes, so all of the range is invalid (MMU_NOTIFY_RELEASE). */
  #release(t: Task, at: number): boolean {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        this.active++;
        this.invalidateSeq |= 1;
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = this.start;
        s[at + CALLEE + 2] = this.end;
        s[at + CALLEE + 3] = this.invalidateSeq;
        s[at] = 1;
      case 1:
        if (!this.#invalidate(t, at + CALLEE)) return false;
    }
    return this.#rangeEnd(t, at);
  }
}
