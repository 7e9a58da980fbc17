// The two-dimensional backend: tables that the processor walks from gpa to hpa, one root a VM (cf.
// arch/x86/kvm/mmu/tdp_mmu.c, 6.1). The guest's own tables are never shadowed or write-protected; a
// table here is direct, keyed by its position alone, and freed when its last user lets it go.
//
// Every change of an entry goes through setTdpSpte(), which does what __handle_changed_spte() does:
// A and D bits that are lost go to the mm, and the tables below an entry that goes are torn down.

import {
  ACC_ALL,
  EFER_NXE,
  EVENT_FAST_PAGE_FAULT,
  EVENT_FLUSH_REMOTE_TLBS_RANGE,
  EVENT_MARK_MMIO_SPTE,
  EVENT_SPTE_REQUESTED,
  EVENT_SPTE_SET,
  EVENT_SP_GET,
  EVENT_SP_ZAP,
  EVENT_TDP_SPTE_NEW,
  EVENT_TDP_SPTE_OLD,
  AGE_CLEAR,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_TDP_ROOT,
  PFERR_FETCH_MASK,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  PFERR_WRITE_MASK,
  PT64_NX_BIT,
  RET_PF_CONTINUE,
  RET_PF_EMULATE,
  RET_PF_FIXED,
  RET_PF_SPURIOUS,
  ROLE_ACCESS_SHIFT,
  ROLE_AD_DISABLED,
  ROLE_DIRECT,
  ROLE_EFER_NX,
  SLOT_BASE_GFN,
  SLOT_FLAGS,
  SLOT_HVN,
  SLOT_NPAGES,
  SP_GFN,
  SP_ROLE,
  VCPU_EFER,
  VCPU_FAULT_CODE,
} from '../abi';
import { FAST_PAGE_FAULTS, SPTES_AGED, SPTES_DROPPED, SPTES_INSTALLED } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Gfn, Hvn, Pfn, Spte, Sptep } from '../types';
import { hugepageAdjust } from './fault';
import { flushRemoteTlbs } from './flush';
import { adDisabled, KVM } from './kvm';
import { makeSpte, wrprot } from './make_spte';
import { gfnToMemslot, markPageDirty, nextSlotOfMm, pagesPerHpage } from './memslot';
import {
  spAlloc,
  spFree,
  activeRemove,
  spLevel,
  spNoteAbsent,
  spNotePresent,
  spTable,
  spteIndex,
  sptepToSp,
  tableToSp,
} from './shadow_page';
import {
  isAccessedSpte,
  isAccessTrackSpte,
  isDirtySpte,
  isLargePte,
  isLastSpte,
  isShadowPresentPte,
  isWritablePte,
  makeMmioSpte,
  makeNonleafSpte,
  markSpteForAccessTrack,
  PT_PRESENT,
  PT_WRITABLE,
  restoreAccTrackSpte,
  SPTE_MMU_WRITABLE,
  SPTE_PFN_MASK,
  spteAdEnabled,
  spteToPfn,
} from './spte';
import { zapSpteAtomic } from './tdp_huge';
import { kvmSetPfnAccessed, kvmSetPfnDirty } from './zap';

/** REMOVED_SPTE: no walk may install anything in a table that goes. */
export const REMOVED_SPTE: u64 = 0x5a0;
export const ROOT_LEVEL: u32 = 4;

/** Role of every table of the VM: direct, all rights. */
function tdpRole(level: u32, efer: u32): u32 {
  let role = level | ROLE_DIRECT | (ACC_ALL << ROLE_ACCESS_SHIFT);
  if ((efer & EFER_NXE) != 0) role |= ROLE_EFER_NX;
  if (adDisabled) role |= ROLE_AD_DISABLED;
  return role;
}

/** kvm_tdp_mmu_get_vcpu_root_hpa: the one root. Returns its shadow page. */
export function tdpGetRoot(vcpu: usize): usize {
  const found = <usize>load<u32>(KVM, KVM_TDP_ROOT);
  if (found != 0) return found;
  const role = tdpRole(ROOT_LEVEL, load<u32>(vcpu, VCPU_EFER));
  const root = spAlloc(0, role);
  trace(EVENT_SP_GET, 0, ROOT_LEVEL, role, 2);
  store<u32>(KVM, <u32>root, KVM_TDP_ROOT);
  return root;
}

