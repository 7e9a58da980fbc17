// What kernel same-page merging does to one page (cf. mm/ksm.c, 6.1). Which pages are compared with
// which, and when, is decided in src/mm/ksm.ts.

import {
  CONTENT_PAGE,
  FRAME_FLAGS,
  FRAME_REFCOUNT,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_PROTNONE,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  PAGE_SIZE,
  PG_ANON_EXCLUSIVE,
  PG_KSM,
  PG_SWAPCACHE,
} from '../abi';
import { Hvn, Pfn } from '../types';
import { frameContent, frameContentPtr, framePtr, getPage, putPage } from './frame';
import { folioMarkAccessed } from './mark_accessed';
import { setPageDirty, tryToFreeSwapUnmapped } from './memory';
import { hpteGet, hpteSet } from './pte';
import { pageMapcount, rmapAdd, rmapRemove } from './rmap';

/** A stamp stands for content that is like no other. */
function hasBytes(pfn: Pfn): bool {
  const content = frameContent(pfn);
  return content == 0 || (content & CONTENT_PAGE) != 0;
}

/** Whether two frames hold the same bytes (pages_identical). */
export function framesIdentical(a: Pfn, b: Pfn): u32 {
  if (!hasBytes(a) || !hasBytes(b)) return frameContent(a) == frameContent(b) ? 1 : 0;
  return memory.compare(frameContentPtr(a), frameContentPtr(b), <usize>PAGE_SIZE) == 0 ? 1 : 0;
}

/** A checksum of a frame's content (calc_checksum; FNV-1a over words, not the kernel's xxhash). */
export function frameChecksum(pfn: Pfn): u32 {
  if (!hasBytes(pfn)) return frameContent(pfn);
  let sum: u32 = 0x811c9dc5;
  const at = frameContentPtr(pfn);
  for (let i: usize = 0; i < <usize>PAGE_SIZE; i += 4) {
    sum = (sum ^ load<u32>(at + i)) * 0x01000193;
  }
  return sum;
}

/**
 * write_protect_page, between its notifier calls: 0 somebody else holds the page, 1 the pte was
 * read-only and clean, 2 it is now.
 */
export function ksmWriteProtect(mm: u32, hvn: Hvn, pfn: Pfn): u32 {
  const pte = hpteGet(mm, hvn);
  if ((pte & (HPTE_PRESENT | HPTE_SWAP)) != HPTE_PRESENT || pte >> HPTE_PFN_SHIFT != pfn) return 0;
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  if ((pte & (HPTE_WRITE | HPTE_DIRTY)) == 0 && (flags & PG_ANON_EXCLUSIVE) == 0) return 1;
  const cached: u32 = (flags & PG_SWAPCACHE) != 0 ? 1 : 0;
  if (pageMapcount(pfn) + cached != load<u32>(page, FRAME_REFCOUNT)) return 0;
  store<u32>(page, flags & ~PG_ANON_EXCLUSIVE, FRAME_FLAGS);
  if (pte & HPTE_DIRTY) setPageDirty(pfn);
  hpteSet(mm, hvn, pte & ~(HPTE_WRITE | HPTE_DIRTY));
  return 2;
}

/** Any page was ever one that others are merged into. */
let merged: bool = false;

/** Whether any page was ever merged. */
export function hasMerged(): bool {
  return merged;
}

/** The page becomes one that others are merged into (set_page_stable_node). */
export function ksmAdopt(pfn: Pfn): void {
  merged = true;
  const page = framePtr(pfn);
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_KSM, FRAME_FLAGS);
  folioMarkAccessed(pfn);
  setPageDirty(pfn);
}

/** replace_page, between its notifier calls: the pte of `pfn` maps `kpfn` from now on. */
export function ksmReplace(mm: u32, hvn: Hvn, pfn: Pfn, kpfn: Pfn): void {
  getPage(kpfn);
  rmapRemove(pfn, mm, hvn);
  const rights = hpteGet(mm, hvn) & HPTE_PROTNONE;
  hpteSet(mm, hvn, HPTE_PRESENT | HPTE_YOUNG | rights | (kpfn << HPTE_PFN_SHIFT));
  rmapAdd(kpfn, mm, hvn);
  tryToFreeSwapUnmapped(pfn);
  putPage(pfn);
}
