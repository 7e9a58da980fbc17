// Linux's two lists: pages enter (2008: active; since 5.9: inactive), the tail of the active list is
// deactivated, the tail of the inactive list is reclaimed unless it was used meanwhile. How the lists
// are scanned is the era's: assembly/mm/zone.ts for 2.6.24, assembly/mm/lruvec.ts for 6.1. What a
// referenced page gets differs too (assembly/mm/two_list.ts).
//
// SWAP_CLUSTER_MAX is 32 pages; on a host of fewer than 1,024 frames it is scaled to a 32nd, so that a
// run does not empty the host.

import * as abi from '../../../assembly/abi.ts';
import { UsageError } from '../../core/errors.ts';
import type { Host } from '../host.ts';
import { DEFAULT_SWAPPINESS, SWAP_CLUSTER_MAX, type ReclaimPolicy } from './policy.ts';

/** Options of the two-list policy. */
export interface TwoListOptions {
  /** Pages of a batch, 1 to 32. Default: SWAP_CLUSTER_MAX, scaled down on a small host. */
  readonly cluster?: number;
  /** vm.swappiness, 0 to 200. Default 60. */
  readonly swappiness?: number;
  /**
   * Where only a timer of two seconds brings a group's statistics up to date (6.12): whether by the devices' clock, or
   * before each run of reclaim. By the clock, what was mapped within two seconds, as a whole replay is, is on no list as
   * far as reclaim knows, and a small group runs out of memory. Default: before each run.
   */
  readonly statistics?: 'timer' | 'fresh';
}

function within(value: number, least: number, most: number, name: string): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UsageError(`two-list: ${name} must be ${least} to ${most}, not ${value}`);
}

/** Linux's active and inactive lists. */
export class TwoListPolicy implements ReclaimPolicy {
  readonly name = 'two-list';
  readonly rechecks = true;
  readonly #options: TwoListOptions;
  #host!: Host;
  cluster = SWAP_CLUSTER_MAX;

  constructor(options: TwoListOptions = {}) {
    this.#options = options;
  }

  attach(host: Host): void {
    this.#host = host;
    const { splitLists, groupStats, anonStartsActive, lookTwice } = host.generation;
    const { x } = host.core;
    const [inactive, active] = splitLists
      ? [abi.LRU_INACTIVE_FILE, abi.LRU_ACTIVE_FILE]
      : [abi.LRU_INACTIVE_ANON, abi.LRU_ACTIVE_ANON];
    const start = anonStartsActive ? 1 : 0;
    x.lruSetMap(abi.LRU_INACTIVE_ANON, abi.LRU_ACTIVE_ANON, inactive, active, start);
    x.memcgEnable(splitLists ? (groupStats === 'pages' ? 2 : 1) : 0);
    const scaled = Math.min(SWAP_CLUSTER_MAX, Math.max(1, host.limit >> 5));
    const { cluster = scaled, swappiness = DEFAULT_SWAPPINESS } = this.#options;
    const { statistics = 'fresh' } = this.#options;
    const fresh = groupStats === 'pages' && statistics === 'fresh' ? 1 : 0;
    this.cluster = within(cluster, 1, SWAP_CLUSTER_MAX, 'cluster');
    within(swappiness, 0, 200, 'swappiness');
    x.twoListInit(splitLists ? 1 : 0, lookTwice ? 1 : 0, swappiness, cluster, fresh);
  }

  begin(target: number): void {
    this.#host.core.x.twoListBegin(target);
  }

  mayStop(): boolean {
    return this.#host.core.x.twoListDone() !== 0;
  }

  next(): number {
    for (;;) {
      const pfn = this.#host.core.x.twoListNext() >>> 0;
      if (pfn !== abi.SCAN_SHRINK_SLAB) return pfn;
      this.#host.shrinkSlab();
    }
  }

  asks(_pfn: number): boolean {
    return true;
  }

  judge(pfn: number, referenced: number): number {
    return this.#host.core.x.twoListJudge(pfn, referenced);
  }

  join(head: number): void {
    this.#host.core.x.twoListJoin(head);
  }

  putBack(pfn: number, verdict: number): void {
    this.#host.core.x.twoListKeep(pfn, verdict);
  }
}
