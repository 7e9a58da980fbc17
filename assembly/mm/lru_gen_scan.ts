// What walks the lists of the multi-generational LRU (cf. mm/vmscan.c, 6.1): switching it on and off,
// eviction's scan of the oldest generation, aging, and the look around a young pte.

import {
  EVENT_LRU_GEN_LOOK_AROUND,
  EVENT_VMSCAN_LRU_ISOLATE,
  FRAME_FLAGS,
  FRAME_REFCOUNT,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_YOUNG,
  LRU_ACTIVE_FILE,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
  MAX_NR_GENS,
  MIN_LRU_BATCH,
  MIN_NR_GENS,
  PG_ACTIVE,
  PG_ANON,
  PG_DIRTY,
  PG_ISOLATED,
  PG_RECLAIM,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
  PG_WRITEBACK,
} from '../abi';
import { PAGES_SCANNED } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Hvn, Pfn } from '../types';
import { folioActivate } from './folio_batch';
import { folioOf, framePtr, putPage } from './frame';
import {
  genAdvance,
  genClearRefs,
  genDel,
  genIncMaxSeq,
  genIncMinSeq,
  genList,
  genOf,
  genOfSeq,
  genPromote,
  genProtected,
  genRefs,
  genSetMinSeq,
  genTier,
  lruGenMaxSeq,
  lruGenMinSeq,
  lruGenSwitch,
} from './lru_gen';
import {
  lruAdd,
  lruDel,
  lruLink,
  lruLinkTail,
  lruSize,
  lruTail,
  lruTarget,
  lruUnlink,
} from './lru';
import { memcgUpdated } from './memcg';
import { outWord, setPageDirty } from './memory';
import { hpteGet, hpteTestAndClearYoung } from './pte';

const MAX_LRU_BATCH: u32 = MIN_LRU_BATCH * 64;
/** PAGEVEC_SIZE: fewer young neighbours than this are activated one by one. */
const PAGEVEC_SIZE: u32 = 15;
/** refs == BIT(LRU_REFS_WIDTH): as many accesses as can be told. */
const REFS_FULL: u32 = 4;

/** Pages of the last isolation. */
const ISOLATED: usize = memory.data(256, 4);
/** Neighbours to promote of the last look around. */
const FOUND: usize = memory.data(256, 4);
if (MIN_LRU_BATCH * 4 != 256) ERROR('lru_gen: MIN_LRU_BATCH');

/** Switches the multi-generational LRU on or off; every listed page moves (lru_gen_change_state). */
export function lruGenEnable(on: u32): void {
  lruGenSwitch(on);
  if (on != 0) {
    for (let list: u32 = 0; list <= LRU_ACTIVE_FILE; list++) {
      for (let pfn = lruTail(list); pfn != 0; pfn = lruTail(list)) relist(pfn);
    }
    return;
  }
  for (let gen: u32 = 0; gen < MAX_NR_GENS; gen++) {
    for (let type: u32 = 0; type < 2; type++) {
      const list = genList(gen, type);
      for (let pfn = lruTail(list); pfn != 0; pfn = lruTail(list)) relist(pfn);
    }
  }
}

function relist(pfn: Pfn): void {
  lruDel(pfn);
  lruAdd(pfn, lruTarget(load<u32>(framePtr(pfn), FRAME_FLAGS)));
}

/** Whether a scan is told by the tracepoint of the lists' scans. */
let tells: u32 = 0;

/** Says whether it is. */
export function lruGenTells(on: u32): void {
  tells = on;
}

/** Where lruGenIsolate() leaves its pages. */
export function lruGenIsolated(): usize {
  return ISOLATED;
}

function move(pfn: Pfn, list: u32, tail: bool): void {
  lruUnlink(pfn);
  if (tail) lruLinkTail(pfn, list);
  else lruLink(pfn, list);
}

/** sort_folio: pages that eviction passes over move to where they belong; true when one did. */
function sortFolio(pfn: Pfn, type: u32, tierIdx: u32): bool {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const refs = genRefs(pfn);
  const tier = genTier(refs);
  if (type == 1 && (flags & PG_ANON) != 0 && (flags & PG_DIRTY) != 0) {
    // A lazily freed page that was written again is an anonymous page.
    lruDel(pfn);
    store<u32>(page, (load<u32>(page, FRAME_FLAGS) & ~PG_ACTIVE) | PG_SWAPBACKED, FRAME_FLAGS);
    lruAdd(pfn, lruTarget(load<u32>(page, FRAME_FLAGS)));
    return true;
  }
  const gen = genOf(pfn);
  if (<u32>gen != genOfSeq(lruGenMinSeq(type))) {
    move(pfn, genList(gen, type), false);
    return true;
  }
  if (tier > tierIdx || refs == REFS_FULL) {
    move(pfn, genList(genAdvance(pfn, type), type), true);
    genProtected(type, tier);
    memcgUpdated(1);
    return true;
  }
  if ((flags & PG_WRITEBACK) != 0 || (type == 1 && (flags & PG_DIRTY) != 0)) {
    const next = genAdvance(pfn, type);
    store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_RECLAIM, FRAME_FLAGS);
    move(pfn, genList(next, type), false);
    return true;
  }
  return false;
}

