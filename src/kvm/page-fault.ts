// KVM's page fault: the protocol that the notifiers race with (cf. FNAME(page_fault) and
// kvm_faultin_pfn, 6.1). The order is the design:
//
//   sample mmu_invalidate_seq → look the host page up (may sleep) → take mmu_lock → was there an
//   invalidation meanwhile? then let the guest fault again → install the spte → drop the lock.
//
// Earlier generations did it in other ways or not at all: see fault-protocol.ts.
//
// The sample pairs with invalidateRangeEnd() (assembly/mmu/kvm.ts), the check under mmu_lock with the
// notifier, which zaps under the same lock after it has raised mmu_invalidate_in_progress.

import {
  EVENT_GUEST_WALK_ERROR,
  FOLL_UACCESS,
  EVENT_HVA_TO_PFN,
  EVENT_HVA_TO_PFN_RET,
  KVM_LAST_PT_WRITE_COUNT,
  KVM_PFN_ERR_FAULT,
  PFERR_RSVD_MASK,
  RET_PF_RETRY,
  VCPU_FAULT_GPA,
  VCPU_WALK_ERROR,
  WALK_OK,
  HPTE_WRITE,
  VCPU_FAULT_CODE,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_WALKED,
  VCPU_WALK_GFN,
  VCPU_WALK_NEED_GFN,
  VCPU_WALK_NEED_WRITE,
  VCPU_WALK_RESULT,
  WALK_FAULT,
  WALK_NEED_PAGE,
  WALK_NONCANONICAL,
  FAULT_NO_SLOT,
  FAULT_TO_READONLY,
  VCPU_FAULT_HVN,
  VCPU_FAULT_WANT,
  FAULT_CHECK_GIVEN,
  VCPU_FAULT_TRANSLATED,
  VCPU_FAULT_READONLY,
  FOLLOW_NONE,
  NO_MEMSLOT,
} from '../../assembly/abi.ts';
import { ERRNO } from '../core/errors.ts';
import { LOCK_MMU } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import { sampleSeq, staleBeforeLock } from './fault-protocol.ts';
import type { Kvm } from './kvm.ts';
import type { Vcpu } from './vcpu.ts';

/** Results beside RET_PF_*: the guest gets a #PF. */
export const FAULT_INJECT = 16;
/** The guest gets a #GP. */
export const FAULT_NONCANONICAL = 17;
/** No memslot: the VMM handles the access. */
export const FAULT_MMIO = FAULT_NO_SLOT;
/** A write to a read-only slot: the same, and nothing is cached. */
export const FAULT_READONLY = FAULT_TO_READONLY;

// Locals of kvmPageFault().
const SEQ = 1;
const HVN = 2;
const PFN = 3;
const WRITABLE = 4;
/** Write access is asked of the host. */
const WRITE = 5;
/** 1: an invalidation ran meanwhile (as far as it is known before mmu_lock is taken). */
const STALE = 6;
/** What the fault ends with, while a seqlock is checked. */
const OUTCOME = 7;
/** 1: run() has looked for the page in the host's tables already, and nothing ran since. */
const TRIED = 8;
/** Pages of guest tables that the host read for this fault. */
const TABLES = 9;
/** First word of a callee's frame. */
const CALLEE = 10;

/**
 * A walk that needs more pages of tables than this is losing them to reclaim as fast as they come: the
 * vCPU tries the access anew, and counts (FAULTS_MAX).
 */
const MAX_TABLES = 16;

/** Words of the frame of hvaToPfn(). */
const H_HVN = 1;
const H_WRITE = 2;
const H_TRIED = 3;
const H_CALLEE = 4;

/**
 * kvm_mmu_page_fault for the access in the vCPU's VCPU_FAULT_*. Result: RET_PF_*, FAULT_*, or a
 * negative errno.
 */
