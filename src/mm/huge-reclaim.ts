// Huge pages under MADV_COLD, MADV_PAGEOUT, MADV_FREE and reclaim (cf. mm/madvise.c, mm/vmscan.c, 6.1): a
// whole huge page is judged, aged and swapped out as one; a part of it makes it small pages first.

import * as abi from '../../assembly/abi.ts';
import { untraced } from '../core/load.ts';
import type { Host } from './host.ts';
import {
  folioMappings,
  hugeAlign,
  notifyHuge,
  splitFolio,
  splitHugePmd,
  splitWithin,
  totalMapcount,
} from './huge-memory.ts';
import type { Mm } from './mm.ts';
import {
  MN_INVALIDATE_RANGE,
  MN_INVALIDATE_RANGE_END,
  MN_INVALIDATE_RANGE_START,
} from './mmu-notifier.ts';

/** What a huge pte or a part of a huge page came to under an advice. */
export type HugeAdvice =
  /** All 512 pages are dealt with. */
  | { readonly kind: 'done'; readonly isolated: number; readonly changed: boolean }
  /** They are left alone. */
  | { readonly kind: 'skip' }
  /** Small pages by now: go on one by one. */
  | { readonly kind: 'small' };

/** Results of reclaimHuge() beside RECLAIM_*: it was split; it turned out to be in use. */
export const RECLAIM_SPLIT = 0x400;
export const RECLAIM_ACTIVATE = 0x100;

const SKIP: HugeAdvice = { kind: 'skip' };
const SMALL: HugeAdvice = { kind: 'small' };

/** split_huge_page() of a page that nobody else holds; the caller's reference comes and goes here. */
function splitForAdvice(host: Host, pfn: number): boolean {
  const { x } = host.core;
  const head = x.folioOf(pfn) >>> 0;
  x.getPage(head);
  const split = splitFolio(host, head, 1);
  x.putPage(head);
  return split;
}

/** A huge pte at `hvn` whose part up to `end` is advised cold (or, `pageout`, to be reclaimed). */
export function coldHuge(mm: Mm, hvn: number, end: number, pageout: boolean): HugeAdvice {
  const { host } = mm;
  const { x } = host.core;
  const pmd = x.hpmdGet(mm.id, hvn) >>> 0;
  const pfn = x.hpteGet(mm.id, hvn) >>> abi.HPTE_PFN_SHIFT;
  if ((pmd & abi.HPTE_SWAP) !== 0 || x.pageMapcount(pfn) !== 1) return SKIP;
  if (!isWhole(hvn, end)) return splitForAdvice(host, pfn) ? SMALL : SKIP;
  const asks = !pageout || host.generation.pageoutAsks;
  const changed = asks && x.hpteTestAndClearYoung(mm.id, hvn) === 1;
  // pmdp_invalidate().
  if (changed) mm.flushTlb(hvn, end);
  x.lruSetFlags(pfn, 0, abi.PG_REFERENCED);
  if (!pageout) x.deactivatePage(pfn);
  const flags = x.pageFlags(pfn);
  const takes = pageout && (flags & abi.PG_LRU) !== 0 && (flags & abi.PG_UNEVICTABLE) === 0;
  if (takes) x.lruIsolate(pfn);
  return { kind: 'done', isolated: takes ? pfn : 0, changed };
}

/** The same for MADV_FREE (madvise_free_huge_pmd). */
export function freeHuge(mm: Mm, hvn: number, end: number): HugeAdvice {
  const { host } = mm;
  const { x } = host.core;
  const pmd = x.hpmdGet(mm.id, hvn) >>> 0;
  const head = pmd >>> abi.HPTE_PFN_SHIFT;
  const shared = (pmd & abi.HPTE_SWAP) !== 0 || totalMapcount(host, head) !== 1;
  if (shared) return SKIP;
  if (!isWhole(hvn, end)) return splitForAdvice(host, head) ? SMALL : SKIP;
  const changed = (pmd & (abi.HPTE_YOUNG | abi.HPTE_DIRTY)) !== 0;
  x.lruSetFlags(head, 0, abi.PG_DIRTY);
  if (changed) {
    x.hpmdSet(mm.id, hvn, pmd & ~(abi.HPTE_YOUNG | abi.HPTE_DIRTY));
    mm.flushTlb(hvn, end);
  }
  x.markPageLazyfree(head);
  return { kind: 'done', isolated: 0, changed };
}

/** A small pte that maps a part of a huge page: 'small' when the page could be split. `asked`: the page that is to be mapped
 *  once. */
