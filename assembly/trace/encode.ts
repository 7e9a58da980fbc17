// Access records to trace bytes. Formats without control records or flags drop those; the host
// warns. Text is written page-granular: the offset in the page is not in a record.

import {
  ACCESS_CONTROL,
  ACCESS_FETCH,
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  TRACE_FORMAT,
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
  TRACE_PRIVATE,
  TRACE_RECORDS,
} from '../abi';
import { encodeSmt, encodeSmtEnd } from './smt';

/** Writes `value` in hexadecimal, at least `width` digits. */
function writeHex(out: usize, value: u64, width: u32): usize {
  let digits = value == 0 ? 1 : (67 - <u32>clz<u64>(value)) >> 2;
  digits = max<u32>(digits, width);
  for (let i = digits; i > 0; i--) {
    const nibble = (<u32>value) & 15;
    store<u8>(out + <usize>i - 1, <u8>(nibble < 10 ? 0x30 + nibble : 0x57 + nibble));
    value >>= 4;
  }
  return out + <usize>digits;
}

/** Writes `value` in decimal. */
function writeDecimal(out: usize, value: u64): usize {
  let digits: usize = 1;
  for (let v = value; v >= 10; v /= 10) digits++;
  for (let i = digits; i > 0; i--) {
    store<u8>(out + i - 1, <u8>(0x30 + (value % 10)));
    value /= 10;
  }
  return out + digits;
}

/** Writes the `n` bytes of `text` (little-endian, at most 8). */
function writeText(out: usize, text: u64, n: usize): usize {
  store<u64>(out, text);
  return out + n;
}

/** One of three texts by kind: read, write, fetch. */
function byKind(kind: u32, read: u64, write: u64, fetch: u64): u64 {
  if (kind == ACCESS_FETCH) return fetch;
  return kind == ACCESS_WRITE ? write : read;
}

function encodeLine(format: u32, encoder: usize, gva: u64, kind: u32, out: usize): usize {
  if (format == TRACE_FORMAT_LACKEY) {
    out = writeText(out, byKind(kind, 0x204c20, 0x205320, 0x202049), 3);
    return writeText(writeHex(out, gva, 8), 0x0a312c, 3);
  }
  if (format == TRACE_FORMAT_CLASSIC) {
    out = writeHex(out, gva, 8);
    return writeText(out, byKind(kind, 0x0a5220, 0x0a5720, 0x0a5220), 3);
  }
  if (format == TRACE_FORMAT_PAGES) {
    out = writeText(out, byKind(kind, 0x204c, 0x2053, 0x2049), 2);
    return writeText(writeHex(out, (gva >> 12) & 0xfffffffffffff, 1), 0x0a, 1);
  }
  if (format == TRACE_FORMAT_DIN) {
    out = writeText(out, byKind(kind, 0x2030, 0x2031, 0x2032), 2);
    return writeText(writeHex(out, gva, 1), 0x0a, 1);
  }
  if (format == TRACE_FORMAT_MEMTRACE_SIMPLE) {
    out = writeHex(writeText(out, 0x7830, 2), gva, 12);
    out = writeText(out, 0x202c31203a, 5);
    return kind == ACCESS_FETCH
      ? writeText(out, 0x0a706f6e, 4)
      : writeText(out, byKind(kind, 0x0a72, 0x0a77, 0), 2);
  }
  if (format == TRACE_FORMAT_MEMTRACE_X86) {
    if (kind == ACCESS_FETCH) return out;
    out = writeText(out, 0x2c307830, 4);
    out = writeText(out, byKind(kind, 0x78302c312c72, 0x78302c312c77, 0), 6);
    return writeText(writeHex(out, gva, 12), 0x0a, 1);
  }
  assert(format == TRACE_FORMAT_DRVIEW, 'the format has an encoder');
  // "N 0: 1 read 1 byte(s) @ 0x…\n"
  out = writeDecimal(out, load<u64>(encoder, TRACE_RECORDS) + 1);
  out = writeText(out, 0x203120203a3020, 7);
  out = writeText(
    out,
    byKind(kind, 0x64616572, 0x6574697277, 0x686374656669),
    kind == ACCESS_FETCH ? 6 : kind == ACCESS_WRITE ? 5 : 4,
  );
  out = writeText(out, 0x2865747962203120, 8);
  out = writeText(out, 0x78302040202973, 7);
  return writeText(writeHex(out, gva, 16), 0x0a, 1);
}

