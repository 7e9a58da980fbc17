// A story as a sequence diagram: self-contained SVG, one lane an actor, time downwards.

import type { Story } from './story.ts';

const LANE = 330;
const LEFT = 44;
const HEAD = 56;
const CHARS = 42;
const LINE = 16;

/** Text made safe for XML. */
export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

const COLOURS = ['#0b57d0', '#7b1fa2', '#1b6e3c', '#b06000', '#455a64', '#b3261e'];

function lines(text: string): string[] {
  const out: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > CHARS) {
      out.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '') out.push(line);
  return out;
}

/** Draws the story. */
export function sequenceDiagram(story: Story): string {
  const width = LEFT + story.actors.length * LANE + 16;
  const body: string[] = [];
  const centre = (actor: number): number => LEFT + actor * LANE + 18;
  let y = HEAD + 12;
  let previous = -1;
  let previousY = y;
  story.steps.forEach((step, i) => {
    const colour = COLOURS[step.actor % COLOURS.length] as string;
    const text = lines(step.label);
    const extra: string[] = [];
    if (step.waits !== null) extra.push(`waits for ${step.waits}`);
    if (step.ended) extra.push('ends');
    const height = (text.length + extra.length) * LINE + 10;
    const x = centre(step.actor);
    if (previous >= 0 && previous !== step.actor) {
      body.push(
        `<path d="M${centre(previous)} ${previousY} L${x} ${y}" stroke="#999" ` +
          'stroke-dasharray="4 3" fill="none"/>',
      );
    }
    body.push(
      `<text x="8" y="${y + 16}" fill="#777">${i + 1}</text>`,
      `<rect x="${x - 5}" y="${y}" width="10" height="${height}" rx="3" fill="${colour}"/>`,
    );
    text.forEach((line, k) =>
      body.push(`<text x="${x + 14}" y="${y + 16 + k * LINE}">${escapeXml(line)}</text>`),
    );
    extra.forEach((line, k) =>
      body.push(
        `<text x="${x + 14}" y="${y + 16 + (text.length + k) * LINE}" fill="${colour}" ` +
          `font-style="italic">${escapeXml(line)}</text>`,
      ),
    );
    previous = step.actor;
    previousY = y + height;
    y += height + 6;
  });
  const end = y;
  for (const { property, detail } of story.violations) {
    const text = lines(`${property}: ${detail}`);
    const wide = width - LEFT - 16;
    const all = text.join(' ');
    const perLine = Math.floor((wide - 24) / 7.2);
    const rows: string[] = [];
    for (let at = 0; at < all.length; at += perLine) rows.push(all.slice(at, at + perLine));
    y += 10;
    body.push(
      `<rect x="${LEFT}" y="${y}" width="${wide}" height="${rows.length * LINE + 12}" rx="4" ` +
        'fill="#fce8e6" stroke="#b3261e"/>',
    );
    rows.forEach((row, k) =>
      body.push(
        `<text x="${LEFT + 12}" y="${y + 18 + k * LINE}" fill="#b3261e">${escapeXml(row)}</text>`,
      ),
    );
    y += rows.length * LINE + 16;
  }
  const height = y + 16;
  const lanes = story.actors.map((name, actor) => {
    const x = centre(actor);
    const colour = COLOURS[actor % COLOURS.length] as string;
    return (
      `<line x1="${x}" x2="${x}" y1="${HEAD}" y2="${end}" stroke="#ccc"/>` +
      `<text x="${x - 6}" y="${HEAD - 18}" font-size="15" font-weight="600" fill="${colour}">` +
      `${escapeXml(name)}</text>`
    );
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" ` +
    `height="${height}" font-family="system-ui, sans-serif" font-size="13">\n` +
    `<rect width="${width}" height="${height}" fill="#fff"/>\n` +
    `${lanes.join('\n')}\n${body.join('\n')}\n</svg>\n`
  );
}
