// Taking sptes and shadow pages away. To *drop* is about one spte and its rmap, to *zap* about a
// page or a range (cf. mmu.c: drop_spte, mmu_page_zap_pte, __kvm_mmu_prepare_zap_page).
//
// Zapping a page has two halves: prepareZapPage() unlinks it and chains it, commitZapPage() flushes
// the TLBs once and frees the chain. No table is freed while a TLB may still lead into it.

import {
  EVENT_KVM_SET_PFN_ACCESSED,
  EVENT_KVM_SET_PFN_DIRTY,
  EVENT_SP_SYNC,
  EVENT_SP_ZAP,
  EVENT_SPTE_ZAP,
  EVENT_ZAP_ALL_FAST,
  KVM_FEATURE_SPTE_PINS,
  KVM_INDIRECT_SHADOW_PAGES,
  KVM_MMU_VALID_GEN,
  KVM_N_USED_MMU_PAGES,
  REQ_MMU_FREE_OBSOLETE_ROOTS,
  ROLE_INVALID,
  ROLE_LEVEL_MASK,
  SPTE_BY_DROP_SPTE,
  SP_GFN,
  SP_INVALID_NEXT,
  SP_PARENT_PTES,
  SP_ROLE,
  SP_ROOT_COUNT,
  SP_UNSYNC,
  SP_UNSYNC_BITMAP,
  SP_UNSYNC_CHILDREN,
  VCPU_REQUESTS,
  ZERO_PFN,
} from '../abi';
import { SHADOW_PAGES_ZAPPED, SPTES_DROPPED } from '../counters';
import { isTracing, trace } from '../events';
import { putPage } from '../mm/frame';
import { folioMarkAccessed } from '../mm/mark_accessed';
import { setPageDirty } from '../mm/memory';
import { bump } from '../stats';
import { Spte, Sptep } from '../types';
import { vcpuCount, vcpuPtr } from '../vcpu';
import { flushRemoteTlbs, linksChanged, requestFlushCurrent } from './flush';
import { hasFeature, KVM } from './kvm';
import { disallowLpage, gfnToMemslot, gfnToRmap } from './memslot';
import { gfnTrack } from './page_track';
import { pteListRemove, rmapFirst } from './rmap';
import {
  activeFirst,
  activeLast,
  activeRemove,
  spDirect,
  spFree,
  spGfnOf,
  spLevel,
  spNextPresent,
  spNoteAbsent,
  spObsolete,
  spTable,
  spteIndex,
  sptepToSp,
  tableToSp,
} from './shadow_page';
import {
  isAccessedSpte,
  isDirtySpte,
  isLastSpte,
  isMmioSpte,
  isShadowPresentPte,
  SPTE_PFN_MASK,
  spteToPfn,
} from './spte';

/** Pages that prepareZapPage() chained and commitZapPage() will free. */
let invalidList: usize = 0;

/** kvm_set_pfn_accessed: the guest used the page. */
export function kvmSetPfnAccessed(pfn: u32): void {
  trace(EVENT_KVM_SET_PFN_ACCESSED, pfn);
  if (pfn != ZERO_PFN) folioMarkAccessed(pfn);
}

/** kvm_set_pfn_dirty: the guest wrote the page. */
export function kvmSetPfnDirty(pfn: u32): void {
  trace(EVENT_KVM_SET_PFN_DIRTY, pfn);
  setPageDirty(pfn);
}

/** Table that a non-leaf spte points to. */
export function spteToChild(spte: Spte): usize {
  return tableToSp(<usize>(spte & SPTE_PFN_MASK));
}

/** mmu_spte_clear_track_bits: clears a present leaf spte and hands its A and D bits to the mm. The
 *  caller takes care of the rmap. `by` is SPTE_BY_*. */
export function clearSpteTrackBits(sp: usize, sptep: Sptep, by: u32, accessed: bool): void {
  const old = load<u64>(sptep);
  const pfn = spteToPfn(old);
  if (accessed && isAccessedSpte(old)) kvmSetPfnAccessed(pfn);
  if (isDirtySpte(old)) kvmSetPfnDirty(pfn);
  // The gfn is looked up for the event alone.
  if (isTracing()) {
    trace(EVENT_SPTE_ZAP, <u32>old, <u32>(old >> 32), by, spGfnOf(sp, spteIndex(sptep)));
  }
  store<u64>(sptep, 0);
  spNoteAbsent(sp, spteIndex(sptep));
  bump(SPTES_DROPPED);
  if (hasFeature(KVM_FEATURE_SPTE_PINS)) putPage(pfn);
}

