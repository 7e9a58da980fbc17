// Output files that are either whole or not there: written beside their place under another name,
// renamed when complete, removed when not, also when Ctrl-C ends the process.

import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { writeError } from '../files.ts';
import { type SyncZlib, zlib, zlibStep } from './zlib-step.ts';

/** Unfinished files. */
const unfinished = new Set<string>();

function removeUnfinished(): void {
  for (const path of unfinished) rmSync(path, { force: true });
  unfinished.clear();
}

const waitCell = new Int32Array(new SharedArrayBuffer(4));

/** A file under way, or standard output (`-`). A name ending in `.gz` is compressed. */
export class OutputFile {
  readonly #path: string;
  readonly #partial: string;
  readonly #gzip: SyncZlib | undefined;
  #fd: number;
  #open = true;

  constructor(path: string) {
    this.#path = path;
    this.#partial = `${path}.${process.pid}.partial`;
    try {
      this.#fd = path === '-' ? 1 : openSync(this.#partial, 'wx');
    } catch (error) {
      throw writeError(path, error);
    }
    if (path !== '-') {
      if (!process.listeners('exit').includes(removeUnfinished)) {
        process.on('exit', removeUnfinished);
      }
      unfinished.add(this.#partial);
    }
    if (/\.gz$/i.test(path)) {
      this.#gzip = zlib().createGzip() as unknown as SyncZlib;
      this.#gzip.on('error', () => {});
    }
  }

  /** True if rewrite() can be used. */
  get seekable(): boolean {
    return this.#path !== '-' && this.#gzip === undefined;
  }

  /** Appends bytes. */
  write(bytes: Uint8Array): void {
    this.#writeAll(this.#gzip ? zlibStep(this.#gzip, bytes, zlib().constants.Z_NO_FLUSH) : bytes);
  }

  /** Replaces bytes that were written before. */
  rewrite(bytes: Uint8Array, position: number): void {
    this.#writeAll(bytes, position);
  }

  /** Puts the file in its place. */
  finish(): void {
    if (this.#gzip)
      this.#writeAll(zlibStep(this.#gzip, new Uint8Array(0), zlib().constants.Z_FINISH));
    this.#close();
    if (this.#path === '-') return;
    try {
      renameSync(this.#partial, this.#path);
    } catch (error) {
      throw writeError(this.#path, error);
    } finally {
      rmSync(this.#partial, { force: true });
      unfinished.delete(this.#partial);
    }
  }

  /** Gives up: nothing is left behind. Does nothing after finish(). */
  abandon(): void {
    if (!this.#open) return;
    this.#close();
    if (this.#path === '-') return;
    rmSync(this.#partial, { force: true });
    unfinished.delete(this.#partial);
  }

  #close(): void {
    this.#open = false;
    this.#gzip?.close();
    if (this.#fd > 2) closeSync(this.#fd);
  }

  #writeAll(bytes: Uint8Array, position: number | null = null): void {
    let done = 0;
    while (done < bytes.length) {
      try {
        const at = position === null ? null : position + done;
        done += writeSync(this.#fd, bytes, done, bytes.length - done, at);
      } catch (error) {
        if ((error as { code?: string }).code !== 'EAGAIN') throw writeError(this.#path, error);
        Atomics.wait(waitCell, 0, 0, 2);
      }
    }
  }
}