export function kvmPageFault(t: Task, at: number, vcpu: Vcpu): boolean {
  const s = t.stack;
  const { protocol } = vcpu.kvm;
  const { x, mem } = vcpu.kvm.core;
  for (;;) {
    switch (s[at]) {
      case 0:
        if (vcpu.kvm.lateFlush) vcpu.kvm.flushLate();
        if (rsvdMeansMmio(vcpu)) {
          const result = emulateMmio(vcpu);
          if (result !== 0) return t.done(at, result);
        }
        vcpu.traceWalk();
        s[at + TABLES] = 0;
        s[at] = 9;
      case 9: {
        const walk = walkOf(vcpu);
        if (walk === WALK_FAULT) return t.done(at, refuse(vcpu));
        if (walk === WALK_NONCANONICAL) return t.done(at, FAULT_NONCANONICAL);
        if (walk === WALK_NEED_PAGE) {
          // The host has no page for a guest table: fault it in as KVM's own access would.
          s[at + HVN] = x.gfnToHvn(mem.load32(vcpu.ptr + VCPU_WALK_NEED_GFN));
          s[at + WRITE] = mem.load32(vcpu.ptr + VCPU_WALK_NEED_WRITE) | FOLL_UACCESS;
          s[at] = 1;
          continue;
        }
        s[at + TRIED] = t.straight && mem.load32(vcpu.ptr + VCPU_FAULT_WALKED) === 2 ? 1 : 0;
        const early = translate(vcpu);
        if (early !== 0) return t.done(at, early);
        s[at + HVN] = mem.load32(vcpu.ptr + VCPU_FAULT_HVN);
        s[at + WRITE] = mem.load32(vcpu.ptr + VCPU_FAULT_WANT);
        s[at] = 3;
        continue;
      }
      case 1:
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = s[at + HVN] as number;
        s[at + CALLEE + 2] = s[at + WRITE] as number;
        s[at] = 2;
      case 2: {
        if (!vcpu.kvm.mm.getUserPages(t, at + CALLEE)) return false;
        if (t.result === -ERRNO.EFAULT) {
          x.guestWalkLost(vcpu.ptr, flagsOf(vcpu));
          return t.done(at, refuse(vcpu));
        }
        if (t.result < 0) return t.done(at, t.result);
        x.putPage(t.result);
        s[at + TABLES] = (s[at + TABLES] as number) + 1;
        if ((s[at + TABLES] as number) > MAX_TABLES) return t.done(at, RET_PF_RETRY);
        s[at] = 9;
        continue;
      }
      case 3:
        // read_seqbegin() waits for the writer; the other generations only sample.
        if (protocol.retry === 'seqlock') {
          const even = (sampleSeq(vcpu.kvm) & 1) === 0;
          if (!t.wait(at, 3, even, 'page_fault: read_seqbegin waits for the writer')) return false;
        }
        s[at + SEQ] = sampleSeq(vcpu.kvm);
        if (t.preempt(at, 4, 'kvm_faultin_pfn: look the host page up')) return false;
      case 4:
        s[at + CALLEE] = 0;
        s[at + CALLEE + H_HVN] = s[at + HVN] as number;
        s[at + CALLEE + H_WRITE] = s[at + WRITE] as number;
        s[at + CALLEE + H_TRIED] = s[at + TRIED] as number;
        s[at] = 5;
      case 5:
        if (!hvaToPfn(t, at + CALLEE, vcpu)) return false;
        if (t.result < 0) return t.done(at, t.result);
        s[at + PFN] = t.result >>> 1;
        s[at + WRITABLE] = t.result & 1;
        if (protocol.bug === 'retry-before-lock') {
          const stale = staleBeforeLock(vcpu.kvm, s[at + SEQ] as number, s[at + HVN] as number);
          s[at + STALE] = stale ? 1 : 0;
        }
        if (t.preempt(at, 6, 'kvm_page_fault: take mmu_lock')) return false;
      case 6:
        // The TDP MMU's faults run in parallel: they only read the structure (a2855afc7ee8).
        if (!(vcpu.kvm.sharesLock ? t.lockShared(at, 6, LOCK_MMU) : t.lock(at, 6, LOCK_MMU)))
          return false;
        install(t, at, vcpu);
        if (protocol.retry !== 'seqlock') return t.done(at, s[at + OUTCOME] as number);
        if (t.preempt(at, 7, 'page_fault: read_seqretry')) return false;
      case 7:
        if (sampleSeq(vcpu.kvm) === s[at + SEQ]) return t.done(at, s[at + OUTCOME] as number);
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = s[at + HVN] as number;
        s[at + CALLEE + 2] = s[at + WRITE] as number;
        s[at] = 8;
      case 8:
        if (!vcpu.kvm.mm.getUserPages(t, at + CALLEE)) return false;
        // The draft has a BUG() here: the page must not have changed, for it is mapped by now.
        if (t.result !== s[at + PFN]) throw new Error('BUG at page_fault: gfn_to_page changed');
        x.putPage(t.result);
        return t.done(at, s[at + OUTCOME] as number);
    }
  }
}

