// npm run bench [-- --json] [--quick] [--only a,c,g] [--rounds N] [--save NAME]: every benchmark beside its
// reference. docs/performance.md explains the rows.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { coreBytes } from '../src/core/load.ts';
import { type ExploreRow, exploration } from './cases/explore.ts';
import { type MmuRow, mechanisms } from './cases/mmu.ts';
import { type ReplayRow, replay } from './cases/replay.ts';
import { geometricMean } from './lib/measure.ts';
import { buildNative } from './lib/native.ts';
import { realTraces, uniform } from './lib/traces.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: 'a,b,c,d,e,g,h,j,k,l,m,x' },
    rounds: { type: 'string', default: '7' },
    save: { type: 'string' },
  },
});
const rounds = Number(values.rounds);
const wanted = new Set(values.only.split(','));
const compiler = buildNative();
const rows: ReplayRow[] = [];
const say = (line: string): void => {
  if (!values.json) console.log(line);
};

function show(row: ReplayRow): void {
  const { benchmark, name, frames, faults, emulator, reference, ratio, withYardstick } = row;
  const with_ = withYardstick ? `, with yardstick ${withYardstick.median.toFixed(2)}` : '';
  say(
    `(${benchmark}) ${name.padEnd(16)} ${`${frames}`.padStart(8)} frames ${`${faults}`.padStart(8)} faults` +
      `  ${emulator.median.toFixed(2).padStart(8)} ns/ref (min ${emulator.min.toFixed(2)}, spread ${(emulator.spread * 100).toFixed(0)}%)` +
      `  C ${reference.median.toFixed(2)} (min ${reference.min.toFixed(2)})  ratio ${ratio.toFixed(2)}${with_}`,
  );
}

function showMechanism({ benchmark, name, unit, value, reference }: MmuRow): void {
  const c =
    reference === undefined
      ? ''
      : `  C ${reference.toFixed(2)}, ratio ${(value.median / reference).toFixed(2)}`;
  say(
    `(${benchmark}) ${name.padEnd(46)} ${value.median.toFixed(2).padStart(9)} ${unit} (min ${value.min.toFixed(2)})${c}`,
  );
}

if (compiler === undefined) say('no C compiler: the native reference is left out');
else {
  for (const trace of realTraces()) {
    const sizes = [trace.pages + 8, Math.floor(trace.pages / 2), Math.floor(trace.pages / 10)];
    sizes.forEach((frames, i) => {
      if (!wanted.has(i === 0 ? 'a' : 'b')) return;
      const row = replay(i === 0 ? 'a' : 'b', trace, frames, rounds, i === 0);
      rows.push(row);
      show(row);
    });
  }
  const sizes = values.quick ? [1000, 65_536] : [1000, 10_000, 65_536, 1_048_576];
  for (const pages of sizes) {
    const letter = pages === 65_536 || pages === 1_048_576 ? 'c' : 'm';
    if (!wanted.has(letter)) continue;
    rows.push(replay(letter, uniform(pages, 2_000_000), pages + 64, rounds));
    show(rows.at(-1) as ReplayRow);
  }
  if (wanted.has('d')) {
    rows.push(replay('d', uniform(65_536, 500_000), 16_384, rounds));
    show(rows.at(-1) as ReplayRow);
  }
  const real = rows.filter((row) => row.benchmark === 'a' || row.benchmark === 'b');
  if (real.length > 0) {
    say(
      `geometric mean of (a) and (b): ${geometricMean(real.map((row) => row.ratio)).toFixed(2)} x C`,
    );
  }
}
const mmu = ['e', 'g', 'h', 'j', 'k', 'l'].some((letter) => wanted.has(letter))
  ? mechanisms(rounds, compiler !== undefined)
  : [];
mmu.forEach(showMechanism);

const explorer: ExploreRow[] = wanted.has('x')
  ? ['2.6.27', '6.x'].map((protocol) => exploration(protocol, Math.min(rounds, 3)))
  : [];
for (const { protocol, states, transitions, perSecond, best, bytes } of explorer) {
  say(
    `(x) explore ${protocol.padEnd(10)} ${states} states, ${transitions} transitions` +
      `  ${perSecond} transitions/s (best ${best}), ${(bytes / 2 ** 20).toFixed(0)} MiB`,
  );
}
say(`${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} CPUs, Node ${process.version}`);

const results = {
  schema: 'shadowmmu.bench/1',
  machine: { cpu: cpus()[0]?.model, cpus: cpus().length, memory_bytes: totalmem() },
  node: process.version,
  compiler,
  core_sha256: createHash('sha256').update(coreBytes('release')).digest('hex').slice(0, 16),
  rounds,
  replay: rows,
  mechanisms: mmu,
  explorer,
};
if (values.json) console.log(JSON.stringify(results, null, 2));
if (values.save !== undefined) {
  const folder = new URL('../bench/results/', import.meta.url).pathname;
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}${values.save}.json`, `${JSON.stringify(results, null, 1)}\n`);
}
