import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { loadCore } from '../src/core/load.ts';

test('the typed interface lists exactly the exports of the core', () => {
  const source = ['exports.ts', 'workload-exports.ts']
    .map((file) => readFileSync(new URL(`../src/core/${file}`, import.meta.url), 'utf8'))
    .join('');
  const declared = [...source.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)]
    .map((m) => m[1])
    .toSorted();
  // Mutable globals are exported for snapshots by scripts/export-globals.mjs.
  const found = Object.keys(loadCore().x).filter((name) => !name.startsWith('global:'));
  expect(declared).toEqual(found.toSorted());
});
