// Ctrl-C ends whatever runs, at once, and what is not complete does not stay.
import { type StdioOptions, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'shadowmmu-'));
const LONG = 'zipf:refs=2000000000';

/** Starts a command, interrupts it when it is under way; how it ended, and after how many ms. */
async function interrupted(
  args: string[],
  input: Readable | 'ignore' = 'ignore',
): Promise<{ end: number | string | null; ms: number }> {
  const stdio: StdioOptions = [input, 'ignore', 'ignore'];
  const child = spawn(process.execPath, [CLI, ...args], { cwd: folder, stdio });
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const start = performance.now();
  const ended = new Promise<number | string | null>((resolve) => {
    child.once('exit', (status, by) => resolve(status ?? by));
  });
  child.kill('SIGINT');
  const end = await ended;
  return { end, ms: performance.now() - start };
}

describe('Ctrl-C', () => {
  const cases: [string, string[], number | string][] = [
    ['a run', ['run', '--workload', LONG], 130],
    ['a comparison', ['compare', '--workload', LONG, '--workers', '1'], 130],
    ['a profile', ['profile', '--workload', LONG, '--out', 'p.cpuprofile'], 130],
    ['a count', ['profile', '--counts', '--workload', LONG], 130],
    ['a search', ['explore', '6.x', 'crowd', '--random', '100000000', '--out', 'none'], 'SIGINT'],
    ['random scripts', ['conform', 'kvm', '--fuzz', '1000000'], 'SIGINT'],
  ];
  test.each(cases)('ends %s', async (_, args, status) => {
    const { end, ms } = await interrupted(args);
    expect(end).toBe(status);
    expect(ms).toBeLessThan(3_000);
  });
});

test('a conversion that is interrupted leaves no file', async () => {
  const yes = spawn('yes', [' L 04222cac,4'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const { end } = await interrupted(['trace', 'convert', '-', 'out.smt.gz'], yes.stdout);
  yes.kill();
  expect(end).toBe(130);
  expect(readdirSync(folder)).toEqual([]);
});
