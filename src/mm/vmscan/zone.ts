// Reclaim of a zone as Linux 2.6.24 does it (mm/vmscan.c: shrink_zone, shrink_active_list,
// shrink_inactive_list): one pair of lists, each scanned in proportion to its size and the priority;
// what is below a batch is carried to the next run (zone->nr_scan_active).

import * as abi from '../../../assembly/abi.ts';
import type { Host } from '../host.ts';

const DEF_PRIORITY = 12;
/** Lists in the order of one round of shrink_zone(). */
const ROUND = [abi.LRU_ACTIVE_ANON, abi.LRU_INACTIVE_ANON] as const;

/** One zone's scan. */
export class ZoneScan {
  readonly #host: Host;
  readonly #cluster: number;
  /** Pages still to scan at this priority, and carried over, by list of the round. */
  #quota: readonly number[] = [0, 0];
  #carry: readonly number[] = [0, 0];
  #priority = 0;
  /** Position in the round, and pages left of the batch there. */
  #at = 0;
  #batch = 0;
  #from: number = abi.LRU_INACTIVE_ANON;

  constructor(host: Host, cluster: number) {
    this.#host = host;
    this.#cluster = cluster;
  }

  /** A run begins. */
  begin(_target: number): void {
    this.#priority = DEF_PRIORITY + 1;
    this.#quota = [0, 0];
    this.#batch = 0;
    this.#at = 0;
  }

  /** The run may end between two batches. */
  get done(): boolean {
    return this.#batch === 0;
  }

  /** Whether the page in hand came off the active list. */
  get active(): boolean {
    return this.#from === abi.LRU_ACTIVE_ANON;
  }

  /** The next page, or 0 at the end of the run. */
  next(): number {
    for (;;) {
      if (this.#batch === 0 && !this.#nextBatch()) return 0;
      this.#batch--;
      const pfn = this.#host.core.x.lruIsolateTail(this.#from) >>> 0;
      if (pfn !== 0) return pfn;
      this.#batch = 0;
    }
  }

  /** A page was not freed. */
  keep(pfn: number, verdict: number): void {
    this.#host.core.x.lruVerdict(pfn, verdict);
  }

  /** Goes on to the next list of the round that has a quota, or to the next priority. */
  #nextBatch(): boolean {
    for (;;) {
      for (; this.#at < ROUND.length; this.#at++) {
        const left = this.#quota[this.#at] as number;
        if (left <= 0) continue;
        const batch = Math.min(left, this.#cluster);
        const at = this.#at++;
        this.#quota = this.#quota.map((n, i) => (i === at ? n - batch : n));
        this.#from = ROUND[at] as number;
        this.#batch = batch;
        return true;
      }
      this.#at = 0;
      if (this.#quota.some((n) => n > 0)) continue;
      if (!this.#lowerPriority()) return false;
    }
  }

  #lowerPriority(): boolean {
    const { x } = this.#host.core;
    while (this.#priority > 0) {
      this.#priority--;
      const sizes = ROUND.map((list) => x.lruSize(list) >>> 0);
      const want = sizes.map(
        (size, i) => (this.#carry[i] as number) + (size >>> this.#priority) + 1,
      );
      const scan = want.map((n) => (n >= this.#cluster ? n : 0));
      this.#carry = want.map((n, i) => n - (scan[i] as number));
      this.#quota = scan.map((n, i) => Math.min(n, 2 * (sizes[i] as number)));
      if (this.#quota.some((n) => n > 0)) return true;
    }
    return false;
  }
}
