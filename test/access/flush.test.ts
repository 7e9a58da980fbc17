// What a flush must make visible, and what may stay until one: translations outlive a change of the
// guest's tables until INVLPG, INVPCID, a load of CR3 or a toggle of CR4.PGE (SDM vol. 3A, 4.10.4).

import { describe, expect, test } from 'vitest';
import { INVPCID, invpcid, writeCr0, writeCr4 } from '../../src/kvm/registers.ts';
import { A, ALL, D, DATA, G, OK, P, Scene, U, W, cr4Of, gvaOf, pf } from './scene.ts';

/** Page number of an address. */
function vpn(gva: bigint): number {
  return Number(gva >> 12n);
}

/** gfn behind an address, as an access to it finds it. */
function seen(s: Scene, gva: bigint): number {
  expect(s.access(gva, 'r')).toBe(OK);
  return s.mapped(gva);
}

/** A scene on 6.1, where a leaf table may be changed without an exit, with a few pages mapped. */
function scene(): { s: Scene; pt: number } {
  const s = new Scene({ generation: '6.1' });
  const pt = s.path(1, 0, 0, 0);
  for (let i = 0; i < 4; i++) s.link(pt, i, DATA + i, ALL | A | D);
  for (let i = 0; i < 4; i++) expect(seen(s, gvaOf(0, 0, 0, i))).toBe(DATA + i);
  return { s, pt };
}

/** The guest moves entry `i` of the table to another page. */
function move(s: Scene, pt: number, i: number): void {
  s.link(pt, i, DATA + 100 + i, ALL | A | D);
}

describe('without PCIDs', () => {
  test('a changed entry stays stale until INVLPG, which leaves the other pages stale', () => {
    const { s, pt } = scene();
    move(s, pt, 0);
    move(s, pt, 1);
    expect(seen(s, gvaOf(0, 0, 0, 0))).toBe(DATA);
    s.invlpg(gvaOf(0, 0, 0, 0));
    expect(seen(s, gvaOf(0, 0, 0, 0))).toBe(DATA + 100);
    expect(seen(s, gvaOf(0, 0, 0, 1))).toBe(DATA + 1);
  });

  test('in 2008 every store to a guest table is emulated and takes effect at once', () => {
    const s = new Scene({ generation: '2008' });
    const pt = s.path(1, 0, 0, 0);
    s.link(pt, 0, DATA, ALL);
    expect(seen(s, 0n)).toBe(DATA);
    s.link(pt, 0, DATA + 1, ALL);
    expect(seen(s, 0n)).toBe(DATA + 1);
  });

  test('a load of CR3 makes all changes visible', () => {
    const { s, pt } = scene();
    for (let i = 0; i < 4; i++) move(s, pt, i);
    s.vcpu.setCr3(s.root);
    for (let i = 0; i < 4; i++) expect(seen(s, gvaOf(0, 0, 0, i))).toBe(DATA + 100 + i);
  });

  test('a removed entry faults after the flush, and a right taken away is gone', () => {
    const { s, pt } = scene();
    s.set(pt, 0, 0n);
    s.link(pt, 1, DATA + 1, P | U | A | D);
    s.invlpg(gvaOf(0, 0, 0, 0));
    s.invlpg(gvaOf(0, 0, 0, 1));
    expect(s.access(gvaOf(0, 0, 0, 0), 'r')).toBe(pf(0));
    expect(s.access(gvaOf(0, 0, 0, 1), 'w')).toBe(pf(3));
  });

  test('a guest that clears A and D sees them set by the first access after INVLPG', () => {
    const { s, pt } = scene();
    s.link(pt, 0, DATA, ALL);
    s.link(pt, 1, DATA + 1, ALL | A);
    s.invlpg(gvaOf(0, 0, 0, 0));
    s.invlpg(gvaOf(0, 0, 0, 1));
    expect(s.access(gvaOf(0, 0, 0, 0), 'r')).toBe(OK);
    expect(s.ad(pt, 0)).toBe('A');
    expect(s.access(gvaOf(0, 0, 0, 1), 'w')).toBe(OK);
    expect(s.ad(pt, 1)).toBe('AD');
  });

  test('a toggle of CR4.PGE flushes everything', () => {
    const { s, pt } = scene();
    for (let i = 0; i < 4; i++) s.link(pt, i, DATA + i, ALL | A | D | G);
    for (const pge of [true, false]) {
      expect(writeCr4(s.vcpu, cr4Of({ pge }))).toBe(true);
      for (let i = 0; i < 4; i++) {
        expect(seen(s, gvaOf(0, 0, 0, i))).toBe(DATA + i);
        s.link(pt, i, DATA + 100 + i, ALL | A | D | G);
        expect(seen(s, gvaOf(0, 0, 0, i))).toBe(DATA + i);
      }
      writeCr4(s.vcpu, cr4Of({ pge: !pge }));
      for (let i = 0; i < 4; i++) expect(seen(s, gvaOf(0, 0, 0, i))).toBe(DATA + 100 + i);
      for (let i = 0; i < 4; i++) s.link(pt, i, DATA + i, ALL | A | D | G);
      writeCr4(s.vcpu, cr4Of({ pge }));
    }
  });

  test('no translation is global on shadow tables: a load of CR3 refreshes global pages too', () => {
    // The architecture lets them stay. KVM sets G in no spte.
    const { s, pt } = scene();
    s.registers({ pge: true });
    s.link(pt, 0, DATA, ALL | A | D | G);
    s.vcpu.setCr3(s.root);
    expect(seen(s, 0n)).toBe(DATA);
    s.link(pt, 0, DATA + 100, ALL | A | D | G);
    expect(seen(s, 0n)).toBe(DATA);
    s.vcpu.setCr3(s.root);
    expect(seen(s, 0n)).toBe(DATA + 100);
  });

  test('INVLPG of an address that is not canonical does nothing', () => {
    const { s, pt } = scene();
    move(s, pt, 0);
    s.invlpg(1n << 60n);
    expect(seen(s, 0n)).toBe(DATA);
  });
});

