// What the notifiers ask of the shadow MMU for a range of host pages: unmap, age, test (cf.
// kvm_handle_hva_range, kvm_unmap_gfn_range, kvm_age_gfn, kvm_test_age_gfn). A host page may be seen
// through several memslots, and a gfn through several sptes: all are visited.

import {
  AGE_CLEAR,
  AGE_DROP,
  KVM_FEATURE_SHORT_CHAINS,
  PT_ACCESSED_BIT,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_NPAGES,
  SPTE_BY_KVM_ZAP_ALL_RMAP_SPTES,
} from '../abi';
import { SPTES_AGED } from '../counters';
import { bump, bumpBy } from '../stats';
import { Gfn, Hvn, Spte, Sptep } from '../types';
import { flushGathered, gatherBegin, gathering, gatherMany, gatherSpte, tlbsDirty } from './flush';
import { hasFeature } from './kvm';
import {
  gfnMapped,
  gfnToRmap,
  nextMappedGfn,
  nextSlotOfMm,
  onlySlotOfHvn,
  rmapLevels,
} from './memslot';
import { PT_ACCESSED } from './pte_bits';
import { pteListFree, pteListRemove, rmapFirst, rmapIterFirst, rmapIterNext } from './rmap';
import { sptepToSp } from './shadow_page';
import {
  isAccessedSpte,
  isDirtySpte,
  markSpteForAccessTrack,
  SPTE_AD_DISABLED,
  spteAdEnabled,
  spteToPfn,
} from './spte';
import { clearSpteTrackBits, kvmSetPfnDirty } from './zap';
import { zapRows } from './zap_row';

/** kvm_zap_all_rmap_sptes; `accessed`: the mm hears of A bits that are lost. */
export function zapRmap(head: usize, accessed: bool): bool {
  if (load<u32>(head) == 0) return false;
  const only = <usize>load<u32>(head);
  if ((only & 1) == 0) {
    // One spte, no chain: what nearly every page has.
    gatherSpte(only);
    clearSpteTrackBits(sptepToSp(only), only, SPTE_BY_KVM_ZAP_ALL_RMAP_SPTES, accessed);
    store<u32>(head, 0);
    return true;
  }
  if (hasFeature(KVM_FEATURE_SHORT_CHAINS)) {
    zapOneByOne(head, accessed);
    return true;
  }
  for (let sptep = rmapIterFirst(head); sptep != 0; sptep = rmapIterNext()) {
    gatherSpte(sptep);
    clearSpteTrackBits(sptepToSp(sptep), sptep, SPTE_BY_KVM_ZAP_ALL_RMAP_SPTES, accessed);
  }
  pteListFree(head);
  return true;
}

/** kvm_zap_rmapp() of 5.10: the first spte, until none is left; the last of its descriptor takes its place. */
function zapOneByOne(head: usize, accessed: bool): void {
  for (let sptep = rmapFirst(head); sptep != 0; sptep = rmapFirst(head)) {
    gatherSpte(sptep);
    clearSpteTrackBits(sptepToSp(sptep), sptep, SPTE_BY_KVM_ZAP_ALL_RMAP_SPTES, accessed);
    pteListRemove(head, sptep);
  }
}

/** Zaps the sptes of one page of a slot, at every level; whether there was one. */
function zapGfn(slot: usize, gfn: Gfn): u32 {
  let flush: u32 = 0;
  for (let level: u32 = 1; level <= rmapLevels; level++) {
    const head = gfnToRmap(slot, gfn, level);
    if (load<u32>(head) != 0 && zapRmap(head, true)) flush = 1;
  }
  return flush;
}

/** Zaps every spte that maps a page of the range; true when TLBs must be flushed, for that or from before. */
export function unmapHvaRange(mm: u32, start: Hvn, end: Hvn): u32 {
  gatherBegin();
  const flush = unmapRange(mm, start, end);
  if (!tlbsDirty()) return flush;
  gatherMany();
  return 1;
}

function unmapRange(mm: u32, start: Hvn, end: Hvn): u32 {
  if (end - start == 1) {
    const only = onlySlotOfHvn(mm, start);
    if (only != 0) {
      return zapGfn(only, load<u32>(only, SLOT_BASE_GFN) + (start - load<u32>(only, SLOT_HVN)));
    }
  }
  let flush = false;
  for (let slot = nextSlotOfMm(0, mm); slot != 0; slot = nextSlotOfMm(slot, mm)) {
    if (unmapSlotRange(slot, start, end)) flush = true;
  }
  return flush ? 1 : 0;
}

