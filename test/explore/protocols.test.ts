// Single cells of the table: what the mails and commits say must be found, and nothing else.
import { describe, expect, test } from 'vitest';
import { SEEDED_BUGS } from '../../src/kvm/fault-protocol.ts';
import { protocolPreset } from '../../src/explore/presets.ts';
import type { ProtocolPreset } from '../../src/explore/presets.ts';
import { explore } from '../../src/explore/explore.ts';
import {
  exploreCell,
  findSchedule,
  readSchedule,
  scheduleFile,
  tellCell,
} from '../../src/explore/run.ts';
import { crowdScenario, longScenario, scenarioOf } from '../../src/explore/scenarios.ts';
import type { Scenario } from '../../src/explore/setup.ts';
import type { Actor, SystemDefinition } from '../../src/explore/system.ts';
import { SharedWords } from '../../src/explore/words.ts';

const preset = (name: string): ProtocolPreset => protocolPreset(name) as ProtocolPreset;
const scenario = (name: string): Scenario => scenarioOf(name) as Scenario;

function violated(protocol: string, name: string): string[] {
  const cell = exploreCell(preset(protocol), scenario(name));
  expect(cell.search?.exhausted).toBe(true);
  return cell.violations.map((violation) => violation.property).toSorted();
}

describe('protocols', () => {
  test('v3 as posted has the hole that v7 describes', () => {
    // "The linux pte is zapped after get_user_pages returns but before the page is mapped".
    expect(violated('v3', 'fault-zap')).toEqual(['no_stale_mapping']);
    const wild = ['no_access_to_freed_frame', 'no_mapping_of_freed_frame', 'no_stale_mapping'];
    expect(violated('v3-mirror', 'fault-zap')).toEqual(wild);
  });

  test('invalidate_range after the pages are free hurts only who does not pin them', () => {
    expect(violated('v3', 'hit-zap')).toEqual([]);
    expect(violated('v3-mirror', 'hit-zap')).toContain('no_access_to_freed_frame');
  });

  test('fork without a hook breaks copy-on-write', () => {
    expect(violated('v3', 'fork')).toEqual(['cow_isolation']);
  });

  test.each([
    ['v2', true],
    ['v3', false],
    ['v3-rcu', false],
    ['v3-rcu-at-once', true],
    ['v3-rcu-slab', true],
    ['v3-rcu-slab-recheck', false],
    ['3.5', false],
  ])('%s: a notifier is called after it was freed: %s', (name, broken) => {
    expect(violated(name, 'unregister')).toEqual(broken ? ['no_use_after_free'] : []);
  });

  test('fixed protocols hold with six actors on two pages, in random schedules', () => {
    for (const name of ['2.6.27', 'srcu', 'interval', '6.x']) {
      const random = { runs: 150, bugDepth: 12, seed: 4 };
      const cell = exploreCell(preset(name), crowdScenario, { random });
      expect([name, ...cell.violations.map((v) => `${v.property}: ${v.detail}`)]).toEqual([name]);
      expect(cell.random?.states).toBeGreaterThan(3000);
    }
  });

  test('the seqlock draft runs into its own BUG()', () => {
    expect(violated('seqlock', 'fault-zap')).toEqual(['kernel_bug']);
  });

  test('release that deletes before it calls lets reclaim free a mapped page (fixed in 3.6)', () => {
    expect(violated('3.5', 'release')).toEqual(['no_mapping_of_freed_frame']);
    expect(violated('srcu', 'release')).toEqual([]);
  });

  test('6.1 loses a write when a swap slot is used again during a swap-in (fixed in 6.8)', () => {
    // Two faults read one slot past the swap cache; the first maps its page, is written and swapped out
    // to the same slot, and the second finds its pte unchanged (commit 13ddaf26be32).
    expect(violated('6.1', 'swap-race')).toEqual(['no_lost_write']);
    expect(violated('6.1', 'swap-in')).toEqual([]);
  });
});

describe('seeded bugs', () => {
  const BUGS = [
    ['no-retry', 'fault-zap'],
    ['retry-before-lock', 'fault-zap'],
    ['flush-after-free', 'hit-reclaim'],
    ['seq-at-end-only', 'fault-zap'],
    ['no-synchronize', 'unregister'],
  ] as const;

  test('are all tried', () => {
    expect(BUGS.map(([bug]) => bug).toSorted()).toEqual(SEEDED_BUGS.toSorted());
  });

  test.each(
    ['6.x', '6.x-tdp'].flatMap((name) => BUGS.map(([bug, of]) => [name, bug, of] as const)),
  )('%s, %s is found', (name, bug, of) => {
    const cell = exploreCell(preset(name), scenario(of), { bug });
    expect(cell.violations.length).toBeGreaterThan(0);
    expect(cell.search?.exhausted).toBe(true);
  });

  test('random schedules find one too, and say what they covered', () => {
    const random = { runs: 300, seed: 2 };
    const cell = exploreCell(preset('6.x'), scenario('fault-zap'), { bug: 'no-retry', random });
    expect(cell.violations.map((v) => v.property)).toContain('no_stale_mapping');
    expect(cell.random).toMatchObject({ runs: 300, bugDepth: 3 });
    expect(cell.random?.guarantee).toBeGreaterThan(0);
    expect(cell.random?.schedules).toBeGreaterThan(10);
  });
});

