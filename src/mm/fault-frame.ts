// The frame of a host page fault: its arguments, its locals and where it stands, as the words that the
// protocol (fault.ts) keeps on its task's stack, and the ends that every kind of fault shares.
//
// The kinds of page have files of their own (anon-fault.ts, swap-fault.ts, file-fault.ts, wp-fault.ts).
// Their pieces find what they need in this frame, and say in s[at] where the fault goes on.

import * as abi from '../../assembly/abi.ts';
import type { Task } from '../sched/task.ts';
import { COUNTER_SLOTS } from '../stats/stats.ts';
import type { Mm } from './mm.ts';

// Arguments and locals.
export const HVN = 1;
/** FAULT_FLAG_*. */
export const FLAGS = 2;
/** MAP_*. */
export const ARGS = 3;
export const PFN = 4;
export const SLOT = 5;
export const OLD = 6;
export const RESULT = 7;
/** Program counter after tryCharge(). */
export const NEXT = 8;
export const CALLEE = 9;

// Program counters.
export const START = 0;
export const CLASSIFY = 1;
export const CLASSIFIED = 2;
export const ANON = 3;
export const SWAP = 4;
export const SWAP_LOCK = 5;
export const SWAP_MAP = 6;
export const FILE = 7;
export const FILE_MAP = 8;
export const COW_FILE = 9;
export const PRESENT = 10;
export const WP_COPY = 11;
export const WP_START = 12;
export const WP_FLUSH = 13;
export const WP_FLUSHED = 14;
export const WP_INSTALLED = 15;
export const WP_END = 16;
export const CHARGE = 17;
export const RETURN = 18;
export const HUGE = 19;
export const HUGE_SPLIT = 20;
export const SWAP_BUSY = 21;
export const SHMEM_MAP = 22;

/** -EFAULT: no vma, or it forbids the access. */
export const EFAULT = -14;
/** -ENOMEM: nothing could be freed. */
export const ENOMEM = -12;
/** -EINTR: a fatal signal came. */
export const EINTR = -4;
/** -EIO: the device failed (the process gets SIGBUS). */
export const EIO = -5;

/** What says whether a fault may be taken again: for the first time, and by somebody who can wait. */
const ONCE_MORE = abi.FAULT_FLAG_ALLOW_RETRY | abi.FAULT_FLAG_TRIED | abi.FAULT_FLAG_RETRY_NOWAIT;

/** Makes room for a page that counts and goes on at `pc`. */
export function charge(s: Int32Array, at: number, mm: Mm, pc: number, table = 0): void {
  const { host } = mm;
  if (((s[at + ARGS] as number) & abi.MAP_CHARGED) === 0 || host.charged() + table < host.room) {
    s[at] = pc;
    return;
  }
  s[at + NEXT] = pc;
  s[at + CALLEE] = 0;
  s[at] = CHARGE;
}

/** The page of the read-only pte that a write met (0: the zero page). */
export function oldPfn(s: Int32Array, at: number): number {
  return (s[at + OLD] as number) >>> abi.HPTE_PFN_SHIFT;
}

/** The page could not be read: it leaves its cache, and the process gets a SIGBUS. */
export function readError(s: Int32Array, at: number, mm: Mm): void {
  const { x } = mm.host.core;
  x.statBump(COUNTER_SLOTS.swap_io_errors, 1);
  x.readFailed(s[at + PFN] as number);
  s[at + RESULT] = EIO;
  s[at] = RETURN;
}

/**
 * A page of shared memory became dirty: the writer may have to wait for the disk, without the mmap lock, and
 * takes the fault again (fault_dirty_shared_page).
 */
export function dirtied(s: Int32Array, at: number, mm: Mm): void {
  const first = (s[at + FLAGS] as number) & ONCE_MORE;
  if (!mm.host.generation.dirtyingRetries || first !== abi.FAULT_FLAG_ALLOW_RETRY) return;
  s[at + RESULT] = (s[at + RESULT] as number) | abi.VM_FAULT_RETRY;
}

/** Ends the fault with its result. */
export function finish(t: Task, at: number, mm: Mm, result: number): true {
  const told = mm.host.generation.faultTellsWrite ? result : result & ~abi.VM_FAULT_WRITE;
  mm.host.emit(abi.EVENT_HOST_FAULT_RET, t.stack[at + HVN], result >= 0 ? told : abi.VM_FAULT_OOM);
  return t.done(at, result);
}
