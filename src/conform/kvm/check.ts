// Checks recordings against the emulator: which levels agree, the first step that differs, and the
// totals of runs under memory pressure.

import { countEvents, knownFrames, LEVELS, StepComparer } from './compare.ts';
import type { Difference, Level, OurStep } from './compare.ts';
import type { Recording, Step } from './recording.ts';

/**
 * What a recording tells of the machine around the VM in one step: things that happen by time and by
 * what else the kernel does, as the flush of a group's statistics every two seconds.
 */
export interface Seen {
  /** Inactive and active anonymous pages in memory.stat after the step. */
  readonly lists: readonly [inactive: number, active: number] | null;
  /** A reclaim on request that succeeded. */
  readonly reclaims: boolean;
}

/** No recording. */
export const NOTHING: Seen = { lists: null, reclaims: false };

function seenIn(step: Step): Seen {
  const inactive = step.mem_now?.inactive_anon;
  const active = step.mem_now?.active_anon;
  return {
    lists: inactive === undefined || active === undefined ? null : [inactive >>> 12, active >>> 12],
    reclaims: step.op.startsWith('h reclaim') && step.result?.[0]?.rc === '0',
  };
}

/** What a script does not tell of the boot in which it was recorded. */
export interface History {
  /** Pages of kernel objects that the group owns and reclaim frees. */
  readonly slabPages: number;
  /** Pages that get into the CPU's batch while fork() runs. */
  readonly forkPages: number;
  /** Updates of the groups' statistics on the CPU that are less than a batch (stats_updates). */
  readonly updates: number;
}

/**
 * What is usual: a child of fork() writes to five pages before it sleeps; the driver's setting up leaves 29 to
 * 34 updates, by what reclaim did.
 */
export const USUAL: History = { slabPages: 0, forkPages: 5, updates: 31 };

/**
 * In a boot's first script the entries of /proc that the driver looks at belong to its group, and reclaim
 * frees them once; later they are another's.
 */
const PRESSURE_HISTORIES: readonly History[] = [{ ...USUAL, slabPages: 21 }];
/** Other processes' updates come between, so that the statistics are added up at other times. */
const RECLAIM_HISTORIES: readonly History[] = [5, 18, 43, 56].map((updates) => ({
  ...USUAL,
  updates,
}));
/** One fork in ten sees another process of the CPU touch a page meanwhile. */
const FORK_HISTORIES: readonly History[] = [{ ...USUAL, forkPages: 6 }];

/** Runs the steps of a recording's script; null: there is no such step on the emulator. */
export interface StepRunner {
  /** The warm-up (step -1), then each step of the script, then the teardown. */
  next(seen: Seen): OurStep | null;
}

/** What a level of a recording came to. */
export interface LevelResult {
  readonly level: Level;
  readonly passed: boolean;
  readonly steps: number;
  readonly agreeing: number;
  /** First step that differs, and how. */
  readonly first: {
    readonly step: number;
    readonly op: string;
    readonly differences: readonly Difference[];
  } | null;
}

/** A total of a run under pressure. */
export interface Total {
  readonly name: string;
  readonly recorded: number;
  readonly emulated: number;
  readonly within: boolean;
}

/** What a recording came to. */
export interface RecordingResult {
  readonly file: string;
  readonly name: string;
  readonly npt: 0 | 1;
  /** Quiet steps under a memory limit: L2 allows 5 % of the steps to differ, L3 compares totals. */
  readonly pressure: boolean;
  readonly levels: readonly LevelResult[];
  readonly totals: readonly Total[];
  /** Why the emulator could not run the script to its end. */
  readonly error: string | null;
}

/** Share of steps that must agree at L2 under pressure. */
const PRESSURE_STEPS = 0.95;
/** Allowed deviation of totals under pressure. */
const PRESSURE_TOTALS = 0.05;

const TOTALS: readonly [name: string, events: readonly string[]][] = [
  ['swap-outs', ['swap_writepage']],
  ['refaults', ['workingset_refault']],
  [
    'notifier calls',
    ['mn_invalidate_range_start', 'mn_clear_flush_young', 'mn_clear_young', 'mn_test_young'],
  ],
];

