// Shadow pages by gfn and role, and the links between them (cf. mmu.c: kvm_mmu_get_shadow_page, link_shadow_page,
// 6.1).

import {
  ACC_ALL,
  ACC_PKEY_SHIFT,
  CR0_WP,
  CR4_PKE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_NXE,
  EVENT_SP_GET,
  KVM_FEATURE_LATE_SYNC,
  KVM_FEATURE_LOCAL_FLUSH,
  KVM_INDIRECT_SHADOW_PAGES,
  REQ_MMU_SYNC,
  ROLE_ACCESS_SHIFT,
  ROLE_AD_DISABLED,
  ROLE_CR0_WP,
  ROLE_DIRECT,
  ROLE_EFER_NX,
  ROLE_LEVEL_MASK,
  ROLE_PKE_ANDNOT_WP,
  ROLE_PKEY_SHIFT,
  ROLE_SMAP_ANDNOT_WP,
  ROLE_SMEP_ANDNOT_WP,
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
  VCPU_REQUESTS,
} from '../abi';
import { SHADOW_PAGES_CREATED } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Gfn, Sptep } from '../types';
import {
  flushRemoteTlbs,
  flushRemoteTlbsRange,
  flushRemoteTlbsSptep,
  linksChanged,
  requestFlushCurrent,
} from './flush';
import { pagingRootLevel } from './guest_pte';
import { adDisabled, hasFeature, KVM } from './kvm';
import { disallowLpage, gfnToMemslot } from './memslot';
import { gfnTrack } from './page_track';
import { pteListAdd } from './rmap';
import {
  hashFirst,
  nextValidSp,
  spAlloc,
  spDirect,
  spNotePresent,
  spObsolete,
  spTable,
  spteIndex,
  sptepToSp,
} from './shadow_page';
import { isLargePte, isShadowPresentPte, makeNonleafSpte } from './spte';
import { markUnsync, syncPage, syncPagesOf } from './sync';
import { writeProtectGfn } from './write_protect';
import { commitZapPage, dropSpte, flushOrZap, prepareZapPage } from './zap';

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
  if (!writeProtectGfn(slot, gfn, 1)) return;
  // Above leaf tables it is write tracking that protects, and flushes.
  if (level > 1) flushRemoteTlbs();
  else flushRemoteTlbsRange(gfn, 1);
}

/** kvm_mmu_get_shadow_page: the table for (gfn, role), made if there is none. */
function getShadowPage(vcpu: usize, gfn: Gfn, role: u32): usize {
  const late = hasFeature(KVM_FEATURE_LATE_SYNC);
  const upper = (role & ROLE_LEVEL_MASK) > 1;
  let unsync = false;
  let sp = nextValidSp(hashFirst(gfn), gfn);
  while (sp != 0) {
    const next = <usize>load<u32>(sp, SP_HASH_NEXT);
    if (load<u32>(sp, SP_UNSYNC) != 0) unsync = true;
    if (load<u32>(sp, SP_ROLE) == role) break;
    // The guest makes an upper-level table of this page: unsync leaf tables of it are given up.
    if (upper && !late && load<u32>(sp, SP_UNSYNC) != 0) prepareZapPage(sp);
    sp = nextValidSp(next, gfn);
  }
  if (sp != 0) sp = foundShadowPage(vcpu, sp);
  let created: u32 = 0;
  let flush: bool = false;
  if (sp == 0) {
    sp = spAlloc(gfn, role);
    bump(SHADOW_PAGES_CREATED);
    created = 2;
    if ((role & ROLE_DIRECT) == 0) {
      accountShadowed(gfn, role & ROLE_LEVEL_MASK);
      if (upper && late && unsync) flush = syncPagesOf(vcpu, gfn);
    }
  }
  if (!late) commitZapPage();
  trace(EVENT_SP_GET, gfn, role & ROLE_LEVEL_MASK, role, created | load<u32>(sp, SP_UNSYNC));
  if (late) flushOrZap(vcpu, false, flush);
  return sp;
}

/** A table that is there already is used once it is in sync; 0: it could not be, and is being zapped. */
function foundShadowPage(vcpu: usize, sp: usize): usize {
  if (spDirect(sp)) return sp;
  if (load<u32>(sp, SP_UNSYNC) != 0) {
    const flush = syncPage(vcpu, sp);
    if (spObsolete(sp)) return 0;
    if (flush && hasFeature(KVM_FEATURE_LOCAL_FLUSH)) requestFlushCurrent(vcpu);
    else if (flush) flushRemoteTlbs();
  }
  if (load<u32>(sp, SP_UNSYNC_CHILDREN) != 0 && hasFeature(KVM_FEATURE_LATE_SYNC)) {
    store<u32>(vcpu, load<u32>(vcpu, VCPU_REQUESTS) | REQ_MMU_SYNC, VCPU_REQUESTS);
  }
  store<u32>(sp, 0, SP_WRITE_FLOODING);
  return sp;
}

/** mmu_alloc_root: the root table for a cr3, with a reference. */
export function getRoot(vcpu: usize, gfn: Gfn): usize {
  const root = getShadowPage(vcpu, gfn, rootRole(vcpu));
  store<u32>(root, load<u32>(root, SP_ROOT_COUNT) + 1, SP_ROOT_COUNT);
  return root;
}

/** link_shadow_page. */
export function linkShadowPage(sptep: Sptep, sp: usize): void {
  const parent = sptepToSp(sptep);
  if (isShadowPresentPte(load<u64>(sptep))) {
    // A large mapping gives way to a table.
    dropSpte(sptep);
    flushRemoteTlbsSptep(sptep);
  }
  store<u64>(sptep, makeNonleafSpte(spTable(sp), adDisabled));
  spNotePresent(parent, spteIndex(sptep));
  pteListAdd(sp + <usize>SP_PARENT_PTES, sptep);
  linksChanged();
  if (load<u32>(sp, SP_UNSYNC) != 0 || load<u32>(sp, SP_UNSYNC_CHILDREN) != 0) markUnsync(sptep);
}

/** kvm_mmu_get_child_sp: 0 when the entry already points to a table. */
export function getChildSp(vcpu: usize, sptep: Sptep, gfn: Gfn, direct: bool, access: u32): usize {
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
