// `shadowmmu trace` from a shell: exit status, one line of error, no file left behind.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const cli = new URL('../../dist/cli.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'shadowmmu-'));
afterAll(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);

function trace(args: readonly string[], input = '', env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'trace', ...args], {
    input,
    encoding: 'utf8',
    cwd: folder,
    env: { ...process.env, ...env },
  });
  return { status, stdout, stderr };
}

const good = 'I  0401ab70,3\n L 00005000,4\n S 00006ffc,8\n';
writeFileSync(path('good.lackey'), good);
writeFileSync(path('bad.lackey'), `${good} L zz,4\n`);

test.each([
  ['no subcommand', [], 2, 'trace wants info, mrc, convert or record'],
  ['another subcommand', ['show', 'x'], 2, 'trace wants info, mrc, convert or record, not "show"'],
  ['no file', ['info'], 2, 'trace info takes FILE; see shadowmmu help trace'],
  ['unknown option', ['info', '--fast', 'x'], 2, "Unknown option '--fast'"],
  ['an option of another', ['info', '--frames', '4', 'x'], 2, 'trace info does not take --frames'],
  ['unknown format', ['info', '--format', 'elf', 'good.lackey'], 2, 'unknown trace format "elf"'],
  [
    'bad frames',
    ['mrc', '--frames', '4,x', 'good.lackey'],
    2,
    '--frames x: expected a whole number',
  ],
  [
    'bad algorithm',
    ['mrc', '--algorithms', 'arc', 'good.lackey'],
    2,
    '--algorithms: unknown "arc"',
  ],
  ['missing file', ['info', 'none'], 1, 'none: no such file'],
  ['a folder', ['info', '.'], 1, '.: is a directory, not a file'],
  ['broken line', ['info', 'bad.lackey'], 1, 'bad.lackey: line 4: expected lackey as in'],
  ['broken input', ['convert', 'bad.lackey', 'out.smt'], 1, 'bad.lackey: line 4: expected lackey'],
  ['no folder', ['convert', 'good.lackey', 'no/out.smt'], 1, 'no/out.smt: cannot be written: its'],
  ['no command', ['record'], 2, 'trace record wants a command'],
] as const)('%s', (_name, args, status, message) => {
  const result = trace(args);
  expect(result.stderr).toContain(message);
  expect(result.stderr.trimEnd()).not.toContain('\n');
  expect(result.stdout).toBe('');
  expect(result.status).toBe(status);
  expect(readdirSync(folder).toSorted()).toEqual(['bad.lackey', 'good.lackey']);
});

test('record says when Valgrind is missing', () => {
  const { status, stderr } = trace(['record', '--', 'true'], '', { PATH: '/nonexistent' });
  expect(stderr).toContain('valgrind is not installed');
  expect(status).toBe(1);
  expect(existsSync(path('true.smt'))).toBe(false);
});

test('info and mrc of standard input, as JSON and CSV', () => {
  const info = JSON.parse(trace(['info', '-', '--json'], good).stdout);
  expect(info).toMatchObject({
    schema: 'shadowmmu-trace-info/1',
    format: 'lackey',
    refs: 4,
    reads: 1,
    writes: 2,
    fetches: 1,
    unique_pages: 4,
    page_crossing_accesses: 1,
    tables: { pt: 2, pd: 1, pdpt: 1, pml4: 1 },
    windows: [[4, 2]],
  });
  const mrc = trace(['mrc', '-', '--frames', '2,4', '--algorithms', 'lru,fifo', '--csv'], good);
  expect(mrc.stdout.split('\n')).toEqual([
    'algorithm,frames,faults,writebacks,miss_ratio',
    'lru,2,4,0,1.000000',
    'lru,4,4,0,1.000000',
    'fifo,2,4,0,1.000000',
    'fifo,4,4,0,1.000000',
    '',
  ]);
});

test('standard input can be read twice, and leaves nothing behind', () => {
  const before = readdirSync(tmpdir()).filter((name) => name.startsWith('shadowmmu-'));
  const { stdout } = trace(['mrc', '-', '--json'], good);
  const { results } = JSON.parse(stdout);
  expect(results.opt).toEqual([{ frames: 4, faults: 4 }]);
  const run = spawnSync(
    process.execPath,
    [cli, 'run', '--trace', '-', '--memory', '64pages', '--json'],
    {
      input: good,
      timeout: 20_000,
      killSignal: 'SIGKILL',
      encoding: 'utf8',
    },
  );
  expect(JSON.parse(run.stdout).counters.accesses).toBe(4);
  const after = readdirSync(tmpdir()).filter((name) => name.startsWith('shadowmmu-'));
  expect(after.filter((name) => !before.includes(name))).toEqual([]);
});

test('page numbers of both halves of the address space are those of the addresses', () => {
  const lines = ' L 00001000,8\n S ffffffff81000000,8\n';
  writeFileSync(path('high.lackey'), lines);
  const { stdout } = trace(['info', '--json', 'high.lackey']);
  rmSync(path('high.lackey'));
  expect(JSON.parse(stdout)).toMatchObject({ min_vpn: '0x1', max_vpn: '0xffffffff81000' });
});

test('an interrupted conversion leaves no file', async () => {
  const bundled = new URL('../../traces/sqlite.smt.gz', import.meta.url).pathname;
  const args = [cli, 'trace', 'convert', bundled, 'long.lackey.gz'];
  const child = spawn(process.execPath, args, { cwd: folder, stdio: 'ignore' });
  const ended = new Promise((resolve) => {
    child.once('exit', resolve);
  });
  for (let i = 0; i < 500; i++) {
    if (readdirSync(folder).some((name) => name.endsWith('.partial'))) break;
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
  }
  child.kill('SIGINT');
  const status = await ended;
  expect(status).toBe(130);
  expect(readdirSync(folder).toSorted()).toEqual(['bad.lackey', 'good.lackey']);
});

test('convert tells the format by the name and keeps every reference', () => {
  for (const name of ['x.smt', 'x.smt.gz', 'x.ptrace', 'x.din.gz', 'x.champsim']) {
    expect(trace(['convert', 'good.lackey', name]).status).toBe(0);
    expect(trace(['convert', name, '-', '--to', 'pages']).stdout).toBe('I 401a\nL 5\nS 6\nS 7\n');
    rmSync(path(name));
  }
  expect(trace(['convert', 'good.lackey', 'y.smt', '--limit', '2']).status).toBe(0);
  // The header holds the number of records.
  expect(readFileSync(path('y.smt')).readBigUInt64LE(16)).toBe(2n);
  rmSync(path('y.smt'));
});

const hasValgrind = spawnSync('valgrind', ['--version']).status === 0;
test.skipIf(!hasValgrind)('record writes the references of a program', () => {
  const result = trace(['record', '--limit', '5000', '-o', 'echo.smt', '--', 'echo', 'hello']);
  expect(result.stderr).toContain('echo.smt: 5,000 references of echo');
  expect(result.status).toBe(0);
  expect(JSON.parse(trace(['info', 'echo.smt', '--json']).stdout).refs).toBe(5000);
  rmSync(path('echo.smt'));
});
