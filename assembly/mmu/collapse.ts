// Large pages come back: when a slot's dirty logging ends, the 4 KiB sptes that stand for a part of a
// larger mapping on both sides are zapped, so that the next access maps the large page
// (cf. kvm_mmu_zap_collapsible_sptes, 6.1).

import {
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_MM,
  SLOT_NPAGES,
  SPTE_BY_KVM_RMAP_ZAP_COLLAPSIBLE_SPTES,
} from '../abi';
import { hpmdp } from '../mm/pmd';
import { gatherMany } from './flush';
import { gfnToRmap, slotPtr } from './memslot';
import { pteListRemove, rmapIterFirst, rmapIterNext } from './rmap';
import { spDirect, sptepToSp } from './shadow_page';
import { Sptep } from '../types';
import { clearSpteTrackBits } from './zap';

/** First spte of an rmap that a direct page holds, or 0. */
function directSptep(head: usize): Sptep {
  for (let sptep = rmapIterFirst(head); sptep != 0; sptep = rmapIterNext()) {
    if (spDirect(sptepToSp(sptep))) return sptep;
  }
  return 0;
}

/** Zaps what could be mapped larger in slot `id`; 1 if TLBs must be flushed. */
export function zapCollapsibleSptes(id: u32): u32 {
  const slot = slotPtr(id);
  const base = load<u32>(slot, SLOT_BASE_GFN);
  const npages = load<u32>(slot, SLOT_NPAGES);
  gatherMany();
  let flush: u32 = 0;
  for (let i: u32 = 0; i < npages; i++) {
    const head = gfnToRmap(slot, base + i, 1);
    if (load<u32>(head) == 0) continue;
    if (hpmdp(load<u32>(slot, SLOT_MM), load<u32>(slot, SLOT_HVN) + i) == 0) continue;
    for (let sptep = directSptep(head); sptep != 0; sptep = directSptep(head)) {
      const by = SPTE_BY_KVM_RMAP_ZAP_COLLAPSIBLE_SPTES;
      clearSpteTrackBits(sptepToSp(sptep), sptep, by, true);
      pteListRemove(head, sptep);
      flush = 1;
    }
  }
  return flush;
}
