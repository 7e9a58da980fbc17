// Records the references of a real program with Valgrind's lackey, which writes its log to a pipe of
// its own, so the program keeps its standard input, output and error.

import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import {
  TRACE_CONSUMED,
  TRACE_ERROR,
  TRACE_FORMAT_LACKEY,
  TRACE_FULL,
  TRACE_IN_SLACK,
  TRACE_STATUS,
} from '../../assembly/abi.ts';
import { DataError } from '../core/errors.ts';
import { type Core, loadCore } from '../core/load.ts';
import { TraceWriter } from './convert.ts';
import type { TraceFormat } from './formats.ts';
import { OutputFile } from './output.ts';
import { BATCH_RECORDS } from './source.ts';

/** Options of recordTrace(). */
export interface RecordOptions {
  /** Stops the program after so many references. */
  readonly limit?: number | undefined;
  /** Path of Valgrind; default the one in PATH. */
  readonly valgrind?: string | undefined;
  readonly progress?: ((references: number) => void) | undefined;
}

/** What was recorded. */
export interface Recording {
  readonly references: number;
  /** Exit status of the program; null when a signal ended it. */
  readonly status: number | null;
}

/** Bytes of the pipe that are decoded at a time. */
const PIPE_BYTES = 65536;

/** Decodes lackey's output as it comes and passes the records on. */
class LackeyPipe {
  readonly #core: Core;
  readonly #writer: TraceWriter;
  readonly #limit: number;
  readonly #decoder: number;
  readonly #buffer: number;
  readonly #records: number;
  #length = 0;

  constructor(core: Core, writer: TraceWriter, limit: number) {
    this.#core = core;
    this.#writer = writer;
    this.#limit = limit;
    this.#decoder = core.x.traceOpen(TRACE_FORMAT_LACKEY) >>> 0;
    this.#buffer = (core.x.arenaAlloc(2 * PIPE_BYTES + 2 * TRACE_IN_SLACK) >>> 0) + TRACE_IN_SLACK;
    this.#records = core.x.arenaAlloc(BATCH_RECORDS * 8) >>> 0;
  }

  /** Takes a piece of output; false once the limit is reached. */
  push(chunk: Uint8Array): boolean {
    for (let at = 0; at < chunk.length; at += PIPE_BYTES) {
      const piece = chunk.subarray(at, at + PIPE_BYTES);
      this.#core.mem.u8.set(piece, this.#buffer + this.#length);
      this.#length += piece.length;
      if (!this.#decode()) return false;
      if (this.#length > PIPE_BYTES) throw new DataError('valgrind: wrote a line without an end');
    }
    return true;
  }

  #decode(): boolean {
    const { x, mem } = this.#core;
    let start = this.#buffer;
    for (;;) {
      const n = x.traceDecode(this.#decoder, start, this.#length, 0, this.#records, BATCH_RECORDS);
      const consumed = mem.load32(this.#decoder + TRACE_CONSUMED);
      start += consumed;
      this.#length -= consumed;
      const left = this.#limit - this.#writer.records;
      this.#writer.write(this.#records, Math.min(n, left));
      if (n >= left) return false;
      const status = mem.load32(this.#decoder + TRACE_STATUS);
      if (status === TRACE_ERROR) throw new DataError('valgrind: wrote something that is no trace');
      if (status !== TRACE_FULL) break;
    }
    mem.u8.copyWithin(this.#buffer, start, start + this.#length);
    return true;
  }
}

const MISSING =
  'valgrind is not installed, and trace record needs it: install the package valgrind, or record ' +
  'elsewhere with valgrind --tool=lackey --trace-mem=yes --log-file=FILE COMMAND';

/** Runs a command under Valgrind and writes its references to a trace file. */
export async function recordTrace(
  command: readonly string[],
  path: string,
  format: TraceFormat,
  options: RecordOptions = {},
): Promise<Recording> {
  const core = loadCore();
  const file = new OutputFile(path);
  try {
    const writer = new TraceWriter(core, file, format);
    const pipe = new LackeyPipe(core, writer, options.limit ?? Infinity);
    const child = spawn(
      options.valgrind ?? 'valgrind',
      ['--tool=lackey', '--trace-mem=yes', '--basic-counts=no', '--log-fd=3', '--', ...command],
      { stdio: ['inherit', 'inherit', 'inherit', 'pipe'] },
    );
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once('error', (error: NodeJS.ErrnoException) => {
        reject(new DataError(error.code === 'ENOENT' ? MISSING : `valgrind: ${error.message}`));
      });
      child.once('close', resolve);
    });
    const drained = drain(child.stdio[3] as Readable, pipe, writer, options, () => child.kill());
    const [status] = await Promise.all([ended, drained]);
    if (writer.records === 0) {
      throw new DataError(`${command[0]}: gave no references (valgrind ended with ${status})`);
    }
    writer.finish();
    return { references: writer.records, status };
  } finally {
    file.abandon();
  }
}

async function drain(
  log: Readable,
  pipe: LackeyPipe,
  writer: TraceWriter,
  options: RecordOptions,
  stop: () => void,
): Promise<void> {
  try {
    for await (const chunk of log) {
      if (!pipe.push(chunk as Buffer)) break;
      options.progress?.(writer.records);
    }
  } finally {
    stop();
  }
}
