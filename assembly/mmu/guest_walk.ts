// The software walk of the guest's page tables at a vmexit: gva to gfn, the exact #PF error code, and
// the A and D bits that the processor would have set, in guest memory. One walker for 5-level,
// 4-level, PAE, 32-bit and no paging; the formats are in guest_pte.ts. Cf. KVM 6.1's
// walk_addr_generic() and update_accessed_dirty_bits() in arch/x86/kvm/mmu/paging_tmpl.h.
//
// Policy for A and D bits, KVM's: nothing is written until the whole walk has succeeded; then A is
// set at every level walked, top down, and D in the leaf on a write. A walk that ends in a #PF
// changes no entry. (A processor may leave A set in the upper entries of a walk that faults: SDM
// vol. 3A, 4.8, permits both; so did KVM until 2.6.37, KVM_FEATURE_STEPWISE_WALK.)

import {
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  ACC_ALL,
  ACC_WRITE_MASK,
  EVENT_GUEST_PTE,
  EVENT_GUEST_PTE_SET_A,
  EVENT_GUEST_PTE_SET_D,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_PROTNONE,
  HPTE_WRITE,
  HPTE_YOUNG,
  KVM_FEATURE_STEPWISE_WALK,
  NO_GFN,
  PAGE_SHIFT,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_MM,
  VCPU_CR3,
  VCPU_FAULT_GVA,
  VCPU_MAXPHYADDR,
  VCPU_PDPTR,
  VCPU_WALK_AD_SET,
  VCPU_WALK_ERROR,
  VCPU_WALK_GFN,
  VCPU_WALK_GPA,
  VCPU_WALK_INDEX,
  VCPU_WALK_LEVEL,
  VCPU_WALK_LEVEL_ACCESS,
  VCPU_WALK_NEED_GFN,
  VCPU_WALK_NEED_WRITE,
  VCPU_WALK_PKEY,
  VCPU_WALK_PTE,
  VCPU_WALK_PTE_ACCESS,
  VCPU_WALK_PT_ACCESS,
  VCPU_WALK_RESULT,
  VCPU_WALK_TABLE_GFN,
  WALK_FAULT,
  WALK_NEED_PAGE,
  WALK_NONCANONICAL,
  WALK_OK,
} from '../abi';
import { GUEST_WALKS } from '../counters';
import { isTracing, trace } from '../events';
import { bump } from '../stats';
import {
  accessErrorBits,
  gpteAccess,
  gptePkey,
  gpteToFrame,
  isCanonical,
  isLastGpte,
  levelShift,
  pagingRootLevel,
  permissionFault,
  rightsDeny,
  reservedGpteBits,
} from './guest_pte';
import { frameContentForWrite, frameContentPtr } from '../mm/frame';
import { hpteGet, hpteOr } from '../mm/pte';
import { hasFeature } from './kvm';
import { gfnToMemslot, markPageDirty, slotReadonly } from './memslot';
import { PT_ACCESSED, PT_DIRTY, PT_PRESENT } from './pte_bits';
import { forgetUpper, walkSettled } from './settled_walk';
import { walkCacheOn } from './walk_cache';

/** Notes how a walk ended. */
export function finish(vcpu: usize, result: u32, error: u32): u32 {
  store<u32>(vcpu, result, VCPU_WALK_RESULT);
  store<u32>(vcpu, error, VCPU_WALK_ERROR);
  return result;
}

function needPage(vcpu: usize, gfn: u32, write: u32): u32 {
  store<u32>(vcpu, gfn, VCPU_WALK_NEED_GFN);
  store<u32>(vcpu, write, VCPU_WALK_NEED_WRITE);
  return finish(vcpu, WALK_NEED_PAGE, 0);
}

function fault(vcpu: usize, error: u32, flags: u32): u32 {
  return finish(vcpu, WALK_FAULT, error | accessErrorBits(vcpu, flags));
}

/** A frame number as a gfn: what no memslot can hold becomes NO_GFN. */
export function frameToGfn(frame: u64): u32 {
  return frame >= <u64>NO_GFN ? NO_GFN : <u32>frame;
}

/** mm and hvn behind a gfn of a slot, as the host pte functions want them. */
function hvnOf(slot: usize, gfn: u32): u32 {
  return load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
}

/**
 * Content of a guest table for reading, or 0 if the host page is not present to the processor. KVM reads it through
 * the host's own page tables, so the host pte becomes young; under PROT_NONE it can't.
 */
