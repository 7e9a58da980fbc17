// The host's side of a data page as a snapshot of a recording shows it: pte, frame, mincore().

import {
  HPAGE_PMD_NR,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_PROTNONE,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  NO_SLOT,
  PG_HUGE,
} from '../../../assembly/abi.ts';
import type { Core } from '../../core/load.ts';
import type { Mm } from '../../mm/mm.ts';
import { VM_EXEC } from '../../mm/vma.ts';
import type { OurFrames } from './our-frames.ts';
import { DATA_HVN, hpteText } from './layout.ts';
import { flagNames, folioFlagNames, zeroFlags } from './page-flags.ts';
import type { JsonObject } from './recording.ts';

/** Reads the host mm. */
export class HostPages {
  readonly #core: Core;
  readonly #mm: Mm;
  readonly #frames: OurFrames;

  constructor(core: Core, mm: Mm, frames: OurFrames) {
    this.#core = core;
    this.#mm = mm;
    this.#frames = frames;
  }

  /** Data page `i`; `whole`: mincore() of the whole range succeeds. */
  state(i: number, whole: boolean): JsonObject {
    const { x } = this.#core;
    const pte = x.hpteGet(this.#mm.id, DATA_HVN + i) >>> 0;
    if ((pte & HPTE_PRESENT) === 0) {
      const state = (pte & HPTE_SWAP) !== 0 ? 'swapped' : 'none';
      const mincore = whole ? this.#mincore(DATA_HVN + i, pte) : null;
      return { state, mincore };
    }
    const pfn = pte >>> HPTE_PFN_SHIFT;
    const zero = pfn === 0 || this.#frames.isHugeZero(pfn);
    const folio = this.#mm.host.generation.folioFlags;
    const flags = folio ? this.#folioFlags(pfn) : x.pageFlags(pfn);
    let lo = 1 | 4;
    if (pte & HPTE_WRITE) lo |= 2;
    if (pte & HPTE_YOUNG) lo |= 0x20;
    const saved = this.#mm.host.generation.savedDirty && (pte & HPTE_WRITE) === 0;
    if (pte & HPTE_DIRTY && !saved) lo |= 0x40;
    const huge = (x.hpmdGet(this.#mm.id, DATA_HVN + i) & HPTE_PRESENT) !== 0;
    const accessible = (pte & HPTE_PROTNONE) === 0;
    const mapcount = zero ? 0 : x.pageMapcount(pfn);
    return {
      state: 'present',
      pfn: this.#frames.name(pfn),
      pte: accessible ? hpteText(huge ? lo | 0x80 : lo, this.#noExec(DATA_HVN + i)) : 'protnone',
      // The bit of /proc/pid/pagemap: mapped once.
      exclusive: mapcount === 1 ? 1 : 0,
      mapcount,
      flags: zero
        ? zeroFlags(pfn, flags)
        : folio
          ? folioFlagNames(pfn, flags)
          : flagNames(pfn, flags),
      mincore: whole ? 1 : null,
      // The recorder tells the size of what the processor finds present.
      ...(huge && accessible ? { huge: true } : {}),
    };
  }

  /** Flags of a frame's page, which has those of its first frame. */
  #folioFlags(pfn: number): number {
    const { x } = this.#core;
    const flags = x.pageFlags(pfn);
    return (flags & PG_HUGE) === 0 ? flags : x.pageFlags(pfn - (pfn % HPAGE_PMD_NR));
  }

  /** NX of a present pte, in its high word: as the area is. */
  #noExec(hvn: number): number {
    return ((this.#mm.findVma(hvn)?.flags ?? 0) & VM_EXEC) === 0 ? 0x80000000 : 0;
  }

  /** mincore() of an absent page: in the swap cache, or not. */
  #mincore(hvn: number, pte: number): number {
    const { x } = this.#core;
    const file = this.#mm.fileOf(hvn);
    if ((pte & HPTE_SWAP) !== 0) return x.swapCacheLookup(pte >>> HPTE_PFN_SHIFT) !== 0 ? 1 : 0;
    if (file === 0) return 0;
    if (x.filemapGet(file, this.#mm.pgoffOf(hvn)) !== 0) return 1;
    const slot = x.shmemSlot(file, this.#mm.pgoffOf(hvn)) >>> 0;
    return slot !== NO_SLOT && x.swapCacheLookup(slot) !== 0 ? 1 : 0;
  }
}
