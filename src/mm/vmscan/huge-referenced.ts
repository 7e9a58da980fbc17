// folio_referenced() of a huge page that small ptes map, at least in part: each of them is asked in one walk,
// area by area, and an area counts once however many of its ptes were young (cf. folio_referenced_one, mm/rmap.c, 6.1).

import * as abi from '../../../assembly/abi.ts';
import type { Host } from '../host.ts';
import { folioMappings } from '../huge-memory.ts';
import type { Mm } from '../mm.ts';
import { folioVisits, type FolioVisit } from '../rmap-areas.ts';

/** Asks the notifiers about a pte that was `young`; whether the page was used through it. */
export type AskYoung = (mm: Mm, hvn: number, pages: number, young: boolean) => boolean;

/** Whether the frame is the head of a huge page that is not mapped as one everywhere. */
export function isPartlyMapped(host: Host, pfn: number): boolean {
  const { x } = host.core;
  if (host.thp === 'never' || (x.pageFlags(pfn) & abi.PG_HUGE) === 0) return false;
  return folioMappings(host, pfn).some(({ mm, hvn }) => x.hpmdGet(mm.id, hvn) === 0);
}

/** Counts the areas through which the huge page was used, and makes all of its ptes old. */
export function hugeReferenced(host: Host, head: number, ask: AskYoung): number {
  let referenced = 0;
  for (const visit of folioVisits(host, head)) {
    host.emit(abi.EVENT_FOLIO_REFERENCED_ONE, visit.hvn);
    if (visitReferenced(host, head, visit, ask)) referenced++;
  }
  return referenced;
}

function visitReferenced(
  host: Host,
  head: number,
  { mm, hvn, end, page }: FolioVisit,
  ask: AskYoung,
): boolean {
  const { x } = host.core;
  if (x.hpmdGet(mm.id, hvn) !== 0) {
    return ask(mm, hvn, abi.HPAGE_PMD_NR, x.hpteTestAndClearYoung(mm.id, hvn) === 1);
  }
  let used = false;
  for (let at = hvn; at < end; at++) {
    const pfn = head + page + at - hvn;
    const i = mappingAt(host, mm, pfn, at);
    if (i < 0) continue;
    const young = x.pageReferencedOne(pfn, i) >>> 31 === 1;
    if (testsOne(host, mm, pfn, at, young, ask)) used = true;
  }
  return used;
}

/** Tests one of the small ptes, as the policy does or by asking. */
function testsOne(
  host: Host,
  mm: Mm,
  pfn: number,
  hvn: number,
  young: boolean,
  ask: AskYoung,
): boolean {
  const used = host.policy.testsYoung?.(pfn, mm.id, hvn, young);
  if (used !== undefined) return used;
  if (young) host.policy.lookAround?.(pfn, mm.id, hvn);
  return ask(mm, hvn, 1, young);
}

/** Number of the mapping of a frame at a page of an mm; -1: none. */
function mappingAt(host: Host, mm: Mm, pfn: number, hvn: number): number {
  const { x } = host.core;
  const maps = x.pageMapcount(pfn);
  for (let i = 0; i < maps; i++) {
    if (x.rmapMm(pfn, i) === mm.id && x.rmapHvn(pfn, i) === hvn) return i;
  }
  return -1;
}
