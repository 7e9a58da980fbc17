// Actors of the host's memory management: the emulator's own reclaim, unmapping and copying, with the few
// lines that call them.

import {
  FAULT_FLAG_WRITE,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  HPTE_YOUNG,
  MMU_NOTIFY_CLEAR,
} from '../../../assembly/abi.ts';
import { handleMmFault } from '../../mm/fault.ts';
import { copyPageRange } from '../../mm/fork.ts';
import { FOLL_TOUCH, FOLL_WRITE } from '../../mm/gup.ts';
import type { Mm } from '../../mm/mm.ts';
import { mprotectRange, mremapRange } from '../../mm/mprotect.ts';
import { exitMmap, munmapRange, zapPageRange } from '../../mm/unmap.ts';
import { VM_READ } from '../../mm/vma.ts';
import { shrinkPages } from '../../mm/vmscan/shrink.ts';
import { lockMmap } from '../../sched/locks.ts';
import type { Protocol, Task } from '../../sched/task.ts';
import { GUEST_HVN } from '../machine.ts';
import type { ExploredMachine } from '../machine.ts';
import type { Actor } from '../system.ts';
import { watchesPte } from './chain.ts';

const CALLEE = 4;
/** Where mremap() moves the page: beyond the guest's memory. */
const MOVED_HVN = GUEST_HVN + 0x40;

/** kswapd reclaims `rounds` pages, one after the other. */
export function reclaim(machine: ExploredMachine, rounds = 1): Actor {
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    for (;;) {
      switch (s[at]) {
        case 0:
          s[at + CALLEE] = 0;
          s[at + CALLEE + 1] = 1;
          s[at] = 1;
        case 1:
          if (!shrinkPages(t, at + CALLEE, machine.host)) return false;
          s[at + 1] = (s[at + 1] as number) + 1;
          if (s[at + 1] === rounds) return t.done(at, 0);
          if (t.preempt(at, 0, 'kswapd: shrink_inactive_list')) return false;
      }
    }
  };
  const begins = 'kswapd: shrink_inactive_list';
  return { name: 'kswapd', begins, run: watchesPte(machine, run) };
}

/** madvise(MADV_DONTNEED) of page 0, under mmap_lock for reading. `alone`: nobody else unmaps. */
export function zap(machine: ExploredMachine, alone = true): Actor {
  const page = 0;
  const { mm, monitor } = machine;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        if (!t.lockShared(at, 0, lockMmap(mm.id))) return false;
        monitor.drop(page);
        s[at + 1] = monitor.hpte(page) >>> HPTE_PFN_SHIFT;
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = GUEST_HVN + page;
        s[at + CALLEE + 2] = GUEST_HVN + page + 1;
        s[at + CALLEE + 3] = MMU_NOTIFY_CLEAR;
        s[at + CALLEE + 4] = 0;
        s[at] = 1;
      case 1:
        if (!zapPageRange(t, at + CALLEE, mm)) return false;
        t.unlockShared(lockMmap(mm.id));
        if (alone) monitor.invalidated(page, s[at + 1] as number);
    }
    return t.done(at, 0);
  };
  const begins = 'madvise(MADV_DONTNEED): take mmap_lock';
  return { name: 'madvise', begins, run: watchesPte(machine, run) };
}

/** A system call on page 0 that takes the mmap_lock for writing; `after`: it has returned. */
function systemCall(
  machine: ExploredMachine,
  name: string,
  protocol: (t: Task, at: number, mm: Mm) => boolean,
  argument: number,
  after: (old: number) => void,
): Actor {
  const { mm, monitor } = machine;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    if (s[at] === 0) {
      s[at + 1] = monitor.hpte(0) >>> HPTE_PFN_SHIFT;
      s[at + CALLEE] = 0;
      s[at + CALLEE + 1] = GUEST_HVN;
      s[at + CALLEE + 2] = GUEST_HVN + 1;
      s[at + CALLEE + 3] = argument;
      s[at] = 1;
    }
    if (!protocol(t, at + CALLEE, mm)) return false;
    after(s[at + 1] as number);
    return t.done(at, 0);
  };
  return { name, begins: `${name}: take mmap_lock`, run: watchesPte(machine, run) };
}

/** munmap() of page 0. */
export function munmap(machine: ExploredMachine): Actor {
  const { monitor } = machine;
  return systemCall(machine, 'munmap', munmapRange, 0, (old) => monitor.invalidated(0, old));
}

/** mprotect(PROT_READ) of page 0. */
export function mprotect(machine: ExploredMachine): Actor {
  const { monitor } = machine;
  return systemCall(machine, 'mprotect', mprotectRange, VM_READ, () => monitor.writeProtected(0));
}

/** mremap() of page 0 to where the guest has no memory. */
export function mremap(machine: ExploredMachine): Actor {
  const { monitor } = machine;
  return systemCall(machine, 'mremap', mremapRange, MOVED_HVN, (old) =>
    monitor.invalidated(0, old),
  );
}

