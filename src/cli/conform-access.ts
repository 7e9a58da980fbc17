// `shadowmmu conform access FILE`: checks an access table and reports the failures in words.

import { parseArgs } from 'node:util';
import { readAccessTable } from '../conform/access-table.ts';
import { checkAccessTable } from '../conform/access.ts';
import type { AccessReport, AccessWay } from '../conform/access.ts';
import { UsageError } from '../core/errors.ts';
import { EXIT_STATUS } from './command.ts';
import type { Io } from './command.ts';

const WAYS: Readonly<Record<string, readonly AccessWay[]>> = {
  walker: ['walker'],
  shadow: ['shadow'],
  both: ['walker', 'shadow'],
};

function reportText(report: AccessReport, io: Io): string {
  const { way, passed, failed, failures } = report;
  const verdict = `${passed} passed, ${failed} failed`;
  const lines = [`${way}: ${io.style(failed === 0 ? 'green' : 'red', verdict)}`];
  for (const failure of failures) {
    lines.push('', `  id ${failure.id}: ${failure.access}`);
    lines.push(`    mapping:  ${failure.mapping}`);
    lines.push(`    expected: ${failure.expected}`, `    found:    ${failure.found}`);
  }
  const more = failed - failures.length;
  if (more > 0 && failures.length > 0) lines.push('', `  and ${more} more`);
  return `${lines.join('\n')}\n`;
}

/** Progress for checks that take longer than a second. */
function progressOf(way: AccessWay, rows: number, io: Io): (done: number) => void {
  const start = performance.now();
  return (done) => {
    if (performance.now() - start < 1000) return;
    io.progress(
      done === rows ? '' : `${way}: ${Math.floor((100 * done) / rows)} % of ${rows} rows`,
    );
  };
}

/** Runs the command; returns the exit status. */
export function conformAccess(args: readonly string[], io: Io): number {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      way: { type: 'string', default: 'both' },
      limit: { type: 'string', default: '10' },
      json: { type: 'boolean', default: false },
    },
  });
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
    const progress = progressOf(way, table.ids.length, io);
    const report = checkAccessTable(table, way, { limit, progress });
    if (!values.json) io.out(reportText(report, io));
    return report;
  });
  if (values.json) {
    io.out(`${JSON.stringify({ file, rows: table.ids.length, reports }, null, 2)}\n`);
  }
  const ok = reports.every((report) => report.failed === 0);
  return ok ? EXIT_STATUS.ok : EXIT_STATUS.violated;
}
