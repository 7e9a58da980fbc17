// Arbitrary mappings for property tests, and their description in words.

import fc from 'fast-check';
import { errorCodeWords, gpteWords } from '../../src/conform/words.ts';
import { TABLE_GFN } from './guest.ts';
import type { WalkGuest } from './guest.ts';
import type { Access, Outcome, Registers } from './model.ts';

/** Registers that a test may toggle between accesses. */
export const TOGGLES = ['wp', 'smep', 'smap', 'pke', 'nxe', 'ac'] as const;

/** One level's entry: its value without the address of the next table. */
export interface Entry {
  /** Attribute and stray bits. */
  readonly bits: bigint;
  /** Where it points: the next level's table, or a frame of its own. */
  readonly frame: bigint | undefined;
}

/** A mapping of one address and the accesses made to it, in order. */
export interface Case {
  readonly registers: Registers;
  readonly address: bigint;
  /** Entries from the root down; in PAE paging the first is the PDPTE register. */
  readonly entries: readonly Entry[];
  readonly accesses: readonly Access[];
}

const LEVELS = { '32-bit': 2, PAE: 3, '4-level': 4, '5-level': 5 } as const;

/** Bytes of an entry in a mode. */
export function entryBytes(r: Registers): 4 | 8 {
  return r.mode === '32-bit' ? 4 : 8;
}

