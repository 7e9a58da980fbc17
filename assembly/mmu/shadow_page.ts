// The pool of shadow pages and the hash that finds one by (gfn, role) (cf. struct kvm_mmu_page).
//
// A chunk of 64 KiB holds 15 tables and their descriptors, so that the shadow page of an spte is
// found from its address alone (sptep_to_sp):
//
//   64 KiB aligned ┌────────────────────────────────────┐
//                  │ descriptors 0 (unused), 1 … 15     │  256 bytes each
//            4 KiB ├────────────────────────────────────┤
//                  │ table 1: 512 sptes                 │
//                  │ …                                  │
//                  │ table 15                           │
//                  └────────────────────────────────────┘

import {
  ACC_ALL,
  ACC_PKEY_SHIFT,
  KVM_MMU_VALID_GEN,
  KVM_N_USED_MMU_PAGES,
  PAGE_SIZE,
  ROLE_ACCESS_SHIFT,
  ROLE_DIRECT,
  ROLE_INVALID,
  ROLE_LEVEL_MASK,
  ROLE_PKEY_SHIFT,
  SP_GFN,
  SP_HASH_NEXT,
  SP_LINK_NEXT,
  SP_LINK_PREV,
  SP_PRESENT,
  SP_PRESENT_BITMAP,
  SP_ROLE,
  SP_SIZE,
  SP_TRANSLATIONS,
  SP_VALID_GEN,
} from '../abi';
import { arenaAlloc, arenaAllocAligned, blocksOfPage } from '../layout';
import { Gfn, Sptep } from '../types';
import { KVM } from './kvm';

const CHUNK: usize = 65536;
if ((SP_SIZE & (SP_SIZE - 1)) != 0) ERROR('shadow_page: bitmapToSp()');
if (SP_SIZE * 16 != PAGE_SIZE) ERROR('shadow_page: 16 descriptors fill a page');

/** Heads of the hash chains. */
let hash: usize = 0;
let hashShift: u32 = 0;
/** Descriptors that are free, chained through SP_HASH_NEXT. */
let freeSps: usize = 0;
/** Halves of pages for translations, chained through their first word. */
let freeTranslations: usize = 0;
/** active_mmu_pages: newest first. */
let activeHead: usize = 0;
let activeTail: usize = 0;

/** Sizes the hash: 2^shift chains (KVM's KVM_MMU_HASH_SHIFT is 12). */
export function shadowPageInit(shift: u32): void {
  hashShift = shift;
  hash = arenaAlloc((<usize>4) << shift);
}

/** Level of the table, 1 = its sptes map 4 KiB pages. */
export function spLevel(sp: usize): u32 {
  return load<u32>(sp, SP_ROLE) & ROLE_LEVEL_MASK;
}

/** ACC_* of the levels above. */
export function spAccess(sp: usize): u32 {
  return (load<u32>(sp, SP_ROLE) >> ROLE_ACCESS_SHIFT) & 7;
}

/** The same for a direct page, whose role holds all rights of the guest's leaf and its key. */
export function spDirectAccess(sp: usize): u32 {
  const pkey = (load<u32>(sp, SP_ROLE) >> ROLE_PKEY_SHIFT) & 15;
  return spAccess(sp) | (pkey << ACC_PKEY_SHIFT);
}

/** A direct page has no guest table: it maps gfns from SP_GFN on. */
export function spDirect(sp: usize): bool {
  return (load<u32>(sp, SP_ROLE) & ROLE_DIRECT) != 0;
}

/** Address of the table's 512 sptes. */
export function spTable(sp: usize): usize {
  const chunk = sp & ~(CHUNK - 1);
  return chunk + (((sp - chunk) / <usize>SP_SIZE) << 12);
}

/** sptep_to_sp. */
export function sptepToSp(sptep: Sptep): usize {
  const chunk = sptep & ~(CHUNK - 1);
  return chunk + ((sptep - chunk) >> 12) * <usize>SP_SIZE;
}

/** spte_index. */
export function spteIndex(sptep: Sptep): u32 {
  return <u32>((sptep & 0xfff) >> 3);
}

/** Shadow page of the table at `table` (spte_to_child_sp). */
export function tableToSp(table: usize): usize {
  return sptepToSp(table);
}

/** kvm_mmu_page_get_gfn: gfn that spte `index` maps or would map. */
export function spGfnOf(sp: usize, index: u32): Gfn {
  const translations = <usize>load<u32>(sp, SP_TRANSLATIONS);
  if (translations != 0) return load<u32>(translations + ((<usize>index) << 2)) >> 3;
  return load<u32>(sp, SP_GFN) + (index << ((spLevel(sp) - 1) * 9));
}

