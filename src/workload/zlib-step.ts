// zlib, a piece at a time and synchronously.

import type { Gunzip, Gzip } from 'node:zlib';

/** The parts of a zlib stream that gunzipSync() is made of; its type declaration leaves them out. */
export interface SyncZlib extends Omit<Gunzip & Gzip, '_handle'> {
  _handle: { close(): void } | null;
  _processChunk(chunk: Uint8Array, flush: number): Buffer;
}

/** node:zlib, loaded when it is asked for: most users of the library read nothing that is compressed. */
export function zlib(): typeof import('node:zlib') {
  return process.getBuiltinModule('node:zlib');
}

/**
 * One synchronous step of a stream that goes on. Node closes the engine after each such step, since
 * gunzipSync() makes only one; so the engine's close() is set aside meanwhile, as the minizlib
 * package (npm's own tar) does.
 *
 * The result lies in the stream's own buffer of `chunkSize` bytes, until the next step, when it is
 * smaller than that; else new buffers were made for it.
 */
export function zlibStep(stream: SyncZlib, chunk: Uint8Array, flush: number): Buffer {
  const handle = stream._handle;
  if (handle === null) return Buffer.alloc(0);
  const close = handle.close;
  handle.close = () => {};
  try {
    return stream._processChunk(chunk, flush);
  } finally {
    handle.close = close;
    stream._handle = handle;
    // Each step leaves a listener behind.
    while (stream.listenerCount('error') > 1) {
      stream.removeListener('error', stream.listeners('error').at(-1) as () => void);
    }
  }
}
