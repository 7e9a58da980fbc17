// Our own compact trace, `.smt` (docs/traces.md): one byte for a reference to a page that was used
// lately, so a real trace takes about one byte a reference, needs no memory to write or read, and
// decodes at a load, a store and a rarely taken branch each.
//
//   header, 32 bytes little-endian
//     0  89 53 4d 54 0d 0a 1a 0a   magic: catches text-mode transfers, as PNG's does
//     8  u16 version (1)   10  u16 header bytes (32)   12  u32 reserved, 0
//    16  u64 records (0: not known when the header was written)   24  u64 reserved, 0
//   then operations
//     ┌─────────────┬────┐  kind 0…2: a reference (read, write, fetch) to the page in `slot` of the
//     │ slot 0…62   │kind│  table of 63 pages; slot 63: an LEB128 number follows, the zigzag
//     └─────────────┴────┘  difference of the page to the last such page of this kind; the page
//      7           2 1  0   enters the table at its hash.
//                           kind 3: slot 0, a control record, LEB128 argument; slot 1, the flags of
//                           the following references (bits 11:2), LEB128; slot 62, the end mark and
//                           the u64 number of records.

import {
  ACCESS_CONTROL,
  ACCESS_KIND_MASK,
  TRACE_ANNOUNCED,
  TRACE_ERR_CANONICAL,
  TRACE_ERR_COUNT,
  TRACE_ERR_HEADER,
  TRACE_ERR_RECORD,
  TRACE_PRIVATE,
  TRACE_RECORDS,
} from '../abi';
import { endAt, outEnd, stopFor } from './outcome';
import { isCanonical } from './text';

const MAGIC: u64 = 0x0a1a0a0d544d5389;
const VERSION: u32 = 1;
/** Bytes of the header. */
export const SMT_HEADER: usize = 32;
/** Bytes of the longest operation: a byte and ten of LEB128. */
const OPERATION_MAX: usize = 11;

const SLOT_ESCAPE: u32 = 63;
const SLOT_FLAGS: u32 = 1;
const SLOT_END: u32 = 62;

// Private state of a decoder or encoder.
const STARTED: usize = <usize>TRACE_PRIVATE;
const FLAGS: usize = <usize>TRACE_PRIVATE + 8;
const LAST: usize = <usize>TRACE_PRIVATE + 16;
const TABLE: usize = <usize>TRACE_PRIVATE + 64;

const PAGE_BITS: u64 = ~(<u64>0xfff);

let ended: bool = false;

/** True once the last call read the end mark. */
export function smtEnded(): bool {
  return ended;
}

/** Slot of a page; 63 is the escape, so its pages share slot 0. */
function slotOf(page: u64): usize {
  const slot = ((page >> 12) * 0x9e3779b97f4a7c15) >> 58;
  return slot == <u64>SLOT_ESCAPE ? 0 : <usize>slot;
}

let lebEnd: usize = 0;

/** An LEB128 number of at most 64 bits at `p`; lebEnd is 0 when it is longer. */
function leb(p: usize): u64 {
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < 64; shift += 7) {
    const byte = <u64>load<u8>(p);
    p++;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      lebEnd = shift == 63 && byte > 1 ? 0 : p;
      return value;
    }
  }
  lebEnd = 0;
  return value;
}

function writeLeb(p: usize, value: u64): usize {
  while (value >= 0x80) {
    store<u8>(p, <u8>(value | 0x80));
    value >>= 7;
    p++;
  }
  store<u8>(p, <u8>value);
  return p + 1;
}

function readHeader(decoder: usize, p: usize): bool {
  const versionOk = <u32>load<u16>(p, 8) == VERSION && <usize>load<u16>(p, 10) == SMT_HEADER;
  if (load<u64>(p) != MAGIC || !versionOk || load<u32>(p, 12) != 0 || load<u64>(p, 24) != 0) {
    stopFor(TRACE_ERR_HEADER);
    return false;
  }
  store<u64>(decoder, load<u64>(p, 16), TRACE_ANNOUNCED);
  store<u32>(decoder + STARTED, 1);
  return true;
}

