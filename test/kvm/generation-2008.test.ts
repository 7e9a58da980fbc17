// The `2008` preset, rule by rule. Each test names where the rule stands: Linux 2.6.24's
// drivers/kvm/mmu.c (and 2.6.25's arch/x86/kvm/mmu.c), or a mail of the thread by its Message-ID.
import { expect, test } from 'vitest';
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  CR0_WP,
  CR4_PAE,
  CR4_PKE,
  CR4_SMAP,
  CR4_SMEP,
  HPTE_DIRTY,
  HPTE_YOUNG,
  PFERR_RSVD_MASK,
  PT64_PKEY_BIT,
} from '../../assembly/abi.ts';
import type { AgingName } from '../../src/mm/aging.ts';
import { DATA, HVN, P, PD, PDPT, PML4, PT, SmallVm, U, W, A, D } from './machine.ts';

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

// 2.6.24 walk_addr checks U, W and NX at each level. SMEP, SMAP and keys came later and are about the page.
test.each([
  ['SMEP', CR4_SMEP, ACCESS_FETCH],
  ['SMAP', CR4_SMAP, ACCESS_READ],
])('%s: a kernel page below entries that allow users is the kernel’s', (_name, bit, kind) => {
  const vm = touched();
  vm.vcpu.setRegisters({ cr4: CR4_PAE | bit });
  vm.map(5, DATA + 5, P | W);
  vm.map(6, DATA + 6, P | W | U);
  expect(vm.access(5, kind | ACCESS_SUPERVISOR).kind).toBe('done');
  expect(vm.access(6, kind | ACCESS_SUPERVISOR).kind).toBe('guest_page_fault');
});

test('protection keys: only the key of the page counts', () => {
  const vm = touched();
  vm.vcpu.setRegisters({ cr4: CR4_PAE | CR4_PKE, pkru: 0b11 });
  vm.vcpu.writeGuestPte(PT, 5, ((DATA + 5) << 12) | P | W | U, 1 << (PT64_PKEY_BIT - 32));
  vm.map(6, DATA + 6, P | W | U);
  expect(vm.access(5, ACCESS_READ).kind).toBe('done');
  expect(vm.access(6, ACCESS_READ).kind).toBe('guest_page_fault');
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

/** Bit 51 of an entry, beyond what the processor has, in the high word. */
const RESERVED_HIGH = 1 << 19;
/** A second leaf table, at entry 1 of the directory, and the first page that it maps. */
const PT2 = 8;
const SECOND = 512;
/** Leaf tables of many, from this gfn on. */
const FIRST_TABLE = 100;

/** A VM of a generation with the aging protocol of its time. */
function madeAs(generation: string): SmallVm {
  return new SmallVm(generation, generation === '2008' ? 'v3' : 'clear_flush_young');
}

function upper(vm: SmallVm): number[] {
  return [vm.gpte(PML4, 0), vm.gpte(PDPT, 0), vm.gpte(PD, 0)];
}

/** W and U of the spte of a read-only user page that a supervisor wrote under CR0.WP=0. */
function rightsUnderWp0(generation: string): number {
  const vm = madeAs(generation);
  vm.map(5, DATA + 5, P | U);
  vm.vcpu.setRegisters({ cr0: vm.vcpu.cr0 & ~CR0_WP });
  expect(vm.access(5, ACCESS_WRITE | ACCESS_SUPERVISOR).kind).toBe('done');
  expect(vm.gpte(PT, 5) & D).toBe(D);
  return vm.spte(5) & (W | U);
}

/** Shadow faults of a write to a mapped page after its memslot was set to what it is. */
function faultsAfterSlotChange(generation: string): number {
  const vm = madeAs(generation);
  vm.map(5, DATA + 5);
  vm.access(5, ACCESS_WRITE);
  vm.kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: 512, hvn: HVN });
  expect(vm.audit()).toEqual([]);
  return vm.counted('shadow_page_faults', () => vm.access(5, ACCESS_WRITE));
}

/** A read through a guest pte with a reserved bit. */
function reservedAccess(generation: string) {
  const vm = madeAs(generation);
  vm.vcpu.writeGuestPte(PT, 5, ((DATA + 5) << 12) | P | W | U, RESERVED_HIGH);
  return vm.access(5, ACCESS_READ);
}

function withSecondTable(generation = '2008'): SmallVm {
  const vm = madeAs(generation);
  vm.vcpu.writeGuestPte(PD, 1, (PT2 << 12) | P | W | U, 0);
  vm.vcpu.writeGuestPte(PT2, 0, (DATA << 12) | P | W | U, 0);
  vm.access(SECOND, ACCESS_WRITE);
  vm.map(5, PT2);
  return vm;
}

