// Where the notifier hooks sit, hook by hook: mmu notifiers v3 as posted (20080121125204.GJ6970@v2.random)
// and the merged interface of 2.6.27 (mm/memory.c, mm/mmap.c, mm/rmap.c, mm/mmu_notifier.c). Each call is
// recorded with what the ptes and the frames were at that moment.
import { describe, expect, test } from 'vitest';
import * as abi from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { AGING_PRESETS, type AgingPreset } from '../../src/mm/aging.ts';
import { followPage } from '../../src/mm/gup.ts';
import { Host } from '../../src/mm/host.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import type { Mm } from '../../src/mm/mm.ts';
import type { MmuNotifierOps } from '../../src/mm/notifier-ops.ts';
import { VM_HUGETLB } from '../../src/mm/vma.ts';
import { FifoPolicy } from '../../src/mm/vmscan/fifo.ts';
import { pageReferenced } from '../../src/mm/vmscan/referenced.ts';

const FRAMES = 32;
const PAGES = 4;

/** A process with four written pages, and secondary MMUs that write down how they are called. */
class Watched {
  readonly host: Host;
  readonly mm: Mm;
  readonly base: number;
  readonly calls: string[] = [];
  readonly #free: number;

  constructor(aging: AgingPreset, { flags = 0, generation = MM_GENERATIONS['2008'] } = {}) {
    const policy = new FifoPolicy();
    this.host = new Host(loadCore('debug'), { frames: FRAMES, policy, aging, generation });
    this.mm = this.host.createMm();
    this.base = this.mm.mmap({ npages: PAGES, flags });
    this.#free = this.host.core.x.framesFree();
    for (let i = 0; i < PAGES; i++) this.mm.access(this.base + i, true);
  }

  /** Registers a notifier; its calls carry `name`. */
  watch(name = ''): number {
    const said = (call: string, hvn?: number): void => {
      const at = hvn === undefined ? '' : ` ${hvn - this.base}`;
      this.calls.push(`${name}${call}${at}: ${this.#state()}`);
    };
    const ops: MmuNotifierOps = {
      release: () => said('release'),
      agePage: (hvn) => said('age_page', hvn),
      invalidatePage: (hvn) => said('invalidate_page', hvn),
      // The op of v2 and v3; one of that name came back with 3.19.
      ...(this.mm.hooks === 'v3'
        ? { invalidateRange: (start) => said('invalidate_range', start) }
        : {}),
      invalidateRangeStart: (start) => said('start', start),
      invalidateRangeEnd: (start) => said('end', start),
    };
    return this.mm.registerNotifier(ops);
  }

  pte(page: number): number {
    return this.host.core.x.hpteGet(this.mm.id, this.base + page) >>> 0;
  }

  /** page_referenced() on the page. */
  referenced(page: number): number {
    const pfn = this.pte(page) >>> abi.HPTE_PFN_SHIFT;
    return this.mm.run((t, at) => pageReferenced(t, at, this.host), pfn);
  }

  makeOld(page: number): void {
    this.host.core.x.hpteTestAndClearYoung(this.mm.id, this.base + page);
  }

  #state(): string {
    let mapped = 0;
    for (let i = 0; i < PAGES; i++) if ((this.pte(i) & abi.HPTE_PRESENT) !== 0) mapped++;
    return `${mapped} mapped, ${this.#free - this.host.core.x.framesFree()} taken`;
  }
}

function watched(aging: AgingPreset, options = {}): Watched {
  const it = new Watched(aging, options);
  it.watch();
  return it;
}

