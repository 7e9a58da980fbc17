// The profile: frames of the core carry our names, times add up, and the counts need no clock.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Io } from '../../src/cli/command.ts';
import { command } from '../../src/cli/profile.ts';
import { coreBytes } from '../../src/core/load.ts';
import { deviations, parseCounts } from '../../src/profiling/counts.ts';
import { wasmFunctionSizes } from '../../src/profiling/wasm-size.ts';

const BUNDLED = new URL('../../traces/sqlite.smt.gz', import.meta.url).pathname;
const WORKLOAD = ['--trace', BUNDLED, '--limit', '300000', '--memory', '50%'];

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'shadowmmu-profile-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function profile(...args: readonly string[]): Promise<{ out: string; status: number }> {
  let out = '';
  const io = {
    out: (text: string) => {
      out += text;
    },
    err: () => {},
    progress: () => {},
    style: (_style: string, text: string) => text,
  } as unknown as Io;
  const status = await command.run([...WORKLOAD, ...args], io);
  return { out, status };
}

test('a .cpuprofile whose Wasm frames carry our names, and times that add up', async () => {
  const file = join(folder, 'run.cpuprofile');
  // Long enough that the profiler's own start and stop are nothing beside it.
  const long = ['--limit', '3000000'];
  const { out, status } = await profile('--json', '--out', file, '--interval', '100', ...long);
  expect(status).toBe(0);
  const saved = JSON.parse(readFileSync(file, 'utf8')) as {
    nodes: { callFrame: { functionName: string; url: string } }[];
  };
  const wasm = saved.nodes.filter(({ callFrame }) => callFrame.url.startsWith('wasm://'));
  const names = wasm.map(({ callFrame }) => callFrame.functionName);
  expect(names).toContain('assembly/run/runBatch');
  expect(names.some((name) => name.startsWith('wasm-function'))).toBe(false);

  const report = JSON.parse(out);
  const sum = report.functions.reduce((ns: number, f: { selfNs: number }) => ns + f.selfNs, 0);
  expect(sum).toBe(report.total_ns);
  expect(report.sides.core + report.sides.host + report.sides.engine).toBe(report.total_ns);
  // The samples cover the run from the first of them on.
  expect(report.total_ns / report.wall_ns).toBeGreaterThan(0.7);
  expect(report.total_ns).toBeLessThanOrEqual(report.wall_ns);
  expect(report.operations.find((o: { kind: string }) => o.kind === 'hit').count).toBe(3_000_000);
  expect(report.crossings.runBatch).toBeGreaterThan(0);
});

test('counts repeat exactly, and leaving a baseline is an error', async () => {
  const baseline = join(folder, 'counts.json');
  await profile('--counts', '--save', baseline);
  expect((await profile('--counts', '--baseline', baseline)).status).toBe(0);
  const counts = parseCounts(readFileSync(baseline, 'utf8'), baseline);
  const slower = { ...counts.counters, walk_steps: counts.counters.walk_steps * 2 };
  writeFileSync(baseline, JSON.stringify({ ...counts, counters: slower }));
  const { out, status } = await profile('--baseline', baseline, '--fail-over', '2%');
  expect(status).toBe(1);
  expect(out).toContain('walk_steps');
});

test('a deviation counts in both directions and only beyond the limit', () => {
  const counts = { schema: 'shadowmmu.counts/1', workload: 'w', crossings: {} } as const;
  const at = (steps: number) => ({ ...counts, counters: { walk_steps: steps } as never });
  expect(deviations(at(100), at(102), 0.02)).toEqual([]);
  expect(deviations(at(100), at(103), 0.02)).toHaveLength(1);
  expect(deviations(at(100), at(97), 0.02)).toHaveLength(1);
  expect(() => parseCounts('{}', 'file.json')).toThrow('file.json: not a baseline');
});

test('the code section is counted function by function', () => {
  const bytes = coreBytes('release');
  const sizes = wasmFunctionSizes(bytes);
  expect(sizes.some(({ name }) => name === 'assembly/run/runBatch')).toBe(true);
  const total = sizes.reduce((sum, size) => sum + size.bytes, 0);
  expect(total).toBeGreaterThan(10_000);
  expect(total).toBeLessThan(bytes.length);
});
