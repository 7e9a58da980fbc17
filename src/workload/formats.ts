// The trace formats, and how one is told from another by its first bytes.

import {
  TRACE_FORMAT_CHAMPSIM,
  TRACE_FORMAT_CLASSIC,
  TRACE_FORMAT_DIN,
  TRACE_FORMAT_DRVIEW,
  TRACE_FORMAT_LACKEY,
  TRACE_FORMAT_MEMTRACE_SIMPLE,
  TRACE_FORMAT_MEMTRACE_X86,
  TRACE_FORMAT_ORACLE_GENERAL,
  TRACE_FORMAT_PAGES,
  TRACE_FORMAT_SMT,
} from '../../assembly/abi.ts';
import { DataError, UsageError } from '../core/errors.ts';

/** One trace format. */
export interface TraceFormat {
  /** TRACE_FORMAT_* of the core. */
  readonly id: number;
  /** Name on the command line. */
  readonly name: string;
  /** What it is. */
  readonly title: string;
  /** An example line, or the size of a record. */
  readonly example: string;
  /** Lines of text. */
  readonly text: boolean;
  /** Bytes of a record, for the binary formats with records of one size. */
  readonly recordBytes?: number;
  /** A line of it. */
  readonly line?: RegExp;
  /** File names that decide between formats without a magic number. */
  readonly extension: RegExp;
  /** What the format cannot say, for the warning when converting to it. */
  readonly loses?: string;
}

/** All formats. */
export const TRACE_FORMATS: readonly TraceFormat[] = [
  {
    id: TRACE_FORMAT_SMT,
    name: 'smt',
    title: "ShadowMMU's compact trace",
    example: 'a binary file',
    text: false,
    extension: /\.smt$/,
  },
  {
    id: TRACE_FORMAT_LACKEY,
    name: 'lackey',
    title: 'Valgrind lackey --trace-mem=yes',
    example: ' L 1fff000708,8',
    text: true,
    line: /^(I {2}| [LSM] )[0-9a-f]{1,16},\d+\r?$/i,
    extension: /\.lackey$/,
  },
  {
    id: TRACE_FORMAT_PAGES,
    name: 'pages',
    title: 'page references',
    example: 'S 1fff000',
    text: true,
    line: /^[ILS] (0x)?[0-9a-f]{1,16}\r?$/i,
    extension: /\.ptrace$/,
  },
  {
    id: TRACE_FORMAT_CLASSIC,
    name: 'classic',
    title: 'address and R or W',
    example: '0041f7a0 R',
    text: true,
    line: /^(0x)?[0-9a-f]{1,16} [RW]\r?$/i,
    extension: /\.trace$/,
    loses: 'fetches (written as reads)',
  },
  {
    id: TRACE_FORMAT_DIN,
    name: 'din',
    title: 'Dinero',
    example: '2 401ab70',
    text: true,
    line: /^\s*[0-4][ \t]+(0x)?[0-9a-f]{1,16}(\s.*)?$/i,
    extension: /\.din$/,
  },
  {
    id: TRACE_FORMAT_MEMTRACE_SIMPLE,
    name: 'memtrace-simple',
    title: "DynamoRIO's memtrace_simple",
    example: '0x7ffe01c0:  8, r',
    text: true,
    line: /^0x[0-9a-f]{1,16}:\s*\d+,\s*\S+\s*$/i,
    extension: /\.memtrace$/,
  },
  {
    id: TRACE_FORMAT_MEMTRACE_X86,
    name: 'memtrace-x86',
    title: "DynamoRIO's memtrace_x86",
    example: '0x401a,w,8,0x7ffe01c0',
    text: true,
    line: /^0x[0-9a-f]{1,16},[rw],\d+,0x[0-9a-f]{1,16}\s*$/i,
    extension: /\.memtrace86$/,
    loses: 'fetches (left out)',
  },
  {
    id: TRACE_FORMAT_DRVIEW,
    name: 'drview',
    title: "text of drcachesim's view tool",
    example: '12 5: 77 read 8 byte(s) @ 0x00007ffe000001c0 by PC 0x401a',
    text: true,
    line: /^\s*(\d+\s+\d+:\s+\d+\s+\S|Output format:)/,
    extension: /\.drview$/,
  },
  {
    id: TRACE_FORMAT_CHAMPSIM,
    name: 'champsim',
    title: 'ChampSim',
    example: 'records of 64 bytes',
    text: false,
    recordBytes: 64,
    extension: /\.champsim(trace)?$/,
  },
  {
    id: TRACE_FORMAT_ORACLE_GENERAL,
    name: 'oracle-general',
    title: "libCacheSim's oracleGeneral",
    example: 'records of 24 bytes',
    text: false,
    recordBytes: 24,
    extension: /\.oraclegeneral(\.bin)?$/i,
    loses: 'writes and fetches (all requests are reads), and gives no next access',
  },
];

