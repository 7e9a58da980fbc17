// Taking rights from sptes in place (cf. mmu_spte_update(), rmap_write_protect() and
// kvm_mmu_slot_gfn_write_protect() in mmu.c, 6.1): so that a shadowed guest table stays in step with its
// shadow, or so that dirty logging sees the next write.
//
// What must hold: a TLB may still have what an spte lost, so whoever takes the right to write, or an A or
// D bit, flushes before anybody relies on it; the functions here answer whether that is due. A and D
// bits that go are handed to the mm.

import { EVENT_SPTE_UPDATE, SPTE_BY_RMAP_WRITE_PROTECT } from '../abi';
import { trace } from '../events';
import { Gfn, Spte, Sptep } from '../types';
import { gatherMany } from './flush';
import { gfnToMemslot, gfnToRmap } from './memslot';
import { PT_WRITABLE } from './pte_bits';
import { rmapIterFirst, rmapIterNext } from './rmap';
import { isAccessedSpte, isDirtySpte, isWritablePte, SPTE_MMU_WRITABLE, spteToPfn } from './spte';
import { kvmSetPfnAccessed, kvmSetPfnDirty } from './zap';

/** mmu_spte_update: changes a present leaf spte in place; says whether TLBs must be flushed, and
 *  hands A and D bits that are lost to the mm. */
export function spteUpdate(sptep: Sptep, spte: Spte, by: u32, always: bool): bool {
  const old = load<u64>(sptep);
  store<u64>(sptep, spte);
  let flush = (old & SPTE_MMU_WRITABLE) != 0 && !isWritablePte(spte);
  if (isAccessedSpte(old) && !isAccessedSpte(spte)) {
    flush = true;
    kvmSetPfnAccessed(spteToPfn(old));
  }
  if (isDirtySpte(old) && !isDirtySpte(spte)) {
    flush = true;
    kvmSetPfnDirty(spteToPfn(old));
  }
  if (always || flush) {
    trace(EVENT_SPTE_UPDATE, <u32>spte, <u32>(spte >> 32), flush ? 1 : 0, by);
  }
  return flush;
}

/** rmap_write_protect: no spte of the rmap allows writes any more. */
function rmapWriteProtect(head: usize, ptProtect: bool): bool {
  let flush = false;
  for (let sptep = rmapIterFirst(head); sptep != 0; sptep = rmapIterNext()) {
    const spte = load<u64>(sptep);
    if (!isWritablePte(spte) && !(ptProtect && (spte & SPTE_MMU_WRITABLE) != 0)) continue;
    const mask = ptProtect ? PT_WRITABLE | SPTE_MMU_WRITABLE : PT_WRITABLE;
    if (spteUpdate(sptep, spte & ~mask, SPTE_BY_RMAP_WRITE_PROTECT, true)) flush = true;
  }
  return flush;
}

/** kvm_mmu_slot_gfn_write_protect: at every mapping size from `minLevel` up. */
export function writeProtectGfn(slot: usize, gfn: Gfn, minLevel: u32): bool {
  let flush = false;
  for (let level = minLevel; level <= 3; level++) {
    if (rmapWriteProtect(gfnToRmap(slot, gfn, level), true)) flush = true;
  }
  return flush;
}

/** Write-protects a gfn range for dirty logging (kvm_mmu_slot_remove_write_access); 1: flush. */
export function writeProtectRange(gfn: Gfn, npages: u32): u32 {
  gatherMany();
  let flush: u32 = 0;
  for (let i: u32 = 0; i < npages; i++) {
    const slot = gfnToMemslot(gfn + i);
    if (slot == 0) continue;
    for (let level: u32 = 1; level <= 3; level++) {
      if (level > 1 && ((gfn + i) & (((<u32>1) << ((level - 1) * 9)) - 1)) != 0) continue;
      if (rmapWriteProtect(gfnToRmap(slot, gfn + i, level), false)) flush = 1;
    }
  }
  return flush;
}
