// `shadowmmu compare`: one workload under several protocols, beside the two yardsticks.

import { DEVICE_TITLES, type CompareResult, compareJobs, compareResult } from '../compare.ts';
import { PROTOCOLS } from '../simulate.ts';
import { COUNTERS } from '../stats/counters.ts';
import { parseCount } from '../units.ts';
import { type Command, EXIT_STATUS, type Io } from './command.ts';
import { publishedText } from './defaults.ts';
import { withDemo } from './demo.ts';
import {
  MACHINE_HELP,
  parseOptions,
  protocolList,
  simulateOptions,
  workloadSpec,
} from './options.ts';
import { runJobs } from './pool.ts';
import { progressLine } from './run.ts';
import { type Column, bytes, count, csvField, duration, percent, table } from './table.ts';

const HELP = `usage: shadowmmu compare (--trace FILE | --workload SPEC | --scenario FILE | --demo) [options]

compare runs a workload under several aging protocols in parallel and prints one row for each, beside
two yardsticks that no host can run: an exact LRU that sees every access, and Belady's OPT.

  --protocols LIST    protocols, separated by commas (default all):
                      ${PROTOCOLS.join(', ')}
  --workers N         threads; 0: none but this one (default: one for each CPU)
  --demo              a bundled trace of sqlite3

${MACHINE_HELP}  --csv               the same as comma-separated values
`;

/** A line of the table. */
interface Line {
  readonly name: string;
  readonly cells: Readonly<Record<string, string>>;
}

const TITLES = [
  'disk reads',
  'disk writes',
  'spurious',
  'minor faults',
  'vmexits',
  'aged',
  'wrong age',
  'slowdown',
] as const;

function protocolLines(result: CompareResult): Line[] {
  return result.rows.map((row) => {
    const { protocol, counters, accuracy, time, disk_reads, disk_writes } = row;
    if (row.outcome !== 'done') {
      const end = row.outcome === 'oom_killed' ? 'out of memory' : 'guest tables lost';
      return {
        name: protocol,
        cells: { note: `${end} after ${count(counters.accesses)} references` },
      };
    }
    const cells = {
      'disk reads': count(disk_reads),
      'disk writes': count(disk_writes),
      spurious: count(counters.spurious_swap_outs),
      'minor faults': count(counters.minor_faults),
      vmexits: count(counters.vmexits),
      aged: count(counters.age_page_calls),
      'wrong age': percent(accuracy.false_old + accuracy.false_young, accuracy.young_tests),
      slowdown: time.slowdown.toFixed(2),
    };
    return { name: protocol, cells };
  });
}

function yardstickLines(result: CompareResult): Line[] {
  return result.yardsticks.map(({ name, disk_reads, writebacks }) => ({
    name,
    cells: {
      'disk reads': count(disk_reads),
      'disk writes': writebacks === null ? '-' : count(writebacks),
      spurious: '0',
    },
  }));
}

/** What all rows share, and the table. */
export function compareText(io: Io, result: CompareResult): string {
  const { machine } = result;
  const columns: Column<Line>[] = [
    { title: 'protocol', align: 'left', cell: ({ name }) => name },
    ...TITLES.map((title) => ({
      title,
      cell: ({ cells }: Line) => cells[title] ?? (cells['note'] === undefined ? '' : '-'),
    })),
  ];
  const references = Math.max(...result.rows.map(({ counters }) => counters.accesses));
  const memory = `${count(machine.memory_pages)} frames (${bytes(machine.memory_pages * 4096)}, ${percent(machine.memory_pages, machine.footprint_pages)})`;
  const head =
    `${result.workload}: ${count(references)} references to ${count(machine.footprint_pages)} pages, ` +
    `on ${memory} of ${machine.backing} memory;\n` +
    `${machine.policy} reclaim, ${machine.vcpus} vCPU${machine.vcpus > 1 ? 's' : ''}, swap on ` +
    `${DEVICE_TITLES[machine.swap]}, times of a ${machine.profile} host\n\n`;
  const dead = protocolLines(result).filter(({ cells }) => cells['note'] !== undefined);
  const notes = dead.map(({ name, cells }) => `${name}: ${cells['note']}\n`);
  const lines = [...protocolLines(result), ...yardstickLines(result)];
  return head + table(io, columns, lines) + (notes.length > 0 ? `\n${notes.join('')}` : '');
}

function legend(result: CompareResult): string {
  const slowest = result.rows.toSorted((a, b) => b.time.total_ns - a.time.total_ns)[0];
  const time = slowest ? `slowest: ${slowest.protocol}, ${duration(slowest.time.total_ns)}` : '';
  return (
    '\nspurious: evictions that the exact LRU would not have made before the next access.\n' +
    'wrong age: tests that called a used page old or an unused page young.\n' +
    `slowdown: time over that of the references alone. ${time}\n`
  );
}

function csv(result: CompareResult): string {
  const names = COUNTERS.map(({ name }) => name);
  const lines = [['protocol', 'disk_reads', 'disk_writes', ...names, 'total_ns', 'slowdown']];
  for (const { protocol, disk_reads, disk_writes, counters, time } of result.rows) {
    const values = names.map((name) => counters[name]);
    const cells = [protocol, disk_reads, disk_writes, ...values, time.total_ns, time.slowdown];
    lines.push(cells.map(csvField));
  }
  for (const { name, disk_reads, writebacks } of result.yardsticks) {
    const rest = [...names, '', ''].map(() => '');
    lines.push([name, String(disk_reads), String(writebacks ?? ''), ...rest]);
  }
  return `${lines.map((cells) => cells.join(',')).join('\n')}\n`;
}

/** The command. */
export const command: Command = {
  summary: 'run a workload under several protocols and compare them',
  help: HELP,
  async run(args, io) {
    const values = parseOptions(args, {
      protocols: { type: 'string' },
      workers: { type: 'string' },
      demo: { type: 'boolean' },
    });
    const spec = workloadSpec(values['demo'] === true ? withDemo(values) : values);
    const options = simulateOptions(values);
    const given = values['protocols'];
    const protocols =
      typeof given === 'string' ? protocolList(given, '--protocols', PROTOCOLS) : PROTOCOLS;
    const workers = values['workers'];
    const threads =
      typeof workers === 'string' ? parseCount(workers, '--workers', 0, 256) : undefined;
    const title = 'counting pages';
    const { jobs } = await compareJobs(spec, protocols, options, progressLine(io, title));
    const outcomes = await runJobs(jobs, threads, (parts) => {
      const done = parts.filter((part) => part === 1).length;
      const share = parts.reduce((sum, part) => sum + part, 0) / parts.length;
      io.progress(`${done}/${parts.length} done, ${(share * 100).toFixed(0)}%`);
    });
    io.progress('');
    const result = compareResult(outcomes);
    if (values['json'] === true) io.out(`${JSON.stringify(result, null, 2)}\n`);
    else if (values['csv'] === true) io.out(csv(result));
    else io.out(compareText(io, result) + legend(result) + publishedText(spec));
    return EXIT_STATUS.ok;
  },
};
