// The machine of a recording on the emulator: slots, guest tables and stub code as the recording
// driver sets them up, one vCPU, and the steps of the script.

import {
  ACCESS_FETCH,
  ACCESS_KIND_MASK,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  CR0_WP,
  EVENT_EMULATE_INSN,
  EVENT_GUEST_WALK,
  EVENT_GUEST_WALK_ERROR,
  EVENT_INJECT,
  EVENT_KVM_PAGE_FAULT,
  EVENT_MMIO,
  EVENT_VMEXIT,
  EXIT_DONE,
  EXIT_GUEST_FAULT,
  EXIT_NPF,
  EXIT_PAGE_FAULT,
  PFERR_FETCH_MASK,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  PFERR_USER_MASK,
  PFERR_WRITE_MASK,
  RET_PF_EMULATE,
  RET_PF_FIXED,
  RET_PF_SPURIOUS,
  VCPU_EXIT_REASON,
  VCPU_FAULT_CODE,
  VCPU_FAULT_CODE_HIGH,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GPA,
  VCPU_FAULT_GVA,
  VCPU_WALK_ERROR,
  VCPU_WALK_GFN,
  VMEXIT_CR0_SEL_WRITE,
  VMEXIT_INVLPG,
  VMEXIT_IO,
  VMEXIT_NPF,
  VMEXIT_PF_EXCP,
  VMEXIT_WRITE_CR0,
  VMEXIT_WRITE_CR3,
  VMEXIT_WRITE_CR4,
  WALK_FAULT,
} from '../../../assembly/abi.ts';
import { CoreBugError } from '../../core/errors.ts';
import type { Core } from '../../core/load.ts';
import { FAULT_INJECT, FAULT_MMIO, FAULT_READONLY, kvmPageFault } from '../../kvm/page-fault.ts';
import type { Vcpu } from '../../kvm/vcpu.ts';
import { runStraight } from '../../sched/task.ts';
import type { AccessOutcome, GuestPort, Store } from './guest.ts';
import { CODE_GFN, STUB } from './layout.ts';
import type { Pte } from './script.ts';

/** Faults in a row without progress that can only be a bug. */
const RETRY_LIMIT = 100;
const MMIO_READ = 0x5a;
/** CR0.TS and CR0.MP. */
const CR0_TS_MP = 0xa;

/** What the script's instructions do to the vCPU, exits and emulation included. */
export class RecordedVcpu implements GuestPort {
  readonly #core: Core;
  readonly #vcpu: Vcpu;
  readonly #npt: boolean;
  /** Address of one access record. */
  readonly #record: number;
  /** Offset in its page of the access that runs, for events that only know the page. */
  offset = 0;
  /** Instruction pointer in the code page. */
  #rip = 0;
  #user = false;
  /** Error code of the exception that is being delivered, null: none. */
  #pending: number | null = null;
  #reinject = false;
  readonly stats = {
    pf_taken: 0,
    pf_fixed: 0,
    pf_spurious: 0,
    pf_emulate: 0,
    pf_mmio_spte_created: 0,
  };
  #place = { pfn: 0, offset: 0 };
  #mmio = false;
  /** The instruction that runs is `lock inc`. */
  #locked = false;
  /** Where an instruction was last tried again (vcpu->arch.last_retry_eip and _addr). */
  #lastRetry = '';

  constructor(core: Core, vcpu: Vcpu, npt: boolean) {
    this.#core = core;
    this.#vcpu = vcpu;
    this.#npt = npt;
    this.#record = core.x.arenaAlloc(8) >>> 0;
    vcpu.ownEmulator = true;
  }

