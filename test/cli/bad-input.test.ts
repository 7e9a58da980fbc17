// Whatever is wrong, the command says it in one line and ends with the right status.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'shadowmmu-'));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function shadowmmu(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
    timeout: 60_000,
  });
  return { status, out: stdout, err: stderr };
}

function expectOneLine(args: string[], status: number, ...words: string[]): void {
  const result = shadowmmu(...args);
  const said = `${args.join(' ')}: ${result.err}`;
  expect(result.status, said).toBe(status);
  expect(result.out, said).toBe('');
  expect(result.err.trimEnd().split('\n').length, said).toBe(1);
  expect(result.err, said).not.toMatch(/\n\s+at |node:internal|undefined|NaN/);
  for (const word of words) expect(result.err, said).toContain(word);
}

/** Some hundred references. */
const good = file(
  'good.trace',
  Array.from({ length: 300 }, (_, i) => `${(0x400000 + (i % 40) * 4096).toString(16)} R\n`).join(
    '',
  ),
);
const tiny = file('tiny.trace', '0041f7a0 R\n13f5e2c0 R\n05e78900 R\n04758a0c W\n');

describe('usage errors end with status 2', () => {
  const cases: [string[], ...string[]][] = [
    [['rum'], 'rum'],
    [['run'], '--trace'],
    [['run', '--trace', good, '--workload', 'zipf'], '--trace', '--workload'],
    [['run', '--trace', good, '--memory', '0pages'], '--memory'],
    [['run', '--trace', good, '--memory', '12'], '--memory', '12'],
    [['run', '--trace', good, '--memory', '0%'], '--memory'],
    [['run', '--trace', good, '--memory', '99999GiB'], '--memory'],
    [['run', '--trace', good, '--protocol', 'v9'], '--protocol', 'v9', 'v3'],
    [['run', '--trace', good, '--policy', 'random'], '--policy', 'fifo'],
    [['run', '--trace', good, '--backing', 'tape'], '--backing'],
    [['run', '--trace', good, '--swap', 'floppy'], '--swap'],
    [['run', '--trace', good, '--profile', '1999'], '--profile', '2008'],
    [['run', '--trace', good, '--vcpus', '0'], '--vcpus'],
    [['run', '--trace', good, '--vcpus', 'two'], '--vcpus'],
    [['run', '--trace', good, '--tlb', '63x4,1536x12'], '--tlb'],
    [['run', '--trace', good, '--tlb', 'big'], '--tlb'],
    [['run', '--trace', good, '--limit', '-1'], '--limit'],
    [['run', '--trace', good, '--seed', '1.5'], '--seed'],
    [['run', '--trace', good, '--guest-tables', 'gone'], '--guest-tables'],
    [['run', '--trace', good, '--guest-memory', '50%'], '--guest-memory'],
    [['run', '--trace', good, '--frobnicate'], '--frobnicate', 'see shadowmmu help run'],
    [['run', '--trace', good, '--memroy', '25%'], '--memroy', 'did you mean --memory?'],
    [['explore', '--list'], "Unknown option '--list'; see"],
    [['comapre', '--demo'], 'comapre', 'did you mean compare?'],
    [['run', good], good],
    [['run', '--trace'], '--trace'],
    [['run', '--trace', good, '--format', 'morse'], 'morse'],
    [['run', '--workload', 'no-such-workload'], 'no-such-workload'],
    [['compare', '--trace', good, '--protocols', 'v3,v99'], '--protocols', 'v99'],
    [['compare', '--trace', good, '--workers', 'many'], '--workers'],
    [['run', '--trace', good, '--memory', '8pages'], '16', '--guest-tables resident'],
    [['run', '--trace', good, '--json', '--csv'], '--json', '--csv'],
    [['run', '--workload', 'zipf', '--format', 'lackey'], '--format'],
    [['run', '--workload', 'zipf:pages=many'], 'pages'],
    [['run', '--workload', 'zipf:leaves=7'], 'leaves'],
    [['trace'], 'info'],
    [['trace', 'shred', good], 'shred'],
    [['trace', 'info'], 'FILE'],
    [['trace', 'mrc', good, '--algorithms', 'arc'], 'arc', 'lru'],
    [['trace', 'mrc', good, '--frames', '0'], '--frames'],
    [['trace', 'convert', good], 'OUTPUT'],
    [['trace', 'convert', good, join(folder, 'x'), '--to', 'morse'], 'morse'],
    [['trace', 'record'], 'COMMAND'],
    [['trace', 'record', 'ls'], '--'],
    [['conform'], 'conform wants access or kvm'],
    [['conform', 'sums', good], 'sums'],
    [['conform', 'access', good, '--way', 'sideways'], '--way', 'sideways'],
    [['conform', 'kvm', good, '--level', '9'], '--level'],
    [['explore', 'no-such-scenario'], 'no-such-scenario'],
    [['replay'], 'FILE'],
    [['contention', '--machine', 'abacus'], 'abacus'],
    [['contention', '--cpus', '-2'], '--cpus'],
    [['contention', '--cpus', '5000'], '--cpus', '4096'],
    [['compare', '--demo', '--trace', good], '--demo', '--trace'],
    [['profile'], '--trace'],
    [['profile', '--trace', good, '--csv'], '--csv'],
    [['profile', '--trace', good, '--fail-over', '3%'], '--baseline'],
    [['profile', '--trace', good, '--core', 'apple'], 'apple'],
  ];
  for (const [args, ...words] of cases) {
    test(args.slice(0, 1).concat(args.slice(2)).join(' '), () => {
      expectOneLine(args, 2, ...words);
    });
  }
});