/** The mm exits. */
export function exit(machine: ExploredMachine): Actor {
  const run = (t: Task, at: number): boolean => {
    if (t.stack[at] === 0) {
      for (let page = 0; page < machine.pages; page++) machine.monitor.drop(page);
      t.stack[at + CALLEE] = 0;
      t.stack[at] = 1;
    }
    return exitMmap(t, at + CALLEE, machine.mm) && t.done(at, 0);
  };
  return { name: 'exit', begins: 'mmput: exit_mmap', run: watchesPte(machine, run) };
}

/** Direct I/O: pins page 0, the device writes it, the pin goes. */
export function directIo(machine: ExploredMachine): Actor {
  const { mm, core, monitor } = machine;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = GUEST_HVN;
        s[at + CALLEE + 2] = FOLL_WRITE | FOLL_TOUCH;
        s[at] = 1;
      case 1:
        monitor.use(0);
        if (!mm.getUserPages(t, at + CALLEE)) return false;
        if (t.result < 0) return t.done(at, t.result);
        s[at + 1] = t.result;
        if (t.preempt(at, 2, 'dio: the device writes the page')) return false;
      case 2:
        monitor.wrote(0, s[at + 1] as number);
        if (t.preempt(at, 3, 'dio: set_page_dirty, put_page')) return false;
      case 3:
        core.x.setPageDirty(s[at + 1] as number);
        core.x.putPage(s[at + 1] as number);
    }
    return t.done(at, 0);
  };
  return { name: 'dio', begins: 'dio: get_user_pages', run };
}

/** The VMM itself loads or stores in page 0: swapped out, it is swapped in by its own fault. */
export function touch(machine: ExploredMachine, write: boolean): Actor {
  const { mm, core, monitor } = machine;
  const needed = HPTE_PRESENT | (write ? HPTE_WRITE : 0);
  const label = `vmm: ${write ? 'store to' : 'load from'} page 0`;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    for (;;) {
      switch (s[at]) {
        case 0: {
          const pte = core.x.hpteGet(mm.id, GUEST_HVN) >>> 0;
          if ((pte & needed) === needed) {
            monitor.use(0);
            monitor.accessed(0, write, pte >>> HPTE_PFN_SHIFT);
            core.x.hpteOr(mm.id, GUEST_HVN, HPTE_YOUNG | (write ? HPTE_DIRTY : 0));
            return t.done(at, 0);
          }
          if (t.preempt(at, 1, 'do_user_addr_fault: take mmap_lock')) return false;
        }
        case 1:
          if (!t.lockShared(at, 1, lockMmap(mm.id))) return false;
          s[at + CALLEE] = 0;
          s[at + CALLEE + 1] = GUEST_HVN;
          s[at + CALLEE + 2] = write ? FAULT_FLAG_WRITE : 0;
          s[at] = 2;
        case 2:
          // As long as the fault lasts: it makes the page young at some step of its own.
          monitor.use(0);
          if (!handleMmFault(t, at + CALLEE, mm)) return false;
          t.unlockShared(lockMmap(mm.id));
          if (t.result < 0) return t.done(at, t.result);
          if (t.preempt(at, 0, label)) return false;
      }
    }
  };
  return { name: 'vmm', begins: label, run };
}

/** fork: write-protects page 0 and shares it with a child. */
export function fork(machine: ExploredMachine): Actor {
  const { mm } = machine;
  const child = machine.host.createMm();
  child.vmas = mm.vmas.filter((vma) => vma.start === GUEST_HVN);
  const run: Protocol = (t, at) => {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        if (!t.lock(at, 0, lockMmap(mm.id))) return false;
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = GUEST_HVN;
        s[at + CALLEE + 2] = GUEST_HVN + 1;
        s[at] = 1;
      case 1:
        if (!copyPageRange(t, at + CALLEE, mm, child)) return false;
        t.unlock(lockMmap(mm.id));
        s[at + 1] = childContent(machine, child);
        if (t.preempt(at, 2, 'child: reads the page')) return false;
      case 2:
        if (childContent(machine, child) !== s[at + 1]) {
          machine.sink.report(
            'cow_isolation',
            `the child saw ${s[at + 1]} after fork() and ${childContent(machine, child)} later`,
          );
        }
    }
    return t.done(at, 0);
  };
  return { name: 'fork', begins: 'fork: dup_mmap takes mmap_lock', run };
}

/** What the child's page 0 holds, wherever it is. */
function childContent(machine: ExploredMachine, child: Mm): number {
  const { x } = machine.core;
  const pte = x.hpteGet(child.id, GUEST_HVN) >>> 0;
  const place = pte >>> HPTE_PFN_SHIFT;
  if (pte === 0) return -1;
  if ((pte & HPTE_PRESENT) !== 0) return x.frameContent(place);
  const cached = x.swapCacheLookup(place) >>> 0;
  return cached === 0 ? x.swapContent(place) : x.frameContent(cached);
}
