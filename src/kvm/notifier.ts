// KVM as a secondary MMU: the ops that it registers with the host mm, through the same interface as
// any embedder (cf. virt/kvm/kvm_main.c, kvm_mmu_notifier_ops; for 2008 the KVM side of v3 to v7).
//
// All ops take mmu_lock. Ops of the start/end generations raise mmu_invalidate_in_progress before
// the sptes go, so that a fault that looked its page up earlier is retried.

import {
  AGE_CLEAR,
  AGE_NONE,
  AGE_TEST,
  EVENT_KVM_CHANGE_PTE,
  EVENT_KVM_CLEAR_FLUSH_YOUNG,
  EVENT_KVM_CLEAR_FLUSH_YOUNG_RET,
  EVENT_KVM_CLEAR_YOUNG,
  EVENT_KVM_CLEAR_YOUNG_RET,
  EVENT_KVM_INVALIDATE_RANGE,
  EVENT_KVM_INVALIDATE_RANGE_END,
  EVENT_KVM_INVALIDATE_RANGE_START,
  EVENT_KVM_MN_RELEASE,
  EVENT_KVM_TEST_YOUNG,
  EVENT_KVM_TEST_YOUNG_RET,
  EVENT_TP_KVM_AGE_HVA,
  EVENT_TP_KVM_SET_SPTE_HVA,
  EVENT_TP_KVM_TEST_AGE_HVA,
  EVENT_TP_KVM_UNMAP_HVA_RANGE,
} from '../../assembly/abi.ts';
import type { MmuNotifierOps, MmuNotifierSteps } from '../mm/mmu-notifier.ts';
import { LOCK_KVM_SEQLOCK, LOCK_MMU } from '../sched/locks.ts';
import type { Task } from '../sched/task.ts';
import { bumpSeq } from './fault-protocol.ts';
import type { Kvm } from './kvm.ts';

const START = 1;
const END = 2;
const EVENT = 3;
/** 1: the TLBs must be flushed; what the ageing found. */
const FLUSH = 4;
const YOUNG = 5;

// A generation whose sptes pin their pages holds the page until the flush is done (kvm_unmap_spte: get_page,
// flush, put_page). The core puts it with the spte, so there the two are one step.
const FLUSHING = 'kvm_flush_remote_tlbs: wait for the vCPUs to flush';

/** KVM's notifier for a VM. */
export function kvmNotifier(kvm: Kvm): MmuNotifierOps {
  return { steps: new KvmNotifierSteps(kvm) };
}

class KvmNotifierSteps implements MmuNotifierSteps {
  readonly #kvm: Kvm;

  constructor(kvm: Kvm) {
    this.#kvm = kvm;
  }

