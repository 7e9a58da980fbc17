// The TLB that serves the VMM's own accesses. What it holds sets no accessed bit: where the host makes a page old without
// a flush (reclaim's look, clear_refs 1, the rig's ageing), the next access may leave it old. A guest that runs empties it (the
// recorded processor does at VMRUN). Whether it still holds a page depends on what else the VMM did, and is taken from the
// recording.

import { HPTE_DIRTY, HPTE_WRITE, HPTE_YOUNG } from '../../../assembly/abi.ts';
import { isNormalPte } from '../../mm/host-pte.ts';
import type { Mm } from '../../mm/mm.ts';
import { DATA_HVN } from './layout.ts';

const WRITTEN = HPTE_WRITE | HPTE_DIRTY;

/** What the TLB may hold. */
export class HostTlb {
  readonly #mm: Mm;
  /** Ptes at the last access, but for the accessed bit. */
  readonly #entries = new Map<number, number>();
  /** Data pages that the recorded step made young, or left so though they changed; null: it does not say. */
  young: ReadonlySet<number> | null = null;

  constructor(mm: Mm) {
    this.#mm = mm;
  }

  /** Whether an access finds its page, which stays old. */
  holds(hvn: number, write: boolean): boolean {
    if (this.young === null || this.young.has(hvn - DATA_HVN)) return false;
    const pte = this.#mm.host.core.x.hpteGet(this.#mm.id, hvn) >>> 0;
    const old = isNormalPte(pte) && (pte & HPTE_YOUNG) === 0;
    if (!old || (write && (pte & WRITTEN) !== WRITTEN)) return false;
    return this.#entries.get(hvn) === pte;
  }

  /** An access was translated by the tables. */
  fill(hvn: number): void {
    const pte = this.#mm.host.core.x.hpteGet(this.#mm.id, hvn) >>> 0;
    this.#entries.set(hvn, (pte & ~HPTE_YOUNG) >>> 0);
  }

  flush(): void {
    this.#entries.clear();
  }
}
