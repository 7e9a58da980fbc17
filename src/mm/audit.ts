// A whole-structure check of the host mm: what must hold whenever no operation is under way. It walks
// every table and counts anew.
//
// - Each present pte is an entry of its frame's rmap, and each entry is such a pte.
// - A frame's references are those of its mappings, its cache (swap cache or page cache), the batches
//   and reclaim's isolation, and the pins that the caller knows of; a free frame has none.
// - Lists are linked both ways, their sizes are right, and a listed frame is on one list.
// - A swap slot's users are the swap entries that name it, and the swap cache.
// - The frames that count against the limit are those marked so.

import * as abi from '../../assembly/abi.ts';
import type { Host } from './host.ts';
import { VM_READ, VM_WRITE } from './vma.ts';

/** What the audit counted, beside what it found wrong. */
export interface HostAudit {
  /** Broken invariants in words; empty when all hold. */
  readonly problems: readonly string[];
  /** References that nothing in the mm explains: pins of sptes and direct I/O, batches. */
  readonly pins: number;
  /** Frames in use. */
  readonly framesInUse: number;
  /** Present ptes of ordinary pages. */
  readonly mapped: number;
}

class Auditor {
  readonly #host: Host;
  readonly problems: string[] = [];
  readonly #maps = new Map<number, string[]>();
  readonly #slots = new Map<number, number>();
  pins = 0;
  framesInUse = 0;
  mapped = 0;

  constructor(host: Host) {
    this.#host = host;
  }

