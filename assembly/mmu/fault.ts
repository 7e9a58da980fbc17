// Installing a translation after a shadow page fault (cf. paging_tmpl.h, FNAME(fetch), and mmu.c:
// kvm_mmu_get_shadow_page, mmu_set_spte, 6.1). The caller holds mmu_lock, has walked the guest's
// tables (VCPU_WALK_*), looked the host page up and checked that no invalidation ran meanwhile.

import {
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  ACC_ALL,
  ACC_EXEC_MASK,
  ACC_PKEY_SHIFT,
  ACC_USER_MASK,
  ACC_WRITE_MASK,
  CR0_WP,
  CR4_PKE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_NXE,
  EVENT_HVA_TO_PFN,
  EVENT_HVA_TO_PFN_RET,
  EVENT_MARK_MMIO_SPTE,
  EVENT_SPTE_REQUESTED,
  EVENT_SPTE_SET,
  EVENT_SP_GET,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  KVM_FEATURE_PREFETCH,
  KVM_FEATURE_SPTE_PINS,
  KVM_FEATURE_UPDATE_PTE,
  KVM_FEATURE_USER_UNSHADOWS,
  KVM_FEATURE_WP0_KEEPS_USER,
  KVM_INDIRECT_SHADOW_PAGES,
  KVM_INVALIDATE_IN_PROGRESS,
  KVM_LAST_PT_WRITE_COUNT,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MAX_RMAP,
  KVM_N_MAX_MMU_PAGES,
  KVM_N_USED_MMU_PAGES,
  KVM_PFN_ERR_FAULT,
  RET_PF_EMULATE,
  RET_PF_FIXED,
  RET_PF_REWALK,
  RET_PF_SPURIOUS,
  ROLE_ACCESS_SHIFT,
  ROLE_AD_DISABLED,
  ROLE_CR0_WP,
  ROLE_DIRECT,
  ROLE_EFER_NX,
  ROLE_LEVEL_MASK,
  ROLE_PKEY_SHIFT,
  ROLE_PKE_ANDNOT_WP,
  ROLE_SMAP_ANDNOT_WP,
  ROLE_SMEP_ANDNOT_WP,
  SLOT_BASE_GFN,
  SLOT_FLAGS,
  SLOT_HVN,
  SLOT_MM,
  SPTE_BY_MMU_SET_SPTE,
  SP_GFN,
  SP_HASH_NEXT,
  SP_PARENT_PTES,
  SP_ROLE,
  SP_ROOT_COUNT,
  SP_UNSYNC,
  SP_UNSYNC_CHILDREN,
  SP_WRITE_FLOODING,
  VCPU_CR0,
  VCPU_CR4,
  VCPU_EFER,
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
import {
  SHADOW_PAGES_CREATED,
  SHADOW_PAGES_RECYCLED,
  SHADOW_PAGES_UNSYNC,
  SPTES_INSTALLED,
  SPTES_PREFETCHED,
  SPURIOUS_PAGE_FAULTS,
} from '../counters';
import { trace } from '../events';
import { getPage } from '../mm/frame';
import { folioMarkAccessed } from '../mm/mark_accessed';
import { gfnTrack } from './page_track';
import { folioSetReferenced } from './pfn';
import { hpmdp, hpteGet } from '../mm/pte';
import { bump, STATS } from '../stats';
import { Gfn, Pfn, Sptep } from '../types';
import { directPtePrefetch, PTE_PREFETCH_NUM } from './direct_prefetch';
import { flushRemoteTlbs, linksChanged } from './flush';
import { gpteToFrame, isUserAccess, pagingRootLevel } from './guest_pte';
import { adDisabled, hasFeature, KVM } from './kvm';
import { makeSpte, wrprot } from './make_spte';
import {
  disallowLpage,
  gfnMapped,
  gfnToMemslot,
  gfnToRmap,
  guestPagePtr,
  guestTablePtr,
  lpageInfo,
  noteRmapLevel,
  pagesPerHpage,
  slotReadonly,
} from './memslot';
import { pteListAdd } from './rmap';
import {
  activeLast,
  activePrev,
  hashFirst,
  nextValidSp,
  spAlloc,
  spDirect,
  spDirectAccess,
  spLevel,
  spNotePresent,
  spSetTranslation,
  spTable,
  spteIndex,
  sptepToSp,
  tableToSp,
} from './shadow_page';
import { spteLruAdd, spteLruOn } from './spte_lru';
import { isLargePte, isShadowPresentPte, makeMmioSpte, makeNonleafSpte, spteToPfn } from './spte';
import {
  gfnShadowed,
  markUnsync,
  mmuUnprotectPage,
  prefetchInvalidGpte,
  spteUpdate,
  syncChildren,
  syncedAccess,
  syncPage,
  tryToUnsyncPages,
  writeProtectGfn,
} from './sync';
import { commitZapPage, dropParentPte, dropSpte, prepareZapPage, spteToChild } from './zap';

/** KVM_MIN_FREE_MMU_PAGES and KVM_REFILL_PAGES. */
const MIN_FREE_MMU_PAGES: u32 = 5;
const REFILL_PAGES: u32 = 25;

/** Entry of a table at `level` that translates `gva`. */
function shadowIndex(gva: u64, level: u32): usize {
  return (<usize>(gva >> (<u64>(12 + (level - 1) * 9)))) & 511;
}

/** Role of the vCPU's root: what its tables depend on besides cr3. */
export function rootRole(vcpu: usize): u32 {
  const wp = (load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0;
  const cr4 = load<u32>(vcpu, VCPU_CR4);
  let role = pagingRootLevel(vcpu) | (ACC_ALL << ROLE_ACCESS_SHIFT);
  if ((load<u32>(vcpu, VCPU_EFER) & EFER_NXE) != 0) role |= ROLE_EFER_NX;
  if (wp) role |= ROLE_CR0_WP;
  if (adDisabled) role |= ROLE_AD_DISABLED;
  if (!wp && (cr4 & CR4_SMEP) != 0) role |= ROLE_SMEP_ANDNOT_WP;
  if (!wp && (cr4 & CR4_SMAP) != 0) role |= ROLE_SMAP_ANDNOT_WP;
  if (!wp && (cr4 & CR4_PKE) != 0) role |= ROLE_PKE_ANDNOT_WP;
  return role;
}

/** account_shadowed: from now on writes to the guest table are seen. */
function accountShadowed(gfn: Gfn, level: u32): void {
  store<u32>(KVM, load<u32>(KVM, KVM_INDIRECT_SHADOW_PAGES) + 1, KVM_INDIRECT_SHADOW_PAGES);
  const slot = gfnToMemslot(gfn);
  if (slot == 0) return;
  if (level > 1) gfnTrack(slot, gfn, 1);
  disallowLpage(slot, gfn, 1);
  if (writeProtectGfn(slot, gfn, 1)) flushRemoteTlbs();
}

/** kvm_mmu_get_shadow_page: the table for (gfn, role), made if there is none. */
export function getShadowPage(vcpu: usize, gfn: Gfn, role: u32): usize {
  let sp = nextValidSp(hashFirst(gfn), gfn);
  while (sp != 0) {
    const next = <usize>load<u32>(sp, SP_HASH_NEXT);
    if (load<u32>(sp, SP_ROLE) == role) break;
    // The guest makes an upper-level table of this page: unsync leaf tables of it are given up.
    if ((role & ROLE_LEVEL_MASK) > 1 && load<u32>(sp, SP_UNSYNC) != 0) prepareZapPage(sp);
    sp = nextValidSp(next, gfn);
  }
  let created: u32 = 0;
  if (sp != 0) {
    if ((role & ROLE_DIRECT) == 0) {
      if (load<u32>(sp, SP_UNSYNC) != 0 && syncPage(vcpu, sp)) flushRemoteTlbs();
      store<u32>(sp, 0, SP_WRITE_FLOODING);
    }
  } else {
    sp = spAlloc(gfn, role);
    bump(SHADOW_PAGES_CREATED);
    created = 2;
    if ((role & ROLE_DIRECT) == 0) accountShadowed(gfn, role & ROLE_LEVEL_MASK);
  }
  commitZapPage();
  trace(EVENT_SP_GET, gfn, role & ROLE_LEVEL_MASK, role, created | load<u32>(sp, SP_UNSYNC));
  return sp;
}

/** mmu_alloc_root: the root table for a cr3, with a reference. */
export function getRoot(vcpu: usize, gfn: Gfn): usize {
  const root = getShadowPage(vcpu, gfn, rootRole(vcpu));
  store<u32>(root, load<u32>(root, SP_ROOT_COUNT) + 1, SP_ROOT_COUNT);
  return root;
}

/** link_shadow_page. */
function linkShadowPage(sptep: Sptep, sp: usize): void {
  const parent = sptepToSp(sptep);
  if (isShadowPresentPte(load<u64>(sptep))) {
    // A large mapping gives way to a table.
    dropSpte(sptep);
    flushRemoteTlbs();
  }
  store<u64>(sptep, makeNonleafSpte(spTable(sp), adDisabled));
  spNotePresent(parent, spteIndex(sptep));
  pteListAdd(sp + <usize>SP_PARENT_PTES, sptep);
  linksChanged();
  if (load<u32>(sp, SP_UNSYNC) != 0 || load<u32>(sp, SP_UNSYNC_CHILDREN) != 0) markUnsync(sptep);
}

/** kvm_mmu_get_child_sp: 0 when the entry already points to a table. */
function getChildSp(vcpu: usize, sptep: Sptep, gfn: Gfn, direct: bool, access: u32): usize {
  const spte = load<u64>(sptep);
  if (isShadowPresentPte(spte) && !isLargePte(spte)) return 0;
  const mask =
    ROLE_LEVEL_MASK | ROLE_DIRECT | (ACC_ALL << ROLE_ACCESS_SHIFT) | ((<u32>15) << ROLE_PKEY_SHIFT);
  const parent = load<u32>(sptepToSp(sptep), SP_ROLE);
  let role = (parent & ~mask) | ((parent & ROLE_LEVEL_MASK) - 1);
  role |= (access & ACC_ALL) << ROLE_ACCESS_SHIFT;
  if (direct) role |= ROLE_DIRECT | ((access >> ACC_PKEY_SHIFT) << ROLE_PKEY_SHIFT);
  return getShadowPage(vcpu, gfn, role);
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

/** Keeps the high-water mark that KVM's statistics show. */
function noteRmapSize(before: u32): void {
  if (before > load<u32>(KVM, KVM_MAX_RMAP)) store<u32>(KVM, before, KVM_MAX_RMAP);
}

/** mmu_set_spte: writes a leaf spte. `sptep` is in a table of `sp`; RET_PF_*. */
export function setSpte(
  slot: usize,
  sptep: Sptep,
  access: u32,
  gfn: Gfn,
  pfn: Pfn,
  prefetch: bool,
  writeFault: bool,
  hostWritable: bool,
): u32 {
  const sp = sptepToSp(sptep);
  const level = spLevel(sp);
  const index = spteIndex(sptep);
  let flush = false;
  let wasRmapped = false;
  let old = load<u64>(sptep);
  if (isShadowPresentPte(old)) {
    if (level > 1 && !isLargePte(old)) {
      dropParentPte(spteToChild(old), sptep);
      flush = true;
    } else if (pfn != spteToPfn(old)) {
      dropSpte(sptep);
      flush = true;
    } else {
      wasRmapped = true;
    }
    old = load<u64>(sptep);
  }
  const spte = makeSpte(sp, slot, access, gfn, pfn, old, prefetch, true, hostWritable);
  const refused = wrprot;
  let result = RET_PF_FIXED;
  if (old == spte) {
    result = RET_PF_SPURIOUS;
    bump(SPURIOUS_PAGE_FAULTS);
  } else {
    if (wasRmapped) {
      if (spteUpdate(sptep, spte, SPTE_BY_MMU_SET_SPTE, false)) flush = true;
    } else {
      store<u64>(sptep, spte);
    }
    trace(EVENT_SPTE_SET, gfn, <u32>spte, <u32>(spte >> 32), level);
  }
  if (refused && writeFault) result = RET_PF_EMULATE;
  if (flush) flushRemoteTlbs();
  if (wasRmapped) spSetTranslation(sp, index, gfn, access);
  else noteInstalled(slot, sp, sptep, level, access, gfn, pfn);
  if (prefetch && !wasRmapped) bump(SPTES_PREFETCHED);
  return result;
}

/** An spte was written where none was: its translation, rmap, notes and reference. */
function noteInstalled(
  slot: usize,
  sp: usize,
  sptep: Sptep,
  level: u32,
  access: u32,
  gfn: Gfn,
  pfn: Pfn,
): void {
  const index = spteIndex(sptep);
  spSetTranslation(sp, index, gfn, access);
  noteRmapLevel(level);
  noteRmapSize(pteListAdd(gfnToRmap(slot, gfn, level), sptep));
  if (spteLruOn) spteLruAdd(slot, gfn);
  store<u8>(gfnMapped(slot, gfn), 1);
  spNotePresent(sp, index);
  bump(SPTES_INSTALLED);
  if (hasFeature(KVM_FEATURE_SPTE_PINS)) getPage(pfn);
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
    if (child != 0 && load<u32>(child, SP_UNSYNC_CHILDREN) != 0) syncChildren(vcpu, child);
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
        flushRemoteTlbs();
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

/** prefetch_gpte: maps one neighbour if that is free of cost (`noDirtyLog`: not writable where dirty
 *  pages are logged); false: stop looking. */
function prefetchGpte(vcpu: usize, sp: usize, sptep: Sptep, gpte: u64, noDirtyLog: bool): bool {
  if (prefetchInvalidGpte(vcpu, sptep, gpte)) return false;
  const gfn = <u32>gpteToFrame(pagingRootLevel(vcpu), 1, gpte, true);
  const access = syncedAccess(sp, gpte);
  const slot = gfnToMemslot(gfn);
  if (slot == 0) return false;
  if (
    noDirtyLog &&
    (access & ACC_WRITE_MASK) != 0 &&
    (load<u32>(slot, SLOT_FLAGS) & KVM_MEM_LOG_DIRTY_PAGES) != 0
  ) {
    return false;
  }
  if (slotReadonly(slot)) return false;
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  trace(EVENT_HVA_TO_PFN, hvn);
  const hpte = hpteGet(load<u32>(slot, SLOT_MM), hvn);
  const pfn = hpte >> HPTE_PFN_SHIFT;
  // get_user_page_fast_only() with FOLL_WRITE.
  if ((hpte & (HPTE_PRESENT | HPTE_WRITE | HPTE_SWAP)) != (HPTE_PRESENT | HPTE_WRITE)) {
    trace(EVENT_HVA_TO_PFN_RET, hvn, pfn, KVM_PFN_ERR_FAULT);
    return false;
  }
  trace(EVENT_HVA_TO_PFN_RET, hvn, pfn, 0);
  folioSetReferenced(pfn);
  setSpte(slot, sptep, access, gfn, pfn, true, false, true);
  folioMarkAccessed(pfn);
  return true;
}

/** pte_prefetch: the group of eight around the entry that was mapped. */
export function ptePrefetch(vcpu: usize, sptep: Sptep): void {
  if (!hasFeature(KVM_FEATURE_PREFETCH)) return;
  if (load<u32>(KVM, KVM_INVALIDATE_IN_PROGRESS) != 0) return;
  const sp = sptepToSp(sptep);
  if (spLevel(sp) > 1) return;
  if (spDirect(sp)) {
    directPtePrefetch(sp, sptep);
    return;
  }
  const first = spteIndex(sptep) & ~(PTE_PREFETCH_NUM - 1);
  const gptes = guestPagePtr(load<u32>(sp, SP_GFN));
  if (gptes == 0) return;
  for (let i = first; i < first + PTE_PREFETCH_NUM; i++) {
    const at = spTable(sp) + ((<usize>i) << 3);
    if (at == sptep || isShadowPresentPte(load<u64>(at))) continue;
    if (!prefetchGpte(vcpu, sp, at, load<u64>(gptes + ((<usize>i) << 3)), true)) break;
  }
}

/** invlpg's and a guest fault's second look at one entry. */
export function prefetchOne(vcpu: usize, sptep: Sptep): void {
  const sp = sptepToSp(sptep);
  const gptes = guestTablePtr(load<u32>(sp, SP_GFN));
  if (gptes == 0) return;
  prefetchGpte(vcpu, sp, sptep, load<u64>(gptes + ((<usize>spteIndex(sptep)) << 3)), false);
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
  trace(EVENT_SPTE_REQUESTED, gfn, goal);
  sptep = fetchDirect(vcpu, gva, sptep, gfn, goal, access);
  store<u32>(sptepToSp(sptep), 0, SP_WRITE_FLOODING);
  const within = gfn & (pagesPerHpage(goal) - 1);
  const result = setSpte(
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
  trace(EVENT_SPTE_REQUESTED, gfn, 1);
  sptep = fetchDirect(vcpu, gva, sptep, gfn, 1, access);
  const mapped = isShadowPresentPte(load<u64>(sptep));
  if (mapped) dropSpte(sptep);
  store<u64>(sptep, makeMmioSpte(gfn, access, generation));
  trace(EVENT_MARK_MMIO_SPTE, gfn, access, generation);
  if (mapped) flushRemoteTlbs();
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

/** mmu_pte_write_new_pte: after an emulated write, leaf tables map the new entry ahead of its use. */
export function updatePte(vcpu: usize, gfn: Gfn, index: u32): void {
  if (!hasFeature(KVM_FEATURE_UPDATE_PTE)) return;
  let sp = nextValidSp(hashFirst(gfn), gfn);
  while (sp != 0) {
    const next = <usize>load<u32>(sp, SP_HASH_NEXT);
    if (!spDirect(sp) && spLevel(sp) == 1) prefetchOne(vcpu, spTable(sp) + ((<usize>index) << 3));
    sp = nextValidSp(next, gfn);
  }
}
