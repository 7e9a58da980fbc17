// What must be true of an explored machine: the monitor knows what the guest wrote and when the host used
// a page, and holds ptes, sptes, frames and swap slots against it.

import {
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HVN_LIMIT,
  PG_ANON,
  PG_DIRTY,
  PG_LRU_PENDING,
  PG_SWAPCACHE,
  SLOT_RMAP,
} from '../../assembly/abi.ts';
import type { Core } from '../core/load.ts';
import type { Host } from '../mm/host.ts';
import type { Mm } from '../mm/mm.ts';
import { VM_WRITE } from '../mm/vma.ts';
import type { ViolationSink } from './system.ts';
import { SharedWords } from './words.ts';

// Words of a page: what was written last, whether the host may have dropped it, and whether it was used
// since the last test for young ended, and between that and the one before.
const WROTE = 0;
const DROPPED = 1;
const USED = 2;
const USED_BEFORE = 3;
const PER_PAGE = 4;
/** What writes leave in a page, by turns. */
const FIRST_STAMP = 1;

/** What a monitor looks at. */
export interface Monitored {
  readonly core: Core;
  readonly host: Host;
  readonly mm: Mm;
  /** First host page of the guest's memory, and how many. */
  readonly first: number;
  readonly pages: number;
  /** The secondary MMU's mapping of a page that is no KVM's: pfn, or -1; null under KVM. */
  readonly mirrored: ((page: number) => number) | null;
  /** Under TDP the gfn of the first page, else -1: sptes are found by the rmap. */
  readonly nested: number;
  /** Sptes hold references. */
  readonly pins: () => boolean;
  readonly sink: ViolationSink;
}

/** The spte bit that lets the guest write, and the one of every spte that maps something. */
const SPTE_WRITABLE = 2;
const SPTE_MMU_PRESENT = 0x800;

/** The monitor of one machine. */
export class Monitor {
  readonly #of: Monitored;
  readonly words: SharedWords;
  /** First of the words that no page owns. */
  readonly #globals: number;

