// Transparent huge pages and shared memory: one test a rule of Linux 6.1, with the function it stands in.
import { beforeEach, describe, expect, test } from 'vitest';
import * as abi from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { auditHost } from '../../src/mm/audit.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { Host } from '../../src/mm/host.ts';
import { khugepagedPass } from '../../src/mm/khugepaged.ts';
import type { Mm } from '../../src/mm/mm.ts';
import { BlockDevice, DEVICES } from '../../src/mm/swap-device.ts';
import { VM_HUGEPAGE } from '../../src/mm/vma.ts';
import { TwoListPolicy } from '../../src/mm/vmscan/two-list.ts';

const BASE = 0x10000;
const HUGE = abi.HPAGE_PMD_NR;

let host: Host;
let mm: Mm;
/** Notifier calls: name, first page and number of pages, relative to BASE. */
let calls: string[];

function start(npages: number, flags: number, file = 0): void {
  mm.mmap({ hvn: BASE, npages, flags, file, shared: file !== 0 });
}

beforeEach(() => {
  const core = loadCore('debug');
  host = new Host(core, {
    frames: 8192,
    generation: MM_GENERATIONS['6.1'],
    aging: { ...AGING_PRESETS.clear_flush_young, hooks: '6.x' },
    policy: new TwoListPolicy({ cluster: 32 }),
    swap: new BlockDevice(DEVICES.zram),
    thp: 'madvise',
  });
  core.x.lruSetBatch(15);
  mm = host.createMm();
  calls = [];
  const note =
    (name: string) =>
    (from: number, to: number): void => {
      calls.push(`${name} ${from - BASE}+${to - from}`);
    };
  mm.registerNotifier({
    invalidateRangeStart: note('start'),
    invalidateRangeEnd: note('end'),
    invalidateRange: note('range'),
    testYoung: (hvn) => {
      note('test')(hvn, hvn + 1);
      return false;
    },
    clearFlushYoung: (from, to) => {
      note('young')(from, to);
      return false;
    },
  });
});

function huge(page: number): boolean {
  return host.core.x.hpmdGet(mm.id, BASE + page) !== 0;
}

function pte(page: number): number {
  return host.core.x.hpteGet(mm.id, BASE + page) >>> 0;
}

function pfn(page: number): number {
  return pte(page) >>> abi.HPTE_PFN_SHIFT;
}

function sound(): void {
  expect(auditHost(host).problems).toEqual([]);
}

/** A huge page that went to swap as one, on a host with `outside` pages of others. */
function swappedOut(outside: number): void {
  host.core.x.workingsetSetOutside(outside);
  start(HUGE, VM_HUGEPAGE);
  mm.touch(BASE, true);
  mm.madvise(BASE, HUGE, 'pageout');
  mm.madvise(BASE, HUGE, 'pageout');
  expect(pte(0) & abi.HPTE_PRESENT).toBe(0);
}

/** Whether a page starts active when it comes back. */
function active(page: number): boolean {
  mm.touch(BASE + page, false);
  return (host.core.x.pageFlags(pfn(page)) & abi.PG_ACTIVE) !== 0;
}

describe('faults (create_huge_pmd)', () => {
  test('a write to an advised area takes 512 aligned frames, one list entry, one reference', () => {
    start(2 * HUGE, VM_HUGEPAGE);
    mm.touch(BASE + 7, true);
    expect([huge(0), huge(HUGE), pfn(511) - pfn(0), pfn(0) % HUGE]).toEqual([true, false, 511, 0]);
    expect(host.charged()).toBe(HUGE);
    expect(host.core.x.lruSize(abi.LRU_INACTIVE_ANON)).toBe(HUGE);
    expect(host.core.x.pageMapcount(pfn(100))).toBe(1);
    mm.munmap(BASE, 2 * HUGE);
    expect([host.charged(), host.core.x.mmUsed(mm.id)]).toEqual([0, 0]);
  });

  test('an area that is not advised, or too small, gets small pages (transhuge_vma_suitable)', () => {
    start(HUGE, 0);
    mm.touch(BASE, true);
    expect(huge(0)).toBe(false);
    mm.mmap({ hvn: BASE + HUGE + 1, npages: HUGE, flags: VM_HUGEPAGE });
    mm.touch(BASE + HUGE + 5, true);
    expect(huge(HUGE + 5)).toBe(false);
  });

  test('a table that was left empty keeps huge pages away until it is unmapped (pmd_none)', () => {
    start(HUGE, 0);
    mm.touch(BASE, true);
    mm.madvise(BASE, HUGE, 'dontneed');
    mm.madvise(BASE, HUGE, 'hugepage');
    mm.touch(BASE, true);
    expect(huge(0)).toBe(false);
    mm.munmap(BASE, HUGE);
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    expect(huge(0)).toBe(true);
  });

  test('a read maps the huge zero page; a write splits it and copies one page (do_huge_pmd_wp_page)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE + 3, false);
    expect([huge(0), host.charged()]).toEqual([true, 0]);
    mm.touch(BASE + 5, true);
    expect([huge(0), host.charged(), pfn(4)]).toEqual([false, 1, 0]);
    expect(calls).toEqual(['start 0+512', 'end 0+512', 'start 5+1', 'range 5+1', 'end 5+1']);
  });

  test('after a fork nobody may write the huge page: the pte is split and one page copied', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    const head = pfn(0);
    const child = mm.fork();
    expect([huge(0), host.core.x.pageMapcount(head + 9)]).toEqual([true, 2]);
    mm.touch(BASE + 9, true);
    expect([huge(0), pfn(8), pfn(9) === head + 9]).toEqual([false, head + 8, false]);
    child.exit();
    sound();
  });
});

