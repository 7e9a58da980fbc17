// The table protocol × scenario × property as Markdown, each violation with a link to the mail or commit
// that describes or fixed it.

import { PROTOCOLS } from './presets.ts';
import type { CellResult } from './run.ts';
import { SCENARIOS } from './scenarios.ts';
import { SOURCES, sourcesOf } from './sources.ts';
import type { Source } from './sources.ts';

/** Markdown's short form of a link; the addresses stand at the end. */
function links(sources: readonly Source[]): string {
  return sources.map(({ label, text }) => `[${text}][${label}]`).join(', ');
}

function cellText(cell: CellResult): string {
  const [shortest] = cell.violations.toSorted((a, b) => a.schedule.length - b.schedule.length);
  if (shortest !== undefined) {
    const [source] = sourcesOf(cell.preset, cell.scenario, shortest.property);
    const length = shortest.schedule.length;
    return source === undefined ? `**${length}**` : `**[${length}][${source.label}]**`;
  }
  const states = cell.search?.states ?? cell.random?.states ?? 0;
  return cell.search?.exhausted ? `${states}` : `(${states})`;
}

function matrix(cells: readonly CellResult[]): string[] {
  const presets = PROTOCOLS.filter((p) => cells.some((cell) => cell.preset === p.name));
  const scenarios = SCENARIOS.filter((s) => cells.some((cell) => cell.scenario === s.name));
  const out = [
    `| scenario | ${presets.map((p) => `\`${p.name}\``).join(' | ')} |`,
    `|---|${presets.map(() => '---:').join('|')}|`,
  ];
  for (const scenario of scenarios) {
    const row = presets.map((preset) => {
      const cell = cells.find((c) => c.preset === preset.name && c.scenario === scenario.name);
      return cell === undefined ? '' : cellText(cell);
    });
    out.push(`| \`${scenario.name}\` | ${row.join(' | ')} |`);
  }
  return out;
}

/** The matrix of cells, one line a violated property, and the protocols with their sources. */
export function markdownTable(cells: readonly CellResult[]): string {
  const out = matrix(cells);
  out.push('', '| protocol | scenario | violated property | steps | described or fixed |');
  out.push('|---|---|---|---:|---|');
  for (const cell of cells) {
    const sorted = cell.violations.toSorted((a, b) => a.schedule.length - b.schedule.length);
    for (const { property, schedule } of sorted) {
      const from = links(sourcesOf(cell.preset, cell.scenario, property));
      const name = `\`${cell.preset}\` | \`${cell.scenario}\``;
      out.push(`| ${name} | \`${property}\` | ${schedule.length} | ${from} |`);
    }
  }
  out.push('', '| protocol | what it is | follows |', '|---|---|---|');
  for (const { name, says, sources } of PROTOCOLS) {
    out.push(`| \`${name}\` | ${says} | ${links(sources)} |`);
  }
  out.push('');
  for (const { label, url } of Object.values(SOURCES)) out.push(`[${label}]: ${url}`);
  return `${out.join('\n')}\n`;
}
