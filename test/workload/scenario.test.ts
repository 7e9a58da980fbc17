// Scenario files: the records that they give, and errors that name the field.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  CONTROL_FORK,
  CONTROL_HOST,
  CONTROL_MARK,
  CONTROL_SWITCH,
  CONTROL_UNMAP,
} from '../../assembly/abi.ts';
import { DataError } from '../../src/core/errors.ts';
import { loadCore } from '../../src/core/load.ts';
import { openScenario, parseScenario } from '../../src/workload/scenario.ts';
import { access, readAll } from './helpers.ts';

const folder = mkdtempSync(join(tmpdir(), 'shadowmmu-'));
afterAll(() => rmSync(folder, { recursive: true }));

const schema = 'shadowmmu-scenario/1';

function parse(fields: object) {
  return parseScenario('s.json', JSON.stringify({ schema, ...fields }), folder);
}

function records(fields: object, batch = 64): bigint[] {
  const core = loadCore('debug');
  return readAll(core, parse(fields).open(core), batch);
}

function control(op: number, operand: bigint, count = 1): bigint {
  return (operand << 28n) | (BigInt(count - 1) << 16n) | (BigInt(op) << 12n) | 3n;
}

test('accesses, guest actions, host operations and marks in order', () => {
  const steps = [
    { mark: 'warm-up' },
    { access: 'write', page: '0x7f0000', pages: 2, times: 2 },
    { guest: 'fork', process: 7 },
    { guest: 'switch', process: 7 },
    { access: 'fetch', page: 5, pages: 3, stride: 10, supervisor: true },
    { host: 'madvise', advice: 'pageout', page: 0, pages: 64 },
    { guest: 'unmap', page: '0xfffffffff', pages: 4096 },
  ];
  const scenario = parse({ steps, options: { memory: '25%', vcpus: 2 } });
  expect(records({ steps })).toEqual([
    control(CONTROL_MARK, 0n),
    access(0x7f0000n, 1),
    access(0x7f0001n, 1),
    access(0x7f0000n, 1),
    access(0x7f0001n, 1),
    control(CONTROL_FORK, 7n),
    control(CONTROL_SWITCH, 7n),
    access(5n, 2) | 4n,
    access(15n, 2) | 4n,
    access(25n, 2) | 4n,
    control(CONTROL_HOST, 0n),
    control(CONTROL_UNMAP, 0xfffffffffn, 4096),
  ]);
  expect(scenario.hostOps).toEqual([{ op: 'madvise', advice: 'pageout', page: 0, pages: 64 }]);
  expect(scenario.marks).toEqual(['warm-up']);
  expect(scenario.options).toEqual({ memory: '25%', vcpus: 2 });
});

test('upper-half pages are sign-extended', () => {
  expect(records({ steps: [{ access: 'read', page: '0xffffffff8' }] })).toEqual([
    0xffffffffffff8000n,
  ]);
});

test('workloads, traces and repeats, in batches of any size', () => {
  writeFileSync(join(folder, 'x.ptrace'), 'I 401a\nS 7\nL 8\n');
  const steps = [
    { host: 'mark_idle' },
    {
      repeat: 2,
      steps: [
        { trace: 'x.ptrace', limit: 2 },
        { repeat: 3, steps: [{ access: 'read', page: 1 }] },
        { workload: 'access-tracking:pages=40,refs=200', seed: 3 },
      ],
    },
  ];
  const all = records({ steps });
  expect(records({ steps }, 301)).toEqual(all);
  const once = all.slice(1, 1 + (all.length - 1) / 2);
  expect(all).toEqual([control(CONTROL_HOST, 0n), ...once, ...once]);
  expect(once.slice(0, 5)).toEqual([
    access(0x401an, 2),
    access(7n, 1),
    access(1n, 0),
    access(1n, 0),
    access(1n, 0),
  ]);
  // The workload's own host operation stands behind the scenario's.
  expect(once.filter((r) => r === control(CONTROL_HOST, 1n))).toHaveLength(2);
  expect(parse({ steps }).hostOps).toEqual([{ op: 'mark_idle' }, { op: 'mark_idle' }]);
});