describe('splitting', () => {
  test('MADV_DONTNEED of a part splits inside its own notifier call (zap_pmd_range)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.madvise(BASE + 7, 1, 'dontneed');
    expect(calls).toEqual([
      'start 7+1',
      'start 0+512',
      'end 0+512',
      'range 7+1',
      'end 7+1',
      'range 7+1',
    ]);
    expect([huge(0), pte(7), pte(8) & abi.HPTE_DIRTY]).toEqual([false, 0, 0]);
    expect(host.core.x.pageFlags(pfn(0)) & abi.PG_DIRTY).not.toBe(0);
    expect(host.charged()).toBe(HUGE);
  });

  test('cutting an area splits first, with or without a huge pte (vma_adjust_trans_huge)', () => {
    start(HUGE, 0);
    mm.touch(BASE, true);
    mm.mprotect(BASE + 10, 5, { read: true, write: false });
    expect(calls.slice(0, 3)).toEqual(['start 0+512', 'end 0+512', 'start 10+5']);
  });

  test('mprotect of a whole huge page does not split it, and back it stays read-only (change_huge_pmd)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.mprotect(BASE, HUGE, { read: true, write: false });
    mm.mprotect(BASE, HUGE, { read: true, write: true });
    expect([huge(0), pte(3) & abi.HPTE_WRITE]).toEqual([true, 0]);
    mm.touch(BASE + 3, true);
    expect([huge(0), pte(3) & abi.HPTE_WRITE]).toEqual([true, abi.HPTE_WRITE]);
  });

  test('mprotect of an area without tables tells nobody (change_pmd_range)', () => {
    start(HUGE, 0);
    mm.mprotect(BASE, HUGE, { read: true, write: false });
    expect(calls).toEqual([]);
  });

  test('mremap moves a huge page whole where both ends are aligned (move_huge_pmd)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    const head = pfn(0);
    mm.mremap(BASE, HUGE, BASE + 2 * HUGE);
    expect([huge(2 * HUGE), pfn(2 * HUGE)]).toEqual([true, head]);
    expect(host.core.x.rmapHvn(head + 3, 0)).toBe(BASE + 2 * HUGE + 3);
  });

  test('mremap moves a table whole, as it is, and leaves none behind (move_normal_pmd)', () => {
    start(2 * HUGE, 0);
    mm.touch(BASE + 3, true);
    mm.clearRefs(4);
    calls = [];
    mm.mremap(BASE, HUGE, BASE + 2 * HUGE);
    const { x } = host.core;
    expect([x.hpmdNone(mm.id, BASE), x.rmapHvn(pfn(2 * HUGE + 3), 0)]).toEqual([
      1,
      BASE + 2 * HUGE + 3,
    ]);
    expect(pte(2 * HUGE + 3) & abi.HPTE_AUX).toBe(abi.HPTE_AUX);
    // No table is freed where the old area was.
    expect(calls.at(-1)).toBe(`end 0+${HUGE}`);
    sound();
  });

  test('mremap of a part makes a table at the new place, even for nothing (move_ptes)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.mmap({ hvn: BASE + 2 * HUGE, npages: HUGE, flags: VM_HUGEPAGE, file: 0, shared: false });
    mm.madvise(BASE, 8, 'nohugepage');
    mm.touch(BASE + 3, true);
    mm.madvise(BASE + 3, 1, 'dontneed');
    mm.mremap(BASE, 4, BASE + 2 * HUGE);
    expect(host.core.x.hpmdNone(mm.id, BASE + 2 * HUGE)).toBe(0);
    sound();
  });

  test('an area is cut with a notice where no page is left, as long as the pmd table is there (mm_find_pmd)', () => {
    start(2 * HUGE, VM_HUGEPAGE);
    mm.mlock(BASE + 8, 8, true);
    expect(calls).toEqual([]);
    mm.mlock(BASE + 8, 8, false);
    mm.munmap(BASE, 2 * HUGE);
    start(2 * HUGE, VM_HUGEPAGE);
    mm.touch(BASE + HUGE, true);
    mm.madvise(BASE + HUGE, HUGE, 'dontneed');
    calls = [];
    mm.mprotect(BASE + 8, 8, { read: true, write: false });
    expect(calls).toEqual([`start 0+${HUGE}`, `end 0+${HUGE}`]);
  });

  test('MADV_FREE leaves a page whole whose first part is not mapped (folio_estimated_sharers)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.munmap(BASE, 2);
    mm.madvise(BASE + 100, 1, 'free');
    expect(host.core.x.pageFlags(pfn(100)) & abi.PG_HUGE).toBe(abi.PG_HUGE);
    sound();
  });

  test('MADV_FREE leaves a huge page of which a child maps parts (total_mapcount)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    const child = mm.fork();
    child.madvise(BASE, 8, 'dontneed');
    mm.madvise(BASE, HUGE, 'free');
    expect(pte(0) & abi.HPTE_DIRTY).toBe(abi.HPTE_DIRTY);
    sound();
  });

  test('MADV_PAGEOUT of a part splits the page, and only the part is judged', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.madvise(BASE + 4, 2, 'pageout');
    expect([pte(4) & abi.HPTE_PRESENT, pte(5) & abi.HPTE_PRESENT]).toEqual([0, 0]);
    expect(host.core.x.pageFlags(pfn(6)) & abi.PG_HUGE).toBe(0);
    expect(host.charged()).toBe(HUGE - 2);
    sound();
  });

  test('a page is split though a child maps another huge one at its place, which stays (__split_huge_pmd)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    const child = mm.fork();
    mm.touch(BASE, true);
    mm.madvise(BASE, HUGE, 'collapse');
    mm.mprotect(BASE + 8, 8, { read: true, write: false });
    const head = pfn(0);
    expect(host.core.x.pageFlags(head) & abi.PG_HUGE).toBe(abi.PG_HUGE);
    mm.madvise(BASE, 4, 'pageout');
    expect(pte(0) & abi.HPTE_PRESENT).toBe(0);
    expect(host.core.x.pageFlags(head + 20) & abi.PG_HUGE).toBe(0);
    const inChild = host.core.x.hpmdGet(child.id, BASE) >>> 0;
    expect([inChild === 0, inChild >>> abi.HPTE_PFN_SHIFT === head]).toEqual([false, false]);
    sound();
  });

  test('MADV_PAGEOUT of the whole asks once for 512 pages and swaps it out as one (THP_SWAP)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.madvise(BASE, HUGE, 'pageout');
    expect(calls[0]).toBe('young 0+512');
    expect([host.charged(), host.core.x.swapUsed()]).toEqual([0, HUGE]);
    mm.touch(BASE + 3, true);
    expect(host.core.x.swapUsed()).toBe(HUGE - 1);
    sound();
  });
});

