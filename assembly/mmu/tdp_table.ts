// The tables of the two-dimensional backend, which the processor walks from gpa to hpa (cf.
// arch/x86/kvm/mmu/tdp_mmu.c, 6.1): one root a VM, and below it tables that are direct, keyed by their
// position alone. The guest's own tables are never shadowed or write-protected.
//
// What must hold: in a table that is in use, a mapping comes, goes or moves only through changeTdpSpte(),
// which does what __handle_changed_spte() does: A and D bits that are lost go to the mm, and the tables
// below an entry that goes are torn down. (What a fast fault gives back is a plain store.)

import {
  ACC_ALL,
  EFER_NXE,
  EVENT_FLUSH_REMOTE_TLBS_RANGE,
  EVENT_SP_GET,
  EVENT_SP_ZAP,
  EVENT_TDP_SPTE_NEW,
  EVENT_TDP_SPTE_OLD,
  KVM_FEATURE_EARLY_TRACES,
  KVM_FEATURE_TDP_WHOLE_TABLES,
  KVM_TDP_ROOT,
  ROLE_ACCESS_SHIFT,
  ROLE_AD_DISABLED,
  ROLE_DIRECT,
  ROLE_EFER_NX,
  SP_GFN,
  SP_ROLE,
  TDP_RULE_SUPPRESS_VE,
  TDP_RULE_ZAP_UPWARDS,
  VCPU_EFER,
} from '../abi';
import { SPTES_DROPPED, SPTES_INSTALLED } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Gfn, Spte, Sptep } from '../types';
import { flushRemoteTlbs } from './flush';
import { adDisabled, hasFeature, hasTdpRule, KVM } from './kvm';
import { gfnToMemslot, markPageDirty, pagesPerHpage } from './memslot';
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
  isDirtySpte,
  isLargePte,
  isLastSpte,
  isShadowPresentPte,
  isWritablePte,
  SPTE_PFN_MASK,
  spteToPfn,
} from './spte';
import { kvmSetPfnAccessed, kvmSetPfnDirty } from './zap';

/** REMOVED_SPTE: no walk may install anything in a table that goes. */
const REMOVED_SPTE: u64 = 0x5a0;
/** SHADOW_NONPRESENT_VALUE, which is shown of nothing else. */
const SUPPRESS_VE: u64 = (<u64>1) << 63;

/** REMOVED_SPTE, or FROZEN_SPTE of later kernels. */
export function removedSpte(): Spte {
  return hasTdpRule(TDP_RULE_SUPPRESS_VE) ? REMOVED_SPTE | SUPPRESS_VE : REMOVED_SPTE;
}

export const ROOT_LEVEL: u32 = 4;

/** Role of every table of the VM: direct, all rights. */
export function tdpRole(level: u32, efer: u32): u32 {
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
  if (!hasFeature(KVM_FEATURE_EARLY_TRACES)) trace(EVENT_SP_GET, 0, ROOT_LEVEL, role, 2);
  store<u32>(KVM, <u32>root, KVM_TDP_ROOT);
  return root;
}

/** kvm_tdp_mmu_put_root: the root goes; its tables are empty, or go with it (kvm_tdp_mmu_free_root() of 5.10). */
export function tdpPutRoot(): void {
  const root = <usize>load<u32>(KVM, KVM_TDP_ROOT);
  if (root == 0) return;
  if (hasFeature(KVM_FEATURE_TDP_WHOLE_TABLES)) zapTop(spTable(root));
  store<u32>(KVM, 0, KVM_TDP_ROOT);
  activeRemove(root);
  spFree(root);
}

/** Entry of a table at `level` that maps `gfn`. */
export function tdpIndex(gfn: Gfn, level: u32): usize {
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
  if (hasFeature(KVM_FEATURE_TDP_WHOLE_TABLES)) {
    emptyTable(sp, level);
    return;
  }
  trace(EVENT_SP_ZAP, load<u32>(sp, SP_GFN), level, load<u32>(sp, SP_ROLE));
  const table = spTable(sp);
  const removed = removedSpte();
  for (let i: usize = 0; i < 512; i++) {
    const sptep = table + (i << 3);
    const old = load<u64>(sptep);
    if (!shared && !isShadowPresentPte(old)) continue;
    changeTdpSpte(sptep, removed, true, shared);
  }
  activeRemove(sp);
  spFree(sp);
}

/** The same in 5.10: the table is emptied, and flushed by itself before it is freed. */
function emptyTable(sp: usize, level: u32): void {
  const table = spTable(sp);
  for (let i: usize = 0; i < 512; i++) changeTdpSpte(table + (i << 3), 0, true, false);
  trace(EVENT_FLUSH_REMOTE_TLBS_RANGE, load<u32>(sp, SP_GFN), pagesPerHpage(level + 1));
  flushRemoteTlbs();
  activeRemove(sp);
  spFree(sp);
}

/** __handle_changed_spte: writes an entry and does what follows from the change. `tracked`: an A bit
 *  that is lost is handed to the mm. */
export function changeTdpSpte(sptep: Sptep, spte: Spte, tracked: bool, shared: bool): void {
  const old = load<u64>(sptep);
  if (old == spte) return;
  store<u64>(sptep, spte);
  handleChangedSpte(sptep, old, spte, tracked, shared);
}

/** What follows from the change of an entry that was made. */
export function handleChangedSpte(
  sptep: Sptep,
  old: Spte,
  spte: Spte,
  tracked: bool,
  shared: bool,
): void {
  const sp = sptepToSp(sptep);
  const level = spLevel(sp);
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

/** zap_gfn_range() of 5.10 for all frames: each entry of the root with all below it; whether there was one. */
function zapTop(top: usize): bool {
  let flush = false;
  for (let i: usize = 0; i < 512; i++) {
    const sptep = top + (i << 3);
    if (!isShadowPresentPte(load<u64>(sptep))) continue;
    changeTdpSpte(sptep, 0, true, false);
    flush = true;
  }
  return flush;
}

/** __tdp_mmu_zap_root: the present entries at `level` below a table go. */
function zapLevel(table: usize, at: u32, level: u32, shared: bool): void {
  for (let i: usize = 0; i < 512; i++) {
    const sptep = table + (i << 3);
    const spte = load<u64>(sptep);
    if (!isShadowPresentPte(spte)) continue;
    if (at == level) changeTdpSpte(sptep, 0, true, shared);
    else if (!isLastSpte(spte, at)) zapLevel(<usize>(spte & SPTE_PFN_MASK), at - 1, level, shared);
  }
}

/**
 * kvm_tdp_mmu_zap_all (`shared` 0) and the zap of invalidated roots after a memslot went (`shared`
 * 1): below the root first at 1 GiB entries, then the root's own; or all levels, smallest entries first.
 */
export function tdpZapAll(shared: u32): void {
  const root = <usize>load<u32>(KVM, KVM_TDP_ROOT);
  if (root == 0) return;
  if (hasFeature(KVM_FEATURE_TDP_WHOLE_TABLES)) {
    if (zapTop(spTable(root))) flushRemoteTlbs();
    return;
  }
  const first: u32 = hasTdpRule(TDP_RULE_ZAP_UPWARDS) ? 1 : ROOT_LEVEL - 1;
  for (let level = first; level <= ROOT_LEVEL; level++) {
    zapLevel(spTable(root), ROOT_LEVEL, level, shared != 0);
  }
}
