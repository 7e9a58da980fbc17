// KVM's instruction emulator as the recordings show it (x86_emulate_instruction, 6.1): an access that the
// processor can't make, to a write-protected table, a read-only slot or no slot at all, is made by KVM, which
// translates the operand through the guest's tables where the exit did not give its address.

import {
  ACCESS_FETCH,
  ACCESS_KIND_MASK,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  EVENT_EMULATE_INSN,
  EVENT_GUEST_WALK,
  EVENT_GUEST_WALK_ERROR,
  EVENT_MMIO,
  HPTE_PFN_SHIFT,
  KVM_MEM_READONLY,
  PFERR_FETCH_MASK,
  PFERR_USER_MASK,
  PFERR_WRITE_MASK,
  VCPU_FAULT_CODE,
  VCPU_FAULT_CODE_HIGH,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GPA,
  VCPU_FAULT_GVA,
  VCPU_WALK_ERROR,
  VCPU_WALK_GFN,
  VCPU_WALK_NEED_GFN,
  VCPU_WALK_NEED_WRITE,
  WALK_FAULT,
  WALK_NEED_PAGE,
} from '../../../assembly/abi.ts';
import type { Core } from '../../core/load.ts';
import type { Vcpu } from '../../kvm/vcpu.ts';
import type { AccessOutcome, Store } from './guest-port.ts';
import { CODE_GFN } from './layout.ts';
import type { MemoryStamps } from './stamps.ts';

/** PFERR_GUEST_FINAL_MASK, bit 32. */
const GUEST_FINAL_HIGH = 1;
const MMIO_READ = 0x5a;
const MMIO_UNSATISFIED = 0;
const MMIO_DONE = 1;
const MMIO_WRITE = 2;

/** The memory operand of an instruction. */
export interface Operand {
  readonly vpn: number;
  readonly offset: number;
  /** ACCESS_*. */
  readonly flags: number;
  readonly bytes: number;
  /** What a plain store writes. */
  readonly store: Store | null;
  /** `lock inc`: loads, then exchanges. */
  readonly exchange: boolean;
}

/** Where an operand lies in the guest's memory. */
interface Place {
  readonly gfn: number;
  readonly offset: number;
  /** Known to be outside all slots. */
  readonly mmio: boolean;
}

/** A load outside all slots. */
interface Unread {
  readonly gfn: number;
  readonly offset: number;
  readonly bytes: number;
  /** What the instruction does with the answer, at what is the guest's CPL by then (0 or ACCESS_SUPERVISOR). */
  readonly rest: (cpl: number) => AccessOutcome;
}

const DONE: AccessOutcome = { kind: 'done', emulated: true };

/** The emulator of one vCPU. */
export class Emulator {
  readonly #core: Core;
  readonly #vcpu: Vcpu;
  /** Offset in its page of the access that runs, for events that only know the page. */
  offset = 0;
  /** Instruction pointer in the code page, and whether it runs at CPL 3. */
  rip = 0;
  user = false;
  /** Where an instruction was last tried again (vcpu->arch.last_retry_eip and _addr). */
  #lastRetry = '';
  /** A load outside all slots that the VMM has not answered yet. */
  #unread: Unread | null = null;
  /** What memory must hold, if somebody keeps a record. */
  stamps: MemoryStamps | null = null;
  /** Where the last load was made; null: outside all slots. */
  loadedAt: { readonly pfn: number; readonly offset: number } | null = null;

  constructor(core: Core, vcpu: Vcpu) {
    this.#core = core;
    this.#vcpu = vcpu;
  }

