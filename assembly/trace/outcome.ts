// What the last call of a decoder came to, beside the place in its input: one of any format runs at a time.

/** Where its output ended. */
export let outEnd: usize = 0;
/** TRACE_ERR_* of the line or record that it stopped at, or 0. */
export let errorCode: u32 = 0;

/** The output of the call ends at `out`, so far. */
export function endAt(out: usize): void {
  outEnd = out;
}

/** The call stops for TRACE_ERR_* `code` (0: for none); 0 in place of where the input goes on. */
export function stopFor(code: u32): usize {
  errorCode = code;
  return 0;
}
