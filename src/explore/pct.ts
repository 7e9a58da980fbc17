// Random schedules for scenarios too large to exhaust: probabilistic concurrency testing (Burckhardt,
// Kothari, Musuvathi, Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of Finding
// Bugs", ASPLOS 2010). Each run draws a priority for every actor and d - 1 steps at which the running
// actor drops to a priority below all others; the enabled actor of highest priority runs. A bug that
// d ordering constraints bring about is hit by one run with probability at least 1 / (n * k^(d-1))
// for n actors and k steps.
//
// An actor that comes back to a state in which it was before, with nobody else having moved, is
// waiting in a loop (a fault that is retried while an invalidation runs): it yields to all others.

import { mixHigh, mixLow } from './cells.ts';
import { CRASH, DEADLOCK } from './search.ts';
import type { Violation } from './search.ts';
import { hashChange, STEP_CRASHED, STEP_DISABLED } from './system.ts';
import type { System } from './system.ts';

/** Options of random schedules. */
export interface PctOptions {
  /** Schedules to run. @default 1000 */
  readonly runs?: number;
  /** Depth d of the bugs aimed at. @default 3 */
  readonly bugDepth?: number;
  /** @default 1 */
  readonly seed?: number;
  /** Steps after which a run is given up (a livelock). @default 10000 */
  readonly maxSteps?: number;
  readonly progress?: (runs: number) => boolean | void;
}

/** What the random schedules covered. */
export interface PctResult {
  readonly runs: number;
  readonly steps: number;
  /** Distinct states seen. */
  readonly states: number;
  /** Distinct complete schedules, told apart by the order of the actors. */
  readonly schedules: number;
  readonly longest: number;
  /** Lower bound on the probability that a bug of this depth would have been found. */
  readonly guarantee: number;
  readonly bugDepth: number;
  readonly violations: readonly Violation[];
}

/** mulberry32. */
function generator(seed: number): (below: number) => number {
  let a = seed >>> 0;
  return (below) => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

/** Runs random schedules from the system's current state, which is set again after each. */
export function pct(system: System, options: PctOptions = {}): PctResult {
  const runs = options.runs ?? 1000;
  const depth = options.bugDepth ?? 3;
  const maxSteps = options.maxSteps ?? 10_000;
  const below = generator(options.seed ?? 1);
  const count = system.actors.length;
  const states = new Set<number>([0]);
  const schedules = new Set<number>();
  const found = new Map<string, Violation>();
  const change = new Int32Array(2);
  let steps = 0;
  // The number of steps of a run is not known before; the longest so far stands for k.
  let longest = 16;
  let done = 0;

  for (; done < runs; done++) {
    const priority = Array.from({ length: count }, (_, i) => depth + i);
    for (let i = count - 1; i > 0; i--) {
      const j = below(i + 1);
      [priority[i], priority[j]] = [priority[j] as number, priority[i] as number];
    }
    const drops = Array.from({ length: depth - 1 }, () => 1 + below(longest));
    const schedule: number[] = [];
    const undo: Int32Array[] = [];
    let low = 0;
    let high = 0;
    let order = 0;
    let lowest = 0;
    let running = -1;
    const streak = new Set<number>();
    const violate = (property: string, detail: string): void => {
      const known = found.get(property);
      if (known === undefined || known.schedule.length > schedule.length) {
        found.set(property, { property, detail, schedule: [...schedule] });
      }
    };
    for (let k = 1; k <= maxSteps; k++) {
      const outcome = stepHighest(system, priority);
      if (outcome === null) {
        atEnd(system, violate);
        break;
      }
      const { actor, crashed } = outcome;
      schedule.push(actor);
      steps++;
      order = (Math.imul(order, 31) + actor + 1) | 0;
      undo.push(system.journal.changes.slice(0, system.journal.count * 3));
      hashChange(system.journal, change);
      low = (low + (change[0] as number)) | 0;
      high = (high + (change[1] as number)) | 0;
      const hash = (low >>> 0) + (high & 0x1fffff) * 4294967296;
      if (states.size < 4_000_000) states.add(hash);
      if (actor !== running) streak.clear();
      running = actor;
      if (streak.has(hash)) priority[actor] = --lowest;
      streak.add(hash);
      for (const { property, detail } of system.sink.found) violate(property, detail);
      system.sink.found.length = 0;
      if (crashed) {
        violate(CRASH, system.crash);
        break;
      }
      for (const property of system.definition.properties) {
        const wrong = property.state?.() ?? null;
        if (wrong !== null) violate(property.name, wrong);
      }
      const drop = drops.indexOf(k);
      if (drop >= 0) priority[actor] = drop;
    }
    if (schedule.length > longest) longest = schedule.length;
    schedules.add(
      (mixLow(schedule.length, order) >>> 0) + (mixHigh(order, low) & 0xfffff) * 2 ** 32,
    );
    for (let i = undo.length - 1; i >= 0; i--) {
      const changes = undo[i] as Int32Array;
      for (let k = 0; k < changes.length; k += 3) {
        system.set(changes[k] as number, changes[k + 1] as number);
      }
    }
    if (options.progress?.(done) === true) break;
  }
  system.verify();
  const hit = 1 / (count * longest ** (depth - 1));
  return {
    runs: done,
    steps,
    states: states.size,
    schedules: schedules.size,
    longest,
    guarantee: 1 - (1 - hit) ** done,
    bugDepth: depth,
    violations: [...found.values()],
  };
}

/** Steps the enabled actor of highest priority; null: none can move. */
function stepHighest(
  system: System,
  priority: readonly number[],
): { actor: number; crashed: boolean } | null {
  const order = priority.map((_, actor) => actor);
  order.sort((a, b) => (priority[b] as number) - (priority[a] as number));
  for (const actor of order) {
    const outcome = system.step(actor);
    if (outcome !== STEP_DISABLED) return { actor, crashed: outcome === STEP_CRASHED };
  }
  return null;
}

function atEnd(system: System, violate: (property: string, detail: string) => void): void {
  const stuck = system.actors.filter((actor, a) => !system.finished(a) && actor.daemon !== true);
  if (stuck.length > 0) {
    violate(DEADLOCK, `no actor can move; waiting: ${stuck.map((a) => a.name).join(', ')}`);
    return;
  }
  for (const property of system.definition.properties) {
    const wrong = property.end?.() ?? null;
    if (wrong !== null) violate(property.name, wrong);
  }
}
