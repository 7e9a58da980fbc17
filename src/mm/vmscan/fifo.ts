// FIFO: the page that was brought in first goes first. Nothing is ever asked.

import * as abi from '../../../assembly/abi.ts';
import type { Host } from '../host.ts';
import type { ReclaimPolicy } from './policy.ts';

/** The list that the exact policies use. */
const LIST = abi.LRU_POLICY_FIRST;

/** First in, first out. */
export class FifoPolicy implements ReclaimPolicy {
  readonly name: string = 'fifo';
  readonly cluster = 1;
  protected host!: Host;
  /** Pages that may still be looked at in this run. */
  #left = 0;

  attach(host: Host): void {
    this.host = host;
    host.core.x.lruSetMap(LIST, LIST, LIST, LIST, 0);
  }

  begin(): void {
    this.#left = 2 * this.host.listed(LIST) + 1;
  }

  next(): number {
    return this.#left-- > 0 ? this.host.core.x.lruIsolateTail(LIST) >>> 0 : 0;
  }

  mayStop(): boolean {
    return true;
  }

  asks(_pfn: number): boolean {
    return false;
  }

  judge(_pfn: number, _referenced: number): number {
    return abi.VERDICT_RECLAIM;
  }

  putBack(pfn: number, verdict: number): void {
    this.host.core.x.lruVerdict(pfn, verdict);
  }
}
