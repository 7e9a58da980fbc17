// Hexadecimal and decimal numbers of trace text, and the one way to write access records.

import {
  ACCESS_KIND_MASK,
  PAGE_SIZE,
  TRACE_CROSSINGS,
  TRACE_ERR_CANONICAL,
  TRACE_ERR_SIZE,
  TRACE_SIZE_MAX,
} from '../abi';

/** What hexBefore() gives for text that is no number: not canonical, so one test catches both. */
export const NOT_HEX: u64 = 0x8000000000000000;

/** 16 zero bytes, then 16 bytes of ones: a load at + n masks all but the last n lanes. */
const LANES: usize = memory.data<u8>([
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
  255, 255, 255, 255, 255, 255,
]);

/** The number in the `n` hexadecimal digits (1 to 16) that end at `end`; else NOT_HEX. */
export function hexBefore(end: usize, n: u32): u64 {
  if (n - 1 > 15) return NOT_HEX;
  const text = v128.load(end - 16);
  const digit = i8x16.sub(text, i8x16.splat(0x30));
  const letter = i8x16.sub(v128.or(text, i8x16.splat(0x20)), i8x16.splat(0x61));
  const isDigit = i8x16.lt_u(digit, i8x16.splat(10));
  const isLetter = i8x16.lt_u(letter, i8x16.splat(6));
  const valid = <u32>i8x16.bitmask(v128.or(isDigit, isLetter));
  if (valid >> (16 - n) != ((<u32>1) << n) - 1) return NOT_HEX;
  const nibble = v128.bitselect(digit, i8x16.add(letter, i8x16.splat(10)), isDigit);
  const active = v128.and(nibble, v128.load(LANES + <usize>n));
  // Pairs of digits to bytes: even lanes are the upper nibbles.
  const bytes = v128.or(i16x8.shl(active, 4), i16x8.shr_u(active, 8));
  const packed = v128.shuffle<u8>(bytes, bytes, 14, 12, 10, 8, 6, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  return i64x2.extract_lane(packed, 0);
}

/** True for a 48-bit canonical address. */
export function isCanonical(gva: u64): bool {
  return gva + ((<u64>1) << 47) < (<u64>1) << 48;
}

/** First byte from `p` on that is not a hexadecimal digit. */
export function skipHex(p: usize): usize {
  while (true) {
    const c = <u32>load<u8>(p);
    if (c - 0x30 >= 10 && (c | 0x20) - 0x61 >= 6) return p;
    p++;
  }
}

/** First byte from `p` on that is neither a blank nor a tab. */
export function skipBlanks(p: usize): usize {
  while (load<u8>(p) == 0x20 || load<u8>(p) == 0x09) p++;
  return p;
}

/** First byte from `p` on that is a blank, a tab or the end of the line. */
export function skipWord(p: usize): usize {
  while (load<u8>(p) > 0x20) p++;
  return p;
}

/** Start of the next line; a '\n' lies before the end of the input. */
export function nextLine(p: usize): usize {
  while (load<u8>(p) != 0x0a) p++;
  return p + 1;
}

/** True at the end of a line: '\n', or '\r' and then '\n'. */
export function atLineEnd(p: usize): bool {
  const c = load<u8>(p);
  return c == 0x0a || (c == 0x0d && load<u8>(p, 1) == 0x0a);
}

/** True where only blanks are left on the line. */
export function restIsBlank(p: usize): bool {
  return atLineEnd(skipBlanks(p));
}

// The result of decimal(), which has two.
let decimalEnd: usize = 0;

/** First byte behind the number that decimal() read; its start when there was none. */
export function decimalStop(): usize {
  return decimalEnd;
}

/** The decimal number at `p`, at most 2^32 - 1 (a larger one gives that); sets decimalStop(). */
export function decimal(p: usize): u32 {
  let value: u64 = 0;
  while (true) {
    const d = <u32>load<u8>(p) - 0x30;
    if (d > 9) break;
    value = min<u64>(value * 10 + <u64>d, 0xffffffff);
    p++;
  }
  decimalEnd = p;
  return <u32>value;
}

/** The error of an access, or 0. */
export function accessError(gva: u64, size: u32): u32 {
  if (!isCanonical(gva) || !isCanonical(gva + <u64>size - 1)) return TRACE_ERR_CANONICAL;
  if (size - 1 >= TRACE_SIZE_MAX) return TRACE_ERR_SIZE;
  return 0;
}

/** Writes a valid access: one record for each page that it touches, the lower first. */
export function emitAccess(decoder: usize, out: usize, gva: u64, size: u32, kind: u32): usize {
  const page = gva & ~(<u64>PAGE_SIZE - 1);
  store<u64>(out, page | (<u64>(kind & ACCESS_KIND_MASK)));
  out += 8;
  let left = <i32>(((<u32>gva) & (PAGE_SIZE - 1)) + size) - <i32>PAGE_SIZE;
  if (left > 0) {
    store<u64>(decoder, load<u64>(decoder, TRACE_CROSSINGS) + 1, TRACE_CROSSINGS);
    let next = page;
    while (left > 0) {
      next += <u64>PAGE_SIZE;
      store<u64>(out, next | (<u64>(kind & ACCESS_KIND_MASK)));
      out += 8;
      left -= <i32>PAGE_SIZE;
    }
  }
  return out;
}
