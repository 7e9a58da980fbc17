// folio_referenced() of a huge page that small ptes map, at least in part: each of them is asked in one walk,
// area by area, and an area counts once however many of its ptes were young (cf. folio_referenced_one, mm/rmap.c, 6.1).

import * as abi from '../../../assembly/abi.ts';
import type { Host } from '../host.ts';
import { folioMappings } from '../huge-memory.ts';
import type { Mm } from '../mm.ts';
import { vmasWithin, type Vma } from '../vma.ts';

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
  const places = folioMappings(host, head).flatMap(({ mm, hvn }) =>
    vmasWithin(mm.vmas, hvn, hvn + abi.HPAGE_PMD_NR).map((part) => ({ mm, hvn, part })),
  );
  places.sort((a, b) => a.part.pgoff - b.part.pgoff);
  let left = places.reduce((n, { mm, hvn, part }) => n + mappingsOf(host, mm, hvn, head, part), 0);
  let referenced = 0;
  for (const { mm, hvn, part } of places) {
    if (left === 0) break;
    host.emit(abi.EVENT_FOLIO_REFERENCED_ONE, part.start);
    left -= mappingsOf(host, mm, hvn, head, part);
    if (areaReferenced(host, mm, hvn, head, part, ask)) referenced++;
  }
  return referenced;
}

/** Ptes of an area that map the page; a huge one is one. */
function mappingsOf(host: Host, mm: Mm, hvn: number, head: number, part: Vma): number {
  if (host.core.x.hpmdGet(mm.id, hvn) !== 0) return 1;
  let n = 0;
  for (let at = part.start; at < part.end; at++)
    n += mappingAt(host, mm, head + at - hvn, at) < 0 ? 0 : 1;
  return n;
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

function areaReferenced(
  host: Host,
  mm: Mm,
  hvn: number,
  head: number,
  part: Vma,
  ask: AskYoung,
): boolean {
  const { x } = host.core;
  if (x.hpmdGet(mm.id, hvn) !== 0) {
    return ask(mm, hvn, abi.HPAGE_PMD_NR, x.hpteTestAndClearYoung(mm.id, hvn) === 1);
  }
  let used = false;
  for (let at = part.start; at < part.end; at++) {
    const pfn = head + at - hvn;
    const i = mappingAt(host, mm, pfn, at);
    if (i < 0) continue;
    const young = x.pageReferencedOne(pfn, i) >>> 31 === 1;
    if (young) host.policy.lookAround?.(pfn, mm.id, at);
    if (ask(mm, at, 1, young)) used = true;
  }
  return used;
}
