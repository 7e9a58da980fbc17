import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as abi from '../assembly/abi.ts';
import { loadCore } from '../src/core/load.ts';

test('the typed interface lists exactly the exports of the core', () => {
  const source = [
    'exports.ts',
    'kvm-exports.ts',
    'mm-exports.ts',
    'vmscan-exports.ts',
    'workload-exports.ts',
  ]
    .map((file) => readFileSync(new URL(`../src/core/${file}`, import.meta.url), 'utf8'))
    .join('');
  const declared = [...source.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)]
    .map((m) => m[1])
    .toSorted();
  // Mutable globals are exported for snapshots by scripts/export-globals.mjs.
  const found = Object.keys(loadCore().x).filter((name) => !name.startsWith('global:'));
  expect(declared).toEqual(found.toSorted());
});

/** Records in linear memory: prefix of the fields, size in bytes, names of that prefix that are none. */
const RECORDS: readonly (readonly [prefix: string, size: number, others: readonly string[]])[] = [
  ['SLOT_', abi.SLOT_SIZE, ['SLOT_SIZE', 'SLOT_MAX']],
  ['FRAME_', abi.FRAME_SIZE, ['FRAME_SIZE', 'FRAME_FILE_SHIFT', 'FRAME_MAPCOUNT_MASK']],
  ['VCPU_', abi.VCPU_SIZE, ['VCPU_SIZE']],
  ['SP_', abi.SP_SIZE, ['SP_SIZE']],
  ['ACX_JOB_', abi.ACX_JOB_SIZE, ['ACX_JOB_SIZE']],
  ['LOCKSTEP_', abi.LOCKSTEP_STATE_SIZE, ['LOCKSTEP_STATE_SIZE']],
  ['VERIFY_', abi.VERIFY_STATE_SIZE, ['VERIFY_STATE_SIZE']],
];

test.each(RECORDS)('fields %s* have a place of their own each', (prefix, size, others) => {
  const fields = Object.entries(abi).filter(
    ([name]) => name.startsWith(prefix) && !others.includes(name),
  );
  expect(fields.length).toBeGreaterThan(1);
  const places = new Map(fields.map(([name, offset]) => [offset, name]));
  for (const [name, offset] of fields) {
    expect(places.get(offset), `${name} at ${offset}`).toBe(name);
    expect(offset, name).toBeLessThan(size);
  }
});
