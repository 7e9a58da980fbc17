// Making huge pages of small ones: khugepaged and MADV_COLLAPSE (cf. mm/khugepaged.c, 6.1). 512 aligned
// pages are scanned; if they qualify, a notifier call takes them from all secondary MMUs, and their
// contents move to a compound page that one huge pte maps.

import * as abi from '../../assembly/abi.ts';
import { ERRNO } from '../core/errors.ts';
import { untraced } from '../core/load.ts';
import type { Host } from './host.ts';
import { hugeAlign, hugeFits, hugepageAllowed, notifyHuge, totalMapcount } from './huge-memory.ts';
import type { Mm } from './mm.ts';
import {
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
  MN_TEST_YOUNG,
} from './mmu-notifier.ts';
import { VM_LOCKED, VM_NOHUGEPAGE, VM_RESIDENT, VM_WRITE, type Vma, vmasWithin } from './vma.ts';

/** enum scan_result, as its tracepoints name it. */
export const SCAN_STATUS = [
  'succeeded',
  'pmd_none',
  'page_pmd_mapped',
  'exceed_none_pte',
  'exceed_swap_pte',
  'exceed_shared_pte',
  'pte_non_present',
  'no_writable_page',
  'lack_referenced_page',
  'not_suitable_page_count',
  'page_not_in_lru',
  'could_not_delete_page_from_lru',
  'alloc_huge_page_failed',
  'ccgroup_charge_failed',
  'pmd_null',
  'failed',
] as const;

type ScanStatus = (typeof SCAN_STATUS)[number];

/** Limits of khugepaged's sysfs files; MADV_COLLAPSE knows none. */
const MAX_PTES_NONE = abi.HPAGE_PMD_NR - 1;
const MAX_PTES_SWAP = abi.HPAGE_PMD_NR / 8;
const MAX_PTES_SHARED = abi.HPAGE_PMD_NR / 2;

/** madvise_collapse_errno(). */
function errnoOf(status: ScanStatus): number {
  switch (status) {
    case 'alloc_huge_page_failed':
      return -ERRNO.ENOMEM;
    case 'ccgroup_charge_failed':
      return -ERRNO.EBUSY;
    case 'not_suitable_page_count':
    case 'page_not_in_lru':
    case 'could_not_delete_page_from_lru':
      return -ERRNO.EAGAIN;
    default:
      return -ERRNO.EINVAL;
  }
}

/** What a look at 512 ptes found. */
interface Scan {
  status: ScanStatus;
  writable: boolean;
  referenced: number;
  none: number;
  swapped: number;
}

/** Whether the page of a head has no other references than its mappings and the swap cache. */
function refcountSuitable(host: Host, head: number): boolean {
  const { x, mem } = host.core;
  const flags = x.pageFlags(head);
  const compound = (flags & abi.PG_HUGE) !== 0;
  const cached = (flags & abi.PG_SWAPCACHE) !== 0 ? 1 : 0;
  const expected = cached + (compound ? totalMapcount(host, head) : x.pageMapcount(head));
  return mem.load32((x.framePtr(head) >>> 0) + abi.FRAME_REFCOUNT) === expected;
}

/** hpage_collapse_scan_pmd() as far as it only looks. */
function look(mm: Mm, first: number, khugepaged: boolean): Scan {
  const { x } = mm.host.core;
  const scan: Scan = { status: 'succeeded', writable: false, referenced: 0, none: 0, swapped: 0 };
  const stop = (status: ScanStatus): Scan => ({ ...scan, status });
  const { collapseTells } = mm.host.generation;
  if (x.hpmdNone(mm.id, first) === 1) return stop(collapseTells ? 'pmd_none' : 'pmd_null');
  if (x.hpmdGet(mm.id, first) !== 0) return stop(collapseTells ? 'page_pmd_mapped' : 'pmd_null');
  let shared = 0;
  let suitable = 0;
  for (let hvn = first; hvn < first + abi.HPAGE_PMD_NR; hvn++) {
    const pte = x.hpteGet(mm.id, hvn) >>> 0;
    if (
      pte === 0 ||
      (pte & (abi.HPTE_PRESENT | abi.HPTE_SWAP)) === (abi.HPTE_PRESENT | abi.HPTE_SWAP)
    ) {
      if (++scan.none > MAX_PTES_NONE && khugepaged) return stop('exceed_none_pte');
      continue;
    }
    if ((pte & abi.HPTE_PRESENT) === 0) {
      if (++scan.swapped > MAX_PTES_SWAP && khugepaged) return stop('exceed_swap_pte');
      continue;
    }
    const pfn = pte >>> abi.HPTE_PFN_SHIFT;
    if ((pte & abi.HPTE_WRITE) !== 0) scan.writable = true;
    if (x.pageMapcount(pfn) > 1 && ++shared > MAX_PTES_SHARED && khugepaged) {
      return stop('exceed_shared_pte');
    }
    const head = x.folioOf(pfn) >>> 0;
    const flags = x.pageFlags(head);
    if ((flags & abi.PG_LRU) === 0) return stop('page_not_in_lru');
    if (head !== suitable && !refcountSuitable(mm.host, head)) {
      return stop('not_suitable_page_count');
    }
    suitable = head;
    if (!khugepaged) continue;
    const young = (pte & abi.HPTE_YOUNG) !== 0 || (flags & abi.PG_REFERENCED) !== 0;
    if (young || testYoung(mm, hvn)) scan.referenced++;
  }
  if (!scan.writable) return stop('no_writable_page');
  const few = scan.referenced === 0 || (scan.swapped > 0 && scan.referenced < abi.HPAGE_PMD_NR / 2);
  return khugepaged && few ? stop('lack_referenced_page') : scan;
}

