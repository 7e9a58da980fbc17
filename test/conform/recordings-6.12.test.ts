// Recordings of Linux 6.12, and what differs there from 6.1, rule by rule: docs/fidelity.md has the list with its sources.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { conformRecording } from '../../src/cli/conform-kvm.ts';
import { checkRecording } from '../../src/conform/kvm/check.ts';
import { versionOf } from '../../src/conform/kvm/kernel.ts';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import type { KvmEvent } from '../../src/conform/kvm/recording.ts';
import { readRecording } from '../../src/conform/kvm/recording.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';

const FOLDER = join(import.meta.dirname, 'recordings-6.12');
const FILES = readdirSync(FOLDER).filter((name) => name.includes('.6.12.'));

describe.each(FILES)('%s', (file) => {
  const recording = readRecording(join(FOLDER, file));

  test('agrees at every level', () => {
    const { levels, error } = conformRecording(recording, true);
    expect(error).toBeNull();
    expect(levels.map(({ passed }) => passed)).toEqual([true, true, true]);
  });

  test('differs by the rules of 6.1', () => {
    const script = parseScript(recording.script, recording.file);
    const facilities = { ...versionOf('6.1'), ages: true, inlines: true };
    const options = { npt: recording.npt === 1, facilities };
    const result = checkRecording(
      recording,
      (_, history) => new RecordedMachine(script, { ...options, history }),
    );
    expect(result.levels[1]?.passed).toBe(false);
  });
});

/** The last step of a script on a kernel. */
function lastStep(kernel: string, npt: boolean, script: readonly string[]) {
  const facilities = { ...versionOf(kernel), ages: true, inlines: false };
  const parsed = parseScript(['pages 1024', ...script], 'x');
  const machine = new RecordedMachine(parsed, { npt, facilities, build: 'debug' });
  machine.next();
  for (let i = 1; i < parsed.steps.length; i++) machine.next();
  const step = machine.next();
  if (step === null) throw new Error('the script has a step');
  return step;
}

/** Whether the last step of a script has an event on 6.1, and on 6.12. */
function has(script: readonly string[], found: (event: KvmEvent) => boolean, npt = false) {
  return ['6.1.0', '6.12.0'].map((kernel) => lastStep(kernel, npt, script).events.some(found));
}

const frozen = (value: string) => (event: KvmEvent) => event.new === `notpresent:${value}`;
const named = (name: string) => (event: KvmEvent) => event.t === name;

function flushesAll(event: KvmEvent): boolean {
  return event.t === 'mn_invalidate_secondary_tlbs' && event.start === null;
}

function flushes700(event: KvmEvent): boolean {
  return event.t === 'mn_invalidate_secondary_tlbs' && event.start === '700' && event.pages === 1;
}

function flushesHuge(event: KvmEvent): boolean {
  return event.t === 'mn_invalidate_secondary_tlbs' && event.pages === 512;
}

function zapsLeaf(event: KvmEvent): boolean {
  return event.level === 1 && event.new === '0';
}

describe('rules', () => {
  test('a copy is told by its flush, not by change_pte', () => {
    const script = ['g read 1', 'h write 1 1 1'];
    expect(has(script, named('mn_change_pte'))).toEqual([true, false]);
    expect(has(script, named('mn_invalidate_secondary_tlbs'))).toEqual([false, true]);
    expect(has(script, named('mn_invalidate_range'))).toEqual([true, false]);
  });

  test('KVM has no op for secondary TLBs', () => {
    expect(has(['g write 1', 'h dontneed 1 1'], named('kvm_invalidate_range'))).toEqual([
      true,
      false,
    ]);
  });

  test('fork flushes the whole address space, whatever it copied', () => {
    expect(has(['g write 1', 'h fork'], flushesAll)).toEqual([false, true]);
  });

  test('a read maps what it swaps in writable', () => {
    const script = ['g write 1', 'h clear_refs 1', 'h pageout 1 1', 'h pageout 1 1', 'h read 1 1'];
    const pteOn = (kernel: string): unknown => lastStep(kernel, false, script).pages[1]?.host.pte;
    expect(pteOn('6.1.0')).toBe('p-ua---n');
    expect(pteOn('6.12.0')).toBe('pwua---n');
  });

  test('a pte that can not be written hides its dirty bit', () => {
    const script = ['h write 1 1 1', 'h mprotect 1 1 r'];
    const pteOn = (kernel: string): unknown => lastStep(kernel, false, script).pages[1]?.host.pte;
    expect(pteOn('6.1.0')).toBe('p-uad--n');
    expect(pteOn('6.12.0')).toBe('p-ua---n');
  });

  test('mprotect makes a clean page of its own writable', () => {
    const script = ['h write 1 1 1', 'h free 1 1', 'h mprotect 1 1 r', 'h mprotect 1 1 rw'];
    const pteOn = (kernel: string): unknown => lastStep(kernel, false, script).pages[1]?.host.pte;
    expect(pteOn('6.1.0')).toBe('p-u----n');
    expect(pteOn('6.12.0')).toBe('pwu----n');
  });

  test('a root of two-dimensional paging is zapped from its leaves up, and frozen entries have bit 63', () => {
    const script = ['g write 1', 'h slot_delete 1'];
    expect(has(script, frozen('5a0'), true)).toEqual([true, false]);
    expect(has(script, frozen('80000000000005a0'), true)).toEqual([false, true]);
    expect(has(script, zapsLeaf, true)).toEqual([false, true]);
  });

  test('a young page of generations has all around it asked, without a flush', () => {
    const script = ['g writes 0 8', 'h drain', 'h lru_gen 1', 'h reclaim 4'];
    expect(has(script, named('mn_clear_young'))).toEqual([false, true]);
    expect(has(script, named('mn_clear_flush_young'))).toEqual([true, false]);
    expect(has(script, (event) => event.nr_requested === '4096')).toEqual([false, true]);
  });

  test('huge pages that are unmapped are flushed by their size', () => {
    const script = ['h hugepage 512 512', 'h write 512 1 1', 'h dontneed 512 512'];
    expect(has(script, flushesAll)).toEqual([false, false]);
    expect(has(script, flushesHuge)).toEqual([false, true]);
  });

  test('a huge page that is freed lazily is flushed as 512 pages, and then by its size', () => {
    const script = ['h hugepage 512 512', 'h write 512 1 1', 'h free 512 512'];
    expect(has(script, flushesAll)).toEqual([false, true]);
    expect(has(script, flushesHuge)).toEqual([false, true]);
  });

  test('small ptes of a huge page that is split are flushed one by one', () => {
    const script = [
      'h hugepage 512 512',
      'h fill 512 512 1',
      'h mprotect 512 1 r',
      'h mprotect 512 1 rw',
      'h cold 513 1',
    ];
    expect(has(script, flushes700)).toEqual([false, true]);
  });

  test('pages wait for their list in batches of 31', () => {
    const script = ['h fill 0 20 1'];
    expect(has(script, named('lru_insert'))).toEqual([true, false]);
  });
});
