// The recording driver's own pages on the group's lists.
import { expect, test } from 'vitest';
import * as abi from '../../assembly/abi.ts';
import { bufferOffset, traceBytes } from '../../src/conform/kvm/driver-log.ts';
import { USUAL, type History } from '../../src/conform/kvm/history.ts';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';

/** Pages that may be evicted after each step, without data pages. */
function evictable(steps: readonly string[], history: Partial<History> = {}, pages = 16): number[] {
  const script = parseScript([`pages ${pages}`, ...steps], 'x');
  const options = { npt: false, build: 'debug', history: { ...USUAL, ...history } } as const;
  const machine = new RecordedMachine(script, options);
  machine.next();
  return steps.map(() => {
    machine.next();
    return machine.core.x.lruSize(abi.LRU_INACTIVE_ANON);
  });
}

test('before a fork nothing of the driver is on the lists; its child brings what it writes to', () => {
  expect(evictable(['h nop', 'h fork', 'h drain'])).toEqual([0, 0, 5]);
});

test('where its stack crosses a page the child writes to one more', () => {
  expect(evictable(['h fork', 'h drain'], { stack: 'crossing' })).toEqual([0, 6]);
});

test('what was copied after one fork, and again after the next one, is left to the second child', () => {
  const [first, , second] = evictable(['h fork', 'h reap', 'h fork', 'h drain']).slice(1);
  expect(first).toBe(0);
  expect(second).toBe(24);
});

test('so are the pages of the buffer that the lines about all pages fill, and what age found', () => {
  const second = ['h nop', 'h age flush 0 512'].map((step) =>
    evictable(['h fork', step, 'h reap', 'h fork', step, 'h drain'], {}, 512).at(-1),
  );
  expect(second).toEqual([24 + 11, 24 + 11 + 2]);
});

test('a line of the log for each event, and a copy of each line of the script before the buffer', () => {
  expect(traceBytes([[abi.EVENT_FRAME_ALLOC, 1, 0, 0, 0]])).toBe(0);
  expect(traceBytes([[abi.EVENT_WP_PAGE_COPY, 0, 0, 0, 0]])).toBe(76);
  expect(bufferOffset(['pages 16', 'h fork'])).toBe(0x8c0 + 2 * 32);
  expect(bufferOffset(['x'.repeat(40)])).toBe(0x8c0 + 64);
});