/** A value in one of `n` cases, undefined in the others and when shrunk. */
function oneIn<T>(n: number, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.oneof({ weight: n - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
}

/** A flag that is set in one of `n` cases; shrinks to clear. */
function setOneIn(n: number): fc.Arbitrary<boolean> {
  return oneIn(n, fc.constant(true)).map((set) => set === true);
}

/** A flag that is clear in one of `n` cases; shrinks to set. */
function clearOneIn(n: number): fc.Arbitrary<boolean> {
  return setOneIn(n).map((clear) => !clear);
}

/** Arbitrary entries, most of which let the walk go on. */
export const entryArbitrary: fc.Arbitrary<Entry> = fc
  .record({
    present: clearOneIn(30),
    writable: clearOneIn(8),
    user: clearOneIn(8),
    accessed: fc.boolean(),
    dirty: fc.boolean(),
    pageSize: setOneIn(6),
    global: setOneIn(8),
    nx: setOneIn(12),
    key: fc.integer({ min: 0, max: 2 }),
    /** A stray bit, often a reserved one. */
    stray: oneIn(16, fc.integer({ min: 9, max: 62 })),
    frame: oneIn(24, fc.bigInt({ min: 0n, max: (1n << 40n) - 1n })),
  })
  .map((e) => {
    let bits = 0n;
    const set = (on: boolean, n: number): void => {
      if (on) bits |= 1n << BigInt(n);
    };
    set(e.present, 0);
    set(e.writable, 1);
    set(e.user, 2);
    set(e.accessed, 5);
    set(e.dirty, 6);
    set(e.pageSize, 7);
    set(e.global, 8);
    set(e.nx, 63);
    bits |= BigInt(e.key) << 59n;
    if (e.stray !== undefined) bits |= 1n << BigInt(e.stray);
    return { bits, frame: e.frame };
  });

/** Arbitrary registers of a mode. */
export function registersArbitrary(mode: Registers['mode']): fc.Arbitrary<Registers> {
  return fc.record({
    mode: fc.constant(mode),
    cr3: fc.constant(BigInt(TABLE_GFN) << 12n),
    wp: fc.boolean(),
    pse: fc.boolean(),
    smep: fc.boolean(),
    smap: fc.boolean(),
    pke: fc.boolean(),
    nxe: clearOneIn(6),
    ac: fc.boolean(),
    pkru: fc.integer({ min: 0, max: 63 }),
    maxPhyAddr: fc.integer({ min: 36, max: 52 }),
    page1GB: clearOneIn(6),
  });
}

/** Arbitrary accesses. */
export const accessArbitrary = fc.record({
  kind: fc.constantFrom('read' as const, 'write' as const, 'fetch' as const),
  cpl: fc.constantFrom(0 as const, 3 as const),
  implicit: setOneIn(8),
});

function addressArbitrary(mode: Registers['mode']): fc.Arbitrary<bigint> {
  if (mode === '32-bit' || mode === 'PAE') return fc.bigInt({ min: 0n, max: 0xffffffffn });
  const top = mode === '5-level' ? 57n : 48n;
  const low = fc.bigInt({ min: 0n, max: (1n << (top - 1n)) - 1n });
  return fc
    .tuple(low, fc.boolean(), oneIn(20, fc.integer({ min: 47, max: 63 })))
    .map(([address, upper, flip]) => {
      const half = upper ? address | (((1n << (65n - top)) - 1n) << (top - 1n)) : address;
      return flip === undefined ? half : half ^ (1n << BigInt(flip));
    });
}

/** Mappings and accesses in a mode. */
export function caseArbitrary(mode: Registers['mode']): fc.Arbitrary<Case> {
  const levels = LEVELS[mode];
  return fc
    .record({
      registers: registersArbitrary(mode),
      address: addressArbitrary(mode),
      entries: fc.array(entryArbitrary, { minLength: levels, maxLength: levels }),
      accesses: fc.array(accessArbitrary, { minLength: 1, maxLength: 3 }),
    })
    .map((c) => ({
      ...c,
      accesses: c.accesses.map((access) => ({ ...access, address: c.address })),
    }));
}

/** Frame of an entry that leaves it open: of a page aligned to any size, or of the next table. */
function defaultFrame(c: Case, depth: number, entry: Entry): bigint {
  const { mode, pse } = c.registers;
  const large = (entry.bits & 0x80n) !== 0n && (mode !== '32-bit' || pse);
  if (large) return 0x40000n;
  return BigInt(TABLE_GFN + depth + (mode === 'PAE' ? 0 : 1));
}

/** Value that an entry has at a depth (0 = root) of a case. */
export function entryValue(c: Case, depth: number, entry: Entry): bigint {
  const value = entry.bits | ((entry.frame ?? defaultFrame(c, depth, entry)) << 12n);
  return c.registers.mode === '32-bit' ? value & 0xffffffffn : value & ((1n << 64n) - 1n);
}

/** Index that the address has in the table at a depth. */
function entryIndex(c: Case, depth: number): bigint {
  const width = c.registers.mode === '32-bit' ? 10n : 9n;
  const shift = 12n + width * BigInt(c.entries.length - 1 - depth);
  return (c.address >> shift) & ((1n << width) - 1n);
}

/** Address of the 64-bit entry at a depth in 4- and 5-level paging. */
export function entryAddress(c: Case, depth: number): bigint {
  return (BigInt(TABLE_GFN + depth) << 12n) + entryIndex(c, depth) * 8n;
}

/** Writes the tables of a case and returns the registers to use with them. */
export function buildCase(guest: WalkGuest, c: Case): Registers {
  guest.clear();
  const bytes = entryBytes(c.registers);
  const inMemory = c.registers.mode === 'PAE' ? 1 : 0;
  for (let depth = inMemory; depth < c.entries.length; depth++) {
    const table = BigInt(TABLE_GFN + depth - inMemory) << 12n;
    guest.setEntry(
      table + entryIndex(c, depth) * BigInt(bytes),
      bytes,
      entryValue(c, depth, c.entries[depth] as Entry),
    );
  }
  if (c.registers.mode !== 'PAE') return c.registers;
  // A present PDPTE with reserved bits never gets past MOV to CR3, so it has none here.
  const entry = entryValue(c, 0, c.entries[0] as Entry);
  const address = entry & ((1n << BigInt(c.registers.maxPhyAddr)) - 1n) & ~0xfffn;
  const pdpte = address | (entry & 1n);
  return { ...c.registers, pdptes: [pdpte, pdpte, pdpte, pdpte] };
}

/** An outcome in words. */
export function outcomeWords(outcome: Outcome): string {
  if (outcome.kind === 'general-protection') return '#GP';
  if (outcome.kind === 'page-fault') return `#PF ${errorCodeWords(outcome.errorCode)}`;
  return `gpa ${outcome.physical.toString(16)}h in a page of ${outcome.pageBytes} bytes`;
}

/** An entry in words. */
export function entryWords(c: Case, depth: number, entry: Entry): string {
  const level = c.entries.length - depth;
  const to = entry.frame === undefined ? '' : ` -> frame ${entry.frame.toString(16)}h`;
  const value = entryValue(c, depth, entry).toString(16);
  return `level ${level}: ${gpteWords(entry.bits, level)}${to} (${value}h)`;
}

/** A case in words. */
export function caseWords(c: Case): string {
  const r = c.registers;
  const on = Object.entries(r)
    .filter(([, value]) => value === true)
    .map(([name]) => name.toUpperCase());
  const lines = [
    `${r.mode}, MAXPHYADDR ${r.maxPhyAddr}, PKRU ${r.pkru.toString(16)}h, on: ${on.join(' ')}`,
    `address ${c.address.toString(16)}h`,
  ];
  c.entries.forEach((entry, depth) => lines.push(`  ${entryWords(c, depth, entry)}`));
  for (const access of c.accesses) {
    const who = access.implicit ? 'implicit supervisor' : `CPL ${access.cpl}`;
    lines.push(`  ${who} ${access.kind}`);
  }
  return lines.join('\n');
}
