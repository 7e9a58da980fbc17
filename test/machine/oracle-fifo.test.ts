// `run --policy fifo --backing file --guest-tables resident` through the whole emulator gives the
// numbers of exact FIFO, which the oracle has from elsewhere: major faults = reads, file write-backs =
// writes. Every reference passes the guest's tables, the shadow tables, TLB, notifiers and reclaim.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { simulate } from '../../src/simulate.ts';
import { openTrace } from '../../src/workload/trace-source.ts';
import { oraclePath } from '../oracle.ts';

interface OracleTrace {
  readonly refs: number;
  readonly unique_pages: number;
  readonly results: { readonly fifo: Readonly<Record<string, [number, number]>> };
}

const FILES: Readonly<Record<string, string>> = {
  'classic/bzip': 'bzip.trace.gz',
  'classic/gcc': 'gcc.trace.gz',
  'lackey-fetched/ls': 'lackey-ls.trace.gz',
  'lackey/gzip.lackey': 'gzip.lackey.gz',
  'lackey/gzip.ptrace': 'gzip.ptrace.gz',
  'lackey/sqlite.lackey': 'sqlite.lackey.gz',
  'lackey/sqlite.ptrace': 'sqlite.ptrace.gz',
};

/** The most faults that a case of the default run may have; `SHADOWMMU_FULL=1` runs them all. */
const MOST_FAULTS = process.env['SHADOWMMU_FULL'] ? Number.POSITIVE_INFINITY : 10_000;

const resultsPath = oraclePath('traces/results.json');
const oracle = (
  resultsPath === undefined ? {} : JSON.parse(readFileSync(resultsPath, 'utf8'))
) as Record<string, OracleTrace>;

describe.skipIf(resultsPath === undefined)('exact FIFO through the whole emulator', () => {
  for (const [name, expected] of Object.entries(oracle)) {
    const file = FILES[name];
    const path = file === undefined ? undefined : oraclePath(`traces/${file}`);
    const cases = Object.entries(expected.results.fifo).filter(
      ([, [faults]]) => faults <= MOST_FAULTS,
    );
    const protocols = file?.startsWith('lackey') === true ? ['v3', 'clear_young'] : ['v3'];
    for (const protocol of protocols) {
      test.skipIf(path === undefined)(`${name}, ${protocol}`, async () => {
        for (const [frames, [faults, writes]] of cases) {
          const { counters } = await simulate(openTrace(path as string), {
            memory: { pages: Number(frames) },
            footprint: { pages: expected.unique_pages },
            protocol,
            policy: 'fifo',
            backing: 'file',
            guestTables: 'resident',
          });
          const found = [counters.accesses, counters.major_faults, counters.file_writebacks];
          expect(found, `${name} on ${frames} frames`).toEqual([expected.refs, faults, writes]);
        }
      });
    }
  }
});
