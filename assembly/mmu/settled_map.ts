// Installing a translation where everything is settled: the hardware's walk has just passed all shadow tables and
// faulted at a leaf entry, and nothing ran since that could change what the guest walk found. What shadowMap()
// (fault.ts) does then, without looking at the tables again. Only on a straight run (walkCacheOn()).

import {
  ACCESS_WRITE,
  ACC_WRITE_MASK,
  CR0_WP,
  KVM_FEATURE_PREFETCH,
  KVM_FEATURE_SPTE_PINS,
  KVM_FEATURE_USER_UNSHADOWS,
  KVM_LAST_PT_WRITE_COUNT,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_N_MAX_MMU_PAGES,
  ROLE_AD_DISABLED,
  SLOT_FLAGS,
  SP_ROLE,
  VCPU_CR0,
  VCPU_ROOT,
} from '../abi';
import { SPTES_INSTALLED } from '../counters';
import { getPage } from '../mm/frame';
import { bump } from '../stats';
import { Gfn, Pfn } from '../types';
import { clearFloodCounts } from './invlpg';
import { ptePrefetch } from './prefetch';
import { hasFeature, KVM } from './kvm';
import { firstSpte } from './make_spte';
import { gfnMapped, gfnToRmap, lpageInfo, markPageDirty } from './memslot';
import { gfnTracked } from './page_track';
import {
  hashFirst,
  nextValidSpWithGptes,
  spNotePresent,
  spObsolete,
  spSetTranslation,
  spteIndex,
  sptepToSp,
  tableToSp,
} from './shadow_page';
import { reachedLeaf, reachedSptep } from './shadow_walk';
import { isCalm } from './settled_table';
import { spteLruOn } from './spte_lru';

/** Whether mapFirst() may be asked for: the rights are those of the walk (CR0.WP), and no table has to go for it. */
export function mayMapFirst(vcpu: usize): bool {
  const special = (load<u32>(vcpu, VCPU_CR0) & CR0_WP) ^ CR0_WP;
  if (special | load<u32>(KVM, KVM_N_MAX_MMU_PAGES) || spteLruOn) return false;
  const root = <usize>load<u32>(vcpu, VCPU_ROOT);
  return root != 0 && !spObsolete(tableToSp(root));
}

/** Whether a page that is mapped with ACC_* rights `access` holds no table of the guest's that matters. */
function holdsNoTable(slot: usize, gfn: Gfn, access: u32, flags: u32): bool {
  // Around a shadowed table no large page is allowed.
  if (load<u32>(lpageInfo(slot, gfn, 2)) == 0) return true;
  if ((access & ACC_WRITE_MASK) == 0 && !unshadows(flags)) return true;
  // What is tracked is shadowed, by an obsolete shadow page maybe.
  const first = hashFirst(gfn);
  if (first == 0) return true;
  return nextValidSpWithGptes(first, gfn) == 0 && gfnTracked(slot, gfn) == 0;
}

/**
 * Whether all that an access to a gfn of `slot` has to be asked, but whether it is mapped, is the same until links
 * between tables change: no table lies there, and nobody logs what gets dirty.
 */
export function mayBeKnown(slot: usize, gfn: Gfn): bool {
  const logs = (load<u32>(slot, SLOT_FLAGS) & KVM_MEM_LOG_DIRTY_PAGES) != 0;
  return !logs && holdsNoTable(slot, gfn, ACC_WRITE_MASK, ACCESS_WRITE);
}

/** Whether an access is the first to a gfn of `slot`, which holds no table of the guest's. */
export function isFirstMapping(slot: usize, gfn: Gfn, access: u32, flags: u32): bool {
  return load<u32>(gfnToRmap(slot, gfn, 1)) == 0 && holdsNoTable(slot, gfn, access, flags);
}

/** Whether the only spte of such a gfn is reachedSptep. */
export function isOnlyMapping(slot: usize, gfn: Gfn, access: u32, flags: u32): bool {
  const head = <usize>load<u32>(gfnToRmap(slot, gfn, 1));
  return head == reachedSptep && holdsNoTable(slot, gfn, access, flags);
}

/** Writes the spte of an access to the host page `pfn` at reachedSptep; `access` has the protection key, too. */
function writeSpte(
  vcpu: usize,
  slot: usize,
  gfn: Gfn,
  access: u32,
  pfn: Pfn,
  hostWritable: bool,
): void {
  const sptep = reachedSptep;
  const sp = sptepToSp(sptep);
  if (!isCalm(reachedLeaf)) clearFloodCounts(vcpu, <usize>load<u32>(vcpu, VCPU_ROOT));
  const adDisabled = (load<u32>(sp, SP_ROLE) & ROLE_AD_DISABLED) != 0;
  store<u64>(sptep, firstSpte(access, pfn, hostWritable, adDisabled));
  if (hostWritable && (access & ACC_WRITE_MASK) != 0) markPageDirty(slot, gfn);
  spSetTranslation(sp, spteIndex(sptep), gfn, access);
  store<u32>(KVM, 0, KVM_LAST_PT_WRITE_COUNT);
}

/** Maps an access that isFirstMapping(). */
export function mapFirst(
  vcpu: usize,
  slot: usize,
  gfn: Gfn,
  access: u32,
  pfn: Pfn,
  hostWritable: bool,
): void {
  const sptep = reachedSptep;
  writeSpte(vcpu, slot, gfn, access, pfn, hostWritable);
  store<u32>(gfnToRmap(slot, gfn, 1), <u32>sptep);
  store<u8>(gfnMapped(slot, gfn), 1);
  spNotePresent(sptepToSp(sptep), spteIndex(sptep));
  bump(SPTES_INSTALLED);
  if (hasFeature(KVM_FEATURE_SPTE_PINS)) getPage(pfn);
  if (hasFeature(KVM_FEATURE_PREFETCH)) ptePrefetch(vcpu, sptep);
}

/** Makes the spte of a write writable that isOnlyMapping() of the same host page. */
export function mapWritable(vcpu: usize, slot: usize, gfn: Gfn, access: u32, pfn: Pfn): void {
  writeSpte(vcpu, slot, gfn, access, pfn, true);
  if (hasFeature(KVM_FEATURE_PREFETCH)) ptePrefetch(vcpu, reachedSptep);
}

/** Whether the access ends the shadowing of the page it writes. */
function unshadows(flags: u32): bool {
  return flags == ACCESS_WRITE && hasFeature(KVM_FEATURE_USER_UNSHADOWS);
}
