// Shadow tables against guest tables that changed: what a load of CR3 brings up to date in an unsync table
// (kvm_sync_page(), sync_page() of 6.1's paging_tmpl.h), what an emulated write takes away, and
// that a guest table is write-protected when it comes to be shadowed (rmap_write_protect()). Each of these is
// silent: without it the guest goes on with a translation that it has taken back.
import { describe, expect, test } from 'vitest';
import {
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  PG_DIRTY,
} from '../../assembly/abi.ts';
import { A, D, DATA, P, PD, PML4, PT, SmallVm, U, W } from './machine.ts';

/** Page 5 was written through its spte; page 6 was mapped then, so that 6.1 let the table go unsync. */
function changed(generation: string): SmallVm {
  const vm = new SmallVm(generation, 'clear_flush_young');
  vm.map(5, DATA + 5);
  expect(vm.access(5, ACCESS_WRITE).kind).toBe('done');
  vm.map(6, DATA + 6);
  // A fault between the writes, or 2008 would take the third one for a flood and give the shadow up.
  expect(vm.access(6, ACCESS_READ).kind).toBe('done');
  expect(vm.stats.get('shadow_pages_unsync')).toBe(generation === '6.1' ? 1 : 0);
  return vm;
}

describe.each(['6.1', '2008'])('after a load of CR3, %s', (generation) => {
  test('a page that moved is reached at its new place', () => {
    const vm = changed(generation);
    vm.map(5, DATA + 9, P | W | U | A | D);
    vm.vcpu.setCr3(PML4);
    expect(vm.hpte(DATA + 9)).toBe(0);
    expect(vm.access(5, ACCESS_READ).kind).toBe('done');
    expect(vm.hpte(DATA + 9) & HPTE_PRESENT).not.toBe(0);
    expect(vm.audit()).toEqual([]);
  });

  test('an entry that went is a guest #PF', () => {
    const vm = changed(generation);
    vm.vcpu.writeGuestPte(PT, 5, 0, 0);
    vm.vcpu.setCr3(PML4);
    expect(vm.access(5, ACCESS_READ).kind).toBe('guest_page_fault');
    expect(vm.audit()).toEqual([]);
  });

  test('a right that was taken back is not there', () => {
    const vm = changed(generation);
    vm.map(5, DATA + 5, P | U | A | D);
    vm.vcpu.setCr3(PML4);
    expect(vm.access(5, ACCESS_READ).kind).toBe('done');
    expect(vm.access(5, ACCESS_WRITE).kind).toBe('guest_page_fault');
    expect(vm.audit()).toEqual([]);
  });

  test('the write that a spte remembers goes to the page when the spte loses its D bit', () => {
    const vm = changed(generation);
    const { x } = vm.core;
    const pfn = vm.hpte(DATA + 5) >>> HPTE_PFN_SHIFT;
    x.lruSetFlags(pfn, 0, PG_DIRTY);
    // The guest kernel clears its own D bit: the next write has to be seen.
    vm.map(5, DATA + 5, P | W | U | A);
    vm.vcpu.setCr3(PML4);
    // Tables are synced when the vCPU enters.
    vm.access(6, ACCESS_READ);
    expect(x.pageFlags(pfn) & PG_DIRTY).not.toBe(0);
    expect(vm.access(5, ACCESS_WRITE).kind).toBe('done');
    expect(vm.vcpu.readGuestPteLo(PT, 5) & D).not.toBe(0);
    expect(vm.audit()).toEqual([]);
  });
});

test.each(['6.1', '2008'])('a page that becomes a guest table loses its writable spte, %s', (g) => {
  const TABLE = DATA + 20;
  const vm = new SmallVm(g, 'clear_flush_young');
  vm.map(7, TABLE);
  expect(vm.access(7, ACCESS_WRITE).kind).toBe('done');
  vm.vcpu.writeGuestPte(TABLE, 0, (DATA + 21) * 4096 + (P | W | U), 0);
  vm.vcpu.writeGuestPte(PD, 1, TABLE * 4096 + (P | W | U), 0);
  expect(vm.access(512, ACCESS_READ).kind).toBe('done');
  // The guest's kernel writes its table through page 7: KVM is told once (6.1) or emulates it (2008).
  const seen = g === '6.1' ? 'shadow_pages_unsync' : 'guest_pte_writes';
  const kernelWrite = ACCESS_WRITE | ACCESS_SUPERVISOR;
  expect(vm.counted(seen, () => void vm.access(7, kernelWrite))).toBe(1);
  expect(vm.audit()).toEqual([]);
});
