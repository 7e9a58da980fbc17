// What the VMM's memory must hold, kept beside the emulator from the script's own writes: every load of the
// guest is compared with it, and must come from a frame that the host maps for the VMM at that moment. A stale or
// foreign page, a lost write or a page that came back with other bytes shows at the next load.

import { HPTE_PFN_SHIFT, HPTE_PRESENT } from '../../../assembly/abi.ts';
import { CoreBugError } from '../../core/errors.ts';
import type { Core } from '../../core/load.ts';
import type { Mm } from '../../mm/mm.ts';
import { DATA_HVN } from './layout.ts';
import { parseNumber, type Script } from './script.ts';

/** Bits of an entry's first byte that walks set: a page may be a guest table. */
const WALK_BITS = 0x60;
const PAGE = 4096;
/** Calls of madvise() that change what pages hold. */
const MADVISE = new Set(['dontneed', 'free', 'remove']);

/** What one page holds; absent bytes are 0. */
interface Page {
  readonly bytes: Map<number, number>;
  /** MADV_FREE: it may be all zero too, until it is written. */
  lazy: boolean;
}

/** The record of one script's run. */
export class MemoryStamps {
  readonly #core: Core;
  readonly #mm: Mm;
  readonly #script: Script;
  #pages = new Map<number, Page>();
  /** Loads that were compared. */
  checks = 0;
  /** A load or a fetch has met a page that may hold zeros as well, so that what the guest sees is not certain. */
  uncertain = false;

  constructor(core: Core, mm: Mm, script: Script) {
    this.#core = core;
    this.#mm = mm;
    this.#script = script;
  }

  /** The guest, or KVM for it, has written `bytes` at an offset of a frame. */
  stored(pfn: number, offset: number, bytes: number): void {
    const page = this.#pageOf(pfn);
    if (page === null) return;
    this.#settle(page, pfn, offset, bytes);
    const at = (this.#core.x.frameContentPtr(pfn) >>> 0) + offset;
    for (let i = 0; i < bytes; i++) page.bytes.set(offset + i, this.#core.mem.u8[at + i] as number);
  }

  /** The guest loads `bytes` from an offset of a frame. */
  loaded(pfn: number, offset: number, bytes: number): void {
    const page = this.#pageOf(pfn);
    if (page === null) return;
    this.checks++;
    if (page.lazy) this.uncertain = true;
    const at = (this.#core.x.frameContentPtr(pfn) >>> 0) + offset;
    for (let i = 0; i < bytes; i++) {
      const found = this.#core.mem.u8[at + i] as number;
      const wanted = page.bytes.get(offset + i) ?? 0;
      const ignored = (offset + i) % 8 === 0 ? WALK_BITS : 0;
      if ((found & ~ignored) === (wanted & ~ignored) || (page.lazy && found === 0)) continue;
      throw new CoreBugError(`a load at ${offset + i} found ${found}, not ${wanted}`);
    }
  }

  /**
   * A host operation has run: its words without the leading `h`, and the errno that it answered. madvise()
   * skips what is not mapped and says ENOMEM at the end; other errors stop it somewhere.
   */
  ran(words: readonly string[], errno?: string): void {
    const [op, first, count, value] = words as [string, string?, string?, string?];
    const i = Number(first) || 0;
    const n = Number(count) || 1;
    if (errno !== undefined && (errno !== 'ENOMEM' || !MADVISE.has(op))) {
      if (MADVISE.has(op)) this.#unsure(i, n);
      return;
    }
    const anon = this.#script.backing !== 'shmem';
    switch (op) {
      case 'write':
        return this.#fill(i, n, 1, value === undefined ? 0xaa : parseNumber(value));
      case 'fill':
        return this.#fill(i, n, PAGE, value === undefined ? 0 : parseNumber(value));
      case 'dontneed':
        if (anon) this.#drop(i, n);
        return;
      case 'munmap':
      case 'mmapfixed':
      case 'remove':
        return this.#drop(i, n);
      case 'free':
        return this.#unsure(i, n);
      case 'mremap':
        return this.#move(i, n, parseNumber(value ?? '0'));
    }
  }

  #at(page: number): Page {
    let found = this.#pages.get(page);
    if (found === undefined) {
      found = { bytes: new Map(), lazy: false };
      this.#pages.set(page, found);
    }
    return found;
  }

  /** The guest fetches from a frame. */
  fetched(pfn: number): void {
    if (this.#pageOf(pfn)?.lazy === true) this.uncertain = true;
  }

  /**
   * The data page behind a frame; null: one of the driver's own, or the zero page, of which many are mapped.
   * Throws when the host maps the frame nowhere.
   */
  #pageOf(pfn: number): Page | null {
    if (pfn === 0) return null;
    const { x } = this.#core;
    const mapped = (hvn: number): boolean => {
      const pte = x.hpteGet(this.#mm.id, hvn) >>> 0;
      return (pte & HPTE_PRESENT) !== 0 && pte >>> HPTE_PFN_SHIFT === pfn;
    };
    for (let i = 0; i < this.#script.pages; i++) if (mapped(DATA_HVN + i)) return this.#at(i);
    for (const { start, end } of this.#mm.vmas) {
      for (let hvn = start; hvn < end; hvn++) if (mapped(hvn)) return null;
    }
    throw new CoreBugError(`the guest reached frame ${pfn}, which the host does not map`);
  }

  #fill(first: number, count: number, bytes: number, value: number): void {
    for (let page = first; page < first + count; page++) {
      const at = this.#at(page);
      const pte = this.#core.x.hpteGet(this.#mm.id, DATA_HVN + page) >>> 0;
      this.#settle(at, pte >>> HPTE_PFN_SHIFT, 0, bytes);
      for (let i = 0; i < bytes; i++) at.bytes.set(i, value & 0xff);
    }
  }

  /** All zero or as before, until they are written. */
  #unsure(first: number, count: number): void {
    for (let page = first; page < first + count; page++) this.#at(page).lazy = true;
  }

  /** `bytes` at an offset were just written to a page that may have been emptied: the others say whether it was. */
  #settle(page: Page, pfn: number, offset: number, bytes: number): void {
    if (!page.lazy) return;
    page.lazy = false;
    const at = this.#core.x.frameContentPtr(pfn) >>> 0;
    const content = this.#core.mem.u8.subarray(at, at + PAGE);
    if (content.every((value, i) => value === 0 || (i >= offset && i < offset + bytes))) {
      page.bytes.clear();
    }
  }

  #drop(first: number, count: number): void {
    for (let page = first; page < first + count; page++) this.#pages.delete(page);
  }

  #move(first: number, count: number, target: number): void {
    const moved = Array.from({ length: count }, (_, i) => this.#pages.get(first + i));
    this.#drop(first, count);
    this.#drop(target, count);
    for (const [i, page] of moved.entries()) {
      if (page !== undefined) this.#pages.set(target + i, page);
    }
  }
}
