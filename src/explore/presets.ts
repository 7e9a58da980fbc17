// The protocols that the explorer compares: which generation of the notifier chain, of the hooks in the
// mm, of KVM's fault and of ageing go together. Each is data that the emulator's own code reads; there
// is no second model of any of them.

import { AGING_PRESETS } from '../mm/aging.ts';
import type { AgingPreset } from '../mm/aging.ts';
import type { ChainFreeing, ChainLock, ReleaseOrder } from '../mm/mmu-notifier.ts';
import type { MmGenerationName } from '../mm/generation.ts';
import type { KvmGenerationName } from '../kvm/generation.ts';
import type { FaultRetry } from '../kvm/fault-protocol.ts';
import { SOURCES } from './sources.ts';
import type { Source } from './sources.ts';

/** What the secondary MMU of a scenario is. */
export type SecondaryMmu =
  /** KVM: shadow page tables. */
  | 'kvm'
  /** A device that mirrors the mm and takes no page references (GRU, XPMEM, RDMA with ODP). */
  | 'mirror';

/** One protocol. */
export interface ProtocolPreset {
  readonly name: string;
  /** One sentence. */
  readonly says: string;
  /** Mails and commits that it follows. */
  readonly sources: readonly Source[];
  readonly chainLock: ChainLock;
  readonly freeing: ChainFreeing;
  readonly releaseOrder: ReleaseOrder;
  /** Registration keeps every invalidation out (mm_take_all_locks, commit 7906d00cd1f6). */
  readonly takeAllLocks: boolean;
  /** fork() tells the notifiers. */
  readonly forkHook: boolean;
  /** mprotect() tells the notifiers. */
  readonly protectHook: boolean;
  /** A swap-in past the swap cache claims its slot (commit 13ddaf26be32). */
  readonly swapPrepare: boolean;
  readonly retry: FaultRetry;
  readonly aging: AgingPreset;
  readonly mm: MmGenerationName;
  readonly kvm: KvmGenerationName;
  readonly secondary: SecondaryMmu;
  /** KVM uses two-dimensional paging. */
  readonly tdp?: boolean;
  /** The mirror waits for the sequence as mmu_interval_read_begin() does. */
  readonly interval?: boolean;
}

const V3: ProtocolPreset = {
  name: 'v3',
  says: 'as posted: rwlock, invalidate_range after the pages are free, sptes pin their pages',
  sources: [SOURCES.v3],
  chainLock: 'rwlock',
  freeing: 'at-once',
  releaseOrder: 'call-delete',
  takeAllLocks: false,
  forkHook: false,
  protectHook: false,
  swapPrepare: false,
  retry: 'none',
  aging: AGING_PRESETS.v3,
  mm: '2008',
  kvm: '2008',
  secondary: 'kvm',
};

const V3_RCU: ProtocolPreset = {
  ...V3,
  name: 'v3-rcu',
  says: 'v3 with a spinlock and RCU, and the notifier freed after a quiescent point',
  sources: [SOURCES.review, SOURCES.quiescent],
  chainLock: 'rcu',
  freeing: 'grace-period',
};

const P2627: ProtocolPreset = {
  name: '2.6.27',
  says: 'as merged: start and end, count and sequence checked under mmu_lock, RCU',
  sources: [SOURCES.core, SOURCES.takeAllLocks, SOURCES.kvm],
  chainLock: 'rcu',
  freeing: 'grace-period',
  releaseOrder: 'delete-call',
  takeAllLocks: true,
  forkHook: true,
  protectHook: true,
  swapPrepare: false,
  retry: 'seq-count',
  aging: AGING_PRESETS.clear_flush_young,
  mm: '2008',
  kvm: '2008',
  secondary: 'kvm',
};