/** The rare operations; returns the next one, or 0 with errorCode set. */
function decodeRare(decoder: usize, p: usize, end: usize, out: usize, records: u64): usize {
  const op = <u32>load<u8>(p);
  const kind = op & ACCESS_KIND_MASK;
  const value = leb(p + 1);
  endAt(out);
  if (kind != ACCESS_CONTROL) {
    const delta = (value >> 1) ^ (0 - (value & 1));
    const last = decoder + LAST + ((<usize>kind) << 3);
    const page = (load<u64>(last) + (delta << 12)) & PAGE_BITS;
    if (lebEnd == 0 || !isCanonical(page)) {
      stopFor(lebEnd == 0 ? TRACE_ERR_RECORD : TRACE_ERR_CANONICAL);
      return 0;
    }
    store<u64>(last, page);
    store<u64>(decoder + TABLE + (slotOf(page) << 3), page);
    store<u64>(out, page | (<u64>kind) | load<u64>(decoder + FLAGS));
    endAt(out + 8);
    return lebEnd;
  }
  const slot = op >> 2;
  if (slot == SLOT_END) {
    if (p + 9 > end) return p + 9;
    ended = load<u64>(p, 1) == records;
    if (!ended) stopFor(TRACE_ERR_COUNT);
    return ended ? p + 9 : 0;
  }
  if (
    lebEnd == 0 ||
    slot > SLOT_FLAGS ||
    (slot == 0 && value >> 52 != 0) ||
    (slot == SLOT_FLAGS && (value & 3) + (value >> 12) != 0)
  ) {
    stopFor(TRACE_ERR_RECORD);
    return 0;
  }
  if (slot == SLOT_FLAGS) {
    store<u64>(decoder + FLAGS, value);
  } else {
    store<u64>(out, (value << 12) | (<u64>ACCESS_CONTROL));
    endAt(out + 8);
  }
  return lebEnd;
}

/**
 * Decodes the operations of [p, end) that surely lie whole in it (`last`: all of them) until `out`
 * reaches `outLimit`; returns where it stopped.
 */
export function decodeSmt(
  decoder: usize,
  p: usize,
  end: usize,
  last: bool,
  out: usize,
  outLimit: usize,
): usize {
  stopFor(0);
  ended = false;
  endAt(out);
  if (load<u32>(decoder + STARTED) == 0) {
    if (p + SMT_HEADER > end || !readHeader(decoder, p)) return p;
    p += SMT_HEADER;
  }
  const start = out;
  const before = load<u64>(decoder, TRACE_RECORDS);
  const safe = last ? end : end - min<usize>(end - p, OPERATION_MAX);
  const table = decoder + TABLE;
  let flags = load<u64>(decoder + FLAGS);
  while (p < safe && out < outLimit) {
    const op = <u32>load<u8>(p);
    const kind = op & ACCESS_KIND_MASK;
    const slot = op >> 2;
    if (slot == SLOT_ESCAPE || kind == ACCESS_CONTROL) {
      const next = decodeRare(decoder, p, end, out, before + ((<u64>(out - start)) >> 3));
      // A last operation that runs past the input was cut off.
      if (next == 0 || next > end) {
        endAt(out);
        ended = false;
        break;
      }
      p = next;
      out = outEnd;
      if (ended) break;
      flags = load<u64>(decoder + FLAGS);
      continue;
    }
    store<u64>(out, load<u64>(table + ((<usize>slot) << 3)) | (<u64>kind) | flags);
    out += 8;
    p++;
  }
  endAt(out);
  return p;
}

/** Writes the header; `records` as in the layout above. */
export function encodeSmtHeader(out: usize, recordsLo: u32, recordsHi: u32): usize {
  store<u64>(out, MAGIC);
  store<u16>(out, <u16>VERSION, 8);
  store<u16>(out, <u16>SMT_HEADER, 10);
  store<u32>(out, 0, 12);
  store<u64>(out, ((<u64>recordsHi) << 32) | (<u64>recordsLo), 16);
  store<u64>(out, 0, 24);
  return out + SMT_HEADER;
}

/** Writes the end mark. */
export function encodeSmtEnd(out: usize, records: u64): usize {
  store<u8>(out, <u8>((SLOT_END << 2) | ACCESS_CONTROL));
  store<u64>(out, records, 1);
  return out + 9;
}

/** Writes one record. */
export function encodeSmt(encoder: usize, record: u64, out: usize): usize {
  const kind = (<u32>record) & ACCESS_KIND_MASK;
  if (kind == ACCESS_CONTROL) {
    store<u8>(out, <u8>ACCESS_CONTROL);
    return writeLeb(out + 1, record >> 12);
  }
  const flags = record & 0xffc;
  if (flags != load<u64>(encoder + FLAGS)) {
    store<u64>(encoder + FLAGS, flags);
    store<u8>(out, <u8>((SLOT_FLAGS << 2) | ACCESS_CONTROL));
    out = writeLeb(out + 1, flags);
  }
  const page = record & PAGE_BITS;
  const slot = slotOf(page);
  const entry = encoder + TABLE + (slot << 3);
  if (load<u64>(entry) == page) {
    store<u8>(out, <u8>(((<u32>slot) << 2) | kind));
    return out + 1;
  }
  store<u64>(entry, page);
  const last = encoder + LAST + ((<usize>kind) << 3);
  const delta = (<i64>(page - load<u64>(last))) >> 12;
  store<u64>(last, page);
  store<u8>(out, <u8>((SLOT_ESCAPE << 2) | kind));
  return writeLeb(out + 1, <u64>((delta << 1) ^ (delta >> 63)));
}
