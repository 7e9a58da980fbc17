// The reclaim of a host whose LRU can be switched while it runs (/sys/kernel/mm/lru_gen/enabled).

import type { Host } from '../../mm/host.ts';
import { MglruPolicy } from '../../mm/vmscan/mglru.ts';
import type { ReclaimPolicy } from '../../mm/vmscan/policy.ts';
import { TwoListPolicy } from '../../mm/vmscan/two-list.ts';

const CLUSTER = 32;

/** Two lists, or generations. */
export class LruSwitch implements ReclaimPolicy {
  readonly name = 'lru-switch';
  readonly cluster = CLUSTER;
  readonly #lists = new TwoListPolicy({ cluster: CLUSTER, statistics: 'timer' });
  readonly #generations = new MglruPolicy({ cluster: CLUSTER, enabled: false, walk: false });
  #used: ReclaimPolicy = this.#lists;

  attach(host: Host): void {
    this.#generations.attach(host);
    this.#lists.attach(host);
  }

  /** Writes `caps` to lru_gen/enabled: bit 0 switches, bit 1 lets aging walk page tables. */
  enable(caps: number): void {
    this.#used = caps & 1 ? this.#generations : this.#lists;
    this.#generations.enable(caps);
  }

  begin(target: number): void {
    this.#used.begin(target);
  }

  next(): number {
    return this.#used.next();
  }

  mayStop(): boolean {
    return this.#used.mayStop();
  }

  asks(pfn: number): boolean {
    return this.#used.asks(pfn);
  }

  judge(pfn: number, referenced: number): number {
    return this.#used.judge(pfn, referenced);
  }

  lookAround(pfn: number, mm: number, hvn: number): void {
    this.#used.lookAround?.(pfn, mm, hvn);
  }

  testsYoung(pfn: number, mm: number, hvn: number, young: boolean): boolean | undefined {
    return this.#used.testsYoung?.(pfn, mm, hvn, young);
  }

  join(head: number): void {
    this.#used.join?.(head);
  }

  putBack(pfn: number, verdict: number): void {
    this.#used.putBack(pfn, verdict);
  }
}
