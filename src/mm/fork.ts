// fork: the child gets copies of the areas, and of the ptes of anonymous memory, read-only on both
// sides. v3 had no notifier call here (the sptes of the parent stayed writable); the call that every
// later generation makes is on by default (`forkHook`).

import * as abi from '../../assembly/abi.ts';
import { lockPte } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import type { Mm } from './mm.ts';
import {
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';
import { notifyRange } from './unmap.ts';
import { VM_DONTCOPY, VM_LOCKED, VM_MERGEABLE, VM_SHARED } from './vma.ts';

const START = 1;
const END = 2;
const CALLEE = 3;

/** copy_page_range as a protocol: pages s[at + 1] to s[at + 2] of `parent` for `child`. */
export function copyPageRange(t: Task, at: number, parent: Mm, child: Mm): boolean {
  const s = t.stack;
  const { ranged } = parent;
  const after = parent.hooks === 'v3' && parent.host.generation.forkHook;
  switch (s[at]) {
    case 0:
      notify(s, at, MN_INVALIDATE_RANGE_START);
      s[at] = 1;
    case 1:
      if (ranged && !parent.notifiers.call(t, at + CALLEE)) return false;
      s[at] = 2;
    case 2:
      if (!t.lock(at, 2, lockPte(parent.id))) return false;
      parent.host.core.x.copyRange(
        parent.id,
        child.id,
        s[at + START] as number,
        s[at + END] as number,
      );
      t.unlock(lockPte(parent.id));
      notify(s, at, ranged ? MN_INVALIDATE_RANGE_END : MN_INVALIDATE_RANGE);
      if (t.preempt(at, 3, 'copy_page_range: the ptes are write-protected')) return false;
    case 3:
      if ((ranged || after) && !parent.notifiers.call(t, at + CALLEE)) return false;
  }
  return t.done(at, 0);
}

function notify(s: Int32Array, at: number, op: number): void {
  const event = abi.MMU_NOTIFY_PROTECTION_PAGE;
  notifyRange(s, at + CALLEE, op, s[at + START] as number, s[at + END] as number, event);
}

/** A copy-on-write copy of an mm, without notifiers. */
export function forkMm(parent: Mm): Mm {
  const child = parent.host.createMm();
  child.parent = parent;
  child.khugepaged = parent.khugepaged;
  if (parent.vmas.some((vma) => (vma.flags & VM_MERGEABLE) !== 0))
    parent.host.ksm.fork(parent, child);
  child.vmas = parent.vmas
    .filter((vma) => (vma.flags & VM_DONTCOPY) === 0)
    // Locks are not inherited (dup_mmap); each area's own pages will belong to it alone (anon_vma_fork).
    .map((vma, i) => ({
      ...vma,
      flags: vma.flags & ~VM_LOCKED,
      ...(vma.anon === undefined ? {} : { anon: 1 + i, inherited: vma.anon }),
    }));
  child.lastAnon = child.vmas.length;
  for (const vma of child.vmas) {
    // Areas without anonymous pages are not copied: faults find their pages again (vma_needs_copy).
    if ((vma.flags & VM_SHARED) !== 0 || vma.anon === undefined) continue;
    parent.run((t, at) => copyPageRange(t, at, parent, child), vma.start, vma.end);
  }
  // dup_mmap().
  parent.flushTlb(0, abi.HVN_LIMIT);
  return child;
}
