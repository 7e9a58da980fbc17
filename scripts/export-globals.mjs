// Exports every mutable global of a Wasm module as `global:INDEX`, so that a snapshot of the core can save
// and restore them beside its memory. asc has no switch for it; the code section is not touched.

/** Reads a LEB128 at `at`: [value, next]. */
function leb(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return [value, at];
  }
}

function toLeb(value) {
  const out = [];
  do {
    const rest = Math.floor(value / 128);
    out.push((value % 128) | (rest > 0 ? 0x80 : 0));
    value = rest;
  } while (value > 0);
  return out;
}

/** Skips a constant expression. */
function skipConst(bytes, at) {
  for (;;) {
    const op = bytes[at++];
    if (op === 0x0b) return at;
    if (op === 0x41 || op === 0x42 || op === 0x23) [, at] = leb(bytes, at);
    else if (op === 0x43) at += 4;
    else if (op === 0x44) at += 8;
    else if (op === 0xfd && bytes[at] === 0x0c) at += 17;
    else throw new Error(`constant expression: opcode ${op}`);
  }
}

/** The module with one export more for each of its own mutable globals. */
export function exportGlobals(bytes) {
  const sections = [];
  for (let at = 8; at < bytes.length;) {
    const id = bytes[at];
    const [size, body] = leb(bytes, at + 1);
    sections.push({ id, body: bytes.subarray(body, body + size) });
    at = body + size;
  }
  const mutable = [];
  const globals = sections.find((s) => s.id === 6);
  if (!globals) return bytes;
  let [count, at] = leb(globals.body, 0);
  for (let index = 0; index < count; index++) {
    if (globals.body[at + 1] === 1) mutable.push(index);
    at = skipConst(globals.body, at + 2);
  }
  const exportsSection = sections.find((s) => s.id === 7);
  const [had, rest] = leb(exportsSection.body, 0);
  const added = mutable.flatMap((index) => {
    const name = [...Buffer.from(`global:${index}`)];
    return [...toLeb(name.length), ...name, 3, ...toLeb(index)];
  });
  exportsSection.body = Uint8Array.from([
    ...toLeb(had + mutable.length),
    ...exportsSection.body.subarray(rest),
    ...added,
  ]);
  const out = [...bytes.subarray(0, 8)];
  const parts = [Uint8Array.from(out)];
  for (const { id, body } of sections) {
    parts.push(Uint8Array.from([id, ...toLeb(body.length)]), body);
  }
  return Buffer.concat(parts);
}
