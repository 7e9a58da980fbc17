// Standard input as a trace that can be opened again. The first reader gets the bytes as they come
// and leaves a copy in a temporary file; later ones, other threads' too, read that. The file goes with
// the process.

import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataError } from '../core/errors.ts';
import { type ByteSource, FileBytes } from './bytes.ts';

/** Where the copy is, once there is one. */
let copy: string | undefined;

/** Reads standard input and writes what it reads to a file. */
class CopiedBytes implements ByteSource {
  readonly name: string;
  readonly #inner = new FileBytes('-');
  #fd: number;

  constructor(path: string) {
    this.name = this.#inner.name;
    this.#fd = openSync(path, 'wx');
  }

  read(into: Uint8Array): number {
    const n = this.#inner.read(into);
    for (let done = 0; done < n;) done += writeSync(this.#fd, into, done, n - done);
    return n;
  }

  progress(): number | undefined {
    return this.#inner.progress();
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** Path of the copy of standard input for other threads; undefined before anything read it. */
export function stdinCopy(): string | undefined {
  return copy;
}

/** The bytes of standard input; `once`: nothing will want them again. */
export function openStdin(once: boolean): ByteSource {
  // Loaded here, since node:tty brings the network with it.
  const { isatty } = process.getBuiltinModule('node:tty');
  if (isatty(0)) throw new DataError('standard input: is a terminal; pipe a trace into it');
  if (copy !== undefined) return new FileBytes(copy);
  if (once) return new FileBytes('-');
  const folder = mkdtempSync(join(tmpdir(), 'shadowmmu-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  copy = join(folder, 'stdin');
  return new CopiedBytes(copy);
}
