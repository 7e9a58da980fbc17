// page_referenced: was a page used since it was asked last? Tests and clears the young bit of every
// host pte that maps it, each through ptep_clear_flush_young, which asks the notifiers as the aging
// protocol says. This is the mkold path.

import * as abi from '../../../assembly/abi.ts';
import type { Task } from '../../sched/task.ts';
import type { Host } from '../host.ts';
import type { Mm } from '../mm.ts';
import { arrangeMerged, isMerged, mergedInVain } from '../ksm-walk.ts';
import { MN_AGE_PAGE, MN_CLEAR_FLUSH_YOUNG, MN_CLEAR_YOUNG } from '../mmu-notifier.ts';
import { visitedInVain } from '../rmap-areas.ts';
import { hugeReferenced, isPartlyMapped } from './huge-referenced.ts';
import { notifyYoung } from './look-around.ts';

// Arguments and locals of pageReferenced().
const PFN = 1;
const INDEX = 2;
const COUNT = 3;
const CALLEE = 4;

// Of ptepClearFlushYoung().
const HVN = 2;
const YOUNG = 3;
const MM = 4;
const MAPS = 5;
const INDEX_OF = 6;
const INNER = 7;

/** Result bit of ptepClearFlushYoung(): the page has further mappings. */
const MORE = 2;

/** Number of the aging op of each protocol. */
const OPS = {
  none: -1,
  age_page: MN_AGE_PAGE,
  clear_flush_young: MN_CLEAR_FLUSH_YOUNG,
  clear_young: MN_CLEAR_YOUNG,
} as const;

/** Counts the mappings of the page s[at + 1] that were young, and makes all of them old. */
export function pageReferenced(t: Task, at: number, host: Host): boolean {
  const s = t.stack;
  for (;;) {
    switch (s[at]) {
      case 0:
        s[at + INDEX] = 0;
        s[at + COUNT] = 0;
        host.emit(abi.EVENT_FOLIO_REFERENCED, s[at + PFN]);
        if (isPartlyMapped(host, s[at + PFN] as number)) {
          const count = hugeReferenced(host, s[at + PFN] as number, askYoung);
          host.emit(abi.EVENT_FOLIO_REFERENCED_RET, count);
          return t.done(at, count);
        }
        traceVain(host, s[at + PFN] as number);
        s[at] = 1;
      case 1:
        traceMerged(host, s[at + PFN] as number, s[at + INDEX] as number);
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = s[at + PFN] as number;
        s[at + CALLEE + 2] = s[at + INDEX] as number;
        s[at] = 2;
      case 2:
        if (!ptepClearFlushYoung(t, at + CALLEE, host)) return false;
        s[at + COUNT] = (s[at + COUNT] as number) + (t.result & 1);
        s[at + INDEX] = (s[at + INDEX] as number) + 1;
        if ((t.result & MORE) === 0) {
          host.emit(abi.EVENT_FOLIO_REFERENCED_RET, s[at + COUNT]);
          return t.done(at, s[at + COUNT] as number);
        }
        s[at] = 1;
    }
  }
}

/** ptep_clear_flush_young_notify() of a pte that was `young` already. */
function askYoung(mm: Mm, hvn: number, pages: number, young: boolean): boolean {
  return notifyYoung(mm, OPS[mm.host.aging.op], hvn, pages, young);
}

/** The policy's own test, if it makes one, of the pte of ptepClearFlushYoung(). */
function testedByPolicy(s: Int32Array, at: number, host: Host): boolean {
  const pfn = s[at + PFN] as number;
  const mm = s[at + MM] as number;
  const young = s[at + YOUNG] === 1;
  const used = host.policy.testsYoung?.(pfn, mm, s[at + HVN] as number, young);
  if (used === undefined) return false;
  s[at + YOUNG] = used ? 1 : 0;
  return true;
}

