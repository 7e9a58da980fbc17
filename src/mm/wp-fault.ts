// A fault at a present pte (cf. do_wp_page() and wp_page_copy() in mm/memory.c, do_huge_pmd_wp_page() in
// mm/huge_memory.c): the page is made writable, or copied when others have it too.
//
// The order of a copy is the design: the pte is cleared, every secondary MMU lets the old page go, and
// only then the copy is mapped, all under the page-table lock. The old page keeps a reference until
// the end, since room for the copy is made while it is still mapped.

import * as abi from '../../assembly/abi.ts';
import { lockPte } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import {
  ARGS,
  CALLEE,
  CLASSIFY,
  ENOMEM,
  HUGE_SPLIT,
  HVN,
  OLD,
  PFN,
  RESULT,
  RETURN,
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
import { isNormalPte } from './host-pte.ts';
import type { Mm } from './mm.ts';
import { munlockMapped } from './munlock.ts';
import {
  MN_CHANGE_PTE,
  MN_INVALIDATE_PAGE,
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_ONLY_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';

/**
 * A present pte, under the page-table lock (handle_pte_fault, do_wp_page): it permits the access, or it
 * is made writable, or the page has to be copied.
 */
export function present(s: Int32Array, at: number, mm: Mm): void {
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
  const reused = x.wpReuse(mm.id, hvn, args);
  if (reused !== 0) {
    s[at + RESULT] = (s[at + RESULT] as number) | abi.VM_FAULT_WRITE;
    if (reused === abi.WP_DIRTIED) dirtied(s, at, mm);
    s[at] = RETURN;
    return;
  }
  // The old page is held while room is made, or reclaim could free what is to be copied.
  s[at + OLD] = x.hpteGet(mm.id, hvn);
  x.getPage(oldPfn(s, at));
  charge(s, at, mm, WP_COPY);
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

/** Whether change_pte tells of a copy. */
function tellsCopies(mm: Mm): boolean {
  return mm.hooks === '6.x' && mm.host.generation.changePte;
}

/** wp_page_copy: the rest of the fault, from WP_COPY on, in the fault's own frame. */
export function wpPageCopy(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const { x } = mm.host.core;
  for (;;) {
    switch (s[at]) {
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
        installCopy(s, at, mm, s[at + OLD] as number);
        notify(s, at, MN_CHANGE_PTE);
        s[at] = WP_INSTALLED;
      case WP_INSTALLED:
        if (tellsCopies(mm) && !mm.notifiers.call(t, at + CALLEE)) return false;
        t.unlock(lockPte(mm.id));
        notify(s, at, MN_INVALIDATE_RANGE_ONLY_END);
        s[at] = WP_END;
      case WP_END:
        if (mm.hooks === '6.x' && !mm.notifiers.call(t, at + CALLEE)) return false;
        x.putPage(oldPfn(s, at));
        s[at + RESULT] = (s[at + RESULT] as number) | abi.VM_FAULT_WRITE;
      default:
        return finish(t, at, mm, s[at + RESULT] as number);
    }
  }
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

/** Maps the copy where `old` was (0: nothing). */
export function installCopy(s: Int32Array, at: number, mm: Mm, old: number): void {
  const args = s[at + ARGS] as number;
  mm.host.core.x.wpCopyInstall(mm.id, s[at + HVN] as number, s[at + PFN] as number, old, args);
  const present = isNormalPte(old);
  const from = old >>> abi.HPTE_PFN_SHIFT;
  if (present && from !== abi.ZERO_PFN && (args & abi.MAP_UNEVICTABLE) !== 0)
    munlockMapped(mm, from);
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
