// Code size of the core by function, read from the module itself: the code section for the sizes,
// the name section for the names.

/** Bytes of code of one function. */
export interface FunctionSize {
  readonly name: string;
  readonly bytes: number;
}

const SECTION_CUSTOM = 0;
const SECTION_IMPORT = 2;
const SECTION_CODE = 10;
/** Subsection of the name section that names functions. */
const NAMES_FUNCTIONS = 1;
const KIND_FUNCTION = 0;

class Reader {
  readonly #bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.at = at;
  }

  byte(): number {
    return this.#bytes[this.at++] as number;
  }

  /** An unsigned LEB128 number. */
  u32(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  name(): string {
    const length = this.u32();
    const text = Buffer.from(this.#bytes.subarray(this.at, this.at + length)).toString('utf8');
    this.at += length;
    return text;
  }
}

/** Imported functions; imports of other kinds do not occur in the core. */
function importedFunctions(reader: Reader): number {
  let functions = 0;
  for (let n = reader.u32(); n > 0; n--) {
    reader.name();
    reader.name();
    const kind = reader.byte();
    if (kind !== KIND_FUNCTION) throw new Error(`import of kind ${kind}`);
    reader.u32();
    functions++;
  }
  return functions;
}

function functionNames(reader: Reader, end: number): Map<number, string> {
  const names = new Map<number, string>();
  while (reader.at < end) {
    const id = reader.byte();
    const next = reader.u32() + reader.at;
    if (id === NAMES_FUNCTIONS) {
      for (let n = reader.u32(); n > 0; n--) names.set(reader.u32(), reader.name());
    }
    reader.at = next;
  }
  return names;
}

/** Sizes of a module's functions, largest first. */
export function wasmFunctionSizes(module: Uint8Array): FunctionSize[] {
  const reader = new Reader(module, 8);
  const sizes: number[] = [];
  let imported = 0;
  let names = new Map<number, string>();
  while (reader.at < module.length) {
    const id = reader.byte();
    const length = reader.u32();
    const end = reader.at + length;
    if (id === SECTION_IMPORT) imported = importedFunctions(reader);
    if (id === SECTION_CODE) {
      for (let n = reader.u32(); n > 0; n--) {
        const size = reader.u32();
        sizes.push(size);
        reader.at += size;
      }
    }
    if (id === SECTION_CUSTOM && reader.name() === 'name') names = functionNames(reader, end);
    reader.at = end;
  }
  return sizes
    .map((bytes, i) => ({ name: names.get(imported + i) ?? `function ${imported + i}`, bytes }))
    .toSorted((a, b) => b.bytes - a.bytes);
}
