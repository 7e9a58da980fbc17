// get_user_pages: the page behind a host virtual page, with a reference, faulted in when needed.

import * as abi from '../../assembly/abi.ts';
import { lockMmap, lockPte } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import { EFAULT, EINTR, ENOMEM } from './fault-frame.ts';
import { handleMmFault, mapArgs } from './fault.ts';
import type { Mm } from './mm.ts';
import { VM_SHARED } from './vma.ts';

/** Flags of getUserPages(); see abi.ts. */
export const FOLL_WRITE = abi.FOLL_WRITE;
export const FOLL_TOUCH = abi.FOLL_TOUCH;

/** Flags of a fault that a lookup with FOLL_NOWAIT makes (faultin_page). */
const GUP_FAULT =
  abi.FAULT_FLAG_ALLOW_RETRY | abi.FAULT_FLAG_RETRY_NOWAIT | abi.FAULT_FLAG_KILLABLE;

/** Flags of a fault inside copy_from_user and the like. */
const UACCESS_FAULT =
  abi.FAULT_FLAG_ALLOW_RETRY | abi.FAULT_FLAG_KILLABLE | abi.FAULT_FLAG_INTERRUPTIBLE;

// Arguments and locals.
const HVN = 1;
const FLAGS = 2;
const CALLEE = 3;

/** GUP_CHARGE as the core's result comes. */
const GUP_CHARGE = abi.GUP_CHARGE | 0;

function faultFlags(foll: number): number {
  return (foll & abi.FOLL_UACCESS) !== 0 ? UACCESS_FAULT : GUP_FAULT;
}

/**
 * The pfn of s[at + 1] = hvn for the access s[at + 2] = FOLL_WRITE | FOLL_TOUCH, with a reference
 * (none on the zero page). Result: pfn >= 0, or EFAULT, ENOMEM, EIO, EINTR.
 */
export function getUserPages(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  for (;;) {
    switch (s[at]) {
      case 0:
        if (t.straight && plain(t, at, mm)) return true;
        if (!t.lockShared(at, 0, lockMmap(mm.id))) return false;
        if (!mm.permitsAt(s[at + HVN] as number, s[at + FLAGS] as number)) {
          return finish(t, at, mm, EFAULT);
        }
        s[at] = 1;
      case 1: {
        if (mm.host.generation.killable && t.signalPending()) return finish(t, at, mm, EINTR);
        if (!t.lock(at, 1, lockPte(mm.id))) return false;
        const pfn = followPage(mm, s[at + HVN] as number, s[at + FLAGS] as number);
        t.unlock(lockPte(mm.id));
        if (pfn >= 0) return finish(t, at, mm, pfn);
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = s[at + HVN] as number;
        s[at + CALLEE + 2] =
          faultFlags(s[at + FLAGS] as number) |
          ((s[at + FLAGS] as number) & abi.FOLL_WRITE ? abi.FAULT_FLAG_WRITE : 0);
        s[at] = 2;
      }
      case 2:
        if (!handleMmFault(t, at + CALLEE, mm)) return false;
        if (t.result < 0) return finish(t, at, mm, t.result);
        s[at] = 1;
    }
  }
}

/**
 * A straight run of the protocol: the steps that need nothing of the host are made in one call of the
 * core (assembly/mm/gup.ts). False: it is to go on step by step.
 */
function plain(t: Task, at: number, mm: Mm): boolean {
  const s = t.stack;
  const { host } = mm;
  if (host.thp !== 'never' || host.shmemFiles.length > 0) return false;
  const hvn = s[at + HVN] as number;
  const flags = s[at + FLAGS] as number;
  const write = (flags & abi.FOLL_WRITE) !== 0;
  const vma = mm.findVma(hvn);
  if (vma === undefined || !mm.permits(vma, write) || host.swap.mayFail || host.disk.mayFail) {
    return false;
  }
  // The first faults of an area are noted by the protocol.
  const anon = write && (vma.flags & VM_SHARED) === 0;
  if (vma.faulted !== true || (anon && vma.anon === undefined)) return false;
  let args = mapArgs(mm, vma, write);
  if (host.generation.zeroPage) args |= abi.MAP_ZERO_PAGE;
  const foll = touchFlags(mm, flags);
  const offset = vma.pgoff + (hvn - vma.start);
  const { x } = host.core;
  // The core has made the fault already, in vain (assembly/straight/gup.ts).
  if (host.takeOut(abi.GUP_OUT_NO_MEMORY) !== 0) return t.done(at, ENOMEM);
  for (;;) {
    const got = x.gupPlain(mm.id, hvn, foll, args, vma.file, offset, host.room);
    if (host.out(abi.GUP_OUT_READ) !== abi.GUP_NO_READ) waitForRead(mm, hvn);
    if (got !== GUP_CHARGE) return got >= 0 && t.done(at, got);
    t.stack[at + CALLEE] = 0;
    host.tryCharge(t, at + CALLEE);
    if (t.result !== 0) return t.done(at, t.result);
    args |= abi.MAP_ROOM_MADE;
  }
}

/** The device was read: its caller waits. */
function waitForRead(mm: Mm, hvn: number): void {
  const { host } = mm;
  const file = host.out(abi.GUP_OUT_READ) === abi.GUP_READ_FILE;
  const place = host.out(abi.GUP_OUT_PLACE);
  if (host.hooks.majorFault !== undefined) host.hooks.majorFault(mm.id, hvn);
  (file ? host.disk : host.swap).read(place);
}

function finish(t: Task, at: number, mm: Mm, result: number): true {
  t.unlockShared(lockMmap(mm.id));
  return t.done(at, result);
}

/**
 * follow_page: the page of a present pte that permits the access, with a reference; -1 when there is
 * none. FOLL_TOUCH makes the pte young (v3) or calls mark_page_accessed, as the aging protocol says.
 */
export function followPage(mm: Mm, hvn: number, flags: number): number {
  return mm.host.core.x.followPage(mm.id, hvn, touchFlags(mm, flags)) | 0;
}

/** FOLL_* as the aging protocol takes them. */
function touchFlags(mm: Mm, flags: number): number {
  return mm.host.aging.touch === 'pte-young' ? flags | abi.FOLL_YOUNG : flags;
}
