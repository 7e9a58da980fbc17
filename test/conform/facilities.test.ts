// Recordings of kernels that are not 6.1: what those do not have fails as there, and the generation is theirs.
import { expect, test } from 'vitest';
import type { RecordingResult } from '../../src/conform/kvm/check.ts';
import { facilitiesOf, type Facilities } from '../../src/conform/kvm/facilities.ts';
import { generationOf, versionOf } from '../../src/conform/kvm/kernel.ts';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import { type JsonObject, toRecording } from '../../src/conform/kvm/recording.ts';
import { formatReport } from '../../src/conform/kvm/report.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';

/** Result and state of page 1 after each step of a script on a kernel. */
function run(facilities: Facilities, script: readonly string[]) {
  const machine = new RecordedMachine(parseScript(['pages 4', ...script], 'x'), {
    npt: false,
    facilities,
  });
  machine.next();
  return script.map(() => {
    const step = machine.next();
    return { result: step?.result[0], host: step?.pages[1]?.host };
  });
}

/** A recording of a kernel with one step. */
function recordingOf(kernel: string, op: string, result: JsonObject) {
  const layout = { data: { pages: 4, backing: 'anon' } };
  const steps = [{ i: 0, op, result: [result] }];
  return toRecording('x', { name: 'x', kernel, npt: 0, layout, script: [op], steps });
}

/** What a recording of a kernel came to. */
function resultOn(kernel: string): RecordingResult {
  return {
    file: 'x',
    name: 'x',
    npt: 0,
    kernel,
    pressure: false,
    levels: [{ level: 1, passed: true, steps: 1, agreeing: 1, first: null }],
    totals: [],
    error: null,
  };
}

test('5.10 has no memory.reclaim, no generations and no MADV_COLLAPSE, and nothing happens', () => {
  const old = { ...versionOf('5.10.0-46-amd64'), ages: true, inlines: false };
  const [, ...steps] = run(old, ['g write 1', 'h reclaim 1', 'h lru_gen 1', 'h collapse 0 4']);
  expect(steps.map(({ result }) => result)).toEqual([
    { errno: 'ENOENT', rc: '-2' },
    { errno: 'ENOENT', rc: '-2' },
    { errno: 'EINVAL', rc: '-22' },
  ]);
  expect(new Set(steps.map(({ host }) => JSON.stringify(host))).size).toBe(1);
});

test('ageing fails where a recording says that its module was not there', () => {
  const failed = recordingOf('6.1.0-56-amd64', 'h age test 0 1', { rc: '-2', errno: 'ENOENT' });
  expect(facilitiesOf(failed)).toEqual({ major: 6, minor: 1, ages: false, inlines: false });
  expect(run(facilitiesOf(failed), ['h age test 0 1'])[0]?.result).toEqual({
    rc: '-2',
    errno: 'ENOENT',
  });
  const done = recordingOf('6.1.0-56-amd64', 'h age test 0 1', { rc: '0' });
  expect(facilitiesOf(done).ages).toBe(true);
});

test('6.12 pages out what the guest uses, 6.1 does not', () => {
  // The pte is old, the spte young.
  const script = ['g write 1', 'h clear_refs 1', 'h pageout 1 1'];
  const stateOn = (release: string): unknown =>
    run({ ...versionOf(release), ages: true, inlines: false }, script)[2]?.host?.['state'];
  expect(stateOn('6.1.0-56-amd64')).toBe('present');
  expect(stateOn('6.12.74+deb12-amd64')).toBe('swapped');
});

/** The generation by whose rules a release is run. */
function rulesOf(release: string): string {
  return generationOf(versionOf(release));
}

test('a kernel is run by the rules of the last generation that is not newer', () => {
  expect(rulesOf('6.1.0-56-amd64')).toBe('6.1');
  expect(rulesOf('6.5.0-15-generic')).toBe('6.1');
  expect(rulesOf('6.12.74+deb12-amd64')).toBe('6.12');
  expect(rulesOf('7.0.3')).toBe('6.12');
  // Nothing is older than the oldest.
  expect(rulesOf('4.19.0-27-amd64')).toBe(rulesOf('3.2.0'));
});

test('the report names the kernel, and whose rules it was run by if there are none of its own', () => {
  expect(formatReport([resultOn('6.1.0-56-amd64')], 1, 100).join('\n')).not.toContain('rules');
  expect(formatReport([resultOn('6.12.74+deb12-amd64')], 1, 100).join('\n')).not.toContain('rules');
  const lines = formatReport([resultOn('6.5.2-amd64')], 1, 100).join('\n');
  expect(lines).toContain('x npt=0 6.5.2');
  expect(lines).toContain('1 of Linux 6.5.2: run by the rules of 6.1');
});
