// The shadow MMU over a minimal mm (every page anonymous and always there).
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  AGE_CLEAR,
  AGE_DROP,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  MAP_VM_WRITE,
  PG_DIRTY,
  PT_ACCESSED_BIT,
  PT_DIRTY_BIT,
} from '../../assembly/abi.ts';
import { type Core, loadCore } from '../../src/core/load.ts';
import { auditKvm } from '../../src/kvm/audit.ts';
import { Kvm } from '../../src/kvm/kvm.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import type { MmHandle } from '../../src/mm/mm.ts';
import { Stats } from '../../src/stats/stats.ts';

const P = 1;
const W = 2;
const U = 4;
const A = 1 << PT_ACCESSED_BIT;
const D = 1 << PT_DIRTY_BIT;
/** gfns of the tables; data pages follow. */
const PML4 = 0;
const PDPT = 1;
const PD = 2;
const PT = 3;
const DATA = 16;

function anonymousMm(core: Core): MmHandle {
  const id = core.x.mmCreate();
  return {
    id,
    registerNotifier: () => 1,
    getUserPages(t, at) {
      const hvn = t.stack[at + 1] as number;
      let pte = core.x.hpteGet(id, hvn) >>> 0;
      if (pte === 0) {
        core.x.doAnonymousPage(id, hvn, MAP_VM_WRITE);
        pte = core.x.hpteGet(id, hvn) >>> 0;
      }
      core.x.getPage(pte >>> HPTE_PFN_SHIFT);
      return t.done(at, pte >>> HPTE_PFN_SHIFT);
    },
  };
}

class Machine {
  readonly core = loadCore('debug');
  readonly kvm: Kvm;
  readonly stats = new Stats(this.core);
  readonly records: number;

  constructor(
    generation = '6.1',
    flushScope: 'all' | 'pages' = 'all',
    protocol: keyof typeof AGING_PRESETS = 'clear_flush_young',
  ) {
    this.core.x.frameInit(1024);
    const aging = AGING_PRESETS[protocol];
    const mm = anonymousMm(this.core);
    this.kvm = new Kvm({ core: this.core, mm, aging, generation, flushScope });
    this.kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: 512, hvn: 0x1000 });
    this.records = this.core.x.arenaAlloc(4096);
    const vcpu = this.vcpu;
    vcpu.writeGuestPte(PML4, 0, (PDPT << 12) | P | W | U, 0);
    vcpu.writeGuestPte(PDPT, 0, (PD << 12) | P | W | U, 0);
    vcpu.writeGuestPte(PD, 0, (PT << 12) | P | W | U, 0);
    vcpu.setCr3(PML4);
  }

  get vcpu() {
    return this.kvm.vcpus[0]!;
  }

  /** Maps gva page `vpn` to a gfn. */
  map(vpn: number, gfn: number, flags = P | W | U): void {
    this.vcpu.writeGuestPte(PT, vpn, gfn * 4096 + flags, 0);
  }

  access(vpn: number, kind: number) {
    this.core.mem.store32(this.records, (vpn << 12) | kind);
    this.core.mem.store32(this.records + 4, 0);
    return { ...this.vcpu.run(this.records, 1) };
  }
}

