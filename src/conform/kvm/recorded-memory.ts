// The memory of the recorded machine: the VMM's areas, and what stands in the guest's tables before the script.

import { HPTE_PFN_SHIFT } from '../../../assembly/abi.ts';
import type { Core } from '../../core/load.ts';
import type { Host } from '../../mm/host.ts';
import type { Mm } from '../../mm/mm.ts';
import { VM_DONTCOPY, VM_HUGEPAGE, VM_LOCKED, VM_NOHUGEPAGE, VM_NORESERVE } from '../../mm/vma.ts';
import { DATA_GFN, DATA_HVN, INFRA_HVN, INFRA_PAGES, TABLES } from './layout.ts';
import type { Script } from './script.ts';

const GDT_GFN = 1;
/** Code and data, flat, in the words of a descriptor (SDM volume 3, 3.4.5). */
const SEGMENTS: readonly (readonly [lo: number, hi: number])[] = [
  [0xffff, 0x00af9b00],
  [0xffff, 0x00cf9300],
  [0xffff, 0x00affb00],
  [0xffff, 0x00cff300],
];

/** Areas and tables. */
export class RecordedMemory {
  readonly #core: Core;
  readonly #host: Host;
  readonly #mm: Mm;
  readonly #script: Script;

  constructor(host: Host, mm: Mm, script: Script) {
    this.#core = host.core;
    this.#host = host;
    this.#mm = mm;
    this.#script = script;
  }

  /** The pages of tables and code, and the guest's tables in them. */
  mapInfra(): void {
    this.#mm.mmap({ hvn: INFRA_HVN, npages: INFRA_PAGES, flags: VM_LOCKED | VM_DONTCOPY });
    for (let i = 0; i < INFRA_PAGES; i++) this.#mm.access(INFRA_HVN + i, true);
    this.#core.x.lruAddDrain();
    const put = (table: number, index: number, lo: number, hi = 0): void =>
      this.#put(table, index, lo >>> 0, hi);
    const link = (table: number, index: number, child: number): void =>
      put(table, index, child * 4096 + 7);
    const t = TABLES;
    link(t.A_PML4, 0, t.A_PDPT);
    link(t.A_PDPT, 0, t.I_PD);
    link(t.A_PDPT, 1, t.A_PD);
    link(t.I_PD, 0, t.I_PT);
    for (let i = 0; i < INFRA_PAGES; i++) put(t.I_PT, i, i * 4096 + 0x63 + (i === 3 ? 4 : 0));
    link(t.B_PML4, 0, t.B_PDPT);
    link(t.B_PDPT, 0, t.I_PD);
    link(t.B_PDPT, 1, t.B_PD);
    link(t.B_PD, 0, t.B_PT);
    // The segments of CPL 0 and 3, as code that a script calls may come to them.
    for (const [i, [lo, hi]] of SEGMENTS.entries()) put(GDT_GFN, 1 + i, lo, hi);
    const { pages, edits } = this.#script;
    for (let k = 0; k * 512 < pages && k < 15; k++) link(t.A_PD, k, t.A_PT + k);
    link(t.A_PD, 64, t.ALIAS_PT);
    for (let i = 0; i < pages && i < 15 * 512; i++) {
      const lo = (DATA_GFN + i) * 4096 + 7;
      put(t.A_PT + (i >>> 9), i & 511, lo);
      if (i >= 512) continue;
      put(t.B_PT, i, lo);
      put(t.ALIAS_PT, i, lo);
    }
    for (const edit of edits) {
      const keep = edit.keepAddress ? this.gpte(edit.table, edit.index) : { lo: 0, hi: 0 };
      put(edit.table, edit.index, (keep.lo & 0xfffff000) | edit.lo, edit.hi);
    }
  }

  /** The data pages. */
  mapData(): void {
    const { pages, backing, thp } = this.#script;
    const file = backing === 'anon' ? 0 : this.#host.createShmem();
    this.#mm.mmap({
      hvn: DATA_HVN,
      npages: pages,
      file,
      shared: backing === 'shmem',
      flags: VM_NORESERVE | (thp ? VM_HUGEPAGE : VM_NOHUGEPAGE),
    });
  }

  /** Address of the content of an infrastructure page. */
  #infra(gfn: number, write: boolean): number {
    const { x } = this.#core;
    const pfn = x.hpteGet(this.#mm.id, INFRA_HVN + gfn) >>> HPTE_PFN_SHIFT;
    return (write ? x.frameContentForWrite(pfn) : x.frameContentPtr(pfn)) >>> 0;
  }

  #put(table: number, index: number, lo: number, hi: number): void {
    const at = this.#infra(table, true) + index * 8;
    this.#core.mem.store32(at, lo);
    this.#core.mem.store32(at + 4, hi);
  }

  /** An entry of a guest table. */
  gpte(table: number, index: number): { lo: number; hi: number } {
    const at = this.#infra(table, false) + index * 8;
    return { lo: this.#core.mem.load32(at), hi: this.#core.mem.load32(at + 4) };
  }
}
