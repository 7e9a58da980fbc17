// The machine of a recording on the emulator: slots, guest tables and stub code as the recording
// driver sets them up, one vCPU, and the steps of the script.

import {
  ACCESS_FETCH,
  ACCESS_IMPLICIT,
  ACCESS_KIND_MASK,
  ACCESS_SUPERVISOR,
  CR0_WP,
  EVENT_INJECT,
  EVENT_KVM_PAGE_FAULT,
  EVENT_VMEXIT,
  EXIT_DONE,
  EXIT_GUEST_FAULT,
  EXIT_NPF,
  EXIT_PAGE_FAULT,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  PFERR_WRITE_MASK,
  RET_PF_EMULATE,
  RET_PF_FIXED,
  RET_PF_SPURIOUS,
  VCPU_EXIT_REASON,
  VCPU_FAULT_CODE,
  VCPU_FAULT_CODE_HIGH,
  VCPU_FAULT_GPA,
  VCPU_WALK_ERROR,
  VMEXIT_CR0_SEL_WRITE,
  VMEXIT_INVLPG,
  VMEXIT_IO,
  VMEXIT_NPF,
  VMEXIT_PF_EXCP,
  VMEXIT_UD_EXCP,
  VMEXIT_WRITE_CR0,
  VMEXIT_WRITE_CR3,
  VMEXIT_WRITE_CR4,
} from '../../../assembly/abi.ts';
import { CoreBugError } from '../../core/errors.ts';
import type { Core } from '../../core/load.ts';
import { FAULT_INJECT, FAULT_MMIO, FAULT_READONLY, kvmPageFault } from '../../kvm/page-fault.ts';
import { loadCr0, loadCr4 } from '../../kvm/registers.ts';
import type { Vcpu } from '../../kvm/vcpu.ts';
import { runStraight } from '../../sched/task.ts';
import type { AccessOutcome, Exception, GuestPort, Store } from './guest-port.ts';
import { Emulator, type Operand, writeBytes } from './emulator.ts';
import { CODE_GFN, STUB } from './layout.ts';
import type { MemoryStamps } from './stamps.ts';
import { PF_VECTOR } from './tracepoint-words.ts';

/** Faults in a row without progress that can only be a bug. */
const RETRY_LIMIT = 100;
/** CR0.TS and CR0.MP. */
const CR0_TS_MP = 0xa;

/** What the script's instructions do to the vCPU, exits and emulation included. */
export class RecordedVcpu implements GuestPort {
  readonly #core: Core;
  readonly #vcpu: Vcpu;
  readonly #npt: boolean;
  /** Address of one access record. */
  readonly #record: number;
  readonly #emulator: Emulator;
  /** The exception that is being delivered, null: none. */
  #pending: Exception | null = null;
  #reinject = false;
  /** The exception was found by KVM's emulator, not by the processor. */
  #byKvm = false;
  readonly stats = {
    pf_taken: 0,
    pf_fixed: 0,
    pf_spurious: 0,
    pf_emulate: 0,
    pf_mmio_spte_created: 0,
    /** Faults that came to writing an spte: pf_fixed until 5.13. */
    pf_mapped: 0,
  };
  /** The fetch of the instruction that runs. */
  #fetched: Operand | null = null;
  /** Where the last access led; null: outside all slots. */
  #place: { readonly pfn: number; readonly offset: number } | null = null;

  constructor(core: Core, vcpu: Vcpu, npt: boolean) {
    this.#core = core;
    this.#vcpu = vcpu;
    this.#npt = npt;
    this.#record = core.x.arenaAlloc(8) >>> 0;
    this.#emulator = new Emulator(core, vcpu);
    vcpu.ownEmulator = true;
  }

