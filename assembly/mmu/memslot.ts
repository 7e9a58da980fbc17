// Memslots: ranges of gfns backed by ranges of hvns (cf. struct kvm_memory_slot), and the way from a
// gfn to the memory behind it. Each slot carries its rmap heads, its large-page bans, its
// write-tracking counts and, while dirty logging is on, its dirty bitmap.

import {
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_PROTNONE,
  HPTE_WRITE,
  HPTE_YOUNG,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  NO_HVN,
  NO_MEMSLOT,
  SLOT_BASE_GFN,
  SLOT_DIRTY,
  SLOT_FLAGS,
  SLOT_HVN,
  SLOT_ID,
  SLOT_INSTALLED,
  SLOT_LPAGE,
  SLOT_MAPPED,
  SLOT_MAX,
  SLOT_MM,
  SLOT_NPAGES,
  SLOT_RMAP,
  SLOT_SIZE,
  SLOT_USED,
} from '../abi';
import { arenaAlloc } from '../layout';
import { frameContentForWrite, frameContentPtr } from '../mm/frame';
import { ptepsMoved } from '../mm/pgtable';
import { hpteGet, hpteOr } from '../mm/pte';
import { Gfn, Hvn } from '../types';
import { trackAlloc, trackClear } from './page_track';
import { walkCacheOn } from './walk_cache';

/** The slots, by id. */
export const SLOTS: usize = memory.data(4096, 8);
if (SLOT_SIZE * SLOT_MAX != 4096) ERROR('memslot: SLOTS holds SLOT_MAX records');

/** Ids at or above this were never used; bounds the search. */
let slotEnd: u32 = 0;
/** Slot that the last search found: guest accesses cluster. */
export let lastSlot: usize = 0;
/** Whether some hvn of an mm is in two slots. */
let hvnsShared: bool = false;
/** Highest level at which a page ever had an spte: the rmap heads above it are empty. */
export let rmapLevels: u32 = 1;
/** Slot that the last search by hvn found, where no hvn is in two; 0: none was found since. */
export let lastAlone: usize = 0;

/** Pages that a mapping of `level` covers: 1, 512, 262144. */
export function pagesPerHpage(level: u32): u32 {
  return (<u32>1) << ((level - 1) * 9);
}

/** Address of slot `id`. */
export function slotPtr(id: u32): usize {
  return SLOTS + <usize>(id * SLOT_SIZE);
}

/** End of the slots that were ever used. */
export function slotsEnd(): usize {
  return slotPtr(slotEnd);
}

/** Units of `level` that a slot touches. */
function unitsOf(base: Gfn, npages: u32, level: u32): u32 {
  const shift = (level - 1) * 9;
  return ((base + npages - 1) >> shift) - (base >> shift) + 1;
}

/** Side tables for a slot of `npages`; those of a deleted slot of the same shape are used again. */
function allocSideTables(slot: usize, baseGfn: Gfn, npages: u32): void {
  store<u32>(slot, npages, SLOT_USED);
  for (let level: u32 = 1; level <= 3; level++) {
    // One unit of slack: the base may move within a large page while the size stays.
    const bytes = (<usize>unitsOf(baseGfn, npages, level) + 1) << 2;
    store<u32>(slot + <usize>((level - 1) << 2), <u32>arenaAlloc(bytes), SLOT_RMAP);
    if (level > 1) store<u32>(slot + <usize>((level - 2) << 2), <u32>arenaAlloc(bytes), SLOT_LPAGE);
  }
  trackAlloc(slot, npages);
  store<u32>(slot, <u32>arenaAlloc(<usize>unitsOf(baseGfn, npages, 2) + 1), SLOT_MAPPED);
  store<u32>(slot, 0, SLOT_DIRTY);
  store<u32>(slot, 0, SLOT_INSTALLED);
}

/**
 * Bans large pages where the slot can't hold one: at ends that are not aligned, or everywhere when
 * gfn and hvn are not congruent (cf. kvm_alloc_memslot_metadata).
 */