describe('errors name the field', () => {
  test.each([
    [{}, 's.json: steps: expected a list, found nothing'],
    [{ steps: [] }, 's.json: steps: expected at least one step, found []'],
    [{ schema: 'x', steps: [] }, 's.json: schema: expected one of shadowmmu-scenario/1, found "x"'],
    [{ steps: [7] }, 's.json: steps[0]: expected an object, found 7'],
    [
      { steps: [{ acess: 'read', page: 1 }] },
      's.json: steps[0]: expected one of access, workload, trace, guest, host, mark, repeat, found acess, page',
    ],
    [
      { steps: [{ access: 'red', page: 1 }] },
      's.json: steps[0].access: expected one of read, write, fetch (did you mean read?), found "red"',
    ],
    [
      { steps: [{ access: 'read' }] },
      's.json: steps[0].page: expected a whole number from 0 to 68719476735, found nothing',
    ],
    [
      { steps: [{ access: 'read', page: 1, pgaes: 2 }] },
      's.json: steps[0]: unknown field "pgaes"; did you mean pages?',
    ],
    [
      { steps: [{ access: 'read', page: '0xfffffffff', pages: 2 }] },
      's.json: steps[0].pages: expected a range within 48 bits, found 2',
    ],
    [
      { steps: [{ repeat: 2, steps: [{ mark: 'a' }, { guest: 'exit' }] }] },
      's.json: steps[0].steps[1].process: expected a whole number from 0 to 524287, found nothing',
    ],
    [
      { steps: [{ workload: 'zip' }] },
      's.json: steps[0]: unknown workload "zip"; did you mean zipf?',
    ],
    [
      { steps: [{ host: 'madvise', advice: 'now', page: 0 }] },
      's.json: steps[0].advice: expected one of dontneed, cold, pageout, free, willneed, found "now"',
    ],
    [
      { steps: [{ host: 'fork', stays: 1 }] },
      's.json: steps[0].stays: expected true or false, found 1',
    ],
    [
      { steps: [{ mark: 'a', guest: 'exit' }] },
      's.json: steps[0]: expected one of access, workload, trace, guest, host, mark, repeat, found both guest and mark',
    ],
    [
      { options: { a: [] }, steps: [{ mark: 'a' }] },
      's.json: options.a: expected a text, a number, or true or false, found []',
    ],
    [{ extra: 1, steps: [{ mark: 'a' }] }, 's.json: unknown field "extra"; known here are'],
  ])('%j', (fields, message) => {
    expect(() => parse(fields)).toThrow(DataError);
    expect(() => parse(fields)).toThrow(message);
  });

  test.each([
    ['{\n "a": 1,\n  "b": [,]\n}\n', 'line 3, column 9: not JSON: expected a value'],
    ['{', 'line 1, column 2: not JSON: expected a field name in quotes'],
    ['{"a" 1}', 'line 1, column 6: not JSON: expected a colon'],
    ['{"a": 1 "b": 2}', 'line 1, column 9: not JSON: expected a comma or }'],
    ['{"a": [1, 2}', 'line 1, column 12: not JSON: expected a comma or ]'],
    ['{}\nx', 'line 2, column 1: not JSON: expected the end'],
    ['{"a": "\\q"}', 'line 1, column 7: not JSON: expected a value'],
  ])('%j', (text, message) => {
    expect(() => parseScenario('s.json', text, folder)).toThrow(
      new DataError(`s.json: ${message}`),
    );
  });

  test('a missing file, and a missing trace when it is opened', () => {
    expect(() => openScenario(join(folder, 'none.json'))).toThrow('none.json: no such file');
    expect(() => records({ steps: [{ trace: 'none.smt' }] })).toThrow('none.smt: no such file');
  });
});
