// `shadowmmu explore`: every interleaving of a notifier protocol.

import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { UsageError } from '../core/errors.ts';
import { INJECTIONS } from '../explore/actors/inject.ts';
import type { Injection } from '../explore/actors/inject.ts';
import { PROTOCOLS, protocolPreset } from '../explore/presets.ts';
import type { ProtocolPreset } from '../explore/presets.ts';
import { htmlReport } from '../explore/report.ts';
import type { ReportedCell } from '../explore/report.ts';
import { exploreCell, scheduleFile, tellCell } from '../explore/run.ts';
import type { CellOptions, CellResult } from '../explore/run.ts';
import { ALL_SCENARIOS, SCENARIOS, scenarioOf } from '../explore/scenarios.ts';
import type { Scenario } from '../explore/setup.ts';
import { storyText } from '../explore/story.ts';
import { markdownTable } from '../explore/table.ts';
import { writeError, writeText } from '../files.ts';
import { SEEDED_BUGS } from '../kvm/fault-protocol.ts';
import type { SeededBug } from '../kvm/fault-protocol.ts';
import type { Command, Io } from './command.ts';
import { EXIT_STATUS } from './command.ts';
import { isScenarioFile, loadScenarios } from './own-scenario.ts';

function list(items: readonly { readonly name: string; readonly says: string }[]): string {
  return items.map(({ name, says }) => `  ${name.padEnd(20)} ${says}`).join('\n');
}

const HELP = `usage: shadowmmu explore [PRESET|SCENARIO|FILE]... [OPTIONS]

Runs the emulator's own notifier protocols in every distinguishable order of their actors. A preset
alone is explored in every scenario, a scenario alone under every preset. For each violated property it
prints a shortest schedule and writes it to a file for \`shadowmmu replay\`.

FILE is a scenario of your own: JSON over the standard actors, or a JavaScript module that exports
a scenario with actors, notifiers and properties of its own (docs/explorer.md).

presets:
${list(PROTOCOLS)}

scenarios:
${list(ALL_SCENARIOS)}

  --bug NAME        puts a mistake into the protocol: ${SEEDED_BUGS.join(', ')}
  --inject LIST     faults that come at any moment, an actor each: ${INJECTIONS.join(', ')}
  --preemptions N   only schedules with at most N preemptions (no reduction then)
  --no-reduction    without sleep sets
  --random N        N random schedules (PCT) instead of all, for scenarios too large
  --depth D         depth of the bugs that --random aims at (default 3)
  --seed N          seed of --random (default 1)
  --memory MIB      limit of the search's memory (default 1024)
  --out DIR         where schedules are written (default: here); "none": nowhere
  --report FILE     writes an HTML report with sequence diagrams
  --table           prints the table protocol × scenario as Markdown
  --events          stories show the tracepoints of each step
  --json            prints the results as JSON

exit status: 0 every property holds, 3 one is violated, 4 a search was stopped by --memory first
`;

interface Values {
  readonly bug?: string;
  readonly inject: string;
  readonly preemptions?: string;
  readonly random?: string;
  readonly depth: string;
  readonly seed: string;
  readonly memory: string;
  readonly out: string;
  readonly report?: string;
  readonly 'no-reduction': boolean;
  readonly table: boolean;
  readonly events: boolean;
  readonly json: boolean;
}

function parse(args: readonly string[]): { positionals: string[]; values: Values } {
  const { positionals, values } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      bug: { type: 'string' },
      inject: { type: 'string', default: '' },
      preemptions: { type: 'string' },
      random: { type: 'string' },
      depth: { type: 'string', default: '3' },
      seed: { type: 'string', default: '1' },
      memory: { type: 'string', default: '1024' },
      out: { type: 'string', default: '.' },
      report: { type: 'string' },
      'no-reduction': { type: 'boolean', default: false },
      table: { type: 'boolean', default: false },
      events: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  return { positionals, values: values as Values };
}

function whole(option: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) {
    throw new UsageError(`--${option} ${text}: a whole number from ${least} on is wanted`);
  }
  return value;
}

/** The cells that the positional arguments name. */
async function chosen(
  names: readonly string[],
): Promise<{ presets: ProtocolPreset[]; scenarios: Scenario[] }> {
  const presets: ProtocolPreset[] = [];
  const scenarios: Scenario[] = [];
  for (const name of names) {
    const preset = protocolPreset(name);
    const scenario = scenarioOf(name);
    if (preset !== undefined) presets.push(preset);
    else if (scenario !== undefined) scenarios.push(scenario);
    else if (isScenarioFile(name)) scenarios.push(...(await loadScenarios(name)));
    else throw new UsageError(`${name}: no preset or scenario; see shadowmmu explore --help`);
  }
  // A system of the user's own is explored once: no protocol of ours is in it.
  const own = scenarios.length > 0 && scenarios.every((scenario) => scenario.own === true);
  const all = own ? PROTOCOLS.filter(({ name }) => name === '6.x') : PROTOCOLS;
  return {
    presets: presets.length > 0 ? presets : [...all],
    scenarios: scenarios.length > 0 ? scenarios : [...SCENARIOS],
  };
}

function injections(list: string): Injection[] {
  const names = list.split(',').filter((name) => name !== '');
  return names.map((name) => {
    const known = INJECTIONS.find((injection) => injection === name);
    if (known === undefined) {
      throw new UsageError(`--inject ${name}: there are ${INJECTIONS.join(', ')}`);
    }
    return known;
  });
}

