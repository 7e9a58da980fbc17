// The other line formats. Each decoder takes one line and writes its records; blank lines and lines
// of comment (`#`, and DynamoRIO's `Format:`) are skipped by decodeLines().
//
//   classic          0041f7a0 R              hexadecimal byte address, R or W
//   pages            S 1fff000               I, L or S and a hexadecimal page number
//   din              2 401ab70 …             Dinero: 0 read, 1 write, 2 fetch, 3 other, 4 flush
//   memtrace_simple  0x7fe1c0: 8, r          r, w, or an opcode (a fetch)
//   memtrace_x86     0x401a,w,8,0x7fe1c0     pc, r or w, size, data address
//   drview           12 5: 77 read 8 byte(s) @ 0x7fe1c0 by PC 0x401a    (drcachesim's view tool)

import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  TRACE_ERR_CANONICAL,
  TRACE_ERR_LINE,
  TRACE_FORMAT_CLASSIC,
  TRACE_FORMAT_DIN,
  TRACE_FORMAT_DRVIEW,
  TRACE_FORMAT_MEMTRACE_SIMPLE,
  TRACE_FORMAT_MEMTRACE_X86,
  TRACE_FORMAT_PAGES,
} from '../abi';
import { endAt, outEnd, stopFor } from './outcome';
import { accessError, atLineEnd, decimal, decimalStop, emitAccess, hexBefore } from './text';
import { isCanonical, nextLine, restIsBlank, skipBlanks, skipHex, skipWord } from './text';

/** A hexadecimal number of up to 16 digits at `p`, with or without 0x; sets hexStop. */
let hexStop: usize = 0;
let hexDigits: u32 = 0;
function hexAt(p: usize): u64 {
  if (load<u16>(p) == 0x7830) p += 2;
  hexStop = skipHex(p);
  hexDigits = <u32>min<usize>(hexStop - p, 17);
  return hexBefore(hexStop, hexDigits);
}

/** Writes the access if it is valid and goes to the next line; else sets the error. */
function access(decoder: usize, rest: usize, out: usize, gva: u64, size: u32, kind: u32): usize {
  const code = accessError(gva, size);
  if (code != 0) return stopFor(code);
  endAt(emitAccess(decoder, out, gva, size, kind));
  return nextLine(rest);
}

function decodeClassic(decoder: usize, p: usize, out: usize): usize {
  const gva = hexAt(p);
  const stop = hexStop;
  if (hexDigits - 1 > 15 || load<u8>(stop) != 0x20) return stopFor(TRACE_ERR_LINE);
  const letter = <u32>load<u8>(stop, 1);
  if ((letter != 0x52 && letter != 0x57) || !atLineEnd(stop + 2)) return stopFor(TRACE_ERR_LINE);
  return access(decoder, stop, out, gva, 1, letter == 0x52 ? ACCESS_READ : ACCESS_WRITE);
}

function decodePages(decoder: usize, p: usize, out: usize): usize {
  const letter = <u32>load<u8>(p);
  let kind = ACCESS_READ;
  if (letter == 0x49) kind = ACCESS_FETCH;
  else if (letter == 0x53) kind = ACCESS_WRITE;
  else if (letter != 0x4c) return stopFor(TRACE_ERR_LINE);
  if (load<u8>(p, 1) != 0x20) return stopFor(TRACE_ERR_LINE);
  const vpn = hexAt(p + 2);
  const stop = hexStop;
  if (hexDigits - 1 > 15 || !atLineEnd(stop)) return stopFor(TRACE_ERR_LINE);
  const gva = vpn << 12;
  if (vpn >> 52 != 0 || !isCanonical(gva)) return stopFor(TRACE_ERR_CANONICAL);
  store<u64>(out, gva | (<u64>kind));
  endAt(out + 8);
  return nextLine(stop);
}

function decodeDin(decoder: usize, p: usize, out: usize): usize {
  p = skipBlanks(p);
  const label = <u32>load<u8>(p) - 0x30;
  const blank = skipBlanks(p + 1);
  if (label > 4 || blank == p + 1) return stopFor(TRACE_ERR_LINE);
  const gva = hexAt(blank);
  const stop = hexStop;
  if (hexDigits - 1 > 15 || load<u8>(stop) > 0x20) return stopFor(TRACE_ERR_LINE);
  endAt(out);
  if (label == 4) return nextLine(stop);
  let kind = ACCESS_READ;
  if (label == 1) kind = ACCESS_WRITE;
  else if (label == 2) kind = ACCESS_FETCH;
  return access(decoder, stop, out, gva, 1, kind);
}

function decodeMemtraceSimple(decoder: usize, p: usize, out: usize): usize {
  if (load<u16>(p) != 0x7830) return stopFor(TRACE_ERR_LINE);
  const gva = hexAt(p);
  const stop = hexStop;
  if (hexDigits - 1 > 15 || load<u8>(stop) != 0x3a) return stopFor(TRACE_ERR_LINE);
  const number = skipBlanks(stop + 1);
  const size = decimal(number);
  let rest = decimalStop();
  if (rest == number || load<u8>(rest) != 0x2c) return stopFor(TRACE_ERR_LINE);
  rest = skipBlanks(rest + 1);
  const end = skipWord(rest);
  if (end == rest || !restIsBlank(end)) return stopFor(TRACE_ERR_LINE);
  let kind = ACCESS_FETCH;
  if (end == rest + 1 && load<u8>(rest) == 0x72) kind = ACCESS_READ;
  if (end == rest + 1 && load<u8>(rest) == 0x77) kind = ACCESS_WRITE;
  return access(decoder, rest, out, gva, size, kind);
}