describe('unusable data ends with status 1', () => {
  const lines = '0041f7a0 R\n'.repeat(50);
  const cases: [string, string[], ...string[]][] = [
    ['a missing file', ['run', '--trace', join(folder, 'nowhere')], 'nowhere'],
    ['a folder', ['run', '--trace', folder], folder.split('/').at(-1) as string],
    ['an empty file', ['run', '--trace', file('empty', '')], 'empty'],
    ['a broken line', ['run', '--trace', file('broken', `${lines}what?\n`)], 'broken', '51'],
    ['mixed formats', ['run', '--trace', file('mixed', `${lines}I  04016a80,3\n`)], 'mixed', '51'],
    [
      'binary rubbish',
      [
        'run',
        '--trace',
        file(
          'rubbish',
          Uint8Array.from({ length: 999 }, (_, i) => i * 7),
        ),
      ],
      'rubbish',
    ],
    [
      'a cut gzip file',
      ['run', '--trace', file('cut.gz', gzipSync(lines.repeat(99)).subarray(0, 60))],
      'cut.gz',
    ],
    [
      'an address beyond the canonical range',
      ['run', '--trace', file('far', ' L 00400000,8\n L 0123456789abcdef,8\n')],
      'far',
    ],
    ['trace info of a broken line', ['trace', 'info', join(folder, 'broken')], 'broken', '51'],
    ['trace info of a folder', ['trace', 'info', folder], 'directory'],
    ['trace mrc of an empty file', ['trace', 'mrc', join(folder, 'empty')], 'empty'],
    [
      'trace convert of a cut file',
      ['trace', 'convert', join(folder, 'cut.gz'), join(folder, 'out.smt')],
      'cut.gz',
    ],
    [
      'trace convert of mixed formats',
      ['trace', 'convert', join(folder, 'mixed'), join(folder, 'out.smt.gz')],
      'mixed',
      '51',
    ],
    [
      'trace convert into a folder that is not there',
      ['trace', 'convert', good, join(folder, 'no', 'out.smt')],
      'out.smt',
    ],
    ['a table that is none', ['conform', 'access', good], 'good.trace'],
    ['a missing table', ['conform', 'access', join(folder, 'nowhere')], 'nowhere: no such'],
    ['a recording that is none', ['conform', 'kvm', good], 'good.trace'],
    ['a schedule that is none', ['replay', good], 'good.trace'],
    ['a missing schedule', ['replay', join(folder, 'nowhere')], 'nowhere: no such'],
    ['a missing file for profile', ['profile', '--trace', join(folder, 'nowhere')], 'nowhere'],
    [
      'a scenario with an unknown field',
      ['run', '--scenario', file('field.json', '{"phases":[{"acess":1}]}')],
      'field.json',
    ],
    ['a missing file for compare', ['compare', '--trace', join(folder, 'nowhere')], 'nowhere'],
    ['a broken trace for compare', ['compare', '--trace', join(folder, 'broken')], 'broken', '51'],
    [
      'a diagram in a folder that is not there',
      ['contention', '--cpus', '2', '--svg', join(folder, 'no', 'plot.svg')],
      'plot.svg',
      'folder does not exist',
    ],
    [
      'a folder for counts',
      ['profile', '--counts', '--trace', tiny, '--save', folder],
      'is a directory',
    ],
    ['a missing scenario', ['run', '--scenario', join(folder, 'nowhere')], 'nowhere'],
    ['a scenario that is no JSON', ['run', '--scenario', file('s.json', '{')], 's.json'],
  ];
  for (const [name, args, ...words] of cases) {
    test(name, () => expectOneLine(args, 1, ...words));
  }

  test('nothing but the input files was left behind', () => {
    const left = readdirSync(folder).filter((name) => /^out|^x$|cpuprofile/.test(name));
    expect(left).toEqual([]);
  });
});

test('a closed pipe ends the command quietly', () => {
  const command = `"${process.execPath}" "${CLI}" run --trace "${good}" | head -1; exit \${PIPESTATUS[0]}`;
  const { status, stderr } = spawnSync('bash', ['-c', command], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(status).toBe(0);
});

test('a trace of a few pages runs with the default memory', () => {
  expect(shadowmmu('run', '--trace', tiny).status).toBe(0);
});

test('help lists the commands, and each has its own', () => {
  const { status, out } = shadowmmu('help');
  expect(status).toBe(0);
  for (const name of ['run', 'compare', 'trace']) {
    expect(out).toContain(`\n  ${name} `);
    const own = shadowmmu('help', name);
    expect(own.status).toBe(0);
    expect(own.out).toContain(`usage: shadowmmu ${name}`);
  }
});
