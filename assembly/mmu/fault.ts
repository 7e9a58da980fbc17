// Installing a translation after a shadow page fault (cf. paging_tmpl.h, FNAME(fetch), and mmu.c:
// kvm_mmu_get_shadow_page, mmu_set_spte, 6.1). The caller holds mmu_lock, has walked the guest's
// tables (VCPU_WALK_*), looked the host page up and checked that no invalidation ran meanwhile.

import {
  ACC_EXEC_MASK,
  ACC_PKEY_SHIFT,
  ACC_USER_MASK,
  ACC_WRITE_MASK,
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  CR0_WP,
  CR4_PKE,
  CR4_SMAP,
  CR4_SMEP,
  EVENT_MARK_MMIO_SPTE,
  EVENT_SPTE_REQUESTED,
  EVENT_SPTE_SET,
  KVM_FEATURE_EARLY_TRACES,
  KVM_FEATURE_LATE_SYNC,
  KVM_FEATURE_USER_UNSHADOWS,
  KVM_FEATURE_WP0_KEEPS_USER,
  KVM_LAST_PT_WRITE_COUNT,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_N_MAX_MMU_PAGES,
  KVM_N_USED_MMU_PAGES,
  RET_PF_EMULATE,
  RET_PF_REWALK,
  RET_PF_SPURIOUS,
  SLOT_BASE_GFN,
  SLOT_FLAGS,
  SLOT_HVN,
  SLOT_MM,
  SP_ROOT_COUNT,
  SP_UNSYNC_CHILDREN,
  SP_WRITE_FLOODING,
  VCPU_CR0,
  VCPU_CR4,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GVA,
  VCPU_PKRU,
  VCPU_ROOT,
  VCPU_WALK_GFN,
  VCPU_WALK_INDEX,
  VCPU_WALK_LEVEL,
  VCPU_WALK_LEVEL_ACCESS,
  VCPU_WALK_PKEY,
  VCPU_WALK_PTE,
  VCPU_WALK_PTE_ACCESS,
  VCPU_WALK_TABLE_GFN,
} from '../abi';
import { SHADOW_PAGES_RECYCLED, SHADOW_PAGES_UNSYNC } from '../counters';
import { trace } from '../events';
import { hpmdp } from '../mm/pmd';
import { bump, STATS } from '../stats';
import { Gfn, Pfn, Sptep } from '../types';
import { flushRemoteTlbs, flushRemoteTlbsSptep } from './flush';
import { isUserAccess, pagingRootLevel } from './guest_pte';
import { hasFeature, KVM } from './kvm';
import { gfnToMemslot, guestPagePtr, lpageInfo, pagesPerHpage } from './memslot';
import { ptePrefetch } from './prefetch';
import { gfnShadowed, mmuUnprotectPage } from './pte_write';
import { setSpte } from './set_spte';
import {
  activeLast,
  activePrev,
  spDirect,
  spDirectAccess,
  spTable,
  sptepToSp,
  tableToSp,
} from './shadow_page';
import { getChildSp, linkShadowPage } from './shadow_tables';
import { isLargePte, isShadowPresentPte, makeMmioSpte } from './spte';
import { syncChildren, tryToUnsyncPages } from './sync';
import { commitZapPage, dropParentPte, dropSpte, prepareZapPage, spteToChild } from './zap';

/** KVM_MIN_FREE_MMU_PAGES and KVM_REFILL_PAGES. */
const MIN_FREE_MMU_PAGES: u32 = 5;
const REFILL_PAGES: u32 = 25;

/** Entry of a table at `level` that translates `gva`. */
function shadowIndex(gva: u64, level: u32): usize {
  return (<usize>(gva >> (<u64>(12 + (level - 1) * 9)))) & 511;
}

/** Nothing ran since the walk: the guest's entries are what it read. */
let walkIsFresh: bool = false;

/** Says that nothing ran (or may have run again) since the guest walk that is mapped next. */
export function setWalkFresh(fresh: bool): void {
  walkIsFresh = fresh;
}

/** gpte_changed: whether the guest entry of a level is no longer what the walk read. */
function gpteChanged(vcpu: usize, level: u32): bool {
  if (walkIsFresh) return false;
  const table = guestPagePtr(load<u32>(vcpu + ((<usize>level) << 2), VCPU_WALK_TABLE_GFN));
  if (table == 0) return true;
  const index = <usize>load<u32>(vcpu + ((<usize>level) << 2), VCPU_WALK_INDEX);
  return load<u64>(table + (index << 3)) != load<u64>(vcpu + ((<usize>level) << 3), VCPU_WALK_PTE);
}