describe('reduction', () => {
  test.each([
    ['6.x', 'fault-zap'],
    ['v3', 'fault-reclaim'],
    ['v3-mirror', 'zap-reclaim'],
    ['2.6.27', 'register'],
    ['3.5', 'release'],
    ['v3-rcu-slab', 'unregister'],
    ['6.x', 'io-error'],
  ])('sleep sets lose no state and no violation: %s, %s', (name, of) => {
    const full = exploreCell(preset(name), scenario(of), { reduction: false });
    const reduced = exploreCell(preset(name), scenario(of));
    expect(reduced.search?.states).toBe(full.search?.states);
    expect(reduced.search?.depth).toBe(full.search?.depth);
    expect(reduced.search?.endStates).toBe(full.search?.endStates);
    const lengths = (cell: typeof full): [string, number][] =>
      cell.violations.map((v): [string, number] => [v.property, v.schedule.length]).toSorted();
    expect(lengths(reduced)).toEqual(lengths(full));
    expect(reduced.search?.transitions).toBeLessThan(full.search?.transitions as number);
  });
});

describe('schedules', () => {
  test('a written schedule is read back and shows the violation again', () => {
    const cell = exploreCell(preset('v3'), scenario('fault-zap'));
    const violation = cell.violations[0];
    if (violation === undefined) throw new Error('v3 has a violation here');
    const text = JSON.stringify(scheduleFile(cell, violation));
    const { file, ...loaded } = findSchedule(readSchedule(text, 'x.json'), 'x.json');
    const story = tellCell(loaded.preset, loaded.scenario, file.schedule);
    expect(story.violations.map((v) => v.property)).toEqual([violation.property]);
    expect(story.steps).toHaveLength(violation.schedule.length);
    expect(story.steps.map((step) => step.label)).toContain('zap_page_range: the ptes are cleared');
  });

  test('a broken file is refused with its name', () => {
    expect(() => readSchedule('{', 'x.json')).toThrow(/^x\.json: /);
    expect(() => readSchedule('{"schema":"other"}', 'x.json')).toThrow(/x\.json: schema/);
  });
});

describe('library', () => {
  test('explore() checks an embedder’s own actors and tells what it found', () => {
    const result = explore(() => lostUpdate());
    expect(result.verdict).toBe('violated');
    expect(result.violations[0]?.schedule).toEqual([0, 1, 0, 1]);
    expect(result.violations[0]?.text).toContain('a: store');
    expect(explore(() => lostUpdate(true)).verdict).toBe('holds');
  });
});

/** Two increments of a word, with or without a lock around load and store. */
function lostUpdate(locked = false): SystemDefinition {
  const words = new SharedWords(1);
  const add = (name: string): Actor => ({
    name,
    begins: `${name}: load`,
    run: (t, at) => {
      const s = t.stack;
      switch (s[at]) {
        case 0:
          if (locked && !t.lock(at, 0, 1)) return false;
          s[at + 1] = words.get(0);
          if (t.preempt(at, 1, `${name}: store`)) return false;
        case 1:
          words.set(0, (s[at + 1] as number) + 1);
          if (locked) t.unlock(1);
      }
      return t.done(at, 0);
    },
  });
  const end = (): string | null => (words.peek(0) === 2 ? null : 'an increment is lost');
  return { actors: [add('a'), add('b')], words, properties: [{ name: 'sum', says: 'two', end }] };
}

describe('a page that is swapped in again while reclaim has it locked', () => {
  // A write fault on a read-only pte of a page in the swap cache freed the swap slot under the feet of
  // try_to_unmap(), which holds the page lock: the pte then named a slot that was somebody else's.
  // do_wp_page() takes the page-table lock and trylock_page() before it looks at counts and slot.
  test.each(['2.6.27', 'interval', '6.x'])('%s keeps its swap slot', (name) => {
    const cell = exploreCell(preset(name), longScenario, { maxStates: 120_000 });
    expect(cell.violations).toEqual([]);
    expect(cell.search?.depth).toBeGreaterThan(44);
  });
});
