// The bits of a shadow PTE and every predicate over them (cf. arch/x86/kvm/mmu/spte.{h,c}, 6.1).
//
//   63 62   56 55 54 53 52 51                12 11 10  9  8  7  6  5  4  3  2  1  0
//  ┌──┬───────┬──┬──┬─────┬───────────────────┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──┐
//  │NX│       │sN│sP│ A/D │ pfn               │MP│MW│HW│ G│PS│ D│ A│  │  │ U│ W│ P│
//  └──┴───────┴──┴──┴─────┴───────────────────┴──┴──┴──┴──┴──┴──┴──┴──┴──┴──┴──┴──┘
//  MP MMU-present, MW MMU-writable, HW host-writable; sP, sN: P and NX saved by access tracking;
//  A/D: 0 the accessed and dirty bits count, 1 they don't.
//
// Invariants:
// - MMU-writable implies host-writable; W implies MMU-writable.
// - A spte is present for the MMU if MMU-present is set; access tracking clears only P.

import {
  ACC_USER_MASK,
  ACC_WRITE_MASK,
  SPTE_AD_DISABLED_BIT,
  SPTE_HOST_WRITABLE_BIT,
  SPTE_MMU_PRESENT_BIT,
  SPTE_MMU_WRITABLE_BIT,
  SPTE_SAVED_NX_BIT,
  SPTE_SAVED_P_BIT,
} from '../abi';
import { Pfn, Spte } from '../types';
import {
  PT64_NX,
  PT_ACCESSED,
  PT_DIRTY,
  PT_PAGE_SIZE,
  PT_PRESENT,
  PT_USER,
  PT_WRITABLE,
} from './pte_bits';

export const SPTE_HOST_WRITABLE: u64 = (<u64>1) << SPTE_HOST_WRITABLE_BIT;
export const SPTE_MMU_WRITABLE: u64 = (<u64>1) << SPTE_MMU_WRITABLE_BIT;
export const SPTE_MMU_PRESENT: u64 = (<u64>1) << SPTE_MMU_PRESENT_BIT;
export const SPTE_AD_DISABLED: u64 = (<u64>1) << SPTE_AD_DISABLED_BIT;
export const SPTE_SAVED_P: u64 = (<u64>1) << SPTE_SAVED_P_BIT;
export const SPTE_SAVED_NX: u64 = (<u64>1) << SPTE_SAVED_NX_BIT;
/** Bits 50:12. */
export const SPTE_PFN_MASK: u64 = 0x0007fffffffff000;
/** An access outside all slots: not present, tagged so that the next one is known at once. */
export const SPTE_MMIO: u64 = (<u64>1) << 51;

/** spte_to_pfn. */
export function spteToPfn(spte: Spte): Pfn {
  return <u32>((spte & SPTE_PFN_MASK) >> 12);
}

/** is_shadow_present_pte. */
export function isShadowPresentPte(spte: Spte): bool {
  return (spte & SPTE_MMU_PRESENT) != 0;
}

/** is_mmio_spte. */
export function isMmioSpte(spte: Spte): bool {
  return (spte & (SPTE_MMIO | SPTE_MMU_PRESENT)) == SPTE_MMIO;
}

/** is_large_pte. */
export function isLargePte(spte: Spte): bool {
  return (spte & PT_PAGE_SIZE) != 0;
}

/** is_last_spte: a leaf at this level. */
export function isLastSpte(spte: Spte, level: u32): bool {
  return level == 1 || isLargePte(spte);
}

/** spte_ad_enabled. */
export function spteAdEnabled(spte: Spte): bool {
  return (spte & SPTE_AD_DISABLED) == 0;
}

/** is_access_track_spte: made non-present to see the next access. */
export function isAccessTrackSpte(spte: Spte): bool {
  const tracked = SPTE_AD_DISABLED | SPTE_MMU_PRESENT;
  return (spte & (tracked | PT_PRESENT)) == tracked;
}

/** is_accessed_spte. */
export function isAccessedSpte(spte: Spte): bool {
  return spteAdEnabled(spte) ? (spte & PT_ACCESSED) != 0 : !isAccessTrackSpte(spte);
}

/** is_dirty_spte. */
export function isDirtySpte(spte: Spte): bool {
  return spteAdEnabled(spte) ? (spte & PT_DIRTY) != 0 : (spte & PT_WRITABLE) != 0;
}

/** is_writable_pte. */
export function isWritablePte(spte: Spte): bool {
  return (spte & PT_WRITABLE) != 0;
}

/** mark_spte_for_access_track: what a spte becomes when its accessed state is cleared. Without A and D
 *  bits it gives up all rights and remembers those to read and to execute; the right to write, which
 *  is its dirty bit, comes back with the next write. */
export function markSpteForAccessTrack(spte: Spte): Spte {
  if (spteAdEnabled(spte)) return spte & ~PT_ACCESSED;
  if (isAccessTrackSpte(spte)) return spte;
  const nx = (spte & PT64_NX) != 0 ? SPTE_SAVED_NX : <u64>0;
  return (spte & ~(PT_PRESENT | PT_WRITABLE | PT64_NX)) | SPTE_SAVED_P | nx;
}

/** restore_acc_track_spte: the fast fault's undo of the above. */
export function restoreAccTrackSpte(spte: Spte): Spte {
  const nx = (spte & SPTE_SAVED_NX) != 0 ? PT64_NX : <u64>0;
  return (spte & ~(SPTE_SAVED_P | SPTE_SAVED_NX)) | PT_PRESENT | nx;
}

/** make_nonleaf_spte: entry that points to the table at `table`. Grants all, since the leaf (and the
 *  role of the child, keyed by access) restricts. */
export function makeNonleafSpte(table: usize, adDisabled: bool): Spte {
  const base = (<u64>table) | SPTE_MMU_PRESENT | PT_PRESENT | PT_WRITABLE | PT_USER;
  return adDisabled ? base | SPTE_AD_DISABLED : base | PT_ACCESSED;
}

/** make_mmio_spte: not present and recognisable, with the access in place (a later mapping takes a W
 *  bit there for that of a writable spte) and the memslot generation above it. */
export function makeMmioSpte(gfn: u32, access: u32, generation: u32): Spte {
  const kept = (access & (ACC_WRITE_MASK | ACC_USER_MASK)) | ((generation & 0xff) << 3);
  return SPTE_MMIO | ((<u64>gfn) << 12) | (<u64>kept);
}
