// Page faults of the two-dimensional backend: what maps a gfn, remembers one outside all slots, or gives
// back a right that was taken (cf. kvm_tdp_mmu_map() and fast_page_fault(), 6.1). The tables are
// tdp_table.ts.

import {
  ACC_ALL,
  EVENT_FAST_PAGE_FAULT,
  EVENT_FLUSH_REMOTE_TLBS_RANGE,
  EVENT_MARK_MMIO_SPTE,
  EVENT_SPTE_REQUESTED,
  EVENT_SPTE_SET,
  EVENT_SP_GET,
  KVM_FEATURE_EARLY_TRACES,
  KVM_FEATURE_FLUSH_RANGES,
  KVM_FEATURE_LOCAL_FLUSH,
  KVM_FEATURE_TDP_NEVER_FAST,
  KVM_FEATURE_TDP_WHOLE_TABLES,
  KVM_MEM_LOG_DIRTY_PAGES,
  PFERR_FETCH_MASK,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  PFERR_WRITE_MASK,
  PT64_NX_BIT,
  RET_PF_CONTINUE,
  RET_PF_EMULATE,
  RET_PF_FIXED,
  RET_PF_SPURIOUS,
  ROLE_AD_DISABLED,
  SLOT_FLAGS,
  SP_GFN,
  TDP_RULE_SPLITS,
  VCPU_EFER,
  VCPU_FAULT_CODE,
} from '../abi';
import { FAST_PAGE_FAULTS } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Gfn, Pfn, Spte, Sptep } from '../types';
import { hugepageAdjust } from './fault';
import { flushRemoteTlbs, flushRemoteTlbsRange, requestFlushCurrent } from './flush';
import { adDisabled, hasFeature, hasTdpRule } from './kvm';
import { makeSpte, wrprot } from './make_spte';
import { gfnToMemslot, markPageDirty, pagesPerHpage } from './memslot';
import { PT_PRESENT, PT_WRITABLE } from './pte_bits';
import { spAlloc, spLevel, spTable, sptepToSp } from './shadow_page';
import {
  isAccessTrackSpte,
  isLargePte,
  isLastSpte,
  isShadowPresentPte,
  isWritablePte,
  makeMmioSpte,
  makeNonleafSpte,
  restoreAccTrackSpte,
  SPTE_MMU_WRITABLE,
  SPTE_PFN_MASK,
} from './spte';
import { splitHugeSpte, zapSpteAtomic } from './tdp_huge';
import { ROOT_LEVEL, changeTdpSpte, tdpFind, tdpGetRoot, tdpIndex, tdpRole } from './tdp_table';

/** Down to the entry of `goal`, making tables on the way. */
function fetchTdp(vcpu: usize, gfn: Gfn, goal: u32): Sptep {
  let table = spTable(tdpGetRoot(vcpu));
  let level = ROOT_LEVEL;
  while (true) {
    const sptep = table + (tdpIndex(gfn, level) << 3);
    if (level == goal) return sptep;
    let spte = load<u64>(sptep);
    if (isShadowPresentPte(spte) && isLargePte(spte)) {
      // A large mapping gives way to a table.
      const base = gfn & ~(pagesPerHpage(level) - 1);
      if (hasTdpRule(TDP_RULE_SPLITS)) splitHugeSpte(sptep, base);
      else zapSpteAtomic(sptep, base);
      spte = load<u64>(sptep);
    }
    if (!isShadowPresentPte(spte)) {
      const role = tdpRole(level - 1, load<u32>(vcpu, VCPU_EFER));
      const base = gfn & ~(pagesPerHpage(level) - 1);
      const sp = spAlloc(base, role);
      // kvm_tdp_mmu_map() of 5.10 notes the level of the entry.
      const told = hasFeature(KVM_FEATURE_EARLY_TRACES) ? level : level - 1;
      trace(EVENT_SP_GET, base, told, role, 2);
      spte = makeNonleafSpte(spTable(sp), (role & ROLE_AD_DISABLED) != 0);
      changeTdpSpte(sptep, spte, true, true);
    }
    table = <usize>(spte & SPTE_PFN_MASK);
    level--;
  }
}

/** kvm_tdp_mmu_map: maps `gfn` to `pfn`. RET_PF_*. */
export function tdpMap(vcpu: usize, gfn: Gfn, pfn: Pfn, hostWritable: u32): u32 {
  const slot = gfnToMemslot(gfn);
  const write = (load<u32>(vcpu, VCPU_FAULT_CODE) & PFERR_WRITE_MASK) != 0;
  const goal = slot == 0 ? 1 : hugepageAdjust(slot, gfn, 3);
  trace(EVENT_SPTE_REQUESTED, gfn, goal);
  const sptep = fetchTdp(vcpu, gfn, goal);
  const within = gfn & (pagesPerHpage(goal) - 1);
  const old = load<u64>(sptep);
  const wasTable = isShadowPresentPte(old) && !isLastSpte(old, goal);
  const spte = makeSpte(
    sptepToSp(sptep),
    slot,
    ACC_ALL,
    gfn - within,
    pfn - within,
    old,
    false,
    true,
    hostWritable != 0,
  );
  const refused = wrprot;
  let result = RET_PF_FIXED;
  if (spte == old) result = RET_PF_SPURIOUS;
  else {
    changeTdpSpte(sptep, spte, true, true);
    // A table that went whole was flushed by itself.
    if (wasTable && !hasFeature(KVM_FEATURE_TDP_WHOLE_TABLES)) {
      flushReplaced(sptep, gfn - within, goal);
    }
  }
  if (refused && write) result = RET_PF_EMULATE;
  if (refused && hasFeature(KVM_FEATURE_LOCAL_FLUSH)) requestFlushCurrent(vcpu);
  trace(EVENT_SPTE_SET, gfn - within, <u32>spte, <u32>(spte >> 32), goal);
  return result;
}