/** Two spaces under PCIDs 1 and 2 with a page each; the second is current. */
function spaces(): { s: Scene; pt1: number; root2: number; pt2: number } {
  const { s, pt: pt1 } = scene();
  s.registers({ pcide: true });
  const root2 = s.table();
  const [pdpt, pd, pt2] = [s.table(), s.table(), s.table()];
  s.link(root2, 0, pdpt, ALL);
  s.link(pdpt, 0, pd, ALL);
  s.link(pd, 0, pt2, ALL);
  for (let i = 0; i < 4; i++) s.link(pt2, i, DATA + 10 + i, ALL | A | D);
  s.vcpu.setCr3(s.root, 1, false);
  for (let i = 0; i < 4; i++) expect(seen(s, gvaOf(0, 0, 0, i))).toBe(DATA + i);
  s.vcpu.setCr3(root2, 2, false);
  for (let i = 0; i < 4; i++) expect(seen(s, gvaOf(0, 0, 0, i))).toBe(DATA + 10 + i);
  return { s, pt1, root2, pt2 };
}

describe('with PCIDs', () => {
  test('MOV to CR3 with the no-flush bit keeps what is stale, without it nothing', () => {
    const { s, pt1, root2 } = spaces();
    move(s, pt1, 0);
    s.vcpu.setCr3(s.root, 1, true);
    expect(seen(s, 0n)).toBe(DATA);
    s.vcpu.setCr3(root2, 2, true);
    expect(seen(s, 0n)).toBe(DATA + 10);
    s.vcpu.setCr3(s.root, 1, false);
    expect(seen(s, 0n)).toBe(DATA + 100);
  });

  test('a no-flush switch finds the translations of its space in the TLB', () => {
    const { s, root2 } = spaces();
    s.vcpu.setCr3(s.root, 1, true);
    const faults = s.stats.get('shadow_page_faults');
    // Loading the root of the second space flushed the first, as KVM's kvm_mmu_load() does.
    for (let i = 0; i < 4; i++) expect(s.access(gvaOf(0, 0, 0, i), 'r')).toBe(OK);
    s.vcpu.setCr3(root2, 2, true);
    s.vcpu.setCr3(s.root, 1, true);
    const misses = s.stats.get('tlb_misses');
    for (let i = 0; i < 4; i++) expect(s.access(gvaOf(0, 0, 0, i), 'r')).toBe(OK);
    s.vcpu.setCr3(root2, 2, true);
    for (let i = 0; i < 4; i++) expect(s.access(gvaOf(0, 0, 0, i), 'r')).toBe(OK);
    expect(s.stats.get('tlb_misses')).toBe(misses);
    expect(s.stats.get('shadow_page_faults')).toBe(faults);
  });

  test('INVPCID type 0 refreshes one address of one space', () => {
    const { s, pt1, pt2 } = spaces();
    for (const i of [0, 1]) {
      move(s, pt1, i);
      s.link(pt2, i, DATA + 110 + i, ALL | A | D);
    }
    expect(invpcid(s.vcpu, INVPCID.address, 1, vpn(0n))).toBe(true);
    expect(seen(s, 0n)).toBe(DATA + 10);
    s.vcpu.setCr3(s.root, 1, true);
    expect(seen(s, gvaOf(0, 0, 0, 0))).toBe(DATA + 100);
    expect(seen(s, gvaOf(0, 0, 0, 1))).toBe(DATA + 1);
  });

  test('INVPCID type 1 refreshes one space, current or not', () => {
    const { s, pt1, root2, pt2 } = spaces();
    for (let i = 0; i < 4; i++) {
      move(s, pt1, i);
      s.link(pt2, i, DATA + 110 + i, ALL | A | D);
    }
    expect(invpcid(s.vcpu, INVPCID.single, 1)).toBe(true);
    expect(seen(s, 0n)).toBe(DATA + 10);
    s.vcpu.setCr3(s.root, 1, true);
    for (let i = 0; i < 4; i++) expect(seen(s, gvaOf(0, 0, 0, i))).toBe(DATA + 100 + i);
    s.vcpu.setCr3(root2, 2, true);
    expect(seen(s, 0n)).toBe(DATA + 10);
    invpcid(s.vcpu, INVPCID.single, 2);
    expect(seen(s, 0n)).toBe(DATA + 110);
  });

  test.each([INVPCID.all, INVPCID.allNonGlobal])('INVPCID type %s refreshes all spaces', (type) => {
    const { s, pt1, pt2 } = spaces();
    move(s, pt1, 0);
    s.link(pt2, 0, DATA + 110, ALL | A | D);
    expect(invpcid(s.vcpu, type, 0)).toBe(true);
    expect(seen(s, 0n)).toBe(DATA + 110);
    s.vcpu.setCr3(s.root, 1, true);
    expect(seen(s, 0n)).toBe(DATA + 100);
  });

  test('one root under two PCIDs: a flush for one is none for the other', () => {
    // Cached roots were told apart by the page alone; the PCID is part of the key.
    const { s, pt1 } = spaces();
    s.vcpu.setCr3(s.root, 3, false);
    expect(seen(s, 0n)).toBe(DATA);
    move(s, pt1, 0);
    expect(invpcid(s.vcpu, INVPCID.single, 1)).toBe(true);
    s.vcpu.setCr3(s.root, 1, true);
    expect(seen(s, 0n)).toBe(DATA + 100);
    s.vcpu.setCr3(s.root, 3, false);
    expect(seen(s, 0n)).toBe(DATA + 100);
  });

  test('clearing CR4.PCIDE flushes all spaces', () => {
    const { s, pt2 } = spaces();
    s.link(pt2, 0, DATA + 110, ALL | A | D);
    expect(seen(s, 0n)).toBe(DATA + 10);
    s.registers({ pcide: false });
    expect(seen(s, 0n)).toBe(DATA + 110);
  });
});