  /** kvm_mmu_notifier_release: the address space goes, so no spte may stay. */
  release(t: Task, at: number): boolean {
    if (!t.lock(at, 0, LOCK_MMU)) return false;
    this.#emit(EVENT_KVM_MN_RELEASE, 0, 0, 0);
    if (this.#kvm.tdp) this.#kvm.core.x.tdpZapAll(0);
    else this.#kvm.core.x.zapAll();
    t.unlock(LOCK_MMU);
    return t.done(at, 0);
  }

  /** v3's and v4's age_page for one page. */
  agePage(t: Task, at: number): boolean {
    const { ageAction, aging } = this.#kvm;
    if (ageAction === AGE_NONE) return t.done(at, 0);
    const start = t.stack[at + START] as number;
    return this.#age(t, at, start, start + 1, ageAction, aging.kvm.flush);
  }

  /** v2's invalidate_page: the pte is gone, the page is not free yet. */
  invalidatePage(t: Task, at: number): boolean {
    const start = t.stack[at + START] as number;
    return this.#unmap(t, at, start, start + 1);
  }

  /** v2's invalidate_range comes after the ptes went; 6.x's is about secondary TLBs, and KVM's are
   *  flushed with the sptes. */
  invalidateRange(t: Task, at: number): boolean {
    const start = t.stack[at + START] as number;
    const end = t.stack[at + END] as number;
    if (this.#kvm.aging.hooks === 'v3') return this.#unmap(t, at, start, end);
    if (this.#kvm.generation.secondaryTlbs)
      this.#emit(EVENT_KVM_INVALIDATE_RANGE, start, end - start, 0);
    return t.done(at, 0);
  }

  /** kvm_mmu_notifier_invalidate_range_start. */
  invalidateRangeStart(t: Task, at: number): boolean {
    const s = t.stack;
    const start = s[at + START] as number;
    const end = s[at + END] as number;
    const kvm = this.#kvm;
    switch (s[at]) {
      case 0:
        if (!t.lock(at, 0, LOCK_MMU)) return false;
        this.#emit(EVENT_KVM_INVALIDATE_RANGE_START, start, end - start, s[at + EVENT] as number);
        this.#emit(EVENT_TP_KVM_UNMAP_HVA_RANGE, start, end - start, 0);
        if (kvm.protocol.bug !== 'seq-at-end-only')
          kvm.core.x.invalidateRangeBegin(kvm.mm.id, start, end);
        if (this.#atOnce(t)) {
          kvm.core.x.unmapAndFlush(kvm.mm.id, start, end);
          break;
        }
        s[at + FLUSH] = this.#zap(start, end);
        if (!kvm.pinsPages && t.preempt(at, 1, FLUSHING)) return false;
      case 1:
        if (s[at + FLUSH] !== 0) kvm.flushRemoteTlbs();
    }
    t.unlock(LOCK_MMU);
    return t.done(at, 0);
  }

  /** kvm_mmu_notifier_invalidate_range_end. */
  invalidateRangeEnd(t: Task, at: number): boolean {
    const s = t.stack;
    if (!t.lock(at, 0, LOCK_MMU)) return false;
    const start = s[at + START] as number;
    const end = s[at + END] as number;
    this.#emit(EVENT_KVM_INVALIDATE_RANGE_END, start, end - start, s[at + EVENT] as number);
    if (this.#kvm.protocol.bug === 'seq-at-end-only') bumpSeq(this.#kvm);
    else this.#kvm.core.x.invalidateRangeEnd(this.#kvm.mm.id, start, end);
    t.unlock(LOCK_MMU);
    return t.done(at, 0);
  }

  /** kvm_mmu_notifier_clear_flush_young. */
  clearFlushYoung(t: Task, at: number): boolean {
    const s = t.stack;
    const start = s[at + START] as number;
    const end = s[at + END] as number;
    this.#emit(EVENT_KVM_CLEAR_FLUSH_YOUNG, start, end - start, 0);
    this.#emit(EVENT_TP_KVM_AGE_HVA, start, end - start, 0);
    if (!this.#age(t, at, start, end, AGE_CLEAR, true)) return false;
    this.#emit(EVENT_KVM_CLEAR_FLUSH_YOUNG_RET, t.result, 0, 0);
    return true;
  }

  /** kvm_mmu_notifier_clear_young: no flush, so a cached translation hides later accesses. */
  clearYoung(t: Task, at: number): boolean {
    const s = t.stack;
    const start = s[at + START] as number;
    const end = s[at + END] as number;
    this.#emit(EVENT_KVM_CLEAR_YOUNG, start, end - start, 0);
    this.#emit(EVENT_TP_KVM_AGE_HVA, start, end - start, 0);
    if (!this.#age(t, at, start, end, AGE_CLEAR, false)) return false;
    this.#emit(EVENT_KVM_CLEAR_YOUNG_RET, t.result, 0, 0);
    return true;
  }

  /** kvm_mmu_notifier_test_young. */
  testYoung(t: Task, at: number): boolean {
    const start = t.stack[at + START] as number;
    this.#emit(EVENT_KVM_TEST_YOUNG, start, 1, 0);
    this.#emit(EVENT_TP_KVM_TEST_AGE_HVA, start, 1, 0);
    if (!this.#age(t, at, start, start + 1, AGE_TEST, false)) return false;
    this.#emit(EVENT_KVM_TEST_YOUNG_RET, t.result, 0, 0);
    return true;
  }

  /** kvm_mmu_notifier_change_pte: inside an invalidation everything is zapped already, and KVM does
   *  not map pages outside of a fault. */
  changePte(t: Task, at: number): boolean {
    const start = t.stack[at + START] as number;
    this.#emit(EVENT_KVM_CHANGE_PTE, start, 0, 0);
    this.#emit(EVENT_TP_KVM_SET_SPTE_HVA, start, 0, 0);
    return t.done(at, 0);
  }

  #age(t: Task, at: number, start: number, end: number, action: number, flush: boolean): boolean {
    const s = t.stack;
    const { core, mm } = this.#kvm;
    switch (s[at]) {
      case 0:
        if (!t.lock(at, 0, LOCK_MMU)) return false;
        if (flush && this.#atOnce(t)) {
          s[at + YOUNG] = core.x.ageAndFlush(mm.id, start, end, action);
          break;
        }
        s[at + YOUNG] = this.#ageRange(start, end, action);
        if (flush && !this.#kvm.pinsPages && t.preempt(at, 1, FLUSHING)) return false;
      case 1:
        if (flush && s[at + YOUNG] !== 0) this.#kvm.flushRemoteTlbs();
    }
    t.unlock(LOCK_MMU);
    return t.done(at, s[at + YOUNG] as number);
  }

  /**
   * Drops what is mapped: all that 2008 did. 2.6.27's invalidate_page also bumps the sequence under
   * mmu_lock; the seqlock draft makes it odd before and even after.
   */
  #unmap(t: Task, at: number, start: number, end: number): boolean {
    const s = t.stack;
    const kvm = this.#kvm;
    const { retry } = kvm.protocol;
    for (;;) {
      switch (s[at]) {
        case 0:
          s[at] = retry === 'seqlock' ? 1 : 2;
          continue;
        case 1:
          if (!t.lock(at, 1, LOCK_KVM_SEQLOCK)) return false;
          bumpSeq(kvm);
          s[at] = 2;
        case 2:
          if (!t.lock(at, 2, LOCK_MMU)) return false;
          if (retry === 'seq-count' || retry === 'range') bumpSeq(kvm);
          if (this.#atOnce(t)) {
            kvm.core.x.unmapAndFlush(kvm.mm.id, start, end);
            s[at + FLUSH] = 0;
            s[at] = 3;
            continue;
          }
          s[at + FLUSH] = this.#zap(start, end);
          if (!kvm.pinsPages && t.preempt(at, 3, FLUSHING)) return false;
        case 3:
          if (s[at + FLUSH] !== 0) kvm.flushRemoteTlbs();
          t.unlock(LOCK_MMU);
          if (retry === 'seqlock') {
            bumpSeq(kvm);
            t.unlock(LOCK_KVM_SEQLOCK);
          }
          return t.done(at, 0);
      }
    }
  }

  /** Whether the sptes change and the TLBs are flushed in one step, which is then one call. */
  #atOnce(t: Task): boolean {
    const { tdp, protocol } = this.#kvm;
    return t.straight && !tdp && protocol.bug === undefined;
  }

  #ageRange(start: number, end: number, action: number): number {
    const { core, mm, tdp } = this.#kvm;
    if (tdp) return core.x.tdpAgeHvaRange(mm.id, start, end, action);
    return core.x.ageHvaRange(mm.id, start, end, action);
  }

  #zap(start: number, end: number): number {
    const { core, mm, tdp } = this.#kvm;
    if (tdp) return core.x.tdpUnmapHvaRange(mm.id, start, end);
    return core.x.unmapHvaRange(mm.id, start, end);
  }

  #emit(id: number, a: number, b: number, c: number): void {
    const { core } = this.#kvm;
    if (core.tracing) core.emit(id, a, b, c, 0);
  }
}
