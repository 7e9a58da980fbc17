// Instructions that can't be emulated. One outside all slots: KVM has nothing to fetch it from, so that it can't be emulated (6.1,
// x86.c: x86_decode_emulated_instruction(), handle_emulation_failure()). The numbers are those of
// include/uapi/linux/kvm.h: KVM_EXIT_INTERNAL_ERROR 17, KVM_INTERNAL_ERROR_EMULATION 1.
import { describe, expect, test } from 'vitest';
import { PFERR_FETCH_MASK, PFERR_PRESENT_MASK } from '../../assembly/abi.ts';
import type { OurStep } from '../../src/conform/kvm/our-step.ts';
import { RecordedMachine } from '../../src/conform/kvm/recorded-machine.ts';
import { parseScript } from '../../src/conform/kvm/script.ts';

const OUTSIDE = 'gpa=0x30000000';

/** The steps of a script on the emulator, without warm-up and teardown. */
function stepsOf(npt: boolean, ...lines: string[]): OurStep[] {
  const machine = new RecordedMachine(parseScript(['pages 4', ...lines], 'x'), { npt });
  const steps: OurStep[] = [];
  for (let step = machine.next(); step !== null; step = machine.next()) steps.push(step);
  return steps.slice(1, -1);
}

describe.each([
  ['shadow paging', false],
  ['two-dimensional paging', true],
])('%s', (_, npt) => {
  test('at CPL 0 the VMM is told of an internal error, and the emulation that failed is counted', () => {
    const [step] = stepsOf(npt, `pte A 1 pwu ${OUTSIDE}`, 'g exec 1');
    expect(step?.result).toEqual([{ exit: '17', suberr: '1' }]);
    expect(step?.events.filter(({ t }) => t === 'emulate_insn')).toEqual([
      { t: 'emulate_insn' },
      { t: 'emulate_insn', fail: true },
    ]);
    expect(step?.counters).toMatchObject({ insn_emulation_fail: 1 });
  });

  test('at CPL 3 the guest gets a #UD, on the stack of the TSS and without an error code', () => {
    const [step, next] = stepsOf(npt, `pte A 1 pwu ${OUTSIDE}`, 'g uexec 1', 'g read 0');
    // The driver's TSS names 0x4ff0, its handler leaves by this port, and a frame has five words.
    expect(step?.result).toEqual([{ exception: true, port: '0xf2', rsp: '0x4fc8' }]);
    expect(step?.events.slice(-3)).toMatchObject([
      { t: 'emulate_insn', fail: true },
      { t: 'inject', what: '#UD' },
      { t: 'vmexit', reason: 'io' },
    ]);
    expect(step?.counters).not.toHaveProperty('pf_guest');
    expect(next?.result).toMatchObject([{ ok: true }]);
  });

  test('the fault of a page that may not be executed comes first', () => {
    const [step] = stepsOf(npt, `pte A 1 pwun ${OUTSIDE}`, 'g exec 1');
    expect(step?.result).toMatchObject([
      { guest_fault: '1', code: PFERR_PRESENT_MASK | PFERR_FETCH_MASK },
    ]);
    expect(step?.events.some(({ t }) => t === 'emulate_insn')).toBe(false);
  });
});

describe('an exchange that KVM takes for one outside all slots, though the slot is back', () => {
  // The mmio spte is made valid again as its table is synced (sync_mmio_spte()).
  const BACK = [
    'h slot_delete',
    'g read 2',
    'g setpte A 3 pwu 3',
    'h slot_add',
    'g cr3 B',
    'g cr3 A',
  ];

  test('runs again as long as memory does not hold what the VMM answers, then with the registers of the next operation', () => {
    const steps = stepsOf(false, 'g write 2', ...BACK, 'g lock 2', 'g write 2');
    for (const step of steps.slice(-2)) {
      expect(step.result.length).toBe(9);
      expect(step.result.at(-1)).toEqual({ 'too-many-exits': true });
    }
  });

  test('is done where memory holds it', () => {
    const step = stepsOf(false, 'g write 2 0x5a', ...BACK, 'g lock 2').at(-1);
    expect(step?.result).toMatchObject([{ mmio: true, write: '0' }, { ok: true }]);
  });

  test('fails where the host gives no page', () => {
    const step = stepsOf(false, 'g write 2', ...BACK, 'h munmap 2 1', 'g lock 2').at(-1);
    expect(step?.result).toMatchObject([
      { mmio: true, write: '0' },
      { exit: '17', suberr: '1' },
    ]);
  });
});
