// The README is true: its commands print what it shows, to the letter (figures move with the kernels'
// rules; `node scripts/gen-readme.mjs` writes them anew), its snippet is an example that runs, every
// command is in its table, and every example prints what its head says.
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { blocks, outputOf } from '../scripts/gen-readme.mjs';

const root = new URL('../', import.meta.url).pathname;
const readme = readFileSync(`${root}README.md`, 'utf8');

/** Lines of output that the comment at the head of an example shows: the indented ones, as far as given. */
function shownBy(source: string): string[] {
  const lines = [...source.matchAll(/^\/\/(?: {3,}(.*))?/gm)].map((match) => match[1] ?? '');
  return lines.filter((line) => line !== '' && !line.startsWith('$') && !line.includes('…'));
}

describe('commands', () => {
  for (const { command, output } of blocks(readme)) {
    test(command, () => {
      expect(outputOf(command), 'node scripts/gen-readme.mjs writes it anew').toBe(output);
    });
  }

  test('all are in the table', () => {
    const help = execFileSync(process.execPath, ['dist/cli.js', '--help'], {
      cwd: root,
      encoding: 'utf8',
    });
    const names = [...help.matchAll(/^ {2}([a-z]+) {2,}/gm)].map((m) => m[1] as string);
    expect(names).toContain('run');
    for (const name of names) expect(readme).toContain(`| \`${name}\` |`);
  });
});

test('the snippet is examples/hot-cold.mjs', () => {
  const snippet = /```js\n([^]*?)```/.exec(readme)?.[1];
  const example = readFileSync(`${root}examples/hot-cold.mjs`, 'utf8');
  expect(example.replace(/^\/\/.*\n/gm, '')).toBe(snippet);
});

describe('examples', () => {
  for (const name of readdirSync(`${root}examples`).filter((file) => file.endsWith('.mjs'))) {
    test(name, () => {
      const printed = execFileSync(process.execPath, [`examples/${name}`], {
        cwd: root,
        encoding: 'utf8',
      });
      expect(printed.length).toBeGreaterThan(20);
      const lines = printed.split('\n').map((line) => line.trim());
      const head =
        /^(?:\/\/.*\n)*/.exec(readFileSync(`${root}examples/${name}`, 'utf8'))?.[0] ?? '';
      for (const line of shownBy(head)) expect(lines).toContain(line.trim());
    });
  }
});
