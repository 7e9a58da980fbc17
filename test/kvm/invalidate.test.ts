// Which invalidations make a fault under way stale (virt/kvm/kvm_main.c, __kvm_handle_hva_range()).
import { expect, test } from 'vitest';
import { KVM_INVALIDATE_IN_PROGRESS, KVM_INVALIDATE_SEQ } from '../../assembly/abi.ts';
import { HVN, SmallVm } from './machine.ts';

/** How far the sequence went while a page of the VMM's mm was unmapped. */
function bumpedBy(generation: string, hvn: number): number {
  const vm = new SmallVm(generation, 'clear_flush_young');
  const { kvm, mm, core } = vm;
  const seq = (): number => core.mem.load32(kvm.ptr + KVM_INVALIDATE_SEQ);
  mm.mmap({ hvn: HVN + 0x10000, npages: 4 });
  mm.touch(hvn, true);
  const before = seq();
  mm.munmap(hvn, 1);
  expect(core.mem.load32(kvm.ptr + KVM_INVALIDATE_IN_PROGRESS)).toBe(0);
  return seq() - before;
}

test('6.1: a range outside all memslots makes no fault stale', () => {
  expect(bumpedBy('6.1', HVN + 0x10001)).toBe(0);
  expect(bumpedBy('6.1', HVN + 300)).toBeGreaterThan(0);
});

test('until 5.12 every range does', () => {
  expect(bumpedBy('2008', HVN + 0x10001)).toBeGreaterThan(0);
});
