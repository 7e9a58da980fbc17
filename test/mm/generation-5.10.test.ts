// The host mm of 5.10 where 6.1 has another rule: each test runs on both and names 5.10's function.
import { describe, expect, test } from 'vitest';
import * as abi from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { auditHost } from '../../src/mm/audit.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { Host } from '../../src/mm/host.ts';
import type { Mm } from '../../src/mm/mm.ts';

type Name = keyof typeof MM_GENERATIONS;

const PAGES = 4;

function setUp(name: Name): { host: Host; mm: Mm } {
  const aging = { ...AGING_PRESETS.clear_flush_young, hooks: '6.x' as const };
  const generation = MM_GENERATIONS[name];
  const host = new Host(loadCore('debug'), { frames: 64, generation, aging });
  return { host, mm: host.createMm() };
}

function pteOf(host: Host, mm: Mm, hvn: number): number {
  return host.core.x.hpteGet(mm.id, hvn) >>> 0;
}

function pfnOf(host: Host, mm: Mm, hvn: number): number {
  return pteOf(host, mm, hvn) >>> abi.HPTE_PFN_SHIFT;
}

// 5.10 do_wp_page(): page_count() and page_mapcount() must be 1; 6.1 drops what it can first.
describe('a write to a page that only the swap cache holds besides', () => {
  test.each([
    ['5.10', false],
    ['6.1', true],
  ] as const)('%s', (name, reused) => {
    const { host, mm } = setUp(name);
    const base = mm.mmap({ npages: PAGES });
    mm.access(base, true);
    for (let i = 0; i < 4; i++) host.reclaim(1);
    expect(pteOf(host, mm, base) & abi.HPTE_SWAP).toBe(abi.HPTE_SWAP);
    mm.access(base, false);
    const before = pfnOf(host, mm, base);
    mm.access(base, true);
    expect(pfnOf(host, mm, base) === before).toBe(reused);
    expect(auditHost(host).problems).toEqual([]);
  });
});

// 5.10 change_pte_range(): only a soft-dirty tracker made a pte writable again.
describe('mprotect back to writable', () => {
  test.each([
    ['5.10', 0],
    ['6.1', abi.HPTE_WRITE],
  ] as const)('%s', (name, writable) => {
    const { host, mm } = setUp(name);
    const base = mm.mmap({ npages: PAGES });
    mm.access(base, true);
    mm.mprotect(base, 1, { read: true, write: false });
    mm.mprotect(base, 1, { read: true, write: true });
    expect(pteOf(host, mm, base) & abi.HPTE_WRITE).toBe(writable);
  });
});

// 5.10 fault_dirty_shared_page(): VM_FAULT_RETRY after balance_dirty_pages(); VM_FAULT_COMPLETED since 6.0.
describe('a write that makes a page of shared memory dirty', () => {
  test.each([
    ['5.10', [0, abi.FAULT_FLAG_TRIED]],
    ['6.1', [0]],
  ] as const)('%s', (name, tried) => {
    const { host, mm } = setUp(name);
    const base = mm.mmap({ npages: PAGES, file: host.createShmem(), shared: true });
    const seen: number[] = [];
    host.core.trace((id, _hvn, flags) => {
      if (id === abi.EVENT_HOST_FAULT) seen.push(flags & abi.FAULT_FLAG_TRIED);
    });
    mm.touch(base, true);
    mm.touch(base, true);
    host.core.trace(null);
    expect(seen).toEqual(tried);
    expect(pteOf(host, mm, base) & abi.HPTE_WRITE).toBe(abi.HPTE_WRITE);
  });
});