describe('v3 as posted', () => {
  const { v3 } = AGING_PRESETS;

  test('ptep_clear_flush_young: age_page only if the pte was young, after it was made old', () => {
    const it = watched(v3);
    expect(it.referenced(0)).toBe(1);
    expect(it.calls).toEqual(['age_page 0: 4 mapped, 4 taken']);
    expect(it.pte(0) & abi.HPTE_YOUNG).toBe(0);
    expect(it.referenced(0)).toBe(0);
    expect(it.calls).toHaveLength(1);
  });

  test('ptep_clear_flush: invalidate_page after the pte was cleared, before the page is free', () => {
    const it = watched(v3);
    for (let i = 0; i < PAGES; i++) it.makeOld(i);
    it.host.reclaim(1);
    expect(it.calls).toEqual(['invalidate_page 0: 3 mapped, 4 taken']);
  });

  test('zap_page_range and unmap_region: one invalidate_range, when the pages are free already', () => {
    const it = watched(v3);
    it.mm.madvise(it.base, 2, 'dontneed');
    it.mm.munmap(it.base + 2, 2);
    expect(it.calls).toEqual([
      'invalidate_range 0: 2 mapped, 2 taken',
      'invalidate_range 2: 0 mapped, 0 taken',
    ]);
  });

  test('hugetlb: invalidate_range after the ptes went, before the pages are put', () => {
    const it = watched(v3, { flags: VM_HUGETLB });
    it.mm.madvise(it.base, 2, 'dontneed');
    it.mm.munmap(it.base + 2, 2);
    expect(it.calls).toEqual([
      'invalidate_range 0: 2 mapped, 4 taken',
      'invalidate_range 2: 0 mapped, 2 taken',
    ]);
  });

  test('exit_mmap: no invalidation, release when the pages are free, and never again', () => {
    const it = watched(v3);
    it.mm.exit();
    expect(it.calls).toEqual(['release: 0 mapped, 0 taken']);
    it.mm.exit();
    expect(it.calls).toHaveLength(1);
  });

  test('do_wp_page: invalidate_page for the page that is replaced', () => {
    const it = watched(v3, { generation: { ...MM_GENERATIONS['2008'], forkHook: false } });
    const child = it.mm.fork();
    expect(it.calls).toEqual([]);
    it.mm.access(it.base, true);
    // The copy is made before the old pte goes, and is not mapped yet.
    expect(it.calls).toEqual(['invalidate_page 0: 3 mapped, 5 taken']);
    child.exit();
  });

  test('follow_page with FOLL_TOUCH makes an old pte young', () => {
    const it = watched(v3);
    it.makeOld(1);
    const pfn = followPage(it.mm, it.base + 1, 0);
    expect(it.pte(1) & abi.HPTE_YOUNG).toBe(0);
    expect(followPage(it.mm, it.base + 1, abi.FOLL_TOUCH)).toBe(pfn);
    expect(it.pte(1) & abi.HPTE_YOUNG).not.toBe(0);
    it.mm.unpin([pfn, pfn], false);
  });

  test('the newest notifier is called first, and one that left is not called', () => {
    const it = new Watched(v3);
    it.watch('first ');
    const second = it.watch('second ');
    it.watch('third ');
    it.mm.madvise(it.base, 1, 'dontneed');
    it.mm.unregisterNotifier(second);
    it.mm.madvise(it.base + 1, 1, 'dontneed');
    expect(it.calls.map((call) => call.split(':')[0])).toEqual([
      'third invalidate_range 0',
      'second invalidate_range 0',
      'first invalidate_range 0',
      'third invalidate_range 1',
      'first invalidate_range 1',
    ]);
  });
});

describe('2.6.27', () => {
  const { clear_flush_young: merged } = AGING_PRESETS;

  test('unmapping is between start and end, and the pages are free after end', () => {
    const it = watched(merged);
    it.mm.madvise(it.base, 2, 'dontneed');
    it.mm.munmap(it.base + 2, 2);
    expect(it.calls).toEqual([
      'start 0: 4 mapped, 4 taken',
      'end 0: 2 mapped, 4 taken',
      'start 2: 2 mapped, 2 taken',
      'end 2: 0 mapped, 2 taken',
    ]);
  });

  test('exit_mmap: release comes first, with everything still mapped', () => {
    const it = watched(merged);
    it.mm.exit();
    expect(it.calls).toEqual(['release: 4 mapped, 4 taken']);
  });

  test('fork write-protects between start and end', () => {
    const it = watched(merged);
    const child = it.mm.fork();
    expect(it.calls).toEqual(['start 0: 4 mapped, 4 taken', 'end 0: 4 mapped, 4 taken']);
    child.exit();
  });
});

test('compiled out, nothing is called', () => {
  const it = watched(AGING_PRESETS.none);
  it.mm.madvise(it.base, 1, 'dontneed');
  it.referenced(1);
  it.mm.munmap(it.base, PAGES);
  it.mm.exit();
  expect(it.calls).toEqual([]);
});