function initLpageInfo(slot: usize, baseGfn: Gfn, npages: u32, hvn: Hvn): void {
  for (let level: u32 = 2; level <= 3; level++) {
    const units = unitsOf(baseGfn, npages, level);
    const first = lpageInfo(slot, baseGfn, level);
    const mask = pagesPerHpage(level) - 1;
    memory.fill(first, 0, (<usize>units) << 2);
    if ((baseGfn & mask) != 0) store<i32>(first, 1);
    if (((baseGfn + npages) & mask) != 0) store<i32>(first + ((<usize>(units - 1)) << 2), 1);
    if (((baseGfn ^ hvn) & mask) == 0) continue;
    for (let i: u32 = 0; i < units; i++) store<i32>(first + ((<usize>i) << 2), 1);
  }
}

/**
 * Creates slot `id` or deletes it (`npages` = 0). The caller has zapped the sptes of a slot that it
 * deletes, and never changes the size of a live one.
 */
export function memslotSet(
  id: u32,
  baseGfn: Gfn,
  npages: u32,
  hvn: Hvn,
  mm: u32,
  flags: u32,
): void {
  const slot = slotPtr(id);
  lastSlot = 0;
  lastAlone = 0;
  ptepsMoved();
  if (npages == 0) {
    store<u32>(slot, 0, SLOT_NPAGES);
    store<u32>(slot, 0, SLOT_FLAGS);
    hvnsShared = shareHvns();
    return;
  }
  if (load<u32>(slot, SLOT_USED) != npages) allocSideTables(slot, baseGfn, npages);
  store<u32>(slot, baseGfn, SLOT_BASE_GFN);
  store<u32>(slot, npages, SLOT_NPAGES);
  store<u32>(slot, hvn, SLOT_HVN);
  store<u32>(slot, mm, SLOT_MM);
  store<u32>(slot, id, SLOT_ID);
  initLpageInfo(slot, baseGfn, npages, hvn);
  trackClear(slot);
  if (id >= slotEnd) slotEnd = id + 1;
  hvnsShared = shareHvns();
  memslotSetFlags(id, flags);
}

/** Whether two slots map an hvn of the same mm. */
function shareHvns(): bool {
  for (let slot = SLOTS, end = slotsEnd(); slot < end; slot += <usize>SLOT_SIZE) {
    const first = load<u32>(slot, SLOT_HVN);
    const npages = load<u32>(slot, SLOT_NPAGES);
    for (let other = slot + <usize>SLOT_SIZE; other < end; other += <usize>SLOT_SIZE) {
      if (load<u32>(other, SLOT_MM) != load<u32>(slot, SLOT_MM)) continue;
      const from = load<u32>(other, SLOT_HVN);
      // Of two ranges that meet, one begins in the other; that of a free slot is empty.
      if (from - first < npages && load<u32>(other, SLOT_NPAGES) != 0) return true;
      if (first - from < load<u32>(other, SLOT_NPAGES) && npages != 0) return true;
    }
  }
  return false;
}

/** A page gets an spte at `level`. */
export function noteRmapLevel(level: u32): void {
  if (level > rmapLevels) rmapLevels = level;
}

/** Changes KVM_MEM_* of a live slot; a clear dirty bitmap appears with KVM_MEM_LOG_DIRTY_PAGES. */
export function memslotSetFlags(id: u32, flags: u32): void {
  const slot = slotPtr(id);
  const was = load<u32>(slot, SLOT_FLAGS);
  store<u32>(slot, flags, SLOT_FLAGS);
  if ((flags & KVM_MEM_LOG_DIRTY_PAGES) == 0 || (was & KVM_MEM_LOG_DIRTY_PAGES) != 0) return;
  const bytes = ((<usize>load<u32>(slot, SLOT_NPAGES) + 63) >> 6) << 3;
  const bitmap = <usize>load<u32>(slot, SLOT_DIRTY);
  if (bitmap == 0) store<u32>(slot, <u32>arenaAlloc(bytes), SLOT_DIRTY);
  else memory.fill(bitmap, 0, bytes);
}

/** gfn_to_memslot: address of the slot that holds `gfn`, or 0. */
export function gfnToMemslot(gfn: Gfn): usize {
  const last = lastSlot;
  if (last != 0 && gfn - load<u32>(last, SLOT_BASE_GFN) < load<u32>(last, SLOT_NPAGES)) return last;
  return findMemslot(gfn);
}

function findMemslot(gfn: Gfn): usize {
  const end = slotsEnd();
  for (let slot = SLOTS; slot < end; slot += <usize>SLOT_SIZE) {
    if (gfn - load<u32>(slot, SLOT_BASE_GFN) < load<u32>(slot, SLOT_NPAGES)) {
      lastSlot = slot;
      return slot;
    }
  }
  return 0;
}

