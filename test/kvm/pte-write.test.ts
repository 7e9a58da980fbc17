// What a guest's write to a shadowed table is taken for: of an entry, or of anything else, so that the page is no table any
// more. detect_write_misaligned() of Linux 6.1's mmu.c; kvm_mmu_pte_write() of 2.6.24 has no exception for single bytes.
import { expect, test } from 'vitest';
import { ACCESS_WRITE } from '../../assembly/abi.ts';
import { DATA, PD, SmallVm } from './machine.ts';

test.each([
  ['an entry', 0, 8, 0, 0],
  ['its first byte, as clear_bit() writes it', 8, 1, 0, 1],
  ['another byte', 1, 1, 1, 1],
  ['two bytes', 0, 2, 1, 1],
  ['half an entry', 4, 4, 0, 0],
  ['four bytes of two entries', 6, 4, 0, 1],
  ['eight bytes of two entries', 4, 8, 1, 1],
])('%s', (_, offset, bytes, now, in2008) => {
  const zapped = (generation: '6.1' | '2008'): number => {
    const vm = new SmallVm(generation, 'v3');
    vm.map(5, DATA + 5);
    vm.access(5, ACCESS_WRITE);
    const write = () => vm.core.x.mmuPteWrite(vm.vcpu.ptr, PD, offset, bytes);
    return vm.counted('shadow_pages_flooded', write);
  };
  expect([zapped('6.1'), zapped('2008')]).toEqual([now, in2008]);
});

test('a byte drops the spte of its entry, and counts towards the limit', () => {
  const vm = new SmallVm('6.1', 'v3');
  vm.map(5, DATA + 5);
  vm.access(5, ACCESS_WRITE);
  const write = () => vm.core.x.mmuPteWrite(vm.vcpu.ptr, PD, 0, 1);
  const flooded = [1, 2, 3].map(() => vm.counted('shadow_pages_flooded', write));
  expect(flooded).toEqual([0, 0, 1]);
  expect(vm.stats.get('pdes_zapped')).toBe(0);
  expect(vm.audit()).toEqual([]);
});
