// What a script does not tell of the boot in which it was recorded, and what the recording tells of it:
// things that happen by time, by what the scripts before left behind, and by what else the kernel does.

import { SWAP_SLOTS_CACHE_SIZE } from '../../../assembly/abi.ts';
import { scansOf, type Scans } from './group-room.ts';
import { isSince, type KernelVersion, versionOf } from './kernel.ts';
import type { JsonObject, Recording, Step } from './recording.ts';

/** What happened around the VM in one step. */
export interface Seen {
  /** Inactive and active anonymous pages in memory.stat after the step, which is as old as its last flush. */
  readonly lists: readonly [inactive: number, active: number] | null;
  /** A reclaim on request that succeeded. */
  readonly reclaims: boolean;
  /** Where a quiet step's scans are; undefined: the step is told event by event. */
  readonly scans: Scans | undefined;
  /** Swap slots that the group has after the step, and the pages that were seen to be written in it. */
  readonly swap: { readonly current: number; readonly written: number } | null;
  /** Data pages that are on a list after the step. */
  readonly listed: readonly number[];
  /** Those among them that may be evicted. */
  readonly evictable: readonly number[];
  /** Data pages whose host pte is young after the step, of those that changed; null: it was not looked at. */
  readonly young: ReadonlySet<number> | null;
}

/** No recording. */
export const NOTHING: Seen = {
  lists: null,
  reclaims: false,
  scans: undefined,
  swap: null,
  listed: [],
  evictable: [],
  young: null,
};

/** Data pages whose state changed in a step, to such a one. */
function changedPages(step: Step, is: (host: JsonObject) => boolean): number[] {
  return Object.entries(step.pages_changed ?? {})
    .filter(([, { host }]) => is(host))
    .map(([page]) => Number(page));
}

function hasFlag({ flags }: JsonObject, flag: string): boolean {
  return Array.isArray(flags) && flags.includes(flag);
}

function isListed(host: JsonObject): boolean {
  return hasFlag(host, 'lru');
}

function isYoung({ pte }: JsonObject): boolean {
  return typeof pte === 'string' && pte.startsWith('a', 3);
}

/** What a recorded step tells. */
export function seenIn(step: Step): Seen {
  const inactive = step.mem_now?.inactive_anon;
  const active = step.mem_now?.active_anon;
  return {
    lists: inactive === undefined || active === undefined ? null : [inactive, active],
    reclaims: step.op.startsWith('h reclaim') && step.result?.[0]?.rc === '0',
    scans: step.seq === undefined ? undefined : scansOf(step.seq),
    swap: swapIn(step),
    listed: changedPages(step, isListed),
    evictable: changedPages(step, (host) => isListed(host) && !hasFlag(host, 'unevictable')),
    young: step.pages_changed === undefined ? null : new Set(changedPages(step, isYoung)),
  };
}

/** Pages that were seen to be written to the swap device. */
function writtenIn({ event_counts, events }: Step): number {
  if (event_counts !== undefined) return event_counts.swap_writepage ?? 0;
  return (events ?? []).filter(({ t }) => t === 'swap_writepage').length;
}

function swapIn(step: Step): Seen['swap'] {
  const current = step.mem_now?.swap_current;
  return current === undefined ? null : { current, written: writtenIn(step) };
}

/** A point in a script: after so many of a step's faults. */
export interface Moment {
  readonly step: number;
  readonly faults: number;
}

/** A batch of the CPU is emptied within a step, after so many of the host's faults in it. */
export interface Drain extends Moment {
  /**
   * `locked`: that of mlocked pages, which the driver's own filled up to what the step itself adds; `all`: all of them, by a
   * thread (lru_add_drain_all()).
   */
  readonly batch: 'locked' | 'all';
}

/**
 * How many pages the driver's stack takes: fork() one and what lies deeper or higher two, or only one; or fork() two and
 * the rest one.
 */
export type StackLayout = 'usual' | 'short' | 'crossing';

