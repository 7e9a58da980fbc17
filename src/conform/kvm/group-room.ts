// What a group's limit leaves, where the recording's driver opens a file for every counter of KVM's in each step:
// the kernel objects of those files are charged, and given back some time later, so that the group meets its limit a
// few pages sooner or later. When it first does so in a step is seen in the recording; what follows is not.

import type { Host } from '../../mm/host.ts';
import { SWAP_CLUSTER_MAX } from '../../mm/vmscan/policy.ts';
import type { Seen } from './history.ts';
import { NO_LIMIT } from './host-ops.ts';

/** Where the first scan of a step's sequence is. */
export interface FirstScan {
  /** Page faults of the guest before it. */
  readonly faults: number;
  /** It is made for the last of these; else for an object when the guest has stopped. */
  readonly inFault: boolean;
}

/** Pages that the objects of the driver's files may be. */
const MOST_PAGES = 8;

/** The first scan of a step (sequence() in event-counts.ts); null: none. */
export function firstScanOf(seq: string): FirstScan | null {
  const tokens = seq.split(' ').filter((token) => token !== '');
  const scan = tokens.findIndex((token) => /^[R=yU]/.test(token));
  if (scan < 0) return null;
  const faults = tokens.slice(0, scan).filter((token) => token.startsWith('F'));
  const rest = tokens.slice(scan).find((token) => /^[FM]/.test(token));
  const page = faults.at(-1);
  return {
    faults: faults.length,
    inFault: page !== undefined && numberOf(rest) === numberOf(page),
  };
}

/** Number of a token's page. */
function numberOf(token: string | undefined): string | undefined {
  return token?.replace(/^[FM]d?/, '');
}

/** One group's limit, which moves by so much. */
export class GroupRoom {
  readonly #host: Host;
  /** The limit as the step began; null: it stands. */
  #told: number | null = null;
  #scan: FirstScan | null = null;
  #faults = 0;
  /** Swap slots of the recording's group after the step before. */
  #swapped = 0;

  constructor(host: Host) {
    this.#host = host;
  }

  /** A step begins, whose first scan is known. */
  begin(scan: FirstScan | null | undefined): void {
    if (scan === undefined || this.#host.limit === NO_LIMIT) return;
    this.#told = this.#host.limit;
    this.#scan = scan;
    this.#faults = 0;
    this.#host.limit += MOST_PAGES;
  }

  /** The guest's part of a step is over: evicts what went out without being seen to. */
  ended(swap: Seen['swap']): void {
    if (swap === null) return;
    const grown = swap.current - this.#swapped;
    this.#swapped = swap.current;
    if (grown > swap.written) this.#host.reclaim(SWAP_CLUSTER_MAX);
  }

  /** The guest faults. */
  fault(): void {
    if (this.#told === null || this.#scan?.inFault !== true) return;
    if (++this.#faults === this.#scan.faults) this.#settle(this.#host.charged());
  }

  /** The guest has stopped: the last thing in a step that may need a page. */
  stopped(): void {
    if (this.#told === null) return;
    const charged = this.#host.charged();
    this.#settle(this.#scan === null ? Math.max(this.#told, charged + 1) : charged);
  }

  #settle(limit: number): void {
    const told = this.#told as number;
    this.#host.limit = Math.abs(limit - told) <= MOST_PAGES ? limit : told;
    this.#told = null;
  }
}