/**
 * The slot after `from` (0: the first) that maps hvns of `mm`, in order of hvn and then of id, or 0: the
 * order of kvm_for_each_memslot_in_hva_range().
 */
export function nextSlotOfMm(from: usize, mm: u32): usize {
  const end = slotsEnd();
  const after: u32 = from == 0 ? 0 : load<u32>(from, SLOT_HVN);
  let best: usize = 0;
  for (let slot = SLOTS; slot < end; slot += <usize>SLOT_SIZE) {
    if (load<u32>(slot, SLOT_NPAGES) == 0 || load<u32>(slot, SLOT_MM) != mm) continue;
    const hvn = load<u32>(slot, SLOT_HVN);
    if (from != 0 && (hvn < after || (hvn == after && slot <= from))) continue;
    if (best == 0 || hvn < load<u32>(best, SLOT_HVN)) best = slot;
  }
  return best;
}

/** Whether any slot maps pages of [start, end) of `mm`. */
export function meetsSlot(mm: u32, start: Hvn, end: Hvn): bool {
  for (let slot = SLOTS, last = slotsEnd(); slot < last; slot += <usize>SLOT_SIZE) {
    if (load<u32>(slot, SLOT_MM) != mm) continue;
    const hvn = load<u32>(slot, SLOT_HVN);
    if (start < hvn + load<u32>(slot, SLOT_NPAGES) && hvn < end) return true;
  }
  return false;
}

/** Slot of `mm` that maps a page, when there is exactly one; 0: none or several. */
export function onlySlotOfHvn(mm: u32, hvn: Hvn): usize {
  return isLastAlone(mm, hvn) ? lastAlone : findOnlySlot(mm, hvn);
}

/** Whether that slot is `lastAlone`. */
function isLastAlone(mm: u32, hvn: Hvn): bool {
  const last = lastAlone;
  if (last == 0 || load<u32>(last, SLOT_MM) != mm) return false;
  return hvn - load<u32>(last, SLOT_HVN) < load<u32>(last, SLOT_NPAGES);
}

function findOnlySlot(mm: u32, hvn: Hvn): usize {
  let found: usize = 0;
  for (let slot = SLOTS, end = slotsEnd(); slot < end; slot += <usize>SLOT_SIZE) {
    if (hvn - load<u32>(slot, SLOT_HVN) >= load<u32>(slot, SLOT_NPAGES)) continue;
    if (load<u32>(slot, SLOT_MM) != mm) continue;
    if (!hvnsShared) {
      if (walkCacheOn()) lastAlone = slot;
      return slot;
    }
    if (found != 0) return 0;
    found = slot;
  }
  return found;
}

/** Id of the slot of `gfn`, or NO_MEMSLOT. */
export function gfnToSlotId(gfn: Gfn): u32 {
  const slot = gfnToMemslot(gfn);
  return slot == 0 ? NO_MEMSLOT : load<u32>(slot, SLOT_ID);
}

/** gfn_to_hva: hvn of `gfn`, or NO_HVN outside all slots. */
export function gfnToHvn(gfn: Gfn): Hvn {
  const slot = gfnToMemslot(gfn);
  if (slot == 0) return NO_HVN;
  return load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
}

/** Whether the slot forbids guest writes. */
export function slotReadonly(slot: usize): bool {
  return (load<u32>(slot, SLOT_FLAGS) & KVM_MEM_READONLY) != 0;
}

/** Address of the rmap head of `gfn` at `level` (gfn_to_rmap). */
export function gfnToRmap(slot: usize, gfn: Gfn, level: u32): usize {
  const shift = (level - 1) * 9;
  const index = (gfn >> shift) - (load<u32>(slot, SLOT_BASE_GFN) >> shift);
  return <usize>load<u32>(slot + <usize>((level - 1) << 2), SLOT_RMAP) + ((<usize>index) << 2);
}

/** Where the note lies that one of the 512 gfns around `gfn` may have an spte. */
export function gfnMapped(slot: usize, gfn: Gfn): usize {
  const unit = (gfn >> 9) - (load<u32>(slot, SLOT_BASE_GFN) >> 9);
  return <usize>load<u32>(slot, SLOT_MAPPED) + <usize>unit;
}

