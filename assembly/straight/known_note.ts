// What is noted of a page for its next faults (known_page.ts): after a plain fault was served, and again by the first fault
// of each quiet.

import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACC_ALL,
  ROLE_AD_DISABLED,
  SP_ROLE,
  SP_TRANSLATIONS,
  STRAIGHT_AREA_FILE,
  STRAIGHT_AREA_OFFSET,
  STRAIGHT_NOT,
  VCPU_TLB,
} from '../abi';
import { leafPmdp, ptepAt } from '../mm/pte';
import { gupFlags } from '../mmu/fault_policy';
import { GUEST_BITS, GUEST_CALM } from '../mmu/leaf_table';
import { firstSpte } from '../mmu/make_spte';
import { gfnMapped, gfnToRmap, rmapLevels } from '../mmu/memslot';
import { mayBeKnown } from '../mmu/settled_map';
import { settledTable } from '../mmu/settled_table';
import { bitmapWord, spteIndex, sptepToSp } from '../mmu/shadow_page';
import { reachedLeaf, reachedSptep, withDirty } from '../mmu/shadow_walk';
import { TLB_NX, TLB_PAGE_MASK, TLB_SU } from '../tlb/block';
import {
  firstWay,
  placeL1,
  placeL2,
  placeSignature,
  purgePlaced,
  tlbFlushCount,
  tlbHoldsNone,
} from '../tlb/known';
import { userDenyBits } from '../tlb/rights';
import { Gfn, Hvn, Spte } from '../types';
import { areaOf } from './config';
import { argsOf } from './gup';
import {
  isKnown,
  KNOWN_AREA,
  KNOWN_BITMAP,
  KNOWN_CACHE,
  KNOWN_CACHEP,
  KNOWN_FRESH,
  KNOWN_GPTE,
  KNOWN_GPTEP,
  KNOWN_GUEST,
  KNOWN_HEAD,
  KNOWN_HPTEP,
  KNOWN_HVN,
  KNOWN_KEYS,
  KNOWN_L1_SET,
  KNOWN_L2_SET,
  KNOWN_L2_WAY,
  KNOWN_PMDP,
  KNOWN_PURGED,
  KNOWN_SIGNATURE,
  KNOWN_SPTE,
  KNOWN_TRANSLATION,
  KNOWN_WHERE,
  KNOWN_WRITABLE,
  makeKnown,
  newEntry,
  notedPage,
} from './known_page';
import { freshOf } from './known_touch';
import { isPlainKind, knowing, learnRules, wantOfKind, writableSlot } from './plain_rules';

/** Bits of a TLB's key that deny accesses: SU, which each user's page has, and three above it. */
const KEY_SHIFT: u64 = 8;
const KEY_MASK: u32 = 15;
if (TLB_SU != 1 << KEY_SHIFT || TLB_NX > TLB_SU << 3) ERROR('known_fault: KEY_SHIFT');

/** Those of the spte of an entry, where the host maps the page read-only or writable. */
export function keyBits(entry: usize, writable: bool): u64 {
  const keys = <u32>load<u8>(entry, KNOWN_KEYS);
  return (<u64>((keys >> select<u32>(4, 0, writable)) & KEY_MASK)) << KEY_SHIFT;
}

/** Notes them. */
function noteKeys(entry: usize, readable: Spte, writable: Spte): void {
  const low = userDenyBits(withDirty(readable)) >> KEY_SHIFT;
  const high = userDenyBits(withDirty(writable)) >> KEY_SHIFT;
  store<u8>(entry, <u8>(low | (high << 4)), KNOWN_KEYS);
}

/** Removes dead ways from the sets of a page in a TLB, and notes when. */
export function purgePlaces(tlb: usize, entry: usize, gva: u64): void {
  purgePlaced(tlb, gva);
  store<u32>(entry, tlbFlushCount(tlb), KNOWN_PURGED);
}

/** Kinds of accesses (a bit each) that are plain at a guest's entry below tables that grant `above`, to a host page. */
function kindsOf(gpte: u64, above: u32, area: usize): u32 {
  let kinds: u32 = 0;
  for (let kind = ACCESS_READ; kind <= ACCESS_FETCH; kind++) {
    const args = argsOf(area, gupFlags | wantOfKind(kind));
    if (args != STRAIGHT_NOT && isPlainKind(gpte, above, kind)) kinds |= (<u32>1) << kind;
  }
  return kinds;
}

