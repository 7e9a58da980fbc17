// Linux's two lists: pages enter (2008: active; since 5.9: inactive), the tail of the active list is
// deactivated, the tail of the inactive list is reclaimed unless it was used meanwhile. How the lists
// are scanned is the era's: zone.ts for 2.6.24, lruvec.ts for 6.1. What a referenced page gets differs
// too: in 2.6.24 it goes back to (or onto) the active list; in 6.1 active pages are deactivated
// whether referenced or not, and an inactive page must be referenced twice to be activated.
//
// SWAP_CLUSTER_MAX is 32 pages; on a host of fewer than 1,024 frames it is scaled to a 32nd, so that a
// run does not empty the host.

import * as abi from '../../../assembly/abi.ts';
import type { Host } from '../host.ts';
import { LruvecScan } from './lruvec.ts';
import type { ReclaimPolicy } from './policy.ts';
import { ZoneScan } from './zone.ts';

const SWAP_CLUSTER_MAX = 32;
const DEFAULT_SWAPPINESS = 60;

/** Options of the two-list policy. */
export interface TwoListOptions {
  /** Pages of a batch. Default: SWAP_CLUSTER_MAX, scaled down on a small host. */
  readonly cluster?: number;
  /** vm.swappiness, 0 to 200. Default 60. */
  readonly swappiness?: number;
}

/** Linux's active and inactive lists. */
export class TwoListPolicy implements ReclaimPolicy {
  readonly name = 'two-list';
  readonly rechecks = true;
  readonly #options: TwoListOptions;
  #host!: Host;
  #scan!: ZoneScan | LruvecScan;
  cluster = SWAP_CLUSTER_MAX;

  constructor(options: TwoListOptions = {}) {
    this.#options = options;
  }

  attach(host: Host): void {
    this.#host = host;
    const { splitLists, anonStartsActive } = host.generation;
    const { x } = host.core;
    const [inactive, active] = splitLists
      ? [abi.LRU_INACTIVE_FILE, abi.LRU_ACTIVE_FILE]
      : [abi.LRU_INACTIVE_ANON, abi.LRU_ACTIVE_ANON];
    const start = anonStartsActive ? 1 : 0;
    x.lruSetMap(abi.LRU_INACTIVE_ANON, abi.LRU_ACTIVE_ANON, inactive, active, start);
    x.memcgEnable(splitLists ? 1 : 0);
    const scaled = Math.min(SWAP_CLUSTER_MAX, Math.max(1, host.limit >> 5));
    this.cluster = this.#options.cluster ?? scaled;
    const swappiness = this.#options.swappiness ?? DEFAULT_SWAPPINESS;
    this.#scan = splitLists
      ? new LruvecScan(host, swappiness, this.cluster)
      : new ZoneScan(host, this.cluster);
  }

  begin(target: number): void {
    this.#scan.begin(target);
  }

  mayStop(): boolean {
    return this.#scan.done;
  }

  next(): number {
    return this.#scan.next();
  }

  asks(_pfn: number): boolean {
    return true;
  }

  judge(pfn: number, referenced: number): number {
    const { x } = this.#host.core;
    const { active } = this.#scan;
    if (!this.#host.generation.lookTwice) {
      const seen = referenced + x.testClearReferenced(pfn);
      if (active) return seen > 0 ? abi.VERDICT_ROTATE : abi.VERDICT_DEACTIVATE;
      return seen > 0 ? abi.VERDICT_ACTIVATE : abi.VERDICT_RECLAIM;
    }
    if (!active) return checkReferences(this.#host, pfn, referenced);
    x.lruSetFlags(pfn, abi.PG_WORKINGSET, 0);
    return abi.VERDICT_DEACTIVATE;
  }

  putBack(pfn: number, verdict: number): void {
    this.#scan.keep(pfn, verdict);
  }
}

/** folio_check_references() of 6.1: what an inactive page gets. */
export function checkReferences(host: Host, pfn: number, referenced: number): number {
  const { x } = host.core;
  const before = x.testClearReferenced(pfn);
  if (referenced === 0) return abi.VERDICT_RECLAIM;
  x.lruSetFlags(pfn, abi.PG_REFERENCED, 0);
  return before === 1 || referenced > 1 ? abi.VERDICT_ACTIVATE : abi.VERDICT_KEEP;
}