  /**
   * Emulates the instruction; null: it runs again on the processor. `refused`: it wrote to a page that is
   * write-protected; `reinjects`: in the delivery of an exception.
   */
  emulate(op: Operand, refused: boolean, reinjects: boolean): AccessOutcome | null {
    if ((op.flags & ACCESS_KIND_MASK) === ACCESS_FETCH) return this.#fetch(op);
    const gpa = this.#vcpu.kvm.tdp ? this.#exitGpa(op.offset) : null;
    const lastRetry = this.#lastRetry;
    const here = `${this.rip} ${gpa ?? `${op.vpn} ${op.offset}`}`;
    const plainStore = !op.exchange && isWrite(op);
    if (this.#vcpu.kvm.generation.retriesUnprotected) {
      const mayRetry = refused && here !== lastRetry;
      if (mayRetry) this.#lastRetry = '';
      if (mayRetry && reinjects && gpa === null && this.#unprotected(here, op, gpa)) return null;
      this.fetchInstruction();
      if (!plainStore && mayRetry && this.#unprotected(here, op, gpa)) return null;
    } else {
      this.fetchInstruction();
      if (!plainStore && !this.#mmioKnown(op, gpa) && here !== lastRetry) {
        this.#lastRetry = here;
        this.#unprotect(op, gpa);
        return null;
      }
    }
    if (op.exchange) return this.#exchange(op, gpa);
    return plainStore ? this.#store(op, gpa) : this.#load(op, gpa);
  }

  /** The gpa that the exit reports: of the operand, or of the guest table that the processor came to. */
  #exitGpa(offset: number): number {
    const { mem } = this.#core;
    const { ptr } = this.#vcpu;
    const gpa = mem.load64(ptr + VCPU_FAULT_GPA);
    const final = (mem.load32(ptr + VCPU_FAULT_CODE_HIGH) & GUEST_FINAL_HIGH) !== 0;
    // References are of whole pages: the offset is not in the exit.
    return final ? Math.floor(gpa / 4096) * 4096 + offset : gpa;
  }

  /** x86_decode_emulated_instruction: the instruction is fetched through the guest's tables, by the VMM's mapping. */
  fetchInstruction(vpn = CODE_GFN, offset = this.rip): void {
    const cpl = this.user ? 0 : ACCESS_SUPERVISOR;
    if (!this.#vcpu.kvm.generation.retriesUnprotected) this.#lastRetry = '';
    this.#fetchBytes(vpn, offset, ACCESS_FETCH | cpl);
    this.#emit(EVENT_EMULATE_INSN, 0, 0, 0, 0);
  }

  /**
   * The instruction itself lies where the processor can't reach: KVM fetches it, and runs it if the guest's tables lead into a
   * slot by now. What lies outside all slots can't be fetched.
   */
  #fetch(op: Operand): AccessOutcome {
    this.#lastRetry = '';
    const permitted = this.#fetchBytes(op.vpn, op.offset, op.flags);
    this.#emit(EVENT_EMULATE_INSN, 0, 0, 0, 0);
    return this.#fetched(permitted);
  }

  /** Walks to bytes of an instruction, and reads them if they are in a slot (loadedAt); false: the guest's tables forbid it. */
  #fetchBytes(vpn: number, offset: number, flags: number): boolean {
    const permitted = this.walk(vpn, offset, flags);
    const gfn = this.#core.mem.load32(this.#vcpu.ptr + VCPU_WALK_GFN);
    if (!permitted || !this.#read(gfn, offset)) this.loadedAt = null;
    return permitted;
  }

  #fetched(permitted: boolean): AccessOutcome {
    if (this.loadedAt !== null) return DONE;
    return permitted ? this.#unhandled() : this.#fault(0);
  }

