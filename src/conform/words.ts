// Page-table entries and #PF error codes in words, for reports that people read.

import {
  PFERR_FETCH_MASK,
  PFERR_PK_MASK,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  PFERR_USER_MASK,
  PFERR_WRITE_MASK,
} from '../../assembly/abi.ts';

/** Names of an error code's bits; the P bit is told apart from its absence. */
const ERROR_BITS: readonly (readonly [number, string])[] = [
  [PFERR_WRITE_MASK, 'write'],
  [PFERR_USER_MASK, 'user'],
  [PFERR_RSVD_MASK, 'reserved bit'],
  [PFERR_FETCH_MASK, 'fetch'],
  [PFERR_PK_MASK, 'protection key'],
];

/** `ec=07h (protection, write, user)`. */
export function errorCodeWords(code: number): string {
  const names = [(code & PFERR_PRESENT_MASK) === 0 ? 'not present' : 'protection'];
  for (const [mask, name] of ERROR_BITS) if ((code & mask) !== 0) names.push(name);
  return `ec=${code.toString(16).padStart(2, '0')}h (${names.join(', ')})`;
}

const LOW_BITS: readonly (readonly [number, string])[] = [
  [0, 'P'],
  [1, 'RW'],
  [2, 'US'],
  [3, 'PWT'],
  [4, 'PCD'],
  [5, 'A'],
  [6, 'D'],
  [8, 'G'],
];

/** Set attribute bits of a 64-bit entry by name: `P RW US A NX key 1`, or `none`. */
export function gpteWords(gpte: bigint, level: number): string {
  const names: string[] = [];
  for (const [n, name] of LOW_BITS) if (((gpte >> BigInt(n)) & 1n) === 1n) names.push(name);
  if (((gpte >> 7n) & 1n) === 1n) names.push(level === 1 ? 'PAT' : 'PS');
  for (const n of [13, 36, 51]) if (((gpte >> BigInt(n)) & 1n) === 1n) names.push(`bit ${n}`);
  const key = Number((gpte >> 59n) & 15n);
  if (key !== 0) names.push(`key ${key}`);
  if (gpte >> 63n === 1n) names.push('NX');
  return names.length === 0 ? 'none' : names.join(' ');
}
