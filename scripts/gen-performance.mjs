// Writes the table of docs/performance.md from results that `npm run bench -- --save NAME` stored:
//   node scripts/gen-performance.mjs bench/results/NAME.json …
// Of a row that several files have, the last one counts.
import { readFileSync, writeFileSync } from 'node:fs';

const DOC = new URL('../docs/performance.md', import.meta.url);
const BEGIN = '<!-- results -->';
const END = '<!-- end of results -->';

function digits(value) {
  if (value === 0) return '0';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en');
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function wanted({ limit, reference, unit }) {
  if (!limit) return '';
  const sign = limit.atLeast ? '≥' : '≤';
  const parts = [];
  if (limit.ratio !== undefined) parts.push(`${sign} ${limit.ratio} x`);
  if (limit.value !== undefined) parts.push(`${sign} ${digits(limit.value)} ${unit}`);
  return reference ? parts.join(', ') : parts.toReversed().join(', ');
}

/** Whether the row reaches its limit; the ratio decides where there is one. */
export function verdict({ limit, ratio, ratioOfMinima, value }) {
  if (!limit) return '';
  const least = limit.atLeast === true;
  const within = (found, bound) => (least ? found >= bound : found <= bound);
  if (limit.ratio !== undefined && ratio !== undefined) {
    return within(ratio, limit.ratio) || within(ratioOfMinima ?? ratio, limit.ratio) ? 'yes' : 'no';
  }
  if (limit.value === undefined) return '';
  return within(least ? value.max : value.min, limit.value) ? 'yes' : 'no';
}

function tableRow(row) {
  const { letter, name, unit, value, reference, ratio, ratioOfMinima, generation } = row;
  const minima = ratioOfMinima === undefined ? '' : ` (${ratioOfMinima.toFixed(2)})`;
  return `| (${letter}) ${name}${generation ? `, ${generation}` : ''} | ${[
    `${digits(value.median)} ${unit} (${digits(value.min)})`,
    reference ? `${digits(reference.median)} (${digits(reference.min)})` : '',
    ratio === undefined ? '' : `${ratio.toFixed(2)}${minima}`,
    wanted(row),
    verdict(row),
  ].join(' | ')} |`;
}

/** The table and what stands above it. */
export function table(results) {
  const rows = new Map();
  for (const result of results) {
    for (const row of result.rows)
      rows.set(`${row.letter} ${row.name} ${row.unit} ${row.generation}`, row);
  }
  const sorted = [...rows.values()].toSorted((a, b) => a.letter.localeCompare(b.letter));
  const where = results.map(
    ({ machine, node, compiler, core_sha256, rounds, date }) =>
      `- ${date}: ${machine.cpus} x ${machine.cpu}, ${compiler}, Node ${node}, core ${core_sha256}, ` +
      `${rounds} rounds, load ${machine.load_before[0]} to ${machine.load_after[0]}`,
  );
  return [
    ...where,
    '',
    'Median of the rounds, minimum in brackets; the ratio is the median of the rounds’ own, that of the',
    'minima in brackets; a limit is reached when either is within it, since every round met some load.',
    '',
    '| | emulator | C | ratio | wanted | reached |',
    '|---|---|---|---|---|---|',
    ...sorted.map(tableRow),
  ].join('\n');
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const results = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')));
  const text = readFileSync(DOC, 'utf8');
  const from = text.indexOf(BEGIN) + BEGIN.length;
  const to = text.indexOf(END);
  if (to < from) throw new Error(`${DOC.pathname} has no place for results`);
  writeFileSync(DOC, `${text.slice(0, from)}\n\n${table(results)}\n\n${text.slice(to)}`);
}