describe.each(['6.1', '2008'])('generation %s', (generation) => {
  let m: Machine;
  beforeEach(() => {
    m = new Machine(generation);
  });
  afterEach(() => {
    expect(auditKvm(m.kvm)).toEqual([]);
  });

  test('a first touch costs one shadow fault, the next touches none', () => {
    m.map(5, DATA + 5);
    expect(m.access(5, ACCESS_WRITE).kind).toBe('done');
    expect(m.stats.get('shadow_page_faults')).toBe(1);
    m.access(5, ACCESS_WRITE);
    m.access(5, ACCESS_READ);
    expect(m.stats.get('shadow_page_faults')).toBe(1);
    expect(m.stats.get('tlb_hits')).toBe(2);
    expect(m.vcpu.readGuestPteLo(PT, 5) & (A | D)).toBe(A | D);
  });

  test('a read of a clean guest page maps it read-only, so that the first write can set D', () => {
    m.map(5, DATA + 5);
    m.access(5, ACCESS_READ);
    expect(m.vcpu.readGuestPteLo(PT, 5) & (A | D)).toBe(A);
    m.access(5, ACCESS_WRITE);
    expect(m.stats.get('shadow_page_faults')).toBe(2);
    expect(m.vcpu.readGuestPteLo(PT, 5) & (A | D)).toBe(A | D);
  });

  test('an absent guest page is the guest kernel’s fault to serve', () => {
    const exit = m.access(7, ACCESS_WRITE);
    expect(exit.kind).toBe('guest_page_fault');
    expect(exit.code).toBe(6);
    expect(exit.gvaLo).toBe(7 << 12);
    m.map(7, DATA + 7);
    expect(m.access(7, ACCESS_WRITE).kind).toBe('done');
  });

  test('an access outside all slots is MMIO', () => {
    m.map(8, 0x4000);
    expect(m.access(8, ACCESS_READ).kind).toBe('mmio');
  });

  test('a remapped page is stale until INVLPG and right after it', () => {
    m.map(5, DATA + 5);
    m.access(5, ACCESS_READ);
    m.map(5, DATA + 6);
    m.vcpu.invlpg(5);
    m.access(5, ACCESS_WRITE);
    const hvn = 0x1000 + DATA + 6;
    expect(m.core.x.hpteGet(m.kvm.mm.id, hvn) & HPTE_DIRTY).not.toBe(0);
  });

  test('an invalidation zaps the spte, the next access faults anew', () => {
    m.map(5, DATA + 5);
    m.access(5, ACCESS_WRITE);
    expect(m.core.x.unmapHvaRange(m.kvm.mm.id, 0x1000 + DATA + 5, 0x1000 + DATA + 6)).toBe(1);
    m.core.x.flushTlbs();
    m.access(5, ACCESS_READ);
    expect(m.stats.get('shadow_page_faults')).toBe(2);
    expect(m.stats.get('sptes_dropped')).toBe(1);
  });

  test('deleting a memslot zaps every shadow page', () => {
    m.map(5, DATA + 5);
    m.access(5, ACCESS_WRITE);
    m.kvm.setUserMemoryRegion({ slot: 1, gfn: 0x8000, npages: 16, hvn: 0x4000 });
    m.kvm.setUserMemoryRegion({ slot: 1, gfn: 0x8000, npages: 0, hvn: 0x4000 });
    expect(m.access(5, ACCESS_FETCH).kind).toBe('done');
    // Four tables; the root counts again when its vCPU lets it go (mmu_free_root_page).
    expect(m.stats.get('shadow_pages_zapped')).toBe(5);
  });

  test('a process switch keeps the translations of both spaces apart', () => {
    m.map(5, DATA + 5);
    m.access(5, ACCESS_WRITE);
    m.vcpu.writeGuestPte(10, 0, (11 << 12) | P | W | U, 0);
    m.vcpu.writeGuestPte(11, 0, (12 << 12) | P | W | U, 0);
    m.vcpu.writeGuestPte(12, 0, (13 << 12) | P | W | U, 0);
    m.vcpu.setCr3(10);
    expect(m.access(5, ACCESS_READ).kind).toBe('guest_page_fault');
    m.vcpu.setCr3(PML4);
    expect(m.access(5, ACCESS_WRITE).kind).toBe('done');
  });
});

test('6.1: a leaf table goes unsync at its first write, later writes cost nothing', () => {
  const m = new Machine('6.1');
  m.map(5, DATA + 5);
  m.access(5, ACCESS_WRITE);
  const before = m.stats.get('vmexits');
  m.map(6, DATA + 6);
  m.map(7, DATA + 7);
  expect(m.stats.get('vmexits') - before).toBe(1);
  expect(m.stats.get('shadow_pages_unsync')).toBe(1);
});

test('2008: every write to a shadowed table is emulated', () => {
  const m = new Machine('2008');
  m.map(5, DATA + 5);
  m.access(5, ACCESS_WRITE);
  const before = m.stats.get('guest_pte_writes');
  m.map(6, DATA + 6);
  m.map(7, DATA + 7);
  expect(m.stats.get('guest_pte_writes') - before).toBe(2);
});

