// Generations of KVM's MMU as data: what the shadow MMU of a kernel can do. A generation is a set of
// features (KVM_FEATURE_* in assembly/abi.ts, read by the core) and a few numbers; there is no
// `if (version)` anywhere.

import {
  KVM_FEATURE_DIRTY_ANEW,
  KVM_FEATURE_EARLY_TRACES,
  KVM_FEATURE_FLOOD_PER_PAGE,
  KVM_FEATURE_FLUSH_RANGES,
  KVM_FEATURE_GUP_WRITE,
  KVM_FEATURE_IGNORES_RESERVED,
  KVM_FEATURE_INVALIDATE_IN_SLOTS,
  KVM_FEATURE_INVALIDATE_ON_INJECT,
  KVM_FEATURE_INVLPG_SYNCS,
  KVM_FEATURE_LATE_SYNC,
  KVM_FEATURE_LOCAL_FLUSH,
  KVM_FEATURE_PREFETCH,
  KVM_FEATURE_PREFETCH_BETWEEN,
  KVM_FEATURE_PREFETCH_UNMARKED,
  KVM_FEATURE_PREFETCH_UNSYNCS,
  KVM_FEATURE_SHORT_CHAINS,
  KVM_FEATURE_SLOT_PROTECTS,
  KVM_FEATURE_SPTE_PINS,
  KVM_FEATURE_STEPWISE_WALK,
  KVM_FEATURE_SYNC_KEEPS,
  KVM_FEATURE_TDP_AGE_CLEANS,
  KVM_FEATURE_TDP_NEVER_FAST,
  KVM_FEATURE_TDP_PROTECTS_ALL,
  KVM_FEATURE_TDP_WHOLE_TABLES,
  KVM_FEATURE_UNSYNC,
  KVM_FEATURE_UPDATE_PTE,
  KVM_FEATURE_USER_UNSHADOWS,
  KVM_FEATURE_WP0_KEEPS_USER,
  TDP_RULE_FLUSHES_FIRST,
  TDP_RULE_LOG_DIRTIES,
  TDP_RULE_SPLITS,
  TDP_RULE_SUPPRESS_VE,
  TDP_RULE_ZAP_UPWARDS,
} from '../../assembly/abi.ts';
import { UsageError } from '../core/errors.ts';

/** One generation of KVM's MMU. */
export interface KvmGeneration {
  readonly name: string;
  /** Kernel sources or mails that the preset follows. */
  readonly source: string;
  /** One sentence. */
  readonly meaning: string;
  /** KVM_FEATURE_*. */
  readonly features: number;
  /** TDP_RULE_*. */
  readonly tdpRules: number;
  /** Roots that a vCPU keeps besides the current one (KVM_MMU_NUM_PREV_ROOTS). */
  readonly prevRoots: number;
  /** kvm_release_pfn_clean marks the page accessed (since 2.6.26). */
  readonly releaseMarksAccessed: boolean;
  /** A running invalidation makes only faults of its own range stale (5.12, commit 4a42d848db95). */
  readonly rangedFaults: boolean;
  /** Faults on nested tables exclude each other not (5.12, commit a2855afc7ee8). */
  readonly parallelFaults: boolean;
  /** A vCPU lets go of obsolete roots alone (KVM_REQ_MMU_FREE_OBSOLETE_ROOTS, 5.18), else of all that it has. */
  readonly keepsRoots: boolean;
  /**
   * Registers that the role does not depend on only flush: CR0.WP under nested paging, CR4's PGE and PAE, and PCIDE as
   * it is set (5.14 to 6.1); else every change of CR0.WP and of CR4's paging bits drops the roots (kvm_mmu_reset_context()).
   */
  readonly flushesForRegisters: boolean;
  /** A load of CR3 that flushes syncs and flushes also when its root is made anew (kvm_invalidate_pcid(), 5.14). */
  readonly flushesNewRoots: boolean;
  /** KVM's notifier has an op for secondary TLBs (kvm_mmu_notifier_invalidate_range(), until 6.6). */
  readonly secondaryTlbs: boolean;
  /** KVM_SET_SREGS that changes CR0, CR3, CR4 or EFER flushes what the guest cached (__set_sregs() of 6.12). */
  readonly sregsFlush: boolean;
  /** Starting to log a slot flushes whether or not an spte was writable (6.0, commit b64d740ea7dd). */
  readonly flushesLogged: boolean;
  /** An instruction is tried again only where that let go of a shadow page (kvm_mmu_unprotect_gfn_and_retry(), 6.12), else
   *  any that is no plain store (retry_instruction()). */
  readonly retriesUnprotected: boolean;
  /** The fault's host lookup tries get_user_pages_fast first (since 2.6.36). */
  readonly gupFast: boolean;
}

