// kswapd: background reclaim between the watermarks (cf. balance_pgdat, mm/vmscan.c).
//
// It has a CPU of its own and reclaims a page in less time than a guest takes to fault one in, so it runs to
// the high watermark as soon as it is woken. What holds it up is the device: when the queue of writes is
// full it sleeps, in the devices' virtual time, until there is room; allocations that come meanwhile eat
// into the reserve, and reclaim themselves when they reach the min watermark.

import * as abi from '../../../assembly/abi.ts';
import type { Host } from '../host.ts';
import { COUNTER_SLOTS } from '../../stats/stats.ts';
import { type Watermarks, watermarksOf } from './watermarks.ts';

/** Runs without a freed page after which the node is hopeless (MAX_RECLAIM_RETRIES). */
const MOST_FAILURES = 16;

/** One host's kswapd. */
export class Kswapd {
  readonly #host: Host;
  readonly #minFreeKbytes: number | undefined;
  #marks: Watermarks;
  /** Limit that the watermarks were made for. */
  #limit: number;
  /** Runs in a row that freed nothing (pgdat->kswapd_failures). */
  failures = 0;
  #scannedBefore = 0;
  readonly stateFields = ['failures'] as const;

  constructor(host: Host, minFreeKbytes: number | undefined) {
    this.#host = host;
    this.#minFreeKbytes = minFreeKbytes;
    this.#limit = host.limit;
    this.#marks = watermarksOf(host.generation, host.limit, minFreeKbytes);
  }

  /** The watermarks; they follow the host's memory as it is plugged and unplugged. */
  get marks(): Watermarks {
    const { limit, generation } = this.#host;
    if (limit !== this.#limit) {
      this.#limit = limit;
      this.#marks = watermarksOf(generation, limit, this.#minFreeKbytes);
    }
    return this.#marks;
  }

  /** Pages that may be charged while more than a mark is free (zone_watermark_ok). */
  above(mark: number): number {
    return this.#limit - mark;
  }

  /** Whether there is work and it can be done now. */
  get mayRun(): boolean {
    const host = this.#host;
    const { high } = this.marks;
    if (this.failures >= MOST_FAILURES || this.#until > host.now) return false;
    return host.charged() >= this.above(high);
  }

  /** A batch begins. */
  begin(): void {
    this.#run(1);
    this.#scannedBefore = this.#host.pagesScanned();
  }

  /** A batch has freed `freed` pages. */
  end(freed: number): void {
    this.#run(0);
    this.failures = freed > 0 ? 0 : this.failures + 1;
    const { x } = this.#host.core;
    x.statBump(COUNTER_SLOTS.pgscan_kswapd, this.#host.pagesScanned() - this.#scannedBefore);
    x.statBump(COUNTER_SLOTS.pgsteal_kswapd, freed);
  }

  /** Time that it waited for devices, ns. */
  get waitNs(): number {
    return this.#host.core.mem.loadF64(this.#host.clock + abi.CLOCK_KSWAPD_WAITED);
  }

  /** When the devices let it go on, in their time. */
  get #until(): number {
    return this.#host.core.mem.loadF64(this.#host.clock + abi.CLOCK_KSWAPD_UNTIL);
  }

  /** Who uses the devices from now on: kswapd (1) or the allocation (0). */
  #run(on: number): void {
    this.#host.core.mem.store32(this.#host.clock + abi.CLOCK_KSWAPD, on);
  }
}