function tableForRead(slot: usize, gfn: u32): usize {
  const mm = load<u32>(slot, SLOT_MM);
  const hvn = hvnOf(slot, gfn);
  const hpte = hpteGet(mm, hvn);
  if ((hpte & (HPTE_PRESENT | HPTE_PROTNONE)) != HPTE_PRESENT) return 0;
  if ((hpte & HPTE_YOUNG) == 0) hpteOr(mm, hvn, HPTE_YOUNG);
  return frameContentPtr(hpte >> HPTE_PFN_SHIFT);
}

/** The same for writing: 0 also if the host page is not writable. Dirties the host pte and the log. */
function tableForWrite(slot: usize, gfn: u32): usize {
  const mm = load<u32>(slot, SLOT_MM);
  const hvn = hvnOf(slot, gfn);
  const hpte = hpteGet(mm, hvn);
  if ((hpte & HPTE_PRESENT) == 0 || (hpte & HPTE_WRITE) == 0) return 0;
  hpteOr(mm, hvn, HPTE_YOUNG | HPTE_DIRTY);
  markPageDirty(slot, gfn);
  return frameContentForWrite(hpte >> HPTE_PFN_SHIFT);
}

/** Records the leaf's translation. */
export function storeTranslation(vcpu: usize, frame: u64, gva: u64): void {
  store<u64>(vcpu, (frame << (<u64>PAGE_SHIFT)) | (gva & 0xfff), VCPU_WALK_GPA);
  store<u32>(vcpu, frameToGfn(frame), VCPU_WALK_GFN);
}

/** CR0.PG = 0: linear addresses are physical, and everything is allowed. */
function walkWithoutPaging(vcpu: usize, gva: u64): u32 {
  store<u32>(vcpu, 1, VCPU_WALK_LEVEL);
  store<u32>(vcpu, ACC_ALL, VCPU_WALK_PT_ACCESS);
  store<u32>(vcpu, ACC_ALL, VCPU_WALK_PTE_ACCESS);
  store<u32>(vcpu, 0, VCPU_WALK_PKEY);
  storeTranslation(vcpu, gva >> (<u64>PAGE_SHIFT), gva);
  return finish(vcpu, WALK_OK, 0);
}

/** The bits that a walk means to set in an entry; whether it can is seen afterwards. */
function traceMissing(perLevel: usize, old: u64, gpte: u64): void {
  const tableGfn = load<u32>(perLevel, VCPU_WALK_TABLE_GFN);
  const index = load<u32>(perLevel, VCPU_WALK_INDEX);
  if ((gpte & ~old & PT_ACCESSED) != 0) trace(EVENT_GUEST_PTE_SET_A, tableGfn, index);
  if ((gpte & ~old & PT_DIRTY) != 0) trace(EVENT_GUEST_PTE_SET_D, tableGfn, index);
}

/**
 * Sets A at every level walked and D in the leaf of a write. Returns false if a table can't be
 * written yet (WALK_NEED_PAGE is recorded); entries already updated stay so, as after KVM's retry. A
 * table in a read-only memslot keeps its entries as they are.
 */
function updateAccessedDirty(vcpu: usize, top: u32, leaf: u32, entryBytes: u32, d: u64): bool {
  for (let level = top; level >= leaf; level--) {
    const ptep = vcpu + ((<usize>level) << 3);
    const old = load<u64>(ptep, VCPU_WALK_PTE);
    const gpte = old | PT_ACCESSED | (level == leaf ? d : 0);
    if (gpte == old) continue;
    const perLevel = vcpu + ((<usize>level) << 2);
    const tableGfn = load<u32>(perLevel, VCPU_WALK_TABLE_GFN);
    const slot = gfnToMemslot(tableGfn);
    if (slotReadonly(slot)) {
      traceMissing(perLevel, old, gpte);
      continue;
    }
    const table = tableForWrite(slot, tableGfn);
    if (table == 0) {
      needPage(vcpu, tableGfn, 1);
      return false;
    }
    traceMissing(perLevel, old, gpte);
    const at = table + <usize>(load<u32>(perLevel, VCPU_WALK_INDEX) * entryBytes);
    if (entryBytes == 8) store<u64>(at, gpte);
    else store<u32>(at, <u32>gpte);
    store<u64>(ptep, gpte, VCPU_WALK_PTE);
    store<u32>(
      vcpu,
      load<u32>(vcpu, VCPU_WALK_AD_SET) | ((<u32>1) << (level - 1)),
      VCPU_WALK_AD_SET,
    );
  }
  return true;
}