function add(into: Record<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [key, n] of Object.entries(counts)) into[key] = (into[key] ?? 0) + n;
}

function totals(recorded: Record<string, number>, emulated: Record<string, number>): Total[] {
  return TOTALS.map(([name, events]) => {
    const sum = (counts: Record<string, number>): number =>
      events.reduce((n, event) => n + (counts[event] ?? 0), 0);
    const a = sum(recorded);
    const b = sum(emulated);
    return { name, recorded: a, emulated: b, within: Math.abs(a - b) <= PRESSURE_TOTALS * a };
  });
}

class LevelTally {
  readonly level: Level;
  steps = 0;
  agreeing = 0;
  first: LevelResult['first'] = null;

  constructor(level: Level) {
    this.level = level;
  }

  add(step: number, op: string, differences: readonly Difference[]): void {
    this.steps++;
    const mine = differences.filter((d) => d.level === this.level);
    if (mine.length === 0) this.agreeing++;
    else this.first ??= { step, op, differences: mine };
  }

  result(passed: boolean): LevelResult {
    const { level, steps, agreeing, first } = this;
    return { level, passed, steps, agreeing, first };
  }
}

/** Makes the machine of a recording. */
export type StartMachine = (recording: Recording, history: History) => StepRunner;

function agreeing(result: RecordingResult): number {
  return result.levels.reduce((sum, level) => sum + level.agreeing, 0);
}

function hasStep(recording: Recording, op: string): boolean {
  return recording.steps.some((step) => step.op.startsWith(op));
}

/**
 * Runs a recording's script and compares every step. Where something disagrees that the history of the
 * boot may explain, the one that agrees best is taken.
 */
export function checkRecording(recording: Recording, start: StartMachine): RecordingResult {
  let best = checkRun(recording, () => start(recording, USUAL));
  const histories = [
    ...(best.pressure ? PRESSURE_HISTORIES : []),
    ...(hasStep(recording, 'h fork') ? FORK_HISTORIES : []),
    ...(hasStep(recording, 'h reclaim') ? RECLAIM_HISTORIES : []),
  ];
  for (const history of histories) {
    if (best.levels.every((level) => level.agreeing === level.steps)) break;
    const result = checkRun(recording, () => start(recording, history));
    if (agreeing(result) > agreeing(best)) best = result;
  }
  return best;
}

function checkRun(recording: Recording, start: () => StepRunner): RecordingResult {
  const tallies = LEVELS.map((level) => new LevelTally(level));
  const pressure = recording.steps.some((step) => step.event_counts !== undefined && step.i >= 0);
  const recorded: Record<string, number> = {};
  const emulated: Record<string, number> = {};
  let error: string | null = null;
  const run: OurStep[] = [];
  try {
    const runner = start();
    for (const step of recording.steps) {
      const ours = runner.next(seenIn(step));
      if (ours === null) throw new Error(`the emulator has no step ${step.i}`);
      run.push(ours);
    }
  } catch (thrown) {
    error = thrown instanceof Error ? thrown.message : String(thrown);
  }
  const comparer = new StepComparer(recording, knownFrames(run));
  for (const [i, ours] of run.entries()) {
    const step = recording.steps[i] as Step;
    const differences = comparer.compare(step, ours);
    for (const tally of tallies) tally.add(step.i, step.op, differences);
    // The driver's own setting up and clearing away are not of the script.
    if (step.i < 0 || step.op === 'teardown') continue;
    add(recorded, step.event_counts ?? countEvents(step.events ?? []));
    add(emulated, countEvents(ours.events));
  }
  const sums = pressure ? totals(recorded, emulated) : [];
  const levels = tallies.map((tally) => {
    const all = tally.agreeing === tally.steps;
    const most = tally.agreeing >= PRESSURE_STEPS * tally.steps;
    const passed =
      !pressure || tally.level === 1 ? all : tally.level === 2 ? most : sums.every((t) => t.within);
    return tally.result(error === null && passed);
  });
  const { file, name, npt } = recording;
  return { file, name, npt, pressure, levels, totals: sums, error };
}
