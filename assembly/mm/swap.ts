// Swap slots: which are used, by how many ptes, which frame caches them and what they hold. How long
// the device takes is the host's business (src/mm/swap-device.ts).
//
//   slot: ┌──────────────┬──────────┬────────────────────────┬───────────┐
//         │ cached pfn   │ content  │ 31:8 shadow │ 7:0 count │           12 bytes
//         └──────────────┴──────────┴────────────────────────┴───────────┘
//   cached pfn: bit 31 says that a fault reads the slot past the swap cache (SWAP_HAS_CACHE without a page).
//   count: swap entries in ptes, plus one while the swap cache holds the slot (SWAP_HAS_CACHE).
//   A free slot has count 0 and is chained through its first word, freed last = used last.

import {
  CONTENT_PAGE,
  FRAME_CONTENT,
  FRAME_FLAGS,
  FRAME_PRIVATE,
  NO_SLOT,
  PG_SWAPCACHE,
  SWAP_SLOTS_CACHE_SIZE,
} from '../abi';
import { arenaAlloc } from '../layout';
import { Pfn } from '../types';
import {
  contentCopy,
  contentFree,
  frameContent,
  framePtr,
  frameSetContent,
  getPage,
} from './frame';
import { memcgEnabled, memcgUpdated } from './memcg';

const SLOT_BYTES: usize = 12;
const SLOT_PFN: usize = 0;
const SLOT_CONTENT: usize = 4;
const SLOT_COUNT: usize = 8;
const COUNT_MASK: u32 = 0xff;
const SHADOW_SHIFT: u32 = 8;
const CLAIMED: u32 = 0x80000000;

let slots: usize = 0;
let slotTotal: u32 = 0;
/** Slots at and above this one were never used. */
let slotTop: u32 = 0;
let freeFirst: u32 = NO_SLOT;
let freeLast: u32 = NO_SLOT;
let used: u32 = 0;
/** Freed slots that wait on the CPU. */
let returned: u32 = 0;

/** Makes `n` swap slots; called once. */
export function swapInit(n: u32): void {
  assert(slots == 0, 'swap slots are made once');
  slotTotal = n;
  slots = arenaAlloc(<usize>n * SLOT_BYTES + 8);
}

/** Slots of the device. */
export function swapTotal(): u32 {
  return slotTotal;
}

/** Sets how many freed slots wait on the CPU (0 at first). */
export function swapSetReturned(n: u32): void {
  assert(n <= SWAP_SLOTS_CACHE_SIZE, 'a full batch goes back before another slot');
  returned = n;
}

/** Slots in use. */
export function swapUsed(): u32 {
  return used;
}

/** Address of the record of a slot. */
export function slotPtr(slot: u32): usize {
  assert(slot < slotTop, 'a slot was allocated');
  return slots + <usize>slot * SLOT_BYTES;
}

/** A slot that no pte and no page uses, or NO_SLOT. It has count 1: the swap cache's. */
export function swapAlloc(): u32 {
  let slot = freeFirst;
  if (slotTop < slotTotal) {
    slot = slotTop++;
  } else if (slot != NO_SLOT) {
    freeFirst = load<u32>(slotPtr(slot), SLOT_PFN);
    if (freeFirst == NO_SLOT) freeLast = NO_SLOT;
  } else {
    return NO_SLOT;
  }
  used++;
  memcgUpdated(1);
  const at = slotPtr(slot);
  store<u32>(at, 0, SLOT_PFN);
  store<u32>(at, 0, SLOT_CONTENT);
  store<u32>(at, 1, SLOT_COUNT);
  return slot;
}

/** Users of a slot: swap entries, and the swap cache. */
export function swapCount(slot: u32): u32 {
  return load<u32>(slotPtr(slot), SLOT_COUNT) & COUNT_MASK;
}

/** One more swap entry names the slot. */
export function swapDuplicate(slot: u32): void {
  const at = slotPtr(slot);
  const count = load<u32>(at, SLOT_COUNT);
  assert((count & COUNT_MASK) < COUNT_MASK, 'a slot has fewer than 255 users');
  store<u32>(at, count + 1, SLOT_COUNT);
}

/** Freed slots wait on the CPU and are uncharged in batches (free_swap_slot, SWAP_SLOTS_CACHE_SIZE). */
function slotReturned(): void {
  if (!memcgEnabled()) return;
  if (returned == SWAP_SLOTS_CACHE_SIZE) {
    for (; returned > 0; returned--) memcgUpdated(1);
  }
  returned++;
}