/** drop_spte: clears a leaf spte, if present, and takes it out of its rmap. */
export function dropSpte(sptep: Sptep): void {
  if (!isShadowPresentPte(load<u64>(sptep))) return;
  const sp = sptepToSp(sptep);
  const gfn = spGfnOf(sp, spteIndex(sptep));
  clearSpteTrackBits(sp, sptep, SPTE_BY_DROP_SPTE, true);
  const slot = gfnToMemslot(gfn);
  assert(slot != 0, 'a gfn with sptes has a slot');
  pteListRemove(gfnToRmap(slot, gfn, spLevel(sp)), sptep);
}

/** drop_parent_pte: unlinks a child table from one of its parents. */
export function dropParentPte(child: usize, parentPte: Sptep): void {
  pteListRemove(child + <usize>SP_PARENT_PTES, parentPte);
  linksChanged();
  store<u64>(parentPte, 0);
  spNoteAbsent(sptepToSp(parentPte), spteIndex(parentPte));
}

/** mmu_page_zap_pte: clears one entry of a table, leaf or not. */
export function zapPte(sp: usize, sptep: Sptep): void {
  const spte = load<u64>(sptep);
  if (isShadowPresentPte(spte)) {
    if (isLastSpte(spte, spLevel(sp))) dropSpte(sptep);
    else dropParentPte(spteToChild(spte), sptep);
  } else if (isMmioSpte(spte)) {
    store<u64>(sptep, 0);
  }
}

/** unaccount_shadowed: the guest table may be written freely again. */
function unaccountShadowed(sp: usize): void {
  store<u32>(KVM, load<u32>(KVM, KVM_INDIRECT_SHADOW_PAGES) - 1, KVM_INDIRECT_SHADOW_PAGES);
  const gfn = load<u32>(sp, SP_GFN);
  const slot = gfnToMemslot(gfn);
  if (slot == 0) return;
  if (spLevel(sp) > 1) gfnTrack(slot, gfn, -1);
  disallowLpage(slot, gfn, -1);
}

/** kvm_unlink_unsync_page. */
export function unlinkUnsyncPage(sp: usize): void {
  trace(EVENT_SP_SYNC, load<u32>(sp, SP_GFN), spLevel(sp), load<u32>(sp, SP_ROLE));
  store<u32>(sp, 0, SP_UNSYNC);
}

/** First child of `sp` that is unsync or leads to one, from `index` on; 512: none. */
export function nextUnsyncChild(sp: usize, index: u32): u32 {
  for (let i = index; i < 512; i++) {
    const word = load<u32>(sp + ((<usize>(i >> 5)) << 2), SP_UNSYNC_BITMAP);
    if (word == 0) i |= 31;
    else if ((word >> (i & 31)) & 1) return i;
  }
  return 512;
}

/** clear_unsync_child_bit. */
export function clearUnsyncChild(sp: usize, index: u32): void {
  const at = sp + ((<usize>(index >> 5)) << 2);
  store<u32>(at, load<u32>(at, SP_UNSYNC_BITMAP) & ~((<u32>1) << (index & 31)), SP_UNSYNC_BITMAP);
  store<u32>(sp, load<u32>(sp, SP_UNSYNC_CHILDREN) - 1, SP_UNSYNC_CHILDREN);
}

/** mmu_zap_unsync_children: unsync tables below a zapped one would be out of reach of a sync. */
function zapUnsyncChildren(sp: usize): void {
  if (load<u32>(sp, SP_UNSYNC_CHILDREN) == 0 || spLevel(sp) == 1) return;
  const table = spTable(sp);
  for (let i = nextUnsyncChild(sp, 0); i < 512; i = nextUnsyncChild(sp, i + 1)) {
    const spte = load<u64>(table + ((<usize>i) << 3));
    if (isShadowPresentPte(spte) && !isLastSpte(spte, spLevel(sp))) {
      const child = spteToChild(spte);
      zapUnsyncChildren(child);
      if (load<u32>(child, SP_UNSYNC) != 0) prepareZapPage(child);
    }
    clearUnsyncChild(sp, i);
  }
}

/** kvm_mmu_prepare_zap_page: unlinks a shadow page from everything and chains it for the commit. A
 *  root in use stays until its last user lets it go. */