// 2.6.24 FNAME(walk_addr): "*ptep |= PT_ACCESSED_MASK" in the loop, after the entry's own rights.
test('a walk that faults has set A in the entries that it passed', () => {
  const old = new SmallVm('2008', 'v3');
  old.map(5, DATA + 5, P | U);
  expect(upper(old).map((gpte) => gpte & A)).toEqual([0, 0, 0]);
  expect(old.access(5, ACCESS_WRITE).kind).toBe('guest_page_fault');
  expect(upper(old).map((gpte) => gpte & A)).toEqual([A, A, A]);
  expect(old.gpte(PT, 5) & A).toBe(0);

  const later = new SmallVm('6.1', 'clear_flush_young');
  expect(later.access(5, ACCESS_WRITE).kind).toBe('guest_page_fault');
  expect(upper(later).map((gpte) => gpte & A)).toEqual([0, 0, 0]);
});

// 2.6.24 FNAME(set_pte_common): "if (user_fault) { mmu_unshadow(vcpu, gfn); goto unshadowed; }".
test('a write at CPL 3 to a shadowed page ends the shadow, one at CPL 0 is emulated', () => {
  const user = withSecondTable();
  expect(user.core.x.gfnShadowed(PT2)).not.toBe(0);
  expect(user.access(5, ACCESS_WRITE).kind).toBe('done');
  expect(user.core.x.gfnShadowed(PT2)).toBe(0);
  expect(user.spte(5) & W).toBe(W);
  expect(user.audit()).toEqual([]);

  const kernel = withSecondTable();
  expect(kernel.access(5, ACCESS_WRITE | ACCESS_SUPERVISOR).kind).toBe('done');
  expect(kernel.core.x.gfnShadowed(PT2)).not.toBe(0);
  expect(kernel.spte(5) & W).toBe(0);
});

// 2.6.24 FNAME(page_fault): the count of writes goes on only over writes to a shadowed table.
test('faults that are themselves writes to one table count towards the third', () => {
  const vm = withSecondTable();
  const write = (): unknown => vm.access(5, ACCESS_WRITE | ACCESS_SUPERVISOR);
  expect(vm.counted('shadow_pages_flooded', write)).toBe(0);
  expect(vm.counted('shadow_pages_flooded', write)).toBe(0);
  expect(vm.counted('shadow_pages_flooded', write)).toBe(1);
});

// 2.6.24 FNAME(page_fault): inject_page_fault(), then last_pt_write_count = 0.
test('an injected #PF between the writes starts the count over', () => {
  const vm = touched();
  vm.map(6, DATA + 6);
  vm.map(7, DATA + 7);
  expect(vm.access(9, ACCESS_READ).kind).toBe('guest_page_fault');
  expect(vm.counted('shadow_pages_flooded', () => vm.map(8, DATA + 8))).toBe(0);
});

// 2.6.24 FNAME(set_pte_common): PT_WRITABLE for "write_fault && !is_write_protection(vcpu) && !user_fault";
// PT_USER comes from the guest's rights.
test('a supervisor write under CR0.WP=0 maps a read-only page writable and leaves it the user’s', () => {
  expect(rightsUnderWp0('2008')).toBe(W | U);
  expect(rightsUnderWp0('6.1')).toBe(W);
});

// 2.6.24 __kvm_mmu_free_some_pages: while fewer than KVM_REFILL_PAGES are free, the page at the end of
// active_mmu_pages goes, to whose head new ones are added.
test('when shadow pages run out, the oldest are taken first', () => {
  const vm = new SmallVm('2008', 'v3', 1024, 512, 40);
  for (let i = 1; i <= 60; i++) {
    vm.vcpu.writeGuestPte(PD, i, ((FIRST_TABLE + i) << 12) | P | W | U, 0);
    vm.vcpu.writeGuestPte(FIRST_TABLE + i, 0, (DATA << 12) | P | W | U, 0);
    expect(vm.access(i * 512, ACCESS_READ).kind).toBe('done');
  }
  expect(vm.stats.get('shadow_pages_recycled')).toBeGreaterThan(0);
  const shadowed = Array.from(
    { length: 60 },
    (_, i) => vm.core.x.gfnShadowed(FIRST_TABLE + i + 1) !== 0,
  );
  const oldest = shadowed.indexOf(true);
  expect(oldest).toBeGreaterThan(0);
  expect(shadowed.slice(oldest).every((is) => is)).toBe(true);
  expect(vm.audit()).toEqual([]);
});

// 2.6.24 kvm_vm_ioctl_set_memory_region: kvm_mmu_slot_remove_write_access(kvm, mem->slot) at its end.
test('any change of a memslot takes write access from its sptes', () => {
  expect(faultsAfterSlotChange('2008')).toBe(1);
  expect(faultsAfterSlotChange('6.1')).toBe(0);
});

// 2.6.24 FNAME(walk_addr) knows no reserved bits; is_rsvd_bits_set() came with 2.6.30 (commit 82725b20e22f).
test('reserved bits of a guest pte are part of the address, not a fault', () => {
  expect(reservedAccess('2008').kind).toBe('mmio');
  const later = reservedAccess('6.1');
  expect(later.kind).toBe('guest_page_fault');
  expect(later.code & PFERR_RSVD_MASK).not.toBe(0);
});