  access(
    vpn: number,
    offset: number,
    flags: number,
    bytes: number,
    store: Store | null,
  ): AccessOutcome {
    const fetch = (flags & ACCESS_KIND_MASK) === ACCESS_FETCH && vpn === CODE_GFN;
    if (fetch) {
      this.#rip = offset;
      this.#user = (flags & ACCESS_SUPERVISOR) === 0;
    }
    this.#mmio = false;
    this.offset = offset;
    for (let tries = 0; tries < RETRY_LIMIT; tries++) {
      const outcome = this.#once(vpn, offset, flags, bytes, store);
      if (outcome !== null) return outcome;
    }
    throw new CoreBugError(`the access to page ${vpn} makes no progress`);
  }

  /** A locked read-modify-write: the processor of the recordings loads, then stores, and starts over
   *  with the load after every exit. */
  readModifyWrite(vpn: number, offset: number, flags: number): AccessOutcome {
    this.#mmio = false;
    this.offset = offset;
    const read = flags & ~ACCESS_KIND_MASK;
    for (let tries = 0; tries < RETRY_LIMIT; tries++) {
      const loaded = this.#once(vpn, offset, read, 1, null);
      if (loaded === null) continue;
      if (loaded.kind !== 'done') return loaded;
      this.#locked = true;
      const stored = this.#once(vpn, offset, flags, 1, null);
      this.#locked = false;
      if (stored !== null) return stored;
    }
    throw new CoreBugError(`the access to page ${vpn} makes no progress`);
  }

