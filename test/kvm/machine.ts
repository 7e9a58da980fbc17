// A small VM over a real host mm: one vCPU, one address space with its leaf table at gfn PT, guest
// page `vpn` mapped on request. The audit is one call away.
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { FRAME_REFCOUNT, HPTE_PFN_SHIFT, PT_PRESENT_BIT, VCPU_ROOT } from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { auditKvm } from '../../src/kvm/audit.ts';
import { Kvm } from '../../src/kvm/kvm.ts';
import { AGING_PRESETS, type AgingName, type AgingPreset } from '../../src/mm/aging.ts';
import { Host } from '../../src/mm/host.ts';
import { Stats } from '../../src/stats/stats.ts';

export const P = 1;
export const W = 2;
export const U = 4;
export const A = 0x20;
export const D = 0x40;
/** gfns of the tables; data pages follow. */
export const PML4 = 0;
export const PDPT = 1;
export const PD = 2;
export const PT = 3;
export const DATA = 16;
/** First host page behind the guest. */
export const HVN = 0x1000;

/** A VM of `pages` guest pages. */
export class SmallVm {
  readonly core = loadCore('debug');
  readonly stats = new Stats(this.core);
  readonly host: Host;
  readonly mm;
  readonly kvm: Kvm;
  readonly #records: number;

  constructor(
    generation: string,
    aging: AgingName | AgingPreset,
    frames = 1024,
    pages = 512,
    maxShadowPages = 0,
  ) {
    const preset = typeof aging === 'string' ? AGING_PRESETS[aging] : aging;
    this.host = new Host(this.core, {
      frames,
      aging: preset,
      generation: MM_GENERATIONS[generation as keyof typeof MM_GENERATIONS],
    });
    this.mm = this.host.createMm();
    this.mm.mmap({ hvn: HVN, npages: pages });
    this.kvm = new Kvm({ core: this.core, mm: this.mm, aging: preset, generation, maxShadowPages });
    this.kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: pages, hvn: HVN });
    this.#records = this.core.x.arenaAlloc(4096) >>> 0;
    this.vcpu.writeGuestPte(PML4, 0, (PDPT << 12) | P | W | U, 0);
    this.vcpu.writeGuestPte(PDPT, 0, (PD << 12) | P | W | U, 0);
    this.vcpu.writeGuestPte(PD, 0, (PT << 12) | P | W | U, 0);
    this.vcpu.setCr3(PML4);
  }

  get vcpu() {
    return this.kvm.vcpus[0]!;
  }

  /** The guest kernel maps page `vpn` to `gfn`. */
  map(vpn: number, gfn: number, flags = P | W | U): void {
    this.vcpu.writeGuestPte(PT, vpn, gfn * 4096 + flags, 0);
  }

  /** One guest access (ACCESS_*) to page `vpn`; how it ended. */
  access(vpn: number, kind: number) {
    this.core.mem.store32(this.#records, (vpn << 12) | kind);
    this.core.mem.store32(this.#records + 4, 0);
    return { ...this.vcpu.run(this.#records, 1) };
  }

  /** Low word of entry `index` of a guest table. */
  gpte(table: number, index: number): number {
    return this.core.mem.load32((this.core.x.guestPagePtr(table) >>> 0) + index * 8);
  }

  /** Low word of the spte of page `vpn`, 0 when there is none. */
  spte(vpn: number): number {
    const { mem } = this.core;
    let table = mem.load32(this.vcpu.ptr + VCPU_ROOT);
    for (let level = 4; level > 1; level--) {
      const lo = mem.load32(table + ((vpn >>> (9 * (level - 1))) & 511) * 8);
      if ((lo & (1 << PT_PRESENT_BIT)) === 0) return 0;
      table = (lo & 0xfffff000) >>> 0;
    }
    return mem.load32(table + (vpn & 511) * 8);
  }

  /** Host pte behind a gfn. */
  hpte(gfn: number): number {
    return this.core.x.hpteGet(this.mm.id, HVN + gfn) >>> 0;
  }

  /** Host frame behind a gfn. */
  pfn(gfn: number): number {
    return this.hpte(gfn) >>> HPTE_PFN_SHIFT;
  }

  /** References on the frame behind a gfn. */
  refcount(gfn: number): number {
    const page = this.core.x.framePtr(this.pfn(gfn)) >>> 0;
    return this.core.mem.load32(page + FRAME_REFCOUNT);
  }

  /** Change of a counter over `action`. */
  counted(name: Parameters<Stats['get']>[0], action: () => void): number {
    const before = this.stats.get(name);
    action();
    return this.stats.get(name) - before;
  }

  /** Violations that the audit finds. */
  audit(): string[] {
    return auditKvm(this.kvm);
  }
}