/** Under mmu_lock, which it releases: installs the spte, unless the page is known to be stale. */
function install(t: Task, at: number, vcpu: Vcpu): void {
  const s = t.stack;
  const { core, check, releaseMarks, sharesLock } = vcpu.kvm;
  const pfn = s[at + PFN] as number;
  const seq = s[at + (check === FAULT_CHECK_GIVEN ? STALE : SEQ)] as number;
  const writable = s[at + WRITABLE] as number;
  s[at + OUTCOME] = core.x.faultInstall(vcpu.ptr, pfn, writable, check, seq, releaseMarks);
  if (sharesLock) t.unlockShared(LOCK_MMU);
  else t.unlock(LOCK_MMU);
}

/** The guest's own tables do not permit the access. */
function refuse(vcpu: Vcpu): number {
  const { core } = vcpu.kvm;
  // "reset fork detector": an injected fault starts the count of writes to one table over.
  core.mem.store32(vcpu.kvm.ptr + KVM_LAST_PT_WRITE_COUNT, 0);
  if (core.tracing) {
    core.emit(EVENT_GUEST_WALK_ERROR, core.mem.load32(vcpu.ptr + VCPU_WALK_ERROR), 0, 0, 0);
  }
  return FAULT_INJECT;
}

/** The guest walk of the fault, unless run() has just made it (assembly/mmu/quick_fault.ts). */
function walkOf(vcpu: Vcpu): number {
  const { core, tdp } = vcpu.kvm;
  const { mem } = core;
  const came = mem.load32(vcpu.ptr + VCPU_FAULT_WALKED);
  if (came === 0) return tdp ? nested(vcpu) : core.x.guestWalk(vcpu.ptr, flagsOf(vcpu));
  if (came === 1) mem.store32(vcpu.ptr + VCPU_FAULT_WALKED, 0);
  return tdp ? WALK_OK : mem.load32(vcpu.ptr + VCPU_WALK_RESULT);
}

/** ACCESS_* of the access that faulted. */
function flagsOf(vcpu: Vcpu): number {
  return vcpu.kvm.core.mem.load32(vcpu.ptr + VCPU_FAULT_FLAGS);
}

/** Under TDP the processor reports the gpa; there is nothing to walk. */
function nested(vcpu: Vcpu): number {
  const { mem } = vcpu.kvm.core;
  const gpa = mem.load64(vcpu.ptr + VCPU_FAULT_GPA);
  mem.store32(vcpu.ptr + VCPU_WALK_GFN, Math.floor(gpa / 4096));
  return WALK_OK;
}

/** handle_mmio_page_fault: a reserved bit in the spte says that no slot was there, and that still
 *  holds unless the slots changed meanwhile (check_mmio_spte). */
function rsvdMeansMmio(vcpu: Vcpu): boolean {
  const { core } = vcpu.kvm;
  vcpu.mmio.known = false;
  if ((core.mem.load32(vcpu.ptr + VCPU_FAULT_CODE) & PFERR_RSVD_MASK) === 0) return false;
  if (vcpu.kvm.tdp) nested(vcpu);
  vcpu.mmio.known = vcpu.mmio.stillThere();
  return vcpu.mmio.known;
}

/**
 * The emulator translates the access anew unless it has just done so with the same rights
 * (vcpu_mmio_gva_to_gpa): the guest's tables or registers may forbid it meanwhile. 0: no MMIO after
 * all, the fault goes on.
 */
