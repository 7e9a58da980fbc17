// A trace file as an AccessSource: chunks of the file go straight into linear memory, where the
// decoders of assembly/trace work. Memory does not grow with the trace.

import {
  TRACE_ANNOUNCED,
  TRACE_BYTES,
  TRACE_CONSUMED,
  TRACE_CROSSINGS,
  TRACE_END,
  TRACE_ERROR,
  TRACE_ERROR_CODE,
  TRACE_ERR_CANONICAL,
  TRACE_ERR_COUNT,
  TRACE_ERR_HEADER,
  TRACE_ERR_RECORD,
  TRACE_ERR_SIZE,
  TRACE_ERR_TRUNCATED,
  TRACE_FOREIGN,
  TRACE_IN_SLACK,
  TRACE_LINES,
  TRACE_OK,
  TRACE_RECORDS,
  TRACE_SIZE_MAX,
  TRACE_STATUS,
} from '../../assembly/abi.ts';
import { DataError } from '../core/errors.ts';
import type { Core } from '../core/load.ts';
import { type ByteSource, FileBytes, seeThrough } from './bytes.ts';
import { DETECT_BYTES, type TraceFormat, detectFormat, excerpt, formatByName } from './formats.ts';
import type { AccessSource, Workload } from './source.ts';
import { openStdin } from './stdin.ts';

/** Bytes of a file that are decoded at a time. */
const CHUNK_BYTES = 262144;
const BUFFER_BYTES = CHUNK_BYTES + 2 * TRACE_IN_SLACK + 8;

/** Input buffers of closed sources, to be used again. */
const spareBuffers = new WeakMap<Core, number[]>();

function takeBuffer(core: Core): number {
  return spareBuffers.get(core)?.pop() ?? core.x.arenaAlloc(BUFFER_BYTES) >>> 0;
}

function returnBuffer(core: Core, buffer: number): void {
  const spare = spareBuffers.get(core);
  if (spare) spare.push(buffer);
  else spareBuffers.set(core, [buffer]);
}

/** Decodes the bytes of one trace. */
export class TraceSource implements AccessSource {
  /** Format of the trace. */
  readonly format: TraceFormat;
  readonly #core: Core;
  readonly #bytes: ByteSource;
  readonly #decoder: number;
  readonly #buffer: number;
  /** Undecoded input. */
  #start: number;
  #length = 0;
  #atEnd = false;
  #needsInput = true;
  #finished = false;
  #closed = false;

  constructor(core: Core, bytes: ByteSource, format: TraceFormat) {
    this.format = format;
    this.#core = core;
    this.#bytes = bytes;
    this.#decoder = core.x.traceOpen(format.id) >>> 0;
    this.#buffer = takeBuffer(core) + TRACE_IN_SLACK;
    this.#start = this.#buffer;
  }