  #once(
    vpn: number,
    offset: number,
    flags: number,
    bytes: number,
    store: Store | null,
  ): AccessOutcome | null {
    const { x, mem } = this.#core;
    const { ptr } = this.#vcpu;
    this.#enter();
    x.tlbFlushAll(ptr);
    mem.storeBig(this.#record, (BigInt(vpn) << 12n) | BigInt(flags));
    x.runBatch(ptr, this.#record, 1);
    const reason = mem.load32(ptr + VCPU_EXIT_REASON);
    if (reason === EXIT_DONE) {
      this.#place = { pfn: x.lastWalkPfn(ptr) >>> 0, offset };
      if (store !== null) this.#write(this.#place, store);
      return { kind: 'done' };
    }
    if (this.#pending !== null) this.#reinject = true;
    if (reason === EXIT_GUEST_FAULT) {
      // The recordings' processor, which is software, reports a reserved bit without P.
      const code = mem.load32(ptr + VCPU_WALK_ERROR);
      return { kind: 'fault', code: code & PFERR_RSVD_MASK ? code & ~PFERR_PRESENT_MASK : code };
    }
    if (reason === EXIT_PAGE_FAULT) {
      const code = mem.load32(ptr + VCPU_FAULT_CODE);
      this.#emit(EVENT_VMEXIT, VMEXIT_PF_EXCP, vpn, offset, code);
      this.#emit(EVENT_KVM_PAGE_FAULT, vpn, offset, code, 0);
      if (this.#pending !== null) this.#unprotectVirtual(vpn, offset);
    } else if (reason === EXIT_NPF) {
      this.#emitNpf();
    } else throw new CoreBugError(`an access of a recording ended with exit ${reason}`);
    const result = runStraight(this.#vcpu.task, (t, at) => kvmPageFault(t, at, this.#vcpu));
    this.#count(result);
    if (result < 0) return { kind: 'error', errno: errnoName(-result) };
    if (result === FAULT_INJECT) {
      const code = mem.load32(ptr + VCPU_WALK_ERROR);
      this.#vcpu.beginInject();
      return { kind: 'fault', code };
    }
    const mmio = result === FAULT_MMIO || result === FAULT_READONLY;
    if (mmio || result === RET_PF_EMULATE) {
      return this.#emulate(vpn, offset, flags, bytes, store, mmio);
    }
    return null;
  }

  /** kvm_mmu_do_page_fault's statistics; a fault on a known MMIO page never gets there. */
  #count(result: number): void {
    const { stats } = this;
    if (this.#vcpu.mmioKnown) return;
    stats.pf_taken++;
    if (result === RET_PF_FIXED) stats.pf_fixed++;
    if (result === FAULT_MMIO) stats.pf_mmio_spte_created++;
    if (result === RET_PF_SPURIOUS) stats.pf_spurious++;
    const emulated =
      result === RET_PF_EMULATE || result === FAULT_MMIO || result === FAULT_READONLY;
    if (emulated) stats.pf_emulate++;
  }

  #emitNpf(): void {
    const { mem } = this.#core;
    const { ptr } = this.#vcpu;
    const gpa = mem.load64(ptr + VCPU_FAULT_GPA);
    const code = mem.load32(ptr + VCPU_FAULT_CODE);
    const high = mem.load32(ptr + VCPU_FAULT_CODE_HIGH);
    const gfn = Math.floor(gpa / 4096);
    this.#emit(EVENT_VMEXIT, VMEXIT_NPF, gfn, high, code);
    this.#emit(EVENT_KVM_PAGE_FAULT, gfn, gpa % 4096, code, high);
  }

  /** x86_emulate_instruction: fetches the instruction through the guest's tables, then does it. */
  #emulate(
    vpn: number,
    offset: number,
    flags: number,
    bytes: number,
    store: Store | null,
    mmio: boolean,
  ): AccessOutcome | null {
    const { x, mem } = this.#core;
    const { ptr } = this.#vcpu;
    const lastRetry = this.#lastRetry;
    this.#fetchInstruction();
    const here = `${this.#rip} ${vpn} ${offset}`;
    if (this.#locked && here !== lastRetry) return this.#retry(here, vpn, offset, flags);
    if (this.#locked) this.#exchangeWalks(vpn, offset, flags);
    const cached = mmio && this.#mmioCached(vpn, flags);
    if (this.#npt) this.#nestedEmulation();
    else if (!cached && !this.#walk(vpn, offset, flags, pferrOf(flags))) {
      this.#vcpu.beginInject();
      return { kind: 'fault', code: mem.load32(ptr + VCPU_WALK_ERROR) };
    }
    if (cached) mem.store32(ptr + VCPU_WALK_GFN, this.#vcpu.mmioCache.gfn);
    const gfn = mem.load32(ptr + VCPU_WALK_GFN);
    if (mmio) {
      this.#mmio = true;
      const write = (flags & ACCESS_KIND_MASK) === ACCESS_WRITE;
      if (write) this.#emit(EVENT_MMIO, gfn, offset, 2, bytes);
      else {
        this.#emit(EVENT_MMIO, gfn, offset, 0, bytes);
        this.#emit(EVENT_MMIO, gfn, offset, 1, bytes);
      }
      return { kind: 'mmio', gpa: gfn * 4096 + offset, value: MMIO_READ, write };
    }
    const page = x.guestPagePtrForWrite(gfn) >>> 0;
    if (this.#locked) mem.u8[page + offset] = ((mem.u8[page + offset] as number) + 1) & 0xff;
    if (store !== null) writeBytes(mem.u8, page + offset, store);
    x.mmuPteWrite(gfn, offset >>> 3, bytes);
    return { kind: 'done', emulated: true };
  }

  /** kvm_mmu_unprotect_page_virt: the fault hit the delivery of an exception, whose page is shadowed no
   *  more, lest it be a guest table that is written for ever. */
  #unprotectVirtual(vpn: number, offset: number): void {
    const { x, mem } = this.#core;
    const { ptr } = this.#vcpu;
    const code = mem.load32(ptr + VCPU_FAULT_CODE);
    const flags = mem.load32(ptr + VCPU_FAULT_FLAGS);
    const read = this.#user ? 0 : ACCESS_SUPERVISOR;
    if (this.#walk(vpn, offset, read, pferrOf(read))) {
      x.mmuUnprotectPage(mem.load32(ptr + VCPU_WALK_GFN));
    }
    mem.store32(ptr + VCPU_FAULT_CODE, code);
    mem.store32(ptr + VCPU_FAULT_FLAGS, flags);
  }

  #mmioCached(vpn: number, flags: number): boolean {
    const write = (flags & ACCESS_KIND_MASK) === ACCESS_WRITE;
    return this.#vcpu.mmioCached(vpn, write, (flags & ACCESS_SUPERVISOR) === 0);
  }

  /**
   * retry_instruction: an instruction that is not a usual one for writing page tables is not emulated at
   * first; its page is shadowed no more, and it runs again.
   */
  #retry(here: string, vpn: number, offset: number, flags: number): null {
    const { x, mem } = this.#core;
    this.#lastRetry = here;
    if (this.#npt) this.#nestedEmulation();
    else this.#walk(vpn, offset, flags, pferrOf(flags));
    x.mmuUnprotectPage(mem.load32(this.#vcpu.ptr + VCPU_WALK_GFN));
    return null;
  }

  /** The translations of an emulated exchange: to load (known under TDP), and for the exchange. */
  #exchangeWalks(vpn: number, offset: number, flags: number): void {
    const read = flags & ~ACCESS_KIND_MASK;
    if (!this.#npt) this.#walk(vpn, offset, read, pferrOf(read));
    this.#walk(vpn, offset, flags, pferrOf(flags));
  }

  /** Under TDP the exit gives the gpa, and the emulator need not translate. */
  #nestedEmulation(): void {
    const { mem } = this.#core;
    const gpa = mem.load64(this.#vcpu.ptr + VCPU_FAULT_GPA);
    mem.store32(this.#vcpu.ptr + VCPU_WALK_GFN, Math.floor(gpa / 4096));
  }

  #fetchInstruction(): void {
    const cpl = this.#user ? 0 : ACCESS_SUPERVISOR;
    const flags = ACCESS_FETCH | cpl;
    this.#lastRetry = '';
    this.#walk(CODE_GFN, this.#rip, flags, pferrOf(flags));
    this.#emit(EVENT_EMULATE_INSN, 0, 0, 0, 0);
  }

  /** The emulator's own translation; false: the guest's tables forbid the access. */
  #walk(vpn: number, offset: number, flags: number, pferr: number): boolean {
    const { x, mem } = this.#core;
    const { ptr } = this.#vcpu;
    mem.storeBig(ptr + VCPU_FAULT_GVA, BigInt(vpn) << 12n);
    mem.store32(ptr + VCPU_FAULT_FLAGS, flags);
    const was = this.offset;
    this.offset = offset;
    this.#emit(EVENT_GUEST_WALK, vpn, offset, pferr, 0);
    const walk = x.guestWalk(ptr, flags);
    this.offset = was;
    if (walk !== WALK_FAULT) return true;
    this.#emit(EVENT_GUEST_WALK_ERROR, mem.load32(ptr + VCPU_WALK_ERROR), 0, 0, 0);
    return false;
  }

  mmioWrite(vpn: number, offset: number, flags: number, gpa: number, bytes: number): void {
    this.#walk(vpn, offset, flags, pferrOf(flags));
    const known = this.#npt || this.#mmioCached(vpn, flags);
    if (!known) this.#walk(vpn, offset, flags, pferrOf(flags));
    this.#emit(EVENT_MMIO, Math.floor(gpa / 4096), gpa % 4096, 2, bytes);
  }

  loaded(bytes: number): Pte {
    if (this.#mmio) return { lo: MMIO_READ, hi: 0 };
    const { x, mem } = this.#core;
    const at = (x.frameContentPtr(this.#place.pfn) >>> 0) + this.#place.offset;
    const byte = (i: number): number => mem.u8[at + i] as number;
    if (bytes === 1) return { lo: byte(0), hi: 0 };
    const word = (i: number): number =>
      (byte(i) | (byte(i + 1) << 8) | (byte(i + 2) << 16) | (byte(i + 3) << 24)) >>> 0;
    return { lo: word(0), hi: word(4) };
  }

  #write(place: { pfn: number; offset: number }, store: Store): void {
    const page = this.#core.x.frameContentForWrite(place.pfn) >>> 0;
    writeBytes(this.#core.mem.u8, page + place.offset, store);
  }

  delivering(code: number | null): void {
    this.#pending = code;
    this.#reinject = false;
  }

  /** Requests, the pending exception, then a root: the order of vcpu_enter_guest. */
  #enter(): void {
    const { roots } = this.#vcpu;
    roots.honour();
    if (this.#pending !== null && (this.#reinject || !this.#npt)) {
      const first = !this.#reinject && !this.#injected;
      if (first || this.#reinject) {
        this.#emit(EVENT_INJECT, 14, this.#pending, this.#reinject ? 1 : 0, 0);
        this.#injected = true;
      }
      this.#reinject = false;
    }
    if (this.#pending === null) this.#injected = false;
    roots.load(this.#vcpu.cr3);
    // What the load itself asked for comes before the guest runs.
    roots.honour();
  }

  #injected = false;

  cr3(gfn: number): AccessOutcome {
    if (this.#npt) {
      this.#vcpu.setGuestCr3(gfn);
      return { kind: 'done' };
    }
    this.#instruction(VMEXIT_WRITE_CR3, STUB.cr3);
    this.#vcpu.setCr3(gfn);
    return { kind: 'done' };
  }

  cr0(value: number): AccessOutcome {
    // Under shadow paging with CR0.WP=0 the real CR0 differs, so that every write exits; else only
    // one that changes a bit other than TS and MP does (svm_set_cr0).
    const was = this.#vcpu.cr0;
    const all = !this.#npt && (was & CR0_WP) === 0;
    if (!all && ((was ^ value) & ~CR0_TS_MP) === 0) return { kind: 'done' };
    this.#instruction(all ? VMEXIT_WRITE_CR0 : VMEXIT_CR0_SEL_WRITE, STUB.cr0);
    this.#vcpu.setRegisters({ cr0: value });
    return { kind: 'done' };
  }

  cr4(value: number): AccessOutcome {
    this.#instruction(VMEXIT_WRITE_CR4, STUB.cr4);
    this.#vcpu.setRegisters({ cr4: value });
    return { kind: 'done' };
  }

  invlpg(vpn: number): AccessOutcome {
    if (this.#npt) return { kind: 'done' };
    this.#instruction(VMEXIT_INVLPG, STUB.invlpg);
    this.offset = 0;
    this.#vcpu.invlpg(vpn);
    return { kind: 'done' };
  }

  #instruction(reason: number, rip: number): void {
    this.#rip = rip;
    this.#emit(EVENT_VMEXIT, reason, 0, 0, 0);
    this.#fetchInstruction();
  }

  ioExit(): void {
    this.#enter();
    this.#emit(EVENT_VMEXIT, VMEXIT_IO, 0, 0, 0);
  }

  #emit(id: number, a: number, b: number, c: number, d: number): void {
    if (this.#core.tracing) this.#core.emit(id, a, b, c, d);
  }
}

/** The page-fault error code that a software walk is made with. */
function pferrOf(flags: number): number {
  const kind = flags & ACCESS_KIND_MASK;
  let code = (flags & ACCESS_SUPERVISOR) === 0 ? PFERR_USER_MASK : 0;
  if (kind === ACCESS_WRITE) code |= PFERR_WRITE_MASK;
  if (kind === ACCESS_FETCH) code |= PFERR_FETCH_MASK;
  return code;
}

function writeBytes(u8: Uint8Array, at: number, store: Store): void {
  for (let i = 0; i < store.bytes; i++) {
    u8[at + i] = ((i < 4 ? store.lo : store.hi) >>> (8 * (i & 3))) & 0xff;
  }
}

/** Name of an errno. */
export function errnoName(errno: number): string {
  const names: Record<number, string> = {
    2: 'ENOENT',
    5: 'EIO',
    11: 'EAGAIN',
    12: 'ENOMEM',
    13: 'EACCES',
    14: 'EFAULT',
    16: 'EBUSY',
    22: 'EINVAL',
  };
  return names[errno] ?? `E${errno}`;
}
