// `shadowmmu trace`: looks at traces, converts them, counts their faults, records them.

import { parseArgs } from 'node:util';
import { DataError, UsageError } from '../core/errors.ts';
import {
  MRC_ALGORITHMS,
  type MissRatioCurve,
  type MrcAlgorithm,
  type MrcPoint,
  type Progress,
  type StreamInfo,
  missRatioCurve,
  streamInfo,
} from '../workload/analyse.ts';
import { convert } from '../workload/convert.ts';
import {
  TRACE_FORMATS,
  type TraceFormat,
  formatByFileName,
  formatByName,
} from '../workload/formats.ts';
import { recordTrace } from '../workload/record.ts';
import { type Workload, limited } from '../workload/source.ts';
import { openTrace } from '../workload/trace-source.ts';
import { parseCount } from '../units.ts';
import type { Command, Io } from './command.ts';
import { EXIT_STATUS } from './command.ts';
import { type Column, bytes, count, csvField, table } from './table.ts';

const FORMAT_LINES = TRACE_FORMATS.map((f) => `  ${f.name.padEnd(16)} ${f.title}`).join('\n');

const HELP = `usage: shadowmmu trace info FILE [OPTIONS]
       shadowmmu trace mrc FILE [OPTIONS]
       shadowmmu trace convert FILE OUTPUT [OPTIONS]
       shadowmmu trace record [-o OUTPUT] [--limit N] -- COMMAND [ARGUMENTS]

info     references, pages, page tables, and the pages touched in each window of references
mrc      faults and write-backs by number of frames under LRU, FIFO, CLOCK and Belady's OPT
convert  writes a trace in another format (told by OUTPUT's name, or --to)
record   runs a command under Valgrind and writes its references

FILE may be gzip-compressed, or - for standard input.

  --format NAME    format of FILE, when its contents do not tell
  --to NAME        convert, record: format of OUTPUT (default: told by its name, else smt)
  --limit N        uses the first N references
  --window N       info: references in a window (default 100000)
  --frames LIST    mrc: numbers of frames (default: powers of two up to the footprint)
  --algorithms LIST  mrc: of ${MRC_ALGORITHMS.join(', ')} (default all)
  -o OUTPUT        record: output file (default COMMAND.smt)
  --json, --csv    prints data instead of a table

formats (docs/traces.md):
${FORMAT_LINES}
`;

const OPTIONS = {
  format: { type: 'string' },
  to: { type: 'string' },
  limit: { type: 'string' },
  window: { type: 'string' },
  frames: { type: 'string' },
  algorithms: { type: 'string' },
  output: { type: 'string', short: 'o' },
  json: { type: 'boolean', default: false },
  csv: { type: 'boolean', default: false },
} as const;

type Values = ReturnType<typeof parse>['values'];

function parse(args: readonly string[]) {
  return parseArgs({ args: [...args], allowPositionals: true, options: OPTIONS });
}

/** Options that each subcommand takes. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  info: ['format', 'limit', 'window', 'json', 'csv'],
  mrc: ['format', 'limit', 'frames', 'algorithms', 'json', 'csv'],
  convert: ['format', 'limit', 'to'],
  record: ['limit', 'to', 'output'],
};

function checkOptions(name: string, values: Values): void {
  const allowed = ALLOWED[name] as readonly string[];
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined && value !== false && !allowed.includes(key)) {
      throw new UsageError(`trace ${name} does not take --${key}`);
    }
  }
  if (values.json && values.csv) throw new UsageError('--json and --csv exclude each other');
}

/** Lets signals and the terminal have their turn, and shows how far it is after a second. */
function progressOf(io: Io, what: string): Progress {
  const start = performance.now();
  let shown = 0;
  return (part) => {
    const now = performance.now();
    if (now - start > 1000 && now - shown > 100) {
      shown = now;
      const done = part === undefined ? '' : ` ${Math.floor(part * 100)} %`;
      io.progress(`${what}${done}`);
    }
    return new Promise((resolve) => {
      setImmediate(resolve);
    });
  };
}

function workloadOf(file: string, values: Values, once = true): Workload {
  const workload = openTrace(file, { format: values.format, once });
  if (values.limit === undefined) return workload;
  return limited(workload, parseCount(values.limit, '--limit', 1, Number.MAX_SAFE_INTEGER));
}

function positionals(name: string, given: readonly string[], wanted: readonly string[]): void {
  if (given.length === wanted.length) return;
  const what = wanted.length === 0 ? 'its command after --' : wanted.join(' and ');
  throw new UsageError(`trace ${name} takes ${what}; see shadowmmu help trace`);
}

