// What a secondary MMU can be told: the ops of struct mmu_notifier_ops through the generations, as
// plain functions and as protocols, and how one of them is called by number.

import * as abi from '../../assembly/abi.ts';
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
/** As MN_INVALIDATE_RANGE_END, without the invalidate_range that goes with it. */
export const MN_INVALIDATE_RANGE_ONLY_END = 10;

/** In place of the event of MN_INVALIDATE_RANGE, where that is a flush: of huge ptes alone. */
export const FLUSH_HUGE = 0x100;

/** Counter that a call of an op bumps, -1: none. */
export const COUNTER_OF_OP = [
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
  -1,
] as const;

/** Event of a call of an op, 0: none. */
export const EVENT_OF_OP = [
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
  abi.EVENT_MN_INVALIDATE_RANGE_END,
] as const;

/** Event of its return. */
export const EVENT_RET_OF_OP = [
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
  0,
] as const;

/** Names of the ops as the kernel's, by number. */
export const OP_NAMES = [
  'release',
  'age_page',
  'invalidate_page',
  'invalidate_range',
  'invalidate_range_start',
  'invalidate_range_end',
  'clear_flush_young',
  'clear_young',
  'test_young',
  'change_pte',
  'invalidate_range_end',
] as const;

/** Calls the protocol of an op; undefined: the notifier has none. */
export function callStep(
  steps: MmuNotifierSteps,
  op: number,
  t: Task,
  at: number,
): boolean | undefined {
  switch (op) {
    case MN_RELEASE:
      return steps.release?.(t, at);
    case MN_AGE_PAGE:
      return steps.agePage?.(t, at);
    case MN_INVALIDATE_PAGE:
      return steps.invalidatePage?.(t, at);
    case MN_INVALIDATE_RANGE:
      return steps.invalidateRange?.(t, at);
    case MN_INVALIDATE_RANGE_START:
      return steps.invalidateRangeStart?.(t, at);
    case MN_INVALIDATE_RANGE_END:
      return steps.invalidateRangeEnd?.(t, at);
    case MN_CLEAR_FLUSH_YOUNG:
      return steps.clearFlushYoung?.(t, at);
    case MN_CLEAR_YOUNG:
      return steps.clearYoung?.(t, at);
    case MN_TEST_YOUNG:
      return steps.testYoung?.(t, at);
    case MN_CHANGE_PTE:
      return steps.changePte?.(t, at);
    default:
      return steps.invalidateRangeEnd?.(t, at);
  }
}

/** Calls the plain function of an op, if the notifier has one. */
export function callPlain(
  ops: MmuNotifierOps,
  op: number,
  start: number,
  end: number,
  event: number,
): boolean | void {
  switch (op) {
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
    case MN_CHANGE_PTE:
      return ops.changePte?.(start, event);
    default:
      return ops.invalidateRangeEnd?.(start, end, event);
  }
}
