// `shadowmmu conform access FILE`: checks an access table and reports the failures in words.

import { parseArgs } from 'node:util';
import { readAccessTable } from '../conform/access-table.ts';
import { checkAccessTable } from '../conform/access.ts';
import type { AccessReport, AccessWay } from '../conform/access.ts';
import { UsageError } from '../core/errors.ts';

/** Help text. */
export const CONFORM_ACCESS_HELP = `shadowmmu conform access FILE [options]

Checks the outcomes of memory accesses (fault, error code, accessed and dirty bits) against a table:
CSV or the binary format ACX1, gzip or not.

  --way WAY     walker: the software walk of the guest's tables; shadow: a vCPU's access through
                shadow paging; both (default)
  --limit N     failures to print for each way (default 10)
  --json        one JSON document instead of text

Exit status: 0 nothing failed, 1 a row failed or the file can't be used, 2 wrong usage.
`;

const WAYS: Readonly<Record<string, readonly AccessWay[]>> = {
  walker: ['walker'],
  shadow: ['shadow'],
  both: ['walker', 'shadow'],
};

function printReport(report: AccessReport): void {
  console.log(`${report.way}: ${report.passed} passed, ${report.failed} failed`);
  for (const failure of report.failures) {
    console.log(`\n  id ${failure.id}: ${failure.access}`);
    console.log(`    mapping:  ${failure.mapping}`);
    console.log(`    expected: ${failure.expected}`);
    console.log(`    found:    ${failure.found}`);
  }
  const more = report.failed - report.failures.length;
  if (more > 0 && report.failures.length > 0) console.log(`\n  … and ${more} more`);
}

/** A progress line on a terminal, for checks that take longer than a second. */
function progressOf(way: AccessWay, rows: number): (done: number) => void {
  const start = performance.now();
  return (done) => {
    if (!process.stderr.isTTY || performance.now() - start < 1000) return;
    const text = `${way}: ${Math.floor((100 * done) / rows)} % of ${rows} rows`;
    process.stderr.write(done === rows ? '\r\x1b[K' : `\r${text}`);
  };
}

/** Runs the command; returns the exit status. */
export function conformAccess(args: readonly string[]): number {
  const { values, positionals } = parse(args);
  if (values.help === true) {
    console.log(CONFORM_ACCESS_HELP);
    return 0;
  }
  if (positionals.length !== 1) {
    throw new UsageError(`conform access takes one FILE, not ${positionals.length}`);
  }
  const ways = WAYS[values.way];
  if (ways === undefined) {
    throw new UsageError(`--way is walker, shadow or both, not "${values.way}"`);
  }
  const limit = Number(values.limit);
  if (!Number.isInteger(limit) || limit < 0) {
    throw new UsageError(`--limit is a number of failures, not "${values.limit}"`);
  }
  const file = positionals[0] as string;
  const table = readAccessTable(file);
  const reports = ways.map((way) => {
    const progress = progressOf(way, table.ids.length);
    const report = checkAccessTable(table, way, { limit, progress });
    if (values.json !== true) printReport(report);
    return report;
  });
  if (values.json === true) {
    console.log(JSON.stringify({ file, rows: table.ids.length, reports }, null, 2));
  }
  return reports.every((report) => report.failed === 0) ? 0 : 1;
}

function parse(args: readonly string[]): {
  values: { way: string; limit: string; json?: boolean; help?: boolean };
  positionals: string[];
} {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        way: { type: 'string', default: 'both' },
        limit: { type: 'string', default: '10' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
