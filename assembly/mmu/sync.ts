// Keeping shadow tables coherent with the guest tables that they shadow (cf. mmu.c and
// paging_tmpl.h: mmu_try_to_unsync_pages, sync_page, mmu_sync_children, kvm_mmu_pte_write).
//
// A guest table that is shadowed at an upper level is always write-protected. A leaf table may go
// *unsync*: it is written freely, its sptes go stale, and they are brought up to date when the guest
// does what makes real hardware look again (CR3 load, INVLPG). Without KVM_FEATURE_UNSYNC every
// shadowed table is write-protected.

import {
  ACC_ALL,
  ACC_PKEY_SHIFT,
  ACC_WRITE_MASK,
  EVENT_MARK_MMIO_SPTE,
  EVENT_SPTE_ZAP,
  EVENT_SP_UNSYNC,
  KVM_FEATURE_LOCAL_FLUSH,
  KVM_FEATURE_PREFETCH_UNSYNCS,
  KVM_FEATURE_SYNC_KEEPS,
  KVM_FEATURE_UNSYNC,
  KVM_MEMSLOT_GENERATION,
  KVM_TLBS_DIRTY,
  ROLE_ACCESS_SHIFT,
  ROLE_LEVEL_MASK,
  ROLE_QUADRANT_SHIFT,
  PT64_PKEY_BIT,
  SPTE_BY_DROP_SPTE,
  SPTE_BY_PAGING64_SYNC_PAGE,
  SPTE_BY_PAGING64_SYNC_SPTE,
  SP_GFN,
  SP_HASH_NEXT,
  SP_PARENT_PTES,
  SP_ROLE,
  SP_UNSYNC,
  SP_UNSYNC_BITMAP,
  SP_UNSYNC_CHILDREN,
  VCPU_ROOT,
} from '../abi';
import { SHADOW_PAGES_UNSYNC } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Gfn, Spte, Sptep } from '../types';
import { flushRemoteTlbs } from './flush';
import {
  gpteAccess,
  gptePkey,
  gpteToFrame,
  isLastGpte,
  pagingRootLevel,
  reservedGpteBits,
} from './guest_pte';
import { hasFeature, KVM } from './kvm';
import { makeSpte } from './make_spte';
import { gfnToMemslot, guestPagePtr, guestTablePtr } from './memslot';
import { gfnTracked } from './page_track';
import { PT_ACCESSED, PT_DIRTY, PT_PRESENT } from './pte_bits';
import {
  hashFirst,
  nextValidSpWithGptes,
  spAccess,
  spAccessOf,
  spGfnOf,
  spLevel,
  spSetTranslation,
  spTable,
  spteIndex,
  sptepToSp,
  tableToSp,
} from './shadow_page';
import {
  isLastSpte,
  isMmioSpte,
  isShadowPresentPte,
  makeMmioSpte,
  SPTE_HOST_WRITABLE,
  spteToPfn,
} from './spte';
import { spteUpdate, writeProtectGfn } from './write_protect';
import {
  clearUnsyncChild,
  dropSpte,
  nextUnsyncChild,
  prepareZapPage,
  flushOrZap,
  spteToChild,
  unlinkUnsyncPage,
} from './zap';

/** kvm_mmu_mark_parents_unsync: every table above remembers the way to an unsync one. */
export function markParentsUnsync(sp: usize): void {
  const parents = sp + <usize>SP_PARENT_PTES;
  const single = load<u32>(parents);
  if ((single & 1) == 0) {
    if (single != 0) markUnsync(<usize>single);
    return;
  }
  // A recursion would overwrite the rmap iterator, so the chain is walked by hand.
  for (let desc = <usize>(single & ~1); desc != 0; desc = <usize>load<u32>(desc)) {
    const count = load<u32>(desc, 4);
    for (let i: u32 = 0; i < count; i++) markUnsync(<usize>load<u32>(desc + ((<usize>i) << 2), 8));
  }
}

