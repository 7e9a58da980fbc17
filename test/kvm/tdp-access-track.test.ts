// Two-dimensional paging without A and D bits (EPT before Haswell, kvm_intel's eptad=0): sptes are
// access-tracked. Each test names the function of Linux 6.1 (arch/x86/kvm/mmu) that has the rule.
import { expect, test } from 'vitest';
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  FRAME_FLAGS,
  HPTE_PFN_SHIFT,
  KVM_MEM_LOG_DIRTY_PAGES,
  PG_DIRTY,
} from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { Kvm } from '../../src/kvm/kvm.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { Host } from '../../src/mm/host.ts';
import { MN_CLEAR_FLUSH_YOUNG, MN_TEST_YOUNG } from '../../src/mm/notifier-ops.ts';
import { Stats } from '../../src/stats/stats.ts';

const PAGES = 64;
const HVN = 0x1000;
/** Present, writable, the user's, accessed and dirty. */
const GUEST_PTE = 0x67;
/** Bits of an spte's low word. */
const P = 1;
const W = 2;
const A = 0x20;
const D = 0x40;

/** Pages 0 to 3 are the guest's tables, which map every page to itself. */
class TrackedVm {
  readonly core = loadCore('debug');
  readonly stats = new Stats(this.core);
  readonly aging = AGING_PRESETS['clear_flush_young'];
  readonly host = new Host(this.core, {
    frames: 256,
    aging: this.aging,
    generation: MM_GENERATIONS['6.1'],
  });
  readonly mm = this.host.createMm();
  readonly kvm: Kvm;
  readonly #record: number;

  constructor(adBits = false) {
    this.mm.mmap({ hvn: HVN, npages: PAGES });
    const { core, mm, aging } = this;
    this.kvm = new Kvm({ core, mm, aging, tdp: true, adBits, quickFaults: false });
    this.slot(0);
    this.#record = core.x.arenaAlloc(8) >>> 0;
    const vcpu = this.kvm.vcpus[0];
    vcpu?.setRegisters({ cr0: 0x80050033, cr4: 0x20, efer: 0xd00 });
    for (let table = 0; table < 3; table++) {
      vcpu?.writeGuestPte(table, 0, ((table + 1) << 12) | GUEST_PTE, 0);
    }
    for (let page = 0; page < PAGES; page++)
      vcpu?.writeGuestPte(3, page, (page << 12) | GUEST_PTE, 0);
    vcpu?.setGuestCr3(0);
    // The tables are mapped from now on.
    this.access(4, ACCESS_READ);
  }

