// The example of a user's reclaim policy prints what its head says.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

test('examples/reclaim-policy.mjs', () => {
  const file = new URL('../../examples/reclaim-policy.mjs', import.meta.url).pathname;
  const promised = [...readFileSync(file, 'utf8').matchAll(/^\/\/ {3}(.*)$/gm)].map((m) => m[1]);
  const printed = execFileSync(process.execPath, [file], { encoding: 'utf8' });
  expect(printed.trimEnd().split('\n')).toEqual(promised);
});