/** Entry of a table at `level` that maps `gfn`. */
function tdpIndex(gfn: Gfn, level: u32): usize {
  return (<usize>(gfn >> ((level - 1) * 9))) & 511;
}

/** gfn that an entry maps, or where its range begins. */
function gfnOf(sptep: Sptep): Gfn {
  const sp = sptepToSp(sptep);
  return load<u32>(sp, SP_GFN) + (spteIndex(sptep) << ((spLevel(sp) - 1) * 9));
}

/** handle_removed_pt: tears down the table below an entry that is gone. `shared`: other CPUs may be
 *  in it, so that every entry is marked, not only the present ones. */
function handleRemovedTable(sp: usize, shared: bool): void {
  const level = spLevel(sp);
  trace(EVENT_SP_ZAP, load<u32>(sp, SP_GFN), level, load<u32>(sp, SP_ROLE));
  const table = spTable(sp);
  for (let i: usize = 0; i < 512; i++) {
    const sptep = table + (i << 3);
    const old = load<u64>(sptep);
    if (!shared && !isShadowPresentPte(old)) continue;
    changeTdpSpte(sptep, REMOVED_SPTE, true, shared);
  }
  activeRemove(sp);
  spFree(sp);
}

/** __handle_changed_spte: writes an entry and does what follows from the change. `tracked`: an A bit
 *  that is lost is handed to the mm. */
export function changeTdpSpte(sptep: Sptep, spte: Spte, tracked: bool, shared: bool): void {
  const old = load<u64>(sptep);
  if (old == spte) return;
  const sp = sptepToSp(sptep);
  const level = spLevel(sp);
  store<u64>(sptep, spte);
  const wasPresent = isShadowPresentPte(old);
  const present = isShadowPresentPte(spte);
  const wasLeaf = wasPresent && isLastSpte(old, level);
  const leaf = present && isLastSpte(spte, level);
  const moved = wasLeaf && (!present || spteToPfn(old) != spteToPfn(spte));
  const gfn = gfnOf(sptep);
  trace(EVENT_TDP_SPTE_OLD, gfn, level, <u32>old, <u32>(old >> 32));
  trace(EVENT_TDP_SPTE_NEW, gfn, level, <u32>spte, <u32>(spte >> 32));
  if (wasPresent && !present) spNoteAbsent(sp, spteIndex(sptep));
  if (!wasPresent && present) spNotePresent(sp, spteIndex(sptep));
  if (leaf && !wasLeaf) bump(SPTES_INSTALLED);
  if (wasLeaf && !leaf) bump(SPTES_DROPPED);
  if (wasLeaf && isDirtySpte(old) && (!present || !isDirtySpte(spte) || moved)) {
    kvmSetPfnDirty(spteToPfn(old));
  }
  // A table is gone, or a large mapping took its place.
  if (wasPresent && !wasLeaf && (!present || leaf)) {
    handleRemovedTable(tableToSp(<usize>(old & SPTE_PFN_MASK)), shared);
  }
  if (tracked && wasLeaf && isAccessedSpte(old) && (!present || !isAccessedSpte(spte) || moved)) {
    kvmSetPfnAccessed(spteToPfn(old));
  }
  if (leaf && isWritablePte(spte) && (!wasLeaf || !isWritablePte(old) || moved)) {
    const slot = gfnToMemslot(gfn);
    if (slot != 0) markPageDirty(slot, gfn);
  }
}

