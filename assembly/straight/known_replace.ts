// A page of a file that is read into the frame of the page that is evicted for it, both known (known_page.ts): plainRead()
// (file_fault.ts) with the reclaim that makes room for it (shrink.ts, scan.ts, evict.ts), where CLOCK evicts one page at a
// time. The frame that is freed is the one that is allocated next, and the list of the pages gets it back, so neither is
// shown.

import {
  DEVICE_DISK,
  FRAME_CONTENT,
  FRAME_FLAGS,
  FRAME_LRU_PREV,
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  FRAME_RMAP,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_YOUNG,
  LRU_POLICY_FIRST,
  PG_ANON,
  PG_CHARGED,
  PG_DIRTY,
  PG_LIST_SHIFT,
  PG_MM_SHIFT,
  PG_SWAPCACHE,
  STRAIGHT_AREA_FILE,
  STRAIGHT_AREA_OFFSET,
  STRAIGHT_CLOCK,
  STRAIGHT_CLUSTER,
  STRAIGHT_MM,
  STRAIGHT_RECHECKS,
  STRAIGHT_SCAN,
  STRAIGHT_SCAN_CLOCK,
} from '../abi';
import { lockstepEvicted, lockstepRefault, lockstepTested, lockstepWords } from '../lockstep';
import { clockAdvance, deviceRead, deviceWrite } from '../mm/device';
import { fileIsBlank, fileRead, fileWrite } from '../mm/filemap';
import { framePtr, framesCharged } from '../mm/frame';
import { lruTail, lruTurn } from '../mm/lru';
import { PMD_USED } from '../mm/pgtable';
import { Hpte, Pfn } from '../types';
import { STRAIGHT, yardstickGfn } from './config';
import { notifyUnmapped } from './evict';
import {
  COUNT_DIRECT,
  COUNT_REPLACED,
  COUNT_WRITTEN,
  countKnown,
  countKnownBy,
} from './known_counts';
import { lookYoung, strangeness } from './known_look';
import {
  KNOWN_AREA,
  KNOWN_CACHE,
  KNOWN_CACHEP,
  KNOWN_FRESH,
  KNOWN_HEAD,
  KNOWN_HPTEP,
  KNOWN_HVN,
  KNOWN_PMDP,
  entryOfFrame,
  isKnownFrame,
  ptepOfFrame,
} from './known_page';
import { freshFlags, freshPair, freshPte } from './known_touch';
import { replacing } from './plain_rules';
import { mayReclaim, straightLimit } from './shrink';

/** Whether pages may take places, in a quiet in which reclaim may look at known pages. */
export function mayReplace(): bool {
  const scans = load<u32>(STRAIGHT, STRAIGHT_SCAN) == STRAIGHT_SCAN_CLOCK;
  const one =
    load<u32>(STRAIGHT, STRAIGHT_CLUSTER) == 1 && load<u32>(STRAIGHT, STRAIGHT_RECHECKS) == 0;
  return scans && one && mayReclaim();
}

/** Whether the page of an entry, the oldest, is not young and goes without a trace but that of its frame. */
function isReplaceable(pfn: Pfn, page: usize, entry: usize, area: u32): bool {
  const pte = load<u32>(<usize>load<u32>(entry, KNOWN_HPTEP));
  const head = load<u32>(<usize>load<u32>(entry, KNOWN_HEAD));
  const other = load<u32>(page, FRAME_FLAGS) & (PG_ANON | PG_SWAPCACHE);
  const odd = strangeness(pfn, page, pte) | (pte & HPTE_YOUNG);
  // The page cache and the pte hold it.
  if ((head | other | odd | (load<u32>(page, FRAME_REFCOUNT) ^ 2)) != 0) return false;
  const cache = <usize>load<u32>(entry, KNOWN_CACHE);
  if (cache == 0 || load<u32>(entry, KNOWN_AREA) != area) return false;
  // A table goes with its last entry.
  return (
    load<u32>(<usize>load<u32>(entry, KNOWN_PMDP), PMD_USED) > 1 && load<u32>(cache, PMD_USED) > 1
  );
}

/**
 * The young pages at the end of the list go round; the entry of the oldest one then, or 0 where it is not for here. Which
 * pages are young nobody can foresee: of each that is loaded while the one before it is looked at, and asked by itself.
 */
function oldestKnown(): usize {
  let looks: u32 = 0;
  let pfn = lruTail(LRU_POLICY_FIRST);
  let ptep = ptepOfFrame(pfn);
  let pte = load<u32>(ptep);
  for (; ; looks++) {
    const entry = entryOfFrame(pfn);
    if (!isKnownFrame(entry, pfn)) break;
    if ((pte & HPTE_YOUNG) == 0) {
      countKnownBy(COUNT_DIRECT, looks);
      return entry;
    }
    const page = framePtr(pfn);
    const next = load<u32>(page, FRAME_LRU_PREV);
    const ptepThen = ptepOfFrame(next);
    const pteThen = load<u32>(ptepThen);
    // A page that is alone comes again at once, and is not young then.
    if (next == pfn || !lookYoung(pfn, page, entry, ptep)) break;
    pfn = next;
    ptep = ptepThen;
    pte = pteThen;
  }
  countKnownBy(COUNT_DIRECT, looks);
  return 0;
}

