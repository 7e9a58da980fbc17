// Reads access tables: the CSV of single rows, and the binary of complete tables ("ACX1"). The kind
// is told by the content, gzip included, never by the file's name.

import { basename } from 'node:path';
import { gunzipSync } from 'node:zlib';
import {
  ACX_OUT_CORRUPT,
  ACX_OUT_ERROR,
  ACX_OUT_FAULT,
  ACX_OUT_IGNORE_PDE_A,
  ACX_OUT_PDE_ACCESSED,
  ACX_OUT_PDE_DIRTY,
  ACX_OUT_PTE_ACCESSED,
  ACX_OUT_PTE_DIRTY,
} from '../../assembly/abi.ts';
import { DataError } from '../core/errors.ts';
import { readBytes } from '../files.ts';
import { decodeRow, invalidRow } from './access-row.ts';
import type { AccessRow } from './access-row.ts';

/** Rows of a table: input words and expected outcome words. */
export interface AccessTable {
  readonly name: string;
  readonly ids: Uint32Array;
  readonly expected: Uint16Array;
}

const MAGIC = 'ACX1';
const COLUMNS =
  'id,slice,uniform,wp,nxe,smep,pke,pkru,mode,op,preread,pdpte,pde,pte,fault,ec,' +
  'pde_after,pde_ignore,pte_after';
/** Bits A and D of an entry. */
const AD = 0x60n;

/** Reads a table from a file. */
export function readAccessTable(path: string): AccessTable {
  return parseAccessTable(readBytes(path), basename(path));
}

/** Reads a table from bytes; `name` appears in messages. */
export function parseAccessTable(file: Uint8Array, name: string): AccessTable {
  let bytes = file;
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    try {
      bytes = gunzipSync(bytes);
    } catch (error) {
      throw new DataError(`${name}: broken gzip data (${(error as Error).message})`);
    }
  }
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(4, bytes.length));
  return head.toString('latin1') === MAGIC ? parseBinary(bytes, name) : parseCsv(bytes, name);
}