/** Leaf entry for `gfn`, or the last present one above it; 0 without a root. */
export function tdpFind(gfn: Gfn): Sptep {
  const root = <usize>load<u32>(KVM, KVM_TDP_ROOT);
  if (root == 0) return 0;
  let table = spTable(root);
  let level = ROOT_LEVEL;
  while (true) {
    const sptep = table + (tdpIndex(gfn, level) << 3);
    const spte = load<u64>(sptep);
    if (level == 1 || !isShadowPresentPte(spte) || isLargePte(spte)) return sptep;
    table = <usize>(spte & SPTE_PFN_MASK);
    level--;
  }
}

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
      zapSpteAtomic(sptep, gfn & ~(pagesPerHpage(level) - 1));
      spte = 0;
    }
    if (!isShadowPresentPte(spte)) {
      const role = tdpRole(level - 1, load<u32>(vcpu, VCPU_EFER));
      const base = gfn & ~(pagesPerHpage(level) - 1);
      const sp = spAlloc(base, role);
      trace(EVENT_SP_GET, base, level - 1, role, 2);
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
    if (wasTable) {
      const sp = sptepToSp(sptep);
      trace(EVENT_FLUSH_REMOTE_TLBS_RANGE, load<u32>(sp, SP_GFN), pagesPerHpage(goal + 1));
      flushRemoteTlbs();
    }
  }
  if (refused && write) result = RET_PF_EMULATE;
  trace(EVENT_SPTE_SET, gfn - within, <u32>spte, <u32>(spte >> 32), goal);
  return result;
}

/** The entry of an access outside all slots: the next one is recognised by it. */
export function tdpMapMmio(vcpu: usize, gfn: Gfn, generation: u32): u32 {
  trace(EVENT_SPTE_REQUESTED, gfn, 1);
  const sptep = fetchTdp(vcpu, gfn, 1);
  changeTdpSpte(sptep, makeMmioSpte(gfn, ACC_ALL, generation), true, true);
  trace(EVENT_MARK_MMIO_SPTE, gfn, ACC_ALL, generation);
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
  if ((code & PFERR_RSVD_MASK) != 0) return RET_PF_CONTINUE;
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

const OP_ZAP: u32 = 0;
const OP_AGE: u32 = 1;
const OP_TEST: u32 = 2;
const OP_WRPROT: u32 = 3;

/** One leaf of a range; true when it counts (zapped, young, protected). */
function leafOp(sptep: Sptep, op: u32): bool {
  const spte = load<u64>(sptep);
  if (op == OP_ZAP) {
    changeTdpSpte(sptep, 0, true, false);
    return true;
  }
  if (op == OP_WRPROT) {
    if (!isWritablePte(spte)) return false;
    changeTdpSpte(sptep, spte & ~PT_WRITABLE, true, false);
    return true;
  }
  if (!isAccessedSpte(spte)) return false;
  if (op == OP_TEST) return true;
  if (!spteAdEnabled(spte) && isWritablePte(spte)) kvmSetPfnDirty(spteToPfn(spte));
  changeTdpSpte(sptep, markSpteForAccessTrack(spte), false, false);
  bump(SPTES_AGED);
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

/** kvm_tdp_mmu_wrprot_slot for a gfn range (dirty logging); 1 when TLBs must be flushed. */
export function tdpWriteProtect(first: Gfn, npages: u32): u32 {
  return forGfns(first, first + npages - 1, OP_WRPROT) ? 1 : 0;
}

/**
 * kvm_tdp_mmu_zap_all (`shared` 0) and the zap of invalidated roots after a memslot went (`shared`
 * 1): below the root first at 1 GiB entries, then the root's own.
 */
export function tdpZapAll(shared: u32): void {
  const root = <usize>load<u32>(KVM, KVM_TDP_ROOT);
  if (root == 0) return;
  const top = spTable(root);
  for (let i: usize = 0; i < 512; i++) {
    const spte = load<u64>(top + (i << 3));
    if (!isShadowPresentPte(spte)) continue;
    const table = <usize>(spte & SPTE_PFN_MASK);
    for (let j: usize = 0; j < 512; j++) {
      const sptep = table + (j << 3);
      if (isShadowPresentPte(load<u64>(sptep))) changeTdpSpte(sptep, 0, true, shared != 0);
    }
  }
  for (let i: usize = 0; i < 512; i++) {
    const sptep = top + (i << 3);
    if (isShadowPresentPte(load<u64>(sptep))) changeTdpSpte(sptep, 0, true, shared != 0);
  }
}

/** kvm_tdp_mmu_put_root: the root goes; its tables are empty. */
export function tdpPutRoot(): void {
  const root = <usize>load<u32>(KVM, KVM_TDP_ROOT);
  if (root == 0) return;
  store<u32>(KVM, 0, KVM_TDP_ROOT);
  activeRemove(root);
  spFree(root);
}
