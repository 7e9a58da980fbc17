// `shadowmmu profile`: where a workload's time goes, and exactly how much the core had to do.

import { UsageError } from '../core/errors.ts';
import { coreBytes } from '../core/load.ts';
import { readText, writeText } from '../files.ts';
import { type OperationCounts, deviations, parseCounts } from '../profiling/counts.ts';
import {
  type FunctionTime,
  functionTimes,
  recordProfile,
  sideNs,
} from '../profiling/cpu-profile.ts';
import { type Crossings, countCrossings } from '../profiling/crossings.ts';
import { type OperationCost, operationCosts } from '../profiling/operations.ts';
import { type FunctionSize, wasmFunctionSizes } from '../profiling/wasm-size.ts';
import type { RunResult } from '../result.ts';
import { PROTOCOLS, measure, simulate, type SimulateOptions } from '../simulate.ts';
import { resolveWorkload, type WorkloadSpec } from '../workload-spec.ts';
import { type Command, EXIT_STATUS, type Io } from './command.ts';
import { MACHINE_HELP, parseOptions, simulateOptions, text, workloadSpec } from './options.ts';
import { progressLine } from './run.ts';
import { count, percent } from './table.ts';

const HELP = `usage: shadowmmu profile (--trace FILE | --workload SPEC | --scenario FILE) [options]

profile runs a workload under V8's profiler and prints the time by function, for the Wasm core and
the host apart, the cost of each kind of operation, the calls between the two and the size of the
core's code. It writes a .cpuprofile for Chrome DevTools and speedscope.

  --protocol NAME     as in run (default v3): ${PROTOCOLS.join(', ')}
  --out FILE          where the profile goes (default shadowmmu.cpuprofile)
  --top N             functions to print of each side (default 12)
  --interval US       time between samples in microseconds (default 200)
  --core BUILD        profile (default: little is inlined) or release (what a run executes)

Without a clock:
  --counts            print how often each operation was done, exactly; no profiler
  --save FILE         store the counts as a baseline
  --baseline FILE     compare with a stored baseline; exit status 1 when a count has left it
  --fail-over SHARE   deviation that fails, as 2% (default 0%)

${MACHINE_HELP}`;

const EXTRA = {
  protocol: { type: 'string' },
  out: { type: 'string' },
  top: { type: 'string' },
  interval: { type: 'string' },
  core: { type: 'string' },
  counts: { type: 'boolean' },
  save: { type: 'string' },
  baseline: { type: 'string' },
  'fail-over': { type: 'string' },
} as const;

const DEFAULT_OUT = 'shadowmmu.cpuprofile';
const DEFAULT_TOP = 12;
const DEFAULT_INTERVAL_US = 200;

type Values = ReturnType<typeof parseOptions>;

function wholeNumber(values: Values, name: string, fallback: number, max: number): number {
  const given = text(values, name);
  if (given === undefined) return fallback;
  const value = Number(given);
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new UsageError(`--${name} ${given}: expected a whole number from 1 to ${max}`);
  }
  return value;
}

/** `2%` or `0.02`. */
function share(given: string): number {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(given);
  if (!match) throw new UsageError(`--fail-over ${given}: expected a share as 2%`);
  return Number(match[1]) / (match[2] === '%' ? 100 : 1);
}

/** One workload on one machine, run again and again. */
class Bench {
  readonly #spec: WorkloadSpec;
  readonly #options: SimulateOptions;
  readonly #io: Io;

  constructor(spec: WorkloadSpec, options: SimulateOptions, io: Io) {
    this.#spec = spec;
    this.#options = options;
    this.#io = io;
  }