  /** Offset in its page of the access that runs, for events that only know the page. */
  get offset(): number {
    return this.#emulator.offset;
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
      this.#emulator.rip = offset;
      this.#emulator.user = (flags & ACCESS_SUPERVISOR) === 0;
    }
    const operand = { vpn, offset, flags, bytes, store, exchange: false };
    if ((flags & ACCESS_KIND_MASK) === ACCESS_FETCH) this.#fetched = operand;
    const implicit = (flags & ACCESS_IMPLICIT) !== 0;
    for (let tries = 0; tries < RETRY_LIMIT; tries++) {
      const outcome = this.#once(operand) ?? (implicit ? null : this.#fetchAgain(operand));
      if (outcome !== null) return outcome;
    }
    throw new CoreBugError(`the access to page ${vpn} makes no progress`);
  }

  /** An instruction that runs again is fetched again: a table that KVM gave up may be one of those above it. */
  #fetchAgain(operand: Operand): AccessOutcome | null {
    const fetch = this.#fetched;
    if (fetch === null || fetch === operand) return null;
    for (let tries = 0; tries < RETRY_LIMIT; tries++) {
      const outcome = this.#once(fetch);
      if (outcome !== null) return outcome.kind === 'done' ? null : outcome;
    }
    throw new CoreBugError(`the fetch from page ${fetch.vpn} makes no progress`);
  }

  operand(
    vpn: number,
    offset: number,
    flags: number,
    bytes: number,
    store: Store | null,
  ): AccessOutcome {
    const outcome = this.#emulator.operand({ vpn, offset, flags, bytes, store, exchange: false });
    this.#byKvm = true;
    this.#place = this.#emulator.loadedAt;
    return outcome;
  }

  /** A locked read-modify-write: the processor of the recordings loads, then stores, and starts over
   *  with the load after every exit. */
  readModifyWrite(vpn: number, offset: number, flags: number): AccessOutcome {
    const write = { vpn, offset, flags, bytes: 1, store: null, exchange: true };
    const read = { ...write, flags: flags & ~ACCESS_KIND_MASK };
    for (let tries = 0; tries < RETRY_LIMIT; tries++) {
      const loaded = this.#once(read) ?? this.#fetchAgain(read);
      if (loaded === null) continue;
      if (loaded.kind !== 'done' || loaded.emulated === true) return loaded;
      const stored = this.#once(write) ?? this.#fetchAgain(write);
      if (stored !== null) return stored;
    }
    throw new CoreBugError(`the access to page ${vpn} makes no progress`);
  }

  #once(operand: Operand): AccessOutcome | null {
    const { vpn, offset, flags, store } = operand;
    this.#emulator.offset = offset;
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
      this.#byKvm = false;
      // The recordings' processor, which is software, reports a reserved bit without P.
      const code = mem.load32(ptr + VCPU_WALK_ERROR);
      return { kind: 'fault', code: code & PFERR_RSVD_MASK ? code & ~PFERR_PRESENT_MASK : code };
    }
    if (reason === EXIT_PAGE_FAULT) {
      const code = mem.load32(ptr + VCPU_FAULT_CODE);
      this.#emit(EVENT_VMEXIT, VMEXIT_PF_EXCP, vpn, offset, code);
      this.#emit(EVENT_KVM_PAGE_FAULT, vpn, offset, code, 0);
      const unprotects = !this.#vcpu.kvm.generation.retriesUnprotected;
      if (this.#pending !== null && unprotects) this.#emulator.unprotectVirtual(vpn, offset);
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
    if (result !== FAULT_MMIO && result !== FAULT_READONLY && result !== RET_PF_EMULATE)
      return null;
    const refused = result === RET_PF_EMULATE;
    const outcome = this.#emulator.emulate(operand, refused, this.#pending !== null);
    this.#byKvm = true;
    this.#place = this.#emulator.loadedAt;
    return outcome;
  }

  /** kvm_mmu_do_page_fault's statistics; a fault on a known MMIO page never gets there. */
  #count(result: number): void {
    const { stats } = this;
    if (this.#vcpu.mmio.known) return;
    stats.pf_taken++;
    if (this.#mapped(result)) stats.pf_mapped++;
    if (result === RET_PF_FIXED) stats.pf_fixed++;
    if (result === FAULT_MMIO) stats.pf_mmio_spte_created++;
    if (result === RET_PF_SPURIOUS) stats.pf_spurious++;
    const emulated =
      result === RET_PF_EMULATE || result === FAULT_MMIO || result === FAULT_READONLY;
    if (emulated) stats.pf_emulate++;
  }

  /** Whether a fault got as far as the spte; emulation may come before that (page_fault_handle_page_track()). */
  #mapped(result: number): boolean {
    if (result === RET_PF_FIXED || result === FAULT_MMIO) return true;
    if (this.#npt) return result === RET_PF_SPURIOUS;
    const code = this.#core.mem.load32(this.#vcpu.ptr + VCPU_FAULT_CODE);
    const tracked = PFERR_PRESENT_MASK | PFERR_WRITE_MASK;
    return result === RET_PF_EMULATE && (code & tracked) !== tracked;
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

  /** Compares what the guest loads with what it must find. */
  watch(stamps: MemoryStamps): void {
    this.#emulator.stamps = stamps;
  }

  completeRead(cpl: number): AccessOutcome {
    return this.#emulator.completeRead(cpl);
  }

  loaded(bytes: number): bigint {
    const place = this.#place;
    if (place === null) throw new CoreBugError('what was read is not in memory');
    this.#emulator.stamps?.loaded(place.pfn, place.offset, bytes);
    const { x, mem } = this.#core;
    const at = (x.frameContentPtr(place.pfn) >>> 0) + place.offset;
    let value = 0n;
    for (let i = 0; i < bytes; i++) value |= BigInt(mem.u8[at + i] as number) << BigInt(8 * i);
    return value;
  }

  page(): Uint8Array {
    const place = this.#place;
    if (place === null) throw new CoreBugError('what was fetched is not in memory');
    this.#emulator.stamps?.fetched(place.pfn);
    const { x, mem } = this.#core;
    const at = x.frameContentPtr(place.pfn) >>> 0;
    return mem.u8.subarray(at, at + 4096);
  }

  #write(place: { pfn: number; offset: number }, store: Store): void {
    const page = this.#core.x.frameContentForWrite(place.pfn) >>> 0;
    writeBytes(this.#core.mem.u8, page + place.offset, store);
    this.#emulator.stamps?.stored(place.pfn, place.offset, store.bytes);
  }

  /** ud_interception(): KVM fetches it too, and knows it no better. */
  undefinedOpcode(vpn: number, offset: number): void {
    this.#emit(EVENT_VMEXIT, VMEXIT_UD_EXCP, 0, 0, 0);
    this.#emulator.fetchInstruction(vpn, offset);
  }

  delivering(exception: Exception | null): void {
    if (exception?.byKvm !== undefined) this.#byKvm = exception.byKvm;
    this.#pending = exception;
    this.#reinject = false;
  }

  /** Requests, the pending exception, then a root: the order of vcpu_enter_guest. */
  #enter(): void {
    const { roots } = this.#vcpu;
    roots.honour();
    const intercepted = !this.#npt && this.#pending?.vector === PF_VECTOR;
    if (this.#pending !== null && (this.#reinject || intercepted || this.#byKvm)) {
      const first = !this.#reinject && !this.#injected;
      if (first || this.#reinject) {
        const { vector, code } = this.#pending;
        this.#emit(EVENT_INJECT, vector, code ?? 0, this.#reinject ? 1 : 0, 0);
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
    loadCr0(this.#vcpu, value);
    return { kind: 'done' };
  }

  cr4(value: number): AccessOutcome {
    this.#instruction(VMEXIT_WRITE_CR4, STUB.cr4);
    loadCr4(this.#vcpu, value);
    return { kind: 'done' };
  }

  invlpg(vpn: number): AccessOutcome {
    if (this.#npt) return { kind: 'done' };
    this.#instruction(VMEXIT_INVLPG, STUB.invlpg);
    this.#emulator.offset = 0;
    this.#vcpu.invlpg(vpn);
    return { kind: 'done' };
  }

  #instruction(reason: number, rip: number): void {
    this.#emulator.rip = rip;
    this.#emit(EVENT_VMEXIT, reason, 0, 0, 0);
    this.#emulator.fetchInstruction();
  }

  ioExit(): void {
    this.#enter();
    this.#emit(EVENT_VMEXIT, VMEXIT_IO, 0, 0, 0);
  }

  #emit(id: number, a: number, b: number, c: number, d: number): void {
    if (this.#core.tracing) this.#core.emit(id, a, b, c, d);
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
