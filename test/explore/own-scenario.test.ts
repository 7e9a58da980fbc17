// Scenarios that a user brings: files over the standard actors, and modules with their own.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { protocolPreset } from '../../src/explore/presets.ts';
import type { ProtocolPreset } from '../../src/explore/presets.ts';
import { exploreCell } from '../../src/explore/run.ts';
import { ACTOR_NAMES, parseScenario } from '../../src/explore/scenario-file.ts';
import { scenarioOf } from '../../src/explore/scenarios.ts';
import type { Scenario } from '../../src/explore/setup.ts';

const root = new URL('../../', import.meta.url).pathname;
const out = mkdtempSync(join(tmpdir(), 'explore-'));
afterAll(() => rmSync(out, { recursive: true }));

function cli(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, ['dist/cli.js', ...args], { cwd: root, encoding: 'utf8' });
}

const preset = (name: string): ProtocolPreset => protocolPreset(name) as ProtocolPreset;
const SCHEMA = 'shadowmmu-explore-scenario-1';
const file = (fields: object): string => JSON.stringify({ schema: SCHEMA, name: 'x', ...fields });

describe('a scenario file', () => {
  test('means what the standard scenario of the same actors means', () => {
    const own = parseScenario(
      file({
        page: 'swapped',
        actors: [{ actor: 'vcpu', accesses: ['write 0'] }, { actor: 'vmm' }, { actor: 'kswapd' }],
      }),
      'x.json',
    );
    for (const name of ['v3', 'interval']) {
      const expected = exploreCell(preset(name), scenarioOf('swap-in') as Scenario);
      const found = exploreCell(preset(name), own);
      expect(found.search).toEqual({ ...expected.search, violations: found.violations });
      expect(found.violations).toEqual(expected.violations);
    }
  });

  test('fork-reclaim.json holds where fork() and the fault are right', () => {
    const path = `${root}examples/explore/fork-reclaim.json`;
    const scenario = parseScenario(readFileSync(path, 'utf8'), path);
    for (const name of ['2.6.27', 'srcu', '6.x']) {
      const cell = exploreCell(preset(name), scenario);
      expect([name, ...cell.violations.map(({ property }) => property)]).toEqual([name]);
      expect(cell.search?.states).toBeGreaterThan(10_000);
    }
    expect(exploreCell(preset('v3'), scenario).violations.map((v) => v.property)).toEqual([
      'cow_isolation',
      'no_stale_mapping',
    ]);
  });

  test('can name every standard actor', () => {
    for (const actor of ACTOR_NAMES) {
      const fields = actor === 'vcpu' ? { actor, accesses: ['read 0'] } : { actor };
      const registered = actor !== 'register';
      const scenario = parseScenario(file({ registered, actors: [fields] }), 'x.json');
      const { search, violations } = exploreCell(preset('6.x'), scenario);
      expect(search?.exhausted).toBe(true);
      expect(violations).toEqual([]);
    }
  });

  test.each([
    ['{', /x\.json: line 1/],
    [file({}), /x\.json: actors: expected a list/],
    [file({ actors: [] }), /1 to 8 actors/],
    [file({ actors: [{ actor: 'kswap' }] }), /actors\[0\].*kswapd/],
    [file({ actors: [{ actor: 'vcpu', accesses: ['write 1'] }] }), /pages from 0 to 0/],
    [file({ actors: [{ actor: 'fork', pages: 2 }] }), /unknown field "pages"/],
    [file({ pages: 99, actors: [{ actor: 'fork' }] }), /from 1 to 16/],
    [
      file({ actors: Array.from({ length: 2 }, () => ({ actor: 'vcpu', accesses: ['read 0'] })) }),
      /one actor a vCPU/,
    ],
  ])('%s is refused', (text, message) => {
    expect(() => parseScenario(text, 'x.json')).toThrow(message);
  });
});

describe('the command line', () => {
  test('explores a module with a notifier of its own, and replays what it found', () => {
    const { status, stdout } = cli('explore', '6.x', 'examples/explore/gpu.mjs', '--out', out);
    expect(status).toBe(3);
    expect(stdout).toMatch(/gpu-follows +violated gpu_maps_owned_frames \(13 steps\)/);
    expect(stdout).toMatch(/gpu-checks +holds .*exhausted/);
    const [schedule] = readdirSync(out);
    const replayed = cli('replay', join(out, schedule as string));
    expect(replayed.status).toBe(3);
    expect(replayed.stdout).toContain('✗ gpu_maps_owned_frames: the GPU maps frame');
  });

  test('explores a system of the user’s own once', () => {
    const path = join(out, 'own.mjs');
    writeFileSync(
      path,
      `export const scenario = {
        name: 'counter',
        make: () => ({
          actors: [{ name: 'a', run: (t, at) => t.done(at, 0) }],
          properties: [{ name: 'never', says: 'nothing ends', end: () => 'it ended' }],
        }),
      };`,
    );
    const { status, stdout } = cli('explore', path, '--json', '--out', 'none');
    expect(status).toBe(3);
    const { cells } = JSON.parse(stdout) as { cells: { violations: { schedule: number[] }[] }[] };
    expect(cells).toHaveLength(1);
    expect(cells[0]?.violations[0]?.schedule).toEqual([0]);
  });

  test.each([
    ['missing.json', 1, /missing\.json/],
    ['missing.mjs', 1, /missing\.mjs/],
    ['package.json', 1, /package\.json: schema/],
    ['scripts/gen-explorer.mjs', 1, /exports no `scenario`/],
    ['nonsense', 2, /no preset or scenario/],
  ])('explore %s: status %i', (name, status, message) => {
    const found = cli('explore', name);
    expect(found.status).toBe(status);
    expect(found.stderr).toMatch(message);
    expect(found.stderr.trim().split('\n')).toHaveLength(1);
  });

  test('exits with 4 when the memory that it may use is full', () => {
    const { status, stdout } = cli('explore', '6.x', 'long', '--memory', '6', '--out', 'none');
    expect(status).toBe(4);
    expect(stdout).toMatch(/open +\d+ states, .* [67] MiB; stopped: memory/);
  });

  test('exits with 0 when every property holds', () => {
    const printed = execFileSync(
      process.execPath,
      ['dist/cli.js', 'explore', '6.x', 'fault-zap', '--out', out],
      { cwd: root, encoding: 'utf8' },
    );
    expect(printed).toMatch(/holds +598 states, .* exhausted/);
  });
});