export function splitForSmall({ host }: Mm, pfn: number, asked = pfn): HugeAdvice {
  if (host.core.x.pageMapcount(asked) !== 1) return SKIP;
  return splitForAdvice(host, pfn) ? SMALL : SKIP;
}

function isWhole(hvn: number, end: number): boolean {
  return hugeAlign(hvn) === hvn && end - hvn >= abi.HPAGE_PMD_NR;
}

/**
 * Reclaims an isolated huge page as one (THP_SWAP): every mapping is split, its ptes become swap entries
 * under one notifier call, and the whole is written and freed. RECLAIM_* bits; RECLAIM_SPLIT: nobody maps it as one, and
 * by now it is 512 isolated pages, the first of which is to be reclaimed as such. One that was freed lazily needs no slots;
 * if it was written since, it is mapped in parts from now on, an ordinary page again, and active. `shadow`: what its
 * pages leave, by their common age.
 */
export function reclaimHuge(host: Host, head: number, shadow: number): number {
  const { x } = host.core;
  const places = folioMappings(host, head);
  const lazy = (x.pageFlags(head) & abi.PG_SWAPBACKED) === 0;
  const slots = x.swapTotal() - x.swapUsed();
  if (!lazy && slots < abi.HPAGE_PMD_NR) return abi.RECLAIM_SWAP_FULL;
  const whole = places.some(({ mm, hvn }) => x.hpmdGet(mm.id, hvn) !== 0);
  if (!whole && !lazy) return splitIsolated(host, head);
  for (const { mm, hvn } of places) {
    host.emit(abi.EVENT_TRY_TO_UNMAP_ONE, hvn);
    const within = mm.notifiers.withFlushes;
    if (!within) mm.runNested((t, at) => splitHugePmd(t, at, mm), hvn, 0);
    notifyHuge(mm, MN_INVALIDATE_RANGE_START, hvn);
    if (within) splitWithin(mm, hvn);
    if (lazy && isRedirtied(mm, head, hvn)) {
      x.lruSetFlags(head, abi.PG_DIRTY | abi.PG_SWAPBACKED, 0);
      notifyHuge(mm, MN_INVALIDATE_RANGE_END, hvn);
      return RECLAIM_ACTIVATE;
    }
    if (x.pageFlags(head) & abi.PG_HUGE) takeApart(host, head);
    for (let i = 0; i < abi.HPAGE_PMD_NR; i++) {
      if (x.tryToUnmapOne(head + i) === 3 || mm.hooks !== '6.x') continue;
      mm.runNested((t, at) => mm.notifiers.call(t, at), MN_INVALIDATE_RANGE, hvn + i, hvn + i + 1);
    }
    notifyHuge(mm, MN_INVALIDATE_RANGE_END, hvn);
  }
  let result = x.pageoutFree(head, shadow, 0);
  untraced(host.core, () => {
    for (let i = 1; i < abi.HPAGE_PMD_NR; i++) result |= x.pageoutFree(head + i, shadow, i);
  });
  if ((result & abi.RECLAIM_WROTE) !== 0) host.swap.write(host.out(0));
  return result;
}

/** A huge page that was freed lazily can't be dropped: it was written since, by whichever pte. */
function isRedirtied(mm: Mm, head: number, hvn: number): boolean {
  const { x } = mm.host.core;
  if ((x.pageFlags(head) & abi.PG_HUGE) === 0) return false;
  if ((x.pageFlags(head) & abi.PG_DIRTY) !== 0) return true;
  for (let i = 0; i < abi.HPAGE_PMD_NR; i++) {
    const pte = x.hpteGet(mm.id, hvn + i) >>> 0;
    if (pte >>> abi.HPTE_PFN_SHIFT === head + i && (pte & abi.HPTE_DIRTY) !== 0) return true;
  }
  return false;
}

/** The frames of an isolated huge page as isolated pages of their own, each with a swap slot. */
function takeApart(host: Host, head: number): void {
  const { x } = host.core;
  x.splitHugePage(head, 1);
  for (let i = 0; i < abi.HPAGE_PMD_NR; i++) x.addToSwap(head + i);
}

/** Split at once, since some of it may go without being written; the tails join what reclaim looks at. */
function splitIsolated(host: Host, head: number): number {
  const { policy, core } = host;
  if (!splitFolio(host, head, 1, true)) return abi.RECLAIM_PINNED;
  if (policy.join !== undefined) policy.join(head);
  else for (let i = 1; i < abi.HPAGE_PMD_NR; i++) core.x.lruPutback(head + i);
  return RECLAIM_SPLIT;
}