/** The same for the part of the range that a slot maps. */
function unmapSlotRange(slot: usize, start: Hvn, end: Hvn): bool {
  const base = load<u32>(slot, SLOT_HVN);
  const first = max<u32>(start, base);
  const last = min<u32>(end, base + load<u32>(slot, SLOT_NPAGES));
  if (first >= last) return false;
  const gfnFirst = load<u32>(slot, SLOT_BASE_GFN) + (first - base);
  const gfnLast = load<u32>(slot, SLOT_BASE_GFN) + (last - 1 - base);
  let flush = false;
  for (let level: u32 = 1; level <= 2; level++) {
    let gfn = nextMappedGfn(slot, gfnFirst, gfnLast);
    while (gfn <= gfnLast) {
      const end = min<u32>(gfn | 511, gfnLast);
      if (zapHeads(gfnToRmap(slot, gfn, level), gfnToRmap(slot, end, level))) flush = true;
      const whole = (gfn & 511) == 0 && (end & 511) == 511;
      if (whole && level == 2) store<u8>(gfnMapped(slot, gfn), 0);
      if (end == gfnLast) break;
      gfn = nextMappedGfn(slot, end + 1, gfnLast);
    }
  }
  if (zapHeads(gfnToRmap(slot, gfnFirst, 3), gfnToRmap(slot, gfnLast, 3))) flush = true;
  return flush;
}

function zapHeads(head: usize, to: usize): bool {
  let flush = false;
  while (head <= to) {
    const next = zapRows(head, to);
    if (next != head) flush = true;
    head = next;
    // One by one up to the next place where a row may begin.
    for (let i: u32 = 0; i < 8 && head <= to; i++, head += 4) {
      if (load<u32>(head) != 0 && zapRmap(head, true)) flush = true;
    }
  }
  return flush;
}

/** mmu_spte_age: clears the accessed state of one spte; true when it was set. */
export function spteAge(sptep: Sptep): bool {
  const spte = load<u64>(sptep);
  if (!isAccessedSpte(spte)) return false;
  // Access tracking hides the W bit too, so a dirty page must not be forgotten.
  if (!spteAdEnabled(spte) && isDirtySpte(spte)) kvmSetPfnDirty(spteToPfn(spte));
  gatherSpte(sptep);
  store<u64>(sptep, markSpteForAccessTrack(spte));
  bump(SPTES_AGED);
  return true;
}

/** kvm_age_rmap and friends for one gfn at one level; returns whether it was young. */
function ageRmap(head: usize, action: u32): bool {
  if (load<u32>(head) == 0) return false;
  if (action == AGE_DROP) return zapRmap(head, false);
  const only = <usize>load<u32>(head);
  if ((only & 1) == 0) {
    return action == AGE_CLEAR ? spteAge(only) : isAccessedSpte(load<u64>(only));
  }
  let young = false;
  for (let sptep = rmapIterFirst(head); sptep != 0; sptep = rmapIterNext()) {
    if (action == AGE_CLEAR) {
      if (spteAge(sptep)) young = true;
    } else if (isAccessedSpte(load<u64>(sptep))) {
      young = true;
    }
  }
  return young;
}

/** Whether the heads from `head` on name eight sptes in a row, of which `first`, what the first head says, is the first. */
export function isRowOfEight(head: usize, first: Sptep): bool {
  // The first head of an empty page is 0, that of a chain is odd: neither is a row.
  const row = i32x4.splat(<i32>first);
  const heads0 = i32x4.eq(v128.load(head), i32x4.add(row, i32x4(0, 8, 16, 24)));
  const heads1 = i32x4.eq(v128.load(head, 16), i32x4.add(row, i32x4(32, 40, 48, 56)));
  return i32x4.all_true(v128.and(heads0, heads1)) && (first & 7) == 0;
}

/** How many sptes ageEights() found young. */
let agedInEights: u32 = 0;

/**
 * spteAge() of eight neighbours at a time, as long as the heads from `head` on name eight sptes in a
 * row, none of them access tracked: what a dense mapping looks like. Returns the head to go on with.
 */
function ageEights(head: usize, to: usize): usize {
  const accessed = i64x2.splat(PT_ACCESSED);
  const special = i64x2.splat(SPTE_AD_DISABLED);
  let young = i64x2.splat(0);
  for (; head + 28 <= to; head += 32) {
    const sptep = <usize>load<u32>(head);
    if (!isRowOfEight(head, sptep)) break;
    const a = v128.load(sptep);
    const b = v128.load(sptep, 16);
    const c = v128.load(sptep, 32);
    const d = v128.load(sptep, 48);
    const all = v128.or(v128.or(a, b), v128.or(c, d));
    if (v128.any_true(v128.and(all, special))) break;
    const two = i64x2.add(v128.and(a, accessed), v128.and(b, accessed));
    young = i64x2.add(young, i64x2.add(two, v128.and(c, accessed)));
    young = i64x2.add(young, v128.and(d, accessed));
    v128.store(sptep, v128.andnot(a, accessed));
    v128.store(sptep, v128.andnot(b, accessed), 16);
    v128.store(sptep, v128.andnot(c, accessed), 32);
    v128.store(sptep, v128.andnot(d, accessed), 48);
  }
  const sum = i64x2.extract_lane(young, 0) + i64x2.extract_lane(young, 1);
  if (sum != 0) gatherMany();
  agedInEights += <u32>(sum >> PT_ACCESSED_BIT);
  return head;
}

