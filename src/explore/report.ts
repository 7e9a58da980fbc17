// The report of an exploration: one self-contained HTML file with the table of cells and, for each
// violated one, the shortest schedule as a sequence diagram.

import { escapeXml, sequenceDiagram } from './diagram.ts';
import type { CellResult } from './run.ts';
import type { Story } from './story.ts';

/** A cell and the stories of its violations, in their order. */
export interface ReportedCell {
  readonly cell: CellResult;
  readonly stories: readonly Story[];
}

const STYLE = `
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #202124 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { text-align: left; padding: .25rem .8rem; border-bottom: 1px solid #ddd }
td.n { text-align: right; font-variant-numeric: tabular-nums }
.bad { color: #b3261e; font-weight: 600 }
.good { color: #1b6e3c }
figure { margin: 1rem 0 2.5rem; overflow-x: auto }
svg { border: 1px solid #eee }
`;

function verdict(cell: CellResult): string {
  if (cell.violations.length > 0) return '<span class="bad">violated</span>';
  if (cell.search?.exhausted) return '<span class="good">holds</span>';
  return 'none found, not exhausted';
}

function row({ cell }: ReportedCell): string {
  const states = cell.search?.states ?? cell.random?.states ?? 0;
  const transitions = cell.search?.transitions ?? cell.random?.steps ?? 0;
  const found = cell.violations
    .map((v) => `${escapeXml(v.property)} in ${v.schedule.length} steps`)
    .join('<br>');
  return (
    `<tr><td>${escapeXml(cell.preset)}</td><td>${escapeXml(cell.scenario)}</td>` +
    `<td>${cell.bug ?? ''}</td><td>${verdict(cell)}</td><td class="n">${states}</td>` +
    `<td class="n">${transitions}</td><td>${found}</td></tr>`
  );
}

/** The report as HTML. */
export function htmlReport(cells: readonly ReportedCell[]): string {
  const figures = cells.flatMap(({ cell, stories }) =>
    stories.map((story, i) => {
      const violation = cell.violations[i];
      const title = `${cell.preset}, ${cell.scenario}${cell.bug ? `, ${cell.bug}` : ''}`;
      return (
        `<h2>${escapeXml(title)}: ${escapeXml(violation?.property ?? '')}</h2>\n` +
        `<figure>${sequenceDiagram(story)}</figure>`
      );
    }),
  );
  return (
    '<!doctype html>\n<html lang="en"><meta charset="utf-8">' +
    `<title>shadowmmu explore</title><style>${STYLE}</style>\n<body>\n<h1>Explored protocols</h1>\n` +
    '<table><thead><tr><th>protocol</th><th>scenario</th><th>seeded bug</th><th>verdict</th>' +
    '<th>states</th><th>transitions</th><th>violations</th></tr></thead><tbody>\n' +
    `${cells.map(row).join('\n')}\n</tbody></table>\n${figures.join('\n')}\n</body></html>\n`
  );
}