  constructor(of: Monitored) {
    this.#of = of;
    this.#globals = of.pages * PER_PAGE;
    this.words = new SharedWords(this.#globals + 8);
  }

  /** A word that no page owns, by number (0 to 7): see actors/chain.ts. */
  flag(which: number): number {
    return this.words.get(this.#globals + which);
  }

  setFlag(which: number, value: number): void {
    this.words.set(this.#globals + which, value);
  }

  // ---- what happens ------------------------------------------------------------------------------

  /** Somebody used a page. */
  use(page: number): void {
    this.words.set(page * PER_PAGE + USED, 1);
  }

  /** The host drops a page's content on purpose. */
  drop(page: number): void {
    this.words.set(page * PER_PAGE + DROPPED, 1);
  }

  /** A page's content was written in a frame past the guest: by the host, or by a device. */
  wrote(page: number, pfn: number): void {
    const at = page * PER_PAGE + WROTE;
    const value = this.words.get(at) === FIRST_STAMP ? FIRST_STAMP + 1 : FIRST_STAMP;
    this.words.set(at, value);
    this.#of.core.x.frameSetContent(pfn, value);
  }

  /** The secondary MMU or the host reached `pfn` for a page: what must be true of that frame? */
  accessed(page: number, write: boolean, pfn: number): void {
    const { x } = this.#of.core;
    const { sink } = this.#of;
    if (pfn < 0) return;
    if (pfn !== 0 && this.#refcount(pfn) === 0) {
      const what = `page ${page} was reached in frame ${pfn}, which is free`;
      return sink.report('no_access_to_freed_frame', what);
    }
    const other = this.#reusedBy(page, pfn);
    if (other !== null) {
      const what = `page ${page} was reached in frame ${pfn}, which is ${other} by now`;
      return sink.report('no_access_to_freed_frame', what);
    }
    if (write) return this.wrote(page, pfn);
    const at = page * PER_PAGE;
    const want = this.words.get(at + WROTE);
    const found = x.frameContent(pfn) >>> 0;
    if (found !== want && this.words.get(at + DROPPED) === 0) {
      sink.report('no_lost_write', `page ${page} reads ${found}, ${want} was written`);
    }
  }

  /**
   * A test for young has ended: whether the page was used since the test before the last one ended.
   * The bits are cleared early in a test, and a use after that counts for the next: so a page that
   * is rightly called young was used in this time.
   */
  youngTested(page: number, young: boolean): void {
    const at = page * PER_PAGE;
    const { words } = this;
    const used = words.get(at + USED) !== 0;
    const before = words.get(at + USED_BEFORE) !== 0;
    words.set(at + USED_BEFORE, used ? 1 : 0);
    words.set(at + USED, 0);
    if (young && !used && !before) {
      this.#of.sink.report('young_never_invented', `page ${page} is called young`);
    }
  }

  /** The invalidation has returned: nothing may map the frame that the page had before. */
  invalidated(page: number, old: number): void {
    if (old === 0 || this.hpte(page) >>> HPTE_PFN_SHIFT === old) return;
    if (this.mappedFrames(page).includes(old)) {
      const what = `the invalidation of page ${page} returned, and frame ${old} is still mapped`;
      this.#of.sink.report('no_spte_after_invalidation', what);
    }
  }

  /** mprotect() has returned: no spte may let the guest write the page. */
  writeProtected(page: number): void {
    const { mm, first, mirrored } = this.#of;
    if (((mm.findVma(first + page)?.flags ?? 0) & VM_WRITE) !== 0) return;
    const writable =
      mirrored === null
        ? this.#sptes(page).some((spte) => (spte.bits & SPTE_WRITABLE) !== 0)
        : mirrored(page) >= 0;
    if (!writable) return;
    const what = `mprotect() of page ${page} returned, and the secondary MMU can still write it`;
    this.#of.sink.report('no_spte_after_invalidation', what);
  }

  // ---- what there is -----------------------------------------------------------------------------

  /** Present pte of a data page, or 0. */
  hpte(page: number): number {
    const { core, mm, first } = this.#of;
    const pte = core.x.hpteGet(mm.id, first + page) >>> 0;
    return (pte & HPTE_PRESENT) !== 0 ? pte : 0;
  }

  /** Frames that the secondary MMU maps for a data page. */
  mappedFrames(page: number): number[] {
    const { mirrored } = this.#of;
    if (mirrored === null) return this.#sptes(page).map((spte) => spte.pfn);
    const pfn = mirrored(page);
    return pfn >= 0 ? [pfn] : [];
  }

  #sptes(page: number): { pfn: number; bits: number }[] {
    const { core, nested } = this.#of;
    const { mem } = core;
    const entries = nested < 0 ? this.#rmap(page) : [core.x.tdpFind(nested + page) >>> 0];
    return entries.flatMap((sptep) => {
      const low = sptep === 0 ? 0 : mem.load32(sptep);
      if ((low & SPTE_MMU_PRESENT) === 0) return [];
      const pfn = (low >>> 12) | ((mem.load32(sptep + 4) & 0x7ffff) << 20);
      return [{ pfn, bits: low & 0xfff }];
    });
  }

  /** The sptes that the reverse map knows. */
  #rmap(page: number): number[] {
    const { x, mem } = this.#of.core;
    const slot = x.slotPtr(1) >>> 0;
    const head = mem.load32(mem.load32(slot + SLOT_RMAP) + page * 4);
    if (head === 0) return [];
    const entries: number[] = [];
    if ((head & 1) === 0) entries.push(head);
    else {
      for (let desc = (head & ~1) >>> 0; desc !== 0; desc = mem.load32(desc)) {
        const count = mem.load32(desc + 4);
        for (let i = 0; i < count; i++) entries.push(mem.load32(desc + 8 + i * 4));
      }
    }
    return entries;
  }

  #refcount(pfn: number): number {
    const { x, mem } = this.#of.core;
    return mem.load32((x.framePtr(pfn) >>> 0) + FRAME_REFCOUNT);
  }

