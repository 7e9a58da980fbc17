// Linux's two lists: pages enter (2008: active; since 5.9: inactive), the tail of the active list is
// deactivated, the tail of the inactive list is reclaimed unless it was used meanwhile.
//
// Two eras, chosen by the host's generation:
// - 2.6.24 (shrink_zone): one pair of lists; both are scanned in proportion to their size and the
//   priority; a referenced page goes back to (or onto) the active list.
// - 6.1 (shrink_lruvec): a pair for anonymous and one for file pages; the active list is scanned only
//   while the inactive one is low (inactive_is_low); active pages are deactivated whether referenced or
//   not; an inactive page must be referenced twice to be activated (folio_check_references).
//
// SWAP_CLUSTER_MAX is 32 pages; on a host of fewer than 1,024 frames it is scaled to a 32nd, so that a
// run does not empty the host.

import * as abi from '../../../assembly/abi.ts';
import type { Host } from '../host.ts';
import type { ReclaimPolicy } from './policy.ts';

const SWAP_CLUSTER_MAX = 32;
const DEF_PRIORITY = 12;
const INACTIVE_ANON = abi.LRU_INACTIVE_ANON;
const ACTIVE_ANON = abi.LRU_ACTIVE_ANON;
const INACTIVE_FILE = abi.LRU_INACTIVE_FILE;
const ACTIVE_FILE = abi.LRU_ACTIVE_FILE;
/** Lists in the order of one round of shrink_lruvec(). */
const ROUND_6 = [INACTIVE_ANON, ACTIVE_ANON, INACTIVE_FILE, ACTIVE_FILE] as const;
/** Lists in the order of one round of shrink_zone() of 2.6.24. */
const ROUND_2008 = [ACTIVE_ANON, INACTIVE_ANON] as const;

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
  cluster = SWAP_CLUSTER_MAX;
  #round: readonly number[] = ROUND_2008;
  /** Pages still to scan of each list at this priority. */
  #quota = new Int32Array(4);
  /** 2.6.24 carries what is below a batch to the next run (zone->nr_scan_active). */
  #carry = new Int32Array(4);
  #priority = 0;
  /** Position in the round, and pages left of the batch there. */
  #at = 0;
  #batch = 0;
  /** The list that the page in hand came from. */
  #from = 0;

  constructor(options: TwoListOptions = {}) {
    this.#options = options;
  }

  /** What the explorer saves and restores. */
  get state(): readonly number[] {
    return [...this.#quota, ...this.#carry, this.#priority, this.#at, this.#batch, this.#from];
  }

  set state(words: readonly number[]) {
    this.#quota = Int32Array.from(words.slice(0, 4));
    this.#carry = Int32Array.from(words.slice(4, 8));
    [this.#priority = 0, this.#at = 0, this.#batch = 0, this.#from = 0] = words.slice(8);
  }

  attach(host: Host): void {
    this.#host = host;
    const { splitLists, anonStartsActive } = host.generation;
    this.#round = splitLists ? ROUND_6 : ROUND_2008;
    const file = splitLists ? [INACTIVE_FILE, ACTIVE_FILE] : [INACTIVE_ANON, ACTIVE_ANON];
    const start = anonStartsActive ? 1 : 0;
    host.core.x.lruSetMap(INACTIVE_ANON, ACTIVE_ANON, file[0] as number, file[1] as number, start);
    const scaled = Math.min(SWAP_CLUSTER_MAX, Math.max(1, host.limit >> 5));
    this.cluster = this.#options.cluster ?? scaled;
  }

  begin(): void {
    this.#priority = DEF_PRIORITY + 1;
    this.#quota.fill(0);
    this.#batch = 0;
    this.#at = 0;
  }

  mayStop(): boolean {
    return this.#batch === 0;
  }

  next(): number {
    const { x } = this.#host.core;
    for (;;) {
      if (this.#batch === 0 && !this.#nextBatch()) return 0;
      this.#batch--;
      const pfn = x.lruIsolateTail(this.#from) >>> 0;
      if (pfn !== 0) return pfn;
      this.#quota[this.#from] = 0;
      this.#batch = 0;
    }
  }

  /** Goes on to the next list of the round that has a quota, or to the next priority. */
  #nextBatch(): boolean {
    for (;;) {
      for (; this.#at < this.#round.length; this.#at++) {
        const list = this.#round[this.#at] as number;
        const left = this.#quota[list] as number;
        if (left <= 0) continue;
        const batch = Math.min(left, this.cluster);
        this.#quota[list] = left - batch;
        if (this.#host.generation.splitLists && !this.#activeIsDue(list)) continue;
        this.#from = list;
        this.#batch = batch;
        this.#at++;
        return true;
      }
      this.#at = 0;
      if (this.#round.some((list) => (this.#quota[list] as number) > 0)) continue;
      if (!this.#lowerPriority()) return false;
    }
  }

  /** inactive_is_low(): an active list is scanned only while its inactive list is short. */
  #activeIsDue(list: number): boolean {
    if (list !== ACTIVE_ANON && list !== ACTIVE_FILE) return true;
    const { x } = this.#host.core;
    const inactive = x.lruSize(list - 1) >>> 0;
    const active = x.lruSize(list) >>> 0;
    const gigabytes = (inactive + active) >>> 18;
    const ratio = gigabytes > 0 ? Math.floor(Math.sqrt(10 * gigabytes)) : 1;
    return inactive * ratio < active;
  }

  #lowerPriority(): boolean {
    while (this.#priority > 0) {
      this.#priority--;
      const any = this.#host.generation.splitLists ? this.#scanCount() : this.#zoneCount();
      if (any) return true;
    }
    return false;
  }

  /** nr_scan_active and nr_scan_inactive of shrink_zone() (2.6.24). */
  #zoneCount(): boolean {
    const { x } = this.#host.core;
    let any = false;
    for (const list of this.#round) {
      const size = x.lruSize(list) >>> 0;
      const carry = (this.#carry[list] as number) + (size >>> this.#priority) + 1;
      const scan = carry >= this.cluster ? carry : 0;
      this.#carry[list] = carry - scan;
      this.#quota[list] = Math.min(scan, 2 * size);
      if (scan > 0 && size > 0) any = true;
    }
    return any;
  }

  /** get_scan_count() (6.1): sizes shifted by the priority, anonymous against file by swappiness. */
  #scanCount(): boolean {
    const { x } = this.#host.core;
    const anon = (x.lruSize(INACTIVE_ANON) + x.lruSize(ACTIVE_ANON)) >>> 0;
    const file = (x.lruSize(INACTIVE_FILE) + x.lruSize(ACTIVE_FILE)) >>> 0;
    const swappiness = this.#options.swappiness ?? 60;
    let any = false;
    for (const list of ROUND_6) {
      const isFile = list >= INACTIVE_FILE;
      const weight = isFile ? 200 - swappiness : swappiness;
      // With one kind only there is nothing to balance (SCAN_EQUAL).
      const share = anon === 0 || file === 0 ? 1 : weight / 200;
      const scan = Math.ceil(((x.lruSize(list) >>> 0) >>> this.#priority) * share);
      this.#quota[list] = scan;
      if (scan > 0) any = true;
    }
    return any;
  }

  asks(_pfn: number): boolean {
    return true;
  }

  judge(pfn: number, referenced: number): number {
    const { x } = this.#host.core;
    const active = this.#from === ACTIVE_ANON || this.#from === ACTIVE_FILE;
    if (!this.#host.generation.lookTwice) {
      const seen = referenced + x.testClearReferenced(pfn);
      if (active) return seen > 0 ? abi.VERDICT_ROTATE : abi.VERDICT_DEACTIVATE;
      return seen > 0 ? abi.VERDICT_ACTIVATE : abi.VERDICT_RECLAIM;
    }
    if (active) return abi.VERDICT_DEACTIVATE;
    return checkReferences(this.#host, pfn, referenced);
  }

  putBack(pfn: number, verdict: number): void {
    this.#host.core.x.lruVerdict(pfn, verdict);
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