  #fail(text: string): void {
    if (this.problems.length < 20) this.problems.push(text);
  }

  #word(pfn: number, offset: number): number {
    const { x, mem } = this.#host.core;
    return mem.load32((x.framePtr(pfn) >>> 0) + offset);
  }

  /** Counts what every mm's ptes say. */
  tables(): void {
    const { x } = this.#host.core;
    for (const mm of this.#host.mms) {
      if (mm === null) continue;
      let used = 0;
      let hvn = x.hpteNextMapped(mm.id, 0, abi.HVN_LIMIT) >>> 0;
      for (; hvn < abi.HVN_LIMIT; hvn = x.hpteNextMapped(mm.id, hvn + 1, abi.HVN_LIMIT) >>> 0) {
        used++;
        this.#pte(mm.id, hvn, x.hpteGet(mm.id, hvn) >>> 0);
        if (mm.findVma(hvn) === undefined) this.#fail(`mm ${mm.id}: pte of ${hvn} has no vma`);
      }
      if (used !== x.mmUsed(mm.id)) this.#fail(`mm ${mm.id}: ${used} ptes, not ${x.mmUsed(mm.id)}`);
    }
  }

  /** Swapped pages of shared memory are users of their slots. */
  files(): void {
    const { x } = this.#host.core;
    for (const file of this.#host.shmemFiles) {
      let at = x.hpteNextMapped(file, 0, abi.HVN_LIMIT) >>> 0;
      for (; at < abi.HVN_LIMIT; at = x.hpteNextMapped(file, at + 1, abi.HVN_LIMIT) >>> 0) {
        const slot = x.shmemSlot(file, at) >>> 0;
        if (slot !== abi.NO_SLOT) this.#slots.set(slot, (this.#slots.get(slot) ?? 0) + 1);
      }
    }
  }

  #pte(mm: number, hvn: number, pte: number): void {
    const target = pte >>> abi.HPTE_PFN_SHIFT;
    if ((pte & abi.HPTE_PRESENT) === 0) {
      this.#slots.set(target, (this.#slots.get(target) ?? 0) + 1);
      return;
    }
    if ((pte & abi.HPTE_SWAP) !== 0) return;
    this.mapped++;
    const list = this.#maps.get(target) ?? [];
    list.push(`${mm}:${hvn}`);
    this.#maps.set(target, list);
    const vma = this.#host.mm(mm).findVma(hvn);
    const unreadable = (pte & abi.HPTE_PROTNONE) !== 0;
    if (vma !== undefined && unreadable !== ((vma.flags & (VM_READ | VM_WRITE)) === 0)) {
      this.#fail(
        `mm ${mm}: pte of ${hvn} is ${unreadable ? '' : 'not '}PROT_NONE, its vma differs`,
      );
    }
    if ((pte & abi.HPTE_WRITE) !== 0 && vma !== undefined && (vma.flags & 2) === 0) {
      this.#fail(`mm ${mm}: pte of ${hvn} is writable, its vma is not`);
    }
  }

  /** Compares each frame with what was counted. */
  frames(): void {
    const { x } = this.#host.core;
    let charged = 0;
    for (let pfn = 1; pfn <= x.frameTotal(); pfn++) {
      const refs = this.#word(pfn, abi.FRAME_REFCOUNT);
      const flags = this.#word(pfn, abi.FRAME_FLAGS);
      if ((flags & abi.PG_HUGE) !== 0 && refs !== 0) {
        this.framesInUse += abi.HPAGE_PMD_NR;
        if ((flags & abi.PG_CHARGED) !== 0) charged += abi.HPAGE_PMD_NR;
        this.#compound(pfn, refs, flags);
        pfn += abi.HPAGE_PMD_NR - 1;
        continue;
      }
      if (refs === 0) {
        if (this.#maps.has(pfn)) this.#fail(`frame ${pfn} is mapped but free`);
        continue;
      }
      this.framesInUse++;
      if ((flags & abi.PG_CHARGED) !== 0) charged++;
      this.#frame(pfn, refs, flags);
    }
    if (charged !== this.#host.charged()) {
      this.#fail(`${charged} frames are charged, not ${this.#host.charged()}`);
    }
    const free = x.frameTotal() - this.framesInUse;
    if (free !== x.framesFree()) this.#fail(`${free} frames are free, not ${x.framesFree()}`);
  }

  /** A compound page: a huge pte is one reference of the head, a small one is one too. */
  #compound(head: number, refs: number, flags: number): void {
    const { x } = this.#host.core;
    let expected = (flags & abi.PG_LRU_PENDING) !== 0 || head === x.hugeZeroPage() ? 1 : 0;
    for (let i = 0; i < abi.HPAGE_PMD_NR; i++) {
      const maps = this.#rmap(head + i);
      for (let j = 0; j < maps; j++) {
        const whole = x.hpmdGet(x.rmapMm(head + i, j), x.rmapHvn(head + i, j)) !== 0;
        if (!whole || i === 0) expected++;
      }
    }
    if (refs < expected) this.#fail(`frame ${head}: ${refs} references, ${expected} users`);
    this.pins += refs - expected;
  }

  /** Compares a frame's rmap with the ptes; how many map it. */
  #rmap(pfn: number): number {
    const { x } = this.#host.core;
    const mapcount = x.pageMapcount(pfn);
    const rmap: string[] = [];
    for (let i = 0; i < mapcount; i++) rmap.push(`${x.rmapMm(pfn, i)}:${x.rmapHvn(pfn, i)}`);
    const mapped = this.#maps.get(pfn) ?? [];
    if (rmap.toSorted().join() !== mapped.toSorted().join()) {
      this.#fail(`frame ${pfn}: rmap [${rmap.join()}], ptes [${mapped.join()}]`);
    }
    return mapcount;
  }

  #frame(pfn: number, refs: number, flags: number): void {
    const { x } = this.#host.core;
    const mapcount = this.#rmap(pfn);
    const file = x.pageFile(pfn);
    const slot = this.#word(pfn, abi.FRAME_PRIVATE);
    let expected = mapcount;
    if ((flags & abi.PG_SWAPCACHE) !== 0) {
      expected++;
      if (x.swapCacheLookup(slot) !== pfn) this.#fail(`frame ${pfn}: not in the swap cache`);
      this.#slots.set(slot, (this.#slots.get(slot) ?? 0) + 1);
    }
    if (file !== 0) {
      expected++;
      if (x.filemapGet(file, slot) !== pfn) this.#fail(`frame ${pfn}: not in the page cache`);
    }
    if ((flags & abi.PG_LRU_PENDING) !== 0) expected++;
    if ((flags & abi.PG_ISOLATED) !== 0) this.#fail(`frame ${pfn} is isolated at rest`);
    if ((flags & abi.PG_ANON_EXCLUSIVE) !== 0 && mapcount > 1) {
      this.#fail(`frame ${pfn} is exclusive with ${mapcount} mappings`);
    }
    if (refs < expected) this.#fail(`frame ${pfn}: ${refs} references, ${expected} users`);
    this.pins += refs - expected;
  }

  /** Walks the page lists both ways. */
  lists(): void {
    const { x, mem } = this.#host.core;
    let listed = 0;
    for (let list = 0; list < abi.LRU_LISTS; list++) {
      const head = (x.lruHeads() >>> 0) + list * abi.LRU_HEAD_SIZE;
      const first = mem.load32(head);
      const last = mem.load32(head + 4);
      let previous = last;
      let count = 0;
      let pages = 0;
      for (let pfn = first; pfn !== 0; pfn = this.#word(pfn, abi.FRAME_LRU_NEXT)) {
        if (pfn === first && count > 0) break;
        count++;
        const huge = (this.#word(pfn, abi.FRAME_FLAGS) & abi.PG_HUGE) !== 0;
        pages += huge ? abi.HPAGE_PMD_NR : 1;
        if (this.#word(pfn, abi.FRAME_LRU_PREV) !== previous) this.#fail(`frame ${pfn}: link back`);
        if (x.lruListOf(pfn) !== list) this.#fail(`frame ${pfn} is not marked as on list ${list}`);
        if (this.#word(pfn, abi.FRAME_REFCOUNT) === 0)
          this.#fail(`frame ${pfn} is listed but free`);
        previous = pfn;
        if (count > x.frameTotal()) return this.#fail(`list ${list} does not come round`);
      }
      if (last !== previous) this.#fail(`list ${list}: its last page`);
      if (pages !== x.lruSize(list)) this.#fail(`list ${list}: ${pages}, not ${x.lruSize(list)}`);
      listed += count;
    }
    for (let pfn = 1; pfn <= x.frameTotal(); pfn++) {
      if ((this.#word(pfn, abi.FRAME_FLAGS) & abi.PG_LRU) !== 0) listed--;
    }
    if (listed !== 0) this.#fail('frames are marked as listed that are on no list');
  }

  /** Compares swap slots with the entries that name them. */
  slots(): void {
    const { x } = this.#host.core;
    for (const [slot, users] of this.#slots) {
      if (x.swapCount(slot) !== users) {
        this.#fail(`slot ${slot}: ${x.swapCount(slot)} users, ${users} entries`);
      }
    }
    if (x.swapUsed() !== this.#slots.size) {
      this.#fail(`${x.swapUsed()} slots are in use, ${this.#slots.size} are named`);
    }
  }
}

/** Checks the host mm; `pins`: references that its caller holds (undefined: any). */
export function auditHost(host: Host, pins?: number): HostAudit {
  const auditor = new Auditor(host);
  auditor.tables();
  auditor.files();
  auditor.frames();
  auditor.lists();
  auditor.slots();
  if (pins !== undefined && auditor.pins !== pins) {
    auditor.problems.push(`${auditor.pins} references are unexplained, ${pins} are expected`);
  }
  return auditor;
}
