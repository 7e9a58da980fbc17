// The host page fault (cf. handle_mm_fault() in mm/memory.c) as a protocol: the order of its pieces, with
// the locks and notifier calls between them. Its frame is fault-frame.ts; what a fault does with each kind
// of page is in anon-fault.ts, swap-fault.ts, file-fault.ts and wp-fault.ts, and in assembly/mm below.

import * as abi from '../../assembly/abi.ts';
import { lockPage, lockPte } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import { anonymous, anonymousHuge } from './anon-fault.ts';
import {
  ANON,
  ARGS,
  CALLEE,
  CHARGE,
  CLASSIFIED,
  CLASSIFY,
  COW_FILE,
  EFAULT,
  FILE,
  FILE_MAP,
  FLAGS,
  HUGE,
  HUGE_SPLIT,
  HVN,
  NEXT,
  PFN,
  PRESENT,
  RESULT,
  RETURN,
  SHMEM_MAP,
  SLOT,
  START,
  SWAP,
  SWAP_BUSY,
  SWAP_LOCK,
  SWAP_MAP,
  WP_COPY,
  WP_END,
  WP_FLUSH,
  WP_FLUSHED,
  WP_INSTALLED,
  WP_START,
  charge,
  dirtied,
  finish,
  oldPfn,
} from './fault-frame.ts';
import { cowFile, fileRead } from './file-fault.ts';
import { faultsHuge, splitHugePmd } from './huge-memory.ts';
import { khugepagedTold } from './khugepaged.ts';
import type { Mm } from './mm.ts';
import { lockSwapPage, swapin, swapMap } from './swap-fault.ts';
import { VM_LOCKED, VM_RESIDENT, VM_SHARED, VM_WRITE, VM_WRITE_NOTIFY, type Vma } from './vma.ts';
import { present, wpPageCopy } from './wp-fault.ts';

/** MAP_* of a fault in a vma. */
export function mapArgs(mm: Mm, vma: Vma, write: boolean): number {
  const { generation } = mm.host;
  let args = write ? abi.MAP_WRITE_FAULT : 0;
  if (vma.flags & VM_WRITE) args |= abi.MAP_VM_WRITE;
  if (vma.flags & VM_SHARED) args |= abi.MAP_SHARED;
  if (vma.flags & VM_WRITE_NOTIFY) args |= abi.MAP_WRITE_NOTIFY;
  if ((vma.flags & VM_RESIDENT) === 0) args |= abi.MAP_CHARGED;
  if (vma.flags & (VM_LOCKED | VM_RESIDENT)) args |= abi.MAP_UNEVICTABLE;
  if (generation.swapinWritable) args |= abi.MAP_SWAP_WRITABLE;
  if (generation.reuse === 'mapcount') args |= abi.MAP_DIRTY_ALWAYS;
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
          const makes =
            write || (vma.anon === undefined && faultsHuge(mm, vma, s[at + HVN] as number));
          const anon = makes && (vma.flags & VM_SHARED) === 0;
          if (vma.faulted !== true || (anon && vma.anon === undefined)) mm.noteFault(vma, anon);
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
        if (
          x.shmemMap(
            mm.id,
            s[at + HVN] as number,
            s[at + PFN] as number,
            s[at + ARGS] as number,
          ) !== 0
        ) {
          dirtied(s, at, mm);
        }
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
      case WP_START:
      case WP_FLUSH:
      case WP_FLUSHED:
      case WP_INSTALLED:
      case WP_END:
        return wpPageCopy(t, at, mm);
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
        finish(t, at, mm, s[at + RESULT] as number);
        if (((s[at + RESULT] as number) & abi.VM_FAULT_RETRY) === 0 || t.result < 0) return true;
        // Whoever may have to take the fault again does so at once.
        s[at + FLAGS] = (s[at + FLAGS] as number) | abi.FAULT_FLAG_TRIED;
        s[at] = START;
    }
  }
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

function classifyNone(s: Int32Array, at: number, mm: Mm, hvn: number): void {
  const file = mm.fileOf(hvn);
  const write = (s[at + ARGS] as number) & abi.MAP_WRITE_FAULT;
  if (file === 0) {
    if (mm.host.thp !== 'never' && faultsHuge(mm, mm.findVma(hvn), hvn)) {
      khugepagedTold(mm);
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
