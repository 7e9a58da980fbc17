// The references that the replay benchmarks feed to both sides: u64 records in a file for the native
// reference, the same bytes in linear memory for the emulator.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { loadCore } from '../../src/core/load.ts';
import { BATCH_RECORDS } from '../../src/workload/source.ts';
import { openTrace } from '../../src/workload/trace-source.ts';

const ROOT = new URL('..', import.meta.url).pathname;
/** Files that are made on the way. */
export const OUT = `${ROOT}bench/native/build/`;

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

function finish(name: string, bytes: Uint8Array, pages: number, warmup: number): Records {
  mkdirSync(OUT, { recursive: true });
  const file = `${OUT}${name}.bin`;
  writeFileSync(file, bytes);
  return { name, file, bytes, count: bytes.length / 8, pages, warmup };
}

function countPages(bytes: Uint8Array): number {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const pages = new Set<number>();
  for (let i = 0; i < words.length; i += 2) {
    pages.add((words[i + 1] as number) * 2 ** 20 + ((words[i] as number) >>> 12));
  }
  return pages.size;
}

/** Decodes at most `limit` records of a trace file. */
function decoded(name: string, path: string, limit = Infinity): Records {
  const core = loadCore();
  const source = openTrace(path).open(core);
  const buffer = core.x.arenaAlloc(BATCH_RECORDS * 8) >>> 0;
  const parts: Uint8Array[] = [];
  for (let left = limit; left > 0;) {
    const n = Math.min(left, source.next(core, buffer, BATCH_RECORDS));
    if (n === 0) break;
    parts.push(core.mem.u8.slice(buffer, buffer + n * 8));
    left -= n;
  }
  source.close();
  const bytes = new Uint8Array(Buffer.concat(parts));
  return finish(name, bytes, countPages(bytes), 0);
}

/** The folder of the trace oracle. */
function oracle(): string {
  return process.env['SHADOWMMU_ORACLE'] ?? `${ROOT}../shared/oracle`;
}

/** Real traces of the oracle, where it is there. */
export const REAL_TRACES = [
  'gzip.lackey',
  'sqlite.lackey',
  'gzip.ptrace',
  'sqlite.ptrace',
] as const;

/** Those of them that are named. */
export function realTraces(names: readonly string[] = REAL_TRACES): Records[] {
  return names.flatMap((name) => {
    const path = `${oracle()}/traces/${name}.gz`;
    return existsSync(path) ? [decoded(name, path)] : [];
  });
}

/** Text of a lackey trace of the oracle; undefined where it is not there. */
export function lackeyText(): Uint8Array | undefined {
  const path = `${oracle()}/traces/sqlite.lackey.gz`;
  return existsSync(path) ? gunzipSync(readFileSync(path)) : undefined;
}

const SQL =
  'create table t(a,b); with recursive n(i) as (select 1 union all select i+1 from n where i<3500) ' +
  'insert into t select i, randomblob(40) from n; create index ix on t(b); ' +
  'select count(*) from t where b>x; update t set b=randomblob(20) where a%3=0;';

/** Programs whose references valgrind records. */
const PROGRAMS: Readonly<Record<string, string>> = {
  sort: `LC_ALL=C valgrind --tool=lackey --trace-mem=yes --log-fd=9 sort --parallel=1 -S 40M ${OUT}lines 9>&1 >/dev/null`,
  sqlite3: `valgrind --tool=lackey --trace-mem=yes --log-fd=9 sqlite3 :memory: "${SQL.replace('b>x', "b>x'80'")}" 9>&1 >/dev/null`,
};
const RECORDED = 20_000_000;

/** 20,000 lines of 400 bytes in no order. */
function lines(): string {
  let seed = 2463534242;
  const line = (): string => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed.toString(16).padStart(8, '0').repeat(50).slice(0, 399);
  };
  return `${Array.from({ length: 20_000 }, line).join('\n')}\n`;
}

/** The first 20 M references of programs run under valgrind's lackey, where that is there. */
export function recordedTraces(): Records[] {
  if (spawnSync('valgrind', ['--version']).status !== 0) return [];
  mkdirSync(OUT, { recursive: true });
  return Object.entries(PROGRAMS).flatMap(([name, command]) => {
    if (spawnSync('which', [name]).status !== 0) return [];
    const path = `${OUT}${name}.lackey`;
    if (!existsSync(path)) {
      writeFileSync(`${OUT}lines`, lines());
      // A line has 14.2 bytes; the pipe that closes ends the program.
      spawnSync('sh', ['-c', `(${command}) | head -c ${RECORDED * 15} > ${path}`]);
    }
    return [decoded(`${name}-20M`, path, RECORDED)];
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
  return finish(`uniform-${pages}`, new Uint8Array(words.buffer), pages, pages);
}
