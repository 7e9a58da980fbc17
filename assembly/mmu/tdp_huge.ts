// Large pages of the two-dimensional backend as dirty logging starts and stops (cf. tdp_mmu.c, 6.1): they
// are split ahead of the first write (module parameter eager_page_split), and tables that a large page
// could stand for are zapped afterwards.

import {
  EVENT_FLUSH_REMOTE_TLBS_RANGE,
  EVENT_SPLIT_HUGE_PAGE,
  EVENT_SP_GET,
  FRAME_FLAGS,
  KVM_FEATURE_TDP_WHOLE_TABLES,
  KVM_TDP_ROOT,
  PG_HUGE,
  ROLE_LEVEL_MASK,
  ROLE_AD_DISABLED,
  SLOT_BASE_GFN,
  SLOT_NPAGES,
  SP_GFN,
  SP_ROLE,
  TDP_RULE_FLUSHES_FIRST,
} from '../abi';
import { SPTES_INSTALLED } from '../counters';
import { trace } from '../events';
import { bumpBy } from '../stats';
import { Gfn, Spte, Sptep } from '../types';
import { hugepageAdjust } from './fault';
import { framePtr } from '../mm/frame';
import { flushRemoteTlbs } from './flush';
import { hasFeature, hasTdpRule, KVM } from './kvm';
import { pagesPerHpage, slotPtr } from './memslot';
import { PT_PAGE_SIZE } from './pte_bits';
import { spAlloc, spLevel, spNotePresent, spTable, sptepToSp } from './shadow_page';
import {
  isLargePte,
  isLastSpte,
  isShadowPresentPte,
  makeNonleafSpte,
  SPTE_PFN_MASK,
  spteToPfn,
} from './spte';
import { changeTdpSpte, handleChangedSpte, removedSpte, ROOT_LEVEL } from './tdp_table';

/** tdp_mmu_zap_spte_atomic: the entry is frozen, TLBs are flushed, then it is free for a new one. What was below goes
 *  before the flush, or at the end. */
export function zapSpteAtomic(sptep: Sptep, gfn: Gfn): void {
  const old = load<u64>(sptep);
  const late = hasTdpRule(TDP_RULE_FLUSHES_FIRST);
  const whole = hasFeature(KVM_FEATURE_TDP_WHOLE_TABLES);
  if (!late) changeTdpSpte(sptep, whole ? 0 : removedSpte(), true, true);
  trace(EVENT_FLUSH_REMOTE_TLBS_RANGE, gfn, pagesPerHpage(spLevel(sptepToSp(sptep))));
  flushRemoteTlbs();
  store<u64>(sptep, 0);
  if (late) handleChangedSpte(sptep, old, 0, true, true);
}

/** tdp_mmu_split_huge_page: a table of smaller entries in place of a large one. */
export function splitHugeSpte(sptep: Sptep, gfn: Gfn): void {
  const parent = sptepToSp(sptep);
  const level = spLevel(parent);
  const huge = load<u64>(sptep);
  const role = (load<u32>(parent, SP_ROLE) & ~ROLE_LEVEL_MASK) | (level - 1);
  const sp = spAlloc(gfn, role);
  trace(EVENT_SP_GET, gfn, level - 1, role, 2);
  const step = (<u64>pagesPerHpage(level - 1)) << 12;
  let child: Spte = level == 2 ? huge & ~PT_PAGE_SIZE : huge;
  for (let i: u32 = 0; i < 512; i++, child += step) {
    store<u64>(spTable(sp) + ((<usize>i) << 3), child);
    spNotePresent(sp, i);
  }
  bumpBy(SPTES_INSTALLED, 512);
  changeTdpSpte(sptep, makeNonleafSpte(spTable(sp), (role & ROLE_AD_DISABLED) != 0), true, true);
  trace(EVENT_SPLIT_HUGE_PAGE, gfn, <u32>huge, level, 0);
}

