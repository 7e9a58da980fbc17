// Generations of KVM's MMU as data: what the shadow MMU of a kernel can do. A generation is a set of
// features (KVM_FEATURE_* in assembly/abi.ts, read by the core) and a few numbers; there is no
// `if (version)` anywhere.

import {
  KVM_FEATURE_FLOOD_PER_PAGE,
  KVM_FEATURE_GUP_WRITE,
  KVM_FEATURE_IGNORES_RESERVED,
  KVM_FEATURE_INVALIDATE_IN_SLOTS,
  KVM_FEATURE_INVALIDATE_ON_INJECT,
  KVM_FEATURE_PREFETCH,
  KVM_FEATURE_SLOT_PROTECTS,
  KVM_FEATURE_SPTE_PINS,
  KVM_FEATURE_STEPWISE_WALK,
  KVM_FEATURE_UNSYNC,
  KVM_FEATURE_UPDATE_PTE,
  KVM_FEATURE_USER_UNSHADOWS,
  KVM_FEATURE_WP0_KEEPS_USER,
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
  /** Roots that a vCPU keeps besides the current one (KVM_MMU_NUM_PREV_ROOTS). */
  readonly prevRoots: number;
  /** kvm_release_pfn_clean marks the page accessed (since 2.6.26). */
  readonly releaseMarksAccessed: boolean;
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
    prevRoots: 0,
    releaseMarksAccessed: false,
    gupFast: false,
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
    prevRoots: 3,
    releaseMarksAccessed: true,
    gupFast: true,
  },
  '6.12': {
    name: '6.12',
    source:
      'Linux 6.12 arch/x86/kvm/mmu/{mmu.c,paging_tmpl.h,spte.c,tdp_mmu.c}, virt/kvm/kvm_main.c',
    meaning:
      'as 6.1; what was mapped ahead is young, and unsync entries are dropped, not looked up again',
    features:
      KVM_FEATURE_UNSYNC |
      KVM_FEATURE_PREFETCH |
      KVM_FEATURE_FLOOD_PER_PAGE |
      KVM_FEATURE_INVALIDATE_ON_INJECT |
      KVM_FEATURE_INVALIDATE_IN_SLOTS,
    prevRoots: 3,
    releaseMarksAccessed: true,
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