describe('what raises #GP', () => {
  test('PCIDs need CR3[11:0] = 0 to be switched on, and paging while they are on', () => {
    const { s } = scene();
    expect(writeCr4(s.vcpu, cr4Of({ pcide: true }))).toBe(true);
    expect(writeCr0(s.vcpu, 0)).toBe(false);
    s.vcpu.setCr3(s.root, 5, false);
    expect(writeCr4(s.vcpu, cr4Of({}))).toBe(true);
    expect(writeCr4(s.vcpu, cr4Of({ pcide: true }))).toBe(false);
  });

  test('INVPCID: unknown types, PCIDs above 12 bits or without CR4.PCIDE, odd addresses', () => {
    const { s } = scene();
    expect(invpcid(s.vcpu, 4, 0)).toBe(false);
    expect(invpcid(s.vcpu, INVPCID.single, 1)).toBe(false);
    expect(invpcid(s.vcpu, INVPCID.address, 1, 0)).toBe(false);
    expect(invpcid(s.vcpu, INVPCID.single, 0)).toBe(true);
    expect(invpcid(s.vcpu, INVPCID.all, 0)).toBe(true);
    s.registers({ pcide: true });
    expect(invpcid(s.vcpu, INVPCID.single, 0x1000)).toBe(false);
    expect(invpcid(s.vcpu, INVPCID.address, 1, 2 ** 40)).toBe(false);
    expect(invpcid(s.vcpu, INVPCID.address, 1, 2 ** 52 - 1)).toBe(true);
  });
});

test('a write right that KVM takes away for a shadowed table is taken from the TLB as well', () => {
  // The page is mapped writable first and becomes a guest table later: stores must be seen.
  const s = new Scene({ generation: '6.1' });
  const pt = s.path(1, 0, 0, 0);
  const table = s.table();
  s.link(pt, 0, table, ALL);
  expect(s.access(0n, 'w')).toBe(OK);
  s.link(s.path(2, 0, 0), 1, table, ALL);
  s.link(table, 0, DATA, P | W);
  expect(s.access(gvaOf(0, 0, 1, 0), 'r')).toBe(OK);
  const writes = s.stats.get('shadow_page_faults');
  expect(s.access(0n, 'w')).toBe(OK);
  expect(s.stats.get('shadow_page_faults')).toBe(writes + 1);
});
