// /proc/PID/clear_refs (cf. clear_refs_write, fs/proc/task_mmu.c): what user space estimates working
// sets and finds written pages with. Only the soft-dirty form tells the notifiers.

import * as abi from '../../assembly/abi.ts';
import { ERRNO } from '../core/errors.ts';
import type { Task } from '../sched/task.ts';
import type { Mm } from './mm.ts';
import { MN_INVALIDATE_RANGE_END, MN_INVALIDATE_RANGE_START } from './mmu-notifier.ts';
import { notifyRange } from './unmap.ts';
import { VM_SHARED, VM_WRITE_NOTIFY } from './vma.ts';

/** CLEAR_REFS_*. */
export const CLEAR_REFS_ALL = 1;
export const CLEAR_REFS_ANON = 2;
export const CLEAR_REFS_MAPPED = 3;
export const CLEAR_REFS_SOFT_DIRTY = 4;
const CLEAR_REFS_MM_HIWATER_RSS = 5;

const CALLEE = 1;

/**
 * Makes the host's ptes old and their pages unreferenced (1 all, 2 anonymous, 3 file areas; no notifier
 * is asked), or write-protects everything to see what is written (4). Result: 0 or a negative errno.
 */
export function clearRefs(mm: Mm, type: number): number {
  if (type === CLEAR_REFS_MM_HIWATER_RSS) return 0;
  // Soft-dirty bits came with 3.11.
  const soft = type === CLEAR_REFS_SOFT_DIRTY;
  if (type < CLEAR_REFS_ALL || type > CLEAR_REFS_SOFT_DIRTY || (soft && mm.hooks !== '6.x')) {
    return -ERRNO.EINVAL;
  }
  if (soft) return mm.run((t, at) => clearSoftDirty(t, at, mm));
  const { x } = mm.host.core;
  for (const vma of mm.vmas) {
    if (type === CLEAR_REFS_ANON && vma.file !== 0) continue;
    if (type === CLEAR_REFS_MAPPED && vma.file === 0) continue;
    x.clearRefsRange(mm.id, vma.start, vma.end);
  }
  return 0;
}

/** vma_wants_writenotify(): new ptes of shared memory are read-only until they are written. */
function noteWrites(mm: Mm): void {
  const files = mm.host.shmemFiles;
  if (files.length === 0) return;
  mm.vmas = mm.vmas.map((vma) =>
    files.includes(vma.file) && (vma.flags & VM_SHARED) !== 0
      ? { ...vma, flags: vma.flags | VM_WRITE_NOTIFY }
      : vma,
  );
}

function clearSoftDirty(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const whole = (op: number): void =>
    notifyRange(s, at + CALLEE, op, 0, abi.HVN_LIMIT, abi.MMU_NOTIFY_SOFT_DIRTY);
  switch (s[at]) {
    case 0:
      whole(MN_INVALIDATE_RANGE_START);
      s[at] = 1;
    case 1:
      if (!mm.notifiers.call(t, at + CALLEE)) return false;
      for (const vma of mm.vmas) mm.host.core.x.clearSoftDirtyRange(mm.id, vma.start, vma.end);
      noteWrites(mm);
      whole(MN_INVALIDATE_RANGE_END);
      s[at] = 2;
    case 2:
      if (!mm.notifiers.call(t, at + CALLEE)) return false;
      mm.flushTlb(0, abi.HVN_LIMIT);
  }
  return t.done(at, 0);
}
