// A second secondary MMU on an mm, as a driver of an RDMA card would be: it maps pages that it got from
// get_user_pages, holds no reference on them, and believes what the notifiers tell it. What it maps at
// rest must be what the host maps.
import {
  FOLL_TOUCH,
  FOLL_WRITE,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
} from '../../assembly/abi.ts';
import type { Mm } from '../../src/mm/mm.ts';
import type { MmuNotifierOps } from '../../src/mm/mmu-notifier.ts';

interface Mapping {
  readonly pfn: number;
  readonly write: boolean;
}

/** A secondary MMU of one mm. */
export class Mirror {
  readonly #mm: Mm;
  readonly #id: number;
  readonly #map = new Map<number, Mapping>();
  /** Ranges that are being invalidated. */
  #open = 0;
  /** Calls that it saw. */
  calls = 0;
  released = 0;

  constructor(mm: Mm) {
    this.#mm = mm;
    this.#id = mm.registerNotifier(this.#ops());
  }

  #drop(start: number, end: number): void {
    this.calls++;
    if (this.#gone) throw new Error('a notifier was called after it had gone');
    for (const hvn of this.#map.keys()) if (hvn >= start && hvn < end) this.#map.delete(hvn);
  }

  #gone = false;

  #ops(): MmuNotifierOps {
    const young = (start: number, end: number): boolean => {
      this.calls++;
      let found = false;
      for (let hvn = start; hvn < end; hvn++) found ||= this.#map.has(hvn);
      return found && this.calls % 3 === 0;
    };
    return {
      release: () => {
        this.released++;
        this.#map.clear();
      },
      agePage: (hvn) => young(hvn, hvn + 1),
      clearFlushYoung: young,
      clearYoung: young,
      testYoung: (hvn) => young(hvn, hvn + 1),
      invalidatePage: (hvn) => this.#drop(hvn, hvn + 1),
      invalidateRange: (start, end) => this.#drop(start, end),
      invalidateRangeStart: (start, end) => {
        this.#open++;
        this.#drop(start, end);
      },
      invalidateRangeEnd: () => {
        this.calls++;
        this.#open--;
      },
    };
  }

  /** The device faults on a page: a page without a reference, if nothing is being invalidated. */
  fault(hvn: number, write: boolean): void {
    const mm = this.#mm;
    const flags = FOLL_TOUCH | (write ? FOLL_WRITE : 0);
    const pfn = mm.run((t, at) => mm.getUserPages(t, at), hvn, flags);
    if (pfn < 0) return;
    this.#map.set(hvn, { pfn, write });
    mm.host.core.x.putPage(pfn);
  }

  /** It leaves. */
  leave(): void {
    this.#mm.unregisterNotifier(this.#id);
    this.#gone = true;
  }

  /** What it maps that the host does not. */
  problems(): string[] {
    const { x } = this.#mm.host.core;
    const found: string[] = [];
    if (this.#open !== 0) found.push(`mirror: ${this.#open} ranges were never ended`);
    for (const [hvn, { pfn, write }] of this.#map) {
      const pte = x.hpteGet(this.#mm.id, hvn) >>> 0;
      const same = (pte & HPTE_PRESENT) !== 0 && pte >>> HPTE_PFN_SHIFT === pfn;
      if (!same) found.push(`mirror: page ${hvn} is on frame ${pfn}, the host's pte is ${pte}`);
      else if (write && (pte & HPTE_WRITE) === 0) {
        found.push(`mirror: page ${hvn} is writable, the host's is not`);
      }
    }
    return found;
  }
}
