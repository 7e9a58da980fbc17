// A guest with tables of four levels in its first pages, which the test writes entry by entry, over host memory of
// any kind. It runs on the release core, so that faults are served where they are in use.
import { ACCESS_READ, HPTE_PFN_SHIFT, PT_PRESENT_BIT, VCPU_ROOT } from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { Kvm } from '../../src/kvm/kvm.ts';
import { AGING_PRESETS, type AgingName, type AgingPreset } from '../../src/mm/aging.ts';
import { Host, type HostOptions } from '../../src/mm/host.ts';
import { Stats } from '../../src/stats/stats.ts';
import type { TlbGeometry } from '../../src/units.ts';

/** Present, writable, user, accessed, dirty. */
export const ENTRY = 0x67;
/** The table that maps the first 2 MiB. */
export const PT = 3;

/** Pages for tables at the beginning, of anonymous memory. */
export const TABLES = 16;
const HVN = 2 ** 18;
/** Accesses of a batch at most. */
const RECORDS = 1024;

/** How a guest is made; what is left out is as in machines. */
export interface GuestOptions {
  readonly pages: number;
  readonly frames?: number;
  readonly protocol?: AgingName | AgingPreset;
  readonly generation?: string;
  /** What lies behind the guest's data: anonymous memory, a shared file, a private one. */
  readonly memory?: 'anon' | 'file' | 'private';
  readonly policy?: HostOptions['policy'];
  readonly thp?: HostOptions['thp'];
  /** Generation of the host's mm; KVM's is `generation`. */
  readonly host?: HostOptions['generation'];
  readonly quickFaults?: boolean;
  readonly flushScope?: 'all' | 'pages';
  readonly prefetch?: boolean;
  readonly tlb?: TlbGeometry;
  readonly maxShadowPages?: number;
}

/** The guest: pages 0 to 3 are its tables, and gva page `v` is gfn `v` once map() said so. */
export class TableGuest {
  readonly core = loadCore('release');
  readonly host: Host;
  readonly mm;
  readonly kvm: Kvm;
  readonly stats = new Stats(this.core);
  /** First host page behind the guest. */
  readonly hvn: number;
  readonly #record: number;
  #freeTable = PT + 1;

  constructor(options: GuestOptions) {
    const { pages, frames = 2 * pages, protocol = 'v3', memory = 'anon', policy, thp } = options;
    const {
      generation = '6.1',
      quickFaults = true,
      flushScope = 'all',
      prefetch = false,
    } = options;
    const aging = typeof protocol === 'string' ? AGING_PRESETS[protocol] : protocol;
    this.host = new Host(this.core, {
      frames,
      aging,
      ...(policy === undefined ? {} : { policy }),
      ...(thp === undefined ? {} : { thp }),
      ...(options.host === undefined ? {} : { generation: options.host }),
    });
    this.mm = this.host.createMm();
    // Aligned to the reach of a table of the host's.
    this.hvn = this.mm.mmap({ hvn: HVN, npages: pages });
    if (memory !== 'anon') {
      const file = this.host.createFile();
      const rest = { hvn: HVN + TABLES, npages: pages - TABLES, pgoff: TABLES };
      this.mm.mmap({ ...rest, file, shared: memory === 'file' });
    }
    const { core, mm } = this;
    this.kvm = new Kvm({
      core,
      mm,
      aging,
      generation,
      quickFaults,
      flushScope,
      prefetch,
      ...(options.tlb === undefined ? {} : { tlb: options.tlb }),
      maxShadowPages: options.maxShadowPages ?? 0,
    });
    this.kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: pages, hvn: this.hvn });
    this.vcpu.setRegisters({ cr0: 0x80050033, cr4: 0x20, efer: 0xd00 });
    for (let table = 0; table < PT; table++) this.map(table, 0, table + 1);
    this.#record = core.x.arenaAlloc(8 * RECORDS) >>> 0;
    this.vcpu.setCr3(0);
  }

  get vcpu() {
    return this.kvm.vcpus[0]!;
  }

  /** The guest writes an entry of a table: `page` with bits below and above its address. */
  map(table: number, index: number, page: number, lo = ENTRY, hi = 0): void {
    this.vcpu.writeGuestPte(table, index, ((page << 12) | lo) >>> 0, hi);
  }

  /** The guest maps a page to the gfn of the same number, with tables of its own if need be. */
  reach(page: number): void {
    let table = 0;
    for (let level = 4; level > 1; level--) {
      const index = Math.floor(page / 512 ** (level - 1)) & 511;
      const entry = this.core.mem.load32((this.core.x.guestPagePtr(table) >>> 0) + index * 8);
      if (entry === 0) this.map(table, index, this.#freeTable++);
      table = entry === 0 ? this.#freeTable - 1 : entry >>> 12;
    }
    this.map(table, page & 511, page);
  }

  /** One access to a page (ACCESS_*): how it ended. */
  access(vpn: number, kind = ACCESS_READ) {
    this.core.mem.store32(this.#record, ((vpn << 12) | kind) >>> 0);
    this.core.mem.store32(this.#record + 4, vpn >>> 20);
    return { ...this.vcpu.run(this.#record, 1) };
  }

  /** Accesses to pages of one kind (ACCESS_*), or of one each, in one batch: how it ended. */
  accesses(vpns: readonly number[], kinds: number | readonly number[] = ACCESS_READ) {
    for (const [i, vpn] of vpns.entries()) {
      const kind = typeof kinds === 'number' ? kinds : (kinds[i] as number);
      this.core.mem.store32(this.#record + 8 * i, ((vpn << 12) | kind) >>> 0);
      this.core.mem.store32(this.#record + 8 * i + 4, vpn >>> 20);
    }
    return { ...this.vcpu.run(this.#record, vpns.length) };
  }

  /** Host pte of a guest page. */
  hpte(gfn: number): number {
    return this.core.x.hpteGet(this.mm.id, this.hvn + gfn) >>> 0;
  }

  /** Host frame of a guest page. */
  pfn(gfn: number): number {
    return this.hpte(gfn) >>> HPTE_PFN_SHIFT;
  }

  /** The spte of a gva page under the current root, both words as one number; 0: there is no table for it. */
  spte(vpn: number): number {
    const { mem } = this.core;
    let table = mem.load32(this.vcpu.ptr + VCPU_ROOT);
    for (let level = 4; level > 1; level--) {
      const lo = mem.load32(table + (Math.floor(vpn / 512 ** (level - 1)) & 511) * 8);
      if ((lo & (1 << PT_PRESENT_BIT)) === 0) return 0;
      table = (lo & 0xfffff000) >>> 0;
    }
    return mem.load32(table + (vpn & 511) * 8);
  }
}