  /** The same with the footprint counted, so that a profile does not hold that pass. */
  async measured(): Promise<Bench> {
    const workload = resolveWorkload(this.#spec, this.#options.seed ?? 1);
    const footprint = await measure(workload, progressLine(this.#io, 'counting pages'));
    return new Bench(this.#spec, { ...this.#options, footprint }, this.#io);
  }

  async run(): Promise<RunResult> {
    const workload = resolveWorkload(this.#spec, this.#options.seed ?? 1);
    return simulate(workload, this.#options, progressLine(this.#io, workload.name));
  }
}

async function exactCounts(bench: Bench): Promise<OperationCounts> {
  let result: RunResult | undefined;
  const crossings = await countCrossings(async () => {
    result = await bench.run();
  });
  const { workload, counters } = result as RunResult;
  return { schema: 'shadowmmu.counts/1', workload, counters, crossings };
}

function listing(rows: Readonly<Record<string, number>>): string {
  const used = Object.entries(rows).filter(([, n]) => n > 0);
  const width = Math.max(...used.map(([name]) => name.length));
  return used.map(([name, n]) => `${name.padEnd(width)}  ${count(n).padStart(15)}\n`).join('');
}

/** The mode without a clock. */
async function runCounts(bench: Bench, values: Values, io: Io): Promise<number> {
  const counts = await exactCounts(bench);
  const save = text(values, 'save');
  if (save !== undefined) writeText(save, `${JSON.stringify(counts, null, 2)}\n`);
  const file = text(values, 'baseline');
  const left =
    file === undefined
      ? []
      : deviations(
          parseCounts(readText(file), file),
          counts,
          share(text(values, 'fail-over') ?? '0%'),
        );
  if (values['json'] === true) {
    io.out(`${JSON.stringify({ ...counts, deviations: left }, null, 2)}\n`);
  } else if (file === undefined) {
    io.out(`${listing(counts.counters)}\ncalls into the core\n${listing(counts.crossings)}`);
  } else {
    for (const { name, expected, found, change } of left) {
      const by = `${change > 0 ? '+' : ''}${(change * 100).toFixed(2)}%`;
      io.out(`${name}: ${count(found)}, baseline ${count(expected)} (${by})\n`);
    }
    const within = left.length === 0 ? 'every count is' : `${left.length} counts are not`;
    io.out(`${within} within ${text(values, 'fail-over') ?? '0%'} of ${file}\n`);
  }
  return left.length === 0 ? EXIT_STATUS.ok : EXIT_STATUS.data;
}

function ms(ns: number): string {
  return `${(ns / 1e6).toFixed(1)} ms`;
}

function functionTable(times: readonly FunctionTime[], whole: number, top: number): string {
  const rows = times.slice(0, top).map(({ name, selfNs, totalNs }) => {
    const self = `${ms(selfNs).padStart(10)} ${percent(selfNs, whole).padStart(7)}`;
    return `${self}  ${ms(totalNs).padStart(10)} ${percent(totalNs, whole).padStart(7)}  ${name}\n`;
  });
  return `      self                   total           function\n${rows.join('')}`;
}

function operationTable(costs: readonly OperationCost[]): string {
  const rows = costs.map(({ kind, meaning, count: n, totalNs, nsEach }) => {
    const each = nsEach === null ? '-' : nsEach.toFixed(1);
    return `${kind.padEnd(8)}${count(n).padStart(15)}${ms(totalNs).padStart(12)}${each.padStart(10)}  ${meaning}\n`;
  });
  return `operation        count        time   ns each\n${rows.join('')}`;
}

function crossingTable(crossings: Crossings, references: number, top: number): string {
  const total = Object.values(crossings).reduce((sum, n) => sum + n, 0);
  const rows = Object.entries(crossings)
    .slice(0, top)
    .map(([name, n]) => `${count(n).padStart(15)}  ${name}\n`);
  const each = references === 0 ? '' : `, ${(total / references).toFixed(4)} a reference`;
  return `calls into the core: ${count(total)}${each}\n${rows.join('')}`;
}

function sizeTable(sizes: readonly FunctionSize[], top: number): string {
  const total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
  const rows = sizes.slice(0, top).map(({ name, bytes }) => {
    return `${count(bytes).padStart(15)}  ${name.replace(/^assembly\//, '')}\n`;
  });
  return `code of the core: ${count(total)} bytes in ${sizes.length} functions\n${rows.join('')}`;
}

/** The mode with V8's profiler. */
async function runProfile(bench: Bench, values: Values, io: Io): Promise<number> {
  const top = wholeNumber(values, 'top', DEFAULT_TOP, 1000);
  const out = text(values, 'out') ?? DEFAULT_OUT;
  const build = text(values, 'core') === 'release' ? 'release' : 'profile';
  const interval = wholeNumber(values, 'interval', DEFAULT_INTERVAL_US, 1_000_000);
  // The first run lets V8 compile what the second one measures.
  await bench.run();
  let result: RunResult | undefined;
  const { profile, window } = await recordProfile(async () => {
    result = await bench.run();
  }, interval);
  const { counters, workload } = result as RunResult;
  writeText(out, JSON.stringify(profile));
  const times = functionTimes(profile, window);
  const wallNs = (window.to - window.from) * 1000;
  const whole = times.reduce((sum, { selfNs }) => sum + selfNs, 0);
  const operations = operationCosts(times, counters);
  const { crossings } = await exactCounts(bench);
  const sizes = wasmFunctionSizes(coreBytes(build));
  const sides = {
    core: sideNs(times, 'core'),
    host: sideNs(times, 'host'),
    engine: sideNs(times, 'engine'),
  };
  if (values['json'] === true) {
    const report = {
      schema: 'shadowmmu.profile/1',
      workload,
      out,
      total_ns: whole,
      wall_ns: wallNs,
      sides,
      functions: times,
    };
    io.out(`${JSON.stringify({ ...report, operations, crossings, code: sizes }, null, 2)}\n`);
    return EXIT_STATUS.ok;
  }
  const of = (side: FunctionTime['side']): FunctionTime[] => times.filter((t) => t.side === side);
  io.out(
    `${workload}: ${ms(whole)}; core ${percent(sides.core, whole)}, host ${percent(sides.host, whole)}, ` +
      `engine ${percent(sides.engine, whole)}\n\n` +
      `the Wasm core\n${functionTable(of('core'), whole, top)}\n` +
      `the host\n${functionTable(of('host'), whole, top)}\n` +
      `${operationTable(operations)}\n${crossingTable(crossings, counters.accesses, top)}\n` +
      `${sizeTable(sizes, top)}\nwritten: ${out}\n`,
  );
  return EXIT_STATUS.ok;
}

/** The command. */
export const command: Command = {
  summary: 'profile a workload: time by function, cost of each operation, exact counts',
  help: HELP,
  async run(args, io) {
    const values = parseOptions(args, EXTRA);
    const core = text(values, 'core');
    if (core !== undefined && core !== 'profile' && core !== 'release') {
      throw new UsageError(`--core ${core}: expected profile or release`);
    }
    if (values['csv'] === true)
      throw new UsageError('profile prints a table, or --json, not --csv');
    if (values['fail-over'] !== undefined && values['baseline'] === undefined) {
      throw new UsageError('--fail-over goes with --baseline only');
    }
    const exact = ['counts', 'baseline', 'save'].some((name) => values[name] !== undefined);
    const build = exact || core === 'release' ? 'release' : 'profile';
    const options = { ...simulateOptions(values), core: build } as const;
    const bench = await new Bench(workloadSpec(values), options, io).measured();
    return exact ? runCounts(bench, values, io) : runProfile(bench, values, io);
  },
};
