// A log-log plot of a contention sweep as a self-contained SVG.

import type { ContentionMachine } from './machine.ts';
import { SCHEMES } from './model.ts';
import type { ContentionPoint, Scheme } from './model.ts';

const WIDTH = 860;
const HEIGHT = 500;
const LEFT = 84;
const RIGHT = 200;
const TOP = 64;
const BOTTOM = 62;

const COLOURS: Record<Scheme, string> = {
  rwlock: '#b3261e',
  spinlock: '#b06000',
  rcu: '#1b6e3c',
  srcu: '#0b57d0',
  mmu_lock: '#7b1fa2',
  'mmu_lock-mcs': '#455a64',
};

/** What each curve is, for the legend. */
const LABELS: Record<Scheme, string> = {
  rwlock: 'rwlock (v3 as posted)',
  spinlock: 'ticket spinlock',
  rcu: 'RCU (the review)',
  srcu: 'SRCU (3.7 …)',
  mmu_lock: 'RCU + mmu_lock (ticket)',
  'mmu_lock-mcs': 'RCU + mmu_lock (queued)',
};

function count(value: number): string {
  if (value >= 1e9) return `${value / 1e9} G`;
  if (value >= 1e6) return `${value / 1e6} M`;
  return value >= 1e3 ? `${value / 1e3} k` : `${value}`;
}

/** Moves labels that would overlap apart, keeping their order. */
function spread(ys: { y: number }[], gap: number): void {
  ys.sort((a, b) => a.y - b.y);
  for (let i = 1; i < ys.length; i++) {
    const above = ys[i - 1] as { y: number };
    const here = ys[i] as { y: number };
    if (here.y < above.y + gap) here.y = above.y + gap;
  }
}

/** Pixels below which two curves look like one. */
const NEAR = 3;

/** Whether a curve lies on another one all along. */
function covers(ys: readonly number[], other: readonly number[]): boolean {
  return ys.length === other.length && ys.every((y, i) => Math.abs(y - (other[i] ?? 0)) < NEAR);
}

/** Draws calls per second over CPUs. */
export function plotContention(
  machine: ContentionMachine,
  points: readonly ContentionPoint[],
): string {
  const maxCpus = Math.max(...points.map((p) => p.cpus));
  const high = Math.max(...points.map((p) => p.callsPerSecond));
  const low = Math.min(...points.map((p) => p.callsPerSecond));
  const top = Math.ceil(Math.log10(high));
  const bottom = Math.floor(Math.log10(low));
  const x = (cpus: number): number =>
    LEFT + (Math.log2(cpus / 2) / Math.max(1, Math.log2(maxCpus / 2))) * (WIDTH - LEFT - RIGHT);
  const y = (value: number): number =>
    TOP + ((top - Math.log10(value)) / Math.max(1, top - bottom)) * (HEIGHT - TOP - BOTTOM);
  const out: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" ` +
      `width="${WIDTH}" height="${HEIGHT}" font-family="system-ui, sans-serif" font-size="13">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    `<text x="${LEFT}" y="24" font-size="16" font-weight="600">Notifier calls per second, one mm</text>`,
    `<text x="${LEFT}" y="44" fill="#555">${machine.says}</text>`,
  ];
  for (let decade = bottom; decade <= top; decade++) {
    const at = y(10 ** decade).toFixed(1);
    out.push(
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#ddd"/>`,
      `<text x="${LEFT - 8}" y="${Number(at) + 4}" text-anchor="end">${count(10 ** decade)}</text>`,
    );
  }
  for (let cpus = 2; cpus <= maxCpus; cpus *= 2) {
    const at = x(cpus).toFixed(1);
    out.push(
      `<line y1="${TOP}" y2="${HEIGHT - BOTTOM}" x1="${at}" x2="${at}" stroke="#eee"/>`,
      `<text x="${at}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${cpus}</text>`,
    );
  }
  out.push(
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 14}" text-anchor="middle">CPUs</text>`,
  );
  const labels: { y: number; text: string; colour: string }[] = [];
  const drawn: number[][] = [];
  for (const scheme of SCHEMES) {
    const line = points.filter((p) => p.scheme === scheme);
    if (line.length === 0) continue;
    const path = line.map((p) => `${x(p.cpus).toFixed(1)},${y(p.callsPerSecond).toFixed(1)}`);
    const colour = COLOURS[scheme];
    const ys = line.map((p) => y(p.callsPerSecond));
    // The curve below shows between the dashes.
    const dashes = drawn.some((other) => covers(ys, other)) ? ' stroke-dasharray="9 9"' : '';
    drawn.push(ys);
    out.push(
      `<polyline fill="none" stroke="${colour}" stroke-width="2"${dashes} points="${path.join(' ')}"/>`,
    );
    for (const point of path) {
      const [cx, cy] = point.split(',') as [string, string];
      out.push(`<circle cx="${cx}" cy="${cy}" r="2.8" fill="${colour}"/>`);
    }
    const last = line.at(-1) as ContentionPoint;
    labels.push({ y: y(last.callsPerSecond) + 4, text: LABELS[scheme], colour });
  }
  spread(labels, 17);
  // The lowest label stays above the axis and pushes those above it up.
  for (let i = labels.length - 1, floor = HEIGHT - BOTTOM; i >= 0; i--, floor -= 17) {
    const label = labels[i] as { y: number };
    label.y = Math.min(label.y, floor);
  }
  for (const label of labels) {
    out.push(
      `<text x="${WIDTH - RIGHT + 10}" y="${label.y.toFixed(1)}" fill="${label.colour}">${label.text}</text>`,
    );
  }
  return `${out.join('\n')}\n</svg>\n`;
}