/**
 * First gfn in `gfn` .. `last` whose 512 gfns around may have sptes of 4 KiB or 2 MiB; more than
 * `last`: none. So a range costs what is mapped in it.
 */
export function nextMappedGfn(slot: usize, gfn: Gfn, last: Gfn): Gfn {
  const first = gfnMapped(slot, gfn);
  const end = gfnMapped(slot, last) + 1;
  let at = first;
  while (at + 8 <= end && load<u64>(at) == 0) at += 8;
  while (at < end && load<u8>(at) == 0) at++;
  if (at == first) return gfn;
  return at == end ? last + 1 : ((gfn >> 9) + <u32>(at - first)) << 9;
}

/** Address of the disallow_lpage count of `gfn` at `level` 2 or 3 (lpage_info_slot). */
export function lpageInfo(slot: usize, gfn: Gfn, level: u32): usize {
  const shift = (level - 1) * 9;
  const index = (gfn >> shift) - (load<u32>(slot, SLOT_BASE_GFN) >> shift);
  return <usize>load<u32>(slot + <usize>((level - 2) << 2), SLOT_LPAGE) + ((<usize>index) << 2);
}

/** update_gfn_disallow_lpage_count for the levels above 4 KiB. */
export function disallowLpage(slot: usize, gfn: Gfn, delta: i32): void {
  for (let level: u32 = 2; level <= 3; level++) {
    const at = lpageInfo(slot, gfn, level);
    store<i32>(at, load<i32>(at) + delta);
  }
}

/** mark_page_dirty_in_slot, while the slot logs. */
export function markPageDirty(slot: usize, gfn: Gfn): void {
  if ((load<u32>(slot, SLOT_FLAGS) & KVM_MEM_LOG_DIRTY_PAGES) == 0) return;
  const bit = gfn - load<u32>(slot, SLOT_BASE_GFN);
  const at = <usize>load<u32>(slot, SLOT_DIRTY) + <usize>((bit >> 5) << 2);
  store<u32>(at, load<u32>(at) | ((<u32>1) << (bit & 31)));
}

/** Host pte behind a gfn, or 0. */
function hpteOfGfn(gfn: Gfn): u32 {
  const slot = gfnToMemslot(gfn);
  if (slot == 0) return 0;
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  return hpteGet(load<u32>(slot, SLOT_MM), hvn);
}

/** Content of the guest page for reading: a pointer to its 4 KiB, or 0 when the host page is not
 *  present (fault it in first) or no slot holds the gfn. */
export function guestPagePtr(gfn: Gfn): usize {
  const hpte = hpteOfGfn(gfn);
  if ((hpte & (HPTE_PRESENT | HPTE_PROTNONE)) != HPTE_PRESENT) return 0;
  return frameContentPtr(hpte >> HPTE_PFN_SHIFT);
}

/** Content of a guest table that KVM reads through the VMM's mapping, whose pte becomes young by that
 *  (kvm_vcpu_read_guest_atomic); 0 as for guestPagePtr(). */
export function guestTablePtr(gfn: Gfn): usize {
  const table = guestPagePtr(gfn);
  if (table == 0) return 0;
  const slot = gfnToMemslot(gfn);
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  hpteOr(load<u32>(slot, SLOT_MM), hvn, HPTE_YOUNG);
  return table;
}

/** Same for writing: 0 as well when the host page is not writable. */
export function guestPagePtrForWrite(gfn: Gfn): usize {
  const hpte = hpteOfGfn(gfn);
  if ((hpte & (HPTE_PRESENT | HPTE_WRITE)) != (HPTE_PRESENT | HPTE_WRITE)) return 0;
  return frameContentForWrite(hpte >> HPTE_PFN_SHIFT);
}

/** Pages of a slot. */
export function slotPages(slot: usize): u32 {
  return load<u32>(slot, SLOT_NPAGES);
}

/** A write by KVM or the VMM on the guest's behalf: the host pte is young and dirty, the log knows. */
export function guestPageWritten(gfn: Gfn): void {
  const slot = gfnToMemslot(gfn);
  if (slot == 0) return;
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  hpteOr(load<u32>(slot, SLOT_MM), hvn, HPTE_YOUNG | HPTE_DIRTY);
  markPageDirty(slot, gfn);
}
