// The README is true: its commands run and print what it shows (the words; figures move with the
// kernels' rules, scripts/gen-readme.mjs writes them anew), its snippet is an example that runs, every
// command is in its table, and every example runs.
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { blocks, outputOf } from '../scripts/gen-readme.mjs';

const root = new URL('../', import.meta.url).pathname;
const readme = readFileSync(`${root}README.md`, 'utf8');

/** Letters and signs without figures and the white space that aligns them. */
function words(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.replace(/[-\d.,%]+|[nmµ]?s\b/g, '').replace(/\s+/g, ' '));
}

describe('commands', () => {
  for (const { command, output } of blocks(readme)) {
    test(command, () => {
      // Counters that are zero are not listed, and one may become so.
      const shown = words(output);
      const printed = words(outputOf(command));
      expect(printed[0]).toBe(shown[0]);
      const gone = shown.filter((line) => !printed.includes(line));
      expect(gone.length, gone.join('; ')).toBeLessThanOrEqual(2);
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
    });
  }
});
