// Access tables: the reader of both formats, what it refuses, and the walker over the complete space.

import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import {
  decodeRow,
  describeAccess,
  describeMapping,
  describeOutcome,
} from '../../src/conform/access-row.ts';
import { shadowRunner } from '../../src/conform/access-shadow.ts';
import { parseAccessTable, readAccessTable } from '../../src/conform/access-table.ts';
import { checkAccessTable } from '../../src/conform/access.ts';
import { residentVm } from '../../src/conform/resident-vm.ts';
import { oraclePath } from '../oracle.ts';
import { encodeAcx1, outcomeWord, validIds } from './exhaustive.ts';
import { TABLE_GFN, WalkGuest } from './guest.ts';
import { translate } from './model.ts';
import type { Access, Registers } from './model.ts';

const HEADER =
  'id,slice,uniform,wp,nxe,smep,pke,pkru,mode,op,preread,pdpte,pde,pte,fault,ec,' +
  'pde_after,pde_ignore,pte_after';
/** Supervisor read, everything off, PDE and PTE not present. */
const LINE = '0,0,1,0,0,0,0,fffffffc,s,r,0,7,0,0,1,0,0,20,0';

function table(text: string | Uint8Array): ReturnType<typeof parseAccessTable> {
  return parseAccessTable(typeof text === 'string' ? Buffer.from(text) : text, 'rows.csv');
}

test('the numeric rules of the complete space agree with the model', () => {
  const guest = new WalkGuest();
  const base = validIds(false).filter((_, i) => i % 1801 === 0);
  const ids = [...base, ...validIds(true).filter((_, i) => i % 3607 === 0)];
  const pde = BigInt(TABLE_GFN + 2) << 12n;
  const pte = BigInt(TABLE_GFN + 3) << 12n;
  for (const id of ids) {
    const row = decodeRow(id);
    const registers: Registers = {
      mode: '4-level',
      cr3: BigInt(TABLE_GFN) << 12n,
      wp: row.wp,
      pse: false,
      smep: row.smep,
      smap: false,
      pke: row.pke,
      nxe: row.nxe,
      ac: false,
      pkru: row.pkru,
      maxPhyAddr: 36,
      page1GB: true,
    };
    guest.write(BigInt(TABLE_GFN) << 12n, 8, (BigInt(TABLE_GFN + 1) << 12n) | 7n);
    guest.write(BigInt(TABLE_GFN + 1) << 12n, 8, pde | row.pdpte);
    guest.write(pde, 8, row.pde | (row.pte === undefined ? 0x20000000n : pte));
    guest.write(pte, 8, (row.pte ?? 0n) | 0x30000000n);
    const kind = ({ r: 'read', w: 'write', x: 'fetch' } as const)[row.op];
    const access: Access = { address: 0n, kind, cpl: row.mode === 'u' ? 3 : 0, implicit: false };
    if (row.preread) translate(registers, { ...access, kind: 'read', cpl: 0 }, guest);
    const outcome = translate(registers, access, guest);
    let word = outcome.kind === 'page-fault' ? 1 + 2 * outcome.errorCode : 0;
    const after = row.pte === undefined ? 0n : (guest.read(pte, 8) as bigint);
    word += Number((after >> 5n) & 3n) << 7;
    word += Number(((guest.read(pde, 8) as bigint) >> 5n) & 3n) << 9;
    expect(outcomeWord(id), `id ${id.toString(16)}`).toBe(word);
  }
  expect(ids.length).toBeGreaterThan(9000);
});

test.each([
  ['base tier', false, 13_470_720],
  ['SMEP tier', true, 6_735_360],
])('the walker passes the complete %s, in time', (_, smep, rows) => {
  const ids = validIds(smep);
  expect(ids.length).toBe(rows);
  const outcomes = Uint16Array.from(ids, outcomeWord);
  const read = table(encodeAcx1(ids, outcomes));
  const start = performance.now();
  const report = checkAccessTable(read, 'walker');
  expect(report.failures).toEqual([]);
  expect(report.passed).toBe(rows);
  expect(performance.now() - start).toBeLessThan(60_000);
});