/** mark_unsync. */
export function markUnsync(parentPte: Sptep): void {
  const parent = sptepToSp(parentPte);
  const index = spteIndex(parentPte);
  const at = parent + ((<usize>(index >> 5)) << 2);
  const bit = (<u32>1) << (index & 31);
  const word = load<u32>(at, SP_UNSYNC_BITMAP);
  if ((word & bit) != 0) return;
  store<u32>(at, word | bit, SP_UNSYNC_BITMAP);
  const children = load<u32>(parent, SP_UNSYNC_CHILDREN);
  store<u32>(parent, children + 1, SP_UNSYNC_CHILDREN);
  if (children == 0) markParentsUnsync(parent);
}

/**
 * mmu_try_to_unsync_pages: whether a writable spte for `gfn` must be refused, because the page is a
 * guest table that is shadowed. Leaf tables are let go unsync instead, where that is allowed.
 */
export function tryToUnsyncPages(slot: usize, gfn: Gfn, canUnsync: bool, prefetch: bool): bool {
  if (gfnTracked(slot, gfn) != 0) return true;
  let sp = nextValidSpWithGptes(hashFirst(gfn), gfn);
  for (; sp != 0; sp = nextValidSpWithGptes(<usize>load<u32>(sp, SP_HASH_NEXT), gfn)) {
    if (!canUnsync || !hasFeature(KVM_FEATURE_UNSYNC)) return true;
    if (load<u32>(sp, SP_UNSYNC) != 0) continue;
    if (prefetch && !hasFeature(KVM_FEATURE_PREFETCH_UNSYNCS)) return true;
    const role = load<u32>(sp, SP_ROLE);
    trace(EVENT_SP_UNSYNC, gfn, role & ROLE_LEVEL_MASK, role);
    bump(SHADOW_PAGES_UNSYNC);
    store<u32>(sp, 1, SP_UNSYNC);
    markParentsUnsync(sp);
  }
  return false;
}

/** Rights with which a leaf table's entry is mapped, and its protection key above them. */
export function syncedAccess(sp: usize, gpte: u64): u32 {
  return (
    protectCleanGpte(spAccess(sp) & gpteAccess(gpte), gpte) | (gptePkey(gpte) << ACC_PKEY_SHIFT)
  );
}

/** protect_clean_gpte: no write through a guest pte whose D bit the guest must still see set. */
function protectCleanGpte(access: u32, gpte: u64): u32 {
  return (gpte & PT_DIRTY) != 0 ? access : access & ~ACC_WRITE_MASK;
}

/** prefetch_invalid_gpte: the entry can't be mapped ahead of an access; what was there goes. */
export function prefetchInvalidGpte(vcpu: usize, sptep: Sptep, gpte: u64): bool {
  const present = PT_PRESENT | PT_ACCESSED;
  const root = pagingRootLevel(vcpu);
  if ((gpte & present) == present && (gpte & reservedGpteBits(vcpu, root, 1, gpte)) == 0)
    return false;
  dropSpte(sptep);
  const spte = load<u64>(sptep);
  if (isMmioSpte(spte)) {
    trace(EVENT_SPTE_ZAP, <u32>spte, <u32>(spte >> 32), SPTE_BY_DROP_SPTE);
    store<u64>(sptep, 0);
  }
  return true;
}

/** sync_mmio_spte: still outside all slots with the rights of today, or another gfn. */
function syncMmioSpte(sptep: Sptep, spte: Spte, gfn: Gfn, access: u32): void {
  if (spteToPfn(spte) != gfn) {
    store<u64>(sptep, 0);
    return;
  }
  const generation = load<u32>(KVM, KVM_MEMSLOT_GENERATION);
  store<u64>(sptep, makeMmioSpte(gfn, access, generation));
  trace(EVENT_MARK_MMIO_SPTE, gfn, access, generation);
}

/** Whether an entry that is synced keeps its spte: its rights are those that it has. */
function keepsSpte(sp: usize, index: u32, spte: Spte, access: u32): bool {
  if (!hasFeature(KVM_FEATURE_SYNC_KEEPS)) return false;
  const pkey = (<u32>(spte >> (<u64>PT64_PKEY_BIT))) & 15;
  return spAccessOf(sp, index) == (access & ACC_ALL) && pkey == access >> ACC_PKEY_SHIFT;
}

