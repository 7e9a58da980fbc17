// Bytes of a trace, read synchronously and in order: replay is a loop in the core that must not
// wait for the event loop. gzip is seen through.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { DataError } from '../core/errors.ts';
import { readError } from '../files.ts';
import { type SyncZlib, zlib, zlibStep } from './zlib-step.ts';

/** A forward-only run of bytes. */
export interface ByteSource {
  /** Name for messages. */
  readonly name: string;
  /** Fills `into` from its start, as far as bytes are at hand; 0 is the end. */
  read(into: Uint8Array): number;
  /** Part of the input that was read, 0 to 1; undefined when its length is not known. */
  progress(): number | undefined;
  close(): void;
}

/** Bytes at hand. */
export class MemoryBytes implements ByteSource {
  readonly name: string;
  readonly #bytes: Uint8Array;
  readonly #step: number;
  #at = 0;

  /** Gives at most `step` bytes a read, which tests use. */
  constructor(name: string, bytes: Uint8Array, step = Infinity) {
    this.name = name;
    this.#bytes = bytes;
    this.#step = step;
  }

  read(into: Uint8Array): number {
    const n = Math.min(into.length, this.#bytes.length - this.#at, this.#step);
    into.set(this.#bytes.subarray(this.#at, this.#at + n));
    this.#at += n;
    return n;
  }

  progress(): number {
    return this.#bytes.length === 0 ? 1 : this.#at / this.#bytes.length;
  }

  close(): void {}
}

const waitCell = new Int32Array(new SharedArrayBuffer(4));

/** A file, or standard input when its path is `-`. */
export class FileBytes implements ByteSource {
  readonly name: string;
  readonly #length: number;
  #fd: number;
  #at = 0;

  constructor(path: string) {
    this.name = path === '-' ? 'standard input' : path;
    try {
      this.#fd = path === '-' ? 0 : openSync(path, 'r');
      const stat = fstatSync(this.#fd);
      if (stat.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
      this.#length = stat.isFile() ? stat.size : 0;
    } catch (error) {
      throw readError(this.name, error);
    }
  }

  read(into: Uint8Array): number {
    for (;;) {
      try {
        const n = readSync(this.#fd, into, 0, into.length, null);
        this.#at += n;
        return n;
      } catch (error) {
        const { code } = error as { code?: string };
        if (code === 'EOF') return 0;
        if (code !== 'EAGAIN') throw readError(this.name, error);
        // A non-blocking pipe without data.
        Atomics.wait(waitCell, 0, 0, 2);
      }
    }
  }

  progress(): number | undefined {
    return this.#length > 0 ? Math.min(1, this.#at / this.#length) : undefined;
  }

  close(): void {
    if (this.#fd > 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** Compressed bytes that are inflated at a time. */
const GZIP_STEP = 4096;
/**
 * What a step gives fits, since deflate does not shrink anything below a 1,032nd: so every step uses one
 * and the same buffer (see zlibStep()).
 */
const GZIP_OUT = 1032 * GZIP_STEP + 65536;

/** What a gzip file holds. */
class GunzipBytes implements ByteSource {
  readonly name: string;
  readonly #inner: ByteSource;
  readonly #gunzip: SyncZlib;
  readonly #in = new Uint8Array(GZIP_STEP);
  #out: Uint8Array = new Uint8Array(0);
  #at = 0;
  #ended = false;

  constructor(inner: ByteSource) {
    this.name = inner.name;
    this.#inner = inner;
    this.#gunzip = zlib().createGunzip({ chunkSize: GZIP_OUT }) as unknown as SyncZlib;
    // Errors are thrown by the synchronous step as well.
    this.#gunzip.on('error', () => {});
  }

  read(into: Uint8Array): number {
    while (this.#at === this.#out.length) {
      if (this.#ended) return 0;
      this.#step();
    }
    const n = Math.min(into.length, this.#out.length - this.#at);
    into.set(this.#out.subarray(this.#at, this.#at + n));
    this.#at += n;
    return n;
  }

  #step(): void {
    const n = this.#inner.read(this.#in);
    this.#ended = n === 0;
    try {
      const { Z_FINISH, Z_SYNC_FLUSH } = zlib().constants;
      const flush = this.#ended ? Z_FINISH : Z_SYNC_FLUSH;
      this.#out = zlibStep(this.#gunzip, this.#in.subarray(0, n), flush);
      this.#at = 0;
    } catch (error) {
      const { code } = error as { code?: string };
      const what =
        code === 'Z_BUF_ERROR' ? 'is cut off inside its gzip data' : 'has damaged gzip data';
      throw new DataError(`${this.name}: ${what}`);
    }
  }

  progress(): number | undefined {
    return this.#inner.progress();
  }

  close(): void {
    this.#gunzip.close();
    this.#inner.close();
  }
}

/** Bytes with some of them read ahead. */
export class PeekedBytes implements ByteSource {
  readonly name: string;
  /** The first bytes, at most as many as asked for. */
  readonly head: Uint8Array;
  readonly #inner: ByteSource;
  #at = 0;

  constructor(inner: ByteSource, headBytes: number) {
    this.name = inner.name;
    this.#inner = inner;
    const head = new Uint8Array(headBytes);
    let have = 0;
    while (have < headBytes) {
      const n = inner.read(head.subarray(have));
      if (n === 0) break;
      have += n;
    }
    this.head = head.subarray(0, have);
  }

  read(into: Uint8Array): number {
    if (this.#at === this.head.length) return this.#inner.read(into);
    const n = Math.min(into.length, this.head.length - this.#at);
    into.set(this.head.subarray(this.#at, this.#at + n));
    this.#at += n;
    return n;
  }

  progress(): number | undefined {
    return this.#inner.progress();
  }

  close(): void {
    this.#inner.close();
  }
}

const COMPRESSIONS = [
  { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], name: 'xz', command: 'xz -dc' },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], name: 'zstd', command: 'zstd -dc' },
  { magic: [0x42, 0x5a, 0x68], name: 'bzip2', command: 'bzip2 -dc' },
  { magic: [0x50, 0x4b, 0x03, 0x04], name: 'zip', command: 'unzip -p' },
];

function startsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, i) => bytes[i] === byte);
}

/** The same bytes, inflated when they are gzip, with `headBytes` of them to look at. */
export function seeThrough(raw: ByteSource, headBytes: number): PeekedBytes {
  const peeked = new PeekedBytes(raw, 512);
  if (startsWith(peeked.head, [0x1f, 0x8b]))
    return new PeekedBytes(new GunzipBytes(peeked), headBytes);
  for (const { magic, name, command } of COMPRESSIONS) {
    if (startsWith(peeked.head, magic)) {
      throw new DataError(`${raw.name}: is ${name}-compressed; pipe it in: ${command} FILE | … -`);
    }
  }
  return new PeekedBytes(peeked, headBytes);
}