/** Notes the page that was just mapped for the fault at `gva` and reachedSptep. */
export function noteKnown(
  vcpu: usize,
  gva: u64,
  slot: usize,
  gfn: Gfn,
  access: u32,
  hvn: Hvn,
  pmdp: usize,
): void {
  const sptep = reachedSptep;
  const guest = settledTable(vcpu, reachedLeaf, gva);
  const area = areaOf(hvn);
  if (guest == 0 || area == 0) return;
  const gptep = <usize>(guest & ~GUEST_BITS) + (sptep & 0xff8);
  const gpte = load<u64>(gptep);
  const entry = newEntry(sptep, gva, kindsOf(gpte, guest, area));
  if (entry == 0) return;
  const sp = sptepToSp(sptep);
  const adDisabled = (load<u32>(sp, SP_ROLE) & ROLE_AD_DISABLED) != 0;
  const spte = firstSpte(access, 0, false, adDisabled);
  const where = <usize>load<u32>(sp, SP_TRANSLATIONS) + ((<usize>spteIndex(sptep)) << 2);
  store<u64>(entry, gpte, KNOWN_GPTE);
  store<u64>(entry, spte, KNOWN_SPTE);
  const writable = firstSpte(access, 0, true, adDisabled);
  store<u64>(entry, writable ^ spte, KNOWN_WRITABLE);
  noteKeys(entry, spte, writable);
  store<u8>(entry, placeSignature(gva), KNOWN_SIGNATURE);
  store<u32>(entry, <u32>gptep, KNOWN_GPTEP);
  store<u32>(entry, <u32>gfnToRmap(slot, gfn, 1), KNOWN_HEAD);
  store<u32>(entry, <u32>ptepAt(pmdp, hvn), KNOWN_HPTEP);
  store<u32>(entry, <u32>where, KNOWN_WHERE);
  store<u32>(entry, <u32>bitmapWord(sptep), KNOWN_BITMAP);
  store<u32>(entry, (gfn << 3) | (access & ACC_ALL), KNOWN_TRANSLATION);
  store<u32>(entry, hvn, KNOWN_HVN);
  store<u32>(entry, <u32>pmdp, KNOWN_PMDP);
  store<u32>(entry, guest & ~GUEST_CALM, KNOWN_GUEST);
  store<u32>(entry, 0, KNOWN_L1_SET);
  noteFile(entry, area, hvn);
}

/** Notes the area of a known page, and where its file's cache has it. */
function noteFile(entry: usize, area: usize, hvn: Hvn): void {
  const file = load<u32>(area, STRAIGHT_AREA_FILE);
  const offset = hvn + load<u32>(area, STRAIGHT_AREA_OFFSET);
  const cache = file == 0 ? 0 : leafPmdp(file, offset);
  store<u32>(entry, <u32>area, KNOWN_AREA);
  store<u32>(entry, cache == 0 ? 0 : freshOf(area), KNOWN_FRESH);
  store<u32>(entry, <u32>cache, KNOWN_CACHE);
  store<u32>(entry, cache == 0 ? 0 : <u32>ptepAt(cache, offset), KNOWN_CACHEP);
}

/** Notes where the page of an entry is in a TLB. */
function notePlaces(tlb: usize, entry: usize, gva: u64): void {
  const l1Set = placeL1(tlb, gva);
  if (<u32>l1Set == load<u32>(entry, KNOWN_L1_SET)) return;
  const l2Set = placeL2(tlb, gva);
  store<u32>(entry, <u32>l1Set, KNOWN_L1_SET);
  store<u32>(entry, <u32>l2Set, KNOWN_L2_SET);
  store<u32>(entry, <u32>firstWay(l2Set), KNOWN_L2_WAY);
}

/**
 * Makes the entry of a page that was noted good for this quiet, if it may be: the access to `want` faulted at
 * reachedSptep.
 */
export function renewKnown(vcpu: usize, want: u64): bool {
  learnRules(vcpu);
  const gva = want & TLB_PAGE_MASK;
  const entry = notedPage(reachedSptep, gva);
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  if (!knowing || entry == 0 || rmapLevels > 1) return false;
  if (isKnown(entry)) return true;
  // The first fault of a quiet below a table clears flood counts.
  const guest = settledTable(vcpu, reachedLeaf, gva);
  if (guest != (load<u32>(entry, KNOWN_GUEST) | GUEST_CALM)) return false;
  const gfn = load<u32>(entry, KNOWN_TRANSLATION) >> 3;
  const slot = writableSlot(gfn);
  if (slot == 0 || !mayBeKnown(slot, gfn) || !tlbHoldsNone(tlb, gva)) return false;
  // mapFirst() notes it each time; only the host clears it.
  store<u8>(gfnMapped(slot, gfn), 1);
  notePlaces(tlb, entry, gva);
  purgePlaces(tlb, entry, gva);
  makeKnown(entry);
  return true;
}