// What syncSpte() did.
const SYNC_KEPT: i32 = 0;
/** What the spte allowed has changed. */
const SYNC_CHANGED: i32 = 1;
const SYNC_DROPPED: i32 = 2;
/** An entry outside all slots went. */
const SYNC_FORGOT: i32 = 3;

/** sync_spte: brings the spte at `index`, which is not 0, up to date with its guest entry; SYNC_*. */
function syncSpte(vcpu: usize, sp: usize, index: u32, gpte: u64): i32 {
  const sptep = spTable(sp) + ((<usize>index) << 3);
  const spte = load<u64>(sptep);
  if (prefetchInvalidGpte(vcpu, sptep, gpte)) return SYNC_DROPPED;
  const rootLevel = pagingRootLevel(vcpu);
  const gfn = <u32>gpteToFrame(rootLevel, 1, gpte, isLastGpte(vcpu, rootLevel, 1, gpte));
  const access = syncedAccess(sp, gpte);
  if (isMmioSpte(spte)) {
    syncMmioSpte(sptep, spte, gfn, access);
    return load<u64>(sptep) != 0 ? SYNC_KEPT : SYNC_FORGOT;
  }
  if (gfn != spGfnOf(sp, index)) {
    dropSpte(sptep);
    return SYNC_DROPPED;
  }
  if (keepsSpte(sp, index, spte, access)) return SYNC_KEPT;
  spSetTranslation(sp, index, gfn, access);
  const slot = gfnToMemslot(gfn);
  const writable = (spte & SPTE_HOST_WRITABLE) != 0;
  const fresh = makeSpte(sp, slot, access, gfn, spteToPfn(spte), spte, true, false, writable);
  const keeps = hasFeature(KVM_FEATURE_SYNC_KEEPS);
  const by = keeps ? SPTE_BY_PAGING64_SYNC_SPTE : SPTE_BY_PAGING64_SYNC_PAGE;
  return spteUpdate(sptep, fresh, by, true) ? SYNC_CHANGED : SYNC_KEPT;
}

/** kvm_sync_spte for one entry of an unsync table: 1 when TLBs must be flushed, -1 when the guest's table can't be read. */
export function syncOne(vcpu: usize, sp: usize, index: u32): i32 {
  if (load<u64>(spTable(sp) + ((<usize>index) << 3)) == 0) return 0;
  const gptes = guestTablePtr(load<u32>(sp, SP_GFN));
  if (gptes == 0) return -1;
  const done = syncSpte(vcpu, sp, index, load<u64>(gptes + ((<usize>index) << 3)));
  return done == SYNC_CHANGED || done == SYNC_DROPPED ? 1 : 0;
}

/** Whether a table is of another role than the current root, so that its sptes can't be made anew. */
function isOfOtherRole(vcpu: usize, sp: usize): bool {
  const rootTable = <usize>load<u32>(vcpu, VCPU_ROOT);
  const root = rootTable == 0 ? 0 : tableToSp(rootTable);
  const ignore =
    ROLE_LEVEL_MASK | (ACC_ALL << ROLE_ACCESS_SHIFT) | ((<u32>3) << ROLE_QUADRANT_SHIFT);
  return root != 0 && ((load<u32>(sp, SP_ROLE) ^ load<u32>(root, SP_ROLE)) & ~ignore) != 0;
}

/** How many sptes of the table that was synced last stayed, and how many went. */
let syncKept: u32 = 0;
let syncDropped: u32 = 0;