test.skipIf(oraclePath('access/shared.csv.gz') === undefined).each(['walker', 'shadow'] as const)(
  'the published table passes, way: %s',
  (way) => {
    const file = oraclePath('access/shared.csv.gz') as string;
    const report = checkAccessTable(readAccessTable(file), way);
    expect(report.failures).toEqual([]);
    expect(report.passed).toBe(131_203);
  },
);

test.each([
  ['the shadow tables of 2008', { generation: '2008' }],
  ['the shadow tables of 6.1', { generation: '6.1' }],
] as const)('a sample of the space passes on %s', (_, options) => {
  const step = 97;
  const base = validIds(false).filter((_, i) => i % step === 0);
  const smep = validIds(true).filter((_, i) => i % step === 0);
  const ids = Uint32Array.from([...base, ...smep]);
  const run = shadowRunner(residentVm(options));
  run(ids).forEach((found, i) => {
    const id = ids[i] as number;
    if (found !== outcomeWord(id)) {
      const row = decodeRow(id);
      throw new Error(
        `id ${id.toString(16)}: ${describeAccess(row)}\n${describeMapping(row)}\n` +
          `expected ${describeOutcome(row, outcomeWord(id))}\nfound ${describeOutcome(row, found)}`,
      );
    }
  });
});

test('a wrong expectation is a failure told in words', () => {
  const ids = validIds(false).filter((_, i) => i % 99_991 === 0);
  const outcomes = Uint16Array.from(ids, (id) => outcomeWord(id) ^ 1);
  const report = checkAccessTable(table(gzipSync(encodeAcx1(ids, outcomes))), 'walker', {
    limit: 2,
  });
  expect(report.failed).toBe(ids.length);
  expect(report.failures.length).toBe(2);
  expect(report.failures[0]).toMatchObject({
    access: 'supervisor read; CR0.WP=0 EFER.NXE=0 CR4.SMEP=0 CR4.PKE=0',
    mapping: 'PDPTE P RW US; PDE none; PTE none',
    expected: 'no fault, PDE A=0 D=0, PTE A=0 D=0',
    found: '#PF ec=00h (not present), PDE A=0 D=0, PTE A=0 D=0',
  });
});

test('a CSV row that expects another bit of an entry to change fails', () => {
  const pdeAfter = LINE.replace('1,0,0,20,0', '1,0,2,20,0');
  expect(checkAccessTable(table(`${HEADER}\n${LINE}\n`), 'walker').failed).toBe(0);
  expect(checkAccessTable(table(`${HEADER}\n${pdeAfter}\n`), 'walker').failed).toBe(1);
});

test.each([
  ['an empty file', '', /the file is empty/],
  ['another CSV', 'a,b\n1,2\n', /not an access table/],
  ['a short line', `${HEADER}\n1,2\n`, /rows.csv, line 2: 2 columns, an access table has 19/],
  ['a bad id', `${HEADER}\n${LINE.replace('0,', 'x,')}\n`, /line 2: id "x"/],
  ['a column against the id', `${HEADER}\n${LINE.replace(',s,', ',u,')}\n`, /column mode is "u"/],
  ['write and fetch', `${HEADER}\n${LINE.replace('0,', '1800000,')}\n`, /a write and a fetch/],
  [
    'a bad error code',
    `${HEADER}\n${LINE.replace(',1,0,0,20', ',1,zz,0,20')}\n`,
    /column ec is "zz"/,
  ],
])('the reader refuses %s', (_, text, message) => {
  expect(() => table(text)).toThrow(message);
});

test('the reader refuses a damaged binary table', () => {
  const ids = validIds(false).subarray(0, 1000);
  const whole = encodeAcx1(ids, new Uint16Array(1000));
  expect(() => table(whole.subarray(0, 8))).toThrow(/header is cut off/);
  expect(() => table(whole.subarray(0, 2000))).toThrow(/2000 bytes, but the header's 1000 rows/);
  const ended = whole.slice();
  ended[12] = 255;
  ended[13] = 255;
  expect(() => table(ended)).toThrow(/the ids end after row|bytes of ids left|bits above 29/);
  expect(() => table(gzipSync(whole).subarray(0, 50))).toThrow(/broken gzip data/);
});