describe('refaults (workingset_eviction)', () => {
  test('MADV_PAGEOUT of a huge page evicts for the whole host, whose lists its parts are judged by', () => {
    swappedOut(2 * HUGE);
    expect([active(0), active(511)]).toEqual([true, true]);
  });

  test('the parts of a huge page were evicted at the same age', () => {
    swappedOut(HUGE);
    expect([active(511), active(0)]).toEqual([true, false]);
  });
});

describe('collapsing (mm/khugepaged.c)', () => {
  test('MADV_COLLAPSE takes the range from all secondary MMUs, then moves the contents', () => {
    start(HUGE, 0);
    mm.touch(BASE, true);
    mm.touch(BASE + 9, true);
    host.core.mem.u8[host.core.x.frameContentForWrite(pfn(9)) >>> 0] = 77;
    expect(mm.madvise(BASE, HUGE, 'collapse')).toBe(0);
    expect(calls).toEqual(['start 0+512', 'range 0+512', 'end 0+512']);
    expect([huge(0), host.charged()]).toEqual([true, HUGE]);
    expect(host.core.mem.u8[host.core.x.frameContentPtr(pfn(9)) >>> 0]).toBe(77);
    sound();
  });

  test('MADV_NOHUGEPAGE and areas that were never touched refuse it (hugepage_vma_check)', () => {
    start(HUGE, 0);
    expect(mm.madvise(BASE, HUGE, 'collapse')).toBe(-22);
    mm.touch(BASE, true);
    mm.madvise(BASE, HUGE, 'nohugepage');
    expect(mm.madvise(BASE, HUGE, 'collapse')).toBe(-22);
  });

  test('khugepaged wants a young page, and half of them if one is swapped out', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.madvise(BASE, HUGE, 'nohugepage');
    for (let i = 0; i < 4; i++) mm.touch(BASE + i, true);
    mm.madvise(BASE + 3, 1, 'pageout');
    mm.madvise(BASE, HUGE, 'hugepage');
    khugepagedPass(host);
    expect(huge(0)).toBe(false);
    mm.touch(BASE + 3, true);
    khugepagedPass(host);
    expect(huge(0)).toBe(true);
  });

  test('khugepaged asks the secondary MMUs about each page that looks old itself (hpage_collapse_scan_pmd)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.madvise(BASE, HUGE, 'nohugepage');
    for (let i = 0; i < 4; i++) mm.touch(BASE + i, true);
    host.core.x.lruAddDrain();
    for (const i of [1, 3]) host.core.x.hpteTestAndClearYoung(mm.id, BASE + i);
    mm.madvise(BASE, HUGE, 'hugepage');
    khugepagedPass(host);
    const asked = calls.filter((call) => call.startsWith('test'));
    expect(asked).toEqual(['test 1+1', 'test 3+1', 'test 1+1', 'test 3+1']);
  });

  test('khugepaged sleeps on, and drains no batch, until it was told of an address space (khugepaged_wait_event)', () => {
    start(HUGE, 0);
    mm.touch(BASE, true);
    const listed = (): boolean => (host.core.x.pageFlags(pfn(0)) & abi.PG_LRU) !== 0;
    khugepagedPass(host);
    expect(listed()).toBe(false);
    mm.madvise(BASE, HUGE, 'hugepage');
    khugepagedPass(host);
    expect(listed()).toBe(true);
  });

  test('khugepaged looks where an advised area had pages when it was advised (khugepaged_enter_vma)', () => {
    start(HUGE, 0);
    for (let i = 0; i < 4; i++) mm.touch(BASE + i, false);
    mm.madvise(BASE, HUGE, 'hugepage');
    for (let i = 0; i < 4; i++) mm.touch(BASE + i, true);
    khugepagedPass(host);
    expect(huge(0)).toBe(false);
    mm.madvise(BASE, HUGE, 'nohugepage');
    mm.madvise(BASE, HUGE, 'hugepage');
    khugepagedPass(host);
    expect(huge(0)).toBe(true);
  });

  test('pages that are copied out of a locked area are locked no more where they wait to be freed', () => {
    start(HUGE, 0);
    for (let i = 0; i < 17; i++) mm.touch(BASE + i, true);
    mm.mlock(BASE, HUGE, true);
    const frames = [15, 16].map((page) => pfn(page + HUGE - 17));
    mm.madvise(BASE, HUGE, 'hugepage');
    expect(mm.madvise(BASE, HUGE, 'collapse')).toBe(0);
    const both = abi.PG_LRU_PENDING | abi.PG_UNEVICTABLE;
    const flags = frames.map((frame) => host.core.x.pageFlags(frame) & both);
    expect(flags).toEqual([abi.PG_LRU_PENDING, abi.PG_LRU_PENDING]);
    sound();
  });

  test('a huge page that a child still maps whole counts it once (total_mapcount)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.fork();
    mm.touch(BASE, true);
    expect(huge(0)).toBe(false);
    expect(mm.madvise(BASE, HUGE, 'collapse')).toBe(0);
    expect(huge(0)).toBe(true);
    sound();
  });

  test('clear_refs makes the huge zero page old and unreferenced (clear_refs_pte_range)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, false);
    host.core.x.markPageAccessed(pfn(0));
    expect(mm.clearRefs(1)).toBe(0);
    expect(pte(0) & abi.HPTE_YOUNG).toBe(0);
    expect(host.core.x.pageFlags(pfn(0)) & abi.PG_REFERENCED).toBe(0);
  });

  test('a page that somebody holds stops it (is_refcount_suitable)', () => {
    start(HUGE, 0);
    mm.touch(BASE, true);
    const pins = mm.pin(BASE, 1, true);
    expect(mm.madvise(BASE, HUGE, 'collapse')).toBe(-11);
    mm.unpin(pins, false);
    expect(mm.madvise(BASE, HUGE, 'collapse')).toBe(0);
  });
});

