// Same seed, same JSON, byte for byte; whatever the number of workers.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { simulate } from '../../src/simulate.ts';
import { openTrace } from '../../src/workload/trace-source.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const TRACE = fileURLToPath(new URL('../../traces/sqlite.smt.gz', import.meta.url));

function json(...args: string[]): string {
  return execFileSync(process.execPath, [CLI, ...args, '--json'], { encoding: 'utf8' });
}

describe('determinism', () => {
  test('a run repeats byte for byte', () => {
    const args = ['run', '--trace', TRACE, '--limit', '200000', '--memory', '20%', '--vcpus', '3'];
    expect(json(...args)).toBe(json(...args));
  });

  test('another seed deals the references differently and executes the same ones', async () => {
    const options = { memory: { share: 0.2 }, vcpus: 3, footprint: { pages: 520 } };
    const one = await simulate(openTrace(TRACE), { ...options, seed: 1 });
    const two = await simulate(openTrace(TRACE), { ...options, seed: 2 });
    expect(two.counters.accesses).toBe(one.counters.accesses);
    expect(two.counters.tlb_hits).not.toBe(one.counters.tlb_hits);
    expect(two.ideal_lru).toEqual(one.ideal_lru);
  });

  test('compare gives the same bytes with any number of workers', () => {
    const args = ['compare', '--trace', TRACE, '--limit', '100000', '--protocols', 'v2,v3,v4'];
    const outputs = ['0', '1', '3'].map((n) => json(...args, '--workers', n));
    expect(new Set(outputs).size).toBe(1);
  });
});