/** A fault that is no write to a shadowed table starts the count of such writes over (until 2.6.38). */
function resetForkDetector(result: u32): void {
  if (result != RET_PF_EMULATE) store<u32>(KVM, 0, KVM_LAST_PT_WRITE_COUNT);
}

/** Level at which the host maps the page: 2 for a huge pmd (host_pfn_mapping_level). */
function hostMappingLevel(slot: usize, gfn: Gfn): u32 {
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  return hpmdp(load<u32>(slot, SLOT_MM), hvn) != 0 ? 2 : 1;
}

/** kvm_mmu_max_mapping_level and kvm_mmu_hugepage_adjust: the level to map at. */
export function hugepageAdjust(slot: usize, gfn: Gfn, maxLevel: u32): u32 {
  if (maxLevel == 1 || (load<u32>(slot, SLOT_FLAGS) & KVM_MEM_LOG_DIRTY_PAGES) != 0) return 1;
  let level = min<u32>(maxLevel, 3);
  while (level > 1 && load<i32>(lpageInfo(slot, gfn, level)) != 0) level--;
  return level == 1 ? 1 : min<u32>(level, hostMappingLevel(slot, gfn));
}

/** is_self_change_mapping: whether the page that is mapped holds one of the tables of the walk. */
function isSelfChangeMapping(vcpu: usize, gfn: Gfn, access: u32, flags: u32): bool {
  const wp = (load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0;
  if ((access & ACC_WRITE_MASK) == 0 && (wp || isUserAccess(flags))) return false;
  const leaf = load<u32>(vcpu, VCPU_WALK_LEVEL);
  const mask = ~(pagesPerHpage(leaf) - 1);
  const root = pagingRootLevel(vcpu);
  for (let level = leaf; level <= root; level++) {
    const table = load<u32>(vcpu + ((<usize>level) << 2), VCPU_WALK_TABLE_GFN);
    if (((gfn ^ table) & mask) == 0) return true;
  }
  return false;
}

/** The rights to map with: CR0.WP=0 lets a supervisor write through a read-only page, which then
 *  must not be a user page any more (and, under SMEP, must not be fetched from). */
function wpAdjust(vcpu: usize, access: u32, flags: u32): u32 {
  if ((flags & ACCESS_KIND_MASK) != ACCESS_WRITE || (access & ACC_WRITE_MASK) != 0) return access;
  if ((load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0 || isUserAccess(flags)) return access;
  if (hasFeature(KVM_FEATURE_WP0_KEEPS_USER)) return access | ACC_WRITE_MASK;
  access = (access | ACC_WRITE_MASK) & ~ACC_USER_MASK;
  if ((load<u32>(vcpu, VCPU_CR4) & CR4_SMEP) != 0) access &= ~ACC_EXEC_MASK;
  return access;
}

/**
 * Ours: whether an access that the guest allows is one that no spte can allow without allowing too
 * much, so that it is emulated and nothing is mapped. Only with CR0.WP=0, where the hardware's WP
 * stays 1: a user page made a supervisor one by wpAdjust() would escape SMAP (EFLAGS.AC changes
 * without an exit) and protection keys (so does PKRU), and a write-disabled key would still deny the
 * supervisor's write. KVM maps the page in the first case and hides PKU from the guest in the others.
 */
function mustEmulate(vcpu: usize, access: u32, flags: u32): bool {
  if ((flags & ACCESS_KIND_MASK) != ACCESS_WRITE || isUserAccess(flags)) return false;
  if ((load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0 || (access & ACC_USER_MASK) == 0) return false;
  const cr4 = load<u32>(vcpu, VCPU_CR4);
  if ((access & ACC_WRITE_MASK) == 0) return (cr4 & (CR4_SMAP | CR4_PKE)) != 0;
  if ((cr4 & CR4_PKE) == 0) return false;
  const key = load<u32>(vcpu, VCPU_PKRU) >> ((access >> ACC_PKEY_SHIFT) << 1);
  return (key & 2) != 0;
}

/** make_mmu_pages_available: stays under the limit by zapping the oldest tables. */
function makeMmuPagesAvailable(): void {
  const limit = load<u32>(KVM, KVM_N_MAX_MMU_PAGES);
  const used = load<u32>(KVM, KVM_N_USED_MMU_PAGES);
  if (limit == 0 || used + MIN_FREE_MMU_PAGES <= limit) return;
  const free = used < limit ? limit - used : 0;
  const target = used - min<u32>(used, REFILL_PAGES - free);
  let sp = activeLast();
  while (sp != 0 && load<u32>(KVM, KVM_N_USED_MMU_PAGES) > target) {
    const prev = activePrev(sp);
    if (load<u32>(sp, SP_ROOT_COUNT) == 0) {
      bump(SHADOW_PAGES_RECYCLED);
      prepareZapPage(sp);
      // Zapping may take children along: start over from the oldest.
      sp = activeLast();
      continue;
    }
    sp = prev;
  }
  commitZapPage();
}

/** Walks down from the root to the guest's leaf level, shadowing the guest tables on the way.
 *  Returns the sptep of that level, or 0 when the guest changed its tables meanwhile. */
function fetchTables(vcpu: usize, gva: u64): Sptep {
  const rootLevel = pagingRootLevel(vcpu);
  const leaf = load<u32>(vcpu, VCPU_WALK_LEVEL);
  if (gpteChanged(vcpu, rootLevel)) return 0;
  let sp = tableToSp(<usize>load<u32>(vcpu, VCPU_ROOT));
  for (let level = rootLevel; level > leaf; level--) {
    store<u32>(sp, 0, SP_WRITE_FLOODING);
    const sptep = spTable(sp) + (shadowIndex(gva, level) << 3);
    const at = vcpu + ((<usize>(level - 1)) << 2);
    const access = load<u32>(at, VCPU_WALK_LEVEL_ACCESS);
    const child = getChildSp(vcpu, sptep, load<u32>(at, VCPU_WALK_TABLE_GFN), false, access);
    // A table must be in sync before it is linked: the guest need not flush for an entry that
    // becomes present.
    const unsync = child != 0 && load<u32>(child, SP_UNSYNC_CHILDREN) != 0;
    if (unsync && !hasFeature(KVM_FEATURE_LATE_SYNC)) syncChildren(vcpu, child);
    if (gpteChanged(vcpu, level - 1)) return 0;
    if (child != 0) linkShadowPage(sptep, child);
    sp = spteToChild(load<u64>(sptep));
  }
  return spTable(sp) + (shadowIndex(gva, leaf) << 3);
}

/** A guest large page over smaller host pages: direct tables below the guest's leaf level. */
function fetchDirect(vcpu: usize, gva: u64, sptep: Sptep, gfn: Gfn, goal: u32, access: u32): Sptep {
  let level = load<u32>(vcpu, VCPU_WALK_LEVEL);
  while (level > goal) {
    store<u32>(sptepToSp(sptep), 0, SP_WRITE_FLOODING);
    const spte = load<u64>(sptep);
    // validate_direct_spte: a table made for other rights is another table.
    if (isShadowPresentPte(spte) && !isLargePte(spte)) {
      const child = spteToChild(spte);
      if (spDirectAccess(child) != access || !spDirect(child)) {
        dropParentPte(child, sptep);
        flushRemoteTlbsSptep(sptep);
      }
    }
    const base = gfn & ~(pagesPerHpage(level) - 1);
    const child = getChildSp(vcpu, sptep, base, true, access);
    if (child != 0) linkShadowPage(sptep, child);
    level--;
    sptep = spTable(spteToChild(load<u64>(sptep))) + (shadowIndex(gva, level) << 3);
  }
  return sptep;
}

/**
 * mmu_unshadow: what a user process writes is no page table any more. A table of the very walk is one: its
 * shadow would be made anew at once, so that write is emulated.
 */
function unshadowForUser(vcpu: usize): void {
  const flags = load<u32>(vcpu, VCPU_FAULT_FLAGS);
  if ((flags & ACCESS_KIND_MASK) != ACCESS_WRITE || !isUserAccess(flags)) return;
  const gfn = load<u32>(vcpu, VCPU_WALK_GFN);
  const root = pagingRootLevel(vcpu);
  for (let level = load<u32>(vcpu, VCPU_WALK_LEVEL); level <= root; level++) {
    if (load<u32>(vcpu + ((<usize>level) << 2), VCPU_WALK_TABLE_GFN) == gfn) return;
  }
  mmuUnprotectPage(gfn);
}

/** kvm_mmu_spte_requested: of the frame at the level that is mapped, or of the gva at the guest's. */
function traceRequested(gva: u64, leaf: u32, gfn: Gfn, goal: u32): void {
  if (!hasFeature(KVM_FEATURE_EARLY_TRACES)) trace(EVENT_SPTE_REQUESTED, gfn, goal);
  else trace(EVENT_SPTE_REQUESTED, <u32>(gva >> 12), leaf, <u32>(gva >> 44));
}

/**
 * FNAME(fetch): maps the access that VCPU_WALK_* describes to the host page `pfn`. RET_PF_*;
 * RET_PF_REWALK when the guest's tables changed since the walk.
 */
export function shadowMap(vcpu: usize, pfn: Pfn, hostWritable: u32): u32 {
  if (hasFeature(KVM_FEATURE_USER_UNSHADOWS)) unshadowForUser(vcpu);
  makeMmuPagesAvailable();
  const gva = load<u64>(vcpu, VCPU_FAULT_GVA);
  const flags = load<u32>(vcpu, VCPU_FAULT_FLAGS);
  const gfn = load<u32>(vcpu, VCPU_WALK_GFN);
  const write = (flags & ACCESS_KIND_MASK) == ACCESS_WRITE;
  const slot = gfnToMemslot(gfn);
  const walked =
    load<u32>(vcpu, VCPU_WALK_PTE_ACCESS) | (load<u32>(vcpu, VCPU_WALK_PKEY) << ACC_PKEY_SHIFT);
  if (mustEmulate(vcpu, walked, flags)) return RET_PF_EMULATE;
  const selfChange = isSelfChangeMapping(vcpu, gfn, walked, flags);
  const access = wpAdjust(vcpu, walked, flags);
  const leaf = load<u32>(vcpu, VCPU_WALK_LEVEL);
  let sptep = fetchTables(vcpu, gva);
  if (sptep == 0) return RET_PF_REWALK;
  const goal = hugepageAdjust(slot, gfn, selfChange ? 1 : leaf);
  traceRequested(gva, leaf, gfn, goal);
  sptep = fetchDirect(vcpu, gva, sptep, gfn, goal, access);
  store<u32>(sptepToSp(sptep), 0, SP_WRITE_FLOODING);
  const within = gfn & (pagesPerHpage(goal) - 1);
  const result = setSpte(
    vcpu,
    slot,
    sptep,
    access,
    gfn - within,
    pfn - within,
    false,
    write,
    hostWritable != 0,
  );
  if (result != RET_PF_SPURIOUS) ptePrefetch(vcpu, sptep);
  resetForkDetector(result);
  return result;
}

/** mark_mmio_spte: an access outside all slots; the next one is recognised by the spte. */
export function shadowMapMmio(vcpu: usize, generation: u32): u32 {
  const gva = load<u64>(vcpu, VCPU_FAULT_GVA);
  let sptep = fetchTables(vcpu, gva);
  if (sptep == 0) return RET_PF_REWALK;
  const gfn = load<u32>(vcpu, VCPU_WALK_GFN);
  const access = load<u32>(vcpu, VCPU_WALK_PTE_ACCESS);
  traceRequested(gva, load<u32>(vcpu, VCPU_WALK_LEVEL), gfn, 1);
  sptep = fetchDirect(vcpu, gva, sptep, gfn, 1, access);
  const mapped = isShadowPresentPte(load<u64>(sptep));
  if (mapped) dropSpte(sptep);
  const spte = makeMmioSpte(gfn, access, generation);
  store<u64>(sptep, spte);
  trace(EVENT_MARK_MMIO_SPTE, gfn, access, generation);
  if (mapped) flushRemoteTlbs();
  if (hasFeature(KVM_FEATURE_EARLY_TRACES)) {
    trace(EVENT_SPTE_SET, gfn, <u32>spte, <u32>(spte >> 32), 1);
  }
  ptePrefetch(vcpu, sptep);
  return RET_PF_EMULATE;
}

/**
 * The guest writes a page that may be one of its tables: 0 it is free to, 1 the write must be
 * emulated, 2 it may after this exit, which let the shadow of the table go unsync.
 */
export function guestTableWrite(gfn: Gfn): u32 {
  const slot = gfnToMemslot(gfn);
  if (slot == 0 || gfnShadowed(gfn) == 0) return 0;
  const unsync = load<u64>(STATS + ((<usize>SHADOW_PAGES_UNSYNC) << 3));
  if (tryToUnsyncPages(slot, gfn, true, false)) return 1;
  return load<u64>(STATS + ((<usize>SHADOW_PAGES_UNSYNC) << 3)) != unsync ? 2 : 0;
}
