// A guest on shadow tables whose page-table pages the test edits as the guest's own kernel would,
// kept a second time for the model.

import {
  ACX_JOB_GVA,
  CR0_PG,
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
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
  VCPU_WALK_GPA,
} from '../../assembly/abi.ts';
import { accessJob } from '../../src/conform/access-guest.ts';
import { residentVm } from '../../src/conform/resident-vm.ts';
import type { Core } from '../../src/core/load.ts';
import type { Kvm } from '../../src/kvm/kvm.ts';
import type { Vcpu } from '../../src/kvm/vcpu.ts';
import { accessFlags } from './guest.ts';
import type { Access, Outcome, PhysicalMemory, Registers } from './model.ts';

const NONE = 0xffffffff;

/** Words of the registers as setRegisters() takes them; 4- and 5-level modes only. */
export function registerWords(r: Registers): Parameters<Vcpu['setRegisters']>[0] {
  return {
    cr0: (CR0_PG | (r.wp ? CR0_WP : 0)) >>> 0,
    cr4:
      CR4_PAE |
      (r.mode === '5-level' ? CR4_LA57 : 0) |
      (r.smep ? CR4_SMEP : 0) |
      (r.smap ? CR4_SMAP : 0) |
      (r.pke ? CR4_PKE : 0),
    efer: EFER_LMA | (r.nxe ? EFER_NXE : 0),
    pkru: r.pkru,
    rflags: r.ac ? RFLAGS_AC : 0,
  };
}

function translatedTo(physical: bigint): Outcome {
  return { kind: 'translated', physical, pageBytes: 0n };
}

/** The guest. */
export class ShadowGuest implements PhysicalMemory {
  readonly kvm: Kvm;
  readonly core: Core;
  readonly vcpu: Vcpu;
  readonly #record: number;
  readonly #job: number;
  readonly #model = new Map<bigint, bigint>();

  constructor(kvm: Kvm = residentVm()) {
    this.kvm = kvm;
    this.core = kvm.core;
    this.vcpu = kvm.vcpus[0] as Vcpu;
    this.#record = this.core.x.arenaAlloc(8) >>> 0;
    this.#job = accessJob(this.core, this.vcpu.ptr);
  }

  read(address: bigint): bigint | undefined {
    const gfn = Number(address >> 12n);
    if (this.core.x.gfnToHvn(gfn) >>> 0 === NONE) return undefined;
    return this.#model.get(address) ?? 0n;
  }

  write(address: bigint, _bytes: 4 | 8, value: bigint): void {
    this.#model.set(address, value);
  }

  /** The guest kernel stores an entry. */
  setEntry(address: bigint, bytes: 4 | 8, value: bigint): void {
    this.write(address, bytes, value);
    const index = Number((address & 0xfffn) >> 3n);
    const lo = Number(value & 0xffffffffn);
    this.vcpu.writeGuestPte(Number(address >> 12n), index, lo, Number(value >> 32n));
  }

  /** An entry as it stands in guest memory. */
  entry(address: bigint): bigint {
    const gfn = Number(address >> 12n);
    const index = Number((address & 0xfffn) >> 3n);
    const hi = this.vcpu.readGuestPteHi(gfn, index) >>> 0;
    return (BigInt(hi) << 32n) | BigInt(this.vcpu.readGuestPteLo(gfn, index) >>> 0);
  }

  /** Zeroes all entries, and forgets their shadows if `zap`. */
  clear(zap: boolean): void {
    for (const at of this.#model.keys()) this.setEntry(at, 8, 0n);
    this.#model.clear();
    if (zap) this.core.x.zapAllFast();
  }

  /** What CPUID says about physical addresses and page sizes. */
  setCpuid(r: Registers): void {
    this.core.mem.store32(this.vcpu.ptr + VCPU_MAXPHYADDR, r.maxPhyAddr);
    this.core.mem.store32(this.vcpu.ptr + VCPU_FEATURES, r.page1GB ? 0 : FEATURE_NO_GBPAGES);
  }

  /** Entries in which guest memory and model differ, as [address, core, model]. */
  differences(): [bigint, bigint, bigint][] {
    const found: [bigint, bigint, bigint][] = [];
    for (const [at, want] of this.#model) {
      const got = this.entry(at);
      if (got !== want) found.push([at, got, want]);
    }
    return found;
  }

  /** Entries as they stand, in words. */
  snapshot(): string {
    const words = [...this.#model.keys()].map((at) => this.entry(at).toString(16));
    return words.join(' ');
  }

  /** INVLPG. */
  invlpg(address: bigint): void {
    this.vcpu.invlpg(Number(address >> 12n));
  }

  /**
   * One access. Its page size is not told (0), and of a completed one only whether the shadow tables
   * map the address to the frame behind `gpa`: then that is where it went, else to -1.
   */
  access(access: Access, gpa: bigint): Outcome {
    const { mem } = this.core;
    mem.storeBig(this.#record, (access.address & ~0xfffn) | BigInt(accessFlags(access)));
    const exit = this.vcpu.run(this.#record, 1);
    switch (exit.kind) {
      case 'noncanonical':
        return { kind: 'general-protection' };
      case 'guest_page_fault':
        return { kind: 'page-fault', errorCode: exit.code };
      case 'mmio':
        return translatedTo(mem.loadBig(this.vcpu.ptr + VCPU_WALK_GPA));
      case 'done':
        return translatedTo(this.#mapsTo(access.address, gpa) ? gpa : -1n);
      default:
        throw new Error(`the access ended with ${exit.kind}`);
    }
  }

  /** Whether the shadow tables map an address to the frame behind a gpa, or to nothing. */
  #mapsTo(address: bigint, gpa: bigint): boolean {
    const { x, mem } = this.core;
    mem.storeBig(this.#job + ACX_JOB_GVA, address);
    const pfn = x.accessRowPfn(this.#job) >>> 0;
    if (pfn === NONE) return true;
    const hvn = x.gfnToHvn(Number(gpa >> 12n)) >>> 0;
    return hvn !== NONE && x.hpteGet(this.kvm.mm.id, hvn) >>> HPTE_PFN_SHIFT === pfn;
  }
}
