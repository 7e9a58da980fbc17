// Which areas a walk over a page visits, and when a page that was locked may be evicted again: Linux
// 6.1, mm/rmap.c, mm/interval_tree.c, mm/mlock.c. The recordings show each walk as folio_referenced_one.

import { expect, test } from 'vitest';
import { HPTE_PFN_SHIFT, PG_UNEVICTABLE } from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { Host } from '../../src/mm/host.ts';
import type { Mm } from '../../src/mm/mm.ts';
import { visitedInVain } from '../../src/mm/rmap-areas.ts';
import { reclaimPage } from '../../src/mm/vmscan/reclaim-page.ts';

const AT = 0x1000;

function makeHost(): Host {
  return new Host(loadCore('debug'), { frames: 4096, generation: MM_GENERATIONS['6.1'] });
}

function visited(host: Host, pfn: number): number[] {
  return visitedInVain(host, pfn).map(({ hvn }) => hvn);
}

function pfnOf(mm: Mm, hvn: number): number {
  return (mm.host.core.x.hpteGet(mm.id, hvn) >>> 0) >>> HPTE_PFN_SHIFT;
}

test("a child's area of shared memory comes after its parent's, until that one is cut", () => {
  const host = makeHost();
  const mm = host.createMm();
  mm.mmap({ hvn: AT, npages: 16, file: host.createShmem(), shared: true });
  mm.touch(AT + 2, true);
  const page = pfnOf(mm, AT + 2);
  mm.fork();
  // The child finds shared pages by faults: the walk ends at the parent's pte.
  expect(visited(host, page)).toEqual([]);
  mm.mprotect(AT + 8, 4, { read: true, write: false });
  // The parent's area was inserted anew, behind the child's that begins at the same page.
  expect(visited(host, page)).toEqual([AT + 2]);
});

test('an anonymous page that its parent has copied and moved is looked for at both places', () => {
  const host = makeHost();
  const mm = host.createMm();
  mm.mmap({ hvn: AT, npages: 8 });
  mm.touch(AT + 5, true);
  mm.fork();
  mm.touch(AT + 5, true);
  mm.mremap(AT + 5, 1, AT + 2);
  expect(visited(host, pfnOf(mm, AT + 2))).toEqual([AT + 5]);
});

test('a locked page that is copied on a write stays mlocked until the batch is emptied', () => {
  const host = makeHost();
  const { x } = host.core;
  x.lruSetBatch(15);
  const mm = host.createMm();
  mm.mmap({ hvn: AT, npages: 2 });
  mm.touch(AT, true);
  expect(mm.mlock(AT, 1, true)).toBe(0);
  const page = pfnOf(mm, AT);
  mm.fork();
  mm.touch(AT, true);
  expect(pfnOf(mm, AT)).not.toBe(page);
  expect(x.pageFlags(page) & PG_UNEVICTABLE).toBe(PG_UNEVICTABLE);
  x.lruAddDrain();
  expect(x.pageFlags(page) & PG_UNEVICTABLE).toBe(0);
});

test('reclaim of a page that only a child maps tells the parent, whose copy lies at the same place', () => {
  const host = new Host(loadCore('debug'), {
    frames: 4096,
    generation: MM_GENERATIONS['6.1'],
    aging: { ...AGING_PRESETS.clear_flush_young, hooks: '6.x' },
  });
  const mm = host.createMm();
  mm.mmap({ hvn: AT, npages: 8 });
  mm.touch(AT + 5, true);
  const page = pfnOf(mm, AT + 5);
  mm.fork();
  mm.touch(AT + 5, true);
  const calls: string[] = [];
  mm.registerNotifier({
    invalidateRangeStart: (from, to) => void calls.push(`start ${from - AT}+${to - from}`),
    invalidateRangeEnd: (from, to) => void calls.push(`end ${from - AT}+${to - from}`),
    invalidateRange: (from) => void calls.push(`range ${from - AT}`),
  });
  host.core.x.lruAddDrain();
  host.core.x.lruIsolate(page);
  host.task.stack[1] = page;
  host.task.stack[0] = 0;
  expect(reclaimPage(host.task, 0, host)).toBe(true);
  expect(calls).toEqual(['start 5+1', 'range 5', 'end 5+1']);
  expect(pfnOf(mm, AT + 5)).not.toBe(page);
});
