// INVLPG and the invalidation of a gva before a guest #PF (cf. paging_tmpl.h, FNAME(invlpg)).

import {
  KVM_FEATURE_INVLPG_SYNCS,
  SP_UNSYNC,
  SP_UNSYNC_CHILDREN,
  SP_WRITE_FLOODING,
  VCPU_FAULT_GVA,
} from '../abi';
import { Sptep } from '../types';
import { prefetchOne } from './prefetch';
import { flushRemoteTlbs, flushRemoteTlbsSptep } from './flush';
import { hasFeature } from './kvm';
import { spLevel, spTable, spteIndex, sptepToSp } from './shadow_page';
import { isLastSpte, isShadowPresentPte } from './spte';
import { syncOne } from './sync';
import { spteToChild, zapPte } from './zap';

function sptepOf(sp: usize, gva: u64): Sptep {
  const index = (<usize>(gva >> (<u64>(12 + (spLevel(sp) - 1) * 9)))) & 511;
  return spTable(sp) + (index << 3);
}

/**
 * Drops the spte of a gva below the root table at `rootTable`, if its guest table is unsync (else
 * the guest's table and ours agree), and looks at the guest's entry anew, or syncs it with that. The gva is in
 * VCPU_FAULT_GVA.
 */
export function invalidateGva(vcpu: usize, rootTable: usize): void {
  const gva = load<u64>(vcpu, VCPU_FAULT_GVA);
  let sp = sptepToSp(rootTable);
  while (true) {
    const sptep = sptepOf(sp, gva);
    const spte = load<u64>(sptep);
    if (isLastSpte(spte, spLevel(sp))) {
      if (load<u32>(sp, SP_UNSYNC) == 0) return;
      if (hasFeature(KVM_FEATURE_INVLPG_SYNCS)) {
        syncAt(vcpu, sp, sptep);
        return;
      }
      zapPte(sp, sptep);
      if (isShadowPresentPte(spte)) flushRemoteTlbs();
      prefetchOne(vcpu, sptep);
      return;
    }
    if (!isShadowPresentPte(spte)) {
      // What is remembered of an access outside all slots is synced too.
      if (load<u32>(sp, SP_UNSYNC) != 0 && hasFeature(KVM_FEATURE_INVLPG_SYNCS))
        syncAt(vcpu, sp, sptep);
      return;
    }
    if (load<u32>(sp, SP_UNSYNC_CHILDREN) == 0) return;
    sp = spteToChild(spte);
  }
}

/** __kvm_mmu_invalidate_addr at an unsync table. */
function syncAt(vcpu: usize, sp: usize, sptep: Sptep): void {
  const result = syncOne(vcpu, sp, spteIndex(sptep));
  if (result < 0) zapPte(sp, sptep);
  if (result != 0) flushRemoteTlbsSptep(sptep);
}

/** shadow_page_table_clear_flood: the guest uses the tables on the way to the faulting gva. */
export function clearFloodCounts(vcpu: usize, rootTable: usize): void {
  const gva = load<u64>(vcpu, VCPU_FAULT_GVA);
  let sp = sptepToSp(rootTable);
  while (true) {
    store<u32>(sp, 0, SP_WRITE_FLOODING);
    const spte = load<u64>(sptepOf(sp, gva));
    if (!isShadowPresentPte(spte) || isLastSpte(spte, spLevel(sp))) return;
    sp = spteToChild(spte);
  }
}