/** One user fewer; the last one frees the slot. */
export function swapFree(slot: u32): void {
  const at = slotPtr(slot);
  const count = load<u32>(at, SLOT_COUNT);
  assert((count & COUNT_MASK) != 0, 'a slot that is freed has a user');
  store<u32>(at, count - 1, SLOT_COUNT);
  if ((count & COUNT_MASK) != 1) return;
  contentFree(load<u32>(at, SLOT_CONTENT));
  store<u32>(at, 0, SLOT_CONTENT);
  store<u32>(at, 0, SLOT_COUNT);
  store<u32>(at, NO_SLOT, SLOT_PFN);
  if (freeLast == NO_SLOT) freeFirst = slot;
  else store<u32>(slotPtr(freeLast), slot, SLOT_PFN);
  freeLast = slot;
  used--;
  slotReturned();
}

/** The frame that the swap cache holds for a slot, or 0; the slot may be free by now. */
export function swapCacheLookup(slot: u32): Pfn {
  const at = slotPtr(slot);
  if ((load<u32>(at, SLOT_COUNT) & COUNT_MASK) == 0) return 0;
  return load<u32>(at, SLOT_PFN) & ~CLAIMED;
}

/** 1 while a fault reads the slot past the swap cache. */
export function swapClaimed(slot: u32): u32 {
  return load<u32>(slotPtr(slot), SLOT_PFN) == CLAIMED ? 1 : 0;
}

/** The slot is read past the swap cache (swapcache_prepare): it has one more user until swapUnclaim(). */
export function swapClaim(slot: u32): void {
  const at = slotPtr(slot);
  assert(load<u32>(at, SLOT_PFN) == 0, 'a slot that is claimed is not cached');
  store<u32>(at, CLAIMED, SLOT_PFN);
  swapDuplicate(slot);
}

/** Ends that (swapcache_clear). */
export function swapUnclaim(slot: u32): void {
  if (swapClaimed(slot) == 0) return;
  store<u32>(slotPtr(slot), 0, SLOT_PFN);
  swapFree(slot);
}

/** Puts a page into the swap cache; the slot's count already includes the cache. */
export function swapCacheAdd(pfn: Pfn, slot: u32): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  assert((flags & PG_SWAPCACHE) == 0, 'a page is in the swap cache once');
  store<u32>(page, flags | PG_SWAPCACHE, FRAME_FLAGS);
  store<u32>(page, slot, FRAME_PRIVATE);
  store<u32>(slotPtr(slot), pfn, SLOT_PFN);
  getPage(pfn);
  memcgUpdated(1);
}

/** Takes a page out of the swap cache; the caller drops the cache's reference. */
export function swapCacheDel(pfn: Pfn): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  assert((flags & PG_SWAPCACHE) != 0, 'the page is in the swap cache');
  const slot = load<u32>(page, FRAME_PRIVATE);
  store<u32>(page, flags & ~PG_SWAPCACHE, FRAME_FLAGS);
  store<u32>(page, 0, FRAME_PRIVATE);
  store<u32>(slotPtr(slot), 0, SLOT_PFN);
  memcgUpdated(1);
  swapFree(slot);
}

/** The device gets the page's content. */
export function swapWrite(pfn: Pfn, slot: u32): void {
  const at = slotPtr(slot);
  const content = frameContent(pfn);
  const old = load<u32>(at, SLOT_CONTENT);
  if ((content | old) == 0) return;
  contentFree(old);
  store<u32>(at, contentCopy(content), SLOT_CONTENT);
}

/** The content word that the device holds for a slot; see frameContent(). */
export function swapContent(slot: u32): u32 {
  return load<u32>(slotPtr(slot), SLOT_CONTENT);
}

/** The page gets the device's content. */
export function swapRead(pfn: Pfn, slot: u32): void {
  const content = load<u32>(slotPtr(slot), SLOT_CONTENT);
  if (content == 0) return;
  if (content & CONTENT_PAGE) frameSetContent(pfn, contentCopy(content));
  else store<u32>(framePtr(pfn), content, FRAME_CONTENT);
}

/** Leaves the shadow of an evicted page. */
export function swapSetShadow(slot: u32, shadow: u32): void {
  const at = slotPtr(slot);
  store<u32>(at, (load<u32>(at, SLOT_COUNT) & COUNT_MASK) | (shadow << SHADOW_SHIFT), SLOT_COUNT);
}

/** The shadow of the page that was evicted to the slot, or 0. */
export function swapShadow(slot: u32): u32 {
  return load<u32>(slotPtr(slot), SLOT_COUNT) >> SHADOW_SHIFT;
}