/** The format of a name of the command line. */
export function formatByName(name: string): TraceFormat {
  const format = TRACE_FORMATS.find((f) => f.name === name);
  if (format) return format;
  const names = TRACE_FORMATS.map((f) => f.name).join(', ');
  throw new UsageError(`unknown trace format "${name}"; known are ${names}`);
}

/** The format of an output file by its name, without `.gz`; smt when the name does not say. */
export function formatByFileName(path: string): TraceFormat {
  const bare = path.replace(/\.gz$/i, '');
  return TRACE_FORMATS.find((f) => f.extension.test(bare)) ?? (TRACE_FORMATS[0] as TraceFormat);
}

/** Bytes of a trace that detectFormat() wants to see. */
export const DETECT_BYTES = 65536;

const SMT_MAGIC = [0x89, 0x53, 0x4d, 0x54, 0x0d, 0x0a, 0x1a, 0x0a];

/** Printable text with tabs and line ends. */
function isText(head: Uint8Array): boolean {
  return head.every((c) => (c >= 0x20 && c !== 0x7f) || (c >= 0x09 && c <= 0x0d));
}

/** The upper word of a canonical, 48-bit address. */
function canonicalHigh(high: number): boolean {
  return high < 0x8000 || high >= 0xffff8000;
}

function looksLikeChampsim(view: DataView): boolean {
  const records = Math.min(256, Math.floor(view.byteLength / 64));
  let fetches = 0;
  for (let i = 0; i < records; i++) {
    const at = i * 64;
    if (view.getUint8(at + 8) > 1 || view.getUint8(at + 9) > 1) return false;
    for (let slot = 0; slot < 64; slot += slot === 0 ? 16 : 8) {
      if (!canonicalHigh(view.getUint32(at + slot + 4, true))) return false;
    }
    if (view.getUint32(at, true) !== 0) fetches++;
  }
  return fetches > 0;
}

function looksLikeOracleGeneral(view: DataView): boolean {
  const records = Math.min(256, Math.floor(view.byteLength / 24));
  let time = 0;
  for (let i = 0; i < records; i++) {
    const at = i * 24;
    const now = view.getUint32(at, true);
    const size = view.getUint32(at + 12, true);
    const next = view.getBigInt64(at + 16, true);
    // Ids are page numbers of canonical addresses; the next access is later, or none.
    if (now < time || size === 0 || size > 0x40000000) return false;
    if (view.getUint32(at + 8, true) > 0xffff || next < -2n || next > 1n << 48n) return false;
    if (next >= 0n && next <= BigInt(i)) return false;
    time = now;
  }
  return records > 0;
}

/** Lines that say nothing about the format. */
const SKIPPED = /^\s*$|^(==|--|\*\*)|^#|^Format:/;

/** The first line of `text` that is neither blank nor a message, with its number. */
function firstLine(head: Uint8Array): { line: string; number: number } | undefined {
  const lines = Buffer.from(head).toString('latin1').split('\n');
  const index = lines.findIndex((line) => !SKIPPED.test(line));
  return index < 0 ? undefined : { line: lines[index] as string, number: index + 1 };
}

/** Text of a trace that is safe to print in a message. */
export function excerpt(line: string): string {
  const printable = line.replace(/\r$/, '').replace(/[^\x20-\x7e]/g, '.');
  return JSON.stringify(printable.length > 48 ? `${printable.slice(0, 48)}…` : printable);
}

/** Tells the format by the first bytes of a trace (and its file's name, between two that fit). */
export function detectFormat(name: string, head: Uint8Array): TraceFormat {
  const byId = (id: number) => TRACE_FORMATS.find((f) => f.id === id) as TraceFormat;
  if (head.length === 0) throw new DataError(`${name}: is empty`);
  if (SMT_MAGIC.every((byte, i) => head[i] === byte)) return byId(TRACE_FORMAT_SMT);
  if (isText(head)) {
    const first = firstLine(head);
    if (!first) throw new DataError(`${name}: holds no references, only blank lines or messages`);
    const format = TRACE_FORMATS.find((f) => f.line?.test(first.line));
    if (format) return format;
    throw new DataError(
      `${name}: line ${first.number}: not a line of a known trace format: ${excerpt(first.line)}`,
    );
  }
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const fits = [
    looksLikeChampsim(view) ? byId(TRACE_FORMAT_CHAMPSIM) : undefined,
    looksLikeOracleGeneral(view) ? byId(TRACE_FORMAT_ORACLE_GENERAL) : undefined,
  ].filter((f) => f !== undefined);
  const bare = name.replace(/\.gz$/i, '');
  const fit = fits.find((f) => f.extension.test(bare)) ?? fits[0];
  if (fit) return fit;
  throw new DataError(`${name}: binary data that is no known trace format; name it with --format`);
}
