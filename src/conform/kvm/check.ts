// Checks recordings against the emulator: which levels agree, the first step that differs, and the
// totals of runs under memory pressure.

import { versionOf } from './kernel.ts';
import { RecorderView } from './kernel-view.ts';
import { StepComparer } from './compare.ts';
import type { Difference } from './compare.ts';
import { countEvents } from './event-counts.ts';
import {
  changesOf,
  drainedIn,
  flushedIn,
  forks,
  readsStatistics,
  seenIn,
  usualHistory,
  type History,
  type Seen,
} from './history.ts';
import { LEVELS } from './levels.ts';
import type { Level } from './levels.ts';
import { knownFrames } from './our-step.ts';
import type { OurStep } from './our-step.ts';
import type { Recording, Step } from './recording.ts';
import { parseScript } from './script.ts';
import { nameZeroPages } from './zero-page.ts';

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
  /** Kernel that was recorded (uname -r). */
  readonly kernel: string;
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

/**
 * Runs a recording's script and compares every step. Where something disagrees that the history of the
 * boot may explain, the one that agrees best is taken.
 */
export function checkRecording(recording: Recording, start: StartMachine): RecordingResult {
  const run = (history: History): Run => {
    return { history, result: checkRun(recording, () => start(recording, history)) };
  };
  let best = run(usualHistory(recording));
  const { pressure } = best.result;
  for (const change of changesOf(recording, pressure, firstDifference(best.result))) {
    if (firstDifference(best.result) === null) break;
    best = better(best, run({ ...best.history, ...change }));
  }
  const drained = (from: Run): Run =>
    goingOn(MAX_DRAINS, from, (last) => nextOf(drainedIn, recording, last, run));
  const { history } = best;
  best = drained(best);
  // Which batch was full may be told by the recording alone.
  if (forks(recording) && history.followsDriver && firstDifference(best.result) !== null)
    best = better(best, drained(run({ ...history, followsDriver: false })));
  if (readsStatistics(recording, pressure))
    best = goingOn(MAX_FLUSHES, best, (last) => nextOf(flushedIn, recording, last, run));
  return best.result;
}

/** What a history came to. */
interface Run {
  readonly history: History;
  readonly result: RecordingResult;
}

/** More flushes by the timer than a script is long (two seconds each). */
const MAX_FLUSHES = 3;
/** Steps in which batches were emptied otherwise than is usual. */
const MAX_DRAINS = 4;
/** So many steps more that agree are no chance. */
const CLEARLY = 4;

function better(a: Run, b: Run): Run {
  return agreeing(b.result) > agreeing(a.result) ? b : a;
}

/** The first step that differs at any level, or null. */
function firstDifference({ levels }: RecordingResult): number | null {
  const steps = levels.flatMap(({ first }) => (first === null ? [] : [first.step]));
  return steps.length === 0 ? null : Math.min(...steps);
}

/** Runs that each explain one step more, as long as there is one. */
function goingOn(most: number, run: Run, next: (run: Run) => Run): Run {
  for (let n = 0; n < most; n++) {
    const more = next(run);
    if (more === run) break;
    run = more;
  }
  return run;
}

/** The run whose history has one thing more (`more`) in the step that begins to differ, if a level fails and that helps. */
function nextOf(
  more: (recording: Recording, history: History, step: number) => History[],
  recording: Recording,
  run: Run,
  again: (history: History) => Run,
): Run {
  const step = firstDifference(run.result);
  if (step === null || run.result.levels.every(({ passed }) => passed)) return run;
  let best = run;
  for (const history of more(recording, run.history, step)) {
    best = better(best, again(history));
    const now = firstDifference(best.result);
    if (now === null || now >= step + CLEARLY) break;
  }
  return best;
}

function checkRun(recording: Recording, start: () => StepRunner): RecordingResult {
  const tallies = LEVELS.map((level) => new LevelTally(level));
  // Steps of very many events are counted too, without any pressure.
  const pressure = parseScript(recording.script, recording.file).steps.some(({ quiet }) => quiet);
  const recorded: Record<string, number> = {};
  const emulated: Record<string, number> = {};
  let error: string | null = null;
  const steps: OurStep[] = [];
  try {
    const runner = start();
    for (const step of recording.steps) {
      const ours = runner.next(seenIn(step));
      if (ours === null) throw new Error(`the emulator has no step ${step.i}`);
      steps.push(ours);
    }
  } catch (thrown) {
    error = thrown instanceof Error ? thrown.message : String(thrown);
  }
  const view = new RecorderView(versionOf(recording.kernel), recording.npt === 1);
  const run = nameZeroPages(recording, steps).map((ours) => view.step(ours));
  const comparer = new StepComparer(recording, knownFrames(recording, run), view.shadowPages);
  for (const [i, ours] of run.entries()) {
    const step = view.recorded(recording.steps[i] as Step);
    const differences = comparer.compare(step, ours);
    for (const tally of tallies) tally.add(step.i, step.op, differences);
    // The driver's own setting up and clearing away are not of the script.
    if (step.i < 0 || step.op === 'teardown') continue;
    add(recorded, step.event_counts ?? countEvents(step.events ?? []));
    const counted = step.event_counts !== undefined;
    add(emulated, counted ? comparer.counts(step, ours) : countEvents(ours.events));
  }
  const sums = pressure ? totals(recorded, emulated) : [];
  const levels = tallies.map((tally) => {
    const all = tally.agreeing === tally.steps;
    const most = tally.agreeing >= PRESSURE_STEPS * tally.steps;
    const passed =
      !pressure || tally.level === 1 ? all : tally.level === 2 ? most : sums.every((t) => t.within);
    return tally.result(error === null && passed);
  });
  const { file, name, npt, kernel } = recording;
  return { file, name, npt, kernel, pressure, levels, totals: sums, error };
}
