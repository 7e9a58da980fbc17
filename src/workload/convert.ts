// Access records to a trace file of any format.

import { TRACE_ENCODED_MAX, TRACE_FORMAT_SMT } from '../../assembly/abi.ts';
import { type Core, loadCore } from '../core/load.ts';
import type { Progress } from './analyse.ts';
import type { TraceFormat } from './formats.ts';
import { OutputFile } from './output.ts';
import { BATCH_RECORDS, type Workload } from './source.ts';

/** Bytes of the smt header that hold the number of records, and where. */
const SMT_COUNT_AT = 16;

/** Records that are encoded at a time. */
const ENCODE_RECORDS = 1024;

/** Writes access records that lie in a core's memory as a trace. */
export class TraceWriter {
  /** Records written so far. */
  records = 0;
  readonly #core: Core;
  readonly #file: OutputFile;
  readonly #format: TraceFormat;
  readonly #encoder: number;
  readonly #buffer: number;

  constructor(core: Core, file: OutputFile, format: TraceFormat) {
    this.#core = core;
    this.#file = file;
    this.#format = format;
    this.#encoder = core.x.traceOpen(format.id) >>> 0;
    this.#buffer = core.x.arenaAlloc(ENCODE_RECORDS * TRACE_ENCODED_MAX) >>> 0;
    if (format.id === TRACE_FORMAT_SMT) {
      this.#flush(core.x.traceEncodeHeader(this.#buffer, 0, 0));
    }
  }

  /** Appends `count` records. */
  write(recordsPtr: number, count: number): void {
    const { x } = this.#core;
    for (let done = 0; done < count; done += ENCODE_RECORDS) {
      const n = Math.min(ENCODE_RECORDS, count - done);
      this.#flush(x.traceEncode(this.#encoder, recordsPtr + done * 8, n, this.#buffer));
    }
    this.records += count;
  }

  /** Writes the end, and the number of records into the header where that is possible. */
  finish(): void {
    this.#flush(this.#core.x.traceEncodeEnd(this.#encoder, this.#buffer));
    if (this.#format.id === TRACE_FORMAT_SMT && this.#file.seekable) {
      const counted = new DataView(new ArrayBuffer(8));
      counted.setBigUint64(0, BigInt(this.records), true);
      this.#file.rewrite(new Uint8Array(counted.buffer), SMT_COUNT_AT);
    }
    this.#core.x.traceClose(this.#encoder);
    this.#file.finish();
  }

  #flush(bytes: number): void {
    if (bytes > 0) this.#file.write(this.#core.mem.u8.subarray(this.#buffer, this.#buffer + bytes));
  }
}

/** Writes a workload as a trace; returns the number of records. The file is whole or not there. */
export async function convert(
  workload: Workload,
  path: string,
  format: TraceFormat,
  progress?: Progress,
): Promise<number> {
  const core = loadCore();
  // The source first: without it there is nothing to write.
  const source = workload.open(core);
  try {
    const records = core.x.arenaAlloc(BATCH_RECORDS * 8) >>> 0;
    let n = source.next(core, records, BATCH_RECORDS);
    const file = new OutputFile(path);
    try {
      const writer = new TraceWriter(core, file, format);
      for (let batches = 0; n > 0; n = source.next(core, records, BATCH_RECORDS)) {
        writer.write(records, n);
        if (progress && ++batches % 16 === 0) await progress(source.progress());
      }
      writer.finish();
      return writer.records;
    } finally {
      file.abandon();
    }
  } finally {
    source.close();
  }
}
