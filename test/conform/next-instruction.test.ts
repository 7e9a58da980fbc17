// A write that ends the shadow of a table above the code itself: the next instruction, or the same one when it runs again, is
// fetched by a fault of its own, since a guest that runs on begins with an empty TLB.
import { describe, expect, test } from 'vitest';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';

/** Addresses of the faults of a script's last step. */
function faults(...lines: string[]): unknown[] {
  // Page 1 is the table of page directory pointers, which the stubs are below, too.
  const script = parseScript(['pages 4', 'pte A 1 pwu gpa=0x11000', ...lines], 'x');
  const machine = new RecordedMachine(script, { npt: false, build: 'debug' });
  const steps = [];
  for (let step = machine.next(); step !== null; step = machine.next()) steps.push(step);
  const events = steps.at(-2)?.events ?? [];
  return events.filter(({ t }) => t === 'kvm_page_fault').map(({ addr }) => addr);
}

describe('behind or before an emulated write', () => {
  test.each([
    // The write, then the OUT of its stub.
    ['write', 'g write 1+9 0', ['1+0x9', 'i3+0x7']],
    ['write8', 'g write8 1+12 0', ['1+0xc', 'i3+0x11']],
    // A byte that is an entry's first ends no shadow.
    ['aligned', 'g write 1+24 0', ['1+0x18']],
    // Load and store, which KVM lets run again without the shadow: fetch, load, store, which is emulated now; then the OUT.
    ['lock', 'g lock 1+17', ['1+0x11', '1+0x11', 'i3+0x17', '1+0x11', '1+0x11', 'i3+0x1a']],
  ])('%s', (_, op, expected) => {
    expect(faults('g read 0', op)).toEqual(expected);
  });
});
