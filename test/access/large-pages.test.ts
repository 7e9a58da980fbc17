// Large pages end to end: guest 2 MiB and 1 GiB pages over 4 KiB and 2 MiB host pages, splits and
// collapses on both sides, and what forbids a large mapping.

import { describe, expect, test } from 'vitest';
import { mapHuge } from '../../src/conform/resident-vm.ts';
import { A, ALL, D, DATA, LARGE, OK, P, PS, Scene, W, gvaOf, pf } from './scene.ts';

/** Host pages behind LARGE: hvn of the first. */
function hvnOf(s: Scene, gfn: number): number {
  return s.core.x.gfnToHvn(gfn) >>> 0;
}

/** What the host does before it changes the mapping of a range: invalidates it. */
function invalidate(s: Scene, gfn: number, npages: number): void {
  const { x } = s.core;
  const hvn = hvnOf(s, gfn);
  x.unmapHvaRange(s.kvm.mm.id, hvn, hvn + npages);
  x.flushTlbs();
}

/** Shadow page faults of accesses to the first `n` pages of a 2 MiB range. */
function faultsOf(s: Scene, n: number, kind: 'r' | 'w', base = 0n): number {
  const before = s.stats.get('shadow_page_faults');
  for (let i = 0; i < n; i++) expect(s.access(base + BigInt(i) * 0x1000n, kind)).toBe(OK);
  return s.stats.get('shadow_page_faults') - before;
}

