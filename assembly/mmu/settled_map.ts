// Installing a translation where everything is settled: the hardware's walk has just passed all shadow tables and
// ended at an empty entry, and nothing ran since that could change what the guest walk found. What shadowMap()
// (fault.ts) does then, without looking at the tables again. Only on a straight run (walkCacheOn()).

import {
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  ACC_PKEY_SHIFT,
  ACC_WRITE_MASK,
  CR0_WP,
  KVM_FEATURE_PREFETCH,
  KVM_FEATURE_SPTE_PINS,
  KVM_FEATURE_USER_UNSHADOWS,
  KVM_LAST_PT_WRITE_COUNT,
  KVM_N_MAX_MMU_PAGES,
  RET_PF_CONTINUE,
  RET_PF_FIXED,
  ROLE_AD_DISABLED,
  SP_ROLE,
  SP_WRITE_FLOODING,
  VCPU_CR0,
  VCPU_FAULT_FLAGS,
  VCPU_ROOT,
  VCPU_WALK_GFN,
  VCPU_WALK_LEVEL,
  VCPU_WALK_PKEY,
  VCPU_WALK_PTE_ACCESS,
} from '../abi';
import { SPTES_INSTALLED } from '../counters';
import { getPage } from '../mm/frame';
import { bump } from '../stats';
import { Pfn } from '../types';
import { ptePrefetch } from './prefetch';
import { hasFeature, KVM } from './kvm';
import { firstSpte } from './make_spte';
import { gfnMapped, gfnToRmap, markPageDirty } from './memslot';
import { gfnTracked } from './page_track';
import {
  hashFirst,
  nextValidSpWithGptes,
  spNotePresent,
  spSetTranslation,
  spteIndex,
  sptepToSp,
  tableToSp,
} from './shadow_page';
import { absentSptep, absentTable2, absentTable3, isAbsentReached } from './shadow_walk';
import { spteLruOn } from './spte_lru';

/**
 * Maps the access that VCPU_WALK_* describes, to a gfn of `slot`, to the host page `pfn` at absentSptep. RET_PF_FIXED, or
 * RET_PF_CONTINUE: nothing was done, it is for shadowMap().
 */
export function shadowMapSettled(vcpu: usize, slot: usize, pfn: Pfn, hostWritable: u32): u32 {
  const sptep = absentSptep;
  if (!isAbsentReached() || load<u64>(sptep) != 0) return RET_PF_CONTINUE;
  // With CR0.WP the rights are those of the walk; without a limit no table has to go.
  const special = (load<u32>(vcpu, VCPU_CR0) & CR0_WP) ^ CR0_WP;
  const limited = load<u32>(KVM, KVM_N_MAX_MMU_PAGES);
  if (special | limited | (load<u32>(vcpu, VCPU_WALK_LEVEL) ^ 1)) return RET_PF_CONTINUE;
  const sp = sptepToSp(sptep);
  if (spteLruOn) return RET_PF_CONTINUE;
  const adDisabled = (load<u32>(sp, SP_ROLE) & ROLE_AD_DISABLED) != 0;
  const gfn = load<u32>(vcpu, VCPU_WALK_GFN);
  const head = gfnToRmap(slot, gfn, 1);
  if (load<u32>(head) != 0) return RET_PF_CONTINUE;
  const access =
    load<u32>(vcpu, VCPU_WALK_PTE_ACCESS) | (load<u32>(vcpu, VCPU_WALK_PKEY) << ACC_PKEY_SHIFT);
  const writable = hostWritable != 0 && (access & ACC_WRITE_MASK) != 0;
  if (writable || unshadows(vcpu)) {
    // A page that holds a table of the guest's is another case.
    const first = hashFirst(gfn);
    if (first != 0 && nextValidSpWithGptes(first, gfn) != 0) return RET_PF_CONTINUE;
    if (gfnTracked(slot, gfn) != 0) return RET_PF_CONTINUE;
  }
  store<u32>(tableToSp(<usize>load<u32>(vcpu, VCPU_ROOT)), 0, SP_WRITE_FLOODING);
  store<u32>(tableToSp(absentTable3), 0, SP_WRITE_FLOODING);
  store<u32>(tableToSp(absentTable2), 0, SP_WRITE_FLOODING);
  store<u32>(sp, 0, SP_WRITE_FLOODING);
  store<u64>(sptep, firstSpte(access, pfn, hostWritable != 0, adDisabled));
  if (writable) markPageDirty(slot, gfn);
  const index = spteIndex(sptep);
  spSetTranslation(sp, index, gfn, access);
  store<u32>(head, <u32>sptep);
  store<u8>(gfnMapped(slot, gfn), 1);
  spNotePresent(sp, index);
  bump(SPTES_INSTALLED);
  if (hasFeature(KVM_FEATURE_SPTE_PINS)) getPage(pfn);
  if (hasFeature(KVM_FEATURE_PREFETCH)) ptePrefetch(vcpu, sptep);
  store<u32>(KVM, 0, KVM_LAST_PT_WRITE_COUNT);
  return RET_PF_FIXED;
}

/** Whether the access ends the shadowing of the page it writes. */
function unshadows(vcpu: usize): bool {
  if (!hasFeature(KVM_FEATURE_USER_UNSHADOWS)) return false;
  return (load<u32>(vcpu, VCPU_FAULT_FLAGS) & ACCESS_KIND_MASK) == ACCESS_WRITE;
}
