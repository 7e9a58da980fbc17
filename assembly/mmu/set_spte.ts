// Writing a leaf spte, whatever stood there (cf. mmu.c: mmu_set_spte, 6.1).

import {
  EVENT_SPTE_SET,
  KVM_FEATURE_EARLY_TRACES,
  KVM_FEATURE_LOCAL_FLUSH,
  KVM_FEATURE_SPTE_PINS,
  KVM_MAX_RMAP,
  RET_PF_EMULATE,
  RET_PF_FIXED,
  RET_PF_SPURIOUS,
  SPTE_BY_MMU_SET_SPTE,
} from '../abi';
import { SPTES_INSTALLED, SPTES_PREFETCHED, SPURIOUS_PAGE_FAULTS } from '../counters';
import { trace } from '../events';
import { getPage } from '../mm/frame';
import { bump } from '../stats';
import { Gfn, Pfn, Sptep } from '../types';
import { flushRemoteTlbs, flushRemoteTlbsRange, requestFlushCurrent } from './flush';
import { hasFeature, KVM } from './kvm';
import { makeSpte, wrprot } from './make_spte';
import { gfnMapped, gfnToRmap, noteRmapLevel, pagesPerHpage } from './memslot';
import { pteListAdd } from './rmap';
import { spLevel, spNotePresent, spSetTranslation, spteIndex, sptepToSp } from './shadow_page';
import { isLargePte, isShadowPresentPte, spteToPfn } from './spte';
import { spteLruAdd, spteLruOn } from './spte_lru';
import { spteUpdate } from './write_protect';
import { dropParentPte, dropSpte, spteToChild } from './zap';

/** Keeps the high-water mark that KVM's statistics show. */
function noteRmapSize(before: u32): void {
  if (before > load<u32>(KVM, KVM_MAX_RMAP)) store<u32>(KVM, before, KVM_MAX_RMAP);
}

/** mmu_set_spte for a fault of `vcpu`, or ahead of one: writes a leaf spte. RET_PF_*. */
export function setSpte(
  vcpu: usize,
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
  } else if (wasRmapped) {
    if (spteUpdate(sptep, spte, SPTE_BY_MMU_SET_SPTE, false)) flush = true;
  } else {
    store<u64>(sptep, spte);
  }
  if (refused) {
    if (writeFault) result = RET_PF_EMULATE;
    if (hasFeature(KVM_FEATURE_LOCAL_FLUSH)) requestFlushCurrent(vcpu);
  }
  if (flush && hasFeature(KVM_FEATURE_EARLY_TRACES)) {
    flushRemoteTlbs();
    flush = false;
  }
  const told = old != spte || (refused && writeFault && hasFeature(KVM_FEATURE_EARLY_TRACES));
  if (told) trace(EVENT_SPTE_SET, gfn, <u32>spte, <u32>(spte >> 32), level);
  if (flush) flushRemoteTlbsRange(gfn, pagesPerHpage(level));
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
