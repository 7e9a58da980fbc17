// lru_gen_look_around() where it asks the notifiers (mm/vmscan.c of 6.12.74): the pte of the page in hand is tested by
// clear_young, which does not flush, and if it was used, so is each of up to 64 ptes around it, young or not, the first
// one once more. Until then only young neighbours counted, and nobody was asked (assembly/mm/lru_gen_scan.ts).

import * as abi from '../../../assembly/abi.ts';
import type { Mm } from '../mm.ts';
import { MN_AGE_PAGE, MN_CLEAR_YOUNG } from '../mmu-notifier.ts';
import type { Vma } from '../vma.ts';

/** Op that makes a page old without a flush, by the op of the aging protocol. */
const OPS = {
  none: -1,
  age_page: MN_AGE_PAGE,
  clear_flush_young: MN_CLEAR_YOUNG,
  clear_young: MN_CLEAR_YOUNG,
} as const;

/** Asks the notifiers by `op` (-1: there is none) about a pte that was `young`; whether the page was used through it. */
export function notifyYoung(
  mm: Mm,
  op: number,
  hvn: number,
  pages: number,
  young: boolean,
): boolean {
  const { aging } = mm.host;
  if (op < 0 || (aging.askOnlyYoung && !young)) return young;
  const answer = mm.runNested((t, at) => mm.notifiers.call(t, at), op, hvn, hvn + pages, 0);
  return young || (aging.answerCounts && answer !== 0);
}

/** The pages that are looked at around one of an area: those of its table, at most a batch. */
function around(hvn: number, vma: Vma): [start: number, end: number] {
  const table = hvn - (hvn % abi.HPAGE_PMD_NR);
  const start = Math.max(table, vma.start);
  const end = Math.min(table + abi.HPAGE_PMD_NR, vma.end);
  const half = abi.MIN_LRU_BATCH / 2;
  if (end - start <= abi.MIN_LRU_BATCH) return [start, end];
  if (hvn - start < half) return [start, start + abi.MIN_LRU_BATCH];
  if (end - hvn < half) return [end - abi.MIN_LRU_BATCH, end];
  return [hvn - half, hvn + half];
}

/**
 * Whether the page was used through its pte at `hvn`, which was `young`; if so, looks around. `walks`: the reclaim keeps
 * account of a walk, as one on request does, and promotes what it finds at once.
 */
export function lookAround(
  mm: Mm,
  pfn: number,
  hvn: number,
  young: boolean,
  walks: boolean,
): boolean {
  const { host } = mm;
  const { x } = host.core;
  const op = OPS[host.aging.op];
  host.emit(abi.EVENT_LRU_GEN_LOOK_AROUND, pfn);
  if (!notifyYoung(mm, op, hvn, 1, young)) return false;
  const vma = mm.findVma(hvn);
  if (vma === undefined) return true;
  const [start, end] = around(hvn, vma);
  if (end - start === 1) return true;
  const anon = x.pageFlags(pfn) & abi.PG_SWAPBACKED;
  const asks = mm.notifiers.list.head !== 0;
  for (let at = start; at < end; at++) {
    const found = x.lruGenTestYoung(mm.id, at, anon);
    if (found === 0 || (found === 1 && !asks)) continue;
    if (notifyYoung(mm, op, at, 1, found === 3)) x.lruGenFoundYoung(mm.id, at, walks ? 1 : 0);
  }
  return true;
}