test.each(['all', 'pages'] as const)('flush scope %s: a zap forgets what it must', (scope) => {
  const m = new Machine('6.1', scope);
  const { x } = m.core;
  for (const vpn of [5, 6]) m.map(vpn, DATA + vpn);
  for (const vpn of [5, 6]) m.access(vpn, ACCESS_WRITE);
  // The hva that backs page 5 goes.
  const hvn = x.gfnToHvn(DATA + 5);
  expect(x.unmapHvaRange(m.kvm.mm.id, hvn, hvn + 1)).toBe(1);
  x.flushTlbs();
  const before = m.stats.get('tlb_misses');
  m.access(6, ACCESS_READ);
  // Page 6 was not touched: only a flush of everything makes it walk again.
  expect(m.stats.get('tlb_misses') - before).toBe(scope === 'all' ? 1 : 0);
  const faults = m.stats.get('shadow_page_faults');
  m.access(5, ACCESS_READ);
  expect(m.stats.get('shadow_page_faults')).toBe(faults + 1);
  expect(m.stats.get('remote_tlb_flushes')).toBeGreaterThan(0);
});

// A storm found this: the guest loads CR3 without PCIDs, which flushes its one space when the vCPU enters
// again, and a notifier call drops a page of the process that left before it does. The flush of that page
// was taken for one of everything, and the space kept the translations of the other process.
test.each(['all', 'pages'] as const)('flush scope %s: a load of CR3 still flushes', (scope) => {
  const m = new Machine('6.1', scope);
  const { x } = m.core;
  const OTHER = 8;
  for (const vpn of [5, 6]) m.map(vpn, DATA + vpn);
  // The other process shares no table with the first and has mapped nothing yet.
  m.vcpu.setCr3(OTHER);
  expect(m.access(5, ACCESS_READ).kind).toBe('guest_page_fault');
  m.vcpu.setCr3(PML4);
  for (const vpn of [5, 6]) expect(m.access(vpn, ACCESS_WRITE).kind).toBe('done');
  m.vcpu.setCr3(OTHER);
  const hvn = x.gfnToHvn(DATA + 6);
  x.unmapAndFlush(m.kvm.mm.id, hvn, hvn + 1);
  expect(m.access(5, ACCESS_READ).kind).toBe('guest_page_fault');
});

/** A page that the guest wrote, under a host pte that is clean by now. */
function written(protocol: keyof typeof AGING_PRESETS, generation: string) {
  const m = new Machine(generation, 'all', protocol);
  const { x } = m.core;
  m.map(5, DATA + 5);
  m.access(5, ACCESS_WRITE);
  const hvn = x.gfnToHvn(DATA + 5);
  const pfn = (x.hpteGet(m.kvm.mm.id, hvn) >>> 0) >>> HPTE_PFN_SHIFT;
  x.lruSetFlags(pfn, 0, PG_DIRTY);
  const dirty = (): boolean => (x.pageFlags(pfn) & PG_DIRTY) !== 0;
  return { m, hvn, dirty };
}

describe('what aging takes from a spte', () => {
  // v3's young bit is the host pte's alone: unless age_page drops the spte, the next access makes no fault
  // and the page looks old for ever.
  test.each(['2008', '6.1'])(
    'age_page drops the spte, so that the next access is seen, %s',
    (g) => {
      const { m, hvn } = written('v3', g);
      const { x } = m.core;
      const faults = m.stats.get('shadow_page_faults');
      m.access(5, ACCESS_READ);
      expect(m.stats.get('shadow_page_faults')).toBe(faults);
      expect(x.ageAndFlush(m.kvm.mm.id, hvn, hvn + 1, AGE_DROP)).toBe(1);
      expect(m.stats.get('sptes_dropped')).toBe(1);
      m.access(5, ACCESS_READ);
      expect(m.stats.get('shadow_page_faults')).toBe(faults + 1);
    },
  );

  test('a spte that is access-tracked hands its dirty bit over: later it can not be told', () => {
    const { m, hvn, dirty } = written('access-track', '6.1');
    const { x } = m.core;
    expect(dirty()).toBe(false);
    expect(x.ageAndFlush(m.kvm.mm.id, hvn, hvn + 1, AGE_CLEAR)).toBe(1);
    expect(dirty()).toBe(true);
  });
});