describe.each(['6.1', '2008'])('KVM %s', (generation) => {
  /** Entries of a direct table that one fault fills when the host has the pages (direct_pte_prefetch). */
  const group = generation === '6.1' ? 8 : 1;

  test('a guest 2 MiB page over 4 KiB host pages: a direct table, one fault a page', () => {
    const s = new Scene({ generation });
    const pd = s.path(2, 0, 0);
    s.link(pd, 0, LARGE, ALL | PS | A | D);
    expect(faultsOf(s, 20, 'w')).toBe(20);
    expect(faultsOf(s, 20, 'w')).toBe(0);
    for (const i of [0, 7, 19]) expect(s.mapped(gvaOf(0, 0, 0, i))).toBe(LARGE + i);
  });

  test('a guest 2 MiB page over a host huge page: one fault, one spte', () => {
    const s = new Scene({ generation, huge: true });
    const pd = s.path(2, 0, 0);
    s.link(pd, 0, LARGE, ALL | PS | A | D);
    const installed = s.stats.get('sptes_installed');
    expect(faultsOf(s, 512, 'w')).toBe(1);
    expect(s.stats.get('sptes_installed') - installed).toBe(1);
    expect(s.mapped(gvaOf(0, 0, 0, 511))).toBe(LARGE + 511);
  });

  test('a clean guest 2 MiB page over a host huge page: D is set by the first write only', () => {
    const s = new Scene({ generation, huge: true });
    const pd = s.path(2, 0, 0);
    s.link(pd, 0, LARGE, ALL | PS);
    expect(faultsOf(s, 64, 'r')).toBe(1);
    expect(s.ad(pd, 0)).toBe('A');
    expect(s.access(gvaOf(0, 0, 0, 300), 'w')).toBe(OK);
    expect(s.ad(pd, 0)).toBe('AD');
    expect(faultsOf(s, 512, 'w')).toBe(0);
  });

  test('guest 4 KiB pages over a host huge page: 4 KiB sptes', () => {
    const s = new Scene({ generation, huge: true });
    const pt = s.path(1, 0, 0, 0);
    for (let i = 0; i < 16; i++) s.link(pt, i, LARGE + 15 - i, ALL | D);
    expect(faultsOf(s, 16, 'w')).toBe(16);
    expect(s.mapped(gvaOf(0, 0, 0, 3))).toBe(LARGE + 12);
  });

  test('a guest 1 GiB page over huge and over 4 KiB host pages', () => {
    const region = { slot: 1, gfn: 0x40000, npages: 1024, hvn: 0x4000 };
    const s = new Scene({ generation, frames: 4096, regions: [region] });
    mapHuge(s.core, s.kvm.mm.id, region.hvn + 512);
    s.link(s.path(3, 0), 0, region.gfn, ALL | PS | A | D);
    expect(faultsOf(s, 100, 'w', gvaOf(0, 0, 1, 0))).toBe(1);
    expect(faultsOf(s, 10, 'w', gvaOf(0, 0, 0, 256))).toBe(10);
    expect(s.mapped(gvaOf(0, 0, 1, 77))).toBe(region.gfn + 512 + 77);
    expect(s.mapped(gvaOf(0, 0, 0, 259))).toBe(region.gfn + 259);
  });

  test('a guest 1 GiB page that holds the guest’s own tables gets 4 KiB sptes', () => {
    // is_self_change_mapping(): a large spte would be broken by the next shadowed table.
    const s = new Scene({ generation, huge: true });
    s.link(s.path(3, 0), 0, 0, ALL | PS | A | D);
    expect(faultsOf(s, 10, 'w', gvaOf(0, 0, 1, 0))).toBe(Math.ceil(10 / group));
    expect(s.mapped(gvaOf(0, 0, 1, 7))).toBe(LARGE + 7);
    expect(s.access(gvaOf(0, 0, 0, s.root), 'w')).toBe(OK);
  });

  test('the host splits its huge page: the guest’s large page goes on with 4 KiB sptes', () => {
    const s = new Scene({ generation, huge: true });
    s.link(s.path(2, 0, 0), 0, LARGE, ALL | PS | A | D);
    expect(faultsOf(s, 512, 'w')).toBe(1);
    invalidate(s, LARGE, 512);
    s.core.x.hpmdSplit(s.kvm.mm.id, hvnOf(s, LARGE));
    expect(faultsOf(s, 512, 'w')).toBe(512 / group);
    expect(s.mapped(gvaOf(0, 0, 0, 500))).toBe(LARGE + 500);
  });

  test('the host collapses 4 KiB pages into a huge one: the direct table gives way to one spte', () => {
    const s = new Scene({ generation });
    const { x } = s.core;
    s.link(s.path(2, 0, 0), 0, LARGE, ALL | PS | A | D);
    expect(faultsOf(s, 512, 'w')).toBe(512);
    invalidate(s, LARGE, 512);
    const hvn = hvnOf(s, LARGE);
    for (let i = 0; i < 512; i++) x.hpteSet(s.kvm.mm.id, hvn + i, 0);
    mapHuge(s.core, s.kvm.mm.id, hvn);
    expect(faultsOf(s, 512, 'w')).toBe(1);
    expect(s.mapped(gvaOf(0, 0, 0, 500))).toBe(LARGE + 500);
  });

  test('the guest splits its large page into a table and joins it again', () => {
    const s = new Scene({ generation, huge: true });
    const pd = s.path(2, 0, 0);
    const pt = s.table();
    for (let i = 0; i < 512; i++) s.link(pt, i, LARGE + i, i === 9 ? P : P | W | A | D);
    for (let round = 0; round < 2; round++) {
      s.link(pd, 0, LARGE, P | W | PS | A | D);
      s.invlpg(0n);
      expect(s.access(gvaOf(0, 0, 0, 9), 'w')).toBe(OK);
      s.link(pd, 0, pt, ALL);
      s.vcpu.setCr3(s.root);
      expect(s.access(gvaOf(0, 0, 0, 8), 'w')).toBe(OK);
      expect(s.access(gvaOf(0, 0, 0, 9), 'w')).toBe(pf(3));
    }
  });

  test('a large page that holds a guest table is mapped by 4 KiB sptes, the table write-protected', () => {
    const s = new Scene({ generation, huge: true });
    const inside = LARGE + 40;
    // The table inside the large page maps the next 2 MiB; a store to it must be seen.
    s.link(s.path(2, 0, 0), 1, inside, ALL);
    s.link(inside, 0, DATA, ALL);
    expect(s.access(gvaOf(0, 0, 1, 0), 'r')).toBe(OK);
    s.link(s.path(2, 0, 0), 0, LARGE, ALL | PS | A | D);
    const installed = s.stats.get('sptes_installed');
    expect(s.access(gvaOf(0, 0, 0, 3), 'w')).toBe(OK);
    expect(s.access(gvaOf(0, 0, 0, 4), 'w')).toBe(OK);
    // Entries 0 to 7 are filled from the host's page tables with the first of them.
    expect(s.stats.get('sptes_installed') - installed).toBe(generation === '6.1' ? 8 : 2);
    const emulated = s.stats.get('guest_pte_writes') + s.stats.get('shadow_pages_unsync');
    expect(s.access(gvaOf(0, 0, 0, 40), 'w')).toBe(OK);
    const seen = s.stats.get('guest_pte_writes') + s.stats.get('shadow_pages_unsync');
    expect(seen - emulated).toBe(1);
  });

  test('a page that becomes a table breaks the large spte that mapped it', () => {
    const s = new Scene({ generation, huge: true });
    s.link(s.path(2, 0, 0), 0, LARGE, ALL | PS | A | D);
    expect(faultsOf(s, 512, 'w')).toBe(1);
    const inside = LARGE + 40;
    s.link(inside, 0, DATA, ALL);
    s.link(s.path(2, 0, 0), 1, inside, ALL);
    s.invlpg(gvaOf(0, 0, 1, 0));
    expect(s.access(gvaOf(0, 0, 1, 0), 'r')).toBe(OK);
    // The next write to the table's own page must exit, and later ones to its neighbours still work.
    const faults = s.stats.get('shadow_page_faults');
    expect(s.access(gvaOf(0, 0, 0, 40), 'w')).toBe(OK);
    expect(s.stats.get('shadow_page_faults')).toBeGreaterThan(faults);
    expect(s.access(gvaOf(0, 0, 0, 41), 'w')).toBe(OK);
    expect(s.mapped(gvaOf(0, 0, 0, 41))).toBe(LARGE + 41);
  });

  test('a reserved bit inside a large page’s frame is found at every alignment', () => {
    const s = new Scene({ generation });
    const pd = s.path(2, 0, 0);
    const pdpt = s.path(3, 0);
    for (let bit = 13n; bit < 21n; bit++) {
      s.set(pd, 0, (BigInt(LARGE) << 12n) | (1n << bit) | ALL | PS);
      s.invlpg(0n);
      expect(s.access(0n, 'r')).toBe(pf(9));
    }
    for (let bit = 13n; bit < 30n; bit++) {
      s.set(pdpt, 2, (1n << bit) | ALL | PS);
      s.invlpg(gvaOf(0, 2, 0));
      expect(s.access(gvaOf(0, 2, 0), 'r')).toBe(pf(9));
    }
    // Bit 12 is the PAT bit of a large page and changes nothing.
    s.set(pd, 0, (BigInt(LARGE) << 12n) | (1n << 12n) | ALL | PS);
    s.invlpg(0n);
    expect(s.access(0n, 'r')).toBe(OK);
    expect(s.mapped(0n)).toBe(LARGE);
  });
});
