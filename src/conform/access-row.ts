// One row of an access table: what its input word stands for, and both words in plain language. The
// bits are ACX_* in assembly/abi.ts; the format is described in docs/fidelity.md.

import {
  ACX_FETCH,
  ACX_NXE,
  ACX_OUT_CORRUPT,
  ACX_OUT_ERROR,
  ACX_OUT_FAULT,
  ACX_OUT_IGNORE_PDE_A,
  ACX_OUT_PDE_ACCESSED,
  ACX_OUT_PDE_DIRTY,
  ACX_OUT_PTE_ACCESSED,
  ACX_OUT_PTE_DIRTY,
  ACX_PDE_ACCESSED,
  ACX_PDE_BIT13,
  ACX_PDE_BIT36,
  ACX_PDE_BIT51,
  ACX_PDE_DIRTY,
  ACX_PDE_NX,
  ACX_PDE_PAGE_SIZE,
  ACX_PDE_PRESENT,
  ACX_PDE_USER,
  ACX_PDE_WRITABLE,
  ACX_PDPTE_READONLY,
  ACX_PKE,
  ACX_PKEY,
  ACX_PKRU_AD,
  ACX_PKRU_WD,
  ACX_PREREAD,
  ACX_PTE_ACCESSED,
  ACX_PTE_BIT36,
  ACX_PTE_BIT51,
  ACX_PTE_DIRTY,
  ACX_PTE_NX,
  ACX_PTE_PRESENT,
  ACX_PTE_USER,
  ACX_PTE_WRITABLE,
  ACX_SMEP,
  ACX_USER,
  ACX_WP,
  ACX_WRITE,
} from '../../assembly/abi.ts';
import { errorCodeWords, gpteWords } from './words.ts';

/** Number of rows an input word can have: bits 29:0. */
export const ACX_ID_LIMIT = 2 ** 30;

/** Attribute bits that an input bit sets in an entry, as [input bit, entry bit]. */
const PDE_BITS: readonly (readonly [number, number])[] = [
  [ACX_PDE_PRESENT, 0],
  [ACX_PDE_WRITABLE, 1],
  [ACX_PDE_USER, 2],
  [ACX_PDE_ACCESSED, 5],
  [ACX_PDE_DIRTY, 6],
  [ACX_PDE_PAGE_SIZE, 7],
  [ACX_PDE_BIT13, 13],
  [ACX_PDE_BIT36, 36],
  [ACX_PDE_BIT51, 51],
  [ACX_PDE_NX, 63],
];
const PTE_BITS: readonly (readonly [number, number])[] = [
  [ACX_PTE_PRESENT, 0],
  [ACX_PTE_WRITABLE, 1],
  [ACX_PTE_USER, 2],
  [ACX_PTE_ACCESSED, 5],
  [ACX_PTE_DIRTY, 6],
  [ACX_PTE_BIT36, 36],
  [ACX_PTE_BIT51, 51],
  [ACX_PTE_NX, 63],
];

/** An input word, decoded. Entries hold attribute bits only. */
export interface AccessRow {
  readonly id: number;
  readonly wp: boolean;
  readonly nxe: boolean;
  readonly smep: boolean;
  readonly pke: boolean;
  readonly pkru: number;
  readonly mode: 'u' | 's';
  readonly op: 'r' | 'w' | 'x';
  readonly preread: boolean;
  readonly pdpte: bigint;
  readonly pde: bigint;
  /** Undefined when the PDE maps a 2 MiB page. */
  readonly pte: bigint | undefined;
}

/** Whether a bit of an input or outcome word is set. */
export function bit(word: number, n: number): boolean {
  return ((word >>> n) & 1) === 1;
}

function entryBits(id: number, bits: readonly (readonly [number, number])[]): bigint {
  let entry = 0n;
  for (const [from, to] of bits) if (bit(id, from)) entry |= 1n << BigInt(to);
  return entry;
}

