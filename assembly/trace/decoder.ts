// A decoder (or encoder) is one page of state, so a core holds as many as a run has traces. The
// host reads a chunk of the file straight into linear memory and calls traceDecode(); what it leaves
// (a cut line or record) the host moves to the front of the next chunk.
//
// The input must be readable TRACE_IN_SLACK bytes before its start and behind its end. Text is
// decoded up to its last '\n' only; the host appends one to a last line without.

import {
  TRACE_BYTES,
  TRACE_CONSUMED,
  TRACE_END,
  TRACE_ERROR,
  TRACE_ERROR_CODE,
  TRACE_ERR_HEADER,
  TRACE_ERR_TRUNCATED,
  TRACE_FORMAT,
  TRACE_FORMAT_CHAMPSIM,
  TRACE_FORMAT_LACKEY,
  TRACE_FORMAT_ORACLE_GENERAL,
  TRACE_FORMAT_SMT,
  TRACE_FULL,
  TRACE_LINES,
  TRACE_OK,
  TRACE_OUT_SLACK,
  TRACE_RECORDS,
  TRACE_STATUS,
} from '../abi';
import { DECODED_BYTES } from '../counters';
import { pageAlloc, pageFree } from '../layout';
import { bumpBy } from '../stats';
import { decodeLackey } from './lackey';
import { decodeLines } from './lines';
import { errorCode, outEnd } from './outcome';
import {
  CHAMPSIM_RECORD,
  ORACLE_GENERAL_RECORD,
  decodeChampsim,
  decodeOracleGeneral,
} from './records';
import { SMT_HEADER, decodeSmt, encodeSmtHeader, smtEnded } from './smt';

/** A decoder or encoder of a format (TRACE_FORMAT_*). */
export function traceOpen(format: u32): u32 {
  const decoder = pageAlloc();
  store<u32>(decoder, format, TRACE_FORMAT);
  return <u32>decoder;
}

/** Frees a decoder or encoder. */
export function traceClose(decoder: usize): void {
  pageFree(decoder);
}

/** Writes the header of our own format; returns its bytes. */
export function traceEncodeHeader(out: usize, recordsLo: u32, recordsHi: u32): u32 {
  return <u32>(encodeSmtHeader(out, recordsLo, recordsHi) - out);
}

/** Number of '\n' in [p, end). */
function countLines(p: usize, end: usize): u64 {
  let lines: u64 = 0;
  while (p + 16 <= end) {
    const mask = <u32>i8x16.bitmask(i8x16.eq(v128.load(p), i8x16.splat(0x0a)));
    lines += <u64>popcnt<u32>(mask);
    p += 16;
  }
  while (p < end) {
    if (load<u8>(p) == 0x0a) lines++;
    p++;
  }
  return lines;
}

/** End of the last whole line of [p, end). */
function wholeLines(p: usize, end: usize): usize {
  while (end > p && load<u8>(end - 1) != 0x0a) end--;
  return end;
}

/**
 * Decodes from the `length` bytes at `input` into at most `outMax` records at `out` (at least
 * 2 * TRACE_OUT_SLACK); `last`: no input follows. Returns the number of records; the status and the
 * rest are in the decoder.
 */
export function traceDecode(
  decoder: usize,
  input: usize,
  length: u32,
  last: u32,
  out: usize,
  outMax: u32,
): u32 {
  assert(outMax >= 2 * TRACE_OUT_SLACK, 'the output has room for the longest line');
  const format = load<u32>(decoder, TRACE_FORMAT);
  const inputEnd = input + <usize>length;
  const outLimit = out + ((<usize>(outMax - TRACE_OUT_SLACK)) << 3);
  const isLast = last != 0;
  let stop: usize = 0;
  let ended: bool = false;
  let lines: u64 = 0;
  if (format == TRACE_FORMAT_LACKEY) {
    stop = decodeLackey(decoder, input, wholeLines(input, inputEnd), out, outLimit);
    lines = countLines(input, stop);
  } else if (format == TRACE_FORMAT_SMT) {
    stop = decodeSmt(decoder, input, inputEnd, isLast, out, outLimit);
    ended = smtEnded();
    const header = load<u64>(decoder, TRACE_BYTES) == 0 && stop != input;
    lines = <u64>(stop - input) - (header ? <u64>SMT_HEADER : 0);
  } else if (format == TRACE_FORMAT_CHAMPSIM) {
    stop = decodeChampsim(decoder, input, inputEnd, out, outLimit);
    lines = <u64>((stop - input) / CHAMPSIM_RECORD);
  } else if (format == TRACE_FORMAT_ORACLE_GENERAL) {
    stop = decodeOracleGeneral(input, inputEnd, out, outLimit);
    lines = <u64>((stop - input) / ORACLE_GENERAL_RECORD);
  } else {
    const whole = wholeLines(input, inputEnd);
    stop = decodeLines(format, decoder, input, whole, out, outLimit);
    lines = countLines(input, stop);
  }
  const records = <u32>((outEnd - out) >> 3);
  const consumed = <u32>(stop - input);
  let status = outEnd >= outLimit ? TRACE_FULL : TRACE_OK;
  if (ended) status = TRACE_END;
  let error = errorCode;
  if (error == 0 && status == TRACE_OK && isLast && (stop != inputEnd || needsEnd(format))) {
    error =
      load<u64>(decoder, TRACE_BYTES) + <u64>consumed == 0 ? TRACE_ERR_HEADER : TRACE_ERR_TRUNCATED;
  }
  if (error != 0) status = TRACE_ERROR;
  store<u32>(decoder, error, TRACE_ERROR_CODE);
  store<u32>(decoder, status, TRACE_STATUS);
  store<u32>(decoder, consumed, TRACE_CONSUMED);
  store<u64>(decoder, load<u64>(decoder, TRACE_LINES) + lines, TRACE_LINES);
  store<u64>(decoder, load<u64>(decoder, TRACE_BYTES) + <u64>consumed, TRACE_BYTES);
  store<u64>(decoder, load<u64>(decoder, TRACE_RECORDS) + <u64>records, TRACE_RECORDS);
  bumpBy(DECODED_BYTES, consumed);
  return records;
}

/** True for a format whose trace is cut off when its end mark is missing. */
function needsEnd(format: u32): bool {
  return format == TRACE_FORMAT_SMT;
}