  slot(flags: number): void {
    this.kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: PAGES, hvn: HVN, flags });
  }

  access(gfn: number, kind: number): void {
    this.core.mem.store32(this.#record, (gfn << 12) | kind);
    this.core.mem.store32(this.#record + 4, 0);
    expect(this.kvm.vcpus[0]?.run(this.#record, 1).kind).toBe('done');
  }

  /** Low word of the leaf that maps a gfn. */
  spte(gfn: number): number {
    return this.core.mem.load32(this.kvm.vcpus[0]?.roots.leafAt(gfn) ?? 0);
  }

  young(op: typeof MN_TEST_YOUNG | typeof MN_CLEAR_FLUSH_YOUNG, gfn: number): number {
    return this.mm.notify(op, HVN + gfn, HVN + gfn + 1);
  }

  /** Address of the flags of the frame behind a gfn. */
  #flags(gfn: number): number {
    const { x } = this.core;
    const pfn = (x.hpteGet(this.mm.id, HVN + gfn) >>> 0) >>> HPTE_PFN_SHIFT;
    return (x.framePtr(pfn) >>> 0) + FRAME_FLAGS;
  }

  pageDirty(gfn: number): boolean {
    return (this.core.mem.load32(this.#flags(gfn)) & PG_DIRTY) !== 0;
  }

  clean(gfn: number): void {
    const at = this.#flags(gfn);
    this.core.mem.store32(at, this.core.mem.load32(at) & ~PG_DIRTY);
  }

  /** Changes of the counters of faults over an action: [all, fast]. */
  faults(action: () => void): [number, number] {
    const all = this.stats.get('shadow_page_faults');
    const fast = this.stats.get('fast_page_faults');
    action();
    return [this.stats.get('shadow_page_faults') - all, this.stats.get('fast_page_faults') - fast];
  }
}

// spte.c make_spte(): no shadow_accessed_mask and no shadow_dirty_mask in a root with ad_disabled.
test('sptes are made without A and D, and the processor sets neither', () => {
  const vm = new TrackedVm();
  vm.access(5, ACCESS_WRITE);
  expect(vm.spte(5) & (P | W | A | D)).toBe(P | W);
  const with_ = new TrackedVm(true);
  with_.access(5, ACCESS_WRITE);
  expect(with_.spte(5) & (P | W | A | D)).toBe(P | W | A | D);
});

// spte.c mark_spte_for_access_track(): RWX go, R and X are saved; tdp_mmu.c age_gfn_range().
test('ageing makes the spte non-present; it is young once, then old', () => {
  const vm = new TrackedVm();
  vm.access(5, ACCESS_READ);
  expect(vm.young(MN_TEST_YOUNG, 5)).toBe(1);
  expect(vm.young(MN_CLEAR_FLUSH_YOUNG, 5)).toBe(1);
  expect(vm.spte(5) & (P | W)).toBe(0);
  expect(vm.young(MN_TEST_YOUNG, 5)).toBe(0);
  expect(vm.young(MN_CLEAR_FLUSH_YOUNG, 5)).toBe(0);
});

// mmu.c page_fault_can_be_fast(): a fault on a non-present spte can be fast without A/D bits;
// fast_page_fault(): restore_acc_track_spte() under no lock, without a lookup in the host.
test.each([
  ['read', ACCESS_READ],
  ['fetch', ACCESS_FETCH],
])('the next %s is a fast fault, without a lookup in the host', (_, kind) => {
  const vm = new TrackedVm();
  vm.access(5, ACCESS_WRITE);
  vm.young(MN_CLEAR_FLUSH_YOUNG, 5);
  const minor = vm.stats.get('minor_faults');
  expect(vm.faults(() => vm.access(5, kind))).toEqual([1, 1]);
  expect(vm.stats.get('minor_faults')).toBe(minor);
  expect(vm.spte(5) & P).toBe(P);
  expect(vm.young(MN_TEST_YOUNG, 5)).toBe(1);
});

// spte.c: W is not among SHADOW_ACC_TRACK_SAVED_BITS, since it is the dirty bit; mmu.c
// fast_page_fault(): is_mmu_writable_spte() gives it back to a write.
test('a read restores no right to write; a write after it is one more fast fault', () => {
  const vm = new TrackedVm();
  vm.access(5, ACCESS_WRITE);
  vm.young(MN_CLEAR_FLUSH_YOUNG, 5);
  vm.access(5, ACCESS_READ);
  expect(vm.spte(5) & W).toBe(0);
  expect(vm.faults(() => vm.access(5, ACCESS_WRITE))).toEqual([1, 1]);
  expect(vm.spte(5) & (P | W)).toBe(P | W);
});

test('a write restores everything in one fast fault', () => {
  const vm = new TrackedVm();
  vm.access(5, ACCESS_WRITE);
  vm.young(MN_CLEAR_FLUSH_YOUNG, 5);
  expect(vm.faults(() => vm.access(5, ACCESS_WRITE))).toEqual([1, 1]);
  expect(vm.faults(() => vm.access(5, ACCESS_WRITE))).toEqual([0, 0]);
});

// tdp_mmu.c age_gfn_range(): "capture the dirty status of the page, so that it doesn't get lost".
test('ageing a writable spte makes the page dirty, ageing a read-only one does not', () => {
  const vm = new TrackedVm();
  vm.access(5, ACCESS_WRITE);
  vm.access(6, ACCESS_WRITE);
  vm.young(MN_CLEAR_FLUSH_YOUNG, 6);
  expect([vm.pageDirty(5), vm.pageDirty(6)]).toEqual([false, true]);
  // Restored by a read, and aged again: nothing was written meanwhile.
  vm.clean(6);
  vm.access(6, ACCESS_READ);
  vm.young(MN_CLEAR_FLUSH_YOUNG, 6);
  expect(vm.pageDirty(6)).toBe(false);
});

// mmu.c page_fault_can_be_fast(): with A/D bits a non-present spte is no access-tracked one.
test('with A and D bits ageing costs no fault at all', () => {
  const vm = new TrackedVm(true);
  vm.access(5, ACCESS_WRITE);
  expect(vm.young(MN_CLEAR_FLUSH_YOUNG, 5)).toBe(1);
  expect(vm.spte(5) & (P | A)).toBe(P);
  expect(vm.faults(() => vm.access(5, ACCESS_READ))).toEqual([0, 0]);
  expect(vm.young(MN_TEST_YOUNG, 5)).toBe(1);
});

// mmu.c fast_pf_fix_direct_spte(): mark_page_dirty_in_slot() when W comes back.
test('a fast fault that gives W back logs the page', () => {
  const vm = new TrackedVm();
  vm.access(5, ACCESS_WRITE);
  vm.slot(KVM_MEM_LOG_DIRTY_PAGES);
  // The guest's tables, which the processor writes, are logged too.
  vm.access(6, ACCESS_WRITE);
  vm.kvm.getDirtyLog(0);
  vm.access(6, ACCESS_WRITE);
  vm.young(MN_CLEAR_FLUSH_YOUNG, 5);
  expect(vm.faults(() => vm.access(5, ACCESS_WRITE))).toEqual([1, 1]);
  expect(vm.kvm.getDirtyLog(0)).toContain(5);
});

// The zap of a tracked spte is the zap of a present one: is_shadow_present_pte() is the software bit.
test('an invalidation drops a tracked spte, and the next access looks the page up again', () => {
  const vm = new TrackedVm();
  vm.access(5, ACCESS_WRITE);
  vm.young(MN_CLEAR_FLUSH_YOUNG, 5);
  expect(vm.stats.get('sptes_dropped')).toBe(0);
  vm.mm.madvise(HVN + 5, 1, 'dontneed');
  expect(vm.stats.get('sptes_dropped')).toBe(1);
  expect(vm.faults(() => vm.access(5, ACCESS_READ))).toEqual([1, 0]);
});