/** The state of the machine when a script begins. */
export interface History {
  /** Pages of kernel objects that the group owns and reclaim frees. */
  readonly slabPages: number;
  /**
   * They are freed within that reclaim, or after it (by RCU), which a short one does not live to see; then `counted` says
   * that their bytes exceed a page in the statistics, as objectsAt does.
   */
  readonly slabFreed: 'within' | 'after' | 'counted';
  /** Where the driver's stack begins in its page, which exec() chooses by chance. */
  readonly stack: StackLayout;
  /** The scheduler took the CPU from the driver before it left fork(). */
  readonly preempted: boolean;
  /**
   * What the driver itself writes to after a fork() is followed; else only what its child does. By how much its copies fill
   * the batch of mlocked pages is a guess about its log, and where pages of the VM wait in it the recording says more.
   */
  readonly followsDriver: boolean;
  /** Updates of the groups' statistics on the CPU that are less than a batch (stats_updates). */
  readonly updates: number;
  /**
   * The step in which the bytes of small kernel objects that the CPU gathered exceed a page, which counts as
   * thousands of updates (mod_objcg_state()); null: none.
   */
  readonly objectsAt: number | null;
  /** Updates in that step after it. */
  readonly objectsRest: number;
  /** An object that was freed after a limit was set left bytes on the CPU, which the next ones are charged from. */
  readonly stocked: boolean;
  /**
   * The driver opens a file for each of KVM's counters in every step: the objects of the group come and go, and each of
   * them may need a page of its own (GroupRoom).
   */
  readonly opensCounters: boolean;
  /** Pages that these files' objects need in one step, as inferred from what was charged at the scans. */
  readonly stepPages: number;
  /** Pages that went out without being seen to were evicted by one run more, for another task. */
  readonly unseenRun: boolean;
  /** Pages of the driver's heap that it touched after it had locked its memory; reclaim finds them first. */
  readonly heapPages: number;
  /** Swap slots of others that wait on the CPU to be given back (swap_slots_cache). */
  readonly slots: number;
  /** Where the timer flushed the groups' statistics within a step. */
  readonly flushes: readonly Moment[];
  /** khugepaged waits for an address space, as after the boot, or when all ended that it was told of: the first one wakes it. */
  readonly khugepagedWaits: boolean;
  /** The step at whose end khugepaged comes to scan what woke it then or before; null: it is not seen to. */
  readonly khugepagedScans: number | null;
  /** Where batches are emptied within a step. */
  readonly drains: readonly Drain[];
  /** An earlier script ended while khugepaged was at its address space. */
  readonly khugepagedHolds: boolean;
  /** An earlier script had mergeable areas: ksmd forgets its address space when it scans again (__ksm_exit). */
  readonly othersMerged: boolean;
}

/**
 * What is usual: the driver's setting up leaves four updates, and the first faults count five for tables and an object that
 * are not counted here.
 */
export const USUAL: History = {
  slabPages: 0,
  slabFreed: 'within',
  stack: 'usual',
  preempted: false,
  followsDriver: true,
  updates: 9,
  objectsAt: 0,
  objectsRest: 0,
  stocked: false,
  opensCounters: false,
  stepPages: 3,
  unseenRun: false,
  heapPages: 0,
  slots: 0,
  flushes: [],
  khugepagedWaits: false,
  khugepagedScans: null,
  drains: [],
  khugepagedHolds: false,
  othersMerged: false,
};

/**
 * In a boot's first script the entries of /proc that the driver looks at belong to its group, and reclaim
 * frees them once; later they are another's.
 */
const FIRST_OF_BOOT = { slabPages: 21 };
/** Other steps in which the objects' bytes may exceed a page: the first ones, before and after reclaim, or none. */
const OTHER_STEPS: readonly (number | null)[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, null];
/** Steps from a fork() on. */
const AFTER_FORK = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
/** In the first step it may be any of the faults; what counts is how full the batch of updates is in the end. */
const OTHER_RESTS = [8, 16, 24, 32, 40, 48, 56];
/** What may happen in fork(), and where the stack may lie. */
const OTHER_FORKS: readonly Change[] = [
  { preempted: true },
  { stack: 'short' },
  { stack: 'crossing' },
  { stack: 'crossing', preempted: true },
  { stack: 'usual', followsDriver: false },
  { stack: 'crossing', followsDriver: false },
];

/**
 * memory.swap.current counts a slot until its batch is given back. When the first pages' worth of slots
 * less is in use than was written, so many of the batch were the group's; the rest were there before.
 */
function slotsBefore(recording: Recording): number {
  let written = 0;
  for (const step of recording.steps) {
    written += writtenIn(step);
    const givenBack = written - (step.mem_now?.swap_current ?? written);
    if (givenBack > 0)
      return (SWAP_SLOTS_CACHE_SIZE - (givenBack % SWAP_SLOTS_CACHE_SIZE)) % SWAP_SLOTS_CACHE_SIZE;
  }
  return 0;
}

/** Pages that the first scan of the recording asks about before the first one of the VM. */
function heapPagesOf(recording: Recording): number {
  const scan = recording.steps.find(({ seq = '' }) => /[=R]/.test(seq))?.seq ?? '';
  return /^(?:F\S+ )*((?:=\d )*)R/.exec(scan)?.[1]?.match(/=/g)?.length ?? 0;
}

/** Kernels give all counters through one file (KVM_GET_STATS_FD, commit cb082bfab59a). */
const STATS_FILE: KernelVersion = { major: 5, minor: 14 };

/** The history that most boots have, with what the recording says of this one. */
export function usualHistory(recording: Recording): History {
  const opensCounters = !isSince(versionOf(recording.kernel), STATS_FILE);
  return {
    ...USUAL,
    opensCounters,
    followsDriver: !opensCounters,
    heapPages: opensCounters ? heapPagesOf(recording) : 0,
    slots: slotsBefore(recording),
  };
}

