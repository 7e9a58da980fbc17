// Which page reclaim takes next, and what a referenced page gets. A policy is an object that anyone can
// write; how a page is aged, unmapped, written and freed is not its business.

import type { Host } from '../host.ts';

/** Pages of a batch of reclaim. */
export const SWAP_CLUSTER_MAX = 32;
/** vm.swappiness as it is unless set. */
export const DEFAULT_SWAPPINESS = 60;

/**
 * A reclaim policy. The host calls begin(), then next() until enough is free; each page that next()
 * returns is off its list, with a reference, and comes back through putBack() unless it was freed.
 * Keep state in numbers and replaced arrays if the policy is to run under the explorer.
 */
export interface ReclaimPolicy {
  readonly name: string;
  /** Pages that one reclaim run frees at least. Exact policies: 1. */
  readonly cluster: number;
  /** On a host whose try_to_unmap asks for young once more (2.6.24), it does so. Default: false. */
  readonly rechecks?: boolean;
  /** Called once, before the first page: says on which lists new pages go (lruSetMap). */
  attach(host: Host): void;
  /** A run begins that is to free `target` pages. */
  begin(target: number): void;
  /** Takes the next page off its list (lruIsolateTail, lruIsolate); 0: no more this run. */
  next(): number;
  /** False: the run may not end here, although enough is free. */
  mayStop(): boolean;
  /** Whether the page's mappings are to be tested for young (and made old) before judge(). */
  asks(pfn: number): boolean;
  /** `referenced`: how many of its mappings were young. Answer: VERDICT_*. */
  judge(pfn: number, referenced: number): number;
  /** The test found the page's pte at `hvn` of an mm young; asked before the notifiers are. */
  lookAround?(pfn: number, mm: number, hvn: number): void;
  /** Tests the page's pte at `hvn`, which was `young`, itself, notifiers included: whether it was used. Undefined: it
   *  leaves that to the host. */
  testsYoung?(pfn: number, mm: number, hvn: number, young: boolean): boolean | undefined;
  /**
   * The huge page that next() returned was split: the other 511 frames are held as it is, and next() is to return them,
   * too. Without it they go back to their list.
   */
  join?(head: number): void;
  /** The page was not freed: `verdict` is judge()'s, or VERDICT_KEEP or _ACTIVATE if it could not be. */
  putBack(pfn: number, verdict: number): void;
}