// ---- info ------------------------------------------------------------------------------------

function average(values: readonly number[]): string {
  return values.length === 0
    ? '-'
    : count(Math.round(values.reduce((a, b) => a + b, 0) / values.length));
}

function infoText(name: string, info: StreamInfo, io: Io): string {
  const touched = info.windows.map(([n]) => n);
  const written = info.windows.map(([, n]) => n);
  const { tables } = info;
  const rows: [string, string][] = [
    ['trace', `${name}${info.format ? ` (${info.format})` : ''}`],
    ['references', count(info.refs)],
    ['  reads', count(info.reads)],
    ['  writes', count(info.writes)],
    ['  fetches', count(info.fetches)],
    ['page-crossing accesses', count(info.page_crossing_accesses)],
    ['pages', `${count(info.unique_pages)} (${bytes(info.unique_pages * 4096)})`],
    ['  written', count(info.unique_written_pages)],
    ['  fetched from', count(info.unique_fetched_pages)],
    ['page numbers', `${info.min_vpn} to ${info.max_vpn}`],
    ['page tables', `${tables.pt} pt, ${tables.pd} pd, ${tables.pdpt} pdpt, ${tables.pml4} pml4`],
    [`pages touched per ${count(info.window)}`, `${average(touched)} on average`],
    [`pages written per ${count(info.window)}`, `${average(written)} on average`],
  ];
  if (info.foreign_lines > 0) rows.push(['lines of program output', count(info.foreign_lines)]);
  const width = Math.max(...rows.map(([key]) => key.length));
  return `${rows.map(([key, value]) => `${io.style('dim', key.padEnd(width))}  ${value}`).join('\n')}\n`;
}

async function info(file: string, values: Values, io: Io): Promise<number> {
  const workload = workloadOf(file, values);
  const window =
    values.window === undefined ? 100_000 : parseCount(values.window, '--window', 1, 2 ** 31);
  const result = await streamInfo(workload, { window, progress: progressOf(io, 'reading') });
  io.progress('');
  if (values.json) {
    io.out(`${JSON.stringify({ schema: 'shadowmmu-trace-info/1', ...result }, null, 2)}\n`);
  } else if (values.csv) {
    const lines = result.windows.map(([touched, written], i) => `${i},${touched},${written}`);
    io.out(`window,pages_touched,pages_written\n${lines.join('\n')}\n`);
  } else {
    io.out(infoText(workload.name, result, io));
  }
  return EXIT_STATUS.ok;
}

// ---- mrc -------------------------------------------------------------------------------------

function listOf(text: string, option: string): string[] {
  const items = text.split(',').map((item) => item.trim());
  if (items.some((item) => item === '')) throw new UsageError(`--${option} ${text}: an empty item`);
  return items;
}

function algorithmsOf(text: string | undefined): readonly MrcAlgorithm[] | undefined {
  if (text === undefined) return undefined;
  return listOf(text, 'algorithms').map((name) => {
    const known = MRC_ALGORITHMS.find((a) => a === name);
    if (known) return known;
    throw new UsageError(`--algorithms: unknown "${name}"; known are ${MRC_ALGORITHMS.join(', ')}`);
  });
}

interface MrcRow {
  readonly frames: number;
  readonly points: Partial<Record<MrcAlgorithm, MrcPoint>>;
}

function mrcRows(curve: MissRatioCurve): MrcRow[] {
  const rows = new Map<number, Partial<Record<MrcAlgorithm, MrcPoint>>>();
  for (const algorithm of MRC_ALGORITHMS) {
    for (const point of curve.results[algorithm] ?? []) {
      const row = rows.get(point.frames) ?? {};
      row[algorithm] = point;
      rows.set(point.frames, row);
    }
  }
  return [...rows].map(([frames, points]) => ({ frames, points }));
}

function mrcTable(curve: MissRatioCurve, io: Io): string {
  const columns: Column<MrcRow>[] = [{ title: 'frames', cell: (row) => count(row.frames) }];
  for (const algorithm of MRC_ALGORITHMS) {
    if (!curve.results[algorithm]) continue;
    columns.push({
      title: algorithm,
      cell: (row) => count(row.points[algorithm]?.faults ?? 0),
    });
    if (algorithm === 'opt') continue;
    columns.push({
      title: 'writes',
      cell: (row) => count(row.points[algorithm]?.writebacks ?? 0),
    });
  }
  const heading = `faults and dirty write-backs, ${count(curve.refs)} references to ${count(curve.unique_pages)} pages`;
  return `${heading}\n\n${table(io, columns, mrcRows(curve))}`;
}

