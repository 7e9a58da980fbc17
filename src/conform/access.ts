// `conform access`: runs every row of a table in one of two ways and compares. `walker` is the
// software walk of the guest's tables alone; `shadow` is a vCPU's access through shadow paging, with
// its vmexits.

import { loadCore } from '../core/load.ts';
import {
  decodeRow,
  describeAccess,
  describeMapping,
  describeOutcome,
  sameOutcome,
} from './access-row.ts';
import type { AccessTable } from './access-table.ts';
import { shadowRunner } from './access-shadow.ts';
import { walkerRunner } from './access-walker.ts';
import { residentVm } from './resident-vm.ts';

/** The ways an access can take. */
export type AccessWay = 'walker' | 'shadow';

/** Makes the accesses of rows: input words in, outcome words out. */
export type RowRunner = (ids: Uint32Array) => Uint16Array;

/** A row whose outcome was not the expected one. */
export interface AccessFailure {
  /** Input word, hexadecimal: the row's key. */
  readonly id: string;
  readonly access: string;
  readonly mapping: string;
  readonly expected: string;
  readonly found: string;
}

/** Result of a table on one way. */
export interface AccessReport {
  readonly way: AccessWay;
  readonly rows: number;
  readonly passed: number;
  readonly failed: number;
  /** The first failures, at most the limit asked for. */
  readonly failures: readonly AccessFailure[];
}

/** Options of checkAccessTable(). */
export interface AccessOptions {
  /** Failures to describe; default 10. */
  readonly limit?: number;
  /** Called after each chunk of rows with the rows done. */
  readonly progress?: (done: number) => void;
}

/** Rows that go through a runner at once. */
export const ROWS_PER_CHUNK = 65_536;

/** Makes the runner of a way. */
export function accessRunner(way: AccessWay): RowRunner {
  if (way === 'walker') return walkerRunner(loadCore());
  return shadowRunner(residentVm());
}

/** Checks every row of a table. */
export function checkAccessTable(
  table: AccessTable,
  way: AccessWay,
  options: AccessOptions = {},
): AccessReport {
  const limit = options.limit ?? 10;
  const run = accessRunner(way);
  const failures: AccessFailure[] = [];
  const rows = table.ids.length;
  let failed = 0;
  for (let at = 0; at < rows; at += ROWS_PER_CHUNK) {
    const ids = table.ids.subarray(at, at + ROWS_PER_CHUNK);
    const found = run(ids);
    for (let i = 0; i < ids.length; i++) {
      const want = table.expected[at + i] as number;
      const got = found[i] as number;
      if (want === got || sameOutcome(want, got)) continue;
      failed++;
      if (failures.length < limit) failures.push(describeFailure(ids[i] as number, want, got));
    }
    options.progress?.(Math.min(at + ROWS_PER_CHUNK, rows));
  }
  return { way, rows, passed: rows - failed, failed, failures };
}

function describeFailure(id: number, want: number, got: number): AccessFailure {
  const row = decodeRow(id);
  return {
    id: id.toString(16),
    access: describeAccess(row),
    mapping: describeMapping(row),
    expected: describeOutcome(row, want),
    found: describeOutcome(row, got),
  };
}
