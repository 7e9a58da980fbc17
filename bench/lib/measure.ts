// Interleaved measurement: A B A B … so that a change of the machine's mood meets all of them, and
// CPU time instead of wall time so that other programs' turns don't count.

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

/** Runs every contender once a round, in turn, and returns the series of each. */
export function interleave<K extends string>(
  rounds: number,
  contenders: Record<K, () => number>,
): Record<K, Series> {
  const names = Object.keys(contenders) as K[];
  const values = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<
    K,
    number[]
  >;
  for (let round = 0; round < rounds; round++) {
    for (const name of names) values[name].push(contenders[name]());
  }
  return Object.fromEntries(names.map((name) => [name, series(values[name])])) as Record<K, Series>;
}

/** CPU time of a call on this process, in nanoseconds. */
export function cpuTime(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) * 1000;
}

/** Geometric mean. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);
}