describe('reclaim (shrink_inactive_list, shrink_folio_list)', () => {
  test('a huge page counts as 512: a run that is to free four frees it, and no more', () => {
    start(2 * HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.touch(BASE + HUGE, true);
    expect(host.reclaim(4)).toBe(HUGE);
    expect([host.charged(), host.core.x.swapUsed()]).toEqual([HUGE, HUGE]);
    sound();
  });

  test('one that was freed lazily is dropped, or an ordinary page again if it was written (try_to_unmap_one)', () => {
    for (const [page, written] of [
      [0, false],
      [HUGE, true],
    ] as const) {
      start((page + HUGE) as number, VM_HUGEPAGE);
      mm.touch(BASE + page, true);
      mm.madvise(BASE + page, HUGE, 'free');
      if (written) mm.touch(BASE + page + 9, true);
      calls = [];
      expect(host.reclaim(4)).toBe(HUGE);
      expect([host.charged(), host.core.x.swapUsed()]).toEqual([0, written ? HUGE : 0]);
      // In use, it is only mapped in parts at first; then it is split, and each page goes by itself.
      const ranges = calls.filter((call) => call === `start ${page}+${HUGE}`);
      expect(ranges.length).toBe(written ? 4 : 2);
      sound();
      mm.munmap(BASE, page + HUGE);
    }
  });

  test('a page of which a part has moved is split area by area, in the order of its frames', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.mremap(BASE + 8, 2, BASE + 100);
    calls = [];
    mm.madvise(BASE, 8, 'cold');
    const cleared = calls.filter((call) => call.startsWith('start') && !call.endsWith('+512'));
    expect(cleared).toEqual(['start 0+8', 'start 100+2', 'start 10+90', 'start 102+410']);
    sound();
  });

  test('a huge page is not writable any more when its other rights change (change_huge_pmd)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.mprotect(BASE, HUGE, { read: true, write: true, exec: true });
    expect([huge(0), pte(0) & abi.HPTE_WRITE]).toEqual([true, 0]);
    sound();
  });

  test('pages of a huge page that is split are locked where a locked area maps them (remove_migration_pte)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    const first = pfn(0);
    mm.mlock(BASE + 8, 8, true);
    const locked = (page: number): boolean =>
      (host.core.x.pageFlags(first + page) & abi.PG_UNEVICTABLE) !== 0;
    expect(locked(8)).toBe(false);
    mm.madvise(BASE, 4, 'pageout');
    expect([7, 8, 15, 16].map(locked)).toEqual([false, true, true, false]);
    sound();
  });

  test('a locked page is no longer locked once it is mapped in parts (munlock_vma_page)', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.mlock(BASE, HUGE, true);
    const head = pfn(0);
    expect(host.core.x.pageFlags(head) & abi.PG_UNEVICTABLE).toBe(abi.PG_UNEVICTABLE);
    mm.munmap(BASE + 7, 1);
    expect(host.core.x.pageFlags(head) & abi.PG_UNEVICTABLE).toBe(0);
    sound();
  });

  test('one that small ptes map in part is asked in one walk, then split and reclaimed page by page', () => {
    start(HUGE, VM_HUGEPAGE);
    mm.touch(BASE, true);
    mm.madvise(BASE + 7, 1, 'dontneed');
    host.core.x.lruAddDrain();
    calls = [];
    expect(host.reclaim(4)).toBe(HUGE - 1);
    expect([host.charged(), host.core.x.swapUsed()]).toEqual([0, HUGE - 1]);
    const asked = calls.filter((call) => call.startsWith('young'));
    // Each pte twice while the page is a huge one, then those of its tails.
    expect(asked.length).toBe(2 * (HUGE - 1) + HUGE - 2);
    expect(asked.slice(0, 8)).toEqual([0, 1, 2, 3, 4, 5, 6, 8].map((page) => `young ${page}+1`));
    sound();
  });
});

