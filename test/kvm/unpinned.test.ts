// v3 frees the pages of a range before its notifier hears of it, which the references of the sptes make safe. Without
// them an spte is dropped when its page is free already.
import { expect, test } from 'vitest';
import { ACCESS_WRITE, PG_DIRTY, PG_REFERENCED } from '../../assembly/abi.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { DATA, HVN, SmallVm } from './machine.ts';

const { v3 } = AGING_PRESETS;

test('the page that takes the frame of a freed one is neither dirty nor referenced', () => {
  // Faults that run() served found the marks gone, and those that the protocols served found them: the frame's next
  // page was activated early and written back for nothing.
  const vm = new SmallVm('6.12', { ...v3, kvm: { ...v3.kvm, pinsPages: false } });
  const { x } = vm.core;
  vm.map(5, DATA);
  expect(vm.access(5, ACCESS_WRITE).kind).toBe('done');
  const frame = vm.pfn(DATA);
  vm.mm.munmap(HVN + DATA, 1);
  expect(vm.spte(5)).toBe(0);
  expect(x.pageFlags(frame) & (PG_DIRTY | PG_REFERENCED)).not.toBe(0);
  expect(x.frameAlloc() >>> 0).toBe(frame);
  expect(x.pageFlags(frame)).toBe(0);
});