  /** handle_emulation_failure. */
  #unhandled(): AccessOutcome {
    this.#emit(EVENT_EMULATE_INSN, 1, 0, 0, 0);
    return { kind: 'unhandled' };
  }

  /** An operand of an instruction that KVM runs, or the rest of its bytes. */
  operand(op: Operand): AccessOutcome {
    if ((op.flags & ACCESS_KIND_MASK) === ACCESS_FETCH) {
      return this.#fetched(this.#fetchBytes(op.vpn, op.offset, op.flags));
    }
    return isWrite(op) ? this.#store(op, null) : this.#load(op, null);
  }

  /** The emulator's own translation; false: the guest's tables forbid the access. */
  walk(vpn: number, offset: number, flags: number): boolean {
    const { x, mem } = this.#core;
    const { ptr, kvm, task } = this.#vcpu;
    mem.storeBig(ptr + VCPU_FAULT_GVA, BigInt(vpn) << 12n);
    mem.store32(ptr + VCPU_FAULT_FLAGS, flags);
    const was = this.offset;
    this.offset = offset;
    this.#emit(EVENT_GUEST_WALK, vpn, offset, pferrOf(flags), 0);
    let walk = x.guestWalk(ptr, flags);
    while (walk === WALK_NEED_PAGE) {
      const gfn = mem.load32(ptr + VCPU_WALK_NEED_GFN);
      const write = mem.load32(ptr + VCPU_WALK_NEED_WRITE) !== 0;
      const there = kvm.accessAsUser(task, gfn, write);
      walk = there ? x.guestWalk(ptr, flags) : x.guestWalkLost(ptr, flags);
    }
    this.offset = was;
    if (walk !== WALK_FAULT) return true;
    this.#emit(EVENT_GUEST_WALK_ERROR, mem.load32(ptr + VCPU_WALK_ERROR), 0, 0, 0);
    return false;
  }

  /** kvm_mmu_unprotect_page_virt: the fault hit the delivery of an exception, whose page is shadowed no
   *  more, lest it be a guest table that is written for ever. */
  unprotectVirtual(vpn: number, offset: number): void {
    const { x, mem } = this.#core;
    const { ptr } = this.#vcpu;
    const code = mem.load32(ptr + VCPU_FAULT_CODE);
    const flags = mem.load32(ptr + VCPU_FAULT_FLAGS);
    if (this.walk(vpn, offset, this.user ? 0 : ACCESS_SUPERVISOR)) {
      x.mmuUnprotectPage(mem.load32(ptr + VCPU_WALK_GFN));
    }
    mem.store32(ptr + VCPU_FAULT_CODE, code);
    mem.store32(ptr + VCPU_FAULT_FLAGS, flags);
  }

  /** mmio_info_in_cache: there is nothing to be gained by trying again. */
  #mmioKnown(op: Operand, gpa: number | null): boolean {
    const { mmio } = this.#vcpu;
    return gpa === null ? mmio.isGva(op.vpn) : mmio.isGfn(Math.floor(gpa / 4096));
  }

  /** kvm_mmu_unprotect_gfn_and_retry: where something was shadowed, the instruction runs again. */
  #unprotected(here: string, op: Operand, gpa: number | null): boolean {
    if (gpa !== null || !this.#unprotect(op, gpa)) return false;
    this.#lastRetry = here;
    return true;
  }

  /**
   * retry_instruction: an instruction that is not a usual one for writing page tables is not emulated at
   * first; its page is shadowed no more, and it runs again. Whether it was shadowed.
   */
  #unprotect(op: Operand, gpa: number | null): boolean {
    const { x, mem } = this.#core;
    let gfn = gpa === null ? 0 : Math.floor(gpa / 4096);
    if (gpa === null) {
      this.walk(op.vpn, op.offset, writing(op.flags));
      gfn = mem.load32(this.#vcpu.ptr + VCPU_WALK_GFN);
    }
    return x.mmuUnprotectPage(gfn) !== 0;
  }

  /**
   * emulator_read_write_onepage: the gpa of the exit serves if it can be the operand's, which it is not when
   * the processor stumbled over a guest table; else the guest's tables are walked (vcpu_mmio_gva_to_gpa).
   * Null: they forbid it.
   */
  #translate(op: Operand, flags: number, gpa: number | null): Place | null {
    const { offset } = op;
    if (gpa !== null && gpa % 4096 === offset) return this.#place(Math.floor(gpa / 4096), offset);
    const write = (flags & ACCESS_KIND_MASK) === ACCESS_WRITE;
    const user = (flags & ACCESS_SUPERVISOR) === 0;
    if (gpa === null && this.#vcpu.mmio.permits(op.vpn, write, user)) {
      return { gfn: this.#vcpu.mmio.last.gfn, offset, mmio: true };
    }
    if (!this.walk(op.vpn, offset, flags)) return null;
    return this.#place(this.#core.mem.load32(this.#vcpu.ptr + VCPU_WALK_GFN), offset);
  }

  /** vcpu_is_mmio_gpa. */
  #place(gfn: number, offset: number): Place {
    return { gfn, offset, mmio: this.#vcpu.mmio.isGfn(gfn) };
  }

  #load(op: Operand, gpa: number | null, rest: Unread['rest'] = () => DONE): AccessOutcome {
    const at = this.#translate(op, loading(op.flags), gpa);
    // A load that belongs to a read-modify-write is reported as the write that it is part of.
    if (at === null) return this.#fault(op.exchange ? PFERR_WRITE_MASK : 0);
    if (!at.mmio && this.#read(at.gfn, at.offset)) return DONE;
    this.loadedAt = null;
    this.#emit(EVENT_MMIO, at.gfn, at.offset, MMIO_UNSATISFIED, op.bytes);
    this.#unread = { gfn: at.gfn, offset: at.offset, bytes: op.bytes, rest };
    return { kind: 'mmio', gpa: at.gfn * 4096 + at.offset, value: MMIO_READ, write: false };
  }

  /** kvm_vcpu_read_guest: by the VMM's mapping; false: there is none. */
  #read(gfn: number, offset: number): boolean {
    const { kvm, task } = this.#vcpu;
    const { x } = this.#core;
    if (!kvm.accessAsUser(task, gfn, false)) return false;
    const pte = x.hpteGet(kvm.mm.id, x.gfnToHvn(gfn) >>> 0) >>> 0;
    this.loadedAt = { pfn: pte >>> HPTE_PFN_SHIFT, offset };
    return true;
  }

  /** complete_emulated_mmio: the VMM runs the vCPU again, which takes what it answered, and ends the instruction. */
  completeRead(cpl: number): AccessOutcome {
    const read = this.#unread;
    if (read === null) return DONE;
    this.#unread = null;
    this.#emit(EVENT_MMIO, read.gfn, read.offset, MMIO_DONE, read.bytes);
    return read.rest(cpl);
  }

  #store(op: Operand, gpa: number | null): AccessOutcome {
    const at = this.#translate(op, writing(op.flags), gpa);
    if (at === null) return this.#fault(0);
    if (!at.mmio && this.#write(op, at)) return DONE;
    this.#emit(EVENT_MMIO, at.gfn, at.offset, MMIO_WRITE, op.bytes);
    return { kind: 'mmio', gpa: at.gfn * 4096 + at.offset, value: 0, write: true };
  }

  /** The load, then emulator_cmpxchg_emulated. */
  #exchange(op: Operand, gpa: number | null): AccessOutcome {
    const store = (cpl: number, answer: number | null): AccessOutcome =>
      this.#compareAndStore(op, gpa, ACCESS_WRITE | cpl, answer);
    const loaded = this.#load(op, gpa, (cpl) => store(cpl, MMIO_READ));
    return loaded.kind === 'done' ? store(op.flags & ACCESS_SUPERVISOR, null) : loaded;
  }

  /**
   * It translates for itself. Where no slot is writable it stores; where one is, but the host gives no page for it, it fails;
   * and if memory does not hold what the VMM has answered (`answer`), the instruction runs again.
   */
  #compareAndStore(
    op: Operand,
    gpa: number | null,
    flags: number,
    answer: number | null,
  ): AccessOutcome {
    const { mem, x } = this.#core;
    const walked = this.walk(op.vpn, op.offset, flags);
    const gfn = mem.load32(this.#vcpu.ptr + VCPU_WALK_GFN);
    if (!walked || !this.#isWritable(gfn)) return this.#store(op, gpa);
    const { kvm, task } = this.#vcpu;
    if (!kvm.accessAsUser(task, gfn, true)) return this.#unhandled();
    const at = (x.guestPagePtrForWrite(gfn) >>> 0) + op.offset;
    if (answer !== null && mem.u8[at] !== answer) return { kind: 'again' };
    this.#write(op, { gfn, offset: op.offset, mmio: false });
    return DONE;
  }

  /** Whether a memslot lets the guest write a page (kvm_is_error_hva). */
  #isWritable(gfn: number): boolean {
    const { regions } = this.#vcpu.kvm;
    const slot = regions.find((r) => gfn >= r.gfn && gfn < r.gfn + r.npages);
    return slot !== undefined && ((slot.flags ?? 0) & KVM_MEM_READONLY) === 0;
  }

  /** kvm_vcpu_write_guest, and kvm_mmu_pte_write for who shadows the page; false: it can't be written. */
  #write(op: Operand, { gfn, offset }: Place): boolean {
    const { kvm, task } = this.#vcpu;
    const { x, mem } = this.#core;
    if (!this.#isWritable(gfn) || !kvm.accessAsUser(task, gfn, true)) return false;
    const at = (x.guestPagePtrForWrite(gfn) >>> 0) + offset;
    if (op.exchange) mem.u8[at] = ((mem.u8[at] as number) + 1) & 0xff;
    else if (op.store !== null) writeBytes(mem.u8, at, op.store);
    const pte = x.hpteGet(kvm.mm.id, x.gfnToHvn(gfn) >>> 0) >>> 0;
    this.stamps?.stored(pte >>> HPTE_PFN_SHIFT, offset, op.bytes);
    x.mmuPteWrite(this.#vcpu.ptr, gfn, offset, op.bytes);
    return true;
  }

  #fault(more: number): AccessOutcome {
    const code = this.#core.mem.load32(this.#vcpu.ptr + VCPU_WALK_ERROR);
    this.#vcpu.beginInject();
    return { kind: 'fault', code: code | more };
  }

  #emit(id: number, a: number, b: number, c: number, d: number): void {
    if (this.#core.tracing) this.#core.emit(id, a, b, c, d);
  }
}

function isWrite(op: Operand): boolean {
  return (op.flags & ACCESS_KIND_MASK) === ACCESS_WRITE;
}

function loading(flags: number): number {
  return flags & ~ACCESS_KIND_MASK;
}

function writing(flags: number): number {
  return (flags & ~ACCESS_KIND_MASK) | ACCESS_WRITE;
}

/** The page-fault error code that a software walk is made with. */
function pferrOf(flags: number): number {
  const kind = flags & ACCESS_KIND_MASK;
  let code = (flags & ACCESS_SUPERVISOR) === 0 ? PFERR_USER_MASK : 0;
  if (kind === ACCESS_WRITE) code |= PFERR_WRITE_MASK;
  if (kind === ACCESS_FETCH) code |= PFERR_FETCH_MASK;
  return code;
}

/** Writes the value of a store. */
export function writeBytes(u8: Uint8Array, at: number, store: Store): void {
  for (let i = 0; i < store.bytes; i++) {
    u8[at + i] = ((i < 4 ? store.lo : store.hi) >>> (8 * (i & 3))) & 0xff;
  }
}
