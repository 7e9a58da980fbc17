// What a vCPU remembers of its last access outside all slots, so that the next one is known without a
// walk of the guest's tables (cf. mmio_gva, mmio_gfn and mmio_gen of struct kvm_vcpu_arch, and the MMIO
// sptes of spte.c, 6.1).
//
// What must hold: an entry made under other memslots never serves (`generation`), and one keyed by gva
// goes when the guest may have mapped that gva anew (forget()). Under TDP there is no gva, and -1
// matches no page.

import {
  ACC_USER_MASK,
  ACC_WRITE_MASK,
  CR0_WP,
  CR4_SMAP,
  EVENT_CHECK_MMIO_SPTE,
  EVENT_HANDLE_MMIO_PAGE_FAULT,
  RFLAGS_AC,
  VCPU_CR0,
  VCPU_CR4,
  VCPU_RFLAGS,
  VCPU_WALK_GFN,
  VCPU_WALK_PTE_ACCESS,
} from '../../assembly/abi.ts';
import type { Vcpu } from './vcpu.ts';

/** An MMIO spte (make_mmio_spte): bit 51, the gfn in bits 50:12, the generation from bit 3 on. */
const SPTE_MMIO_HIGH = 1 << 19;
const MMIO_GFN_HIGH = 0xfff;
const MMIO_GENERATION_SHIFT = 3;
const MMIO_GENERATION_MASK = 0xff;

/** An access outside all slots. */
export interface MmioAccess {
  /** Page number of its gva, bits 31:0. */
  readonly gva: number;
  readonly gfn: number;
  /** ACC_*: what the guest's tables permit there. */
  readonly access: number;
  /** Generation of the memslots that it was outside of. */
  readonly generation: number;
}

const NONE: MmioAccess = { gva: -1, gfn: 0, access: 0, generation: -1 };

/** The last MMIO access of a vCPU. */
export class MmioCache {
  readonly #vcpu: Vcpu;
  /** Replaced, never changed in place. */
  last: MmioAccess = NONE;
  /** The last fault was known to be of an MMIO page before the page-fault handler proper. */
  known = false;
  readonly stateFields = ['last'] as const;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
  }

  /** vcpu_cache_mmio_info: the access that faulted was found to be of `gfn`, outside all slots. */
  note(gfn: number): void {
    this.#note(gfn, this.#word(VCPU_WALK_PTE_ACCESS));
  }

  /** vcpu_clear_mmio_info(MMIO_GVA_ANY): what a gva was about may have changed. */
  forget(): void {
    this.last = NONE;
  }

  /** vcpu_match_mmio_gva. */
  isGva(page: number): boolean {
    return this.last.gva === page && this.#current;
  }

  /** vcpu_match_mmio_gpa. */
  isGfn(gfn: number): boolean {
    return this.last.gfn === gfn && this.#current;
  }

  /** Whether the emulator knows that an access to `vpn` is outside all slots and permitted, so that it
   *  need not walk the guest's tables (vcpu_mmio_gva_to_gpa). */
  permits(vpn: number, write: boolean, user: boolean): boolean {
    const { access } = this.last;
    if (user && (access & ACC_USER_MASK) === 0) return false;
    if (!user && (access & ACC_USER_MASK) !== 0 && this.#smapForbids()) return false;
    const readonly = user || (this.#word(VCPU_CR0) & CR0_WP) !== 0;
    if (write && readonly && (access & ACC_WRITE_MASK) === 0) return false;
    return this.isGva(vpn);
  }

  /** mmio_info_in_cache, then check_mmio_spte: whether a fault with RSVD is still an MMIO access. */
  stillThere(): boolean {
    const { core, tdp } = this.#vcpu.kvm;
    const hit = tdp ? this.isGfn(this.#word(VCPU_WALK_GFN)) : this.isGva(this.#vcpu.faultPage);
    if (!hit) return this.#checkSpte();
    core.mem.store32(this.#vcpu.ptr + VCPU_WALK_GFN, this.last.gfn);
    return true;
  }

  /** The entry itself says which gfn it is about, with which rights, and since when (get_mmio_spte). */
  #checkSpte(): boolean {
    const { core, tdp, memslotGeneration } = this.#vcpu.kvm;
    const { mem } = core;
    const page = tdp ? this.#word(VCPU_WALK_GFN) : this.#vcpu.faultPage;
    const at = this.#vcpu.roots.leafAt(page);
    if (at === 0 || (mem.load32(at + 4) & SPTE_MMIO_HIGH) === 0) return false;
    const lo = mem.load32(at);
    const gfn = ((lo >>> 12) | ((mem.load32(at + 4) & MMIO_GFN_HIGH) << 20)) >>> 0;
    const access = lo & (ACC_WRITE_MASK | ACC_USER_MASK);
    const made = (lo >>> MMIO_GENERATION_SHIFT) & MMIO_GENERATION_MASK;
    const generation = memslotGeneration & MMIO_GENERATION_MASK;
    if (core.tracing) core.emit(EVENT_CHECK_MMIO_SPTE, generation, made, gfn, access);
    if (made !== generation) return false;
    if (core.tracing) core.emit(EVENT_HANDLE_MMIO_PAGE_FAULT, tdp ? 0 : page, 0, gfn, access);
    this.#note(gfn, access);
    mem.store32(this.#vcpu.ptr + VCPU_WALK_GFN, gfn);
    return true;
  }

  #note(gfn: number, access: number): void {
    const { tdp, memslotGeneration } = this.#vcpu.kvm;
    const gva = tdp ? -1 : this.#vcpu.faultPage;
    this.last = { gva, gfn, access, generation: memslotGeneration };
  }

  get #current(): boolean {
    return this.last.generation === this.#vcpu.kvm.memslotGeneration;
  }

  /** Whether the supervisor may not touch the user's pages now. */
  #smapForbids(): boolean {
    const smap = (this.#word(VCPU_CR4) & CR4_SMAP) !== 0;
    return smap && (this.#word(VCPU_RFLAGS) & RFLAGS_AC) === 0;
  }

  /** A word of the vCPU's struct. */
  #word(at: number): number {
    return this.#vcpu.kvm.core.mem.load32(this.#vcpu.ptr + at);
  }
}