function testYoung(mm: Mm, hvn: number): boolean {
  return mm.notify(MN_TEST_YOUNG, hvn, hvn + 1) !== 0;
}

/** Scans the 512 pages from `first` on and collapses them if they qualify. */
function scanPmd(mm: Mm, vma: Vma, first: number, khugepaged: boolean): ScanStatus {
  const { host } = mm;
  const scan = look(mm, first, khugepaged);
  if (scan.status === 'succeeded') {
    const status = collapse(mm, vma, first, scan, khugepaged);
    if (host.generation.collapseTells) scan.status = status;
  }
  host.emit(
    abi.EVENT_MM_KHUGEPAGED_SCAN_PMD,
    SCAN_STATUS.indexOf(scan.status) * 2 + (scan.writable ? 1 : 0),
    scan.referenced,
    scan.none,
    scan.swapped,
  );
  return scan.status;
}

/** MAP_* of what is made in an area. */
function mapArgs(vma: Vma): number {
  let args = abi.MAP_WRITE_FAULT;
  if (vma.flags & VM_WRITE) args |= abi.MAP_VM_WRITE;
  if ((vma.flags & VM_RESIDENT) === 0) args |= abi.MAP_CHARGED;
  if (vma.flags & (VM_LOCKED | VM_RESIDENT)) args |= abi.MAP_UNEVICTABLE;
  return args;
}

/** collapse_huge_page(). */
function collapse(mm: Mm, vma: Vma, first: number, scan: Scan, khugepaged: boolean): ScanStatus {
  const { host } = mm;
  const charged = (vma.flags & VM_RESIDENT) === 0;
  let status: ScanStatus = 'ccgroup_charge_failed';
  if (!charged || host.charged() + abi.HPAGE_PMD_NR <= host.room) {
    if (scan.swapped > 0) swapIn(mm, vma, first);
    // pmdp_collapse_flush() stands between the two calls: nobody can use the range any more.
    notifyHuge(mm, MN_INVALIDATE_RANGE_START, first);
    mm.flushTlb(first, first + abi.HPAGE_PMD_NR);
    notifyHuge(mm, MN_INVALIDATE_RANGE_END, first);
    status = isolate(mm, first, khugepaged);
    if (status !== 'succeeded' && !host.generation.collapseTells) status = 'failed';
    if (status === 'succeeded' && host.core.x.collapseHugePage(mm.id, first, mapArgs(vma)) === 0) {
      status = 'alloc_huge_page_failed';
    }
  }
  const succeeded = status === 'succeeded' ? 1 : 0;
  host.emit(abi.EVENT_MM_COLLAPSE_HUGE_PAGE, succeeded, SCAN_STATUS.indexOf(status));
  return status;
}

/** __collapse_huge_page_swapin(): what is swapped out is read, through do_swap_page() alone. */
function swapIn(mm: Mm, vma: Vma, first: number): void {
  const { host } = mm;
  const { x } = host.core;
  const direct = host.swap.profile.synchronous === true ? abi.MAP_SWAP_DIRECT : 0;
  const args = (mapArgs(vma) & ~abi.MAP_WRITE_FAULT) | direct | abi.MAP_NO_FAULT;
  for (let hvn = first; hvn < first + abi.HPAGE_PMD_NR; hvn++) {
    const pte = x.hpteGet(mm.id, hvn) >>> 0;
    if (pte === 0 || (pte & abi.HPTE_PRESENT) !== 0) continue;
    const slot = pte >>> abi.HPTE_PFN_SHIFT;
    const found = x.swapinBegin(slot, args) >>> 0;
    if (found === 0) return;
    if ((found & abi.IO_MAJOR) !== 0) host.swap.read(slot);
    x.swapinMap(mm.id, hvn, found & ~abi.IO_MAJOR, args);
  }
  x.lruAddDrain();
}

