// `shadowmmu run`: one workload on one machine.

import { DEVICE_TITLES } from '../compare.ts';
import type { RunResult } from '../result.ts';
import { PROTOCOLS, simulate } from '../simulate.ts';
import { COUNTERS } from '../stats/counters.ts';
import { resolveWorkload } from '../workload-spec.ts';
import { type Command, EXIT_STATUS, type Io } from './command.ts';
import { publishedText } from './defaults.ts';
import { MACHINE_HELP, parseOptions, simulateOptions, workloadSpec } from './options.ts';
import { bytes, count, csvField, duration, percent } from './table.ts';

const HELP = `usage: shadowmmu run (--trace FILE | --workload SPEC | --scenario FILE) [options]

run executes a workload as a guest on a host with too little memory and prints what was counted.

  --protocol NAME     how reclaim learns what the guest uses (default v3):
                      ${PROTOCOLS.join(', ')}

${MACHINE_HELP}  --csv               the same as comma-separated values
`;

/** Progress for a pass in this thread: shows it and lets signals in. */
export function progressLine(io: Io, title: string): (part: number | undefined) => Promise<void> {
  let shown = performance.now();
  return async (part) => {
    const now = performance.now();
    if (now - shown > 100) {
      shown = now;
      io.progress(`${title} ${part === undefined ? '…' : `${(part * 100).toFixed(0)}%`}`);
    }
    await new Promise((resolve) => setImmediate(resolve));
  };
}

/** The watermarks, if they start reclaim. */
function watermarkLine({ watermarks }: RunResult['machine']): string[] {
  if (watermarks === null) return [];
  const { min, low, high } = watermarks;
  return [`watermarks ${count(min)} min, ${count(low)} low, ${count(high)} high (free pages)`];
}

function facts(io: Io, { machine, workload, time, outcome }: RunResult): string {
  const memory = bytes(machine.memory_pages * 4096);
  const share = percent(machine.memory_pages, machine.footprint_pages);
  const lines = [
    `workload   ${workload}: ${count(machine.footprint_pages)} pages`,
    `host       ${count(machine.memory_pages)} frames (${memory}, ${share}), ${machine.backing} memory, ` +
      `${machine.policy}, swap on ${DEVICE_TITLES[machine.swap]}`,
    ...watermarkLine(machine),
    `kernel     KVM of ${machine.generation}${machine.paging === 'tdp' ? ' with two-dimensional paging' : ''}, mm of ${machine.mm_generation}, ${machine.vcpus} vCPU${machine.vcpus > 1 ? 's' : ''}`,
    `protocol   ${io.style('bold', machine.protocol)}`,
    `time       ${duration(time.total_ns)} on the ${machine.profile} host, slowdown ${time.slowdown.toFixed(2)} ` +
      `(${duration(time.io_wait_ns)} waiting for reads)`,
  ];
  if (outcome === 'oom_killed') {
    lines.push(io.style('red', 'outcome    the host ran out of memory and killed the VMM'));
  } else if (outcome === 'run_failed') {
    lines.push(io.style('red', "outcome    KVM_RUN failed: a page of the guest's tables is lost"));
  }
  return `${lines.join('\n')}\n\n`;
}

function listing(result: RunResult): string {
  const rows = COUNTERS.filter(({ name }) => result.counters[name] > 0);
  const width = Math.max(...rows.map(({ name }) => name.length));
  return rows
    .map(({ name, meaning }) => {
      return `${name.padEnd(width)}  ${count(result.counters[name]).padStart(15)}  ${meaning}\n`;
    })
    .join('');
}

function yardstick({ accuracy, ideal_lru, counters }: RunResult): string {
  const wrong = accuracy.false_old + accuracy.false_young;
  const { true_young, false_old, false_young, true_old } = accuracy;
  const cells = [true_young, false_old, false_young, true_old].map(count);
  const width = Math.max(...cells.map((cell) => cell.length));
  const [usedYoung, usedOld, idleYoung, idleOld] = cells.map((cell) => cell.padStart(width));
  return (
    `\naging      ${count(accuracy.young_tests)} tests of data pages, ${percent(wrong, accuracy.young_tests)} wrong\n` +
    `  used     ${usedYoung} called young, ${usedOld} called old (${percent(false_old, false_old + true_young)} false old)\n` +
    `  unused   ${idleYoung} called young, ${idleOld} called old (${percent(false_young, false_young + true_old)} false young)\n` +
    `spurious   ${count(counters.spurious_swap_outs)} evictions that an exact LRU would not have made\n` +
    `ideal-lru  ${count(ideal_lru.faults)} faults, ${count(ideal_lru.writebacks)} write-backs\n`
  );
}

/** Counters as CSV: one line of names, one of values. */
export function countersCsv(rows: readonly { name: string; result: RunResult }[]): string {
  const names = COUNTERS.map(({ name }) => name);
  const lines = [['protocol', ...names, 'total_ns', 'slowdown'].join(',')];
  for (const { name, result } of rows) {
    const values = names.map((counter) => result.counters[counter]);
    const cells = [name, ...values, result.time.total_ns, result.time.slowdown];
    lines.push(cells.map(csvField).join(','));
  }
  return `${lines.join('\n')}\n`;
}

/** The command. */
export const command: Command = {
  summary: 'run a workload on one machine and print the counters',
  help: HELP,
  async run(args, io) {
    const values = parseOptions(args, { protocol: { type: 'string' } });
    const spec = workloadSpec(values);
    const options = simulateOptions(values);
    const workload = resolveWorkload(spec, options.seed ?? 1);
    const result = await simulate(workload, options, progressLine(io, workload.name));
    io.progress('');
    if (values['json'] === true) io.out(`${JSON.stringify(result, null, 2)}\n`);
    else if (values['csv'] === true) {
      io.out(countersCsv([{ name: result.machine.protocol, result }]));
    } else io.out(facts(io, result) + listing(result) + yardstick(result) + publishedText(spec));
    return EXIT_STATUS.ok;
  },
};
