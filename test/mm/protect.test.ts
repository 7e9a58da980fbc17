// mprotect, mlock and fork where 6.1 is particular: each test names the kernel's function.
import { expect, test } from 'vitest';
import * as abi from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { auditHost } from '../../src/mm/audit.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { Host } from '../../src/mm/host.ts';
import type { Mm } from '../../src/mm/mm.ts';
import { VM_LOCKED, VM_WRITE } from '../../src/mm/vma.ts';

const ENOMEM = -12;
const EFAULT = -14;
const EINVAL = -22;
const PAGES = 16;

function setUp(): { host: Host; mm: Mm; base: number } {
  const aging = { ...AGING_PRESETS.clear_flush_young, hooks: '6.x' as const };
  const host = new Host(loadCore('debug'), {
    frames: 64,
    generation: MM_GENERATIONS['6.1'],
    aging,
  });
  const mm = host.createMm();
  const base = mm.mmap({ npages: PAGES });
  for (let i = 0; i < PAGES; i++) mm.access(base + i, true);
  return { host, mm, base };
}

function pteOf(host: Host, mm: Mm, hvn: number): number {
  return host.core.x.hpteGet(mm.id, hvn) >>> 0;
}

// do_mprotect_pkey(): one mmu_gather for all areas, finished at the end.
test('mprotect over several areas tells secondary TLBs of one range', () => {
  const { host, mm, base } = setUp();
  mm.mprotect(base + 1, 1, { read: true, write: false });
  const ranges: [number, number][] = [];
  mm.registerNotifier({
    invalidateRange: (start: number, end: number) => void ranges.push([start - base, end - base]),
  });
  mm.mprotect(base, 3, { read: false, write: false });
  expect(ranges.filter(([start, end]) => start === 0 && end === 3)).toHaveLength(1);
  for (let i = 0; i < 3; i++) {
    expect(pteOf(host, mm, base + i) & abi.HPTE_PROTNONE).toBe(abi.HPTE_PROTNONE);
  }
  mm.mprotect(base, 3, { read: true, write: true });
  expect(pteOf(host, mm, base) & abi.HPTE_PROTNONE).toBe(0);
  expect(auditHost(host, 0).problems).toEqual([]);
});

// do_mprotect_pkey(): -ENOMEM at the first hole; what came before has its rights.
test('mprotect stops at the first hole', () => {
  const { mm, base } = setUp();
  mm.munmap(base + 4, 1);
  const writable = (hvn: number): boolean => ((mm.findVma(hvn)?.flags ?? 0) & VM_WRITE) !== 0;
  const readOnly = { read: true, write: false };
  expect(mm.mprotect(base + 4, 2, readOnly)).toBe(ENOMEM);
  expect(mm.mprotect(base + 2, 6, readOnly)).toBe(ENOMEM);
  expect([writable(base + 3), writable(base + 5)]).toEqual([false, true]);
  expect(mm.mprotect(base + 2, 2, readOnly)).toBe(0);
});

// apply_vma_lock_flags(): -ENOMEM at the first hole; what came before stays locked.
test('mlock locks up to the first hole', () => {
  const { mm, base } = setUp();
  mm.munmap(base + 4, 1);
  const locked = (hvn: number): boolean => ((mm.findVma(hvn)?.flags ?? 0) & VM_LOCKED) !== 0;
  expect(mm.mlock(base + 4, 4, true)).toBe(ENOMEM);
  expect(locked(base + 5)).toBe(false);
  expect(mm.mlock(base + 2, 6, true)).toBe(ENOMEM);
  expect([locked(base + 2), locked(base + 3), locked(base + 5)]).toEqual([true, true, false]);
});

// dup_mmap(): tmp->vm_flags &= ~(VM_LOCKED | VM_LOCKONFAULT).
test('a child does not inherit locks', () => {
  const { mm, base } = setUp();
  mm.mlock(base, 2, true);
  const child = mm.fork();
  expect((child.findVma(base)?.flags ?? 0) & VM_LOCKED).toBe(0);
  expect((mm.findVma(base)?.flags ?? 0) & VM_LOCKED).toBe(VM_LOCKED);
});

// mremap_to(), vma_to_resize(): one call moves what lies in one area, which is found out late.
test('mremap of more than one area fails when the target is gone already', () => {
  const { mm, base } = setUp();
  mm.mprotect(base + 2, 1, { read: true, write: false });
  expect(mm.mremap(base + 1, 2, base + 8)).toBe(EFAULT);
  expect([mm.findVma(base + 1), mm.findVma(base + 8)].map((vma) => vma !== undefined)).toEqual([
    true,
    false,
  ]);
  expect(mm.mremap(base + 9, 1, base + 10)).toBe(EFAULT);
  expect(mm.mremap(base + 3, 2, base + 4)).toBe(EINVAL);
  expect(mm.mremap(base + 3, 2, base + 8)).toBe(base + 8);
});

// move_vma() advises MADV_UNMERGEABLE first.
test('merged pages are parted before they move', () => {
  const { host, mm, base } = setUp();
  mm.madvise(base, 4, 'mergeable');
  host.ksm.scan(8, () => {});
  const pfn = (hvn: number): number => pteOf(host, mm, hvn) >>> abi.HPTE_PFN_SHIFT;
  const merged = pfn(base);
  expect(pfn(base + 1)).toBe(merged);
  mm.mremap(base, 1, base + 8);
  expect(pfn(base + 8)).not.toBe(merged);
  expect(host.core.x.pageFlags(pfn(base + 8)) & abi.PG_KSM).toBe(0);
  expect(auditHost(host, 0).problems).toEqual([]);
});

// change_pte_range(), can_change_pte_writable(), pte_needs_flush(): PROT_EXEC is a right like the others.
test('mprotect that only adds PROT_EXEC tells secondary TLBs of all present ptes, and judges writable ones anew', () => {
  const { host, mm, base } = setUp();
  const { x } = host.core;
  const clean = pteOf(host, mm, base + 2) & ~abi.HPTE_DIRTY;
  x.hpteSet(mm.id, base + 2, clean);
  mm.madvise(base + 3, 1, 'dontneed');
  const ranges: [number, number][] = [];
  mm.registerNotifier({
    invalidateRange: (start: number, end: number) => void ranges.push([start - base, end - base]),
  });
  mm.mprotect(base + 1, 3, { read: true, write: true, exec: true });
  expect(ranges.at(-1)).toEqual([1, 3]);
  const writable = [1, 2].map((i) => (pteOf(host, mm, base + i) & abi.HPTE_WRITE) !== 0);
  expect(writable).toEqual([true, false]);
  expect(mm.vmas.filter((vma) => vma.start >= base && vma.end <= base + PAGES)).toHaveLength(3);
  mm.mprotect(base + 1, 3, { read: true, write: true });
  expect(mm.vmas.filter((vma) => vma.start >= base && vma.end <= base + PAGES)).toHaveLength(1);
});