describe('shared memory (mm/shmem.c)', () => {
  test('a read maps writable and clean; what is cached in the same 64 KiB is mapped too (filemap_map_pages)', () => {
    start(64, 0, host.createShmem());
    for (let i = 0; i < 20; i++) mm.touch(BASE + i, true);
    mm.madvise(BASE, 64, 'dontneed');
    expect(mm.access(BASE + 3, false)).toBe(abi.VM_FAULT_NOPAGE);
    const flags = abi.HPTE_PRESENT | abi.HPTE_WRITE | abi.HPTE_DIRTY;
    expect([pte(0), pte(15), pte(16)].map((p) => p & flags)).toEqual([3, 3, 0]);
    expect(mm.access(BASE + 40, false)).toBe(abi.VM_FAULT_LOCKED);
  });

  test('what a locked area maps of the page cache is locked, around a fault, too (mlock_vma_page)', () => {
    start(32, 0, host.createShmem());
    for (let i = 0; i < 4; i++) mm.touch(BASE + i, true);
    host.core.x.lruAddDrain();
    mm.madvise(BASE, 32, 'dontneed');
    mm.mlock(BASE, 3, true);
    const flags = [0, 1, 2].map((page) => host.core.x.pageFlags(pfn(page)) & abi.PG_UNEVICTABLE);
    expect(flags).toEqual([abi.PG_UNEVICTABLE, abi.PG_UNEVICTABLE, abi.PG_UNEVICTABLE]);
    mm.touch(BASE + 3, true);
    expect(host.core.x.pageFlags(pfn(3)) & abi.PG_UNEVICTABLE).toBe(0);
    sound();
  });

  test('dirty ptes are flushed inside the walk, clean ones at its end (zap_pte_range, force_flush)', () => {
    start(8, 0, host.createShmem());
    mm.touch(BASE, false);
    mm.touch(BASE + 1, true);
    mm.madvise(BASE, 1, 'dontneed');
    expect(calls).toEqual(['start 0+1', 'range 0+1', 'end 0+1', 'range 0+1']);
    calls = [];
    mm.madvise(BASE + 1, 1, 'dontneed');
    expect(calls).toEqual(['start 1+1', 'range 1+1', 'range 1+1', 'end 1+1']);
  });

  test('a reclaimed page goes to swap and comes back dirty; a hole drops it there too', () => {
    const file = host.createShmem();
    start(8, 0, file);
    mm.touch(BASE, true);
    host.core.mem.u8[host.core.x.frameContentForWrite(pfn(0)) >>> 0] = 9;
    mm.madvise(BASE, 1, 'pageout');
    expect([pte(0), host.core.x.swapUsed()]).toEqual([0, 1]);
    sound();
    expect(mm.access(BASE, false)).toBe(abi.VM_FAULT_MAJOR | abi.VM_FAULT_LOCKED);
    expect(host.core.mem.u8[host.core.x.frameContentPtr(pfn(0)) >>> 0]).toBe(9);
    expect(host.core.x.pageFlags(pfn(0)) & abi.PG_DIRTY).not.toBe(0);
    mm.madvise(BASE, 1, 'pageout');
    expect(mm.madvise(BASE, 8, 'remove')).toBe(0);
    expect([host.core.x.swapUsed(), host.charged()]).toEqual([0, 0]);
    sound();
  });

  test('MADV_REMOVE: EINVAL without a file, EACCES on a private mapping, EINVAL while locked', () => {
    start(8, 0);
    expect(mm.madvise(BASE, 1, 'remove')).toBe(-22);
    mm.mmap({ hvn: BASE + 100, npages: 8, file: host.createShmem(), shared: false });
    expect(mm.madvise(BASE + 100, 1, 'remove')).toBe(-13);
    mm.mmap({ hvn: BASE + 200, npages: 8, file: host.createShmem(), shared: true });
    mm.mlock(BASE + 200, 8, true);
    expect(mm.madvise(BASE + 200, 1, 'remove')).toBe(-22);
  });

  test('after clear_refs a read maps it read-only, so that the write is seen (vma_wants_writenotify)', () => {
    start(8, 0, host.createShmem());
    mm.clearRefs(4);
    mm.touch(BASE, false);
    expect(pte(0) & abi.HPTE_WRITE).toBe(0);
    mm.touch(BASE, true);
    expect(pte(0) & abi.HPTE_WRITE).toBe(abi.HPTE_WRITE);
  });
});
