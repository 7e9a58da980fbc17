// Sptes that are mapped ahead of an access (cf. paging_tmpl.h: prefetch_gpte, FNAME(pte_prefetch), 6.1; mmu.c:
// mmu_pte_write_new_pte until 2.6.38).

import {
  ACC_WRITE_MASK,
  EVENT_HVA_TO_PFN,
  EVENT_HVA_TO_PFN_RET,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  KVM_FEATURE_PREFETCH,
  KVM_FEATURE_PREFETCH_UNMARKED,
  KVM_FEATURE_UPDATE_PTE,
  KVM_INVALIDATE_IN_PROGRESS,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_PFN_ERR_FAULT,
  SLOT_BASE_GFN,
  SLOT_FLAGS,
  SLOT_HVN,
  SLOT_MM,
  SP_GFN,
  SP_HASH_NEXT,
} from '../abi';
import { trace } from '../events';
import { folioMarkAccessed } from '../mm/mark_accessed';
import { hpteGet } from '../mm/pte';
import { Gfn, Sptep } from '../types';
import { directPtePrefetch, PTE_PREFETCH_NUM } from './direct_prefetch';
import { gpteToFrame, pagingRootLevel } from './guest_pte';
import { hasFeature, KVM } from './kvm';
import { gfnToMemslot, guestPagePtr, guestTablePtr, slotReadonly } from './memslot';
import { folioSetReferenced } from './pfn';
import { setSpte } from './set_spte';
import {
  hashFirst,
  nextValidSp,
  spDirect,
  spLevel,
  spTable,
  spteIndex,
  sptepToSp,
} from './shadow_page';
import { isShadowPresentPte } from './spte';
import { prefetchInvalidGpte, syncedAccess } from './sync';

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
  setSpte(vcpu, slot, sptep, access, gfn, pfn, true, false, true);
  if (!hasFeature(KVM_FEATURE_PREFETCH_UNMARKED)) folioMarkAccessed(pfn);
  return true;
}

/** pte_prefetch: the group of eight around the entry that was mapped. */
export function ptePrefetch(vcpu: usize, sptep: Sptep): void {
  if (!hasFeature(KVM_FEATURE_PREFETCH)) return;
  if (load<u32>(KVM, KVM_INVALIDATE_IN_PROGRESS) != 0) return;
  const sp = sptepToSp(sptep);
  if (spLevel(sp) > 1) return;
  if (spDirect(sp)) {
    directPtePrefetch(vcpu, sp, sptep);
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