/** isolate_folio. */
function isolateFolio(pfn: Pfn): void {
  const page = framePtr(pfn);
  if ((load<u32>(page, FRAME_FLAGS) & PG_REFERENCED) == 0) genClearRefs(pfn);
  genDel(pfn, true);
  lruUnlink(pfn);
  memcgUpdated(1);
  const flags = load<u32>(page, FRAME_FLAGS) & ~(PG_RECLAIM | PG_REFERENCED);
  store<u32>(page, flags | PG_ISOLATED, FRAME_FLAGS);
  store<u32>(page, load<u32>(page, FRAME_REFCOUNT) + 1, FRAME_REFCOUNT);
  bump(PAGES_SCANNED);
}

/**
 * scan_folios: takes up to 64 pages of the oldest generation of a type; others are sorted. Returns
 * how many were looked at (0: nothing to take); MM_OUT word 0 is how many were taken.
 */
export function lruGenIsolate(type: u32, tierIdx: u32): u32 {
  outWord(0, 0);
  const oldest = lruGenMinSeq(type);
  if (lruGenMaxSeq() - oldest + 1 == MIN_NR_GENS) return 0;
  const list = genList(genOfSeq(oldest), type);
  let scanned: u32 = 0;
  let sorted: u32 = 0;
  let taken: u32 = 0;
  while (scanned < MAX_LRU_BATCH && taken < MIN_LRU_BATCH) {
    const pfn = lruTail(list);
    if (pfn == 0) break;
    scanned++;
    if (sortFolio(pfn, type, tierIdx)) {
      sorted++;
      continue;
    }
    isolateFolio(pfn);
    store<u32>(ISOLATED + ((<usize>taken) << 2), pfn);
    taken++;
  }
  if (tells != 0) {
    const inactive = type == 0 ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE;
    trace(EVENT_VMSCAN_LRU_ISOLATE, MAX_LRU_BATCH, scanned, inactive, taken);
  }
  memcgUpdated(taken);
  memcgUpdated(sorted);
  outWord(0, taken);
  return taken != 0 || scanned == MAX_LRU_BATCH ? scanned : 0;
}

/** try_to_inc_min_seq: skips generations that have become empty; 1 when one was. */
export function lruGenIncMinSeq(canSwap: u32): u32 {
  const maxSeq = lruGenMaxSeq();
  let anon = lruGenMinSeq(0);
  let file = lruGenMinSeq(1);
  const first: u32 = canSwap ? 0 : 1;
  for (let type = first; type < 2; type++) {
    let seq = lruGenMinSeq(type);
    while (seq + MIN_NR_GENS <= maxSeq && lruSize(genList(genOfSeq(seq), type)) == 0) seq++;
    if (type == 0) anon = seq;
    else file = seq;
  }
  if (canSwap) {
    if (file < anon) anon = file;
    file = anon > lruGenMinSeq(1) ? anon : lruGenMinSeq(1);
  }
  let done: u32 = 0;
  if (canSwap && genSetMinSeq(0, anon)) done = 1;
  if (genSetMinSeq(1, file)) done = 1;
  return done;
}

/** inc_max_seq: a new youngest generation; the oldest joins the next one if there are four. */
export function lruGenIncMaxSeq(canSwap: u32): void {
  for (let i: u32 = 0; i < 2; i++) {
    const type = 1 - i;
    if (lruGenMaxSeq() - lruGenMinSeq(type) + 1 != MAX_NR_GENS) continue;
    if (type == 1 || canSwap != 0) {
      const list = genList(genOfSeq(lruGenMinSeq(type)), type);
      for (let pfn = lruTail(list); pfn != 0; pfn = lruTail(list)) {
        move(pfn, genList(genAdvance(pfn, type), type), true);
      }
    }
    genIncMinSeq(type);
  }
  genIncMaxSeq();
}

/** What eviction does with an isolated page that stays: it goes to the youngest generation. */
export function lruGenPutback(pfn: Pfn): void {
  const page = framePtr(pfn);
  if ((load<u32>(page, FRAME_FLAGS) & PG_UNEVICTABLE) == 0) {
    genClearRefs(pfn);
    store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_ACTIVE, FRAME_FLAGS);
  }
  const flags = load<u32>(page, FRAME_FLAGS) & ~PG_ISOLATED;
  store<u32>(page, flags, FRAME_FLAGS);
  if (load<u32>(page, FRAME_REFCOUNT) != 1) lruAdd(pfn, lruTarget(flags));
  putPage(pfn);
}