/** kvm_mmu_page_get_access of a page that translates: ACC_*. */
export function spAccessOf(sp: usize, index: u32): u32 {
  return load<u32>(<usize>load<u32>(sp, SP_TRANSLATIONS) + ((<usize>index) << 2)) & ACC_ALL;
}

/** kvm_mmu_page_set_translation. */
export function spSetTranslation(sp: usize, index: u32, gfn: Gfn, access: u32): void {
  const translations = <usize>load<u32>(sp, SP_TRANSLATIONS);
  if (translations != 0)
    store<u32>(translations + ((<usize>index) << 2), (gfn << 3) | (access & ACC_ALL));
}

/** Address of the word of a table's bitmap that has the bit of an spte. */
export function bitmapWord(sptep: Sptep): usize {
  return sptepToSp(sptep) + ((<usize>(spteIndex(sptep) >> 5)) << 2) + <usize>SP_PRESENT_BITMAP;
}

/** Shadow page of the table whose bitmap a word is in: its descriptor is aligned to its size. */
export function bitmapToSp(word: usize): usize {
  return word & ~(<usize>SP_SIZE - 1);
}

/** spNotePresent() (`by` is 1) or spNoteAbsent() (-1) of an spte whose state was the other one. */
export function spFlipPresent(sptep: Sptep, word: usize, by: i32): void {
  const sp = bitmapToSp(word);
  // The bit of an spte in its word is the number of the spte, of which a shift sees the low five bits.
  store<u32>(word, load<u32>(word) ^ ((<u32>1) << ((<u32>sptep) >> 3)));
  store<u32>(sp, load<u32>(sp, SP_PRESENT) + by, SP_PRESENT);
}

/** Notes that spte `index` became shadow-present. */
export function spNotePresent(sp: usize, index: u32): void {
  const at = sp + ((<usize>(index >> 5)) << 2);
  store<u32>(at, load<u32>(at, SP_PRESENT_BITMAP) | ((<u32>1) << (index & 31)), SP_PRESENT_BITMAP);
  store<u32>(sp, load<u32>(sp, SP_PRESENT) + 1, SP_PRESENT);
}

/** Notes that spte `index` is no longer shadow-present. */
export function spNoteAbsent(sp: usize, index: u32): void {
  const at = sp + ((<usize>(index >> 5)) << 2);
  store<u32>(at, load<u32>(at, SP_PRESENT_BITMAP) & ~((<u32>1) << (index & 31)), SP_PRESENT_BITMAP);
  store<u32>(sp, load<u32>(sp, SP_PRESENT) - 1, SP_PRESENT);
}

/** First shadow-present spte at or after `index`; 512: none. */
export function spNextPresent(sp: usize, index: u32): u32 {
  if (index >= 512) return 512;
  let word = index >> 5;
  let bits =
    load<u32>(sp + ((<usize>word) << 2), SP_PRESENT_BITMAP) & ((<u32>0xffffffff) << (index & 31));
  while (bits == 0) {
    if (++word == 16) return 512;
    bits = load<u32>(sp + ((<usize>word) << 2), SP_PRESENT_BITMAP);
  }
  return (word << 5) + ctz<u32>(bits);
}

function hashHead(gfn: Gfn): usize {
  // Fibonacci hashing spreads consecutive gfns over the chains.
  const slot = (gfn * 0x9e3779b1) >> (32 - hashShift);
  return hash + ((<usize>slot) << 2);
}

/** First shadow page of the chain that `gfn` hashes to, obsolete and other gfns' included. */
export function hashFirst(gfn: Gfn): usize {
  return <usize>load<u32>(hashHead(gfn));
}

/** is_obsolete_sp: invalid, or of an older generation of memslots. */
export function spObsolete(sp: usize): bool {
  return (
    (load<u32>(sp, SP_ROLE) & ROLE_INVALID) != 0 ||
    load<u32>(sp, SP_VALID_GEN) != load<u32>(KVM, KVM_MMU_VALID_GEN)
  );
}

/** Next valid shadow page of `gfn` from `sp` on along its chain (for_each_gfn_valid_sp), or 0. */
export function nextValidSp(sp: usize, gfn: Gfn): usize {
  while (sp != 0) {
    if (load<u32>(sp, SP_GFN) == gfn && !spObsolete(sp)) return sp;
    sp = <usize>load<u32>(sp, SP_HASH_NEXT);
  }
  return 0;
}

