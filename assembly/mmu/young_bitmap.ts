// Which pages of a range are young, a bit each: the bitmap of mmu_notifier_test_clear_young(), which was
// proposed for MGLRU ("mm/kvm: locklessly clear the accessed bit", linux-mm 2023 and 2024). A call a
// page, as page_idle and MGLRU make them, costs several times what is done for the page; this asks page
// by page, too, but finds the slot once for 32 of them, and looks at eight at a time where their sptes are in a row.

import {
  AGE_CLEAR,
  KVM_TDP_ROOT,
  PT_ACCESSED_BIT,
  SLOT_BASE_GFN,
  SLOT_HVN,
  YOUNG_BITMAP_PAGES,
} from '../abi';
import { SPTES_AGED } from '../counters';
import { bumpBy } from '../stats';
import { Hvn, Sptep } from '../types';
import { ageHva, isPlainlyYoung, isRowOfEight } from './age';
import { gatherMany } from './flush';
import { KVM } from './kvm';
import { gfnToRmap, onlySlotOfHvn, rmapLevels } from './memslot';
import { PT_ACCESSED } from './pte_bits';
import { SPTE_AD_DISABLED } from './spte';
import { tdpAgeHvaRange } from './tdp_range';

/** The answers: one bit a page, in words. */
const BITMAP: usize = memory.data(4096, 8);
if (YOUNG_BITMAP_PAGES != 4096 << 3) ERROR('young_bitmap: BITMAP has a bit a page');

/** Address of the bitmap, for the host. */
export function youngBitmapPtr(): u32 {
  return <u32>BITMAP;
}

/** Ages one page in any case. */
function ageAny(mm: u32, hvn: Hvn, action: u32): u32 {
  if (load<u32>(KVM, KVM_TDP_ROOT) != 0) return tdpAgeHvaRange(mm, hvn, hvn + 1, action);
  return ageHva(mm, hvn, action);
}

/** Head of the rmap of a page if those of all pages up to `last` follow, with none at other levels; or 0. */
function headOfRun(mm: u32, first: Hvn, last: Hvn): usize {
  const slot = onlySlotOfHvn(mm, first);
  if (slot == 0 || onlySlotOfHvn(mm, last) != slot) return 0;
  if (rmapLevels != 1 || load<u32>(KVM, KVM_TDP_ROOT) != 0) return 0;
  return gfnToRmap(slot, load<u32>(slot, SLOT_BASE_GFN) + (first - load<u32>(slot, SLOT_HVN)), 1);
}

/** Of ageRow(): nothing was done. */
const NOT_PLAIN: u32 = 0x100;

/** Ages eight sptes in a row: a bit for each that was young; NOT_PLAIN where one is access tracked. */
function ageRow(sptep: Sptep): u32 {
  const a = v128.load(sptep);
  const b = v128.load(sptep, 16);
  const c = v128.load(sptep, 32);
  const d = v128.load(sptep, 48);
  const all = v128.or(v128.or(a, b), v128.or(c, d));
  if (v128.any_true(v128.and(all, i64x2.splat(SPTE_AD_DISABLED)))) return NOT_PLAIN;
  const accessed = i64x2.splat(PT_ACCESSED);
  v128.store(sptep, v128.andnot(a, accessed));
  v128.store(sptep, v128.andnot(b, accessed), 16);
  v128.store(sptep, v128.andnot(c, accessed), 32);
  v128.store(sptep, v128.andnot(d, accessed), 48);
  return youngBits(a) | (youngBits(b) << 2) | (youngBits(c) << 4) | (youngBits(d) << 6);
}

/** A bit for each of two sptes with an A bit that is set. */
function youngBits(sptes: v128): u32 {
  return <u32>i64x2.bitmask(i64x2.shl(sptes, 63 - PT_ACCESSED_BIT));
}

/** The answers for `count` pages, one by one; their heads are from `head` on, or 0: somewhere. */
function agePages(mm: u32, first: Hvn, count: u32, head: usize, action: u32): u32 {
  let young: u32 = 0;
  let cleared: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    if (head != 0) {
      const only = <usize>load<u32>(head + ((<usize>i) << 2));
      if (only == 0) continue;
      const spte = load<u64>(only & ~7);
      if ((only & 1) == 0 && isPlainlyYoung(spte)) {
        store<u64>(only, spte & ~PT_ACCESSED);
        cleared++;
        young |= (<u32>1) << i;
        continue;
      }
    }
    young |= ageAny(mm, first + i, action) << i;
  }
  bumpBy(SPTES_AGED, cleared);
  return young;
}

/** The answers for at most 32 pages. */
function ageWord(mm: u32, first: Hvn, end: Hvn, action: u32): u32 {
  let head = action == AGE_CLEAR ? headOfRun(mm, first, end - 1) : 0;
  let answers: u32 = 0;
  for (let i: u32 = 0; i < end - first; i += 8) {
    const count = min<u32>(end - first - i, 8);
    let young = NOT_PLAIN;
    if (head != 0 && count == 8) {
      const sptep = <usize>load<u32>(head);
      if (isRowOfEight(head, sptep)) young = ageRow(sptep);
    }
    if (young == NOT_PLAIN) young = agePages(mm, first + i, count, head, action);
    else bumpBy(SPTES_AGED, popcnt(young));
    answers |= young << i;
    if (head != 0) head += 32;
  }
  return answers;
}

/**
 * Ages at most YOUNG_BITMAP_PAGES pages, each by itself (AGE_CLEAR or AGE_TEST), and leaves the answers
 * in the bitmap. Returns how many were young. Nothing is flushed.
 */
export function testClearYoung(mm: u32, start: Hvn, end: Hvn, action: u32): u32 {
  assert(end - start <= YOUNG_BITMAP_PAGES, 'the bitmap has a bit for each page');
  let count: u32 = 0;
  let word = BITMAP;
  for (let first = start; first < end; first += 32) {
    const young = ageWord(mm, first, min<u32>(first + 32, end), action);
    store<u32>(word, young);
    count += popcnt(young);
    word += 4;
  }
  // A flush that follows is for all of them.
  if (count != 0) gatherMany();
  return count;
}
