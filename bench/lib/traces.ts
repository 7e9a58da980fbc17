// The references that the replay benchmarks feed to both sides: u64 records in a file for the native
// reference, the same bytes in linear memory for the emulator.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { loadCore } from '../../src/core/load.ts';
import { BATCH_RECORDS } from '../../src/workload/source.ts';
import { openTrace } from '../../src/workload/trace-source.ts';

const ROOT = new URL('..', import.meta.url).pathname;
const OUT = `${ROOT}bench/native/build/`;

/** Records of one benchmark. */
export interface Records {
  readonly name: string;
  /** File with one u64 a record. */
  readonly file: string;
  readonly bytes: Uint8Array;
  readonly count: number;
  /** Distinct pages. */
  readonly pages: number;
  /** First records that are made before the clock starts. */
  readonly warmup: number;
}

function finish(name: string, bytes: Uint8Array, warmup = 0): Records {
  mkdirSync(OUT, { recursive: true });
  const file = `${OUT}${name}.bin`;
  writeFileSync(file, bytes);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const pages = new Set<number>();
  for (let i = 0; i < words.length; i += 2) {
    pages.add((words[i + 1] as number) * 2 ** 20 + ((words[i] as number) >>> 12));
  }
  return { name, file, bytes, count: bytes.length / 8, pages: pages.size, warmup };
}

/** Real traces: those of the oracle where it is there, else the bundled one. */
export function realTraces(): Records[] {
  const oracle = process.env['SHADOWMMU_ORACLE'] ?? `${ROOT}../shared/oracle`;
  const names = ['gzip.lackey', 'sqlite.lackey', 'gzip.ptrace', 'sqlite.ptrace'];
  return names.flatMap((name) => {
    const path = `${oracle}/traces/${name}.gz`;
    if (!existsSync(path)) return [];
    const core = loadCore();
    const source = openTrace(path).open(core);
    const buffer = core.x.arenaAlloc(BATCH_RECORDS * 8) >>> 0;
    const parts: Uint8Array[] = [];
    for (;;) {
      const n = source.next(core, buffer, BATCH_RECORDS);
      if (n === 0) break;
      parts.push(core.mem.u8.slice(buffer, buffer + n * 8));
    }
    source.close();
    return [finish(name, new Uint8Array(Buffer.concat(parts)))];
  });
}

/** Uniform references over `pages` pages, a third of them writes, after one write to each page. */
export function uniform(pages: number, references: number): Records {
  const words = new Uint32Array((pages + references) * 2);
  let seed = 88172645;
  for (let i = 0; i < pages + references; i++) {
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    const random = seed >>> 0;
    const page = i < pages ? i : Math.floor((random / 2 ** 32) * pages);
    words[2 * i] = ((page << 12) | (i < pages || random % 3 === 0 ? 1 : 0)) >>> 0;
    words[2 * i + 1] = page >>> 20;
  }
  return finish(`uniform-${pages}`, new Uint8Array(words.buffer), pages);
}