/** The leaf is found: checks the rights and records the translation. #PF error code, or 0. */
export function translateLeaf(vcpu: usize, root: u32, level: u32, access: u32, flags: u32): u32 {
  const gpte = load<u64>(vcpu + ((<usize>level) << 3), VCPU_WALK_PTE);
  const pkey = root >= 4 ? gptePkey(gpte) : 0;
  const error = permissionFault(vcpu, access, pkey, flags);
  if (error != 0) return error;

  const write = (flags & ACCESS_KIND_MASK) == ACCESS_WRITE;
  // Without a write, a clean leaf gives no write access, so that the first write exits and sets D.
  const clean = !write && (gpte & PT_DIRTY) == 0;
  store<u32>(vcpu, clean ? access & ~ACC_WRITE_MASK : access, VCPU_WALK_PTE_ACCESS);
  store<u32>(vcpu, pkey, VCPU_WALK_PKEY);

  const gva = load<u64>(vcpu, VCPU_FAULT_GVA);
  const offset = gva & (((<u64>1) << (<u64>levelShift(root, level))) - 1);
  const frame = gpteToFrame(root, level, gpte, true) + (offset >> (<u64>PAGE_SHIFT));
  storeTranslation(vcpu, frame, gva);
  return 0;
}

/** The same, and sets A and D. */
function finishLeaf(vcpu: usize, root: u32, top: u32, level: u32, access: u32, flags: u32): u32 {
  const error = translateLeaf(vcpu, root, level, access, flags);
  if (error != 0) return finish(vcpu, WALK_FAULT, error);
  const write = (flags & ACCESS_KIND_MASK) == ACCESS_WRITE;
  const entryBytes: u32 = root == 2 ? 4 : 8;
  if (!updateAccessedDirty(vcpu, top, level, entryBytes, write ? PT_DIRTY : 0)) {
    return WALK_NEED_PAGE;
  }
  return finish(vcpu, WALK_OK, 0);
}

/**
 * Walks the guest's tables for the gva in VCPU_FAULT_GVA and an access with ACCESS_* `flags`. Fills
 * VCPU_WALK_* and returns WALK_*. A table outside all memslots reads as not present, as in KVM.
 */
export function guestWalk(vcpu: usize, flags: u32): u32 {
  bump(GUEST_WALKS);
  const gva = load<u64>(vcpu, VCPU_FAULT_GVA);
  const root = pagingRootLevel(vcpu);
  store<u32>(vcpu, 0, VCPU_WALK_AD_SET);
  if (root >= 4 && walkCacheOn() && !isTracing() && isCanonical(root, gva)) {
    if (walkSettled(vcpu, root, gva, flags)) return WALK_OK;
  }
  forgetUpper();
  return walk(vcpu, root, gva, flags);
}

/** The walk in any mode, with any outcome. */
function walk(vcpu: usize, root: u32, gva: u64, flags: u32): u32 {
  if (root == 0) return walkWithoutPaging(vcpu, gva);
  if (!isCanonical(root, gva)) return finish(vcpu, WALK_NONCANONICAL, 0);

  const entryShift: usize = root == 2 ? 2 : 3;
  const indexMask: u64 = root == 2 ? 1023 : 511;
  let level = root;
  let next = load<u64>(vcpu, VCPU_CR3);
  if (root == 2) next &= 0xffff_f000;
  if (root == 3) {
    // The four PDPTEs are registers, loaded and checked by MOV to CR3; they carry no rights.
    next = load<u64>(vcpu + <usize>(((gva >> 30) & 3) << 3), VCPU_PDPTR);
    store<u32>(vcpu, 3, VCPU_WALK_LEVEL);
    if ((next & PT_PRESENT) == 0) return fault(vcpu, 0, flags);
    level = 2;
  }
  const top = level;
  let access: u32 = ACC_ALL;
  while (true) {
    store<u32>(vcpu, level, VCPU_WALK_LEVEL);
    const tableGfn = frameToGfn(gpteToFrame(root, level, next, false));
    const index = <u32>((gva >> (<u64>levelShift(root, level))) & indexMask);
    const perLevel = vcpu + ((<usize>level) << 2);
    store<u32>(perLevel, tableGfn, VCPU_WALK_TABLE_GFN);
    store<u32>(perLevel, index, VCPU_WALK_INDEX);
    store<u32>(perLevel, access, VCPU_WALK_LEVEL_ACCESS);
    store<u32>(vcpu, access, VCPU_WALK_PT_ACCESS);

    const slot = gfnToMemslot(tableGfn);
    if (slot == 0) return fault(vcpu, 0, flags);
    const table = tableForRead(slot, tableGfn);
    if (table == 0) return needPage(vcpu, tableGfn, 0);
    const at = table + ((<usize>index) << entryShift);
    const gpte = root == 2 ? <u64>load<u32>(at) : load<u64>(at);
    store<u64>(vcpu + ((<usize>level) << 3), gpte, VCPU_WALK_PTE);
    trace(EVENT_GUEST_PTE, level, <u32>gpte, <u32>(gpte >> 32));
    if ((gpte & PT_PRESENT) == 0) return fault(vcpu, 0, flags);
    if ((gpte & reservedGpteBits(vcpu, root, level, gpte)) != 0) {
      return fault(vcpu, PFERR_PRESENT_MASK | PFERR_RSVD_MASK, flags);
    }
    access &= gpteAccess(gpte);
    if (hasFeature(KVM_FEATURE_STEPWISE_WALK)) {
      // SMEP, SMAP and keys are about the page: a kernel page may lie below entries that allow users.
      if (rightsDeny(vcpu, access, flags)) return fault(vcpu, PFERR_PRESENT_MASK, flags);
      if (!updateAccessedDirty(vcpu, level, level, root == 2 ? 4 : 8, 0)) return WALK_NEED_PAGE;
    }
    if (isLastGpte(vcpu, root, level, gpte)) {
      return finishLeaf(vcpu, root, top, level, access, flags);
    }
    next = gpte;
    level--;
  }
}

