// A fault at a swap entry (cf. do_swap_page() in mm/memory.c, 6.1), in three steps: the page is found in
// the swap cache or read, locked while it is read, and mapped under the page-table lock. Of two faults
// at one slot only one reads it.

import * as abi from '../../assembly/abi.ts';
import { lockPage } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import {
  ARGS,
  CLASSIFY,
  EINTR,
  ENOMEM,
  HVN,
  PFN,
  RESULT,
  RETURN,
  SLOT,
  SWAP_BUSY,
  SWAP_LOCK,
  readError,
} from './fault-frame.ts';
import type { Mm } from './mm.ts';

/** Finds the page of a slot in the swap cache, or begins to read it. */
export function swapin(s: Int32Array, at: number, mm: Mm): void {
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

/** lock_page_or_retry(): a fatal signal ends the wait, and the fault. */
export function lockSwapPage(t: Task, at: number, mm: Mm): boolean {
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

/** Maps the page that was read; where the fault goes on. A write to a shared page is copied now. */
export function swapMap(s: Int32Array, at: number, mm: Mm): number {
  const args = s[at + ARGS] as number;
  const hvn = s[at + HVN] as number;
  const mapped = mm.host.core.x.swapinMap(mm.id, hvn, s[at + PFN] as number, args);
  if (mapped === 2) s[at + RESULT] = (s[at + RESULT] as number) | abi.VM_FAULT_WRITE;
  return mapped === 2 || (args & abi.MAP_WRITE_FAULT) === 0 ? RETURN : CLASSIFY;
}