export function prepareZapPage(sp: usize): void {
  const role = load<u32>(sp, SP_ROLE);
  trace(EVENT_SP_ZAP, load<u32>(sp, SP_GFN), role & ROLE_LEVEL_MASK, role);
  bump(SHADOW_PAGES_ZAPPED);
  zapUnsyncChildren(sp);
  const table = spTable(sp);
  for (let i = spNextPresent(sp, 0); i < 512; i = spNextPresent(sp, i + 1)) {
    zapPte(sp, table + ((<usize>i) << 3));
  }
  const parents = sp + <usize>SP_PARENT_PTES;
  for (let parent = rmapFirst(parents); parent != 0; parent = rmapFirst(parents)) {
    dropParentPte(sp, parent);
  }
  if ((role & ROLE_INVALID) == 0 && !spDirect(sp)) unaccountShadowed(sp);
  if (load<u32>(sp, SP_UNSYNC) != 0) unlinkUnsyncPage(sp);
  const inUse = load<u32>(sp, SP_ROOT_COUNT) != 0;
  // A page that is invalid already left the list when it was zapped as a root.
  if ((role & ROLE_INVALID) == 0) activeRemove(sp);
  if (!inUse) {
    store<u32>(sp, <u32>invalidList, SP_INVALID_NEXT);
    invalidList = sp;
    store<u32>(KVM, load<u32>(KVM, KVM_N_USED_MMU_PAGES) - 1, KVM_N_USED_MMU_PAGES);
  } else if (!spObsolete(sp)) {
    requestFreeObsoleteRoots();
  }
  store<u32>(sp, role | ROLE_INVALID, SP_ROLE);
}

/** Asks every vCPU to let go of roots that are obsolete, before it enters the guest again. */
export function requestFreeObsoleteRoots(): void {
  const count = vcpuCount();
  for (let i: u32 = 0; i < count; i++) {
    const vcpu = vcpuPtr(i);
    const requests = load<u32>(vcpu, VCPU_REQUESTS) | REQ_MMU_FREE_OBSOLETE_ROOTS;
    store<u32>(vcpu, requests, VCPU_REQUESTS);
  }
}

/** kvm_mmu_commit_zap_page: one flush for all, then the tables are free. */
export function commitZapPage(): void {
  if (invalidList == 0) return;
  flushRemoteTlbs();
  while (invalidList != 0) {
    const sp = invalidList;
    invalidList = <usize>load<u32>(sp, SP_INVALID_NEXT);
    spFree(sp);
  }
}

/** kvm_mmu_flush_or_zap: of all vCPUs, or of the one that asks. */
export function flushOrZap(vcpu: usize, remote: bool, local: bool): void {
  if (invalidList != 0) commitZapPage();
  else if (remote) flushRemoteTlbs();
  else if (local) requestFlushCurrent(vcpu);
}

/** kvm_mmu_zap_page for one page that may be a root in use. */
export function putRoot(sp: usize): void {
  dropRoot(sp);
  commitZapPage();
}

/** mmu_free_root_page: one user fewer; an invalid root is chained for the commit with its last. */
export function dropRoot(sp: usize): void {
  const count = load<u32>(sp, SP_ROOT_COUNT) - 1;
  store<u32>(sp, count, SP_ROOT_COUNT);
  if (count == 0 && (load<u32>(sp, SP_ROLE) & ROLE_INVALID) != 0) prepareZapPage(sp);
}

/**
 * kvm_mmu_zap_all_fast: every shadow page of the VM goes. The generation moves on first, so that
 * none is found again; roots in use are let go by their vCPUs before they enter the guest.
 */
export function zapAllFast(): void {
  trace(EVENT_ZAP_ALL_FAST);
  store<u32>(KVM, load<u32>(KVM, KVM_MMU_VALID_GEN) ^ 1, KVM_MMU_VALID_GEN);
  requestFreeObsoleteRoots();
  // kvm_zap_obsolete_pages: oldest first; pages that were made meanwhile are of the new generation.
  let sp = activeLast();
  while (sp != 0) {
    prepareZapPage(sp);
    sp = activeLast();
  }
  commitZapPage();
}

/** kvm_mmu_zap_all: everything goes, newest first; the address space is being released. */
export function zapAll(): void {
  let sp = activeFirst();
  while (sp != 0) {
    // A root in use is zapped too, but its page stays until its last user lets it go.
    prepareZapPage(sp);
    sp = activeFirst();
  }
  commitZapPage();
}
