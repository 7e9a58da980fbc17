// Recordings of the real KVM on the emulator: those that agree must go on agreeing.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { conformRecording } from '../../src/cli/conform-kvm.ts';
import { usualHistory } from '../../src/conform/kvm/history.ts';
import { readRecording, toRecording, type Recording } from '../../src/conform/kvm/recording.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';
import { DataError } from '../../src/core/errors.ts';
import { oraclePath } from '../oracle.ts';

const folder = oraclePath('kvm/recordings');

describe.skipIf(folder === undefined)('recordings of the real KVM', () => {
  const files = folder === undefined ? [] : readdirSync(folder);

  test.each(files)('%s', (file) => {
    const result = conformRecording(readRecording(join(folder ?? '', file)));
    const [l1, l2, l3] = result.levels;
    expect(result.error).toBeNull();
    expect(l1?.first).toBeNull();
    if (!result.pressure) {
      expect(l2?.first).toBeNull();
      return;
    }
    expect([l2?.passed, l3?.passed]).toEqual([true, true]);
    expect(l3?.agreeing).toBe(l3?.steps);
  });
});

/** A recording of quiet steps: pages written to swap in each, and slots in use after it. */
function recordingOf(steps: readonly (readonly [writes: number, swapped: number])[]): Recording {
  return toRecording('x.json', {
    name: 'x',
    kernel: '6.1',
    npt: 0,
    layout: { data: { pages: 8, backing: 'anon' } },
    script: [],
    steps: steps.map(([writes, swapped], i) => ({
      i,
      op: 'g nop',
      event_counts: { swap_writepage: writes },
      mem_now: { swap_current: swapped },
    })),
  });
}

describe('what the recording tells of its boot', () => {
  test("a batch of 64 swap slots, 20 of them the group's, began with 44 of others", () => {
    const steps = [[30, 30], [10, 20], [5, 25]] as const; // prettier-ignore
    expect(usualHistory(recordingOf(steps)).slots).toBe(44);
  });

  test('two batches in one step, the second all of the group', () => {
    expect(usualHistory(recordingOf([[200, 100]])).slots).toBe(28);
  });

  test('no batch, no slots of others', () => {
    expect(usualHistory(recordingOf([[30, 30], [1, 31]])).slots).toBe(0); // prettier-ignore
  });
});

describe('scripts and recordings that cannot be used', () => {
  test('an unknown operation is named with its line', () => {
    const script = ['name x', 'h fill 0 1 1', 'g jump 3'];
    expect(() => parseScript(script, 'x.scn')).toThrow(
      "x.scn: script line 3 'g jump 3': unknown guest operation 'jump'",
    );
  });

  test('a loop without an end is found', () => {
    expect(() => parseScript(['loop 3', 'g nop'], 'x.scn')).toThrow('this loop has no end');
  });

  test('loops run their steps as often as they say', () => {
    const { steps } = parseScript(['loop 2', 'g read 0', 'loop 3', 'g read 1', 'end', 'end'], 'x');
    expect(steps.map((step) => step.text).join(' ')).toBe(
      'g read 0 g read 1 g read 1 g read 1 g read 0 g read 1 g read 1 g read 1',
    );
  });

  test('a field of the wrong type is named', () => {
    const json = { name: 'x', kernel: '6.1', npt: 2, layout: { data: {} } };
    expect(() => toRecording('x.json', json)).toThrow(
      new DataError('x.json: npt: expected 0 or 1, found 2'),
    );
  });
});