function mrcCsv(curve: MissRatioCurve): string {
  const lines = ['algorithm,frames,faults,writebacks,miss_ratio'];
  for (const algorithm of MRC_ALGORITHMS) {
    for (const { frames, faults, writebacks } of curve.results[algorithm] ?? []) {
      const ratio = (faults / curve.refs).toFixed(6);
      lines.push([algorithm, frames, faults, writebacks ?? '', ratio].map(csvField).join(','));
    }
  }
  return `${lines.join('\n')}\n`;
}

async function mrc(file: string, values: Values, io: Io): Promise<number> {
  const workload = workloadOf(file, values, false);
  const algorithms = algorithmsOf(values.algorithms);
  const frames = values.frames
    ? listOf(values.frames, 'frames').map((text) => parseCount(text, '--frames', 1, 2 ** 28))
    : undefined;
  const curve = await missRatioCurve(workload, {
    ...(algorithms ? { algorithms } : {}),
    ...(frames ? { frames } : {}),
    progress: progressOf(io, 'counting faults'),
  });
  io.progress('');
  if (values.json) {
    io.out(`${JSON.stringify({ schema: 'shadowmmu-trace-mrc/1', ...curve }, null, 2)}\n`);
  } else {
    io.out(values.csv ? mrcCsv(curve) : mrcTable(curve, io));
  }
  return EXIT_STATUS.ok;
}

// ---- convert, record ---------------------------------------------------------------------------

function outputFormat(path: string, values: Values): TraceFormat {
  return values.to === undefined ? formatByFileName(path) : formatByName(values.to);
}

function warnOfLosses(format: TraceFormat, io: Io): void {
  if (format.loses) io.err(`shadowmmu: note: ${format.name} cannot hold ${format.loses}`);
}

async function convertFile(input: string, output: string, values: Values, io: Io): Promise<number> {
  const workload = workloadOf(input, values);
  const format = outputFormat(output, values);
  warnOfLosses(format, io);
  const records = await convert(workload, output, format, progressOf(io, 'converting'));
  io.progress('');
  io.err(
    `${output === '-' ? 'standard output' : output}: ${count(records)} records as ${format.name}`,
  );
  return EXIT_STATUS.ok;
}

async function record(command: readonly string[], values: Values, io: Io): Promise<number> {
  const program = command[0];
  if (program === undefined) {
    throw new UsageError('trace record wants a command: shadowmmu trace record -- COMMAND');
  }
  const output = values.output ?? `${program.split('/').at(-1)}.smt`;
  if (output === '-') throw new UsageError("-o -: standard output is the command's own");
  const format = outputFormat(output, values);
  warnOfLosses(format, io);
  const limit =
    values.limit === undefined
      ? undefined
      : parseCount(values.limit, '--limit', 1, Number.MAX_SAFE_INTEGER);
  const { references, status } = await recordTrace(command, output, format, {
    limit,
    progress: (n) => io.progress(`recording ${count(n)} references`),
  });
  io.progress('');
  io.err(`${output}: ${count(references)} references of ${program}`);
  if (status !== 0 && status !== null) io.err(`shadowmmu: note: ${program} ended with ${status}`);
  return EXIT_STATUS.ok;
}

/** The command. */
export const command: Command = {
  summary: 'looks at, converts, counts and records memory traces',
  help: HELP,
  run(args, io) {
    const [name, ...rest] = args;
    if (name === undefined || !Object.hasOwn(ALLOWED, name)) {
      const given = name === undefined ? '' : `, not ${JSON.stringify(name)}`;
      throw new UsageError(`trace wants info, mrc, convert or record${given}`);
    }
    const end = rest.indexOf('--');
    const own = name === 'record' && end >= 0 ? rest.slice(0, end) : rest;
    const parsed = parse(own);
    const { values } = parsed;
    checkOptions(name, values);
    if (name === 'record') {
      positionals(name, parsed.positionals, []);
      return record(end < 0 ? [] : rest.slice(end + 1), values, io);
    }
    const [file, output] = parsed.positionals as [string, string];
    positionals(name, parsed.positionals, name === 'convert' ? ['FILE', 'OUTPUT'] : ['FILE']);
    if (file === '') throw new DataError('the name of the trace file is empty');
    if (name === 'info') return info(file, values, io);
    return name === 'mrc' ? mrc(file, values, io) : convertFile(file, output, values, io);
  },
};