function parseBinary(bytes: Uint8Array, name: string): AccessTable {
  if (bytes.length < 12) throw new DataError(`${name}: the ACX1 header is cut off`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const n = view.getUint32(4, true);
  const idBytes = view.getUint32(8, true);
  if (bytes.length !== 12 + idBytes + 2 * n) {
    throw new DataError(
      `${name}: ${bytes.length} bytes, but the header's ${n} rows and ${idBytes} bytes of ids ` +
        `need ${12 + idBytes + 2 * n}`,
    );
  }
  const ids = new Uint32Array(n);
  const end = 12 + idBytes;
  let at = 12;
  let id = -1;
  for (let i = 0; i < n; i++) {
    let step = 0;
    let scale = 1;
    let byte = 128;
    while (byte >= 128) {
      if (at === end) throw new DataError(`${name}: the ids end after row ${i} of ${n}`);
      byte = bytes[at++] as number;
      step += (byte & 127) * scale;
      scale *= 128;
    }
    id += step;
    const why = invalidRow(id);
    if (why !== undefined)
      throw new DataError(`${name}: row ${i + 1}, id ${id.toString(16)}: ${why}`);
    ids[i] = id;
  }
  if (at !== end) throw new DataError(`${name}: ${end - at} bytes of ids left after ${n} rows`);
  const expected = new Uint16Array(n);
  for (let i = 0; i < n; i++) {
    expected[i] = (bytes[end + i] as number) | ((bytes[end + n + i] as number) << 8);
  }
  return { name, ids, expected };
}

function flag(on: boolean): string {
  return on ? '1' : '0';
}

/** Columns that repeat the input word, as the table prints them. */
function inputColumns(row: AccessRow): string[] {
  return [
    flag(row.wp),
    flag(row.nxe),
    flag(row.smep),
    flag(row.pke),
    row.pkru.toString(16),
    row.mode,
    row.op,
    flag(row.preread),
    row.pdpte.toString(16),
    row.pde.toString(16),
    row.pte === undefined ? '-' : row.pte.toString(16),
  ];
}

function outcomeOf(row: AccessRow, cells: readonly string[]): number {
  const [fault, ec, pdeAfter, pdeIgnore, pteAfter] = cells as [
    string,
    string,
    string,
    string,
    string,
  ];
  let word = fault === '1' ? 1 << ACX_OUT_FAULT : 0;
  word |= Number.parseInt(ec, 16) << ACX_OUT_ERROR;
  if (pdeIgnore === '20') word |= 1 << ACX_OUT_IGNORE_PDE_A;
  const pde = BigInt(`0x${pdeAfter}`);
  if ((pde & 0x20n) !== 0n) word |= 1 << ACX_OUT_PDE_ACCESSED;
  if ((pde & 0x40n) !== 0n) word |= 1 << ACX_OUT_PDE_DIRTY;
  let changed = (pde ^ row.pde) & ~AD;
  if (row.pte !== undefined) {
    const pte = BigInt(`0x${pteAfter}`);
    if ((pte & 0x20n) !== 0n) word |= 1 << ACX_OUT_PTE_ACCESSED;
    if ((pte & 0x40n) !== 0n) word |= 1 << ACX_OUT_PTE_DIRTY;
    changed |= (pte ^ row.pte) & ~AD;
  }
  // No access changes another bit, so such a row can only fail; it is not malformed.
  if (changed !== 0n) word |= 1 << ACX_OUT_CORRUPT;
  return word;
}

const HEX = /^[0-9a-f]+$/;
const OUTCOME_CELLS = [/^[01]$/, /^[0-3]?[0-9a-f]$/, HEX, /^(0|20)$/, /^([0-9a-f]+|-)$/];

function parseLine(line: string, where: string): readonly [number, number] {
  const cells = line.split(',');
  if (cells.length !== 19) {
    throw new DataError(`${where}: ${cells.length} columns, an access table has 19`);
  }
  const idCell = cells[0] as string;
  const id = HEX.test(idCell) ? Number.parseInt(idCell, 16) : Number.NaN;
  if (Number.isNaN(id)) throw new DataError(`${where}: id "${idCell}" is not a hexadecimal number`);
  const why = invalidRow(id);
  if (why !== undefined) throw new DataError(`${where}: id ${idCell}: ${why}`);
  const row = decodeRow(id);
  const names = COLUMNS.split(',');
  inputColumns(row).forEach((want, i) => {
    if (cells[i + 3] !== want) {
      throw new DataError(
        `${where}: column ${names[i + 3]} is "${cells[i + 3]}", but id ${idCell} means "${want}"`,
      );
    }
  });
  const outcome = cells.slice(14);
  OUTCOME_CELLS.forEach((pattern, i) => {
    if (!pattern.test(outcome[i] as string)) {
      throw new DataError(`${where}: column ${names[i + 14]} is "${outcome[i]}"`);
    }
  });
  if ((outcome[4] === '-') !== (row.pte === undefined)) {
    throw new DataError(`${where}: pte_after is "-" exactly when the PDE maps a 2 MiB page`);
  }
  return [id, outcomeOf(row, outcome)];
}

function parseCsv(bytes: Uint8Array, name: string): AccessTable {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let lines = 0;
  for (let at = buffer.indexOf(10); at >= 0; at = buffer.indexOf(10, at + 1)) lines++;
  const ids = new Uint32Array(lines + 1);
  const expected = new Uint16Array(lines + 1);
  let n = 0;
  let number = 0;
  for (let at = 0; at < buffer.length;) {
    let end = buffer.indexOf(10, at);
    if (end < 0) end = buffer.length;
    const line = buffer.toString('latin1', at, end).replace(/\r$/, '');
    at = end + 1;
    number++;
    if (number === 1) {
      if (line !== COLUMNS) {
        throw new DataError(
          `${name}: not an access table: neither the bytes "${MAGIC}" nor the header "${COLUMNS}"`,
        );
      }
      continue;
    }
    if (line === '') continue;
    const [id, word] = parseLine(line, `${name}, line ${number}`);
    ids[n] = id;
    expected[n] = word;
    n++;
  }
  if (number === 0) throw new DataError(`${name}: the file is empty`);
  return { name, ids: ids.subarray(0, n), expected: expected.subarray(0, n) };
}
