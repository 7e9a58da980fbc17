// npm run bench [-- --json] [--quick] [--only a,c,g] [--rounds N] [--save NAME]: every benchmark beside its
// reference. docs/performance.md explains the rows.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { coreBytes } from '../src/core/load.ts';
import { singleCalls, startUp } from './cases/calls.ts';
import { decoding } from './cases/decode.ts';
import { type ExploreRow, exploration } from './cases/explore.ts';
import { minorFaults } from './cases/fault.ts';
import { guestCosts } from './cases/guest.ts';
import { memory } from './cases/memory.ts';
import { ageing, largestGuest, ranges, sparseRange } from './cases/ranges.ts';
import { cold, framesOf, once, replay } from './cases/replay.ts';
import { fitting, thrash } from './cases/uniform.ts';
import { geometricMean } from './lib/measure.ts';
import { buildNative } from './lib/native.ts';
import { Replayer } from './lib/replayer.ts';
import { type Row, line } from './lib/row.ts';
import { realTraces, recordedTraces } from './lib/traces.ts';

const LETTERS = 'a,b,c,d,e,f,g,h,i,j,k,l,m,x';
const USAGE = `usage: npm run bench -- [options]
  --only LETTERS  what to measure, of ${LETTERS} (docs/performance.md says what each is)
  --rounds N      rounds of each, the two sides in turn (default 7)
  --quick         a small part of everything
  --json          the rows as JSON
  --save NAME     store them as bench/results/NAME.json`;

/** Ends with a message and how it is used. */
function refuse(message: string): never {
  console.error(`${message}\n${USAGE}`);
  process.exit(2);
}

function options() {
  try {
    return parseArgs({
      options: {
        help: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        only: { type: 'string', default: LETTERS },
        rounds: { type: 'string', default: '7' },
        save: { type: 'string' },
        // One pass of this trace in this process: how `cold` measures.
        cold: { type: 'string' },
      },
    }).values;
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

const values = options();
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1)
  refuse(`--rounds ${values.rounds}: expected 1 or more`);
const wanted = new Set(values.only.split(','));
for (const letter of wanted) {
  if (!LETTERS.split(',').includes(letter)) refuse(`--only ${letter}: expected of ${LETTERS}`);
}
const rows: Row[] = [];

function say(text: string): void {
  if (!values.json) console.log(text);
}

function add(more: Row | readonly Row[]): void {
  for (const row of Array.isArray(more) ? (more as readonly Row[]) : [more as Row]) {
    rows.push(row);
    say(line(row));
  }
}

/** (a) and (b): the oracle's traces, what valgrind records here, and both under 6.1. */
function replays(): void {
  const real = realTraces();
  const recorded = values.quick ? [] : recordedTraces();
  for (const trace of [...real, ...recorded]) {
    for (const size of [0, 1, 2] as const) {
      if (!wanted.has(size === 0 ? 'a' : 'b')) continue;
      add(replay(trace, size, rounds));
      if (!values.quick) add(replay(trace, size, rounds, { generation: '6.1' }));
    }
    if (wanted.has('b') && !values.quick && real.includes(trace)) add(once(trace, rounds));
    if (!wanted.has('a') || values.quick) continue;
    add(replay(trace, 0, rounds, { yardstick: true }));
    if (real.includes(trace)) add(cold(trace, Math.min(rounds, 5)));
  }
  // What was run once, or cold, has no limit.
  const main = ({ letter, generation, name, limit }: Row): boolean =>
    (letter === 'a' || letter === 'b') &&
    generation === undefined &&
    real.some((trace) => name.startsWith(trace.name)) &&
    limit !== undefined &&
    !name.includes('yardstick');
  for (const letter of ['a', 'b']) {
    const ratios = rows
      .filter((row) => main(row) && row.letter === letter)
      .map((row) => row.ratio ?? 0);
    if (ratios.length === 0) continue;
    say(`geometric mean of (${letter}), oracle's traces: ${geometricMean(ratios).toFixed(2)} x C`);
  }
}

/** What is measured beside the native reference alone. */
function besideNative(): void {
  replays();
  if (wanted.has('c')) {
    for (const pages of values.quick ? [65_536] : [65_536, 1_048_576])
      add(fitting('c', pages, rounds));
    add(fitting('c', 65_536, rounds, { generation: '6.1' }));
  }
  if (wanted.has('d')) {
    add(thrash(rounds));
    if (!values.quick) add(thrash(rounds, { generation: '6.1' }));
  }
  if (!wanted.has('m')) return;
  const sizes = [1000, 10_000, 100_000, 1_000_000, 10_000_000];
  for (const pages of values.quick ? sizes.slice(0, 3) : sizes) add(fitting('m', pages, rounds));
}

function everything(compiler: string | undefined): ExploreRow[] {
  const c = compiler !== undefined;
  if (c) besideNative();
  else say('no C compiler: what needs the native reference is left out');
  const eviction = rows.find(({ letter, unit, generation }) => {
    return letter === 'd' && unit === 'ns' && generation === undefined;
  })?.reference?.median;
  if (wanted.has('e')) add(minorFaults(rounds, eviction));
  if (wanted.has('f')) add(guestCosts(rounds));
  if (wanted.has('g')) add([...ageing(rounds, c), ...ageing(rounds, c, '6.1')]);
  if (wanted.has('h')) add([...ranges(rounds), ...ranges(rounds, '6.1'), ...sparseRange(rounds)]);
  if (wanted.has('i')) add(decoding(rounds, c));
  if (wanted.has('j')) add(memory());
  if (!values.quick && (wanted.has('h') || wanted.has('j'))) add(largestGuest());
  if (wanted.has('k')) add(singleCalls(rounds));
  if (wanted.has('l')) add(startUp(rounds));
  if (!wanted.has('x')) return [];
  return ['2.6.27', '6.x'].map((protocol) => exploration(protocol, Math.min(rounds, 3)));
}

function sayExplorer({ protocol, states, transitions, perSecond, best, bytes }: ExploreRow): void {
  say(
    `(x) explore ${protocol.padEnd(10)} ${states} states, ${transitions} transitions` +
      `  ${perSecond} transitions/s (best ${best}), ${(bytes / 2 ** 20).toFixed(0)} MiB`,
  );
}

function measure(): void {
  const compiler = buildNative();
  const load = loadavg().map((l) => Math.round(l * 10) / 10);
  const explorer = everything(compiler);
  explorer.forEach(sayExplorer);
  const cpu = cpus()[0]?.model ?? 'unknown processor';
  say(`${cpu}, ${cpus().length} CPUs, Node ${process.version}`);
  const results = {
    schema: 'shadowmmu.bench/2',
    machine: {
      cpu,
      cpus: cpus().length,
      memory_bytes: totalmem(),
      load_before: load,
      load_after: loadavg().map((l) => Math.round(l * 10) / 10),
    },
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    compiler,
    core_sha256: createHash('sha256').update(coreBytes('release')).digest('hex').slice(0, 16),
    rounds,
    rows,
    explorer,
  };
  if (values.json) console.log(JSON.stringify(results, null, 2));
  if (values.save === undefined) return;
  const folder = new URL('../bench/results/', import.meta.url).pathname;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}${values.save}.json`, `${JSON.stringify(results, null, 1)}\n`);
}

if (values.cold === undefined) measure();
else {
  // A process of its own: one pass over a trace of the oracle that fits.
  const [trace] = realTraces([values.cold]);
  if (trace === undefined) throw new Error(`${values.cold} is not a trace of the oracle`);
  console.log(new Replayer(trace, framesOf(trace)[0] as number, {}).replay().ns);
}