/** __collapse_huge_page_isolate(): takes every page off its list, or puts all back. */
function isolate(mm: Mm, first: number, khugepaged: boolean): ScanStatus {
  const { x } = mm.host.core;
  const taken: number[] = [];
  let writable = false;
  let referenced = 0;
  let status: ScanStatus = 'succeeded';
  for (let hvn = first; hvn < first + abi.HPAGE_PMD_NR && status === 'succeeded'; hvn++) {
    const pte = x.hpteGet(mm.id, hvn) >>> 0;
    const small = pte & (abi.HPTE_PRESENT | abi.HPTE_SWAP);
    if (pte === 0 || small === (abi.HPTE_PRESENT | abi.HPTE_SWAP)) continue;
    if (small !== abi.HPTE_PRESENT) {
      status = 'pte_non_present';
      continue;
    }
    const pfn = x.folioOf(pte >>> abi.HPTE_PFN_SHIFT) >>> 0;
    if (!taken.includes(pfn)) {
      const flags = x.pageFlags(pfn);
      if (!refcountSuitable(mm.host, pfn)) status = 'not_suitable_page_count';
      else if ((flags & abi.PG_LRU) === 0) status = 'could_not_delete_page_from_lru';
      else {
        x.lruIsolate(pfn);
        taken.push(pfn);
      }
    }
    if ((pte & abi.HPTE_WRITE) !== 0) writable = true;
    if (!khugepaged) continue;
    const young = (pte & abi.HPTE_YOUNG) !== 0;
    if (young || (x.pageFlags(pfn) & abi.PG_REFERENCED) !== 0 || testYoung(mm, hvn)) referenced++;
  }
  if (status === 'succeeded' && !writable) status = 'no_writable_page';
  if (status === 'succeeded' && khugepaged && referenced === 0) status = 'lack_referenced_page';
  if (status !== 'succeeded') for (const pfn of taken) x.lruPutbackBatched(pfn);
  return status;
}

/** The first and the page after the last of the aligned 512s inside [start, end). */
function alignedWithin(start: number, end: number): [from: number, to: number] {
  return [hugeAlign(start + abi.HPAGE_PMD_NR - 1), hugeAlign(end)];
}

/** hugepage_vma_check() outside page faults: the area must hold 512 aligned pages and be in use. */
function collapsible(vma: Vma): boolean {
  const fits = hugeFits(vma, vma.end - abi.HPAGE_PMD_NR);
  return fits && vma.file === 0 && (vma.flags & VM_NOHUGEPAGE) === 0 && vma.anon !== undefined;
}

/** lru_add_drain_all(): each CPU's batches are emptied by a thread of its own. */
function drainAll(host: Host): void {
  untraced(host.core, () => host.core.x.lruAddDrain());
}

/** MADV_COLLAPSE on [start, end). Result: 0 or a negative errno. */
export function madviseCollapse(mm: Mm, start: number, end: number): number {
  if (mm.host.thp === 'never') return -ERRNO.EINVAL;
  let covered = 0;
  for (const part of vmasWithin(mm.vmas, start, end)) {
    covered += part.end - part.start;
    const vma = mm.findVma(part.start) as Vma;
    if (!collapsible(vma)) return -ERRNO.EINVAL;
    drainAll(mm.host);
    const [from, to] = alignedWithin(part.start, part.end);
    let last: ScanStatus = 'succeeded';
    for (let first = from; first < to; first += abi.HPAGE_PMD_NR) {
      const status = scanPmd(mm, vma, first, false);
      if (status !== 'succeeded' && status !== 'page_pmd_mapped') last = status;
      if (status.startsWith('alloc') || status.startsWith('ccgroup')) break;
      if (status === 'pmd_none') break;
    }
    if (last !== 'succeeded') return errnoOf(last);
  }
  return covered === end - start ? 0 : -ERRNO.ENOMEM;
}

/** khugepaged_enter_vma(): where an area may have huge pages, khugepaged looks at its address space. */
export function khugepagedEnter(mm: Mm, vma: Vma): void {
  if (hugepageAllowed(mm.host, vma) && collapsible(vma)) khugepagedTold(mm);
}

/**
 * __khugepaged_enter(): from now on khugepaged looks at the address space. If it waits for one it is woken, and empties the
 * batches, before a fault that told it has its page; the pages it finds time for only when it is asked again.
 */
export function khugepagedTold(mm: Mm): void {
  if (mm.khugepaged) return;
  mm.khugepaged = true;
  if (!mm.host.khugepagedWaits) return;
  mm.host.khugepagedWaits = false;
  drainAll(mm.host);
}

/** One pass of khugepaged over the address spaces that it was told of; without any, ended ones included, it sleeps on. */
export function khugepagedPass(host: Host): void {
  const told = host.mms.filter((mm): mm is Mm => mm !== null && mm.khugepaged);
  if (told.length === 0 && !host.khugepagedHolds) return;
  host.khugepagedHolds = false;
  drainAll(host);
  for (const mm of told) {
    for (const vma of mm.vmas) {
      if (!hugepageAllowed(host, vma) || !collapsible(vma)) continue;
      const [from, to] = alignedWithin(vma.start, vma.end);
      for (let first = from; first < to; first += abi.HPAGE_PMD_NR) scanPmd(mm, vma, first, true);
    }
  }
}