// ChampSim's encoder holds the record that it fills: the fetch, then loads, then stores.
const PENDING: usize = <usize>TRACE_PRIVATE;
const LOADS: usize = <usize>TRACE_PRIVATE + 4;
const STORES: usize = <usize>TRACE_PRIVATE + 8;
const BUFFER: usize = <usize>TRACE_PRIVATE + 64;

/** Writes the record under way, if any. */
function flushChampsim(encoder: usize, out: usize): usize {
  if (load<u32>(encoder + PENDING) == 0) return out;
  memory.copy(out, encoder + BUFFER, 64);
  memory.fill(encoder + BUFFER, 0, 64);
  memory.fill(encoder + PENDING, 0, 12);
  return out + 64;
}

function encodeChampsim(encoder: usize, gva: u64, kind: u32, out: usize): usize {
  const loads = load<u32>(encoder + LOADS);
  const stores = load<u32>(encoder + STORES);
  const full = kind == ACCESS_WRITE ? stores == 2 : loads == 4 || stores > 0;
  if (kind == ACCESS_FETCH || full) out = flushChampsim(encoder, out);
  store<u32>(encoder + PENDING, 1);
  // A slot of 0 is unused, so page 0 is named by another byte of it.
  const address = gva | 8;
  if (kind == ACCESS_FETCH) {
    store<u64>(encoder + BUFFER, address);
  } else if (kind == ACCESS_WRITE) {
    const n = load<u32>(encoder + STORES);
    store<u64>(encoder + BUFFER + 16 + ((<usize>n) << 3), address);
    store<u32>(encoder + STORES, n + 1);
  } else {
    const n = load<u32>(encoder + LOADS);
    store<u64>(encoder + BUFFER + 32 + ((<usize>n) << 3), address);
    store<u32>(encoder + LOADS, n + 1);
  }
  return out;
}

function encodeOracleGeneral(encoder: usize, gva: u64, out: usize): usize {
  store<u32>(out, <u32>load<u64>(encoder, TRACE_RECORDS));
  store<u64>(out, (gva >> 12) & 0xfffffffffffff, 4);
  store<u32>(out, 4096, 12);
  store<i64>(out, -1, 16);
  return out + 24;
}

/**
 * Encodes `count` records at `records`; returns the bytes written at `out`, at most
 * TRACE_ENCODED_MAX each.
 */
export function traceEncode(encoder: usize, records: usize, count: u32, out: usize): u32 {
  const format = load<u32>(encoder, TRACE_FORMAT);
  const start = out;
  for (let i: u32 = 0; i < count; i++) {
    const record = load<u64>(records + ((<usize>i) << 3));
    const kind = (<u32>record) & ACCESS_KIND_MASK;
    if (format == TRACE_FORMAT_SMT) {
      out = encodeSmt(encoder, record, out);
    } else if (kind != ACCESS_CONTROL) {
      const gva = record & ~(<u64>0xfff);
      if (format == TRACE_FORMAT_CHAMPSIM) out = encodeChampsim(encoder, gva, kind, out);
      else if (format == TRACE_FORMAT_ORACLE_GENERAL) out = encodeOracleGeneral(encoder, gva, out);
      else out = encodeLine(format, encoder, gva, kind, out);
    }
    store<u64>(encoder, load<u64>(encoder, TRACE_RECORDS) + 1, TRACE_RECORDS);
  }
  return <u32>(out - start);
}

/** Ends an encoded trace; returns the bytes written at `out`, at most TRACE_ENCODED_MAX. */
export function traceEncodeEnd(encoder: usize, out: usize): u32 {
  const format = load<u32>(encoder, TRACE_FORMAT);
  let end = out;
  if (format == TRACE_FORMAT_SMT) end = encodeSmtEnd(out, load<u64>(encoder, TRACE_RECORDS));
  if (format == TRACE_FORMAT_CHAMPSIM) end = flushChampsim(encoder, out);
  return <u32>(end - out);
}
