// Recordings of Linux 6.1 beside the shared ones, each of a rule that those do not meet: docs/fidelity.md has the list.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { conformRecording } from '../../src/cli/conform-kvm.ts';
import { NOTHING, USUAL, type Drain } from '../../src/conform/kvm/history.ts';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import { readRecording } from '../../src/conform/kvm/recording.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';

const FOLDER = join(import.meta.dirname, 'recordings-6.1');

test.each(readdirSync(FOLDER))('%s agrees at every level', (file) => {
  const { levels, error } = conformRecording(readRecording(join(FOLDER, file)), true);
  expect(error).toBeNull();
  expect(levels.map(({ agreeing, steps }) => steps - agreeing)).toEqual([0, 0, 0]);
});

test.each([true, false])(
  'khugepaged empties the batches when the boot asks it first: %s',
  (first) => {
    const script = parseScript(['pages 512', 'h write 0 4 1', 'h hugepage 0 512'], 'x');
    const history = { ...USUAL, khugepagedWaits: first };
    const machine = new RecordedMachine(script, { npt: false, build: 'debug', history });
    const flags = [0, 1, 2].map(() => JSON.stringify(machine.next()?.pages[0]?.host));
    expect(flags.map((text) => text.includes('"lru"'))).toEqual([false, false, first]);
  },
);

test.each([true, false])(
  'a huge fault that wakes khugepaged has its page after the batches were emptied: %s',
  (waits) => {
    const lines = ['pages 1024', 'h write 0 1 1', 'h hugepage 512 512', 'h write 512 1 1'];
    const history = { ...USUAL, khugepagedWaits: waits };
    const machine = new RecordedMachine(parseScript(lines, 'x'), {
      npt: false,
      build: 'debug',
      history,
    });
    const steps = [0, 1, 2, 3].map(() => machine.next()?.events ?? []);
    const inserted = steps.at(-1)?.filter(({ t }) => t === 'lru_insert');
    expect(inserted?.length).toBe(waits ? 1 : 2);
  },
);

test('the batch of mlocked pages may be full within a step: from then on marking changes nothing', () => {
  const lines = ['pages 8', 'h fill 0 4 1', 'h mlock 0 4', 'h fork', 'g write 0'];
  const flags = [[], [{ step: 3, faults: 1, batch: 'locked' } satisfies Drain]].map((drains) => {
    const machine = new RecordedMachine(parseScript(lines, 'x'), {
      npt: false,
      build: 'debug',
      history: { ...USUAL, drains },
    });
    for (let step = -1; step < 3; step++) machine.next();
    const host = machine.next({ ...NOTHING, listed: [0] })?.pages[0]?.host;
    return JSON.stringify(host).includes('referenced');
  });
  expect(flags).toEqual([false, true]);
});

test('a thread may empty the batches within a step: a page that is marked again is activated there', () => {
  const told = [[], [{ step: 0, faults: 2, batch: 'all' } satisfies Drain]].map((drains) => {
    const machine = new RecordedMachine(parseScript(['pages 8', 'g lock 0'], 'x'), {
      npt: false,
      build: 'debug',
      history: { ...USUAL, drains },
    });
    const events = [machine.next(), machine.next()].at(-1)?.events;
    return events?.some(({ t }) => t === 'folio_activate');
  });
  expect(told).toEqual([false, true]);
});

test.each([true, false])(
  'khugepaged looks at an address space that ended, if it was at it: %s',
  (khugepagedHolds) => {
    const script = parseScript(['pages 512', 'h write 0 4 1', 'h khugepaged 100'], 'x');
    const history = { ...USUAL, khugepagedHolds };
    const machine = new RecordedMachine(script, { npt: false, build: 'debug', history });
    const flags = [0, 1, 2].map(() => JSON.stringify(machine.next()?.pages[0]?.host));
    expect(flags.map((text) => text.includes('"lru"'))).toEqual([false, false, khugepagedHolds]);
  },
);

test('khugepaged may come to scan at the end of a step: what KVM zaps then counts in the next one', () => {
  const script = parseScript(['pages 512', 'thp on', 'g lock 0', 'h drain'], 'x');
  const history = { ...USUAL, khugepagedScans: 0 };
  const machine = new RecordedMachine(script, { npt: false, build: 'debug', history });
  const [, woken, next] = [machine.next(), machine.next(), machine.next()];
  expect(woken?.pages[0]?.host.huge).toBe(true);
  expect([woken?.counters.pages_4k, next?.counters.pages_4k]).toEqual([1, -1]);
});