const P6X: ProtocolPreset = {
  name: '6.x',
  says: 'start and end, SRCU, mmu_invalidate_seq checked under mmu_lock, limited to the range',
  sources: [SOURCES.srcu, SOURCES.release310, SOURCES.range, SOURCES.swapPrepare],
  chainLock: 'srcu',
  freeing: 'grace-period',
  releaseOrder: 'call-all-delete-all',
  takeAllLocks: true,
  forkHook: true,
  protectHook: true,
  swapPrepare: true,
  retry: 'range',
  aging: AGING_PRESETS.clear_young,
  mm: '6.1',
  kvm: '6.1',
  secondary: 'kvm',
};

/** All protocols, oldest first. */
export const PROTOCOLS: readonly ProtocolPreset[] = [
  {
    ...V3,
    name: 'v2',
    says: 'a list without a lock of its own, no age_page; sptes pin their pages',
    sources: [SOURCES.v2],
    chainLock: 'none',
    aging: AGING_PRESETS.v2,
  },
  {
    ...V3,
    name: 'v2-mirror',
    says: 'v2 under a secondary MMU that takes no page references (GRU, XPMEM)',
    sources: [SOURCES.v2],
    chainLock: 'none',
    aging: AGING_PRESETS.v2,
    secondary: 'mirror',
  },
  V3,
  {
    ...V3,
    name: 'v3-mirror',
    says: 'v3 under a secondary MMU that takes no page references (GRU, XPMEM)',
    secondary: 'mirror',
  },
  V3_RCU,
  {
    ...V3_RCU,
    name: 'v3-rcu-at-once',
    says: 'v3 with RCU, but the notifier is freed as soon as it is unregistered',
    freeing: 'at-once',
  },
  {
    ...V3_RCU,
    name: 'v3-rcu-slab',
    says: 'v3 with RCU and a type-safe slab, without the re-check',
    sources: [SOURCES.slab],
    freeing: 'type-safe',
  },
  {
    ...V3_RCU,
    name: 'v3-rcu-slab-recheck',
    says: 'v3 with RCU and a type-safe slab, the entry locked and checked again',
    sources: [SOURCES.slab],
    freeing: 'type-safe-recheck',
  },
  {
    ...V3_RCU,
    name: 'seqlock',
    says: 'the draft of 28 February 2008: the fault checks a seqlock after it mapped the page',
    sources: [SOURCES.seqlock],
    forkHook: true,
    protectHook: true,
    swapPrepare: false,
    retry: 'seqlock',
    aging: AGING_PRESETS.v4,
  },
  P2627,
  {
    ...P2627,
    name: '3.5',
    says: 'as 2.6.27 until 3.5, with sptes that hold no page reference any more',
    kvm: '6.1',
  },
  {
    ...P2627,
    name: 'srcu',
    says: '2.6.27 with SRCU (3.7), and all release ops before all deletions (3.6, 3.10)',
    sources: [SOURCES.srcu, SOURCES.release36, SOURCES.release310],
    chainLock: 'srcu',
    releaseOrder: 'call-all-delete-all',
    kvm: '6.1',
  },
  {
    ...P6X,
    name: 'interval',
    says: 'a mirror with mmu_interval_read_begin and mmu_interval_read_retry (5.5)',
    sources: [SOURCES.interval],
    secondary: 'mirror',
    interval: true,
  },
  {
    ...P6X,
    name: '6.1',
    says: 'as 6.x, but a swap-in past the swap cache does not claim its slot, as in Linux 6.1',
    sources: [SOURCES.srcu, SOURCES.release310, SOURCES.range],
    swapPrepare: false,
  },
  P6X,
  {
    ...P6X,
    name: '6.x-tdp',
    says: '6.x with two-dimensional paging: faults take mmu_lock for reading',
    sources: [SOURCES.tdpMmu, SOURCES.tdpParallel, SOURCES.range, SOURCES.swapPrepare],
    tdp: true,
  },
];

/** The protocol of a name, or undefined. */
export function protocolPreset(name: string): ProtocolPreset | undefined {
  return PROTOCOLS.find((protocol) => protocol.name === name);
}