function emulateMmio(vcpu: Vcpu): number {
  const { kvm, ptr } = vcpu;
  if (kvm.tdp || vcpu.ownEmulator) return FAULT_MMIO;
  const walk = kvm.core.x.guestWalk(ptr, flagsOf(vcpu));
  if (walk === WALK_FAULT) return FAULT_INJECT;
  if (walk !== WALK_OK) return 0;
  const gfn = kvm.core.mem.load32(ptr + VCPU_WALK_GFN);
  return kvm.core.x.gfnToSlotId(gfn) >>> 0 === NO_MEMSLOT ? FAULT_MMIO : 0;
}

/** From the gfn to the host page (VCPU_FAULT_HVN); not 0: what the fault ends with. */
function translate(vcpu: Vcpu): number {
  const { core, tdp, memslotGeneration } = vcpu.kvm;
  const { x, mem } = core;
  let early = 0;
  if (mem.load32(vcpu.ptr + VCPU_FAULT_WALKED) !== 0) {
    mem.store32(vcpu.ptr + VCPU_FAULT_WALKED, 0);
    early = mem.load32(vcpu.ptr + VCPU_FAULT_TRANSLATED);
  } else early = x.faultTranslate(vcpu.ptr);
  if (early !== FAULT_NO_SLOT) return early;
  vcpu.mmio.note(mem.load32(vcpu.ptr + VCPU_WALK_GFN));
  if (tdp) x.tdpMapMmio(vcpu.ptr, mem.load32(vcpu.ptr + VCPU_WALK_GFN), memslotGeneration);
  else x.shadowMapMmio(vcpu.ptr, memslotGeneration);
  return FAULT_MMIO;
}

/**
 * hva_to_pfn: the host page of s[at + 1] for an access that writes (s[at + 2]). Result: pfn << 1 |
 * whether the host maps it writable, with a reference held; or a negative errno.
 */
function hvaToPfn(t: Task, at: number, vcpu: Vcpu): boolean {
  const s = t.stack;
  const { kvm } = vcpu;
  const { x } = kvm.core;
  const hvn = s[at + H_HVN] as number;
  switch (s[at]) {
    case 0:
      if (kvm.core.tracing) kvm.core.emit(EVENT_HVA_TO_PFN, hvn, 0, 0, 0);
      // A read-only slot's page is never looked up for writing.
      if (kvm.generation.gupFast && s[at + H_TRIED] === 0 && writableOf(vcpu) !== 0) {
        const pfn = x.hvaToPfnFast(kvm.mm.id, hvn, kvm.touch) >>> 0;
        if (pfn !== FOLLOW_NONE) return found(t, at, kvm, pfn, 1);
      }
      s[at + H_CALLEE] = 0;
      s[at + H_CALLEE + 1] = hvn;
      s[at + H_CALLEE + 2] = (s[at + H_WRITE] as number) | kvm.gupTouch;
      s[at] = 1;
    case 1:
      if (!kvm.mm.getUserPages(t, at + H_CALLEE)) return false;
  }
  if (t.result < 0) {
    if (kvm.core.tracing) kvm.core.emit(EVENT_HVA_TO_PFN_RET, hvn, 0, KVM_PFN_ERR_FAULT, 0);
    return t.done(at, t.result);
  }
  const pfn = t.result;
  const writable = (x.hpteGet(kvm.mm.id, hvn) & HPTE_WRITE) !== 0 ? writableOf(vcpu) : 0;
  // A read fault is mapped writable if that costs nothing: one more look, for writing.
  if (writable !== 0 && s[at + H_WRITE] === 0 && kvm.generation.gupFast) x.folioSetReferenced(pfn);
  return found(t, at, kvm, pfn, writable);
}

/** hva_to_pfn ends: pfn << 1 | writable. */
function found(t: Task, at: number, kvm: Kvm, pfn: number, writable: number): boolean {
  const hvn = t.stack[at + H_HVN] as number;
  if (kvm.core.tracing) kvm.core.emit(EVENT_HVA_TO_PFN_RET, hvn, pfn, 0, 0);
  return t.done(at, (pfn << 1) | writable);
}

/** A page of a read-only slot is never mapped writable. */
function writableOf(vcpu: Vcpu): number {
  return vcpu.kvm.core.mem.load32(vcpu.ptr + VCPU_FAULT_READONLY) ^ 1;
}
