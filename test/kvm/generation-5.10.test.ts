// KVM's MMU of 5.10 where 6.1 has another rule: each test runs on both and names 5.10's function.
import { describe, expect, test } from 'vitest';
import {
  ACCESS_READ,
  ACCESS_WRITE,
  EVENT_FLUSH_REMOTE_TLBS,
  KVM_MEM_LOG_DIRTY_PAGES,
} from '../../assembly/abi.ts';
import { D, DATA, HVN, P, PD, PML4, PT, SmallVm, U, W, A } from './machine.ts';

const OTHER_PT = 4;
const PAGES = 512;

function made(generation: string): SmallVm {
  return new SmallVm(generation, 'clear_flush_young');
}

/** Page 1 maps the table of another 2 MiB, which is shadowed; a fault at page 0 maps it ahead. */
function mappedAhead(generation: string): SmallVm {
  const vm = made(generation);
  vm.vcpu.writeGuestPte(PD, 1, (OTHER_PT << 12) | P | W | U, 0);
  vm.vcpu.writeGuestPte(OTHER_PT, 0, (DATA << 12) | P | W | U, 0);
  vm.access(512, ACCESS_READ);
  vm.mm.access(HVN + DATA + 5, true);
  vm.mm.access(HVN + OTHER_PT, true);
  vm.map(0, DATA + 5, P | W | U | A | D);
  vm.map(1, OTHER_PT, P | W | U | A | D);
  vm.access(0, ACCESS_READ);
  return vm;
}

// 5.10 mmu_need_write_protect(): "can_unsync" is all that is asked; 6.1's asks whether it is a prefetch, too.
describe('a table that is mapped ahead of an access', () => {
  test.each([
    ['5.10', 1, W],
    ['6.1', 0, 0],
  ])('%s', (generation, unsync, writable) => {
    const vm = mappedAhead(generation);
    expect(vm.spte(1) & P).toBe(P);
    expect(vm.spte(1) & W).toBe(writable);
    expect(vm.stats.get('shadow_pages_unsync')).toBe(unsync);
    expect(vm.audit()).toEqual([]);
  });
});

// 5.10 kvm_mmu_slot_remove_write_access(): "if (flush)"; since 6.0 the flush is kvm_mmu_slot_apply_flags()'s.
describe('a slot without writable sptes that is logged from now on', () => {
  test.each([
    ['5.10', 0],
    ['6.1', 1],
  ])('%s', (generation, flushes) => {
    const vm = made(generation);
    vm.map(5, DATA + 5);
    vm.access(5, ACCESS_READ);
    const log = (flags: number) => () =>
      vm.kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: PAGES, hvn: HVN, flags });
    log(KVM_MEM_LOG_DIRTY_PAGES)();
    log(0)();
    let seen = 0;
    vm.core.trace((id) => {
      if (id === EVENT_FLUSH_REMOTE_TLBS) seen++;
    });
    log(KVM_MEM_LOG_DIRTY_PAGES)();
    vm.core.trace(null);
    expect(seen).toBe(flushes);
  });
});

// 5.10 nonpaging_page_fault() and its kin hold mmu_lock alone, and mmu_notifier_retry() knows no range.
test('a generation says whether faults are stale by range, and whether roots are kept', () => {
  const [old, later] = [made('5.10').kvm.generation, made('6.1').kvm.generation];
  expect([old.rangedFaults, old.parallelFaults, old.keepsRoots]).toEqual([false, false, false]);
  expect([later.rangedFaults, later.parallelFaults, later.keepsRoots]).toEqual([true, true, true]);
});

// 5.10 __kvm_sync_page(), mmu_sync_children(): the vCPU that synced flushes itself.
describe('an entry that went while its table was unsync', () => {
  test.each(['5.10', '6.1'])('is gone after a load of CR3, %s', (generation) => {
    const vm = made(generation);
    vm.map(5, DATA + 5);
    vm.access(5, ACCESS_WRITE);
    vm.map(6, DATA + 6);
    vm.access(6, ACCESS_READ);
    vm.vcpu.writeGuestPte(PT, 5, 0, 0);
    vm.vcpu.setCr3(PML4);
    expect(vm.access(5, ACCESS_READ).kind).toBe('guest_page_fault');
    expect(vm.audit()).toEqual([]);
  });
});
