// Dirty logging over shadow paging, after the rules of KVM's selftests (dirty_log_test,
// dirty_log_page_splitting_test, memslot tests): no write is lost, large pages split and come back.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY } from '../../assembly/abi.ts';
import { A, ALL, D, LARGE, OK, PS, Scene, gvaOf } from './scene.ts';

/** The slot whose writes are logged: a size that is no multiple of 64. */
const REGION = { slot: 1, gfn: 0x8000, npages: 200, hvn: 0x8000 };

function logging(s: Scene, on: boolean): void {
  s.kvm.setUserMemoryRegion({ ...REGION, flags: on ? KVM_MEM_LOG_DIRTY_PAGES : 0 });
}

describe.each(['6.1', '2008'])('KVM %s', (generation) => {
  function scene(): Scene {
    const s = new Scene({ generation, frames: 4096, regions: [REGION] });
    const pt = s.path(1, 0, 0, 0);
    for (let i = 0; i < REGION.npages; i++) s.link(pt, i, REGION.gfn + i, ALL | A | D);
    return s;
  }

  test('each round logs exactly the pages written in it', () => {
    const s = scene();
    for (let i = 0; i < REGION.npages; i++) s.access(gvaOf(0, 0, 0, i), 'w');
    logging(s, true);
    expect(s.kvm.getDirtyLog(1)).toEqual([]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 199 }), { maxLength: 12 }), (written) => {
        for (const i of written) {
          expect(s.access(gvaOf(0, 0, 0, i), 'w')).toBe(OK);
          expect(s.access(gvaOf(0, 0, 0, (i * 7) % 200), 'r')).toBe(OK);
        }
        const log = [...new Set(written)].toSorted((a, b) => a - b);
        expect(s.kvm.getDirtyLog(1)).toEqual(log);
      }),
      { numRuns: 200, seed: 20080121 },
    );
  });

  test('a write costs one exit a round while logging, none after it is off', () => {
    const s = scene();
    const faults = (): number => {
      const before = s.stats.get('shadow_page_faults');
      for (let i = 0; i < 50; i++) expect(s.access(gvaOf(0, 0, 0, i), 'w')).toBe(OK);
      return s.stats.get('shadow_page_faults') - before;
    };
    faults();
    logging(s, true);
    expect(faults()).toBe(50);
    expect(faults()).toBe(0);
    expect(s.kvm.getDirtyLog(1).length).toBe(50);
    expect(faults()).toBe(50);
    logging(s, false);
    faults();
    expect(faults()).toBe(0);
    // kvm_get_dirty_log() fails where no bitmap is kept.
    expect(() => s.kvm.getDirtyLog(1)).toThrow('ENOENT');
  });

  test('guest tables in a logged slot are dirty where the walk sets A or D', () => {
    const s = new Scene({ generation, frames: 4096, regions: [REGION] });
    const table = REGION.gfn + 5;
    s.link(s.path(2, 0, 0), 0, table, ALL);
    s.link(table, 0, 300, ALL);
    logging(s, true);
    s.kvm.getDirtyLog(1);
    expect(s.access(0n, 'r')).toBe(OK);
    expect(s.kvm.getDirtyLog(1)).toEqual([5]);
    expect(s.access(0n, 'r')).toBe(OK);
    expect(s.kvm.getDirtyLog(1)).toEqual([]);
    expect(s.access(0n, 'w')).toBe(OK);
    expect(s.kvm.getDirtyLog(1)).toEqual([5]);
  });

  test('a large page of a logged slot is written by 4 KiB pages, and by large ones after', () => {
    const s = new Scene({ generation, frames: 4096, huge: true });
    s.link(s.path(2, 0, 0), 0, LARGE, ALL | PS | A | D);
    const touch = (n: number): number => {
      const before = s.stats.get('shadow_page_faults');
      for (let i = 0; i < n; i++) expect(s.access(gvaOf(0, 0, 0, i), 'w')).toBe(OK);
      return s.stats.get('shadow_page_faults') - before;
    };
    const whole = s.kvm.regions.find((r) => r.slot === 0);
    if (whole === undefined) throw new Error('the scene has slot 0');
    expect(touch(512)).toBe(1);
    s.kvm.setUserMemoryRegion({ ...whole, flags: KVM_MEM_LOG_DIRTY_PAGES });
    s.kvm.getDirtyLog(0);
    expect(touch(16)).toBe(16);
    const data = s.kvm.getDirtyLog(0).filter((gfn) => gfn >= LARGE);
    expect(data).toEqual(Array.from({ length: 16 }, (_, i) => LARGE + i));
    s.kvm.setUserMemoryRegion({ ...whole, flags: 0 });
    expect(touch(512)).toBe(1);
  });

  test('a read-only slot: reads and fetches run, a write is MMIO and never dirty', () => {
    const s = scene();
    s.kvm.setUserMemoryRegion({ ...REGION, npages: 0 });
    s.kvm.setUserMemoryRegion({ ...REGION, flags: KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES });
    expect(s.access(0n, 'r')).toBe(OK);
    expect(s.access(0n, 'x')).toBe(OK);
    expect(s.access(0n, 'w')).toBe('mmio');
    expect(s.access(0n, 'r')).toBe(OK);
    expect(s.kvm.getDirtyLog(1)).toEqual([]);
  });
});