/** A leaf took the place of a table: 6.1 names the table's whole range in its flush, later kernels the leaf's. */
function flushReplaced(sptep: Sptep, base: Gfn, goal: u32): void {
  if (hasFeature(KVM_FEATURE_FLUSH_RANGES)) {
    flushRemoteTlbsRange(base, pagesPerHpage(goal));
    return;
  }
  const first = load<u32>(sptepToSp(sptep), SP_GFN);
  trace(EVENT_FLUSH_REMOTE_TLBS_RANGE, first, pagesPerHpage(goal + 1));
  flushRemoteTlbs();
}

/** The entry of an access outside all slots: the next one is recognised by it. */
export function tdpMapMmio(vcpu: usize, gfn: Gfn, generation: u32): u32 {
  trace(EVENT_SPTE_REQUESTED, gfn, 1);
  const sptep = fetchTdp(vcpu, gfn, 1);
  const spte = makeMmioSpte(gfn, ACC_ALL, generation);
  changeTdpSpte(sptep, spte, true, true);
  trace(EVENT_MARK_MMIO_SPTE, gfn, ACC_ALL, generation);
  if (hasFeature(KVM_FEATURE_EARLY_TRACES)) {
    trace(EVENT_SPTE_SET, gfn, <u32>spte, <u32>(spte >> 32), 1);
  }
  return RET_PF_EMULATE;
}

/** is_access_allowed: whether an spte permits the access with this error code. */
function accessAllowed(code: u32, spte: Spte): bool {
  if ((spte & PT_PRESENT) == 0) return false;
  if ((code & PFERR_FETCH_MASK) != 0) return spte >> (<u64>PT64_NX_BIT) == 0;
  return (code & PFERR_WRITE_MASK) == 0 || isWritablePte(spte);
}

/** What a leaf becomes so that it permits the access; as it was: the fault can't be fast. */
function fastFixed(old: Spte, level: u32, slot: usize, code: u32): Spte {
  let spte = isAccessTrackSpte(old) ? restoreAccTrackSpte(old) : old;
  if ((code & PFERR_WRITE_MASK) != 0 && (old & SPTE_MMU_WRITABLE) != 0) {
    // The log has a bit for each small page: the whole of a large one would go unnoticed.
    if (level > 1 && (load<u32>(slot, SLOT_FLAGS) & KVM_MEM_LOG_DIRTY_PAGES) != 0) return old;
    spte |= PT_WRITABLE;
  }
  return accessAllowed(code, spte) ? spte : old;
}

/**
 * fast_page_fault: gives back what access tracking or dirty logging took, without a look at the
 * host's page tables. RET_PF_CONTINUE: not that kind of fault.
 */
export function tdpFastPageFault(vcpu: usize, gfn: Gfn): u32 {
  const code = load<u32>(vcpu, VCPU_FAULT_CODE);
  if ((code & PFERR_RSVD_MASK) != 0 || hasFeature(KVM_FEATURE_TDP_NEVER_FAST)) {
    return RET_PF_CONTINUE;
  }
  if ((code & PFERR_PRESENT_MASK) == 0) {
    if (!adDisabled) return RET_PF_CONTINUE;
  } else if ((code & PFERR_WRITE_MASK) == 0) return RET_PF_CONTINUE;
  const sptep = tdpFind(gfn);
  if (sptep == 0) return RET_PF_CONTINUE;
  const old = load<u64>(sptep);
  const level = spLevel(sptepToSp(sptep));
  let result = RET_PF_CONTINUE;
  let spte = old;
  if (isShadowPresentPte(old) && isLastSpte(old, level)) {
    if (accessAllowed(code, old)) result = RET_PF_SPURIOUS;
    else {
      const slot = gfnToMemslot(gfn);
      spte = fastFixed(old, level, slot, code);
      if (spte != old) {
        store<u64>(sptep, spte);
        if (isWritablePte(spte) && !isWritablePte(old)) markPageDirty(slot, gfn);
        result = RET_PF_FIXED;
        bump(FAST_PAGE_FAULTS);
      }
    }
  }
  const fixed: u32 = result == RET_PF_FIXED ? 1 : 0;
  const spurious: u32 = result == RET_PF_SPURIOUS ? 1 : 0;
  trace(EVENT_FAST_PAGE_FAULT, <u32>old, <u32>spte, fixed, spurious);
  return result;
}