function decodeMemtraceX86(decoder: usize, p: usize, out: usize): usize {
  if (load<u16>(p) != 0x7830) return stopFor(TRACE_ERR_LINE);
  hexAt(p);
  let stop = hexStop;
  const letter = <u32>load<u8>(stop, 1);
  const letterOk = letter == 0x72 || letter == 0x77;
  if (load<u8>(stop) != 0x2c || !letterOk || load<u8>(stop, 2) != 0x2c)
    return stopFor(TRACE_ERR_LINE);
  const size = decimal(stop + 3);
  const rest = decimalStop();
  if (rest == stop + 3 || load<u8>(rest) != 0x2c || load<u16>(rest, 1) != 0x7830) {
    return stopFor(TRACE_ERR_LINE);
  }
  const gva = hexAt(rest + 1);
  stop = hexStop;
  if (hexDigits - 1 > 15 || !restIsBlank(stop)) return stopFor(TRACE_ERR_LINE);
  return access(decoder, stop, out, gva, size, letter == 0x72 ? ACCESS_READ : ACCESS_WRITE);
}

/** True if the word [p, end) has `n` bytes and starts with the 4 bytes of `text`. */
function wordIs(p: usize, end: usize, text: u32, n: u32): bool {
  return <u32>(end - p) == n && load<u32>(p) == text;
}

/** True for the first byte of a line that the view tool prints: a record, heading or summary. */
function startsViewLine(c: u32): bool {
  return c - 0x30 < 10 || c == 0x3c || c == 0x2d || c == 0x3d || c == 0x4f || c == 0x56;
}

/**
 * A line of drcachesim's view tool. Its head (record and instruction numbers, thread) is not read:
 * the first word that names a kind decides. Lines without one (markers, the heading) give nothing.
 */
function decodeDrview(decoder: usize, p: usize, out: usize): usize {
  endAt(out);
  let kind: u32 = 0xff;
  if (!startsViewLine(<u32>load<u8>(skipBlanks(p)))) return stopFor(TRACE_ERR_LINE);
  while (!atLineEnd(p)) {
    p = skipBlanks(p);
    const word = p;
    p = skipWord(p);
    if (p == word) break;
    if (wordIs(word, p, 0x74656669, 6)) kind = ACCESS_FETCH;
    else if (wordIs(word, p, 0x64616572, 4)) kind = ACCESS_READ;
    else if (wordIs(word, p, 0x74697277, 5)) kind = ACCESS_WRITE;
    else if (load<u8>(word) == 0x3c) break;
    if (kind != 0xff) break;
  }
  if (kind == 0xff) return nextLine(p);
  // "ifetch  3 byte(s) @ 0x… …"
  const number = skipBlanks(p);
  const size = decimal(number);
  const unit = skipBlanks(decimalStop());
  const sign = skipBlanks(skipWord(unit));
  if (decimalStop() == number || load<u8>(sign) != 0x40) return stopFor(TRACE_ERR_LINE);
  const at = skipBlanks(sign + 1);
  if (load<u16>(at) != 0x7830) return stopFor(TRACE_ERR_LINE);
  const gva = hexAt(at);
  if (hexDigits - 1 > 15) return stopFor(TRACE_ERR_LINE);
  return access(decoder, hexStop, out, gva, size, kind);
}

function isComment(p: usize): bool {
  return load<u8>(p) == 0x23 || (load<u32>(p) == 0x6d726f46 && load<u8>(p, 4) == 0x61);
}

function decodeLine(format: u32, decoder: usize, p: usize, out: usize): usize {
  if (format == TRACE_FORMAT_PAGES) return decodePages(decoder, p, out);
  if (format == TRACE_FORMAT_CLASSIC) return decodeClassic(decoder, p, out);
  if (format == TRACE_FORMAT_DIN) return decodeDin(decoder, p, out);
  if (format == TRACE_FORMAT_MEMTRACE_SIMPLE) return decodeMemtraceSimple(decoder, p, out);
  if (format == TRACE_FORMAT_MEMTRACE_X86) return decodeMemtraceX86(decoder, p, out);
  assert(format == TRACE_FORMAT_DRVIEW, 'the format is one of lines');
  return decodeDrview(decoder, p, out);
}

/** As decodeLackey(), for the other formats of lines. */
export function decodeLines(
  format: u32,
  decoder: usize,
  p: usize,
  end: usize,
  out: usize,
  outLimit: usize,
): usize {
  stopFor(0);
  let at = out;
  while (p < end && at < outLimit) {
    endAt(at);
    let next: usize = 0;
    if (isComment(p) || restIsBlank(p)) next = nextLine(p);
    else next = decodeLine(format, decoder, p, at);
    if (next == 0) break;
    at = outEnd;
    p = next;
  }
  endAt(at);
  return p;
}
