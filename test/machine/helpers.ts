// Workloads for the machine's tests, written plainly: page numbers to access records.

import { ACCESS_FETCH, ACCESS_WRITE } from '../../assembly/abi.ts';
import type { Core } from '../../src/core/load.ts';
import type { AccessSource, Workload } from '../../src/workload/source.ts';

/** One reference: a page and how it is used. */
export interface PlainReference {
  readonly vpn: number;
  readonly kind: 'read' | 'write' | 'fetch';
}

const KINDS = { read: 0, write: ACCESS_WRITE, fetch: ACCESS_FETCH } as const;

/** Two words: a reference, or a control record made by controlRecord(). */
export type PlainRecord = PlainReference | readonly [number, number];

class PlainSource implements AccessSource {
  readonly references: number;
  readonly #records: readonly PlainRecord[];
  #at = 0;

  constructor(records: readonly PlainRecord[]) {
    this.#records = records;
    this.references = records.length;
  }

  next(core: Core, recordsPtr: number, maxRecords: number): number {
    const n = Math.min(maxRecords, this.#records.length - this.#at);
    const { u32 } = core.mem;
    for (let i = 0; i < n; i++) {
      const record = this.#records[this.#at++] as PlainRecord;
      const word = (recordsPtr >>> 2) + i * 2;
      if ('vpn' in record) {
        u32[word] = ((record.vpn << 12) | KINDS[record.kind]) >>> 0;
        u32[word + 1] = Math.floor(record.vpn / 2 ** 20);
      } else {
        u32[word] = record[0];
        u32[word + 1] = record[1];
      }
    }
    return n;
  }

  progress(): number {
    return this.#at / this.#records.length;
  }

  close(): void {}
}

/** A workload of given records. */
export function plainWorkload(name: string, records: readonly PlainRecord[]): Workload {
  return { name, open: () => new PlainSource(records) };
}

/** A small generator for tests (mulberry32). */
export function testRandom(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Guest text starts here in the tests' workloads. */
export const BASE_VPN = 0x400;
