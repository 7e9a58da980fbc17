// A guest whose page-table pages the test writes directly, seen by the core through a memslot and by
// the model through the same bytes kept a second time.

import {
  ACCESS_FETCH,
  ACCESS_IMPLICIT,
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  CR0_PG,
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PKE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  FEATURE_NO_GBPAGES,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  RFLAGS_AC,
  VCPU_CR0,
  VCPU_CR3,
  VCPU_CR4,
  VCPU_EFER,
  VCPU_FAULT_GVA,
  VCPU_FEATURES,
  VCPU_MAXPHYADDR,
  VCPU_PDPTR,
  VCPU_PKRU,
  VCPU_RFLAGS,
  VCPU_SIZE,
  VCPU_WALK_ERROR,
  VCPU_WALK_GPA,
  VCPU_WALK_LEVEL,
  WALK_FAULT,
  WALK_NONCANONICAL,
  WALK_OK,
} from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import type { Core } from '../../src/core/load.ts';
import type { Access, Outcome, PhysicalMemory, Registers } from './model.ts';

/** gfn of the first table page. */
export const TABLE_GFN = 16;
/** Table pages there are. */
export const TABLES = 8;
const HVN = 0x1000;

/** Flags of an access record for an access. */
export function accessFlags(access: Access): number {
  const kind = { read: ACCESS_READ, write: ACCESS_WRITE, fetch: ACCESS_FETCH }[access.kind];
  return (
    kind | (access.cpl === 0 ? ACCESS_SUPERVISOR : 0) | (access.implicit ? ACCESS_IMPLICIT : 0)
  );
}

/** Loads registers into a vCPU. */
export function loadRegisters(core: Core, vcpu: number, r: Registers): void {
  const { mem } = core;
  const ia32e = r.mode === '4-level' || r.mode === '5-level';
  const cr4 =
    (r.mode === '32-bit' ? 0 : CR4_PAE) |
    (r.mode === '5-level' ? CR4_LA57 : 0) |
    (r.pse ? CR4_PSE : 0) |
    (r.smep ? CR4_SMEP : 0) |
    (r.smap ? CR4_SMAP : 0) |
    (r.pke ? CR4_PKE : 0);
  mem.store32(vcpu + VCPU_CR0, CR0_PG | (r.wp ? CR0_WP : 0));
  mem.storeBig(vcpu + VCPU_CR3, r.cr3);
  mem.store32(vcpu + VCPU_CR4, cr4);
  mem.store32(vcpu + VCPU_EFER, (ia32e ? EFER_LMA : 0) | (r.nxe ? EFER_NXE : 0));
  mem.store32(vcpu + VCPU_PKRU, r.pkru);
  mem.store32(vcpu + VCPU_RFLAGS, r.ac ? RFLAGS_AC : 0);
  mem.store32(vcpu + VCPU_MAXPHYADDR, r.maxPhyAddr);
  mem.store32(vcpu + VCPU_FEATURES, r.page1GB ? 0 : FEATURE_NO_GBPAGES);
  r.pdptes?.forEach((pdpte, i) => mem.storeBig(vcpu + VCPU_PDPTR + 8 * i, pdpte));
}

/** The guest: its memory is the model's PhysicalMemory, and the core's walker reads the same. */
export class WalkGuest implements PhysicalMemory {
  readonly core = loadCore();
  readonly vcpu: number;
  readonly #pages: number[] = [];
  readonly #model = new Map<bigint, bigint>();

  constructor() {
    const { x } = this.core;
    x.frameInit(TABLES);
    const mm = x.mmCreate();
    x.memslotSet(0, TABLE_GFN, TABLES, HVN, mm, 0);
    for (let i = 0; i < TABLES; i++) {
      const pfn = x.frameAlloc();
      x.hpteSet(mm, HVN + i, (pfn << HPTE_PFN_SHIFT) | HPTE_PRESENT | HPTE_WRITE);
      this.#pages.push(x.frameContentForWrite(pfn) >>> 0);
    }
    this.vcpu = x.arenaAlloc(VCPU_SIZE) >>> 0;
  }

  #pointer(address: bigint): number {
    const page = Number(address >> 12n) - TABLE_GFN;
    return (this.#pages[page] as number) + Number(address & 0xfffn);
  }

  #inMemory(address: bigint): boolean {
    const gfn = Number(address >> 12n);
    return gfn >= TABLE_GFN && gfn < TABLE_GFN + TABLES;
  }

  read(address: bigint, bytes: 4 | 8): bigint | undefined {
    if (!this.#inMemory(address)) return undefined;
    const word = this.#model.get(address & ~7n) ?? 0n;
    return bytes === 8 ? word : (word >> (8n * (address & 4n))) & 0xffffffffn;
  }

  write(address: bigint, bytes: 4 | 8, value: bigint): void {
    const shift = 8n * (address & 4n);
    const old = this.#model.get(address & ~7n) ?? 0n;
    const word = bytes === 8 ? value : (old & ~(0xffffffffn << shift)) | (value << shift);
    this.#model.set(address & ~7n, word);
  }

  /** Sets an entry on both sides before an access. */
  setEntry(address: bigint, bytes: 4 | 8, value: bigint): void {
    this.write(address, bytes, value);
    if (bytes === 8) this.core.mem.storeBig(this.#pointer(address), value);
    else this.core.mem.store32(this.#pointer(address), Number(value));
  }

  /** Forgets all entries. */
  clear(): void {
    for (const at of this.#model.keys()) this.core.mem.storeBig(this.#pointer(at), 0n);
    this.#model.clear();
  }

  /** Entries in which core and model differ, as [address, core, model]. */
  differences(): [bigint, bigint, bigint][] {
    const found: [bigint, bigint, bigint][] = [];
    for (const [at, want] of this.#model) {
      const got = this.core.mem.loadBig(this.#pointer(at));
      if (got !== want) found.push([at, got, want]);
    }
    return found;
  }

  /** One access through the core's walker. */
  walk(r: Registers, access: Access): Outcome {
    const { x, mem } = this.core;
    loadRegisters(this.core, this.vcpu, r);
    mem.storeBig(this.vcpu + VCPU_FAULT_GVA, access.address);
    const result = x.guestWalk(this.vcpu, accessFlags(access)) >>> 0;
    if (result === WALK_NONCANONICAL) return { kind: 'general-protection' };
    if (result === WALK_FAULT) {
      return { kind: 'page-fault', errorCode: mem.load32(this.vcpu + VCPU_WALK_ERROR) };
    }
    if (result !== WALK_OK) throw new Error(`the walk ended with ${result}`);
    const level = mem.load32(this.vcpu + VCPU_WALK_LEVEL);
    const perLevel = r.mode === '32-bit' ? 10 : 9;
    return {
      kind: 'translated',
      physical: mem.loadBig(this.vcpu + VCPU_WALK_GPA),
      pageBytes: 1n << BigInt(12 + (level - 1) * perLevel),
    };
  }
}
