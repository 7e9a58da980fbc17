// Tables for people: columns as wide as their widest cell, numbers to the right.

import type { Io } from './command.ts';

/** One column. */
export interface Column<Row> {
  readonly title: string;
  readonly align?: 'left' | 'right';
  cell(row: Row): string;
}

const GROUPS = new Intl.NumberFormat('en-US');

/** A count with thousands separators. */
export function count(n: number): string {
  return GROUPS.format(n);
}

/** A share as a percentage. */
export function percent(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)}%`;
}

/** A time in the unit that keeps it between 1 and 1000. */
export function duration(ns: number): string {
  if (ns < 1e3) return `${ns.toFixed(0)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(1)} us`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(1)} ms`;
  return `${(ns / 1e9).toFixed(2)} s`;
}

/** Bytes in a binary unit. */
export function bytes(n: number): string {
  if (n < 1 << 20) return `${(n / 1024).toFixed(0)} KiB`;
  if (n < 2 ** 30) return `${(n / 2 ** 20).toFixed(1)} MiB`;
  return `${(n / 2 ** 30).toFixed(1)} GiB`;
}

/** Lays rows out as a table with a header. */
export function table<Row>(io: Io, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const cells = rows.map((row) => columns.map((column) => column.cell(row)));
  const widths = columns.map(({ title }, i) =>
    Math.max(title.length, ...cells.map((line) => (line[i] as string).length)),
  );
  const pad = (text: string, i: number): string => {
    const left = columns[i]?.align === 'left';
    return left ? text.padEnd(widths[i] as number) : text.padStart(widths[i] as number);
  };
  const header = columns.map(({ title }, i) => pad(title, i)).join('  ');
  const lines = cells.map((line) => line.map(pad).join('  ').trimEnd());
  return `${[io.style('bold', header.trimEnd()), ...lines].join('\n')}\n`;
}

/** A CSV field, quoted when it must be. */
export function csvField(value: string | number): string {
  const text = String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
