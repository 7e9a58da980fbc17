// The table protocol × scenario × property as Markdown, and where each violation is described.

import { PROTOCOLS } from './presets.ts';
import type { CellResult } from './run.ts';
import { SCENARIOS } from './scenarios.ts';

const LORE = 'https://lore.kernel.org/all/';
const COMMIT = 'https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/commit/?id=';

/** A mail or commit that describes or fixed a violation. */
interface Source {
  readonly text: string;
  readonly url: string;
}

const mail = (text: string, id: string): Source => ({ text, url: `${LORE}${id}/` });
const commit = (text: string, id: string): Source => ({ text, url: `${COMMIT}${id}` });

const KNOWN_HOLE = mail('the known hole, v7', '20080216104827.GI11732@v2.random');
const RETRY = commit('2.6.27 KVM', 'e930bffe95e1');
const START_END = commit('2.6.27 mm', 'cddb8a5c14aa');

/** Where a violation of a property under a protocol in a scenario is described or was fixed. */
export function sourcesOf(preset: string, scenario: string, property: string): readonly Source[] {
  if (property === 'no_use_after_free') {
    if (preset.startsWith('v2'))
      return [mail('v3: "some locking"', '20080121125204.GJ6970@v2.random')];
    if (preset === 'v3-rcu-slab') {
      return [mail('type-safe slabs', 'Pine.LNX.4.64.0801222207080.27378@blonde.site')];
    }
    return [mail('quiescent point', '20080122203125.GC15848@v2.random')];
  }
  if (property === 'cow_isolation') {
    return [mail('fork not handled yet', '20080116101939.GH7059@v2.random')];
  }
  if (preset === '6.1') return [commit('6.8', '13ddaf26be32')];
  if (preset === '3.5') return [commit('3.6', '3ad3d901bbcf')];
  if (preset === 'seqlock') {
    return [mail('the draft', '47C673DE.6000902@qumranet.com'), RETRY];
  }
  // The pages are free before invalidate_range is called; unregister calls no release; mprotect has no
  // hook: 2.6.27 has invalidate_range_start, release at unregister, and both in mprotect.
  const early = ['hit-zap', 'destroy', 'release', 'release-unregister', 'fault-mprotect'];
  if (early.includes(scenario)) return [START_END];
  return [KNOWN_HOLE, RETRY];
}

function links(sources: readonly Source[]): string {
  return sources.map(({ text, url }) => `[${text}](${url})`).join(', ');
}

function cellText(cell: CellResult): string {
  if (cell.violations.length > 0) {
    const shortest = Math.min(...cell.violations.map((v) => v.schedule.length));
    return `**${shortest}**`;
  }
  const states = cell.search?.states ?? cell.random?.states ?? 0;
  return cell.search?.exhausted ? `${states}` : `(${states})`;
}

/** The matrix of cells, then one line a violated property. */
export function markdownTable(cells: readonly CellResult[]): string {
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
  return `${out.join('\n')}\n`;
}