/** Splits the large entries of [first, last] below a table down to 4 KiB. */
function splitTable(table: usize, level: u32, base: Gfn, first: Gfn, last: Gfn): void {
  const pages = pagesPerHpage(level);
  for (let i: u32 = 0; i < 512; i++) {
    const gfn = base + i * pages;
    if (gfn + (pages - 1) < first || gfn > last) continue;
    const sptep = table + ((<usize>i) << 3);
    if (!isShadowPresentPte(load<u64>(sptep))) continue;
    if (isLargePte(load<u64>(sptep))) splitHugeSpte(sptep, gfn);
    if (level > 2) splitTable(childOf(sptep), level - 1, gfn, first, last);
  }
}

function childOf(sptep: Sptep): usize {
  return <usize>(load<u64>(sptep) & SPTE_PFN_MASK);
}

/** kvm_tdp_mmu_try_split_huge_pages for a gfn range. */
export function tdpSplitHugePages(first: Gfn, npages: u32): void {
  const root = <usize>load<u32>(KVM, KVM_TDP_ROOT);
  if (root == 0 || hasFeature(KVM_FEATURE_TDP_WHOLE_TABLES)) return;
  const top = spTable(root);
  for (let i: u32 = 0; i < 512; i++) {
    const sptep = top + ((<usize>i) << 3);
    if (!isShadowPresentPte(load<u64>(sptep))) continue;
    const base = load<u32>(root, SP_GFN) + i * pagesPerHpage(ROOT_LEVEL);
    splitTable(childOf(sptep), ROOT_LEVEL - 1, base, first, first + npages - 1);
  }
}

/** Zaps the tables below one that a large page could stand for. */
function zapCollapsible(slot: usize, table: usize, level: u32, base: Gfn): void {
  const first = load<u32>(slot, SLOT_BASE_GFN);
  const last = first + load<u32>(slot, SLOT_NPAGES) - 1;
  const pages = pagesPerHpage(level);
  for (let i: u32 = 0; i < 512; i++) {
    const gfn = base + i * pages;
    const sptep = table + ((<usize>i) << 3);
    const spte = load<u64>(sptep);
    if (gfn + (pages - 1) < first || gfn > last || !isShadowPresentPte(spte)) continue;
    if (isLastSpte(spte, level)) continue;
    const inside = gfn >= first && gfn <= last && level <= 3;
    if (inside && hugepageAdjust(slot, gfn, 3) >= level) zapSpteAtomic(sptep, gfn);
    else if (level > 2) zapCollapsible(slot, childOf(sptep), level - 1, gfn);
  }
}

/** zap_collapsible_spte_range() of 5.10: leaves of whatever size that map a part of a compound page go; true: some did. */
function zapCompoundLeaves(slot: usize, table: usize, level: u32, base: Gfn): bool {
  const first = load<u32>(slot, SLOT_BASE_GFN);
  const last = first + load<u32>(slot, SLOT_NPAGES) - 1;
  const pages = pagesPerHpage(level);
  let any = false;
  for (let i: u32 = 0; i < 512; i++) {
    const gfn = base + i * pages;
    const sptep = table + ((<usize>i) << 3);
    const spte = load<u64>(sptep);
    if (gfn + (pages - 1) < first || gfn > last || !isShadowPresentPte(spte)) continue;
    if (!isLastSpte(spte, level)) {
      if (zapCompoundLeaves(slot, childOf(sptep), level - 1, gfn)) any = true;
    } else if ((load<u32>(framePtr(spteToPfn(spte)), FRAME_FLAGS) & PG_HUGE) != 0) {
      changeTdpSpte(sptep, 0, true, false);
      any = true;
    }
  }
  return any;
}

/** kvm_tdp_mmu_zap_collapsible_sptes for slot `id`. */
export function tdpZapCollapsible(id: u32): void {
  const root = <usize>load<u32>(KVM, KVM_TDP_ROOT);
  if (root == 0) return;
  if (hasFeature(KVM_FEATURE_TDP_WHOLE_TABLES)) {
    const top = load<u32>(root, SP_GFN);
    if (zapCompoundLeaves(slotPtr(id), spTable(root), ROOT_LEVEL, top)) flushRemoteTlbs();
    return;
  }
  zapCollapsible(slotPtr(id), spTable(root), ROOT_LEVEL, load<u32>(root, SP_GFN));
}