/** Ages the heads from `head` to `to` at one level; whether any page was young (or mapped). */
function ageHeads(head: usize, to: usize, action: u32): bool {
  let young = false;
  agedInEights = 0;
  while (head <= to) {
    if (action == AGE_CLEAR) head = ageEights(head, to);
    // One by one up to the next place where a row may begin.
    for (let i: u32 = 0; i < 8 && head <= to; i++, head += 4) {
      if (load<u32>(head) != 0 && ageRmap(head, action)) young = true;
    }
  }
  bumpBy(SPTES_AGED, agedInEights);
  return young || agedInEights != 0;
}

/** The part of a range that a slot maps. */
function ageSlotRange(slot: usize, first: Gfn, last: Gfn, action: u32): bool {
  let young = false;
  for (let level: u32 = 1; level <= 2; level++) {
    let gfn = nextMappedGfn(slot, first, last);
    while (gfn <= last) {
      const end = min<u32>(gfn | 511, last);
      const from = gfnToRmap(slot, gfn, level);
      if (ageHeads(from, gfnToRmap(slot, end, level), action)) young = true;
      if (end == last) break;
      gfn = nextMappedGfn(slot, end + 1, last);
    }
  }
  if (ageHeads(gfnToRmap(slot, first, 3), gfnToRmap(slot, last, 3), action)) young = true;
  return young;
}

/** Ages one page of a slot, at every level. */
function ageGfn(slot: usize, gfn: Gfn, action: u32): u32 {
  let young: u32 = 0;
  for (let level: u32 = 1; level <= rmapLevels; level++) {
    const head = gfnToRmap(slot, gfn, level);
    if (load<u32>(head) != 0 && ageRmap(head, action)) young = 1;
  }
  return young;
}

/** Whether an spte has an A bit, and it is set: all that ageing it clears. */
export function isPlainlyYoung(spte: Spte): bool {
  return (spte & (PT_ACCESSED | SPTE_AD_DISABLED)) == PT_ACCESSED;
}

/**
 * ageHvaRange() for one page. What nearly every page is goes first: one spte with an A bit, and no
 * flush that wants to know of it.
 */
export function ageHva(mm: u32, hvn: Hvn, action: u32): u32 {
  gatherBegin();
  const slot = onlySlotOfHvn(mm, hvn);
  if (slot == 0) return ageSlots(mm, hvn, hvn + 1, action);
  const gfn = load<u32>(slot, SLOT_BASE_GFN) + (hvn - load<u32>(slot, SLOT_HVN));
  const only = <usize>load<u32>(gfnToRmap(slot, gfn, 1));
  const plain = action == AGE_CLEAR && only != 0 && (only & 1) == 0;
  if (!plain || rmapLevels != 1 || gathering()) return ageGfn(slot, gfn, action);
  const spte = load<u64>(only);
  if (!isPlainlyYoung(spte)) return ageGfn(slot, gfn, action);
  store<u64>(only, spte & ~PT_ACCESSED);
  bump(SPTES_AGED);
  return 1;
}

/** ageHvaRange() slot by slot. */
function ageSlots(mm: u32, start: Hvn, end: Hvn, action: u32): u32 {
  let young = false;
  for (let slot = nextSlotOfMm(0, mm); slot != 0; slot = nextSlotOfMm(slot, mm)) {
    const base = load<u32>(slot, SLOT_HVN);
    const first = max<u32>(start, base);
    const last = min<u32>(end, base + load<u32>(slot, SLOT_NPAGES));
    if (first >= last) continue;
    const gfnFirst: Gfn = load<u32>(slot, SLOT_BASE_GFN) + (first - base);
    const gfnLast: Gfn = load<u32>(slot, SLOT_BASE_GFN) + (last - 1 - base);
    if (ageSlotRange(slot, gfnFirst, gfnLast, action)) young = true;
  }
  return young ? 1 : 0;
}

/**
 * Ages the pages of a range (AGE_*). Returns whether any was young; for AGE_DROP, whether any was
 * mapped, since dropping is what stands for the accessed bit there. The caller flushes.
 */
export function ageHvaRange(mm: u32, start: Hvn, end: Hvn, action: u32): u32 {
  if (end - start == 1) return ageHva(mm, start, action);
  gatherBegin();
  return ageSlots(mm, start, end, action);
}

/** ageHvaRange() and the flush that ends it, when nothing comes between them. */
export function ageAndFlush(mm: u32, start: Hvn, end: Hvn, action: u32): u32 {
  const young = ageHvaRange(mm, start, end, action);
  if (young != 0) flushGathered();
  return young;
}

/** unmapHvaRange() and the flush that ends it. */
export function unmapAndFlush(mm: u32, start: Hvn, end: Hvn): void {
  if (unmapHvaRange(mm, start, end) != 0) flushGathered();
}

/** The flush that ends a call above. */
export function flushTlbs(): void {
  flushGathered();
}
