// A small VM for tests that tell a story: guest tables are made and linked by hand, entries have
// names, and an access says what became of it.

import {
  ACCESS_FETCH,
  ACCESS_IMPLICIT,
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  ACX_JOB_GVA,
  CR0_PG,
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_PKE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  FEATURE_NO_GBPAGES,
  HPTE_PFN_SHIFT,
  RFLAGS_AC,
  VCPU_FEATURES,
  VCPU_MAXPHYADDR,
} from '../../assembly/abi.ts';
import { accessJob } from '../../src/conform/access-guest.ts';
import { residentVm } from '../../src/conform/resident-vm.ts';
import type { ResidentVmOptions } from '../../src/conform/resident-vm.ts';
import { errorCodeWords } from '../../src/conform/words.ts';
import type { Core } from '../../src/core/load.ts';
import type { Kvm } from '../../src/kvm/kvm.ts';
import type { Vcpu } from '../../src/kvm/vcpu.ts';
import { Stats } from '../../src/stats/stats.ts';

export const P = 1n;
export const W = 2n;
export const U = 4n;
export const A = 0x20n;
export const D = 0x40n;
export const PS = 0x80n;
export const G = 0x100n;
export const NX = 1n << 63n;
export const KEY1 = 1n << 59n;
export const ALL = P | W | U;

/** gfn of the root table; tables follow. */
const FIRST_TABLE = 16;
/** First gfn for data. */
export const DATA = 256;
/** gfn of a 2 MiB page. */
export const LARGE = 512;

/** Who makes an access. */
export type Mode = 'user' | 'sup' | 'implicit';

/** Registers by name; what is not given is off (and WP and NXE are on). */
export interface SceneRegisters {
  wp?: boolean;
  nxe?: boolean;
  smep?: boolean;
  smap?: boolean;
  pke?: boolean;
  pge?: boolean;
  pcide?: boolean;
  la57?: boolean;
  ac?: boolean;
  pkru?: number;
}

/** What an access that completed says. */
export const OK = 'ok';

/** What a #PF says. */
export function pf(code: number): string {
  return `#PF ${errorCodeWords(code)}`;
}

/** Value of CR4 for registers. */
export function cr4Of(r: SceneRegisters): number {
  return (
    CR4_PAE |
    (r.smep === true ? CR4_SMEP : 0) |
    (r.smap === true ? CR4_SMAP : 0) |
    (r.pke === true ? CR4_PKE : 0) |
    (r.pge === true ? CR4_PGE : 0) |
    (r.pcide === true ? CR4_PCIDE : 0) |
    (r.la57 === true ? CR4_LA57 : 0)
  );
}

/** The VM. */
export class Scene {
  readonly kvm: Kvm;
  readonly core: Core;
  readonly vcpu: Vcpu;
  readonly stats: Stats;
  readonly root = FIRST_TABLE;
  #registers: SceneRegisters = {};
  #tables = FIRST_TABLE;
  readonly #record: number;
  readonly #job: number;

  constructor(options: ResidentVmOptions = {}) {
    this.kvm = residentVm({ build: 'debug', ...options });
    this.core = this.kvm.core;
    this.vcpu = this.kvm.vcpus[0] as Vcpu;
    this.stats = new Stats(this.core);
    this.#record = this.core.x.arenaAlloc(8) >>> 0;
    this.#job = accessJob(this.core, this.vcpu.ptr);
    this.registers({});
    this.vcpu.setCr3(this.root);
  }

