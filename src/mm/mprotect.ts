// mprotect and mremap: the ptes change or move, and the notifiers hear of it.

import * as abi from '../../assembly/abi.ts';
import { ERRNO } from '../core/errors.ts';
import { lockMmap, lockPte } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import { handleMmFault } from './fault.ts';
import { followPage } from './gup.ts';
import { cutAreas, splitHugePmd, isAllHuge } from './huge-memory.ts';
import { unmerge } from './ksm.ts';
import type { Mm } from './mm.ts';
import { FLUSH_HUGE } from './notifier-ops.ts';
import {
  MN_INVALIDATE_PAGE,
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';
import { notifyRange, unmapAreas } from './unmap.ts';
import {
  VM_ACCESS,
  VM_EXEC,
  VM_LOCKED,
  VM_MERGEABLE,
  VM_READ,
  VM_SHARED,
  VM_WRITE,
  VM_WRITE_NOTIFY,
  type Vma,
  vmaMerged,
  vmasWithin,
  vmasWithout,
} from './vma.ts';

// Arguments and locals.
const START = 1;
const END = 2;
/** changeProtection(): VM_READ, VM_WRITE and VM_EXEC from now on. movePageTables(): the new first page. */
const ARGUMENT = 3;
/** changeProtection(): the area's VM_* before. */
const BEFORE = 4;
const CURSOR = 4;
/** mprotectRange(): the ptes that TLBs must forget are [s[at + FLUSH], s[at + FLUSH_END]). */
const FLUSH = 5;
const FLUSH_END = 6;
/** mprotectRange(): the next page of the area in hand that is to be faulted in, up to s[at + CURSOR]. */
const POPULATED = 7;
const CALLEE = 8;

/** Program counters of mprotectRange(): a locked area's pages are copied; the flush at the end. */
const POPULATING = 3;
const FAULTING = 4;
const FLUSHING = 5;
/** Program counter of movePageTables(): a huge pte is being split. */
const SPLIT = 5;
/** VM_LOCKED alone of these: private locked memory that can't be written. */
const LOCKED_READONLY = VM_LOCKED | VM_WRITE | VM_SHARED;

/**
 * change_protection: the ptes of [s[at + 1], s[at + 2]) get the rights s[at + 3] = VM_READ | VM_WRITE | VM_EXEC,
 * in an area that had s[at + 4]; which TLBs must forget is gathered in the frame at `gather`. v3 as posted did not
 * tell the notifiers.
 */
function changeProtection(t: Task, at: number, mm: Mm, gather: number): boolean {
  const s = t.stack;
  const event = abi.MMU_NOTIFY_PROTECTION_VMA;
  const { ranged } = mm;
  const after = mm.hooks === 'v3' && mm.host.generation.protectHook;
  switch (s[at]) {
    case 0:
      notify(s, at, MN_INVALIDATE_RANGE_START, event);
      s[at] = 1;
    case 1:
      if (ranged && !mm.notifiers.call(t, at + CALLEE)) return false;
      s[at] = 2;
    case 2:
      if (!t.lock(at, 2, lockPte(mm.id))) return false;
      protect(s, at, mm, gather);
      t.unlock(lockPte(mm.id));
      notify(s, at, ranged ? MN_INVALIDATE_RANGE_END : MN_INVALIDATE_RANGE, event);
      if (t.preempt(at, 3, 'change_protection: the ptes are changed')) return false;
    case 3:
      if ((ranged || after) && !mm.notifiers.call(t, at + CALLEE)) return false;
  }
  return t.done(at, 0);
}

/** PROTECT_*: which ptes become writable at once. */
function upgradeOf(mm: Mm, hvn: number): number {
  if (!mm.host.generation.protectUpgrade) return 0;
  const vma = mm.findVma(hvn);
  const clean = mm.host.generation.upgradesClean ? abi.PROTECT_CLEAN : 0;
  if (vma === undefined || (vma.flags & VM_SHARED) === 0) return abi.PROTECT_ANON | clean;
  if (!mm.host.shmemFiles.includes(vma.file)) return abi.PROTECT_ANON;
  return (vma.flags & VM_WRITE_NOTIFY) === 0 ? abi.PROTECT_SHARED : 0;
}

/** VM_READ and VM_WRITE as PROTECT_*. */
function protectionOf(rights: number): number {
  if ((rights & VM_WRITE) !== 0) return abi.PROTECT_WRITE;
  return (rights & VM_READ) !== 0 ? abi.PROTECT_READ : abi.PROTECT_NONE;
}

/** Changes the ptes, and gathers which the TLBs must forget (one mmu_gather for the whole call). */
function protect(s: Int32Array, at: number, mm: Mm, gather: number): void {
  const { x } = mm.host.core;
  const start = s[at + START] as number;
  const end = s[at + END] as number;
  const rights = s[at + ARGUMENT] as number;
  const upgrade = upgradeOf(mm, start);
  let first = x.protectRange(mm.id, start, end, protectionOf(rights), upgrade) >>> 0;
  let last = x.protectedEnd() >>> 0;
  const changed = (s[at + BEFORE] as number) ^ rights;
  // Ptes of PROT_NONE are in no TLB; those that become so, or lose or gain NX, are flushed whatever they were.
  if (((s[at + BEFORE] as number) & VM_READ) === 0) first = last;
  else if ((changed & (VM_READ | VM_EXEC)) !== 0) [first, last] = presentIn(mm, start, end);
  if (first === last) return;
  s[gather + FLUSH] = Math.min(s[gather + FLUSH] as number, first);
  s[gather + FLUSH_END] = Math.max(s[gather + FLUSH_END] as number, last);
}

/**
 * move_page_tables: the ptes of [s[at + 1], s[at + 2]) move to s[at + 3]. v3 calls invalidate_page for
 * each, by ptep_clear_flush() under the page-table lock. The flush at the end (flush_tlb_range) is of the
 * processor's own TLB and tells no notifier.
 */
export function movePageTables(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const event = abi.MMU_NOTIFY_UNMAP;
  const { ranged } = mm;
  for (;;) {
    switch (s[at]) {
      case 0:
        s[at + CURSOR] = s[at + START] as number;
        notify(s, at, MN_INVALIDATE_RANGE_START, event);
        s[at] = 1;
      case 1:
        if (ranged && !mm.notifiers.call(t, at + CALLEE)) return false;
        s[at] = 2;
      case 2:
        if (!t.lock(at, 2, lockPte(mm.id))) return false;
        s[at] = move(s, at, mm);
        if (s[at] === 3) continue;
        t.unlock(lockPte(mm.id));
        if (s[at] === SPLIT) continue;
        notify(s, at, MN_INVALIDATE_RANGE_END, event);
        if (t.preempt(at, 4, 'move_page_tables: the ptes are moved')) return false;
        continue;
      case 3:
        if (!mm.notifiers.call(t, at + CALLEE)) return false;
        t.unlock(lockPte(mm.id));
        s[at] = 2;
        continue;
      case SPLIT:
        if (!splitHugePmd(t, at + CALLEE, mm)) return false;
        s[at] = 2;
        continue;
      case 4:
        if (ranged && !mm.notifiers.call(t, at + CALLEE)) return false;
        return t.done(at, 0);
    }
  }
}

/**
 * Moves all ptes, or with v3's hooks the next one. Case 3: a notifier is to hear of it first; SPLIT: a huge
 * pte can't move whole.
 */
function move(s: Int32Array, at: number, mm: Mm): number {
  const { x } = mm.host.core;
  const end = s[at + END] as number;
  const shift = (s[at + ARGUMENT] as number) - (s[at + START] as number);
  if (mm.hooks !== 'v3') {
    const from = s[at + CURSOR] as number;
    const moved = mm.notifiers.withFlushes ? movedExtents(mm, from, end, shift) : [];
    const stop = x.moveRange(mm.id, from, end, from + shift) >>> 0;
    for (const [first, last] of moved) if (last <= stop) mm.flushTlb(first, last);
    s[at + CURSOR] = stop;
    s[at + CALLEE] = 0;
    s[at + CALLEE + 1] = stop;
    s[at + CALLEE + 2] = 0;
    return stop < end ? SPLIT : 4;
  }
  const hvn = x.hpteNextMapped(mm.id, s[at + CURSOR] as number, end) >>> 0;
  if (hvn >= end) return 4;
  x.moveRange(mm.id, hvn, hvn + 1, hvn + shift);
  s[at + CURSOR] = hvn + 1;
  notifyRange(s, at + CALLEE, MN_INVALIDATE_PAGE, hvn, hvn + 1, abi.MMU_NOTIFY_UNMAP);
  return 3;
}

/** End of the table that maps a page. */
function tableEnd(hvn: number): number {
  return (hvn | (abi.HPAGE_PMD_NR - 1)) + 1;
}

/** What move_page_tables() moves at once, and flushes then: a whole table, or the part up to the next one of either side if a
 *  pte is present. */
function movedExtents(mm: Mm, start: number, end: number, shift: number): [number, number][] {
  const { x } = mm.host.core;
  const extents: [number, number][] = [];
  for (let hvn = start; hvn < end;) {
    const next = Math.min(end, tableEnd(hvn), tableEnd(hvn + shift) - shift);
    const table = x.hpmdNone(mm.id, hvn) === 0 && x.hpmdGet(mm.id, hvn) === 0;
    const whole = next - hvn === abi.HPAGE_PMD_NR && table;
    if (whole || presentIn(mm, hvn, next)[0] < next) extents.push([hvn, next]);
    hvn = next;
  }
  return extents;
}

function notify(s: Int32Array, at: number, op: number, event: number): void {
  notifyRange(s, at + CALLEE, op, s[at + START] as number, s[at + END] as number, event);
}

/** change_pmd_range() of 6.x tells the notifiers from the first place on that has a table. */
function firstWithTable(mm: Mm, part: Vma): number {
  if (mm.hooks !== '6.x') return part.start;
  return mm.host.core.x.hpmdNextPopulated(mm.id, part.start, part.end) >>> 0;
}

/** mprotect of [s[at + 1], s[at + 2]) to s[at + 3] = VM_READ | VM_WRITE | VM_EXEC. Result: 0, or -ENOMEM at a hole. */
export function mprotectRange(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const end = s[at + END] as number;
  const rights = s[at + ARGUMENT] as number;
  for (;;) {
    switch (s[at]) {
      case 0:
        if (!t.lock(at, 0, lockMmap(mm.id))) return false;
        s[at + CURSOR] = s[at + START] as number;
        s[at + FLUSH] = end;
        s[at + FLUSH_END] = s[at + START] as number;
        s[at] = 1;
      case 1: {
        const part = vmasWithin(mm.vmas, s[at + CURSOR] as number, end)[0];
        // A hole ends it; what came before has its rights.
        if (part === undefined || part.start !== s[at + CURSOR]) {
          notifyFlush(s, at, mm);
          s[at] = FLUSHING;
          continue;
        }
        s[at + CURSOR] = part.end;
        const flags = (part.flags & ~VM_ACCESS) | rights;
        if (flags === part.flags) continue;
        s[at + POPULATED] = becomesWritable(part, rights) ? part.start : part.end;
        cutAreas(mm, mm.vmas, part.start, part.end);
        const rest = vmasWithout(mm.vmas, part.start, part.end);
        mm.vmas = vmaMerged(rest, { ...part, flags });
        const first = firstWithTable(mm, part);
        if (first === part.end) {
          s[at] = POPULATING;
          continue;
        }
        s[at + CALLEE] = 0;
        s[at + CALLEE + START] = first;
        s[at + CALLEE + END] = part.end;
        s[at + CALLEE + ARGUMENT] = rights;
        s[at + CALLEE + BEFORE] = part.flags;
        s[at] = 2;
      }
      case 2:
        if (!changeProtection(t, at + CALLEE, mm, at)) return false;
        s[at] = POPULATING;
      case POPULATING:
        populateNext(s, at, mm);
        if (s[at] !== FAULTING) continue;
      case FAULTING:
        if (!handleMmFault(t, at + CALLEE, mm)) return false;
        s[at] = POPULATING;
        // What can't be had is left to the access.
        if (t.result < 0) endPopulate(s, at, mm);
        continue;
      case FLUSHING:
        if (gathers(mm, s, at) && !mm.notifiers.call(t, at + CALLEE)) return false;
        t.unlock(lockMmap(mm.id));
        return t.done(at, s[at + CURSOR] === end ? 0 : -ERRNO.ENOMEM);
    }
  }
}

/** Locked private memory that becomes writable is copied at once, so that no access faults for it (mprotect_fixup). */
function becomesWritable({ flags }: Vma, rights: number): boolean {
  return (flags & LOCKED_READONLY) === VM_LOCKED && (rights & VM_WRITE) !== 0;
}

/** The next fault of populate_vma_page_range(), or, after the last one, the next area. */
function populateNext(s: Int32Array, at: number, mm: Mm): void {
  const { x } = mm.host.core;
  const end = s[at + CURSOR] as number;
  const populates = (s[at + POPULATED] as number) < end;
  for (; (s[at + POPULATED] as number) < end; (s[at + POPULATED] as number)++) {
    const hvn = s[at + POPULATED] as number;
    const pfn = followPage(mm, hvn, abi.FOLL_TOUCH | abi.FOLL_WRITE);
    if (pfn < 0) {
      s[at + CALLEE] = 0;
      s[at + CALLEE + 1] = hvn;
      s[at + CALLEE + 2] = abi.FAULT_FLAG_WRITE;
      s[at] = FAULTING;
      return;
    }
    x.putPage(pfn);
  }
  if (populates) endPopulate(s, at, mm);
  else s[at] = 1;
}

function endPopulate(s: Int32Array, at: number, mm: Mm): void {
  mm.host.core.x.lruAddDrain();
  s[at] = 1;
}

/** Whether the flush at the end tells the notifiers. */
function gathers(mm: Mm, s: Int32Array, at: number): boolean {
  const { protectGathers } = mm.host.generation;
  return (
    protectGathers &&
    mm.hooks === '6.x' &&
    (s[at + FLUSH] as number) < (s[at + FLUSH_END] as number)
  );
}

/** tlb_finish_mmu: the flush tells secondary TLBs once more, of what changed in all areas. */
function notifyFlush(s: Int32Array, at: number, mm: Mm): void {
  if (!gathers(mm, s, at)) return;
  const [first, last] = [s[at + FLUSH] as number, s[at + FLUSH_END] as number];
  const huge = mm.notifiers.withFlushes && isAllHuge(mm, first, last);
  const event = huge ? FLUSH_HUGE : abi.MMU_NOTIFY_PROTECTION_VMA;
  notifyRange(s, at + CALLEE, MN_INVALIDATE_RANGE, first, last, event);
}

/**
 * mremap of a part [s[at + 1], s[at + 2]) of one area to s[at + 3], where nothing is mapped: move_vma() with the
 * mmap_lock held for writing.
 */
export function mremapRange(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const start = s[at + START] as number;
  const end = s[at + END] as number;
  const target = s[at + ARGUMENT] as number;
  switch (s[at]) {
    case 0:
      if (!t.lock(at, 0, lockMmap(mm.id))) return false;
      s[at] = 1;
    case 1: {
      const [part] = vmasWithin(mm.vmas, start, end);
      if (part === undefined) break;
      // Memory without anonymous pages takes the new place's offset (copy_vma).
      const pgoff = part.file === 0 && part.anon === undefined ? target : part.pgoff;
      const moved = { ...part, start: target, end: target + end - start, pgoff };
      mm.vmas = vmaMerged(mm.vmas, moved);
      s[at + CALLEE] = 0;
      s[at + CALLEE + START] = start;
      s[at + CALLEE + END] = end;
      s[at + CALLEE + ARGUMENT] = target;
      s[at] = 2;
    }
    case 2:
      if (!movePageTables(t, at + CALLEE, mm)) return false;
      // The old area goes with whatever could not be moved (do_munmap).
      s[at + CALLEE] = 0;
      s[at + CALLEE + START] = start;
      s[at + CALLEE + END] = end;
      s[at] = 3;
    case 3:
      if (!unmapAreas(t, at + CALLEE, mm)) return false;
  }
  t.unlock(lockMmap(mm.id));
  return t.done(at, 0);
}

/** PROT_READ, PROT_WRITE and PROT_EXEC (default: not). */
export interface Protection {
  readonly read: boolean;
  readonly write: boolean;
  readonly exec?: boolean;
}

/** Changes the rights of [start, end). Result: 0, or -ENOMEM at a hole, which ends it. */
export function mprotect(mm: Mm, start: number, end: number, prot: Protection): number {
  const exec = prot.exec === true ? VM_EXEC : 0;
  const rights = (prot.read ? VM_READ : 0) | (prot.write ? VM_WRITE : 0) | exec;
  return mm.run((t, at) => mprotectRange(t, at, mm), start, end, rights);
}

/** From the first present page of [start, end) to the end of the last. */
function presentIn(mm: Mm, start: number, end: number): [first: number, last: number] {
  const { x } = mm.host.core;
  let first = end;
  let last = end;
  let hvn = x.hpteNextMapped(mm.id, start, end) >>> 0;
  for (; hvn < end; hvn = x.hpteNextMapped(mm.id, hvn + 1, end) >>> 0) {
    if ((x.hpteGet(mm.id, hvn) & abi.HPTE_PRESENT) === 0) continue;
    first = Math.min(first, hvn);
    last = hvn + 1;
  }
  return [first, last];
}

/**
 * Moves [start, end) to `target`, unmapping what is there; returns `target`. -EFAULT: there is no area, or it ends
 * before `end`, which is found out when the target is unmapped already (mremap_to).
 */
export function mremap(mm: Mm, start: number, end: number, target: number): number {
  if (start < target + end - start && target < end) return -ERRNO.EINVAL;
  if (mm.findVma(start) === undefined) return -ERRNO.EFAULT;
  mm.munmap(target, end - start);
  const vma = mm.findVma(start);
  if (vma === undefined || end > vma.end) return -ERRNO.EFAULT;
  // The same pages might turn up at a place where others were merged into them (move_vma).
  if ((vma.flags & VM_MERGEABLE) !== 0) unmerge(mm, { ...vma, start, end });
  mm.run((t, at) => mremapRange(t, at, mm), start, end, target);
  return target;
}
