// What a fault at a known page (known_page.ts) does to the host's pte and to the flags of the page, as words: which of it
// applies nobody can foresee, so there is no branch about it.

import {
  FOLL_TOUCH,
  FOLL_WRITE,
  FOLL_YOUNG,
  FRAME_FLAGS,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_WRITE,
  HPTE_YOUNG,
  KVM_FEATURE_PREFETCH,
  LRU_POLICY_FIRST,
  MAP_CHARGED,
  MAP_SHARED,
  MAP_UNEVICTABLE,
  MAP_WRITE_FAULT,
  PG_ACTIVE,
  PG_DIRTY,
  PG_HUGE,
  PG_LRU,
  PG_LRU_PENDING,
  PG_REFERENCED,
  PG_UNEVICTABLE,
  ZERO_PFN,
} from '../abi';
import { PAGES_ACTIVATED } from '../counters';
import { filemapPte } from '../mm/filemap_fault';
import { framePtr } from '../mm/frame';
import { isOneList } from '../mm/lru';
import { lruBatchSize } from '../mm/lru_add';
import { markPlain } from '../mm/mark_accessed';
import { memcgEnabled } from '../mm/memcg';
import { gupFlags, marksAccessed, touch } from '../mmu/fault_policy';
import { hasFeature } from '../mmu/kvm';
import { bumpBy } from '../stats';
import { Hpte, Pfn } from '../types';
import { argsOf } from './gup';

/** Bits of a pte with which the fast lookup of the host's gives the page; without them it is left to the slow one. */
let fastAsks: Hpte = 0;
/** Pages are on one list, where marking one accessed changes no more than its flags. */
let onOneList: bool = false;
/**
 * The fault marks the page accessed when it gives it back: before all that it does to other pages, or after the sptes that
 * it maps ahead, whose pages are marked, too.
 */
let marks: bool = false;
let marksLast: bool = false;
/** Flags that matter of a page on that list. */
const LIST_FLAGS: u32 = PG_LRU | PG_LRU_PENDING | PG_UNEVICTABLE | PG_HUGE;

/** Learns how the host's lookups touch pages; false: not just so that the pte becomes young. */
export function learnTouch(): bool {
  fastAsks = touch != 0 ? HPTE_WRITE : 0;
  marksLast = marksAccessed != 0 && hasFeature(KVM_FEATURE_PREFETCH);
  marks = marksAccessed != 0 && !marksLast;
  onOneList = isOneList(LRU_POLICY_FIRST) && lruBatchSize() == 0 && !memcgEnabled();
  return (gupFlags & (FOLL_TOUCH | FOLL_YOUNG)) == (FOLL_TOUCH | FOLL_YOUNG);
}

/** Whether a page with these flags is one for here. */
export function isTouchable(pfn: Pfn, flags: u32): bool {
  return onOneList ? (flags & LIST_FLAGS) == PG_LRU : (flags & PG_HUGE) == 0 && pfn != ZERO_PFN;
}

/** Whether the fast lookup gives the page of a pte, which changes none of its flags. */
export function isFast(pte: Hpte): bool {
  return (pte & fastAsks) != 0;
}

/** The flags of a page after the slow lookup of its pte; `want` is FOLL_WRITE or 0. */
export function slowFlagged(flags: u32, pte: Hpte, want: u32): u32 {
  const clean = (pte & HPTE_DIRTY) == 0 ? FOLL_WRITE : 0;
  return flags | select<u32>(PG_DIRTY, 0, (clean & want) != 0);
}

/** Writes the flags of a page, and marks it accessed where the fault does so when it gives it back, but for markLast(). */
export function storeMarked(pfn: Pfn, page: usize, flags: u32): void {
  if (onOneList && marks) flags = marked(flags);
  store<u32>(page, flags, FRAME_FLAGS);
  if (!onOneList && marks) markPlain(pfn, page, flags);
}

/** Marks the page accessed where that comes after the sptes that were mapped ahead. */
export function markLast(pfn: Pfn): void {
  if (!marksLast) return;
  const page = framePtr(pfn);
  markPlain(pfn, page, load<u32>(page, FRAME_FLAGS));
}

// A page that is read in the place of another is touched at once by all that happens to it in the fault. What comes of
// that is known for a read and for a write: the bits of the pte, and those of the page's flags above them.

/** Bits of the pte, then of the flags, in a byte each. */
const FRESH_FLAGS: u32 = 8;
/** Where the byte pair for a write is. */
const FRESH_WRITE: u32 = 16;
const FRESH_MASK: u32 = 0xff;
if (HPTE_PFN_SHIFT > 8 || (PG_REFERENCED | PG_LRU) > FRESH_MASK) ERROR('known_touch: a byte each');

/** The pair for a fault with MAP_* `args`; 0: its page is not read in another's place. */
function freshFor(args: u32): u32 {
  // A write to a private page of a file copies it.
  if ((args & (MAP_WRITE_FAULT | MAP_SHARED)) == MAP_WRITE_FAULT) return 0;
  if ((args & (MAP_CHARGED | MAP_UNEVICTABLE)) != MAP_CHARGED) return 0;
  // A write's pte is dirty, so that the lookup need not make the page so.
  const flags = marks ? PG_LRU | PG_REFERENCED : PG_LRU;
  return filemapPte(0, args) | HPTE_YOUNG | (flags << FRESH_FLAGS);
}

/** Both pairs for the pages of an area, as its faults are served now. */
export function freshOf(area: usize): u32 {
  const read = freshFor(argsOf(area, gupFlags));
  return read | (freshFor(argsOf(area, gupFlags | FOLL_WRITE)) << FRESH_WRITE);
}

/** The pair for an access that wants the page for `want` (FOLL_WRITE or 0). */
export function freshPair(fresh: u32, want: u32): u32 {
  return (fresh >> (want * FRESH_WRITE)) & ((FRESH_MASK << FRESH_FLAGS) | FRESH_MASK);
}

/** The bits of the pte in a pair. */
export function freshPte(pair: u32): Hpte {
  return pair & FRESH_MASK;
}

/** The flags in a pair. */
export function freshFlags(pair: u32): u32 {
  return pair >> FRESH_FLAGS;
}

/** Whether marking a page on the one list activates it (folioMarkAccessed()). */
function isActivated(flags: u32): bool {
  return (flags & (PG_REFERENCED | PG_ACTIVE)) == PG_REFERENCED;
}

/** The flags of a page on the one list that is marked accessed; which they become nobody can foresee. */
function marked(flags: u32): u32 {
  const active = flags ^ (PG_REFERENCED | PG_ACTIVE);
  bumpBy(PAGES_ACTIVATED, select<u32>(1, 0, isActivated(flags)));
  return select<u32>(active, flags | PG_REFERENCED, isActivated(flags));
}