/** Says which entry could not get its A or D bit: the first of the walk that lacks one. */
function traceLost(vcpu: usize, flags: u32): void {
  const root = pagingRootLevel(vcpu);
  const leaf = load<u32>(vcpu, VCPU_WALK_LEVEL);
  const d: u64 = (flags & ACCESS_KIND_MASK) == ACCESS_WRITE ? PT_DIRTY : 0;
  for (let level: u32 = root == 3 ? 2 : root; level >= leaf; level--) {
    const gpte = load<u64>(vcpu + ((<usize>level) << 3), VCPU_WALK_PTE);
    const bits = PT_ACCESSED | (level == leaf ? d : 0);
    const perLevel = vcpu + ((<usize>level) << 2);
    const tableGfn = load<u32>(perLevel, VCPU_WALK_TABLE_GFN);
    if ((bits & ~gpte) == 0 || tableGfn != load<u32>(vcpu, VCPU_WALK_NEED_GFN)) continue;
    traceMissing(perLevel, gpte, gpte | bits);
    return;
  }
}

/**
 * The host can't give the page of the table that the walk needs, or not for writing: KVM's own access
 * to it fails, and for the guest the translation is missing. After WALK_NEED_PAGE; returns WALK_FAULT.
 */
export function guestWalkLost(vcpu: usize, flags: u32): u32 {
  if (load<u32>(vcpu, VCPU_WALK_NEED_WRITE) != 0) traceLost(vcpu, flags);
  return fault(vcpu, 0, flags);
}

/**
 * What MOV to CR3 does in PAE paging: loads the four PDPTEs into VCPU_PDPTR. Returns 0; 1 if a present
 * one has a reserved bit (bits 2:1, 8:5 or above MAXPHYADDR; 4.4.1) and the instruction gets #GP; or
 * 2 if the page with the table is not present in the host (VCPU_WALK_NEED_GFN). Nothing is loaded
 * unless the result is 0.
 */
export function loadPdptrs(vcpu: usize): u32 {
  const cr3 = load<u64>(vcpu, VCPU_CR3) & 0xffff_ffe0;
  const gfn = <u32>(cr3 >> (<u64>PAGE_SHIFT));
  const slot = gfnToMemslot(gfn);
  if (slot == 0) return 1;
  const page = tableForRead(slot, gfn);
  if (page == 0) {
    needPage(vcpu, gfn, 0);
    return 2;
  }
  const table = page + <usize>(cr3 & 0xfff);
  const reserved = ~(((<u64>1) << (<u64>load<u32>(vcpu, VCPU_MAXPHYADDR))) - 1) | 0x1e6;
  for (let i: usize = 0; i < 4; i++) {
    const pdpte = load<u64>(table + (i << 3));
    if ((pdpte & PT_PRESENT) != 0 && (pdpte & reserved) != 0) return 1;
  }
  memory.copy(vcpu + <usize>VCPU_PDPTR, table, 32);
  return 0;
}
