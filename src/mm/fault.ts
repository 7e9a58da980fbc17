// The host page fault (cf. handle_mm_fault() in mm/memory.c) as a protocol. The pieces are in
// assembly/mm/memory.ts; here is their order, with the locks and notifier calls between them.

import * as abi from '../../assembly/abi.ts';
import { lockPage, lockPte } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import { COUNTER_SLOTS } from '../stats/stats.ts';
import { faultsHuge, hugeAlign, splitHugePmd } from './huge-memory.ts';
import type { Mm } from './mm.ts';
import {
  MN_CHANGE_PTE,
  MN_INVALIDATE_PAGE,
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_ONLY_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';
import { VM_LOCKED, VM_RESIDENT, VM_SHARED, VM_WRITE, VM_WRITE_NOTIFY, type Vma } from './vma.ts';

// Arguments and locals.
const HVN = 1;
const FLAGS = 2;
const ARGS = 3;
const PFN = 4;
const SLOT = 5;
const OLD = 6;
const RESULT = 7;
/** Program counter after tryCharge(). */
const NEXT = 8;
const CALLEE = 9;

// Program counters.
const START = 0;
const CLASSIFY = 1;
const CLASSIFIED = 2;
const ANON = 3;
const SWAP = 4;
const SWAP_LOCK = 5;
const SWAP_MAP = 6;
const FILE = 7;
const FILE_MAP = 8;
const COW_FILE = 9;
const PRESENT = 10;
const WP_COPY = 11;
const WP_START = 12;
const WP_FLUSH = 13;
const WP_FLUSHED = 14;
const WP_INSTALLED = 15;
const WP_END = 16;
const CHARGE = 17;
const RETURN = 18;
const HUGE = 19;
const HUGE_SPLIT = 20;
const SWAP_BUSY = 21;
const SHMEM_MAP = 22;

/** -EFAULT: no vma, or it forbids the access. */
export const EFAULT = -14;
/** -ENOMEM: nothing could be freed. */
export const ENOMEM = -12;
/** -EINTR: a fatal signal came. */
export const EINTR = -4;
/** -EIO: the device failed (the process gets SIGBUS). */
export const EIO = -5;

/** MAP_* of a fault in a vma. */
export function mapArgs(mm: Mm, vma: Vma, write: boolean): number {
  const { generation } = mm.host;
  let args = write ? abi.MAP_WRITE_FAULT : 0;
  if (vma.flags & VM_WRITE) args |= abi.MAP_VM_WRITE;
  if (vma.flags & VM_SHARED) args |= abi.MAP_SHARED;
  if (vma.flags & VM_WRITE_NOTIFY) args |= abi.MAP_WRITE_NOTIFY;
  if ((vma.flags & VM_RESIDENT) === 0) args |= abi.MAP_CHARGED;
  if (vma.flags & (VM_LOCKED | VM_RESIDENT)) args |= abi.MAP_UNEVICTABLE;
  if (!generation.exclusive) args |= abi.MAP_DIRTY_ALWAYS;
  else if (mm.host.swap.profile.synchronous === true) {
    args |= abi.MAP_SWAP_DIRECT;
    if (generation.swapPrepare) args |= abi.MAP_SWAP_PREPARE;
  }
  return args;
}

/**
 * Makes the page at s[at + 1] = hvn present for the access s[at + 2] = FAULT_FLAG_*. Result:
 * VM_FAULT_MAJOR | VM_FAULT_WRITE bits, or EFAULT, ENOMEM, EIO.
 */
export function handleMmFault(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const { host } = mm;
  const { x } = host.core;
  for (;;) {
    switch (s[at]) {
      case START: {
        const vma = mm.findVma(s[at + HVN] as number);
        const write = ((s[at + FLAGS] as number) & abi.FAULT_FLAG_WRITE) !== 0;
        const remote = ((s[at + FLAGS] as number) & abi.FAULT_FLAG_REMOTE) !== 0;
        // Whoever faults for an access checks the area's rights; breaking KSM is nobody's access.
        if (vma === undefined || (!remote && !mm.permits(vma, write))) return t.done(at, EFAULT);
        host.emit(abi.EVENT_HOST_FAULT, s[at + HVN], s[at + FLAGS]);
        s[at + ARGS] = mapArgs(mm, vma, write);
        {
          // A huge page of zeros prepares the area for anonymous ones, too.
          const makes = write || (vma.anon !== true && faultsHuge(mm, vma, s[at + HVN] as number));
          const anon = makes && (vma.flags & VM_SHARED) === 0;
          if (vma.faulted !== true || (anon && vma.anon !== true)) mm.noteFault(vma, anon);
        }
        s[at + RESULT] = 0;
        s[at] = CLASSIFY;
      }
      case CLASSIFY:
        if (t.preempt(at, CLASSIFIED, 'handle_mm_fault: read the pte')) return false;
      case CLASSIFIED:
        classify(s, at, mm);
        continue;
      case ANON:
        if (!t.lock(at, ANON, lockPte(mm.id))) return false;
        anonymous(t, at, mm);
        t.unlock(lockPte(mm.id));
        continue;
      case HUGE:
        if (!t.lock(at, HUGE, lockPte(mm.id))) return false;
        anonymousHuge(t, at, mm);
        t.unlock(lockPte(mm.id));
        continue;
      case HUGE_SPLIT:
        if (!splitHugePmd(t, at + CALLEE, mm)) return false;
        s[at] = CLASSIFY;
        continue;
      case SWAP:
        swapin(s, at, mm);
        continue;
      case SWAP_BUSY: {
        const free = x.swapClaimed(s[at + SLOT] as number) === 0;
        if (!t.wait(at, SWAP_BUSY, free, 'do_swap_page: another fault reads the slot'))
          return false;
        s[at] = CLASSIFY;
        continue;
      }
      case SWAP_LOCK:
        // The page is locked while it is read.
        if (!lockSwapPage(t, at, mm)) return false;
        if (s[at] !== SWAP_LOCK) continue;
        s[at] = SWAP_MAP;
      case SWAP_MAP:
        if (!t.lock(at, SWAP_MAP, lockPte(mm.id))) return false;
        s[at] = swapMap(s, at, mm);
        t.unlock(lockPte(mm.id));
        t.unlock(lockPage(s[at + PFN] as number));
        continue;
      case FILE:
        fileRead(s, at, mm);
        continue;
      case SHMEM_MAP:
        if (!t.lock(at, SHMEM_MAP, lockPte(mm.id))) return false;
        x.shmemMap(mm.id, s[at + HVN] as number, s[at + PFN] as number, s[at + ARGS] as number);
        t.unlock(lockPte(mm.id));
        s[at] = RETURN;
        continue;
      case FILE_MAP:
        if (!t.lock(at, FILE_MAP, lockPte(mm.id))) return false;
        x.filemapMap(mm.id, s[at + HVN] as number, s[at + PFN] as number, s[at + ARGS] as number);
        t.unlock(lockPte(mm.id));
        s[at] = RETURN;
        continue;
      case COW_FILE:
        if (!t.lock(at, COW_FILE, lockPte(mm.id))) return false;
        cowFile(s, at, mm);
        t.unlock(lockPte(mm.id));
        continue;
      case PRESENT:
        if (!t.lock(at, PRESENT, lockPte(mm.id))) return false;
        present(s, at, mm);
        t.unlock(lockPte(mm.id));
        continue;
      case WP_COPY:
        if (!copyPage(s, at, mm)) continue;
        notify(s, at, MN_INVALIDATE_RANGE_START);
        s[at] = WP_START;
      case WP_START:
        if (mm.hooks === '6.x' && !mm.notifiers.call(t, at + CALLEE)) return false;
        s[at] = WP_FLUSH;
      case WP_FLUSH:
        if (!t.lock(at, WP_FLUSH, lockPte(mm.id))) return false;
        if (!samePte(s, at, mm)) {
          // Reclaim or another fault was faster: this copy is not needed.
          x.putPage(s[at + PFN] as number);
          t.unlock(lockPte(mm.id));
          notify(s, at, MN_INVALIDATE_RANGE_ONLY_END);
          s[at] = WP_END;
          continue;
        }
        s[at + OLD] = x.ptepClear(mm.id, s[at + HVN] as number);
        notify(s, at, mm.hooks === '6.x' ? MN_INVALIDATE_RANGE : MN_INVALIDATE_PAGE);
        s[at] = WP_FLUSHED;
      case WP_FLUSHED:
        // ptep_clear_flush: v3 calls invalidate_page here, under the page-table lock.
        if (mm.hooks !== 'none' && !mm.notifiers.call(t, at + CALLEE)) return false;
        install(s, at, mm, s[at + OLD] as number);
        notify(s, at, MN_CHANGE_PTE);
        s[at] = WP_INSTALLED;
      case WP_INSTALLED:
        if (mm.hooks === '6.x' && !mm.notifiers.call(t, at + CALLEE)) return false;
        t.unlock(lockPte(mm.id));
        notify(s, at, MN_INVALIDATE_RANGE_ONLY_END);
        s[at] = WP_END;
      case WP_END:
        if (mm.hooks === '6.x' && !mm.notifiers.call(t, at + CALLEE)) return false;
        x.putPage(oldPfn(s, at));
        s[at + RESULT] = (s[at + RESULT] as number) | abi.VM_FAULT_WRITE;
        return finish(t, at, mm, s[at + RESULT] as number);
      case CHARGE:
        if (!host.tryCharge(t, at + CALLEE)) return false;
        if (t.result !== 0) {
          if (s[at + NEXT] === WP_COPY) x.putPage(oldPfn(s, at));
          if (s[at + NEXT] === COW_FILE) x.putPage(s[at + PFN] as number);
          return finish(t, at, mm, t.result);
        }
        s[at] = s[at + NEXT] as number;
        continue;
      default:
        return finish(t, at, mm, s[at + RESULT] as number);
    }
  }
}

function finish(t: Task, at: number, mm: Mm, result: number): true {
  mm.host.emit(
    abi.EVENT_HOST_FAULT_RET,
    t.stack[at + HVN],
    result >= 0 ? result : abi.VM_FAULT_OOM,
  );
  return t.done(at, result);
}

/** Decides what a fault needs and where it goes on. */
function classify(s: Int32Array, at: number, mm: Mm): void {
  const { x } = mm.host.core;
  const hvn = s[at + HVN] as number;
  switch (x.faultClassify(mm.id, hvn)) {
    case abi.FAULT_PRESENT:
      s[at] = PRESENT;
      return;
    case abi.FAULT_SWAP:
      s[at + SLOT] = mm.host.out(0);
      charge(s, at, mm, SWAP);
      // No room is needed for a page that the swap cache has.
      if (s[at] === CHARGE && x.swapCacheLookup(s[at + SLOT] as number) !== 0) s[at] = SWAP;
      return;
    default:
      classifyNone(s, at, mm, hvn);
  }
}

/**
 * A present pte, under the page-table lock (handle_pte_fault, do_wp_page): it permits the access, or it
 * is made writable, or the page has to be copied.
 */
function present(s: Int32Array, at: number, mm: Mm): void {
  const { x } = mm.host.core;
  const hvn = s[at + HVN] as number;
  const args = s[at + ARGS] as number;
  const met = x.faultPresent(mm.id, hvn, args & abi.MAP_WRITE_FAULT);
  if (met !== abi.FAULT_WP) {
    s[at] = met === abi.FAULT_PRESENT ? RETURN : CLASSIFY;
    return;
  }
  if (mm.host.thp !== 'never' && x.hpmdGet(mm.id, hvn) !== 0) {
    writeHuge(s, at, mm);
    return;
  }
  if (x.wpReuse(mm.id, hvn, args) !== 0) {
    s[at + RESULT] = (s[at + RESULT] as number) | abi.VM_FAULT_WRITE;
    s[at] = RETURN;
    return;
  }
  // The old page is held while room is made, or reclaim could free what is to be copied.
  s[at + OLD] = x.hpteGet(mm.id, hvn);
  x.getPage(oldPfn(s, at));
  charge(s, at, mm, WP_COPY);
}

function classifyNone(s: Int32Array, at: number, mm: Mm, hvn: number): void {
  const file = mm.fileOf(hvn);
  const write = (s[at + ARGS] as number) & abi.MAP_WRITE_FAULT;
  if (file === 0) {
    if (mm.host.thp !== 'never' && faultsHuge(mm, mm.findVma(hvn), hvn)) {
      mm.khugepaged = true;
      s[at] = HUGE;
      return;
    }
    if (mm.host.generation.zeroPage && write === 0) s[at] = ANON;
    else charge(s, at, mm, ANON, mm.host.out(1));
    return;
  }
  charge(s, at, mm, FILE);
  if (s[at] === CHARGE && mm.host.core.x.filemapGet(file, mm.pgoffOf(hvn)) !== 0) s[at] = FILE;
}

/** Makes room for a page that counts and goes on at `pc`. */
function charge(s: Int32Array, at: number, mm: Mm, pc: number, table = 0): void {
  const { host } = mm;
  if (((s[at + ARGS] as number) & abi.MAP_CHARGED) === 0 || host.charged() + table < host.room) {
    s[at] = pc;
    return;
  }
  s[at + NEXT] = pc;
  s[at + CALLEE] = 0;
  s[at] = CHARGE;
}

function anonymous(t: Task, at: number, mm: Mm): void {
  const s = t.stack;
  const { x } = mm.host.core;
  const hvn = s[at + HVN] as number;
  const args = s[at + ARGS] as number;
  s[at] = RETURN;
  // Another fault may have mapped the page while this one made room.
  if (t.preemptive && x.hpteGet(mm.id, hvn) !== 0) {
    s[at] = CLASSIFY;
    return;
  }
  if (mm.host.generation.zeroPage && (args & abi.MAP_WRITE_FAULT) === 0) {
    x.mapZeroPage(mm.id, hvn);
  } else if (x.doAnonymousPage(mm.id, hvn, args) === 0) {
    s[at + RESULT] = ENOMEM;
  }
}

/** lock_page_or_retry(): a fatal signal ends the wait, and the fault. */
function lockSwapPage(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const lock = lockPage(s[at + PFN] as number);
  if (!mm.host.generation.killable) return t.lock(at, SWAP_LOCK, lock);
  t.killed = false;
  if (!t.lockKillable(at, SWAP_LOCK, lock)) return false;
  if (!t.killed) return true;
  mm.host.core.x.swapinAbort(s[at + PFN] as number);
  s[at + RESULT] = EINTR;
  s[at] = RETURN;
  return true;
}

/** do_huge_pmd_anonymous_page: without room for 512 pages the fault makes a small one. */
function anonymousHuge(t: Task, at: number, mm: Mm): void {
  const s = t.stack;
  const { host } = mm;
  const { x } = host.core;
  const first = hugeAlign(s[at + HVN] as number);
  const args = s[at + ARGS] as number;
  s[at] = RETURN;
  if (t.preemptive && x.hpmdNone(mm.id, first) === 0) {
    s[at] = CLASSIFY;
    return;
  }
  const zero = (args & abi.MAP_WRITE_FAULT) === 0;
  const charged = (args & abi.MAP_CHARGED) !== 0;
  const room = zero || !charged || host.charged() + abi.HPAGE_PMD_NR <= host.room;
  if (room) {
    const made = zero ? x.mapHugeZeroPage(mm.id, first) : x.doHugeAnonymousPage(mm.id, first, args);
    if (made !== 0) return;
  }
  if (zero) s[at] = ANON;
  else charge(s, at, mm, ANON);
}

/** do_huge_pmd_wp_page: the huge page is reused, or its pte is split for a copy of one page. */
function writeHuge(s: Int32Array, at: number, mm: Mm): void {
  const hvn = s[at + HVN] as number;
  if (mm.host.core.x.hugeWpReuse(mm.id, hvn) !== 0) {
    s[at + RESULT] = (s[at + RESULT] as number) | abi.VM_FAULT_WRITE;
    s[at] = RETURN;
    return;
  }
  s[at + CALLEE] = 0;
  s[at + CALLEE + 1] = hvn;
  s[at + CALLEE + 2] = 0;
  s[at] = HUGE_SPLIT;
}

function swapin(s: Int32Array, at: number, mm: Mm): void {
  const { host } = mm;
  const slot = s[at + SLOT] as number;
  const found = host.core.x.swapinBegin(slot, s[at + ARGS] as number) >>> 0;
  if (found === 0) {
    s[at + RESULT] = ENOMEM;
    s[at] = RETURN;
    return;
  }
  if (found === abi.IO_BUSY) {
    s[at] = SWAP_BUSY;
    return;
  }
  s[at + PFN] = found & ~abi.IO_MAJOR;
  s[at] = SWAP_LOCK;
  if ((found & abi.IO_MAJOR) === 0) return;
  if (host.hooks.majorFault !== undefined) host.hooks.majorFault(mm.id, s[at + HVN] as number);
  s[at + RESULT] = abi.VM_FAULT_MAJOR;
  if (host.swap.read(slot) < 0) readError(s, at, mm);
}

/** The page could not be read: it leaves its cache, and the process gets a SIGBUS. */
function readError(s: Int32Array, at: number, mm: Mm): void {
  const { x } = mm.host.core;
  x.statBump(COUNTER_SLOTS.swap_io_errors, 1);
  x.readFailed(s[at + PFN] as number);
  s[at + RESULT] = EIO;
  s[at] = RETURN;
}

/** fault_around_bytes: 64 KiB. */
const FAULT_AROUND_PAGES = 16;

/**
 * do_fault_around(): maps the cached pages of 64 KiB, from an aligned place or the area's start on, in the
 * same table; 1 when the page is among them.
 */
function faultAround(mm: Mm, hvn: number, args: number): number {
  const vma = mm.findVma(hvn) as Vma;
  const start = Math.max(hvn & ~(FAULT_AROUND_PAGES - 1), vma.start);
  const tableEnd = (start & ~511) + 512;
  const end = Math.min(start + FAULT_AROUND_PAGES, vma.end, tableEnd);
  const offset = mm.pgoffOf(start);
  return mm.host.core.x.shmemMapAround(mm.id, hvn, start, end, vma.file, offset, args);
}

/** shmem_fault(), after the pages around were looked for (do_read_fault, do_shared_fault, do_cow_fault). */
function shmemRead(s: Int32Array, at: number, mm: Mm): void {
  const { host } = mm;
  const hvn = s[at + HVN] as number;
  const args = s[at + ARGS] as number;
  const file = mm.fileOf(hvn);
  const offset = mm.pgoffOf(hvn);
  s[at] = RETURN;
  if ((args & abi.MAP_WRITE_FAULT) === 0 && faultAround(mm, hvn, args) === 1) {
    s[at + RESULT] = abi.VM_FAULT_NOPAGE;
    return;
  }
  const slot = host.core.x.shmemSlot(file, offset);
  const found = host.core.x.shmemGet(file, offset, args) >>> 0;
  if (found === 0) {
    s[at + RESULT] = ENOMEM;
    return;
  }
  s[at + PFN] = found & ~abi.IO_MAJOR;
  s[at + RESULT] = abi.VM_FAULT_LOCKED;
  if ((found & abi.IO_MAJOR) !== 0) {
    if (host.hooks.majorFault !== undefined) host.hooks.majorFault(mm.id, hvn);
    s[at + RESULT] = abi.VM_FAULT_LOCKED | abi.VM_FAULT_MAJOR;
    host.swap.read(slot);
  }
  const cow = (args & (abi.MAP_WRITE_FAULT | abi.MAP_SHARED)) === abi.MAP_WRITE_FAULT;
  if (cow) charge(s, at, mm, COW_FILE);
  else s[at] = SHMEM_MAP;
}

function fileRead(s: Int32Array, at: number, mm: Mm): void {
  const { host } = mm;
  const hvn = s[at + HVN] as number;
  if (host.shmemFiles.length > 0 && host.shmemFiles.includes(mm.fileOf(hvn))) {
    return shmemRead(s, at, mm);
  }
  const offset = mm.pgoffOf(hvn);
  const args = s[at + ARGS] as number;
  const found = host.core.x.filemapRead(mm.fileOf(hvn), offset, args) >>> 0;
  if (found === 0) {
    s[at + RESULT] = ENOMEM;
    s[at] = RETURN;
    return;
  }
  s[at + PFN] = found & ~abi.IO_MAJOR;
  const cow = (args & (abi.MAP_WRITE_FAULT | abi.MAP_SHARED)) === abi.MAP_WRITE_FAULT;
  if (cow) charge(s, at, mm, COW_FILE);
  else s[at] = FILE_MAP;
  if ((found & abi.IO_MAJOR) === 0) return;
  if (host.hooks.majorFault !== undefined) host.hooks.majorFault(mm.id, hvn);
  s[at + RESULT] = abi.VM_FAULT_MAJOR;
  if (host.disk.read(offset) < 0) readError(s, at, mm);
}

/** Writes the arguments of a notifier call for the faulting page. */
function notify(s: Int32Array, at: number, op: number): void {
  const hvn = s[at + HVN] as number;
  s[at + CALLEE] = 0;
  s[at + CALLEE + 1] = op;
  s[at + CALLEE + 2] = hvn;
  s[at + CALLEE + 3] = hvn + 1;
  s[at + CALLEE + 4] = abi.MMU_NOTIFY_CLEAR;
}

/** Maps the page that was read; where the fault goes on. A write to a shared page is copied now. */
function swapMap(s: Int32Array, at: number, mm: Mm): number {
  const args = s[at + ARGS] as number;
  const hvn = s[at + HVN] as number;
  const mapped = mm.host.core.x.swapinMap(mm.id, hvn, s[at + PFN] as number, args);
  if (mapped === 2) s[at + RESULT] = (s[at + RESULT] as number) | abi.VM_FAULT_WRITE;
  return mapped === 2 || (args & abi.MAP_WRITE_FAULT) === 0 ? RETURN : CLASSIFY;
}

/** The first write to a private file page goes to a copy at once. */
function cowFile(s: Int32Array, at: number, mm: Mm): void {
  const { x } = mm.host.core;
  const source = s[at + PFN] as number;
  s[at] = RETURN;
  if (x.hpteGet(mm.id, s[at + HVN] as number) !== 0) {
    x.putPage(source);
    s[at] = CLASSIFY;
    return;
  }
  s[at + PFN] = x.wpCopyBegin(source, s[at + ARGS] as number);
  x.putPage(source);
  if (s[at + PFN] === 0) s[at + RESULT] = ENOMEM;
  else install(s, at, mm, 0);
}

/** The page of the read-only pte that a write met (0: the zero page). */
function oldPfn(s: Int32Array, at: number): number {
  return (s[at + OLD] as number) >>> abi.HPTE_PFN_SHIFT;
}

/** Whether the pte is still that one (pte_same): not even its young bit may have changed. */
function samePte(s: Int32Array, at: number, mm: Mm): boolean {
  return (mm.host.core.x.hpteGet(mm.id, s[at + HVN] as number) | 0) === s[at + OLD];
}

/** Takes a page and copies the old one into it; false: there is none. */
function copyPage(s: Int32Array, at: number, mm: Mm): boolean {
  const { x } = mm.host.core;
  mm.host.emit(abi.EVENT_WP_PAGE_COPY);
  s[at + PFN] = x.wpCopyBegin(oldPfn(s, at), s[at + ARGS] as number);
  if (s[at + PFN] !== 0) return true;
  x.putPage(oldPfn(s, at));
  s[at + RESULT] = ENOMEM;
  s[at] = RETURN;
  return false;
}

function install(s: Int32Array, at: number, mm: Mm, old: number): void {
  mm.host.core.x.wpCopyInstall(
    mm.id,
    s[at + HVN] as number,
    s[at + PFN] as number,
    old,
    s[at + ARGS] as number,
  );
}
