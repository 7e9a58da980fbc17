// A straight run is one that nothing can preempt: the emulator's, as opposed to the explorer's. The
// files of this folder compose, for the plain cases of such a run, the same pieces of mm/ and mmu/ as
// the protocols of src/ do, in the same order and without the preemption points between them, so that
// a fault with the reclaim that it needs stays in the core. What is not plain is left to the
// protocols before anything is changed. tests: test/profiling/quick-fault.test.ts, test/explore/straight.test.ts.
//
// Here: what the host allows (STRAIGHT_*), written by src/kvm/straight.ts whenever it changes.

import {
  NO_GFN,
  STRAIGHT_AREA,
  STRAIGHT_AREAS,
  STRAIGHT_AREAS_MAX,
  STRAIGHT_AREA_END,
  STRAIGHT_AREA_SIZE,
  STRAIGHT_AREA_START,
  STRAIGHT_GFN_BASE,
  STRAIGHT_GFN_END,
  STRAIGHT_GFN_FIRST,
  STRAIGHT_MM,
} from '../abi';
import { lockstepWords } from '../lockstep';
import { Gfn, Hvn } from '../types';

/** The STRAIGHT_* words. */
export const STRAIGHT: usize = memory.data(228, 8);
export const STRAIGHT_BYTES: usize = 224;
if (STRAIGHT_AREA + STRAIGHT_AREAS_MAX * STRAIGHT_AREA_SIZE != <u32>STRAIGHT_BYTES)
  ERROR('abi: STRAIGHT_AREA');

/** Address of the words, for the host. */
export function straightPtr(): u32 {
  return <u32>STRAIGHT;
}

/** The area that holds a page, or 0. */
export function straightArea(hvn: Hvn): usize {
  let area = STRAIGHT + <usize>STRAIGHT_AREA;
  const end = area + <usize>(load<u32>(STRAIGHT, STRAIGHT_AREAS) * STRAIGHT_AREA_SIZE);
  for (; area < end; area += <usize>STRAIGHT_AREA_SIZE) {
    const inside =
      hvn >= load<u32>(area, STRAIGHT_AREA_START) && hvn < load<u32>(area, STRAIGHT_AREA_END);
    if (inside) return area;
  }
  return 0;
}

/** The area that areaOf() last found; 0: none. */
let lastArea: usize = 0;

/** straightArea(), until forgetArea(); faults cluster. */
export function areaOf(hvn: Hvn): usize {
  const area = lastArea;
  const start = load<u32>(area, STRAIGHT_AREA_START);
  if (hvn - start < load<u32>(area, STRAIGHT_AREA_END) - start) return area;
  lastArea = straightArea(hvn);
  return lastArea;
}

/** The host may have changed the areas. */
export function forgetArea(): void {
  lastArea = 0;
}

/** Whether an address space is the guest's: no other has a notifier. */
export function isGuestMm(mm: u32): bool {
  return mm == load<u32>(STRAIGHT, STRAIGHT_MM);
}

/** The gfn of the yardstick behind a page of an address space; NO_GFN: it knows none. */
export function yardstickGfn(mm: u32, hvn: Hvn): Gfn {
  if (lockstepWords == 0) return NO_GFN;
  const gfn = hvn - load<u32>(STRAIGHT, STRAIGHT_GFN_BASE);
  const known =
    gfn >= load<u32>(STRAIGHT, STRAIGHT_GFN_FIRST) && gfn < load<u32>(STRAIGHT, STRAIGHT_GFN_END);
  return known && isGuestMm(mm) ? gfn : NO_GFN;
}