  /** Another page of the guest that a frame belongs to now, or null. */
  #reusedBy(page: number, pfn: number): string | null {
    const { pages } = this.#of;
    if (this.hpte(page) >>> HPTE_PFN_SHIFT === pfn) return null;
    for (let other = 0; other < pages; other++) {
      const pte = this.hpte(other);
      if (other !== page && pte !== 0 && pte >>> HPTE_PFN_SHIFT === pfn) return `page ${other}'s`;
    }
    return null;
  }

  // ---- tests of a state --------------------------------------------------------------------------

  /** A page that the secondary MMU maps although its frame is free, or null. */
  mappedFreeFrame(): string | null {
    for (let page = 0; page < this.#of.pages; page++) {
      for (const pfn of this.mappedFrames(page)) {
        if (pfn !== 0 && this.#refcount(pfn) === 0) {
          return `page ${page} is mapped to frame ${pfn}, which is free`;
        }
      }
    }
    return null;
  }

  /** A page that the secondary MMU maps to another frame than the host does, or null. */
  staleMapping(): string | null {
    for (let page = 0; page < this.#of.pages; page++) {
      const pte = this.hpte(page);
      const host = pte >>> HPTE_PFN_SHIFT;
      for (const pfn of this.mappedFrames(page)) {
        if (pte === 0) return `page ${page} is mapped to frame ${pfn}, the host maps nothing`;
        if (host !== pfn) {
          return `page ${page} is mapped to frame ${pfn}, the host maps frame ${host}`;
        }
      }
    }
    return null;
  }

  /** A page whose last write would be lost: it is not there, or would go without being written. */
  lostWrite(): string | null {
    for (let page = 0; page < this.#of.pages; page++) {
      const lost = this.#lost(page);
      if (lost !== null) return lost;
    }
    return null;
  }

  #lost(page: number): string | null {
    const { core, mm, first } = this.#of;
    const { x } = core;
    const want = this.words.peek(page * PER_PAGE + WROTE);
    if (want === 0 || this.words.peek(page * PER_PAGE + DROPPED) !== 0) return null;
    const pte = x.hpteGet(mm.id, first + page) >>> 0;
    if (pte === 0) return null;
    const place = pte >>> HPTE_PFN_SHIFT;
    const says = (where: string, found: number): string =>
      `page ${page} holds ${found} ${where}, ${want} was written`;
    if ((pte & HPTE_PRESENT) === 0) {
      const cached = x.swapCacheLookup(place) >>> 0;
      const found = cached === 0 ? x.swapContent(place) : x.frameContent(cached);
      return found >>> 0 === want ? null : says(`in swap slot ${place}`, found >>> 0);
    }
    if ((pte & HPTE_SWAP) !== 0) return says('as the zero page', 0);
    const found = x.frameContent(place) >>> 0;
    if (found !== want) return says(`in frame ${place}`, found);
    const flags = x.pageFlags(place);
    if ((flags & PG_SWAPCACHE) === 0 || (flags & PG_DIRTY) !== 0) return null;
    if ((pte & HPTE_DIRTY) !== 0 || this.#writable(page, place)) return null;
    const slot = core.mem.load32((x.framePtr(place) >>> 0) + FRAME_PRIVATE);
    const stored = x.swapContent(slot) >>> 0;
    if (stored === want) return null;
    return `page ${page} is clean with ${found}, its swap slot holds ${stored}`;
  }

  /** A writable mapping of the secondary MMU still knows that the page is dirty. */
  #writable(page: number, pfn: number): boolean {
    if (this.#of.mirrored !== null) return this.#of.mirrored(page) === pfn;
    return this.#sptes(page).some((spte) => spte.pfn === pfn && (spte.bits & SPTE_WRITABLE) !== 0);
  }

  /** Wrong reference counts: frames in use that nobody accounts for. Null: all exact. */
  leakedFrames(): string | null {
    const { x } = this.#of.core;
    const owners = this.#owners();
    const total = x.frameTotal() >>> 0;
    for (let pfn = 1; pfn < total; pfn++) {
      const count = this.#refcount(pfn);
      const flags = x.pageFlags(pfn);
      if (count === 0 || (flags & PG_ANON) === 0) continue;
      let wanted = owners.get(pfn) ?? 0;
      if ((flags & PG_SWAPCACHE) !== 0) wanted++;
      if ((flags & PG_LRU_PENDING) !== 0) wanted++;
      if (count !== wanted) {
        return `frame ${pfn} has ${count} references, ${wanted} are accounted for`;
      }
    }
    return null;
  }

  /** References of ptes and, where they hold some, of sptes, by frame. */
  #owners(): Map<number, number> {
    const { core, host, pages } = this.#of;
    const owners = new Map<number, number>();
    const add = (pfn: number): void => void owners.set(pfn, (owners.get(pfn) ?? 0) + 1);
    for (const mm of host.mms) {
      if (mm === null) continue;
      let hvn = core.x.hpteNextMapped(mm.id, 0, HVN_LIMIT) >>> 0;
      for (; hvn < HVN_LIMIT; hvn = core.x.hpteNextMapped(mm.id, hvn + 1, HVN_LIMIT) >>> 0) {
        const pte = core.x.hpteGet(mm.id, hvn) >>> 0;
        if ((pte & HPTE_PRESENT) !== 0) add(pte >>> HPTE_PFN_SHIFT);
      }
    }
    if (this.#of.pins()) {
      for (let page = 0; page < pages; page++) for (const pfn of this.mappedFrames(page)) add(pfn);
    }
    return owners;
  }
}
