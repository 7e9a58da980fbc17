// Recordings of the real KVM on the emulator: those that agree must go on agreeing.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { conformRecording } from '../../src/cli/conform-kvm.ts';
import { readRecording, toRecording } from '../../src/conform/kvm/recording.ts';
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
    // Step by step: what differs at the end is what another boot does differently before.
    expect(l3?.steps).toBeLessThanOrEqual((l3?.agreeing ?? 0) + 1);
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
