// How a KVM page fault finds out that the host page which it looked up is stale, through the
// generations. The fault (page-fault.ts) and the notifier (notifier.ts) both read it, so that the
// emulator and the explorer run the same code under every generation.

import {
  FAULT_CHECK_COUNT,
  FAULT_CHECK_GIVEN,
  FAULT_CHECK_NONE,
  FAULT_CHECK_RANGE,
  KVM_INVALIDATE_IN_PROGRESS,
  KVM_INVALIDATE_SEQ,
} from '../../assembly/abi.ts';
import type { NotifierHooks } from '../mm/aging.ts';
import type { Kvm } from './kvm.ts';

/**
 * - `none`: v2 to v7. "The linux pte is zapped after get_user_pages returns but before the page is
 *   mapped by the spte": nobody notices (20080216104827.GI11732@v2.random).
 * - `seqlock`: the draft of 28 February 2008 (47C673DE.6000902@qumranet.com): invalidations write a
 *   seqlock; the fault samples it before the lookup and checks it after it mapped the page.
 * - `seq-count`: 2.6.27 (commit e930bffe95e1): under mmu_lock a count of the invalidations that run
 *   and a sequence number of those that ended; the check comes before the spte is installed.
 * - `range`: 5.12 (commit 4a42d848db95): as before, and a running invalidation makes only faults of
 *   its own range retry.
 */
export type FaultRetry = 'none' | 'seqlock' | 'seq-count' | 'range';

/** Mistakes put into the protocol on purpose; the explorer must find each. */
export type SeededBug =
  /** The check is left out. */
  | 'no-retry'
  /** The check is made before mmu_lock is taken. */
  | 'retry-before-lock'
  /** The TLB flush is asked for and not waited for: the vCPU does it at its next exit. */
  | 'flush-after-free'
  /** mmu_invalidate_in_progress is not raised; only the end bumps the sequence. */
  | 'seq-at-end-only'
  /** Unregister does not wait for the calls that run (chain, not fault path). */
  | 'no-synchronize';

/** Names of the seeded bugs. */
export const SEEDED_BUGS: readonly SeededBug[] = [
  'no-retry',
  'retry-before-lock',
  'flush-after-free',
  'seq-at-end-only',
  'no-synchronize',
];

/** The fault's side of a generation. */
export interface FaultProtocol {
  readonly retry: FaultRetry;
  readonly bug?: SeededBug | undefined;
}

/** The protocol that goes with a generation of hooks; `ranged`: KVM knows the range of an invalidation. */
export function faultProtocolOf(hooks: NotifierHooks, ranged: boolean): FaultProtocol {
  if (hooks === '6.x') return { retry: ranged ? 'range' : 'seq-count' };
  return { retry: hooks === '2.6.27' ? 'seq-count' : 'none' };
}

/** The sequence number that a fault samples before it looks its page up. */
export function sampleSeq(kvm: Kvm): number {
  return kvm.core.mem.load32(kvm.ptr + KVM_INVALIDATE_SEQ);
}

/** FAULT_CHECK_*: how faultInstall() checks, under mmu_lock, a page that was looked up before. */
export function faultCheck({ retry, bug }: FaultProtocol): number {
  if (bug === 'retry-before-lock') return FAULT_CHECK_GIVEN;
  if (bug === 'no-retry' || retry === 'none' || retry === 'seqlock') return FAULT_CHECK_NONE;
  return retry === 'range' ? FAULT_CHECK_RANGE : FAULT_CHECK_COUNT;
}

/** The check that the bug `retry-before-lock` makes too early. */
export function staleBeforeLock(kvm: Kvm, seq: number, hvn: number): boolean {
  const { x, mem } = kvm.core;
  if (kvm.protocol.retry === 'range') return x.invalidateRetry(seq, hvn) !== 0;
  return (
    mem.load32(kvm.ptr + KVM_INVALIDATE_IN_PROGRESS) !== 0 ||
    mem.load32(kvm.ptr + KVM_INVALIDATE_SEQ) !== seq
  );
}

/** One more invalidation has begun or ended. */
export function bumpSeq(kvm: Kvm): void {
  kvm.core.mem.store32(kvm.ptr + KVM_INVALIDATE_SEQ, sampleSeq(kvm) + 1);
}
