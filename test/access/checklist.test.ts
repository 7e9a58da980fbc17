// Cases that once broke a real shadow MMU, and rules that its tests check, each as a story. They are
// described in the change logs of arch/x86/kvm/mmu and in kvm-unit-tests' x86/access.c and x86/smap.c;
// host memory is backed by 4 KiB pages, so that a guest large page gets direct shadow tables.

import { describe, expect, test } from 'vitest';
import { EFER_LMA, EFER_NXE, HPTE_PFN_SHIFT } from '../../assembly/abi.ts';
import { writeCr4, writeEfer } from '../../src/kvm/registers.ts';
import {
  A,
  ALL,
  D,
  DATA,
  KEY1,
  LARGE,
  NX,
  OK,
  P,
  PS,
  Scene,
  U,
  W,
  cr4Of,
  gvaOf,
  pf,
} from './scene.ts';

/** Two addresses whose upper tables are apart. */
const VA1 = gvaOf(256, 0, 0);
const VA2 = gvaOf(257, 0, 0);

describe.each(['6.1', '2008'])('KVM %s', (generation) => {
  test('a read-only alias of a large page does not write through the writable one', () => {
    // Direct shadow pages were once found by gfn alone: the read-only alias used the writable one's
    // table and its write went through (or its fault broke the other).
    const s = new Scene({ generation });
    const pd1 = s.path(2, 256, 0);
    const pd2 = s.path(2, 257, 0);
    s.link(pd1, 0, LARGE, P | W | PS);
    s.link(pd2, 0, LARGE, P | PS);
    expect(s.access(VA2, 'r')).toBe(OK);
    expect(s.ad(pd2, 0)).toBe('A');
    expect(s.access(VA1, 'r')).toBe(OK);
    expect(s.ad(pd1, 0)).toBe('A');
    expect(s.access(VA1, 'w')).toBe(OK);
    expect(s.ad(pd1, 0)).toBe('AD');
    expect(s.access(VA2, 'w')).toBe(pf(3));
    expect(s.ad(pd2, 0)).toBe('A');
    expect(s.access(VA1, 'w')).toBe(OK);
  });

  test('prefetch does not map a neighbour whose entry has a reserved bit', () => {
    // Prefetching once installed an spte from a guest entry that was never checked for reserved bits,
    // so the access succeeded or got another error code.
    const s = new Scene({ generation });
    s.registers({ wp: false, nxe: false });
    const pt = s.path(1, 256, 0, 0);
    s.link(pt, 0, DATA, P);
    // Prefetching takes only pages that the host has mapped writable, and accessed guest entries.
    s.link(pt, 9, DATA + 2, P | W);
    expect(s.access(VA1 + 0x9000n, 'w')).toBe(OK);
    for (const flags of [P | NX, P | NX | A]) {
      s.link(pt, 2, DATA + 2, flags);
      s.invlpg(VA1 + 0x2000n);
      s.invlpg(VA1);
      expect(s.access(VA1, 'r')).toBe(OK);
      expect(s.access(VA1 + 0x2000n, 'r')).toBe(pf(9));
      expect(s.get(pt, 2)).toBe((BigInt(DATA + 2) << 12n) | flags);
    }
  });

  test('a write with CR0.WP=0 does not make the read-only large page writable for its alias', () => {
    // The write's fault put a writable spte into the direct page that both aliases shared, so the
    // second write never faulted and its dirty bit was lost.
    const s = new Scene({ generation });
    s.registers({ wp: false });
    const pd1 = s.path(2, 256, 0);
    const pd2 = s.path(2, 257, 0);
    s.link(pd1, 0, LARGE, P | PS);
    s.link(pd2, 0, LARGE, P | PS);
    expect(s.access(VA2, 'r')).toBe(OK);
    expect(s.access(VA1, 'w')).toBe(OK);
    expect(s.ad(pd1, 0)).toBe('AD');
    expect(s.access(VA2, 'w')).toBe(OK);
    expect(s.ad(pd2, 0)).toBe('AD');
  });

  test.each([
    [false, OK, 'AD'],
    [true, pf(3), 'A'],
  ])('SMEP holds for a user page written by the supervisor, WP=%s', (wp, write, ad) => {
    // With WP=0 the write is allowed by an spte with U/S=0, which would hide the page from SMEP.
    const s = new Scene({ generation });
    s.registers({ wp, smep: true });
    const pt = s.path(1, 256, 0, 0);
    s.link(pt, 0, DATA, P | U | A);
    expect(s.access(VA1, 'w')).toBe(write);
    expect(s.ad(pt, 0)).toBe(ad);
    expect(s.access(VA1, 'x')).toBe(pf(0x11));
    expect(s.access(VA1, 'r', 'user')).toBe(OK);
    expect(s.access(VA1, 'w', 'user')).toBe(pf(7));
    expect(s.access(VA1, 'x', 'user')).toBe(OK);
    expect(s.access(VA1, 'x')).toBe(pf(0x11));
  });

  test('CR0.WP takes effect at once, without a flush', () => {
    // The role kept the old WP when the MMU context was rebuilt by a change of EFER.NXE.
    const s = new Scene({ generation });
    const pt = s.path(1, 256, 0, 0);
    s.link(pt, 0, DATA, P | A);
    for (let i = 0; i < 3; i++) {
      for (const wp of [false, true]) {
        s.registers({ wp: !wp });
        s.registers({ nxe: true });
        s.registers({ nxe: false });
        s.registers({ wp });
        expect(s.access(VA1, 'w')).toBe(wp ? pf(3) : OK);
      }
    }
    expect(s.ad(pt, 0)).toBe('AD');
  });

  test('the rights of the whole path, not of the last level, decide which shadow page is used', () => {
    // Two PDPTEs, one read-only, lead to one PMD page. The role was made from the last level's rights
    // alone, so the read-only path used the writable path's shadow pages.
    const s = new Scene({ generation });
    const pdpt = s.path(3, 0);
    const pmd = s.table();
    const pt1 = s.table();
    const pt2 = s.table();
    s.link(pdpt, 0, pmd, ALL);
    s.link(pdpt, 1, pmd, P | U);
    s.link(pmd, 0, pt1, P | U);
    s.link(pmd, 1, pt2, ALL);
    s.link(pt1, 0, DATA, ALL);
    s.link(pt2, 0, DATA + 1, ALL | D);
    const [ptr1, ptr2] = [gvaOf(0, 0, 0), gvaOf(0, 0, 1)];
    const [ptr3, ptr4] = [gvaOf(0, 1, 0), gvaOf(0, 1, 1)];
    expect(s.access(ptr1, 'r', 'user')).toBe(OK);
    expect(s.access(ptr2, 'w', 'user')).toBe(OK);
    expect(s.access(ptr3, 'r', 'user')).toBe(OK);
    expect(s.access(ptr4, 'w', 'user')).toBe(pf(7));
    expect(s.access(ptr2, 'w', 'user')).toBe(OK);
  });

  test('a read’s cached translation grants no write, no user access and no fetch', () => {
    const s = new Scene({ generation });
    const pt = s.path(1, 256, 0, 0);
    s.link(pt, 0, DATA, P | W | NX);
    expect(s.access(VA1, 'r')).toBe(OK);
    expect(s.access(VA1, 'r', 'user')).toBe(pf(5));
    expect(s.access(VA1, 'x')).toBe(pf(0x11));
    expect(s.ad(pt, 0)).toBe('A');
    expect(s.access(VA1, 'w')).toBe(OK);
    expect(s.ad(pt, 0)).toBe('AD');
  });

  test('a PDE toggled between a table and a large page needs only INVLPG of the address', () => {
    const s = new Scene({ generation });
    const pd = s.path(2, 256, 0);
    const pt = s.table();
    s.link(pt, 3, DATA, P | W);
    const gva = VA1 + 0x3000n;
    for (let i = 0; i < 3; i++) {
      s.link(pd, 0, pt, P | W);
      s.invlpg(gva);
      expect(s.access(gva, 'w')).toBe(OK);
      expect(s.mapped(gva)).toBe(DATA);
      s.link(pd, 0, LARGE, P | W | PS);
      s.invlpg(gva);
      expect(s.access(gva, 'w')).toBe(OK);
      expect(s.mapped(gva)).toBe(LARGE + 3);
    }
  });

  test('every store to an upper-level table is seen, and one that sets A or D loses no mapping', () => {
    // Upper-level guest tables stay write-protected: a store of the same value must be harmless, and
    // a store that unlinks must be effective after INVLPG.
    const s = new Scene({ generation });
    const pd = s.path(2, 256, 0);
    const pt = s.path(1, 256, 0, 0);
    s.link(pt, 0, DATA, P | W);
    expect(s.access(VA1, 'w')).toBe(OK);
    s.set(pd, 0, s.get(pd, 0));
    s.invlpg(VA1);
    expect(s.access(VA1, 'w')).toBe(OK);
    s.set(pd, 0, s.get(pd, 0) | A | D);
    s.invlpg(VA1);
    expect(s.access(VA1, 'w')).toBe(OK);
    s.set(pd, 0, 0n);
    s.invlpg(VA1);
    expect(s.access(VA1, 'w')).toBe(pf(2));
  });

  test('setting U/S without a flush gives at most a spurious fault, never a wrong access', () => {
    const s = new Scene({ generation });
    const pt = s.path(1, 256, 0, 0);
    s.link(pt, 0, DATA, P | W | A | D);
    expect(s.access(VA1, 'r', 'user')).toBe(pf(5));
    s.link(pt, 0, DATA, P | W | U | A | D);
    expect([OK, pf(5)]).toContain(s.access(VA1, 'r', 'user'));
    expect(s.access(VA1, 'r', 'user')).toBe(OK);
    expect(s.mapped(VA1)).toBe(DATA);
  });

  test('CR4.LA57 cannot be toggled in 64-bit mode', () => {
    const s = new Scene({ generation });
    expect(writeCr4(s.vcpu, cr4Of({ la57: true }))).toBe(false);
    expect(writeCr4(s.vcpu, cr4Of({ smep: true }))).toBe(true);
  });

  test('of EFER only NXE changes while paging is on', () => {
    const s = new Scene({ generation });
    const pt = s.path(1, 256, 0, 0);
    s.link(pt, 0, DATA, P | W | NX | A | D);
    expect(s.access(VA1, 'r')).toBe(OK);
    expect(writeEfer(s.vcpu, EFER_NXE)).toBe(false);
    expect(s.access(VA1, 'r')).toBe(OK);
    // Without it bit 63 is reserved.
    expect(writeEfer(s.vcpu, EFER_LMA)).toBe(true);
    expect(s.access(VA1, 'r')).toBe(pf(9));
  });

  test('SMAP: AC decides about user pages, and changes without an exit', () => {
    const s = new Scene({ generation });
    s.registers({ smap: true });
    const pt = s.path(1, 0, 0, 0);
    s.link(pt, 0, DATA, ALL);
    s.link(pt, 1, DATA + 1, P | W);
    for (let i = 0; i < 2; i++) {
      s.registers({ ac: false });
      expect(s.access(0n, 'r')).toBe(pf(1));
      expect(s.access(0n, 'w')).toBe(pf(3));
      expect(s.access(0x1000n, 'w')).toBe(OK);
      expect(s.access(0n, 'x')).toBe(OK);
      expect(s.access(0n, 'r', 'user')).toBe(OK);
      s.registers({ ac: true });
      expect(s.access(0n, 'r')).toBe(OK);
      expect(s.access(0n, 'w')).toBe(OK);
      expect(s.access(0n, 'r', 'implicit')).toBe(pf(1));
    }
  });

  test('SMAP sees the user page that a write with CR0.WP=0 would have turned into a kernel page', () => {
    // The spte of that write has U/S=0; used again under SMAP it would let the kernel read a user page.
    const s = new Scene({ generation });
    const pt = s.path(1, 0, 0, 0);
    s.link(pt, 0, DATA, P | U);
    s.registers({ wp: false });
    expect(s.access(0n, 'w')).toBe(OK);
    s.registers({ smap: true });
    expect(s.access(0n, 'r')).toBe(pf(1));
    // The same with the write made under SMAP with AC=1, which KVM's role does not tell apart.
    s.registers({ ac: true });
    expect(s.access(0n, 'w')).toBe(OK);
    s.registers({ ac: false });
    expect(s.access(0n, 'r')).toBe(pf(1));
    expect(s.access(0n, 'w')).toBe(pf(3));
  });

  test('protection keys: user pages only, data only, and WD not for a supervisor with WP=0', () => {
    const s = new Scene({ generation });
    const pt = s.path(1, 0, 0, 0);
    s.link(pt, 0, DATA, ALL | KEY1);
    s.link(pt, 1, DATA + 1, P | W | KEY1);
    s.registers({ pke: true });
    const [ad, wd] = [4, 8];
    expect(s.access(0n, 'w')).toBe(OK);
    s.registers({ pkru: wd });
    expect(s.access(0n, 'r', 'user')).toBe(OK);
    expect(s.access(0n, 'w', 'user')).toBe(pf(0x27));
    expect(s.access(0n, 'w')).toBe(pf(0x23));
    s.registers({ wp: false });
    expect(s.access(0n, 'w')).toBe(OK);
    s.registers({ pkru: ad });
    expect(s.access(0n, 'r')).toBe(pf(0x21));
    expect(s.access(0n, 'w')).toBe(pf(0x23));
    expect(s.access(0n, 'x')).toBe(OK);
    expect(s.access(0x1000n, 'w')).toBe(OK);
    s.registers({ pke: false });
    expect(s.access(0n, 'w', 'user')).toBe(OK);
    s.registers({ pke: true, wp: true, pkru: 0 });
    expect(s.access(0n, 'w', 'user')).toBe(OK);
  });

  test('aliases of a large page with different keys do not share a direct shadow page', () => {
    const s = new Scene({ generation });
    const pd1 = s.path(2, 0, 0);
    const pd2 = s.path(2, 1, 0);
    s.link(pd1, 0, LARGE, ALL | PS);
    s.link(pd2, 0, LARGE, ALL | PS | KEY1);
    s.registers({ pke: true, pkru: 4 });
    expect(s.access(gvaOf(0, 0, 0), 'r', 'user')).toBe(OK);
    expect(s.access(gvaOf(1, 0, 0), 'r', 'user')).toBe(pf(0x25));
    expect(s.access(gvaOf(0, 0, 0), 'w', 'user')).toBe(OK);
  });

  test('one page under very many addresses: every one is found when the page goes', () => {
    // Long reverse-map chains; then one more address, remapped, must work.
    const s = new Scene({ generation });
    const n = 1500;
    for (let i = 0; i < n; i++) {
      s.link(s.path(1, 0, 0, i >> 9), i & 511, DATA, ALL);
      expect(s.access(gvaOf(0, 0, i >> 9, i & 511), 'w')).toBe(OK);
    }
    const { x } = s.core;
    const hvn = x.gfnToHvn(DATA) >>> 0;
    const dropped = s.stats.get('sptes_dropped');
    expect(x.unmapHvaRange(s.kvm.mm.id, hvn, hvn + 1)).toBe(1);
    x.flushTlbs();
    expect(s.stats.get('sptes_dropped') - dropped).toBe(n);
    s.link(s.path(1, 0, 0, 0), 7, DATA + 1, ALL);
    s.invlpg(gvaOf(0, 0, 0, 7));
    expect(s.access(gvaOf(0, 0, 0, 7), 'w')).toBe(OK);
    expect(s.mapped(gvaOf(0, 0, 0, 7))).toBe(DATA + 1);
  });

  test('toggling CR0.WP comes back to shadow pages that are there', () => {
    // A latency test of real KVM: the role switch must not rebuild the shadow.
    const s = new Scene({ generation });
    const pt = s.path(1, 0, 0, 0);
    s.link(pt, 0, DATA, ALL);
    for (const wp of [true, false]) {
      s.registers({ wp });
      expect(s.access(0n, 'w')).toBe(OK);
    }
    const created = s.stats.get('shadow_pages_created');
    const faults = s.stats.get('shadow_page_faults');
    for (let i = 0; i < 10; i++) {
      s.registers({ wp: i % 2 === 0 });
      expect(s.access(0n, 'w')).toBe(OK);
    }
    expect(s.stats.get('shadow_pages_created')).toBe(created);
    expect(s.stats.get('shadow_page_faults')).toBe(faults);
  });

  test('a smaller guest MAXPHYADDR makes an address bit reserved', () => {
    // Bit 36 of an entry, on a host whose own addresses are wider: found in software only.
    const s = new Scene({ generation });
    const pt = s.path(1, 0, 0, 0);
    s.set(pt, 0, (1n << 36n) | ALL);
    expect(s.access(0n, 'r')).toBe('mmio');
    s.maxPhyAddr(36);
    expect(s.access(0n, 'r')).toBe(pf(9));
    s.maxPhyAddr(46);
    expect(s.access(0n, 'r')).toBe('mmio');
  });

  test('a 1 GiB page without a slot is MMIO; without 1 GiB pages it is a reserved bit', () => {
    // A cached MMIO spte must not answer once CPUID says that there are no such pages.
    const s = new Scene({ generation });
    const pdpt = s.path(3, 0);
    s.link(pdpt, 1, 0x80000, ALL | PS);
    const gva = gvaOf(0, 1, 5, 7);
    expect(s.access(gva, 'r')).toBe('mmio');
    s.gigabytePages(false);
    expect(s.access(gva, 'r')).toBe(pf(9));
    s.gigabytePages(true);
    expect(s.access(gva, 'r')).toBe('mmio');
  });

  test('a moved slot shows the old page, MMIO or the new one, never another page', () => {
    const s = new Scene({ generation });
    const pt = s.path(1, 0, 0, 0);
    const region = { slot: 5, gfn: 0x8000, npages: 16, hvn: 0x20000 };
    s.kvm.setUserMemoryRegion(region);
    s.link(pt, 0, 0x8001, ALL);
    expect(s.access(0n, 'w')).toBe(OK);
    const { x } = s.core;
    const before = x.hpteGet(s.kvm.mm.id, 0x20001) >>> HPTE_PFN_SHIFT;
    s.kvm.setUserMemoryRegion({ ...region, gfn: 0x8001 });
    expect(s.access(0n, 'r')).toBe(OK);
    expect(x.hpteGet(s.kvm.mm.id, 0x20000) >>> HPTE_PFN_SHIFT).not.toBe(before);
    expect(s.mapped(0n)).toBe(0x8001);
    s.kvm.setUserMemoryRegion({ ...region, npages: 0 });
    expect(s.access(0n, 'r')).toBe('mmio');
    s.kvm.setUserMemoryRegion(region);
    expect(s.access(0n, 'r')).toBe(OK);
    expect(s.mapped(0n)).toBe(0x8001);
  });
});