/** Unmaps the page of an entry, and writes it to its file when it is dirty. */
function unmapReplaced(pfn: Pfn, page: usize, entry: usize, blank: bool): void {
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  const hvn = load<u32>(entry, KNOWN_HVN);
  const ptep = <usize>load<u32>(entry, KNOWN_HPTEP);
  if (lockstepWords != 0) lockstepTested(yardstickGfn(mm, hvn), 0);
  notifyUnmapped(mm, hvn);
  const dirty = (load<u32>(ptep) & HPTE_DIRTY) | (load<u32>(page, FRAME_FLAGS) & PG_DIRTY);
  store<u32>(ptep, 0);
  store<u32>(<usize>load<u32>(entry, KNOWN_CACHEP), 0);
  if (dirty != 0) {
    // Zeros that are written to a file of zeros leave it as it is.
    if (!blank || load<u32>(page, FRAME_CONTENT) != 0) fileWrite(pfn);
    countKnown(COUNT_WRITTEN);
    deviceWrite(DEVICE_DISK, load<u32>(page, FRAME_PRIVATE));
  }
  if (lockstepWords != 0) lockstepEvicted(yardstickGfn(mm, hvn));
}

/** One pte fewer below the pmd entry at `from`, one more below that at `to`; their mm has as many as before. */
function move(from: usize, to: usize): void {
  if (from == to) return;
  store<u32>(from, load<u32>(from, PMD_USED) - 1, PMD_USED);
  store<u32>(to, load<u32>(to, PMD_USED) + 1, PMD_USED);
}

/** Reads the page of an entry into a frame of the same file's, with a reference from its pte and one from the cache. */
function readReplacing(pfn: Pfn, page: usize, entry: usize, pair: u32, blank: bool): Hpte {
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  const hvn = load<u32>(entry, KNOWN_HVN);
  const area = <usize>load<u32>(entry, KNOWN_AREA);
  const offset = hvn + load<u32>(area, STRAIGHT_AREA_OFFSET);
  const flags = (mm << PG_MM_SHIFT) | PG_CHARGED | (LRU_POLICY_FIRST << PG_LIST_SHIFT);
  const maps = pfn << HPTE_PFN_SHIFT;
  const pte = maps | freshPte(pair);
  store<u32>(page, flags | freshFlags(pair), FRAME_FLAGS);
  store<u32>(page, 0, FRAME_CONTENT);
  store<u32>(page, offset, FRAME_PRIVATE);
  store<u32>(page, hvn, FRAME_RMAP);
  if (!blank) fileRead(pfn, load<u32>(area, STRAIGHT_AREA_FILE), offset);
  store<u32>(<usize>load<u32>(entry, KNOWN_CACHEP), HPTE_PRESENT | maps);
  store<u32>(<usize>load<u32>(entry, KNOWN_HPTEP), pte);
  if (lockstepWords != 0) lockstepRefault(yardstickGfn(mm, hvn));
  deviceRead(DEVICE_DISK, offset);
  return pte;
}

/**
 * Reads the page of an entry in the place of another, for a fault that wants it for writing (FOLL_WRITE) or not (0), and
 * gives it back; its pte. 0: it is to be read otherwise, but pages may have gone round. The counts of the running batch,
 * and of the walk that faulted, are for the clock.
 */
export function replaceKnown(
  entry: usize,
  want: u32,
  accesses: u32,
  l2Hits: u32,
  steps: u32,
): Hpte {
  const pair = freshPair(load<u32>(entry, KNOWN_FRESH), want);
  if (!replacing || pair == 0 || framesCharged() != straightLimit()) return 0;
  const cached = load<u32>(<usize>load<u32>(entry, KNOWN_CACHEP));
  if ((cached | load<u32>(<usize>load<u32>(entry, KNOWN_HPTEP))) != 0) return 0;
  const old = oldestKnown();
  if (old == 0) return 0;
  const pfn = lruTail(LRU_POLICY_FIRST);
  const page = framePtr(pfn);
  const area = load<u32>(entry, KNOWN_AREA);
  if (!isReplaceable(pfn, page, old, area)) return 0;
  // No time passes in a fault but that for which a device is waited.
  if (load<u32>(STRAIGHT, STRAIGHT_CLOCK) != 0) clockAdvance(accesses, l2Hits, steps);
  const blank = fileIsBlank(load<u32>(<usize>area, STRAIGHT_AREA_FILE));
  unmapReplaced(pfn, page, old, blank);
  move(<usize>load<u32>(old, KNOWN_PMDP), <usize>load<u32>(entry, KNOWN_PMDP));
  move(<usize>load<u32>(old, KNOWN_CACHE), <usize>load<u32>(entry, KNOWN_CACHE));
  lruTurn(pfn, page, LRU_POLICY_FIRST);
  countKnown(COUNT_REPLACED);
  return readReplacing(pfn, page, entry, pair, blank);
}