/** sync_page: brings every spte of a leaf table up to date. -1: it can't be, 1: what an spte allowed has changed. */
function syncPageSptes(vcpu: usize, sp: usize): i32 {
  syncKept = 0;
  syncDropped = 0;
  let gptes: usize = 0;
  const table = spTable(sp);
  let flush: i32 = 0;
  for (let i: u32 = 0; i < 512; i++) {
    if (load<u64>(table + ((<usize>i) << 3)) == 0) continue;
    if (gptes == 0) {
      // The guest's table is read as long as there is something to sync.
      gptes = guestPagePtr(load<u32>(sp, SP_GFN));
      if (gptes == 0) return -1;
      guestTablePtr(load<u32>(sp, SP_GFN));
    }
    const done = syncSpte(vcpu, sp, i, load<u64>(gptes + ((<usize>i) << 3)));
    if (done == SYNC_DROPPED) syncDropped++;
    else if (done != SYNC_FORGOT) syncKept++;
    if (done == SYNC_CHANGED) flush = 1;
  }
  return flush;
}

/** kvm_sync_page: true when TLBs must be flushed (with KVM_FEATURE_LOCAL_FLUSH the vCPU's own); a table that could not
 *  be synced is zapped. */
export function syncPage(vcpu: usize, sp: usize): bool {
  const local = hasFeature(KVM_FEATURE_LOCAL_FLUSH);
  const result = !local && isOfOtherRole(vcpu, sp) ? -1 : syncPageSptes(vcpu, sp);
  if (local) {
    store<u32>(KVM, load<u32>(KVM, KVM_TLBS_DIRTY) + syncDropped, KVM_TLBS_DIRTY);
    if (result > 0) flushRemoteTlbs();
  }
  if (result < 0 || (local && syncKept == 0)) {
    prepareZapPage(sp);
    return false;
  }
  return local || result > 0 || syncDropped != 0;
}

/** kvm_sync_pages: every leaf table of a gfn that is unsync; true as syncPage(). */
export function syncPagesOf(vcpu: usize, gfn: Gfn): bool {
  let flush = false;
  let sp = nextValidSpWithGptes(hashFirst(gfn), gfn);
  while (sp != 0) {
    const next = <usize>load<u32>(sp, SP_HASH_NEXT);
    if (load<u32>(sp, SP_UNSYNC) != 0) {
      unlinkUnsyncPage(sp);
      if (syncPage(vcpu, sp)) flush = true;
    }
    sp = nextValidSpWithGptes(next, gfn);
  }
  return flush;
}

/** Collects unsync pages below `sp`, write-protects them or syncs them; clears the way to them. */
function forUnsyncChildren(vcpu: usize, sp: usize, protect: bool): bool {
  let result = false;
  const table = spTable(sp);
  for (let i = nextUnsyncChild(sp, 0); i < 512; i = nextUnsyncChild(sp, i + 1)) {
    const spte = load<u64>(table + ((<usize>i) << 3));
    if (!isShadowPresentPte(spte) || isLastSpte(spte, spLevel(sp))) {
      if (!protect) clearUnsyncChild(sp, i);
      continue;
    }
    const child = spteToChild(spte);
    if (load<u32>(child, SP_UNSYNC_CHILDREN) != 0) {
      if (forUnsyncChildren(vcpu, child, protect)) result = true;
    }
    if (load<u32>(child, SP_UNSYNC) != 0) {
      if (protect) {
        const slot = gfnToMemslot(load<u32>(child, SP_GFN));
        if (slot != 0 && writeProtectGfn(slot, load<u32>(child, SP_GFN), 1)) result = true;
      } else {
        unlinkUnsyncPage(child);
        if (syncPage(vcpu, child)) result = true;
      }
    }
    if (!protect) clearUnsyncChild(sp, i);
  }
  return result;
}

/** mmu_sync_children: all tables below `parent` are write-protected and up to date afterwards. */
export function syncChildren(vcpu: usize, parent: usize): void {
  if (forUnsyncChildren(vcpu, parent, true)) flushRemoteTlbs();
  const flush = forUnsyncChildren(vcpu, parent, false);
  const local = hasFeature(KVM_FEATURE_LOCAL_FLUSH);
  flushOrZap(vcpu, flush && !local, flush && local);
}

/** kvm_mmu_sync_roots for one root. */
export function syncRoot(vcpu: usize, root: usize): void {
  if (load<u32>(root, SP_UNSYNC) == 0 && load<u32>(root, SP_UNSYNC_CHILDREN) == 0) return;
  syncChildren(vcpu, root);
}