/** Same, and only pages with guest ptes behind them (for_each_gfn_valid_sp_with_gptes). */
export function nextValidSpWithGptes(sp: usize, gfn: Gfn): usize {
  let at = nextValidSp(sp, gfn);
  while (at != 0 && spDirect(at)) at = nextValidSp(<usize>load<u32>(at, SP_HASH_NEXT), gfn);
  return at;
}

function allocTranslations(): usize {
  if (freeTranslations == 0) freeTranslations = blocksOfPage(2048, 0);
  const at = freeTranslations;
  freeTranslations = <usize>load<u32>(at);
  return at;
}

/** kvm_mmu_alloc_shadow_page: a zeroed table, hashed and on the active list. */
export function spAlloc(gfn: Gfn, role: u32): usize {
  if (freeSps == 0) {
    const chunk = arenaAllocAligned(CHUNK);
    for (let i: usize = 15; i > 0; i--) {
      const sp = chunk + i * <usize>SP_SIZE;
      store<u32>(sp, <u32>freeSps, SP_HASH_NEXT);
      freeSps = sp;
    }
  }
  const sp = freeSps;
  freeSps = <usize>load<u32>(sp, SP_HASH_NEXT);
  memory.fill(sp, 0, <usize>SP_SIZE);
  store<u32>(sp, gfn, SP_GFN);
  store<u32>(sp, role, SP_ROLE);
  store<u32>(sp, load<u32>(KVM, KVM_MMU_VALID_GEN), SP_VALID_GEN);
  if ((role & ROLE_DIRECT) == 0) store<u32>(sp, <u32>allocTranslations(), SP_TRANSLATIONS);
  const head = hashHead(gfn);
  store<u32>(sp, load<u32>(head), SP_HASH_NEXT);
  store<u32>(head, <u32>sp);
  activeAddHead(sp);
  store<u32>(KVM, load<u32>(KVM, KVM_N_USED_MMU_PAGES) + 1, KVM_N_USED_MMU_PAGES);
  return sp;
}

/** Takes a page off the active list; it is being zapped. */
export function activeRemove(sp: usize): void {
  const next = <usize>load<u32>(sp, SP_LINK_NEXT);
  const prev = <usize>load<u32>(sp, SP_LINK_PREV);
  if (prev != 0) store<u32>(prev, <u32>next, SP_LINK_NEXT);
  else activeHead = next;
  if (next != 0) store<u32>(next, <u32>prev, SP_LINK_PREV);
  else activeTail = prev;
}

function activeAddHead(sp: usize): void {
  store<u32>(sp, <u32>activeHead, SP_LINK_NEXT);
  store<u32>(sp, 0, SP_LINK_PREV);
  if (activeHead != 0) store<u32>(activeHead, <u32>sp, SP_LINK_PREV);
  else activeTail = sp;
  activeHead = sp;
}

/** Newest active shadow page, or 0. */
export function activeFirst(): usize {
  return activeHead;
}

/** Oldest active shadow page, or 0. */
export function activeLast(): usize {
  return activeTail;
}

/** kvm_mmu_free_shadow_page: the page has no sptes, no parents and no list any more. */
export function spFree(sp: usize): void {
  assert(load<u32>(sp, SP_PRESENT) == 0, 'a freed shadow page maps nothing');
  const gfn = load<u32>(sp, SP_GFN);
  let link = hashHead(gfn);
  let at = <usize>load<u32>(link);
  while (at != sp) {
    assert(at != 0, 'a shadow page is in its hash chain');
    link = at + <usize>SP_HASH_NEXT;
    at = <usize>load<u32>(link);
  }
  store<u32>(link, load<u32>(sp, SP_HASH_NEXT));
  const translations = <usize>load<u32>(sp, SP_TRANSLATIONS);
  if (translations != 0) {
    store<u32>(translations, <u32>freeTranslations);
    freeTranslations = translations;
  }
  // Tables are handed out zeroed; a zapped table holds only non-present entries (MMIO marks too).
  memory.fill(spTable(sp), 0, <usize>PAGE_SIZE);
  store<u32>(sp, <u32>freeSps, SP_HASH_NEXT);
  freeSps = sp;
}

/** The next newer active page, or 0. */
export function activePrev(sp: usize): usize {
  return <usize>load<u32>(sp, SP_LINK_PREV);
}
