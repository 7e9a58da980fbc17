// What notifiers and dirty logging do to the leaves of the two-dimensional backend that map a range (cf.
// kvm_tdp_mmu_handle_gfn(), 6.1): zap, age, test, write-protect. A large leaf that maps a part of the
// range counts as a whole.

import {
  AGE_CLEAR,
  KVM_FEATURE_TDP_AGE_CLEANS,
  KVM_FEATURE_TDP_PROTECTS_ALL,
  KVM_FEATURE_TDP_WHOLE_TABLES,
  KVM_TDP_ROOT,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_NPAGES,
  SP_GFN,
  TDP_RULE_LOG_DIRTIES,
} from '../abi';
import { SPTES_AGED } from '../counters';
import { bump } from '../stats';
import { Gfn, Hvn, Sptep } from '../types';
import { hasFeature, hasTdpRule, KVM } from './kvm';
import { nextSlotOfMm } from './memslot';
import { PT_DIRTY, PT_WRITABLE } from './pte_bits';
import { spTable, tableToSp } from './shadow_page';
import {
  isAccessedSpte,
  isLastSpte,
  isShadowPresentPte,
  isWritablePte,
  markSpteForAccessTrack,
  SPTE_PFN_MASK,
  spteAdEnabled,
  spteToPfn,
} from './spte';
import { ROOT_LEVEL, changeTdpSpte } from './tdp_table';
import { kvmSetPfnDirty } from './zap';

const OP_ZAP: u32 = 0;
const OP_AGE: u32 = 1;
const OP_TEST: u32 = 2;
const OP_WRPROT: u32 = 3;
const OP_LOG: u32 = 4;

/** One leaf of a range; true when it counts (zapped, young, protected). */
function leafOp(sptep: Sptep, op: u32): bool {
  const spte = load<u64>(sptep);
  if (op == OP_ZAP) {
    changeTdpSpte(sptep, 0, true, false);
    return true;
  }
  if (op == OP_WRPROT || op == OP_LOG) {
    if (!isWritablePte(spte)) return hasFeature(KVM_FEATURE_TDP_PROTECTS_ALL);
    changeTdpSpte(sptep, spte & ~PT_WRITABLE, true, false);
    if (op == OP_LOG) kvmSetPfnDirty(spteToPfn(spte));
    return true;
  }
  if (!isAccessedSpte(spte)) return false;
  if (op == OP_TEST) return true;
  if (!spteAdEnabled(spte) && isWritablePte(spte)) kvmSetPfnDirty(spteToPfn(spte));
  const old = markSpteForAccessTrack(spte);
  changeTdpSpte(
    sptep,
    hasFeature(KVM_FEATURE_TDP_AGE_CLEANS) ? old & ~PT_DIRTY : old,
    false,
    false,
  );
  bump(SPTES_AGED);
  return true;
}

/** Zaps the table below an entry for 2^`shift` frames from `gfn` on, if the range covers all of them. */
function zapWhole(sptep: Sptep, gfn: Gfn, shift: u32, first: Gfn, last: Gfn): bool {
  if (!hasFeature(KVM_FEATURE_TDP_WHOLE_TABLES)) return false;
  if (gfn < first || gfn + (((<u32>1) << shift) - 1) > last) return false;
  changeTdpSpte(sptep, 0, true, false);
  return true;
}

/** Applies an operation to every leaf of the table that maps a part of [first, last]. */
function forLeaves(table: usize, level: u32, first: Gfn, last: Gfn, op: u32): bool {
  const sp = tableToSp(table);
  const base = load<u32>(sp, SP_GFN);
  const shift = (level - 1) * 9;
  const from = first > base ? (first - base) >> shift : 0;
  const to = min<u32>(511, (last - base) >> shift);
  let any = false;
  for (let i = from; i <= to; i++) {
    const sptep = table + ((<usize>i) << 3);
    const spte = load<u64>(sptep);
    if (!isShadowPresentPte(spte)) continue;
    if (isLastSpte(spte, level)) {
      if (leafOp(sptep, op)) any = true;
    } else if (op == OP_ZAP && zapWhole(sptep, base + (i << shift), shift, first, last)) {
      any = true;
    } else if (forLeaves(<usize>(spte & SPTE_PFN_MASK), level - 1, first, last, op)) {
      any = true;
    }
  }
  return any;
}

/** Applies an operation to the leaves of a gfn range. */
function forGfns(first: Gfn, last: Gfn, op: u32): bool {
  const root = <usize>load<u32>(KVM, KVM_TDP_ROOT);
  if (root == 0) return false;
  return forLeaves(spTable(root), ROOT_LEVEL, first, last, op);
}

/** Applies an operation to what maps [start, end) of a host address space. */
function forHvas(mm: u32, start: Hvn, end: Hvn, op: u32): bool {
  let any = false;
  for (let slot = nextSlotOfMm(0, mm); slot != 0; slot = nextSlotOfMm(slot, mm)) {
    const base = load<u32>(slot, SLOT_HVN);
    const first = max<u32>(start, base);
    const last = min<u32>(end, base + load<u32>(slot, SLOT_NPAGES));
    if (first >= last) continue;
    const gfn = load<u32>(slot, SLOT_BASE_GFN) - base;
    if (forGfns(gfn + first, gfn + last - 1, op)) any = true;
  }
  return any;
}

/** kvm_tdp_mmu_unmap_gfn_range; 1 when TLBs must be flushed. */
export function tdpUnmapHvaRange(mm: u32, start: Hvn, end: Hvn): u32 {
  return forHvas(mm, start, end, OP_ZAP) ? 1 : 0;
}

/** kvm_tdp_mmu_age_gfn_range and kvm_tdp_mmu_test_age_gfn (AGE_*); 1: young. */
export function tdpAgeHvaRange(mm: u32, start: Hvn, end: Hvn, action: u32): u32 {
  return forHvas(mm, start, end, action == AGE_CLEAR ? OP_AGE : OP_TEST) ? 1 : 0;
}

/**
 * kvm_tdp_mmu_wrprot_slot for a gfn range (dirty logging); 1 when TLBs must be flushed. `logged`: the pages are those of
 * a log that was read, which clear_dirty_pt_masked() of later kernels makes dirty for the host.
 */
export function tdpWriteProtect(first: Gfn, npages: u32, logged: u32): u32 {
  const op = logged != 0 && hasTdpRule(TDP_RULE_LOG_DIRTIES) ? OP_LOG : OP_WRPROT;
  return forGfns(first, first + npages - 1, op) ? 1 : 0;
}