/** All generations by name. */
export const KVM_GENERATIONS = {
  '2008': {
    name: '2008',
    source: 'Linux 2.6.24/25 drivers/kvm/mmu.c; mmu notifiers v3 to v7, January and February 2008',
    meaning: 'every write to a shadowed table is emulated; sptes pin pages; no prefetch, no unsync',
    features:
      KVM_FEATURE_SPTE_PINS |
      KVM_FEATURE_GUP_WRITE |
      KVM_FEATURE_UPDATE_PTE |
      KVM_FEATURE_STEPWISE_WALK |
      KVM_FEATURE_IGNORES_RESERVED |
      KVM_FEATURE_USER_UNSHADOWS |
      KVM_FEATURE_WP0_KEEPS_USER |
      KVM_FEATURE_SLOT_PROTECTS,
    tdpRules: 0,
    prevRoots: 0,
    releaseMarksAccessed: false,
    rangedFaults: false,
    parallelFaults: false,
    keepsRoots: true,
    flushesForRegisters: true,
    flushesNewRoots: true,
    secondaryTlbs: false,
    sregsFlush: false,
    flushesLogged: true,
    retriesUnprotected: false,
    gupFast: false,
  },
  '5.10': {
    name: '5.10',
    source:
      'Linux 5.10.262 arch/x86/kvm/mmu/{mmu.c,paging_tmpl.h,spte.c,tdp_mmu.c}, arch/x86/kvm/x86.c, virt/kvm/kvm_main.c',
    meaning:
      'unsync leaf tables, also by prefetch; vCPUs flush themselves after a sync; the first TDP MMU (tdp_mmu=1)',
    features:
      KVM_FEATURE_UNSYNC |
      KVM_FEATURE_PREFETCH |
      KVM_FEATURE_FLOOD_PER_PAGE |
      KVM_FEATURE_INVALIDATE_ON_INJECT |
      KVM_FEATURE_PREFETCH_UNSYNCS |
      KVM_FEATURE_DIRTY_ANEW |
      KVM_FEATURE_LOCAL_FLUSH |
      KVM_FEATURE_LATE_SYNC |
      KVM_FEATURE_SHORT_CHAINS |
      KVM_FEATURE_PREFETCH_UNMARKED |
      KVM_FEATURE_PREFETCH_BETWEEN |
      KVM_FEATURE_EARLY_TRACES |
      KVM_FEATURE_TDP_WHOLE_TABLES |
      KVM_FEATURE_TDP_AGE_CLEANS |
      KVM_FEATURE_TDP_NEVER_FAST |
      KVM_FEATURE_TDP_PROTECTS_ALL,
    tdpRules: 0,
    prevRoots: 3,
    releaseMarksAccessed: false,
    rangedFaults: false,
    parallelFaults: false,
    keepsRoots: false,
    flushesForRegisters: false,
    flushesNewRoots: false,
    secondaryTlbs: true,
    sregsFlush: false,
    flushesLogged: false,
    retriesUnprotected: false,
    gupFast: true,
  },
  '6.1': {
    name: '6.1',
    source: 'Linux 6.1 arch/x86/kvm/mmu/{mmu.c,paging_tmpl.h,spte.c}, virt/kvm/kvm_main.c',
    meaning: 'unsync leaf tables, pte prefetch, cached roots, write flooding per shadow page',
    features:
      KVM_FEATURE_UNSYNC |
      KVM_FEATURE_PREFETCH |
      KVM_FEATURE_FLOOD_PER_PAGE |
      KVM_FEATURE_INVALIDATE_ON_INJECT |
      KVM_FEATURE_INVALIDATE_IN_SLOTS,
    tdpRules: 0,
    prevRoots: 3,
    releaseMarksAccessed: true,
    rangedFaults: true,
    parallelFaults: true,
    keepsRoots: true,
    flushesForRegisters: true,
    flushesNewRoots: true,
    secondaryTlbs: true,
    sregsFlush: false,
    flushesLogged: true,
    retriesUnprotected: false,
    gupFast: true,
  },
  '6.12': {
    name: '6.12',
    source:
      'Linux 6.12 arch/x86/kvm/mmu/{mmu.c,paging_tmpl.h,spte.c,tdp_mmu.c}, virt/kvm/kvm_main.c',
    meaning:
      'as 6.1; syncing keeps what did not change, INVLPG syncs one entry, roots are zapped from below',
    features:
      KVM_FEATURE_UNSYNC |
      KVM_FEATURE_PREFETCH |
      KVM_FEATURE_FLOOD_PER_PAGE |
      KVM_FEATURE_INVALIDATE_ON_INJECT |
      KVM_FEATURE_INVALIDATE_IN_SLOTS |
      KVM_FEATURE_SYNC_KEEPS |
      KVM_FEATURE_INVLPG_SYNCS |
      KVM_FEATURE_FLUSH_RANGES,
    tdpRules:
      TDP_RULE_SUPPRESS_VE |
      TDP_RULE_ZAP_UPWARDS |
      TDP_RULE_SPLITS |
      TDP_RULE_FLUSHES_FIRST |
      TDP_RULE_LOG_DIRTIES,
    prevRoots: 3,
    releaseMarksAccessed: true,
    rangedFaults: true,
    parallelFaults: true,
    keepsRoots: true,
    flushesForRegisters: true,
    flushesNewRoots: true,
    secondaryTlbs: false,
    sregsFlush: true,
    flushesLogged: true,
    retriesUnprotected: true,
    gupFast: true,
  },
} as const satisfies Record<string, KvmGeneration>;

/**
 * What a generation does otherwise than the architecture says (reserved bits, CR0.WP=0, error codes of walks);
 * a VM made with `quirks: false` goes without.
 */
export const KVM_QUIRKS =
  KVM_FEATURE_STEPWISE_WALK | KVM_FEATURE_IGNORES_RESERVED | KVM_FEATURE_WP0_KEEPS_USER;

/** Name of a generation. */
export type KvmGenerationName = keyof typeof KVM_GENERATIONS;

/** The generation of a name; UsageError names the choices. */
export function kvmGeneration(name: string): KvmGeneration {
  const found = (KVM_GENERATIONS as Record<string, KvmGeneration>)[name];
  if (found === undefined) {
    const names = Object.keys(KVM_GENERATIONS).join(', ');
    throw new UsageError(`unknown KVM generation '${name}': use one of ${names}`);
  }
  return found;
}
