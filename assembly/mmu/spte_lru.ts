// The spte LRU that Andrea Arcangeli proposed on 17 January 2008 (20080117193252.GC24131@v2.random):
// leaf sptes in the order of their installation, so that memory pressure can drop the oldest. A hot
// page then proves itself by a minor fault, at the pace of the VM's own reclaim.
//
// A ring of (gfn, number of the installation). Only the entry with a gfn's latest number counts, so
// an spte that was dropped or installed again needs no search.

import { SLOT_BASE_GFN, SLOT_INSTALLED, SLOT_NPAGES } from '../abi';
import { arenaAlloc } from '../layout';
import { Gfn } from '../types';
import { flushRemoteTlbs } from './flush';
import { gfnToMemslot, gfnToRmap } from './memslot';
import { zapRmap } from './age';

let ring: usize = 0;
let ringMask: u32 = 0;
/** Numbers of the oldest entry and of the next one. */
let first: u32 = 0;
let next: u32 = 0;
/** Entries of the ring are kept; without it the preset costs nothing. */
export let spteLruOn: bool = false;

/** Every so many pages that the host reclaims cost the oldest spte its life. */
let every: u32 = 0;
/** Pages reclaimed since the last drop. */
let reclaimed: u32 = 0;

/** Keeps the order of the last 2^shift installations; a spte is dropped for `pages` reclaimed ones. */
export function spteLruInit(shift: u32, pages: u32): void {
  every = pages;
  ring = arenaAlloc((<usize>4) << shift);
  ringMask = ((<u32>1) << shift) - 1;
  spteLruOn = true;
}

/** Number of the latest installation for each gfn of a slot, made at its first one. */
function installedOf(slot: usize, gfn: Gfn): usize {
  if (load<u32>(slot, SLOT_INSTALLED) == 0) {
    const bytes = (<usize>load<u32>(slot, SLOT_NPAGES)) << 2;
    store<u32>(slot, <u32>arenaAlloc(bytes), SLOT_INSTALLED);
  }
  const index = gfn - load<u32>(slot, SLOT_BASE_GFN);
  return <usize>load<u32>(slot, SLOT_INSTALLED) + ((<usize>index) << 2);
}

/** A leaf spte of `gfn` was installed. */
export function spteLruAdd(slot: usize, gfn: Gfn): void {
  store<u32>(ring + ((<usize>(next & ringMask)) << 2), gfn);
  store<u32>(installedOf(slot, gfn), next);
  next++;
  // What falls off the end is merely forgotten: its spte stays until the host takes the page.
  if (next - first > ringMask) first = next - ringMask;
}

/** The host reclaimed pages. */
export function spteLruReclaimed(pages: u32): void {
  for (reclaimed += pages; reclaimed >= every; reclaimed -= every) shrink();
}

/** Drops the sptes of the gfn that was installed longest ago. */
function shrink(): void {
  for (; first != next; first++) {
    const gfn = load<u32>(ring + ((<usize>(first & ringMask)) << 2));
    const slot = gfnToMemslot(gfn);
    if (slot == 0 || load<u32>(installedOf(slot, gfn)) != first) continue;
    const head = gfnToRmap(slot, gfn, 1);
    if (load<u32>(head) == 0) continue;
    first++;
    zapRmap(head, false);
    flushRemoteTlbs();
    return;
  }
}
