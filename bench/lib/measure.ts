// Interleaved measurement: A B A B … so that a change of the machine's mood meets all of them, and
// CPU time instead of wall time so that other programs' turns don't count.
import type { Row } from './row.ts';

/** One measured quantity: a series of values, one a round. */
export interface Series {
  /** Sorted values. */
  readonly values: readonly number[];
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** (third quartile - first quartile) / median. */
  readonly spread: number;
}

/** Statistics of measured values. */
export function series(values: readonly number[]): Series {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (q: number): number => sorted[Math.floor((sorted.length - 1) * q)] as number;
  const median = at(0.5);
  return {
    values: sorted,
    median,
    min: at(0),
    max: at(1),
    spread: median === 0 ? 0 : (at(0.75) - at(0.25)) / median,
  };
}

/** The measured part of a row. */
export type Measured = Pick<Row, 'value' | 'reference' | 'ratio' | 'ratioOfMinima'>;

/** Rounds of the emulator alone. */
export function alone(rounds: number, emulator: () => number): Measured {
  return { value: series(Array.from({ length: rounds }, emulator)) };
}

/**
 * Rounds of the emulator and its reference in turn; without a reference, of the emulator alone. The
 * ratio is the median of the rounds' own, since both sides of a round meet the same load.
 */
export function paired(
  rounds: number,
  emulator: () => number,
  reference: (() => number) | undefined,
): Measured {
  if (reference === undefined) return alone(rounds, emulator);
  const values: number[] = [];
  const references: number[] = [];
  for (let round = 0; round < rounds; round++) {
    values.push(emulator());
    references.push(reference());
  }
  return compared(values, references);
}

/** The figures of two lists of which each round gave one value. */
export function compared(values: readonly number[], references: readonly number[]): Measured {
  const value = series(values);
  const reference = series(references);
  return {
    value,
    reference,
    ratio: series(values.map((v, i) => v / (references[i] as number))).median,
    ratioOfMinima: value.min / reference.min,
  };
}

/** CPU time of a call on this process, in nanoseconds. */
export function cpuTime(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) * 1000;
}

/** The fastest of some calls. */
export function best(times: number, once: () => number): number {
  return Math.min(...Array.from({ length: times }, once));
}

/** Geometric mean. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);
}
