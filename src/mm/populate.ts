// Faulting ranges in ahead of their use: MADV_POPULATE_*, mlock, MADV_WILLNEED (cf. mm/gup.c,
// mm/mlock.c, mm/madvise.c, 6.1).

import * as abi from '../../assembly/abi.ts';
import { ERRNO } from '../core/errors.ts';
import { handleMmFault } from './fault.ts';
import { followPage } from './gup.ts';
import { isNormalPte } from './host-pte.ts';
import { cutAreas } from './huge-memory.ts';
import type { Mm } from './mm.ts';
import { isLocked } from './munlock.ts';
import {
  VM_LOCKED,
  VM_READ,
  VM_SHARED,
  VM_WRITE,
  type Vma,
  vmasFlagged,
  vmasWithin,
} from './vma.ts';

/** PAGEVEC_SIZE. */
const PAGEVEC_SIZE = 15;
/** Flags of the faults of get_user_pages() without FOLL_NOWAIT. */
const POPULATE_FAULT = abi.FAULT_FLAG_ALLOW_RETRY | abi.FAULT_FLAG_KILLABLE;

/**
 * Whether a write fault makes a page of shared memory dirty: fault_dirty_shared_page() then gives up the
 * mmap_lock, and faultin_page_range() starts anew, which drains the batches.
 */
function dirtiesShared(mm: Mm, area: Vma, hvn: number): boolean {
  const { x } = mm.host.core;
  if ((area.flags & VM_SHARED) === 0 || !mm.host.shmemFiles.includes(area.file)) return false;
  const offset = mm.pgoffOf(hvn);
  const pfn = x.filemapGet(area.file, offset);
  if (pfn !== 0) return (x.pageFlags(pfn) & abi.PG_DIRTY) === 0;
  return x.shmemSlot(area.file, offset) >>> 0 === abi.NO_SLOT;
}

/**
 * __get_user_pages(FOLL_TOUCH) over an area; `found` is done with each page (FOLL_MLOCK), and
 * then the batches are not emptied at the end. Result: 0 or a negative errno.
 */
export function faultIn(
  mm: Mm,
  area: Vma,
  write: boolean,
  found: ((pfn: number) => void) | null = null,
): number {
  const { x } = mm.host.core;
  const foll = abi.FOLL_TOUCH | (write ? abi.FOLL_WRITE : 0);
  const flags = POPULATE_FAULT | (write ? abi.FAULT_FLAG_WRITE : 0);
  for (let hvn = area.start; hvn < area.end;) {
    const pfn = followPage(mm, hvn, foll);
    if (pfn >= 0) {
      x.putPage(pfn);
      found?.(pfn);
      hvn++;
      continue;
    }
    const dirties = write && dirtiesShared(mm, area, hvn);
    const result = mm.run((t, at) => handleMmFault(t, at, mm), hvn, flags);
    if (result < 0) return populated(mm, result, found);
    if (dirties && found === null) x.lruAddDrain();
  }
  return populated(mm, 0, found);
}

/** The end of a populate, with an error or without. */
function populated(mm: Mm, result: number, found: ((pfn: number) => void) | null): number {
  if (found === null) mm.host.core.x.lruAddDrain();
  return result;
}

/** Of each page; the batches are the caller's to empty. */
const NOTHING = (): void => {};

/** MADV_POPULATE_READ and _WRITE of one area; -EINVAL: it forbids the access. */
export function populate(mm: Mm, area: Vma, write: boolean): number {
  if (!mm.permits(area, write)) return -ERRNO.EINVAL;
  const later = mm.host.generation.populatesWhole ? NOTHING : null;
  return faultIn(mm, area, write, later);
}

/** mlock_pte_range over a part whose flags just changed. */
function lockPages(mm: Mm, part: Vma, locked: boolean): void {
  const { x } = mm.host.core;
  x.lruAddDrain();
  let hvn = x.hpteNextMapped(mm.id, part.start, part.end) >>> 0;
  for (; hvn < part.end; hvn = x.hpteNextMapped(mm.id, hvn + 1, part.end) >>> 0) {
    const pte = x.hpteGet(mm.id, hvn) >>> 0;
    if (!isNormalPte(pte)) continue;
    // A huge page is locked as one; one that small ptes map is left alone.
    const huge = mm.host.thp !== 'never' && x.hpmdGet(mm.id, hvn) !== 0;
    const pfn = huge ? x.folioOf(pte >>> abi.HPTE_PFN_SHIFT) : pte >>> abi.HPTE_PFN_SHIFT;
    if (huge) hvn |= abi.HPAGE_PMD_NR - 1;
    else if ((x.pageFlags(pfn) & abi.PG_HUGE) !== 0) continue;
    if (locked) x.lruSetFlags(pfn, abi.PG_UNEVICTABLE, abi.PG_ACTIVE);
    else if (!isLocked(mm, pfn)) x.lruSetFlags(pfn, 0, abi.PG_UNEVICTABLE);
  }
  x.lruAddDrain();
}