function hasStep(recording: Recording, op: string): boolean {
  return recording.steps.some((step) => step.op.startsWith(op));
}

/** Whether the driver has a child. */
export function forks(recording: Recording): boolean {
  return hasStep(recording, 'h fork');
}

/** Whether khugepaged may be told of the address space. */
function mayHaveHuge(recording: Recording): boolean {
  return recording.script.includes('thp on') || hasStep(recording, 'h hugepage');
}

/** What kernel threads that work on all address spaces may have met before, or may do in the step that differs. */
function threadHistories(recording: Recording, step: number | null): Change[] {
  return [
    ...(mayHaveHuge(recording) ? [{ khugepagedWaits: true }, { khugepagedScans: step }] : []),
    ...(hasStep(recording, 'h khugepaged') ? [{ khugepagedHolds: true }] : []),
    ...(hasStep(recording, 'h ksm') ? [{ othersMerged: true }] : []),
  ];
}

/** The objects of the driver's files are two pages and a bit. */
const OTHER_STEP = { stepPages: 2 };

/** When the bytes of kernel objects may have exceeded a page; after a fork(), whose objects do so, they begin anew. */
function objectHistories(recording: Recording): Change[] {
  const forks = recording.steps.filter(({ op }) => op === 'h fork');
  const steps = forks.flatMap(({ i }) => AFTER_FORK.map((later) => i + later));
  return [
    ...[...OTHER_STEPS, ...steps].map((objectsAt) => ({ objectsAt })),
    ...OTHER_RESTS.map((objectsRest) => ({ objectsRest })),
  ];
}

/** What a history has otherwise than another one. */
type Change = Partial<History>;

/**
 * What may be otherwise than in the usual history; `pressure`: the recording runs under a memory limit; `step`: the first
 * one that differs by the usual history.
 */
export function changesOf(
  recording: Recording,
  pressure: boolean,
  step: number | null,
): readonly Change[] {
  const { opensCounters } = usualHistory(recording);
  return [
    ...(pressure
      ? [
          FIRST_OF_BOOT,
          { ...FIRST_OF_BOOT, slabFreed: 'after' as const },
          { ...FIRST_OF_BOOT, slabFreed: 'counted' as const },
          { stocked: true },
          ...(opensCounters
            ? [OTHER_STEP, { unseenRun: true }, { ...OTHER_STEP, unseenRun: true }]
            : []),
        ]
      : []),
    ...threadHistories(recording, step),
    ...(hasStep(recording, 'h reclaim') ? objectHistories(recording) : []),
    ...(forks(recording) ? OTHER_FORKS : []),
  ];
}

/** Numbers of faults after which a flush is looked for: what reclaim sees changes less and less from one to the next. */
function* someFaults(most: number): Generator<number> {
  for (let n = 0; n < most; n += n < 8 ? 1 : n < 32 ? 2 : n >> 3) yield n;
}

/** Faults of KVM that a recorded step tells. */
function faultsOf(step: Step | undefined): number {
  if (step === undefined) return 0;
  const counted = step.event_counts?.kvm_page_fault;
  return counted ?? (step.events ?? []).filter(({ t }) => t === 'kvm_page_fault').length;
}

/**
 * Histories with one flush more, by the timer (two seconds), in a step that differs or in the one before: memory.stat
 * after a step tells only of what comes later.
 */
export function flushedIn(recording: Recording, history: History, step: number): History[] {
  const at = (i: number): Moment[] => {
    const faults = faultsOf(recording.steps.find((one) => one.i === i));
    return [...someFaults(Math.max(faults, 1))].map((n) => ({ step: i, faults: n }));
  };
  const more = [...at(step), ...at(step - 1)];
  return more.map((flush) => ({ ...history, flushes: [...history.flushes, flush] }));
}

/** Host faults that a recorded step tells. */
function hostFaultsOf(step: Step | undefined): number {
  return (step?.events ?? []).filter(({ t }) => t === 'host_fault_ret').length;
}

/** Faults of a step after which a batch may be emptied. */
const MOST_DRAINS = 16;

/** Histories in which a batch of the CPU is empty from some point of a step on. */
export function drainedIn(recording: Recording, history: History, step: number): History[] {
  const batches: readonly Drain['batch'][] = [
    ...(hasStep(recording, 'h fork') ? (['locked'] as const) : []),
    ...(mayHaveHuge(recording) ? (['all'] as const) : []),
  ];
  const faults = hostFaultsOf(recording.steps.find(({ i }) => i === step));
  const moments = Array.from({ length: Math.min(faults, MOST_DRAINS) }, (_, i) => i + 1);
  return batches.flatMap((batch) =>
    moments.map((n) => ({ ...history, drains: [...history.drains, { step, faults: n, batch }] })),
  );
}

/** Whether the statistics of the group have a say. */
export function readsStatistics(recording: Recording, pressure: boolean): boolean {
  return pressure || hasStep(recording, 'h reclaim');
}
