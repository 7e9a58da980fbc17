// The examples of this area print what their heads say.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const root = new URL('../../', import.meta.url).pathname;

test('miss-ratio-curve.mjs', () => {
  const file = `${root}examples/miss-ratio-curve.mjs`;
  const head = [...readFileSync(file, 'utf8').matchAll(/^\/\/ {3}(.*)$/gm)].map((m) => m[1]);
  const { stdout } = spawnSync(process.execPath, [file], { encoding: 'utf8', cwd: root });
  expect(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.trim()),
  ).toEqual(head.map((line) => (line as string).trim()));
});

test('scenario.json runs verified', () => {
  const args = ['dist/cli.js', 'run', '--scenario', 'examples/scenario.json', '--verify', '--json'];
  const { stdout, status } = spawnSync(process.execPath, args, { encoding: 'utf8', cwd: root });
  expect(status).toBe(0);
  const { phases, counters } = JSON.parse(stdout);
  expect(phases).toHaveLength(2);
  expect(counters.swap_outs).toBeGreaterThan(0);
});
