// The `2008` preset, rule by rule. Each test names where the rule stands: Linux 2.6.24's
// drivers/kvm/mmu.c (and 2.6.25's arch/x86/kvm/mmu.c), or a mail of the thread by its Message-ID.
import { expect, test } from 'vitest';
import { ACCESS_READ, ACCESS_WRITE, HPTE_DIRTY, HPTE_YOUNG } from '../../assembly/abi.ts';
import type { AgingName } from '../../src/mm/aging.ts';
import { DATA, HVN, P, PT, SmallVm, U, W, A } from './machine.ts';

function touched(aging: AgingName = 'v3', kind = ACCESS_WRITE): SmallVm {
  const vm = new SmallVm('2008', aging);
  vm.map(5, DATA + 5);
  vm.access(5, kind);
  return vm;
}

// 2.6.24 kvm_mmu_pte_write: tables are write-protected while shadowed, each write exits.
test('every write to a shadowed table is emulated', () => {
  const vm = touched();
  for (const vpn of [6, 7]) {
    expect(vm.counted('guest_pte_writes', () => vm.map(vpn, DATA + vpn))).toBe(1);
  }
  expect(vm.stats.get('shadow_pages_unsync')).toBe(0);
  expect(vm.audit()).toEqual([]);
});

// 2.6.24 kvm_mmu_pte_write: last_pt_write_count >= 3 on one gfn, "or we may be forking".
test('the third write in a row to one table zaps its shadow page', () => {
  const vm = touched();
  const write = (vpn: number) => () => vm.map(vpn, DATA + vpn);
  expect(vm.counted('shadow_pages_flooded', write(6))).toBe(0);
  expect(vm.counted('shadow_pages_flooded', write(7))).toBe(0);
  expect(vm.counted('shadow_pages_flooded', write(8))).toBe(1);
  expect(vm.counted('guest_pte_writes', write(9))).toBe(0);
  expect(vm.audit()).toEqual([]);
});

// 2.6.24 FNAME(page_fault): last_pt_write_count = 0, "reset fork detector".
test('a shadow fault between the writes starts the count over', () => {
  const vm = touched();
  vm.map(6, DATA + 6);
  vm.map(7, DATA + 7);
  vm.access(6, ACCESS_WRITE);
  expect(vm.counted('shadow_pages_flooded', () => vm.map(8, DATA + 8))).toBe(0);
});

// 2.6.24 FNAME(update_pte): a new entry that is present and accessed is mapped at once.
test('an emulated write of an accessed entry maps it, one that is not accessed waits', () => {
  const vm = touched();
  vm.map(6, DATA + 6);
  vm.access(6, ACCESS_WRITE);
  vm.map(7, DATA + 6, P | W | U | A);
  expect(vm.counted('shadow_page_faults', () => vm.access(7, ACCESS_READ))).toBe(0);
  vm.map(8, DATA + 6, P | W | U);
  expect(vm.counted('shadow_page_faults', () => vm.access(8, ACCESS_READ))).toBe(1);
});

// 478E4356.7030303@qumranet.com: a shadow mapping holds a reference on its page.
test('a spte holds a reference on its page, and gives it back when it is dropped', () => {
  const vm = touched();
  const mapped = vm.refcount(DATA + 5);
  vm.core.x.unmapHvaRange(vm.mm.id, HVN + DATA + 5, HVN + DATA + 6);
  expect(mapped - vm.refcount(DATA + 5)).toBe(1);
});

// gfn_to_page until 2.6.36: get_user_pages(…, write = 1, force = 1, …).
test('a guest read makes the host page dirty, since the lookup always asks for write', () => {
  const vm = touched('v3', ACCESS_READ);
  expect(vm.hpte(DATA + 5) & HPTE_DIRTY).not.toBe(0);
});

// 2.6.24 emulate_invlpg does nothing: shadow tables are never out of sync.
test('INVLPG drops nothing from the shadow tables', () => {
  const vm = touched();
  expect(vm.counted('sptes_dropped', () => vm.vcpu.invlpg(5))).toBe(0);
  expect(vm.counted('shadow_page_faults', () => vm.access(5, ACCESS_WRITE))).toBe(0);
});

// 2.6.24 mmu_new_cr3: the root goes with each CR3 load; its tables stay in the hash.
test('a CR3 load frees the root, and the tables are found again', () => {
  const vm = touched();
  vm.vcpu.setCr3(PT + 100);
  vm.vcpu.setCr3(0);
  expect(vm.counted('shadow_pages_created', () => vm.access(5, ACCESS_WRITE))).toBe(0);
  expect(vm.stats.get('shadow_page_faults')).toBe(1);
});

// 20080121125204.GJ6970@v2.random: ptep_clear_flush_young calls age_page only if the pte was young.
test('v3: ageing a young page drops the spte, and the minor fault makes the pte young again', () => {
  const vm = touched('v3');
  expect(vm.hpte(DATA + 5) & HPTE_YOUNG).not.toBe(0);
  expect(vm.core.x.hpteTestAndClearYoung(vm.mm.id, HVN + DATA + 5)).toBe(1);
  expect(vm.core.x.ageHvaRange(vm.mm.id, HVN + DATA + 5, HVN + DATA + 6, vm.kvm.ageAction)).toBe(1);
  vm.core.x.flushTlbs();
  expect(vm.hpte(DATA + 5) & HPTE_YOUNG).toBe(0);
  expect(vm.counted('shadow_page_faults', () => vm.access(5, ACCESS_READ))).toBe(1);
  expect(vm.hpte(DATA + 5) & HPTE_YOUNG).not.toBe(0);
});

// 20080216104827.GI11732@v2.random (v7): the accessed bit of every spte of the rmap is cleared.
test('v7 and 2.6.27: ageing clears the accessed bit in place, the next access is no exit', () => {
  const vm = touched('clear_flush_young');
  const age = () =>
    vm.core.x.ageHvaRange(vm.mm.id, HVN + DATA + 5, HVN + DATA + 6, vm.kvm.ageAction);
  expect(age()).toBe(1);
  vm.core.x.flushTlbs();
  expect(age()).toBe(0);
  expect(vm.counted('shadow_page_faults', () => vm.access(5, ACCESS_READ))).toBe(0);
  expect(age()).toBe(1);
});

// 478E4356.7030303@qumranet.com: without notifiers a page under a spte is never freed. Linux may
// still take it out of the host's page table into the swap cache (shrink_page_list of 2.6.24 unmaps
// before it looks at the count), so only the frame stays.
test('pinned: reclaim never frees a page that a spte maps', () => {
  const vm = new SmallVm('2008', 'pinned', 64, 512);
  for (let i = 0; i < 16; i++) {
    vm.map(i, DATA + i);
    vm.access(i, ACCESS_WRITE);
  }
  // Only the four guest tables can go: KVM looks at them, but no spte maps them.
  expect(vm.counted('evictions', () => vm.host.reclaim(64))).toBe(4);
  expect(vm.host.charged()).toBe(16);
  expect(vm.counted('shadow_page_faults', () => vm.access(3, ACCESS_READ))).toBe(0);
});