/** A pte of the page is dirty: so is the page, unless it is anonymous and will be found dirty when it gets a swap slot. */
function markMappedDirty(pfn: Pfn): void {
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  const clean = (flags & (PG_ANON | PG_SWAPBACKED | PG_SWAPCACHE)) == (PG_ANON | PG_SWAPBACKED);
  if ((flags & PG_DIRTY) == 0 && !clean) setPageDirty(pfn);
}

/** A young pte of a page that may be promoted; the bit is cleared. 0: not young, or no page. */
function takeYoung(mm: u32, hvn: Hvn): Pfn {
  const pte = hpteGet(mm, hvn);
  if ((pte & (HPTE_PRESENT | HPTE_SWAP | HPTE_YOUNG)) != (HPTE_PRESENT | HPTE_YOUNG)) return 0;
  hpteTestAndClearYoung(mm, hvn);
  const pfn = folioOf(pte >> HPTE_PFN_SHIFT);
  if (pte & HPTE_DIRTY) markMappedDirty(pfn);
  return pfn;
}

/**
 * lru_gen_look_around: reclaim found the pte of `pfn` at `hvn` young (its bit is cleared already); young
 * ptes around it, up to 64 pages in the area [start, end) and in the same table, are promoted too.
 */
export function lruGenLookAround(pfn: Pfn, mm: u32, hvn: Hvn, start: Hvn, end: Hvn): void {
  trace(EVENT_LRU_GEN_LOOK_AROUND, pfn);
  const table = hvn & ~(<u32>511);
  if (start < table) start = table;
  if (end > table + 512) end = table + 512;
  const half = MIN_LRU_BATCH / 2;
  if (end - start > MIN_LRU_BATCH) {
    if (hvn - start < half) end = start + MIN_LRU_BATCH;
    else if (end - hvn < half) start = end - MIN_LRU_BATCH;
    else {
      start = hvn - half;
      end = hvn + half;
    }
  }
  const young = genOfSeq(lruGenMaxSeq());
  let found: u32 = 0;
  for (let at = start; at < end; at++) {
    const near = at == hvn ? pfn : takeYoung(mm, at);
    if (near == 0) continue;
    const gen = genOf(near);
    if (gen < 0) genPromote(near);
    else if (<u32>gen != young) {
      store<u32>(FOUND + ((<usize>found) << 2), near);
      found++;
    }
  }
  for (let i: u32 = 0; i < found; i++) {
    const near = load<u32>(FOUND + ((<usize>i) << 2));
    if (found < PAGEVEC_SIZE) folioActivate(near);
    else genPromote(near);
  }
}

/**
 * A pte that lru_gen_look_around() comes by where it asks the notifiers: 0, no page of its kinds (`anon`: anonymous ones,
 * too), 1 a page, 3 a young pte, whose bit is cleared.
 */
export function lruGenTestYoung(mm: u32, hvn: Hvn, anon: u32): u32 {
  const pte = hpteGet(mm, hvn);
  if ((pte & (HPTE_PRESENT | HPTE_SWAP)) != HPTE_PRESENT) return 0;
  const flags = load<u32>(framePtr(folioOf(pte >> HPTE_PFN_SHIFT)), FRAME_FLAGS);
  if (anon == 0 && (flags & PG_SWAPBACKED) != 0) return 0;
  return 1 | (hpteTestAndClearYoung(mm, hvn) << 1);
}

/**
 * The page that a pte maps was used: reclaim that keeps account of a walk (`walks`) promotes it at once, other reclaim by
 * way of the CPU's batch.
 */
export function lruGenFoundYoung(mm: u32, hvn: Hvn, walks: u32): void {
  const pte = hpteGet(mm, hvn);
  const pfn = folioOf(pte >> HPTE_PFN_SHIFT);
  if (pte & HPTE_DIRTY) markMappedDirty(pfn);
  const gen = genOf(pfn);
  if (walks != 0 || gen < 0) genPromote(pfn);
  else if (<u32>gen != genOfSeq(lruGenMaxSeq())) folioActivate(pfn);
}

/** walk_mm: the aging promotes the young pages of [start, end) of an mm; returns how many were young. */
export function lruGenWalk(mm: u32, start: Hvn, end: Hvn): u32 {
  const young = genOfSeq(lruGenMaxSeq());
  let found: u32 = 0;
  for (let hvn = start; hvn < end; hvn++) {
    const pfn = takeYoung(mm, hvn);
    if (pfn == 0) continue;
    found++;
    const gen = genOf(pfn);
    if (gen < 0 || <u32>gen != young) genPromote(pfn);
  }
  return found;
}
