// Random scripts on the emulator: shadow paging and two-dimensional paging must show the guest the
// same (values, faults with their error codes, guest ptes), the core's assertions must hold, and the
// first script that breaks this is made as short as it goes.

import { RecordedMachine } from './recorded-machine.ts';
import { parseScript } from './script.ts';

/** A script on which the two ways of paging disagree, or an invariant broke. */
export interface FuzzFailure {
  readonly seed: number;
  readonly reason: string;
  /** The shortest script found that still fails. */
  readonly script: readonly string[];
}

const PAGES = 8;
const FLAGS = ['pwu', 'pwu', 'pwua', 'pwuad', 'pu', 'pw', 'pua', '-', 'pwun'];

/** xorshift32: the same scripts everywhere. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed, 2654435761) + 12345) >>> 0 || 1;
  }

  below(n: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % n;
  }

  pick(list: readonly string[]): string {
    return list[this.below(list.length)] as string;
  }
}

function guestLine(r: Random, page: number): string {
  switch (r.below(8)) {
    case 0:
    case 1:
    case 2:
      return `g ${r.pick(['read', 'uread'])} ${page}`;
    case 3:
    case 4:
      return `g ${r.pick(['write', 'uwrite', 'rw', 'lock'])} ${page}`;
    case 5:
      return `g setpte A ${page} ${r.pick(FLAGS)} ${r.below(PAGES)}`;
    case 6:
      return `g invlpg ${page}`;
    default:
      return `g cr3 ${r.pick(['A', 'B'])}`;
  }
}

function hostLine(r: Random, page: number): string {
  const n = 1 + r.below(Math.min(3, PAGES - page));
  return r.pick([
    `h dontneed ${page} ${n}`,
    `h pageout ${page} ${n}`,
    `h cold ${page} ${n}`,
    `h age ${r.pick(['test', 'clear', 'flush'])} 0 ${PAGES}`,
    `h write ${page} 1 ${r.below(256)}`,
    `h read ${page} 1`,
  ]);
}

/** A random script. */
export function randomScript(seed: number, steps = 60): string[] {
  const r = new Random(seed);
  const lines = [`name fuzz_${seed}`, `pages ${PAGES}`, `h fill 0 ${2 + r.below(6)} 1`];
  for (let i = 0; i < steps; i++) {
    const page = r.below(PAGES);
    lines.push(r.below(3) === 0 ? hostLine(r, page) : guestLine(r, page));
    // What a TLB may still hold differs between the two ways: the guest flushes what it changed.
    if (lines.at(-1)?.startsWith('g setpte') === true) lines.push(`g invlpg ${page}`);
  }
  return lines;
}

/** What the guest sees of a script, step by step. */
function guestView(script: readonly string[], npt: boolean): string[] {
  const machine = new RecordedMachine(parseScript(script, 'fuzz'), { npt, build: 'debug' });
  const seen: string[] = [];
  for (let step = machine.next(); step !== null; step = machine.next()) {
    seen.push(JSON.stringify(step.result));
  }
  return seen;
}

/** Why a script fails, or null. */
function failureOf(script: readonly string[]): string | null {
  try {
    const shadow = guestView(script, false);
    const nested = guestView(script, true);
    const at = shadow.findIndex((line, i) => line !== nested[i]);
    if (at < 0) return null;
    return `step ${at - 1}: shadow paging ${shadow[at]}, two-dimensional paging ${nested[at]}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Drops steps as long as the script goes on failing. */
function shrink(script: readonly string[]): string[] {
  let best = [...script];
  for (let i = best.length - 1; i >= 2; i--) {
    const shorter = best.filter((_, j) => j !== i);
    if (failureOf(shorter) !== null) best = shorter;
  }
  return best;
}

/** Runs the script of a seed; null: it agrees. */
export function fuzz(seed: number): FuzzFailure | null {
  const script = randomScript(seed);
  if (failureOf(script) === null) return null;
  const short = shrink(script);
  return { seed, reason: failureOf(short) ?? '', script: short };
}
