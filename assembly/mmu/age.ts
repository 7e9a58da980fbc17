// What the notifiers ask of the shadow MMU for a range of host pages: unmap, age, test (cf.
// kvm_handle_hva_range, kvm_unmap_gfn_range, kvm_age_gfn, kvm_test_age_gfn). A host page may be seen
// through several memslots, and a gfn through several sptes: all are visited.

import {
  AGE_CLEAR,
  AGE_DROP,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_NPAGES,
  SPTE_BY_KVM_ZAP_ALL_RMAP_SPTES,
} from '../abi';
import { SPTES_AGED } from '../counters';
import { bump } from '../stats';
import { Gfn, Hvn, Sptep } from '../types';
import { flushRemoteTlbs } from './flush';
import { gfnToRmap, nextSlotOfMm } from './memslot';
import { pteListFree, rmapIterFirst, rmapIterNext } from './rmap';
import { sptepToSp } from './shadow_page';
import {
  isAccessedSpte,
  isDirtySpte,
  markSpteForAccessTrack,
  spteAdEnabled,
  spteToPfn,
} from './spte';
import { clearSpteTrackBits, kvmSetPfnDirty } from './zap';

/** kvm_zap_all_rmap_sptes. */
function zapRmap(head: usize, accessed: bool): bool {
  if (load<u32>(head) == 0) return false;
  for (let sptep = rmapIterFirst(head); sptep != 0; sptep = rmapIterNext()) {
    clearSpteTrackBits(sptepToSp(sptep), sptep, SPTE_BY_KVM_ZAP_ALL_RMAP_SPTES, accessed);
  }
  pteListFree(head);
  return true;
}

/** Zaps every spte that maps a page of the range; true when TLBs must be flushed. */
export function unmapHvaRange(mm: u32, start: Hvn, end: Hvn): u32 {
  let flush = false;
  for (let slot = nextSlotOfMm(0, mm); slot != 0; slot = nextSlotOfMm(slot, mm)) {
    if (unmapSlotRange(slot, start, end)) flush = true;
  }
  return flush ? 1 : 0;
}

/** The same for the part of the range that a slot maps. */
function unmapSlotRange(slot: usize, start: Hvn, end: Hvn): bool {
  const base = load<u32>(slot, SLOT_HVN);
  const first = max<u32>(start, base);
  const last = min<u32>(end, base + load<u32>(slot, SLOT_NPAGES));
  if (first >= last) return false;
  const gfnFirst = load<u32>(slot, SLOT_BASE_GFN) + (first - base);
  const gfnLast = load<u32>(slot, SLOT_BASE_GFN) + (last - 1 - base);
  let flush = false;
  for (let level: u32 = 1; level <= 3; level++) {
    const from = gfnToRmap(slot, gfnFirst, level);
    const to = gfnToRmap(slot, gfnLast, level);
    for (let head = from; head <= to; head += 4) {
      if (load<u32>(head) != 0 && zapRmap(head, true)) flush = true;
    }
  }
  return flush;
}

/** mmu_spte_age: clears the accessed state of one spte; true when it was set. */
function spteAge(sptep: Sptep): bool {
  const spte = load<u64>(sptep);
  if (!isAccessedSpte(spte)) return false;
  // Access tracking hides the W bit too, so a dirty page must not be forgotten.
  if (!spteAdEnabled(spte) && isDirtySpte(spte)) kvmSetPfnDirty(spteToPfn(spte));
  store<u64>(sptep, markSpteForAccessTrack(spte));
  bump(SPTES_AGED);
  return true;
}

/** kvm_age_rmap and friends for one gfn at one level; returns whether it was young. */
function ageRmap(head: usize, action: u32): bool {
  if (load<u32>(head) == 0) return false;
  if (action == AGE_DROP) return zapRmap(head, false);
  let young = false;
  for (let sptep = rmapIterFirst(head); sptep != 0; sptep = rmapIterNext()) {
    if (action == AGE_CLEAR) {
      if (spteAge(sptep)) young = true;
    } else if (isAccessedSpte(load<u64>(sptep))) {
      young = true;
    }
  }
  return young;
}

/**
 * Ages the pages of a range (AGE_*). Returns whether any was young; for AGE_DROP, whether any was
 * mapped, since dropping is what stands for the accessed bit there. The caller flushes.
 */
export function ageHvaRange(mm: u32, start: Hvn, end: Hvn, action: u32): u32 {
  let young = false;
  for (let slot = nextSlotOfMm(0, mm); slot != 0; slot = nextSlotOfMm(slot, mm)) {
    const base = load<u32>(slot, SLOT_HVN);
    const first = max<u32>(start, base);
    const last = min<u32>(end, base + load<u32>(slot, SLOT_NPAGES));
    if (first >= last) continue;
    const gfnFirst: Gfn = load<u32>(slot, SLOT_BASE_GFN) + (first - base);
    const gfnLast: Gfn = load<u32>(slot, SLOT_BASE_GFN) + (last - 1 - base);
    for (let level: u32 = 1; level <= 3; level++) {
      const to = gfnToRmap(slot, gfnLast, level);
      for (let head = gfnToRmap(slot, gfnFirst, level); head <= to; head += 4) {
        if (ageRmap(head, action)) young = true;
      }
    }
  }
  return young ? 1 : 0;
}

/** kvm_flush_remote_tlbs, for the host. */
export function flushTlbs(): void {
  flushRemoteTlbs();
}
