// mprotect and mremap: the ptes change or move, and the notifiers hear of it.

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
import { VM_READ, VM_WRITE, type Vma, vmasJoined, vmasWithin, vmasWithout } from './vma.ts';

// Arguments and locals.
const START = 1;
const END = 2;
/** mprotect: 1 writable, 0 not. mremap: the new first page. */
const ARGUMENT = 3;
const CHANGED = 4;
const CALLEE = 5;

/** Runs `change` on s[at + 1] to s[at + 2] between the notifier calls of the generation. */
function changeRange(
  t: Task,
  at: number,
  mm: Mm,
  event: number,
  change: (s: Int32Array, at: number) => number,
): boolean {
  const s = t.stack;
  const ranged = mm.hooks === '2.6.27' || mm.hooks === '6.x';
  switch (s[at]) {
    case 0:
      notify(s, at, MN_INVALIDATE_RANGE_START, event);
      s[at] = 1;
    case 1:
      if (ranged && !mm.notifiers.call(t, at + CALLEE)) return false;
      s[at] = 2;
    case 2:
      if (!t.lock(at, 2, lockPte(mm.id))) return false;
      s[at + CHANGED] = change(s, at);
      t.unlock(lockPte(mm.id));
      notify(s, at, ranged ? MN_INVALIDATE_RANGE_END : MN_INVALIDATE_RANGE, event);
      if (t.preempt(at, 3, 'change_protection: the ptes are changed')) return false;
    case 3:
      if (mm.hooks !== 'none' && !mm.notifiers.call(t, at + CALLEE)) return false;
      notify(s, at, MN_INVALIDATE_RANGE, event);
      s[at] = 4;
    case 4:
      // The flush at the end (tlb_finish_mmu) tells secondary TLBs once more.
      if (mm.hooks === '6.x' && (s[at + CHANGED] as number) > 0) {
        if (!mm.notifiers.call(t, at + CALLEE)) return false;
      }
  }
  return t.done(at, 0);
}

function notify(s: Int32Array, at: number, op: number, event: number): void {
  notifyRange(s, at + CALLEE, op, s[at + START] as number, s[at + END] as number, event);
}

/** Changes the rights of [start, end). */
export function mprotect(
  mm: Mm,
  start: number,
  end: number,
  prot: { readonly read: boolean; readonly write: boolean },
): void {
  const parts = vmasWithin(mm.vmas, start, end);
  const rights = (prot.read ? VM_READ : 0) | (prot.write ? VM_WRITE : 0);
  const changed: Vma[] = parts.map((vma) => ({
    ...vma,
    flags: (vma.flags & ~(VM_READ | VM_WRITE)) | rights,
  }));
  mm.vmas = vmasJoined(vmasWithout(mm.vmas, start, end), changed);
  const { x } = mm.host.core;
  const upgrade = mm.host.generation.protectUpgrade ? 1 : 0;
  for (const [i, part] of parts.entries()) {
    if (part.flags === (changed[i] as Vma).flags) continue;
    mm.run(
      (t, at) =>
        changeRange(t, at, mm, abi.MMU_NOTIFY_PROTECTION_VMA, (s, frame) => {
          const changes = x.protectRange(
            mm.id,
            s[frame + START] as number,
            s[frame + END] as number,
            s[frame + ARGUMENT] as number,
            upgrade,
          );
          // Ptes of PROT_NONE are in no TLB; those that become so are flushed whatever they were.
          if ((part.flags & VM_READ) === 0) return 0;
          return prot.read
            ? changes
            : x.hpteNextMapped(mm.id, part.start, part.end) < part.end
              ? 1
              : 0;
        }),
      part.start,
      part.end,
      prot.write ? 1 : 0,
    );
  }
}

/** move_page_tables(): its flush is of the processor's own TLB (flush_tlb_range), which since 6.x tells
 *  no notifier: 0 changes are reported. */
function moveTables(mm: Mm, s: Int32Array, at: number): number {
  const from = s[at + START] as number;
  mm.host.core.x.moveRange(mm.id, from, s[at + END] as number, s[at + ARGUMENT] as number);
  return 0;
}

/** Moves [start, end) to `target`, unmapping what is there; returns `target`. */
export function mremap(mm: Mm, start: number, end: number, target: number): number {
  const parts = vmasWithin(mm.vmas, start, end);
  mm.munmap(target, end - start);
  const shift = target - start;
  for (const part of parts) {
    // Memory without anonymous pages takes the new place's offset (copy_vma).
    const pgoff = part.file === 0 && part.anon !== true ? part.start + shift : part.pgoff;
    const moved: Vma = { ...part, start: part.start + shift, end: part.end + shift, pgoff };
    mm.vmas = vmasJoined(mm.vmas, [moved]);
    mm.run(
      (t, at) =>
        changeRange(t, at, mm, abi.MMU_NOTIFY_UNMAP, (s, frame) => moveTables(mm, s, frame)),
      part.start,
      part.end,
      part.start + shift,
    );
    mm.munmap(part.start, part.end - part.start);
  }
  return target;
}
