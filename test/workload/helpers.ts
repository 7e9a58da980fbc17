// Records in and out of a core, for the tests of traces.
import { type Core, loadCore } from '../../src/core/load.ts';
import { MemoryBytes } from '../../src/workload/bytes.ts';
import { TraceWriter } from '../../src/workload/convert.ts';
import { formatByName } from '../../src/workload/formats.ts';
import type { OutputFile } from '../../src/workload/output.ts';
import type { AccessSource } from '../../src/workload/source.ts';
import { traceSource } from '../../src/workload/trace-source.ts';

/** All records of a source. */
export function readAll(core: Core, source: AccessSource, batch = 64): bigint[] {
  const ptr = core.x.arenaAlloc(batch * 8) >>> 0;
  const records: bigint[] = [];
  for (let n = source.next(core, ptr, batch); n > 0; n = source.next(core, ptr, batch)) {
    for (let i = 0; i < n; i++) records.push(core.mem.loadBig(ptr + i * 8));
  }
  source.close();
  return records;
}

/** Decodes a whole trace that is read in pieces of `step` bytes. */
export function decode(bytes: Uint8Array | string, format?: string, step = Infinity): bigint[] {
  const core = loadCore('debug');
  const data = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
  return readAll(core, traceSource(core, new MemoryBytes('t', data, step), { format }));
}

/** Encodes records as a trace of a format. */
export function encode(records: readonly bigint[], format: string): Uint8Array {
  const core = loadCore('debug');
  const chunks: Uint8Array[] = [];
  const file = {
    seekable: false,
    write: (bytes: Uint8Array) => chunks.push(bytes.slice()),
    finish: () => {},
  } as unknown as OutputFile;
  const writer = new TraceWriter(core, file, formatByName(format));
  const ptr = core.x.arenaAlloc(Math.max(8, records.length * 8)) >>> 0;
  for (const [i, record] of records.entries()) core.mem.storeBig(ptr + i * 8, record);
  writer.write(ptr, records.length);
  writer.finish();
  return Buffer.concat(chunks);
}

/** An access record: page number and kind (0 read, 1 write, 2 fetch). */
export function access(vpn: bigint, kind: number): bigint {
  return BigInt.asUintN(64, vpn << 12n) | BigInt(kind);
}
