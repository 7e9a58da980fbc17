// Valgrind's lackey with --trace-mem=yes:
//
//   I  0401ab70,3      instruction fetch: letter in column 1, two blanks
//    L 1fff000708,8    load
//    S 1fff000708,8    store
//    M 1fff000708,8    modify: one access that dirties
//
// Addresses have 8 digits or more, sizes are decimal. Lines that start with `==`, `--` or `**` are
// Valgrind's own messages. An access over a page boundary gives one record for each page.
//
// With --log-fd=1 the traced program's own output stands between the records. So once Valgrind's
// heading was seen, a line that no trace format would write is skipped and counted; in a trace
// without one, and for a line that looks like a reference of any format, it is an error.

import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  TRACE_ERR_LINE,
  TRACE_FOREIGN,
  TRACE_PRIVATE,
} from '../abi';
import { endAt, errorCode, outEnd, stopFor } from './outcome';
import { accessError, atLineEnd, decimal, decimalStop, emitAccess, hexBefore } from './text';
import { nextLine, restIsBlank, skipHex } from './text';

// The first three bytes of a line of each kind, with the kind in the fourth, at the index that the
// first two bytes give when combined by exclusive or (modulo 32): I 9, L 12, M 13, S 19.
const HEADS: usize = memory.data<u32>([
  0xff000000, 0xff000000, 0xff000000, 0xff000000, 0xff000000, 0xff000000, 0xff000000, 0xff000000,
  0xff000000, 0x02202049, 0xff000000, 0xff000000, 0x00204c20, 0x01204d20, 0xff000000, 0xff000000,
  0xff000000, 0xff000000, 0xff000000, 0x01205320, 0xff000000, 0xff000000, 0xff000000, 0xff000000,
  0xff000000, 0xff000000, 0xff000000, 0xff000000, 0xff000000, 0xff000000, 0xff000000, 0xff000000,
]);

if (ACCESS_READ != 0 || ACCESS_WRITE != 1 || ACCESS_FETCH != 2) ERROR('lackey: kinds in HEADS');

/** Private: a message of Valgrind's was seen. */
const HEADING_SEEN: usize = <usize>TRACE_PRIVATE;

/**
 * Decodes the whole lines of [p, end) (the byte before `end` is a '\n') until `out` reaches
 * `outLimit`; returns where it stopped.
 */
export function decodeLackey(
  decoder: usize,
  p: usize,
  end: usize,
  out: usize,
  outLimit: usize,
): usize {
  stopFor(0);
  while (p < end && out < outLimit) {
    const first = load<u32>(p);
    const head = load<u32>(HEADS + ((((first >> 8) ^ first) & 31) << 2));
    if ((head ^ first) << 8 != 0) {
      if (!skipsLine(decoder, p)) {
        stopFor(TRACE_ERR_LINE);
        break;
      }
      p = nextLine(p);
      continue;
    }
    // The comma stands behind 8 digits, or behind 10 for a stack address of Valgrind's; the mask
    // finds it without a branch for all lengths up to 15.
    const mask = <u32>i8x16.bitmask(i8x16.eq(v128.load(p + 3), i8x16.splat(0x2c)));
    const digits = ctz<u32>(mask);
    const comma = p + 3 + <usize>digits;
    const gva = hexBefore(comma, digits);
    let size = <u32>load<u8>(comma, 1) - 0x30;
    let next = comma + 2;
    if (load<u8>(next) != 0x0a) {
      const second = <u32>load<u8>(next) - 0x30;
      if (second < 10 && load<u8>(next, 1) == 0x0a) {
        size = size < 10 ? size * 10 + second : 0;
        next++;
      } else {
        size = digits < 16 ? decimal(comma + 1) : 0;
        next = decimalStop();
      }
    } else if (size > 9) {
      size = 0;
    }
    const offset = (<u32>gva) & 0xfff;
    if (gva >> 47 != 0 || size - 1 > 4095 - offset || load<u8>(next) != 0x0a) {
      // Rare: a page crossing, an address of the upper half, '\r', 16 digits, or an error.
      const stop = decodeLackeySlowly(decoder, p, out, head >> 24);
      if (stop == 0) break;
      out = outEnd;
      p = stop;
      continue;
    }
    store<u64>(out, (gva & ~(<u64>0xfff)) | ((<u64>head) >> 24));
    out += 8;
    p = next + 1;
  }
  endAt(out);
  return p;
}

/** One line without shortcuts; returns the next line, or 0 with errorCode set. */
function decodeLackeySlowly(decoder: usize, p: usize, out: usize, kind: u32): usize {
  endAt(out);
  const stop = skipHex(p + 3);
  const digits = <u32>(stop - p) - 3;
  if (digits == 0 || digits > 16 || load<u8>(stop) != 0x2c) {
    stopFor(TRACE_ERR_LINE);
    return 0;
  }
  const size = decimal(stop + 1);
  const rest = decimalStop();
  if (rest == stop + 1 || !atLineEnd(rest)) {
    stopFor(TRACE_ERR_LINE);
    return 0;
  }
  const gva = hexBefore(stop, digits);
  stopFor(accessError(gva, size));
  if (errorCode != 0) return 0;
  endAt(emitAccess(decoder, out, gva, size, kind));
  return nextLine(rest);
}

/** True for a line without a record that may stand in a trace. */
function skipsLine(decoder: usize, p: usize): bool {
  const c = <u32>load<u16>(p);
  if (c == 0x3d3d || c == 0x2d2d || c == 0x2a2a) {
    store<u32>(decoder + HEADING_SEEN, 1);
    return true;
  }
  if (restIsBlank(p)) return true;
  if (load<u32>(decoder + HEADING_SEEN) == 0 || looksLikeReference(p)) return false;
  store<u64>(decoder, load<u64>(decoder, TRACE_FOREIGN) + 1, TRACE_FOREIGN);
  return true;
}

function isKindLetter(c: u32): bool {
  return c == 0x49 || c == 0x4c || c == 0x4d || c == 0x53;
}

/** True for a line that starts as a reference of some trace format does, or is not text. */
function looksLikeReference(p: usize): bool {
  const start = load<u8>(p) == 0x20 ? p + 1 : p;
  if (isKindLetter(<u32>load<u8>(start)) && load<u8>(start, 1) == 0x20) return true;
  if (load<u16>(p) == 0x7830) return true;
  const stop = skipHex(p);
  if (stop > p && load<u8>(stop) == 0x20) {
    const letter = <u32>load<u8>(stop, 1);
    if ((letter == 0x52 || letter == 0x57) && atLineEnd(stop + 2)) return true;
    if (stop == p + 1 && atLineEnd(skipHex(stop + 1))) return true;
  }
  while (!atLineEnd(p)) {
    const c = <u32>load<u8>(p);
    if (c < 0x20 && c != 0x09) return true;
    p++;
  }
  return false;
}