  get references(): number | undefined {
    if (this.#needsInput && this.#length === 0 && !this.#atEnd) this.#refill();
    const announced = this.#field64(TRACE_ANNOUNCED);
    return announced > 0 ? announced : undefined;
  }

  /** Accesses so far that crossed a page boundary. */
  get crossings(): number {
    return this.#field64(TRACE_CROSSINGS);
  }

  /** Lines so far of the traced program's own output. */
  get foreignLines(): number {
    return this.#field64(TRACE_FOREIGN);
  }

  next(core: Core, recordsPtr: number, maxRecords: number): number {
    while (!this.#finished) {
      if (this.#needsInput) this.#refill();
      const last = this.#atEnd ? 1 : 0;
      const { x, mem } = core;
      const n = x.traceDecode(
        this.#decoder,
        this.#start,
        this.#length,
        last,
        recordsPtr,
        maxRecords,
      );
      const consumed = mem.load32(this.#decoder + TRACE_CONSUMED);
      this.#start += consumed;
      this.#length -= consumed;
      const status = mem.load32(this.#decoder + TRACE_STATUS);
      this.#needsInput = status === TRACE_OK;
      if (status === TRACE_ERROR && n === 0) throw this.#error();
      if (status === TRACE_END) this.#checkEnd();
      if (status === TRACE_OK && last) this.#finished = true;
      if (n > 0) return n;
    }
    if (this.#field64(TRACE_RECORDS) === 0) {
      throw new DataError(`${this.#bytes.name}: holds no references`);
    }
    return 0;
  }

  progress(): number | undefined {
    return this.#bytes.progress();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#finished = true;
    this.#bytes.close();
    this.#core.x.traceClose(this.#decoder);
    returnBuffer(this.#core, this.#buffer - TRACE_IN_SLACK);
  }

  #field64(offset: number): number {
    return this.#core.mem.load64(this.#decoder + offset);
  }

  /** Moves the cut line or record to the front and reads on behind it. */
  #refill(): void {
    if (this.#atEnd) return;
    const { mem } = this.#core;
    mem.u8.copyWithin(this.#buffer, this.#start, this.#start + this.#length);
    this.#start = this.#buffer;
    if (this.#length >= CHUNK_BYTES) {
      throw new DataError(
        `${this.#bytes.name}: line ${this.#field64(TRACE_LINES) + 1}: longer than ${CHUNK_BYTES} bytes`,
      );
    }
    const end = this.#start + this.#length;
    const n = this.#bytes.read(mem.u8.subarray(end, this.#buffer + CHUNK_BYTES));
    this.#length += n;
    this.#needsInput = false;
    if (n > 0) return;
    this.#atEnd = true;
    // The last line may lack its '\n'.
    if (this.format.text && this.#length > 0 && mem.u8[end - 1] !== 0x0a) {
      mem.u8[end] = 0x0a;
      this.#length++;
    }
  }

  /** Nothing may follow the end mark of our own format. */
  #checkEnd(): void {
    this.#finished = true;
    if (this.#length === 0 && !this.#atEnd) this.#refill();
    if (this.#length > 0) {
      const offset = this.#field64(TRACE_BYTES);
      throw new DataError(`${this.#bytes.name}: byte ${offset}: data follows the end of the trace`);
    }
  }

  #error(): DataError {
    const { mem } = this.#core;
    const code = mem.load32(this.#decoder + TRACE_ERROR_CODE);
    const { format } = this;
    const number = this.#field64(TRACE_LINES) + 1;
    if (!format.text) return this.#binaryError(code, number);
    const bytes = mem.u8.subarray(this.#start, this.#start + Math.min(this.#length, 200));
    const line = Buffer.from(bytes).toString('latin1').split('\n')[0] as string;
    const where = `${this.#bytes.name}: line ${number}`;
    if (code === TRACE_ERR_CANONICAL) {
      return new DataError(`${where}: address is not canonical (48 bits): ${excerpt(line)}`);
    }
    if (code === TRACE_ERR_SIZE) {
      return new DataError(
        `${where}: access size is not between 1 and ${TRACE_SIZE_MAX}: ${excerpt(line)}`,
      );
    }
    const expected = `expected ${format.name} as in ${JSON.stringify(format.example)}`;
    return new DataError(`${where}: ${expected}, found ${excerpt(line)}`);
  }

  #binaryError(code: number, number: number): DataError {
    const { format } = this;
    const texts: Record<number, string> = {
      [TRACE_ERR_CANONICAL]: 'address is not canonical (48 bits)',
      [TRACE_ERR_TRUNCATED]: `the ${format.name} trace is cut off`,
      [TRACE_ERR_HEADER]: `no ${format.name} header, or one of a later version`,
      [TRACE_ERR_RECORD]: `not a ${format.name} record`,
      [TRACE_ERR_COUNT]: 'the number of records is not what the end mark says',
    };
    const record = format.recordBytes ? ` (record ${number})` : '';
    const at = `byte ${this.#field64(TRACE_BYTES)}${record}`;
    return new DataError(`${this.#bytes.name}: ${at}: ${texts[code] ?? 'damaged'}`);
  }
}

/** Options of openTrace(). */
export interface TraceOptions {
  /** Name of the format; told by the contents when left out. */
  readonly format?: string | undefined;
  /** It will be opened once only. */
  readonly once?: boolean;
}

/** Opens the bytes of a trace on a core. */
export function traceSource(core: Core, raw: ByteSource, options: TraceOptions = {}): TraceSource {
  const bytes = seeThrough(raw, DETECT_BYTES);
  if (bytes.head.length === 0) throw new DataError(`${raw.name}: is empty`);
  const format =
    options.format === undefined
      ? detectFormat(raw.name, bytes.head)
      : formatByName(options.format);
  return new TraceSource(core, bytes, format);
}

/** A trace file as a workload. `-` is standard input, of which a copy is kept unless `once`. */
export function openTrace(path: string, options: TraceOptions = {}): Workload {
  return {
    name: path === '-' ? 'stdin' : (path.split('/').at(-1) as string),
    open(core: Core): TraceSource {
      const bytes = path === '-' ? openStdin(options.once ?? false) : new FileBytes(path);
      return traceSource(core, bytes, options);
    },
  };
}
