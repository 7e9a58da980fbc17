// Every trace, algorithm and frame count of the trace oracle: counts of two unrelated projects and
// of libCacheSim (its README says which).
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  MRC_ALGORITHMS,
  type MrcAlgorithm,
  missRatioCurve,
  streamInfo,
} from '../../src/workload/analyse.ts';
import { openTrace } from '../../src/workload/trace-source.ts';
import { oraclePath } from '../oracle.ts';

interface Expected {
  refs: number;
  writes: number;
  fetches: number;
  unique_pages: number;
  unique_written_pages: number;
  unique_fetched_pages: number;
  page_crossing_accesses?: number;
  tables: Record<string, number>;
  max_vpn: string;
  results: Record<MrcAlgorithm, Record<string, number[]>>;
  windows_100k: [number, number][];
}

const TRACES = [
  ['classic/bzip', 'bzip.trace.gz', 'classic'],
  ['classic/gcc', 'gcc.trace.gz', 'classic'],
  ['lackey-fetched/ls', 'lackey-ls.trace.gz', 'lackey'],
  ['lackey/gzip.lackey', 'gzip.lackey.gz', 'lackey'],
  ['lackey/gzip.ptrace', 'gzip.ptrace.gz', 'pages'],
  ['lackey/sqlite.lackey', 'sqlite.lackey.gz', 'lackey'],
  ['lackey/sqlite.ptrace', 'sqlite.ptrace.gz', 'pages'],
] as const;

const resultsPath = oraclePath('traces/results.json');
const results: Record<string, Expected> = resultsPath
  ? JSON.parse(readFileSync(resultsPath, 'utf8'))
  : {};

describe.skipIf(!resultsPath).each(TRACES)('%s', (key, file, format) => {
  const path = oraclePath(`traces/${file}`);
  const missing = path === undefined;
  const expected = results[key] as Expected;
  const workload = openTrace(path ?? '');

  test.skipIf(missing)('trace info', async () => {
    const info = await streamInfo(workload);
    expect(info).toMatchObject({
      format,
      refs: expected.refs,
      writes: expected.writes,
      fetches: expected.fetches,
      unique_pages: expected.unique_pages,
      unique_written_pages: expected.unique_written_pages,
      unique_fetched_pages: expected.unique_fetched_pages,
      page_crossing_accesses: expected.page_crossing_accesses ?? 0,
      tables: expected.tables,
      max_vpn: expected.max_vpn,
      windows: expected.windows_100k,
    });
  });

  test.skipIf(missing)('trace mrc', async () => {
    const frames = Object.keys(expected.results.lru).map(Number);
    const curve = await missRatioCurve(workload, { frames });
    expect(curve.refs).toBe(expected.refs);
    for (const algorithm of MRC_ALGORITHMS) {
      const ours = Object.fromEntries(
        (curve.results[algorithm] ?? []).map((p) => [
          String(p.frames),
          p.writebacks === undefined ? [p.faults] : [p.faults, p.writebacks],
        ]),
      );
      expect(ours, algorithm).toEqual(expected.results[algorithm]);
    }
  });
});
