// __direct_pte_prefetch(): the neighbours of an entry of a direct table, that is of a guest large page
// over smaller host pages. Runs of absent entries are filled from what get_user_pages_fast() finds
// mapped writable; the first page that it does not find ends the group.

import {
  ACC_WRITE_MASK,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  KVM_FEATURE_PREFETCH_BETWEEN,
  KVM_MEM_LOG_DIRTY_PAGES,
  SLOT_BASE_GFN,
  SLOT_FLAGS,
  SLOT_HVN,
  SLOT_MM,
  SLOT_NPAGES,
} from '../abi';
import { hpteGet } from '../mm/pte';
import { Sptep } from '../types';
import { hasFeature } from './kvm';
import { setSpte } from './set_spte';
import { gfnToMemslot, slotReadonly } from './memslot';
import { folioSetReferenced } from './pfn';
import { spDirectAccess, spGfnOf, spTable, spteIndex } from './shadow_page';
import { isShadowPresentPte } from './spte';

/** Guest ptes around a faulting one that are looked at (PTE_PREFETCH_NUM). */
export const PTE_PREFETCH_NUM: u32 = 8;

/** direct_pte_prefetch_many: entries [start, end) of a direct table; false: look no further. */
function prefetchMany(vcpu: usize, sp: usize, start: u32, end: u32): bool {
  const access = spDirectAccess(sp);
  const gfn = spGfnOf(sp, start);
  const slot = gfnToMemslot(gfn);
  if (slot == 0 || slotReadonly(slot)) return false;
  const logged = (load<u32>(slot, SLOT_FLAGS) & KVM_MEM_LOG_DIRTY_PAGES) != 0;
  if ((access & ACC_WRITE_MASK) != 0 && logged) return false;
  const at = gfn - load<u32>(slot, SLOT_BASE_GFN);
  if (load<u32>(slot, SLOT_NPAGES) - at < end - start) return false;
  const hvn = load<u32>(slot, SLOT_HVN) + at;
  for (let i: u32 = 0; i < end - start; i++) {
    const hpte = hpteGet(load<u32>(slot, SLOT_MM), hvn + i);
    if ((hpte & (HPTE_PRESENT | HPTE_WRITE | HPTE_SWAP)) != (HPTE_PRESENT | HPTE_WRITE)) {
      return i != 0;
    }
    const pfn = hpte >> HPTE_PFN_SHIFT;
    folioSetReferenced(pfn);
    const sptep: Sptep = spTable(sp) + ((<usize>(start + i)) << 3);
    setSpte(vcpu, slot, sptep, access, gfn + i, pfn, true, false, true);
  }
  return true;
}

/** The aligned group of entries around `sptep`, which was just mapped. */
export function directPtePrefetch(vcpu: usize, sp: usize, sptep: Sptep): void {
  const first = spteIndex(sptep) & ~(PTE_PREFETCH_NUM - 1);
  const end = first + PTE_PREFETCH_NUM;
  let start = end;
  const last = hasFeature(KVM_FEATURE_PREFETCH_BETWEEN) ? end - 1 : end;
  for (let i = first; i <= last; i++) {
    const at = spTable(sp) + ((<usize>i) << 3);
    if (i != end && at != sptep && !isShadowPresentPte(load<u64>(at))) {
      if (start == end) start = i;
      continue;
    }
    if (start != end && !prefetchMany(vcpu, sp, start, i)) return;
    start = end;
  }
}