/**
 * Events of the areas that a walk visits in vain. With one child at most, they come before the only one
 * that maps the page, where the walk ends. KSM's pages have a walk of their own.
 */
function traceVain(host: Host, pfn: number): void {
  if (isMerged(host, pfn)) return arrangeMerged(host, pfn);
  if (!host.core.tracing) return;
  for (const { hvn } of visitedInVain(host, pfn)) host.emit(abi.EVENT_FOLIO_REFERENCED_ONE, hvn);
}

/** Events of where the walk over a merged page looks in vain before its mapping number `index`. */
function traceMerged(host: Host, pfn: number, index: number): void {
  const { core } = host;
  if (!core.tracing || !isMerged(host, pfn) || index >= core.x.pageMapcount(pfn)) return;
  const [mm, mapped] = [core.x.rmapMm(pfn, index), core.x.rmapHvn(pfn, index)];
  for (const { hvn } of mergedInVain(host, pfn, mm, mapped)) {
    host.emit(abi.EVENT_FOLIO_REFERENCED_ONE, hvn);
  }
}

/** Pages that the pte maps: pmdp_clear_flush_young_notify() asks about all of a huge one. */
function span(host: Host, mm: number, hvn: number): number {
  return host.thp !== 'never' && host.core.x.hpmdGet(mm, hvn) !== 0 ? abi.HPAGE_PMD_NR : 1;
}

/**
 * ptep_clear_flush_young of the mapping number s[at + 2] of the page s[at + 1]. v3: only if the pte was
 * young is the TLB flushed and age_page called, and the pte's bit is the answer. v4 and later: always
 * called, and the answer is or-ed in. Result: bit 0 young, bit 1 there are further mappings.
 */
export function ptepClearFlushYoung(t: Task, at: number, host: Host): boolean {
  const s = t.stack;
  const { aging } = host;
  const op = OPS[aging.op];
  switch (s[at]) {
    case 0: {
      s[at + INDEX_OF] = s[at + HVN] as number;
      const found =
        host.core.x.pageReferencedOne(s[at + PFN] as number, s[at + HVN] as number) >>> 0;
      if (found === abi.RECLAIM_NO_MAPPING) return t.done(at, 0);
      s[at + MM] = host.out(0);
      s[at + MAPS] = host.out(1);
      // Above the hvn is the young bit.
      s[at + HVN] = found & (abi.HVN_LIMIT - 1);
      s[at + YOUNG] = found >>> 31;
      host.emit(abi.EVENT_FOLIO_REFERENCED_ONE, s[at + HVN]);
      if (testedByPolicy(s, at, host)) break;
      if (s[at + YOUNG] === 1 && host.policy.lookAround !== undefined) {
        host.policy.lookAround(s[at + PFN] as number, s[at + MM] as number, s[at + HVN] as number);
      }
      if (op < 0 || (aging.askOnlyYoung && s[at + YOUNG] === 0)) break;
      s[at + INNER] = 0;
      s[at + INNER + 1] = op;
      s[at + INNER + 2] = s[at + HVN] as number;
      s[at + INNER + 3] =
        (s[at + HVN] as number) + span(host, s[at + MM] as number, s[at + HVN] as number);
      s[at + INNER + 4] = 0;
      if (t.preempt(at, 1, 'ptep_clear_flush_young: age_page')) return false;
    }
    case 1:
      if (!host.mm(s[at + MM] as number).notifiers.call(t, at + INNER)) return false;
      if (aging.answerCounts && t.result !== 0) s[at + YOUNG] = 1;
  }
  if (host.hooks.youngTest !== undefined) {
    host.hooks.youngTest(s[at + MM] as number, s[at + HVN] as number, s[at + YOUNG] === 1);
  }
  const more = (s[at + INDEX_OF] as number) + 1 < (s[at + MAPS] as number) ? MORE : 0;
  return t.done(at, (s[at + YOUNG] as number) | more);
}