/** Decodes an input word. */
export function decodeRow(id: number): AccessRow {
  const large = bit(id, ACX_PDE_PAGE_SIZE);
  const pke = bit(id, ACX_PKE);
  const key1 = bit(id, ACX_PKEY) ? 1n << 59n : 0n;
  const pkru = 0x30 | (bit(id, ACX_PKRU_AD) ? 4 : 0) | (bit(id, ACX_PKRU_WD) ? 8 : 0);
  let op: AccessRow['op'] = bit(id, ACX_WRITE) ? 'w' : 'r';
  if (bit(id, ACX_FETCH)) op = 'x';
  return {
    id,
    wp: bit(id, ACX_WP),
    nxe: bit(id, ACX_NXE),
    smep: bit(id, ACX_SMEP),
    pke,
    pkru: pke ? pkru : 0xfffffffc,
    mode: bit(id, ACX_USER) ? 'u' : 's',
    op,
    preread: bit(id, ACX_PREREAD),
    pdpte: bit(id, ACX_PDPTE_READONLY) ? 5n : 7n,
    // A PDE that is no leaf gets key 2, which PKRU denies and which must not count.
    pde: entryBits(id, PDE_BITS) | (large ? key1 : key1 << 1n),
    pte: large ? undefined : entryBits(id, PTE_BITS) | key1,
  };
}

/** Why an input word is not one of the table's space, or undefined. */
export function invalidRow(id: number): string | undefined {
  if (id >= ACX_ID_LIMIT) return 'bits above 29 are set';
  if (bit(id, ACX_WRITE) && bit(id, ACX_FETCH)) return 'a write and a fetch at once';
  return undefined;
}

const OPS = { r: 'read', w: 'write', x: 'instruction fetch' } as const;

/** The access and the registers of a row in words. */
export function describeAccess(row: AccessRow): string {
  const who = row.mode === 'u' ? 'user' : 'supervisor';
  const before = row.preread ? ' after a supervisor read without a flush' : '';
  const registers = [
    `CR0.WP=${Number(row.wp)}`,
    `EFER.NXE=${Number(row.nxe)}`,
    `CR4.SMEP=${Number(row.smep)}`,
    row.pke ? `CR4.PKE=1 PKRU=${row.pkru.toString(16)}h` : 'CR4.PKE=0',
  ];
  return `${who} ${OPS[row.op]}${before}; ${registers.join(' ')}`;
}

/** The mapping of a row in words. */
export function describeMapping(row: AccessRow): string {
  const pde = `PDE ${gpteWords(row.pde, 2)}`;
  const upper = `PDPTE ${gpteWords(row.pdpte, 3)}`;
  if (row.pte === undefined) return `${upper}; ${pde} (2 MiB page)`;
  return `${upper}; ${pde}; PTE ${gpteWords(row.pte, 1)}`;
}

/** An outcome word in words. */
export function describeOutcome(row: AccessRow, word: number): string {
  const parts = [
    bit(word, ACX_OUT_FAULT)
      ? `#PF ${errorCodeWords((word >>> ACX_OUT_ERROR) & 0x3f)}`
      : 'no fault',
  ];
  const flag = (n: number): string => (bit(word, n) ? '1' : '0');
  const pdeA = bit(word, ACX_OUT_IGNORE_PDE_A) ? 'any' : flag(ACX_OUT_PDE_ACCESSED);
  parts.push(`PDE A=${pdeA} D=${flag(ACX_OUT_PDE_DIRTY)}`);
  if (row.pte !== undefined) {
    parts.push(`PTE A=${flag(ACX_OUT_PTE_ACCESSED)} D=${flag(ACX_OUT_PTE_DIRTY)}`);
  }
  if (bit(word, ACX_OUT_CORRUPT)) parts.push('other bits of an entry or the frame differ');
  return parts.join(', ');
}

/** Whether a found outcome is the expected one. */
export function sameOutcome(expected: number, found: number): boolean {
  let differ = expected ^ found;
  if (bit(expected, ACX_OUT_IGNORE_PDE_A)) {
    differ &= ~((1 << ACX_OUT_IGNORE_PDE_A) | (1 << ACX_OUT_PDE_ACCESSED));
  }
  return differ === 0;
}