function optionsOf(values: Values, io: Io, label: () => string): CellOptions {
  if (values.bug !== undefined && !SEEDED_BUGS.includes(values.bug as SeededBug)) {
    throw new UsageError(`--bug ${values.bug}: there are ${SEEDED_BUGS.join(', ')}`);
  }
  return {
    bug: values.bug as SeededBug | undefined,
    inject: injections(values.inject),
    reduction: !values['no-reduction'],
    preemptions:
      values.preemptions === undefined ? undefined : whole('preemptions', values.preemptions, 0),
    memory: whole('memory', values.memory, 1) * 2 ** 20,
    random:
      values.random === undefined
        ? undefined
        : {
            runs: whole('random', values.random, 1),
            bugDepth: whole('depth', values.depth, 1),
            seed: whole('seed', values.seed, 0),
          },
    progress: ({ states, transitions, depth }) =>
      io.progress(`${label()}: ${states} states, ${transitions} transitions, depth ${depth}`),
  };
}

function summary(cell: CellResult, io: Io): string {
  const name = `${cell.preset.padEnd(20)} ${cell.scenario.padEnd(19)}`;
  const { search, random } = cell;
  const size =
    search !== null
      ? `${search.states} states, ${search.transitions} transitions, ${search.endStates} ends, ` +
        `${Math.ceil(search.bytes / 2 ** 20)} MiB`
      : `${random?.schedules} schedules, ${random?.states} states`;
  const found = cell.violations.map((v) => `${v.property} (${v.schedule.length} steps)`);
  if (found.length > 0)
    return `${name} ${io.style('red', 'violated')} ${found.join(', ')}; ${size}`;
  if (search?.exhausted) return `${name} ${io.style('green', 'holds')}    ${size}, exhausted`;
  if (random !== null) {
    const { guarantee } = random;
    const sure = guarantee < 1e-3 ? guarantee.toExponential(1) : `${(guarantee * 100).toFixed(1)}%`;
    return `${name} none found; ${size}; a bug of depth ${random.bugDepth} had at least ${sure} to show`;
  }
  return `${name} ${io.style('yellow', 'open')}     ${size}; stopped: ${search?.stopped}`;
}

/** Writes a schedule and returns its path. */
function save(cell: CellResult, index: number, directory: string): string {
  const violation = cell.violations[index] as CellResult['violations'][number];
  const scenario = cell.scenario.replaceAll(/[^\w.-]+/g, '-');
  const parts = [cell.preset, scenario, cell.bug, ...cell.inject, violation.property];
  const path = join(directory, `${parts.filter((part) => part !== null).join('_')}.schedule.json`);
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    throw writeError(directory, error);
  }
  const file = cell.file === null ? null : relative(directory, cell.file);
  const body = { ...scheduleFile(cell, violation), file };
  writeText(path, `${JSON.stringify(body, null, 2)}\n`);
  return path;
}

export const command: Command = {
  summary: 'every interleaving of a notifier protocol, with the shortest schedule that breaks it',
  help: HELP,
  blocks: true,
  async run(args, io) {
    const { positionals, values } = parse(args);
    const { presets, scenarios } = await chosen(positionals);
    const cells: ReportedCell[] = [];
    let label = '';
    const options = optionsOf(values, io, () => label);
    const quiet = values.json || values.table;
    for (const preset of presets) {
      for (const scenario of scenarios) {
        label = `${preset.name} ${scenario.name}`;
        io.progress(label);
        const cell = exploreCell(preset, scenario, options);
        const stories = cell.violations.map((violation) =>
          tellCell(preset, scenario, violation.schedule, options),
        );
        cells.push({ cell, stories });
        if (!quiet) tellAll(cells.at(-1) as ReportedCell, values, io, positionals.length > 1);
      }
    }
    io.progress('');
    if (values.json) {
      const body = { schema: 'shadowmmu-explore-1', cells: cells.map(({ cell }) => cell) };
      io.out(`${JSON.stringify(body, null, 2)}\n`);
    }
    if (values.table) io.out(markdownTable(cells.map(({ cell }) => cell)));
    if (values.report !== undefined) writeText(values.report, htmlReport(cells));
    if (cells.some(({ cell }) => cell.violations.length > 0)) return EXIT_STATUS.violated;
    const open = cells.some(({ cell }) => cell.search?.exhausted === false);
    return open ? EXIT_STATUS.open : EXIT_STATUS.ok;
  },
};

/** Prints a cell: its line, the shortest story (all of them when `all`), and where they were written. */
function tellAll(reported: ReportedCell, values: Values, io: Io, all: boolean): void {
  const { cell, stories } = reported;
  io.out(`${summary(cell, io)}\n`);
  const order = cell.violations
    .map((_, i) => i)
    .toSorted((a, b) => lengthOf(cell, a) - lengthOf(cell, b));
  for (const index of all ? order : order.slice(0, 1)) {
    const story = stories[index];
    if (story === undefined) continue;
    const columns = io.columns === 0 ? 110 : io.columns;
    io.out(`\n${storyText(story, columns, values.events)}`);
    if (values.out !== 'none') io.out(`written to ${save(cell, index, values.out)}\n\n`);
  }
}

function lengthOf(cell: CellResult, index: number): number {
  return cell.violations[index]?.schedule.length ?? 0;
}
