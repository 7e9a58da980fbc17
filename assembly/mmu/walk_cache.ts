// Where the guest's tables lie, for the walks of a straight run: a table's gfn leads through its
// memslot and the host's page tables to the same host pte every time, until a leaf table of the host is
// freed or a memslot changes (ptepEpoch). What the pte says is looked at anew by each walk.
//
//   entry: ┌──────────┬──────────┬──────────┬───────┐
//          │ gfn      │ epoch    │ ptep     │ spare │   1,024 of them, by gfn; ptep 0: empty
//          └──────────┴──────────┴──────────┴───────┘
//
// The explorer runs without: an entry would be state that tells equal machines apart.

import {
  CONTENT_PAGE,
  FRAME_CONTENT,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_PROTNONE,
  HPTE_YOUNG,
  PAGE_SHIFT,
  SLOT_BASE_GFN,
  SLOT_HVN,
  SLOT_MM,
} from '../abi';
import { framePtr } from '../mm/frame';
import { ptepEpoch } from '../mm/pgtable';
import { hptep } from '../mm/pte';
import { Gfn, Hpte } from '../types';
import { gfnToMemslot } from './memslot';

const ENTRIES: usize = memory.data(16384, 64);
const INDEX_MASK: u32 = 1023;
if ((INDEX_MASK + 1) * 16 != 16384) ERROR('walk_cache: 1024 entries');
const ENTRY_GFN: usize = 0;
const ENTRY_EPOCH: usize = 4;
const ENTRY_PTEP: usize = 8;

let enabled: bool = false;

/** Whether walks may keep addresses. */
export function walkCacheEnable(on: bool): void {
  enabled = on;
}

/** Whether tableContent() may be asked at all. */
export function walkCacheOn(): bool {
  return enabled;
}

/** Looks the pte of a table up and keeps its address; 0: it has none. */
function remember(entry: usize, gfn: Gfn): usize {
  const slot = gfnToMemslot(gfn);
  if (slot == 0) return 0;
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  const ptep = hptep(load<u32>(slot, SLOT_MM), hvn);
  if (ptep == 0) return 0;
  store<u32>(entry, gfn, ENTRY_GFN);
  store<u32>(entry, ptepEpoch, ENTRY_EPOCH);
  store<u32>(entry, <u32>ptep, ENTRY_PTEP);
  return ptep;
}

/** Address of the host pte of a guest table; 0: it has none. */
export function tablePtep(gfn: Gfn): usize {
  const entry = ENTRIES + ((<usize>(gfn & INDEX_MASK)) << 4);
  if (load<u32>(entry, ENTRY_GFN) == gfn) {
    if (load<u32>(entry, ENTRY_EPOCH) == ptepEpoch) {
      const ptep = <usize>load<u32>(entry, ENTRY_PTEP);
      if (ptep != 0) return ptep;
    }
  }
  return remember(entry, gfn);
}

/**
 * Content of a guest table whose host page is present, young and was written as bytes; 0 for any
 * other.
 */
export function tableContent(gfn: Gfn): usize {
  const ptep = tablePtep(gfn);
  return ptep == 0 ? 0 : pteContent(load<u32>(ptep));
}

/** The same for the table's host pte. */
export function pteContent(pte: Hpte): usize {
  const usable = HPTE_PRESENT | HPTE_YOUNG;
  if ((pte & (usable | HPTE_PROTNONE)) != usable) return 0;
  const content = load<u32>(framePtr(pte >> HPTE_PFN_SHIFT), FRAME_CONTENT);
  if ((content & CONTENT_PAGE) == 0) return 0;
  return (<usize>(content & ~CONTENT_PAGE)) << PAGE_SHIFT;
}
