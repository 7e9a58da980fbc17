// One row of the results: what was measured, beside its reference and its limit.
import type { Series } from './measure.ts';

/** What a row is to reach. */
export interface Limit {
  /** Bound of the ratio to the reference. */
  readonly ratio?: number;
  /** Bound of the value, on a quiet machine. */
  readonly value?: number;
  /** The value is to be at least the bound, not at most. */
  readonly atLeast?: boolean;
}

/** One measured thing. */
export interface Row {
  /** Letter of the benchmark. */
  readonly letter: string;
  readonly name: string;
  readonly unit: 'ns' | 'ns/ref' | 'ms' | 'MB/s' | 'Mref/s' | 'bytes' | 'MiB';
  readonly value: Series;
  /** The same by the native reference, in the same rounds. */
  readonly reference?: Series;
  /** Median of the rounds' ratios. */
  readonly ratio?: number;
  /** Ratio of the minima. */
  readonly ratioOfMinima?: number;
  readonly limit?: Limit;
  /** Generation of KVM and host mm when it is not that of the protocol's time. */
  readonly generation?: string;
  /** Counts of what was measured. */
  readonly counts?: Readonly<Record<string, number>>;
}

function digits(value: number): string {
  if (value >= 1000) return value.toFixed(0);
  return value >= 100 ? value.toFixed(1) : value.toFixed(2);
}

/** One line for people. */
export function line(row: Row): string {
  const { letter, name, unit, value, reference, ratio, ratioOfMinima, counts } = row;
  const spread = value.values.length > 1 ? `, spread ${(value.spread * 100).toFixed(0)}%` : '';
  const parts = [
    `(${letter}) ${(row.generation ? `${name} [${row.generation}]` : name).padEnd(56)}`,
    `${digits(value.median).padStart(8)} ${unit} (min ${digits(value.min)}${spread})`,
  ];
  if (reference) parts.push(`C ${digits(reference.median)} (min ${digits(reference.min)})`);
  if (ratio !== undefined) parts.push(`ratio ${ratio.toFixed(2)}`);
  if (ratioOfMinima !== undefined) parts.push(`of minima ${ratioOfMinima.toFixed(2)}`);
  if (counts)
    parts.push(
      Object.entries(counts)
        .map(([k, v]) => `${k} ${v}`)
        .join(', '),
    );
  return parts.join('  ');
}
