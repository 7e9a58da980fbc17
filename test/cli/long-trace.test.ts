// A trace of five million references under pressure: under ten seconds of CPU time, and memory that does
// not grow with the length of the trace, however it is packed.
//
// SHADOWMMU_FULL=1 runs every protocol; else that with the most page faults.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { PROTOCOLS } from '../../src/simulate.ts';
import { testRandom } from '../machine/helpers.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
/** Says at its end what a process took: kilobytes and microseconds. */
const USAGE =
  'data:text/javascript,process.on("exit",()=>{const{maxRSS,userCPUTime}=process.resourceUsage();' +
  'process.stderr.write(JSON.stringify({maxRSS,userCPUTime}))})';

const PAGES = 600;
const FRAMES = 60;
const REFERENCES = 5_000_000;
const FEW = 500_000;
const BLOCK = 100_000;

/** Lines of a hot twentieth and a cold rest: one reference of eight goes anywhere. */
function block(): string {
  const random = testRandom(5);
  const lines: string[] = [];
  for (let i = 0; i < BLOCK; i++) {
    const pages = random() < 0.125 ? PAGES : PAGES / 20;
    const page = 0x7f000 + Math.floor(random() * pages);
    lines.push(`${'ILS'[Math.floor(random() * 3)]} ${page.toString(16)}\n`);
  }
  return lines.join('');
}

const folder = mkdtempSync(join(tmpdir(), 'shadowmmu-'));
const trace = join(folder, 'long.trace.gz');
writeFileSync(trace, gzipSync(block().repeat(REFERENCES / BLOCK), { level: 1 }));
afterAll(() => rmSync(folder, { recursive: true }));

function run(protocol: string, limit: number) {
  const of = ['--trace', trace, '--memory', `${FRAMES}pages`, '--limit', String(limit)];
  const args = ['--import', USAGE, CLI, 'run', ...of, '--protocol', protocol, '--json'];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const { counters } = JSON.parse(stdout) as { counters: Record<string, number> };
  const used = JSON.parse(stderr) as { maxRSS: number; userCPUTime: number };
  return { counters, megabytes: used.maxRSS / 1024, seconds: used.userCPUTime / 1e6 };
}

const reclaiming = PROTOCOLS.filter((name) => name !== 'none' && name !== 'pinned');
const some = process.env['SHADOWMMU_FULL'] === '1' ? reclaiming : ['access-track'];

test.each(some)('%s', { timeout: 300_000 }, (protocol) => {
  const few = run(protocol, FEW);
  const all = run(protocol, REFERENCES);
  expect(all.counters['accesses']).toBe(REFERENCES);
  expect(all.counters['evictions']).toBeGreaterThan(REFERENCES / 20);
  expect(all.seconds).toBeLessThan(10);
  expect(all.megabytes).toBeLessThan(few.megabytes + 8);
});
