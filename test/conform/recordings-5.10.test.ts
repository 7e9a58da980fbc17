// Recordings of Linux 5.10.262 (recordings-5.10/, made as the shared ones of 6.1 are): its rules agree with them, and
// no other generation's do. Each file is one of the rig's scripts or of the families of `conform --generate`.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { conformRecording } from '../../src/cli/conform-kvm.ts';
import { readRecording } from '../../src/conform/kvm/recording.ts';

const FOLDER = join(import.meta.dirname, 'recordings-5.10');
const FILES = readdirSync(FOLDER);

/** Levels at which a recording agrees with every step, when it is said to be of a kernel. */
function agreeing(file: string, kernel?: string): number[] {
  const recording = readRecording(join(FOLDER, file));
  const of = kernel === undefined ? recording : { ...recording, kernel };
  const { levels, error } = conformRecording(of);
  expect(error).toBeNull();
  return levels.filter(({ passed }) => passed).map(({ level }) => level);
}

describe('recordings of 5.10', () => {
  test.each(FILES)('%s', (file) => {
    expect(agreeing(file)).toEqual([1, 2, 3]);
  });

  test.each([
    '08_prefetch.npt0.json.gz',
    '15_invlpg.npt0.json.gz',
    '34_dirty_log.npt1.json.gz',
    '40_mlock.npt0.json.gz',
  ])('%s is not one of 6.1', (file) => {
    expect(agreeing(file, '6.1.0-56-amd64')).toEqual([1]);
  });
});