/** What mlock() does to each page that it comes to, where that is not done ahead of its faults (FOLL_MLOCK). */
function lockerOf(mm: Mm): ((pfn: number) => void) | null {
  if (mm.host.generation.mlockBatch) return null;
  const { x } = mm.host.core;
  return (pfn) => {
    if (pfn !== abi.ZERO_PFN && (x.pageFlags(pfn) & abi.PG_HUGE) === 0) x.mlockVmaPage(pfn);
  };
}

/** munlock_vma_pages_range of 5.10: up to a batch of pages of one table at a time. */
function munlockPages(mm: Mm, part: Vma): void {
  const { x } = mm.host.core;
  const batch: number[] = [];
  for (let hvn = part.start; hvn < part.end; hvn++) {
    const pte = x.hpteGet(mm.id, hvn) >>> 0;
    const normal = isNormalPte(pte);
    const pfn = pte >>> abi.HPTE_PFN_SHIFT;
    const small = normal && (x.pageFlags(pfn) & abi.PG_HUGE) === 0;
    if (small) batch.push(pfn);
    if (normal && !small) x.munlockVmaPage(pfn);
    const full = batch.length === PAGEVEC_SIZE || ((hvn + 1) & (abi.HPAGE_PMD_NR - 1)) === 0;
    if (!small || full) munlockPagevec(mm, batch);
  }
  munlockPagevec(mm, batch);
}

/** __munlock_pagevec: all are isolated first; those that could not be empty the CPU's batches as they are let go. */
function munlockPagevec(mm: Mm, batch: number[]): void {
  const { x } = mm.host.core;
  const met = batch.splice(0).map((pfn) => ({ pfn, isolated: x.munlockIsolate(pfn) === 2 }));
  if (met.some(({ isolated }) => !isolated)) x.lruAddDrain();
  const isolated = met.filter((page) => page.isolated);
  for (const { pfn } of isolated) x.munlockPutback(pfn, 0);
  for (const { pfn } of isolated) x.munlockPutback(pfn, 1);
}

/** mlock and munlock. -ENOMEM: a hole, which ends what is locked, or an area that permits no access. */
export function mlock(mm: Mm, start: number, end: number, locked: boolean): number {
  const parts = vmasWithin(mm.vmas, start, end);
  let reached = start;
  for (const part of parts) {
    if (part.start !== reached) break;
    reached = part.end;
    if (((part.flags & VM_LOCKED) !== 0) === locked) continue;
    const flags = part.flags ^ VM_LOCKED;
    cutAreas(mm, mm.vmas, part.start, part.end);
    mm.vmas = vmasFlagged(mm.vmas, part.start, part.end, flags & VM_LOCKED, ~flags & VM_LOCKED);
    if (mm.host.generation.mlockBatch) lockPages(mm, part, locked);
    else if (!locked) munlockPages(mm, part);
  }
  if (reached !== end) return -ERRNO.ENOMEM;
  if (!locked) return 0;
  // __mm_populate: private memory that may be written is broken out of copy-on-write at once.
  for (const part of vmasWithin(mm.vmas, start, end)) {
    const locker = lockerOf(mm);
    const write = (part.flags & (VM_WRITE | VM_SHARED)) === VM_WRITE;
    const result =
      (part.flags & VM_READ) === 0
        ? populated(mm, -ERRNO.EFAULT, locker)
        : faultIn(mm, part, write, locker);
    if (result < 0) return -ERRNO.ENOMEM;
  }
  return 0;
}

/** MADV_WILLNEED: what is swapped out is read into the swap cache; nothing is mapped. */
export function willneed(mm: Mm, part: Vma): void {
  const { host } = mm;
  const { x } = host.core;
  const args = abi.MAP_CHARGED | abi.MAP_NO_FAULT;
  if (host.shmemFiles.includes(part.file)) {
    x.shmemWillneed(part.file, part.pgoff, part.pgoff + part.end - part.start, args);
    return;
  }
  let hvn = x.hpteNextMapped(mm.id, part.start, part.end) >>> 0;
  for (; hvn < part.end; hvn = x.hpteNextMapped(mm.id, hvn + 1, part.end) >>> 0) {
    const pte = x.hpteGet(mm.id, hvn) >>> 0;
    if ((pte & (abi.HPTE_PRESENT | abi.HPTE_SWAP)) !== abi.HPTE_SWAP) continue;
    const slot = pte >>> abi.HPTE_PFN_SHIFT;
    if (x.swapCacheLookup(slot) !== 0) continue;
    if (host.charged() >= host.room && mm.run((t, at) => host.tryCharge(t, at)) !== 0) break;
    const pfn = x.swapinBegin(slot, args) >>> 0;
    if (pfn === 0) break;
    host.swap.read(slot);
    x.putPage(pfn & ~abi.IO_MAJOR);
  }
  x.lruAddDrain();
}
