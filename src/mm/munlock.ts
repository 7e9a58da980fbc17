// Locked areas that do not map a page any more (cf. munlock_vma_page() and mlock_count, mm/mlock.c and mm/rmap.c, 6.1): the
// page waits in the CPU's batch of mlocked pages, and may be evicted from then on, unless another locked area maps it.

import * as abi from '../../assembly/abi.ts';
import { isNormalPte } from './host-pte.ts';
import type { Mm } from './mm.ts';
import { VM_LOCKED, vmasWithin } from './vma.ts';

/** Whether a locked area maps a page, as several may where pages were merged (mlock_count). */
export function isLocked({ host }: Mm, pfn: number): boolean {
  const { x } = host.core;
  for (let i = 0; i < x.pageMapcount(pfn); i++) {
    const vma = host.mm(x.rmapMm(pfn, i)).findVma(x.rmapHvn(pfn, i));
    if (((vma?.flags ?? 0) & VM_LOCKED) !== 0) return true;
  }
  return false;
}

/** A small pte of a locked area, which did map a page, is gone; the caller holds the page. */
export function munlockMapped(mm: Mm, pfn: number): void {
  const { x } = mm.host.core;
  const still = isLocked(mm, pfn);
  if (!mm.host.generation.mlockBatch) {
    if (!still) x.munlockVmaPage(pfn);
    return;
  }
  // What small ptes map of a huge page is not locked.
  if ((x.pageFlags(pfn) & abi.PG_HUGE) === 0) x.munlockPage(pfn, still ? 0 : 1);
}

/** Pages that the locked areas in [start, end) map by small ptes, and where; they wait in the batch once they are unmapped. */
export function lockedPages(mm: Mm, start: number, end: number): [hvn: number, pfn: number][] {
  const { x } = mm.host.core;
  const pages: [number, number][] = [];
  if (!mm.host.generation.mlockBatch) return pages;
  for (const part of vmasWithin(mm.vmas, start, end)) {
    if ((part.flags & VM_LOCKED) === 0) continue;
    let hvn = x.hpteNextMapped(mm.id, part.start, part.end) >>> 0;
    for (; hvn < part.end; hvn = x.hpteNextMapped(mm.id, hvn + 1, part.end) >>> 0) {
      const pte = x.hpteGet(mm.id, hvn) >>> 0;
      const pfn = pte >>> abi.HPTE_PFN_SHIFT;
      const present = isNormalPte(pte);
      if (present && pfn !== abi.ZERO_PFN) pages.push([hvn, pfn]);
    }
  }
  return pages;
}
