// What a group's limit leaves, where the recording's driver opens a file for every counter of KVM's in each step:
// the kernel objects of those files are charged, and given back by RCU some time later, so that the group meets its limit
// a few pages sooner or later. At which faults it does so is seen in the recording; what reclaim does then is not.

import type { Host } from '../../mm/host.ts';
import { SWAP_CLUSTER_MAX } from '../../mm/vmscan/policy.ts';
import type { Seen } from './history.ts';
import { NO_LIMIT } from './host-ops.ts';

/** Where a step scans. */
export interface Scans {
  /** Page faults of the guest, counted from 1, that made one. */
  readonly faults: ReadonlySet<number>;
  /** One is made for an object when the guest has stopped. */
  readonly tail: boolean;
}

/** Pages that the objects of the driver's files may be. */
const MOST_PAGES = 8;
/** Pages fewer than when the limit was set that the objects are between steps, as most recordings' scans show. */
const RETURNED_PAGES = 1;

/** Where a step's scans are (sequence() in event-counts.ts). */
export function scansOf(seq: string): Scans {
  const faults = new Set<number>();
  let page: string | undefined;
  let count = 0;
  let scans = false;
  for (const token of seq.split(' ').filter((text) => text !== '')) {
    if (/^[R=yU]/.test(token)) {
      scans = true;
      continue;
    }
    if (scans && page === numberOf(token)) faults.add(count);
    scans = false;
    if (!token.startsWith('F')) continue;
    count++;
    page = numberOf(token);
  }
  return { faults, tail: scans };
}

/** Number of a token's page. */
function numberOf(token: string): string {
  return token.replace(/^[FM]d?/, '');
}

/** One group's limit, which moves by so much. */
export class GroupRoom {
  readonly #host: Host;
  /** Pages that the files of one step need while those of the step before are not given back; else one less. */
  readonly #stepPages: number;
  /** The limit that the script set. */
  #set = 0;
  /** The limit as it is now; null: it stands. */
  #told: number | null = null;
  #scans: Scans | null = null;
  #faults = 0;
  /** Pages of the driver's files that are charged until the step is over. */
  #files = 0;
  /** Swap slots of the recording's group after the step before. */
  #swapped = 0;

  constructor(host: Host, stepPages: number) {
    this.#host = host;
    this.#stepPages = stepPages;
  }

  /** The script may have set the limit. */
  limitSet(before: number): void {
    if (this.#host.limit !== before) this.#set = this.#host.limit;
  }

  /** A step begins, whose scans are known. */
  begin(scans: Scans | undefined): void {
    const { limit } = this.#host;
    if (scans === undefined || limit === NO_LIMIT) return;
    this.#told = limit;
    this.#scans = scans;
    this.#faults = 0;
    this.#host.limit = limit + MOST_PAGES;
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
    if (this.#told === null) return;
    if (this.#scans?.faults.has(++this.#faults) === true) this.#settle(this.#host.charged());
    else this.#host.limit = this.#told + MOST_PAGES;
  }

  /** The guest has stopped: the next thing that may need a page is an object. */
  stopped(): void {
    if (this.#told === null) return;
    const charged = this.#host.charged();
    if (this.#scans?.tail !== true) {
      this.#settle(Math.max(this.#told, charged + 1));
      return;
    }
    this.#settle(charged);
    const room = charged - (this.#set + RETURNED_PAGES);
    this.#files = Math.max(1, room > 0 ? room : room + this.#stepPages);
  }

  /**
   * The driver has opened its files: `charge` makes room for each further page of objects, and the group may be at
   * its limit when the driver's own memory is needed.
   */
  opened(charge: () => void): void {
    for (let page = 0; page < this.#files; page++) {
      if (page > 0) charge();
      this.#host.limit--;
    }
  }

  /** The step is over, and the objects are given back. */
  closed(): void {
    this.#host.limit += this.#files;
    this.#files = 0;
    this.#told = null;
  }

  #settle(limit: number): void {
    const told = this.#told as number;
    if (Math.abs(limit - told) <= MOST_PAGES) this.#told = limit;
    this.#host.limit = this.#told as number;
  }
}
