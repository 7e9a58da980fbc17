// The reverse mapping of pages that KSM merged (cf. rmap_walk_ksm(), mm/ksm.c, 6.1): it has an order of its own, and
// looks where the page was merged in, also after a write has copied it there.

import * as abi from '../../assembly/abi.ts';
import type { Host } from './host.ts';
import { isNormalPte } from './host-pte.ts';
import type { MergedVisit } from './ksm.ts';

/** Whether KSM merged others into the page. */
export function isMerged(host: Host, pfn: number): boolean {
  return host.merges && (host.core.x.pageFlags(pfn) & abi.PG_KSM) !== 0;
}

/** Puts the mappings of a merged page into the order in which a walk meets them. */
export function arrangeMerged(host: Host, pfn: number): void {
  const { x } = host.core;
  for (const visit of host.ksm.visits(pfn).toReversed()) {
    if (isMappedAt(host, pfn, visit)) x.rmapMoveFirst(pfn, visit.mm.id, visit.hvn);
  }
}

/** Where a walk looks in vain between the mapping before that of `hvn` in `mm` and that one. */
export function mergedInVain(host: Host, pfn: number, mm: number, hvn: number): MergedVisit[] {
  const visits = host.ksm.visits(pfn);
  const at = visits.findIndex((visit) => visit.mm.id === mm && visit.hvn === hvn);
  const before = visits.slice(0, Math.max(at, 0));
  const last = before.findLastIndex(
    (visit) => isMappedAt(host, pfn, visit) || wasMappedAt(host, pfn, visit),
  );
  return before.slice(last + 1);
}

function isMappedAt(host: Host, pfn: number, { mm, hvn }: MergedVisit): boolean {
  const pte = host.core.x.hpteGet(mm.id, hvn) >>> 0;
  const present = isNormalPte(pte);
  return present && pte >>> abi.HPTE_PFN_SHIFT === pfn;
}

/** Whether the walk has just replaced the page's pte by its swap slot. */
function wasMappedAt(host: Host, pfn: number, { mm, hvn }: MergedVisit): boolean {
  const { x, mem } = host.core;
  if ((x.pageFlags(pfn) & abi.PG_SWAPCACHE) === 0) return false;
  const pte = x.hpteGet(mm.id, hvn) >>> 0;
  const swapped = (pte & (abi.HPTE_PRESENT | abi.HPTE_SWAP)) === abi.HPTE_SWAP;
  const slot = mem.load32((x.framePtr(pfn) >>> 0) + abi.FRAME_PRIVATE);
  return swapped && pte >>> abi.HPTE_PFN_SHIFT === slot;
}