  /** Sets registers; those not named keep their value. */
  registers(change: SceneRegisters): void {
    const r = { ...this.#registers, ...change };
    this.#registers = r;
    this.vcpu.setRegisters({
      cr0: (CR0_PG | (r.wp === false ? 0 : CR0_WP)) >>> 0,
      cr4: cr4Of(r),
      efer: EFER_LMA | (r.nxe === false ? 0 : EFER_NXE),
      pkru: r.pkru ?? 0,
      rflags: r.ac === true ? RFLAGS_AC : 0,
    });
  }

  /** CPUID's physical-address width. */
  maxPhyAddr(bits: number): void {
    this.core.mem.store32(this.vcpu.ptr + VCPU_MAXPHYADDR, bits);
  }

  /** Whether CPUID has 1 GiB pages. */
  gigabytePages(on: boolean): void {
    this.core.mem.store32(this.vcpu.ptr + VCPU_FEATURES, on ? 0 : FEATURE_NO_GBPAGES);
  }

  /** A fresh guest table. */
  table(): number {
    this.#tables++;
    return this.#tables;
  }

  /** The guest kernel stores an entry. */
  set(table: number, index: number, value: bigint): void {
    this.vcpu.writeGuestPte(
      table,
      index,
      Number(value & 0xffffffffn),
      Number(value >> 32n) & 0xffffffff,
    );
  }

  /** The guest kernel points an entry at a gfn. */
  link(table: number, index: number, gfn: number, flags: bigint): void {
    this.set(table, index, (BigInt(gfn) << 12n) | flags);
  }

  /** An entry of a guest table. */
  get(table: number, index: number): bigint {
    const hi = this.vcpu.readGuestPteHi(table, index) >>> 0;
    return (BigInt(hi) << 32n) | BigInt(this.vcpu.readGuestPteLo(table, index) >>> 0);
  }

  /** A and D of an entry, as `A`, `D`, `AD` or `-`. */
  ad(table: number, index: number): string {
    const entry = this.get(table, index);
    return `${(entry & A) !== 0n ? 'A' : ''}${(entry & D) !== 0n ? 'D' : ''}` || '-';
  }

  /** Tables from the root down to the one of `level`, with all rights, at indexes from the root. */
  path(level: number, ...indexes: number[]): number {
    let table = this.root;
    let at = 4;
    for (const index of indexes) {
      if (at === level) break;
      const entry = this.get(table, index);
      if ((entry & P) === 0n) this.link(table, index, this.table(), ALL);
      table = Number((this.get(table, index) >> 12n) & 0xffffffffn);
      at--;
    }
    return table;
  }

  /** One access: OK, `#PF …`, `mmio`, …. */
  access(gva: bigint, kind: 'r' | 'w' | 'x', mode: Mode = 'sup'): string {
    const { mem } = this.core;
    let flags = { r: ACCESS_READ, w: ACCESS_WRITE, x: ACCESS_FETCH }[kind];
    if (mode === 'sup') flags |= ACCESS_SUPERVISOR;
    if (mode === 'implicit') flags |= ACCESS_IMPLICIT;
    mem.storeBig(this.#record, (gva & ~0xfffn) | BigInt(flags));
    const exit = this.vcpu.run(this.#record, 1);
    if (exit.kind === 'done') return OK;
    return exit.kind === 'guest_page_fault' ? pf(exit.code) : exit.kind;
  }

  /** gfn that the shadow tables map a gva to, or -1. */
  mapped(gva: bigint): number {
    const { x, mem } = this.core;
    mem.storeBig(this.#job + ACX_JOB_GVA, gva);
    const pfn = x.accessRowPfn(this.#job) >>> 0;
    for (const { gfn, npages, hvn } of this.kvm.regions) {
      for (let i = 0; i < npages; i++) {
        const hpte = x.hpteGet(this.kvm.mm.id, hvn + i) >>> 0;
        if (hpte !== 0 && hpte >>> HPTE_PFN_SHIFT === pfn) return gfn + i;
      }
    }
    return -1;
  }

  /** INVLPG. */
  invlpg(gva: bigint): void {
    this.vcpu.invlpg(Number(BigInt.asUintN(64, gva) >> 12n));
  }
}

/** The address with the given indexes, root first, in 4-level paging; the upper half is canonical. */
export function gvaOf(pml4: number, pdpt: number, pd: number, pt = 0): bigint {
  const gva =
    (BigInt(pml4) << 39n) | (BigInt(pdpt) << 30n) | (BigInt(pd) << 21n) | (BigInt(pt) << 12n);
  return pml4 >= 256 ? gva | 0xffff_0000_0000_0000n : gva;
}
