// A vCPU: runs batches of guest accesses, handles their vmexits, and gives the guest kernel the
// instructions that it needs (cf. struct kvm_vcpu, vcpu_enter_guest, handle_exception_nmi).

import {
  EVENT_FLUSH_TLB_GVA,
  EVENT_GUEST_WALK,
  EVENT_INJECT,
  EVENT_KVM_PAGE_FAULT,
  EVENT_MMU_INVALIDATE_GVA,
  EVENT_VMEXIT,
  EXIT_CONTROL,
  EXIT_DONE,
  EXIT_GUEST_FAULT,
  EXIT_NONCANONICAL,
  EXIT_PAGE_FAULT,
  EXIT_VERIFY,
  FAULTS_MAX,
  HPTE_PRESENT,
  HPTE_WRITE,
  KVM_FEATURE_INVALIDATE_ON_INJECT,
  NO_GFN,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  REQ_TLB_FLUSH_GUEST,
  RET_PF_CONTINUE,
  RET_PF_EMULATE,
  VCPU_CR0,
  VCPU_CR2,
  VCPU_CR3,
  VCPU_CR4,
  VCPU_EFER,
  VCPU_EXIT_REASON,
  VCPU_FAULT_CODE,
  VCPU_FAULT_GVA,
  VCPU_FAULT_RESULT,
  VCPU_FAULTS_LEFT,
  VCPU_FAULTS_SERVED,
  VCPU_FAULT_WALKED,
  VCPU_PKRU,
  VCPU_RFLAGS,
  VCPU_ROOT,
  VCPU_WALK_ERROR,
  VCPU_WALK_GFN,
  VCPU_WALK_NEED_GFN,
  VCPU_WALK_RESULT,
  VMEXIT_NPF,
  VMEXIT_PF_EXCP,
  WALK_NEED_PAGE,
  EXIT_NPF,
} from '../../assembly/abi.ts';
import { CoreBugError, ERRNO } from '../core/errors.ts';
import { runStraight, Task } from '../sched/task.ts';
import type { CounterName } from '../stats/counters.ts';
import { COUNTER_SLOTS } from '../stats/stats.ts';
import type { MutableVmExit, VmExit, VmExitKind } from './exit.ts';
import type { Kvm } from './kvm.ts';
import { MmioCache } from './mmio-cache.ts';
import {
  FAULT_INJECT,
  FAULT_MMIO,
  FAULT_NONCANONICAL,
  FAULT_READONLY,
  kvmPageFault,
} from './page-fault.ts';
import { canonicalVpn, loadCr0, loadCr4, loadEfer } from './registers.ts';
import { Roots } from './roots.ts';

/** Registers that the guest can change between accesses. */
export interface VcpuRegisters {
  readonly cr0?: number;
  readonly cr4?: number;
  readonly efer?: number;
  readonly pkru?: number;
  readonly rflags?: number;
}

/** One virtual CPU. */
export class Vcpu {
  readonly id: number;
  readonly kvm: Kvm;
  /** Byte address of its struct (VCPU_*). */
  readonly ptr: number;
  readonly task: Task;
  readonly roots: Roots;
  /** TLB space of the current cr3: its PCID. */
  space = 0;
  /** The caller emulates instructions itself, and translates their operands when it does. */
  ownEmulator = false;
  /** Runs batches with version stamps checked. */
  verify = false;
  /** The last access outside all slots. */
  readonly mmio: MmioCache;
  readonly stateFields = ['space'] as const;
  readonly #exit: MutableVmExit = {
    kind: 'done',
    consumed: 0,
    gvaLo: 0,
    gvaHi: 0,
    code: 0,
    gfn: 0,
  };
  readonly #fault = (t: Task, at: number): boolean => kvmPageFault(t, at, this);

  constructor(kvm: Kvm, id: number) {
    this.kvm = kvm;
    this.id = id;
    this.ptr = kvm.core.x.vcpuPtr(id) >>> 0;
    this.task = new Task(id);
    this.roots = new Roots(kvm, this.ptr);
    this.mmio = new MmioCache(this);
  }

  /** gfn of the current top-level guest table. */
  get cr3(): number {
    const { mem } = this.kvm.core;
    return Math.floor(mem.load64(this.ptr + VCPU_CR3) / 4096);
  }

  /** Runs `count` access records at `records` until the batch ends or the host or guest must act. The
   *  returned object is reused by the next call. */
  run(records: number, count: number): VmExit {
    const { mem } = this.kvm.core;
    const end = records + count * 8;
    let at = records;
    let stuck = 0;
    let evictions = 0;
    for (;;) {
      this.roots.honour();
      if (this.roots.current.sp === 0) this.roots.load(this.cr3);
      this.kvm.straight.refresh();
      mem.store32(this.ptr + VCPU_FAULTS_LEFT, FAULTS_MAX - stuck);
      mem.store32(this.ptr + VCPU_FAULTS_SERVED, 0);
      const ran = this.#batch(at, (end - at) / 8);
      at += ran * 8;
      const before = stuck;
      stuck = (ran === 0 ? stuck + 1 : 0) + mem.load32(this.ptr + VCPU_FAULTS_SERVED);
      const half = FAULTS_MAX >> 1;
      if (before < half && stuck >= half) evictions = this.#counter('evictions');
      if (stuck > FAULTS_MAX) {
        if (this.#counter('evictions') === evictions) {
          throw new CoreBugError(`vCPU ${this.id} makes no progress`);
        }
        // Reclaim takes the pages of this one access as fast as they come back: a livelock that only
        // more memory ends.
        return this.#leave('memory_fault', (at - records) / 8, ERRNO.ENOMEM, NO_GFN);
      }
      const consumed = (at - records) / 8;
      const reason = mem.load32(this.ptr + VCPU_EXIT_REASON);
      if (reason === EXIT_PAGE_FAULT || reason === EXIT_NPF) {
        const result = this.#pageFault();
        if (result === RET_PF_EMULATE) {
          this.#emulate();
          at += 8;
        } else if (result < 0) {
          return this.#leave('memory_fault', consumed, -result, this.#missingGfn());
        } else if (result === FAULT_MMIO || result === FAULT_READONLY) {
          const gfn = mem.load32(this.ptr + VCPU_WALK_GFN);
          return this.#leave('mmio', consumed, 0, gfn);
        } else if (result === FAULT_INJECT) return this.#inject(consumed);
        else if (result === FAULT_NONCANONICAL) return this.#leave('noncanonical', consumed, 0);
        if (at === end) return this.#leave('done', count, 0);
      } else if (reason === EXIT_DONE) return this.#leave('done', count, 0);
      else if (reason === EXIT_CONTROL) return this.#leave('control', consumed, 0);
      else if (reason === EXIT_VERIFY) return this.#leave('verify', consumed, 0);
      else if (reason === EXIT_NONCANONICAL) return this.#leave('noncanonical', consumed, 0);
      else if (reason === EXIT_GUEST_FAULT) return this.#deliver(consumed);
      else throw new CoreBugError(`run() came back with reason ${reason}`);
    }
  }

  #counter(name: CounterName): number {
    const { x, mem } = this.kvm.core;
    return mem.load64((x.statsPtr() >>> 0) + COUNTER_SLOTS[name] * 8);
  }

  #batch(at: number, count: number): number {
    const { x } = this.kvm.core;
    if (!this.verify) return x.runBatch(this.ptr, at, count);
    return x.runBatchVerified(this.ptr, at, count, this.kvm.verifySpaceOf(this.id));
  }

  #pageFault(): number {
    const { core } = this.kvm;
    const reached = core.mem.load32(this.ptr + VCPU_FAULT_RESULT);
    if (reached !== RET_PF_CONTINUE) {
      core.mem.store32(this.ptr + VCPU_FAULT_RESULT, RET_PF_CONTINUE);
      core.mem.store32(this.ptr + VCPU_FAULT_WALKED, 0);
      return reached;
    }
    if (core.tracing) this.#traceFault();
    core.bump(COUNTER_SLOTS.shadow_page_faults);
    return runStraight(this.task, this.#fault);
  }

  #traceFault(): void {
    const { core } = this.kvm;
    const { tdp } = this.kvm;
    const code = core.mem.load32(this.ptr + VCPU_FAULT_CODE);
    const page = tdp ? core.mem.load32(this.ptr + VCPU_WALK_GFN) : this.faultPage;
    core.emit(EVENT_VMEXIT, tdp ? VMEXIT_NPF : VMEXIT_PF_EXCP, page, 0, code);
    core.emit(EVENT_KVM_PAGE_FAULT, page, 0, code, 0);
  }

  /** Page number of the faulting gva, bits 31:0. */
  get faultPage(): number {
    const { mem } = this.kvm.core;
    const lo = mem.load32(this.ptr + VCPU_FAULT_GVA);
    const hi = mem.load32(this.ptr + VCPU_FAULT_GVA + 4);
    return ((hi << 20) | (lo >>> 12)) >>> 0;
  }

  /** The software walk that a fault begins with. */
  traceWalk(): void {
    const { core, tdp } = this.kvm;
    if (!core.tracing || tdp) return;
    const code = core.mem.load32(this.ptr + VCPU_FAULT_CODE) & ~PFERR_RSVD_MASK;
    core.emit(EVENT_GUEST_WALK, this.faultPage, 0, code, 0);
  }

  /** The emulated write completes the record: its value does not matter to the MMU, but a shadowed
   *  table that it hits does, and the page is dirty for the host and the dirty log. */
  #emulate(): void {
    const { x, mem } = this.kvm.core;
    const gfn = mem.load32(this.ptr + VCPU_WALK_GFN);
    const hvn = x.gfnToHvn(gfn) >>> 0;
    const writable = HPTE_PRESENT | HPTE_WRITE;
    if ((x.hpteGet(this.kvm.mm.id, hvn) & writable) !== writable) {
      this.kvm.faultIn(this.task, gfn, true);
    }
    x.guestPageWritten(gfn);
    if (x.gfnShadowed(gfn) !== 0) this.#shadowedWrite(gfn, 0);
    x.lockstepTouch(gfn, 1);
    x.statBump(COUNTER_SLOTS.accesses, 1);
    x.statBump(COUNTER_SLOTS.writes, 1);
    x.statBump(COUNTER_SLOTS.tlb_misses, 1);
  }

  /** kvm_inject_emulated_page_fault: a translation that the guest must not use any more goes. */
  beginInject(): void {
    const { core, generation } = this.kvm;
    const code = core.mem.load32(this.ptr + VCPU_WALK_ERROR);
    const present = (code & PFERR_PRESENT_MASK) !== 0 && (code & PFERR_RSVD_MASK) === 0;
    if (present && (generation.features & KVM_FEATURE_INVALIDATE_ON_INJECT) !== 0) {
      this.flushGva(this.space);
      core.x.invalidateGva(this.ptr, core.mem.load32(this.ptr + VCPU_ROOT));
    }
  }

  /** KVM injects the #PF that its walk of the guest's tables came to. */
  #inject(consumed: number): VmExit {
    this.beginInject();
    const { core } = this.kvm;
    const code = core.mem.load32(this.ptr + VCPU_WALK_ERROR);
    if (core.tracing) core.emit(EVENT_INJECT, 14, code, 0, 0);
    return this.#deliver(consumed);
  }

  /** A #PF reaches the guest: injected, or under two-dimensional paging without KVM. */
  #deliver(consumed: number): VmExit {
    const { core } = this.kvm;
    const { mem } = core;
    const code = mem.load32(this.ptr + VCPU_WALK_ERROR);
    for (let i = 0; i < 8; i += 4) {
      mem.store32(this.ptr + VCPU_CR2 + i, mem.load32(this.ptr + VCPU_FAULT_GVA + i));
    }
    core.bump(COUNTER_SLOTS.guest_page_faults);
    return this.#leave('guest_page_fault', consumed, code);
  }

  /** kvm_mmu_invalidate_gva's flush: drops the TLB's translations of the gva in VCPU_FAULT_GVA, in a
   *  space and global ones. */
  flushGva(space: number): void {
    if (this.mmio.last.gva === this.faultPage) this.mmio.forget();
    const { x, mem, tracing, emit } = this.kvm.core;
    if (tracing) {
      emit(EVENT_MMU_INVALIDATE_GVA, this.faultPage, 0, 0, 0);
      emit(EVENT_FLUSH_TLB_GVA, this.faultPage, 0, 0, 0);
    }
    const hi = mem.load32(this.ptr + VCPU_FAULT_GVA + 4);
    x.tlbFlushPage(this.ptr, space, this.faultPage, hi >>> 12);
  }

  /** gfn of the page that a fault could not have: the access's own, or that of a table of its walk. */
  #missingGfn(): number {
    const { mem } = this.kvm.core;
    const walked = this.kvm.tdp || mem.load32(this.ptr + VCPU_WALK_RESULT) !== WALK_NEED_PAGE;
    return mem.load32(this.ptr + (walked ? VCPU_WALK_GFN : VCPU_WALK_NEED_GFN));
  }

  #leave(kind: VmExitKind, consumed: number, code: number, gfn = 0): VmExit {
    const { mem } = this.kvm.core;
    const exit = this.#exit;
    exit.kind = kind;
    exit.consumed = consumed;
    exit.gvaLo = mem.load32(this.ptr + VCPU_FAULT_GVA);
    exit.gvaHi = mem.load32(this.ptr + VCPU_FAULT_GVA + 4);
    exit.code = code;
    exit.gfn = gfn;
    return exit;
  }

  /** MOV to CR3: `gfn` of the new top-level table. `noFlush` is bit 63 with CR4.PCIDE. */
  setCr3(gfn: number, pcid = 0, noFlush = false): void {
    this.kvm.core.bump(COUNTER_SLOTS.cr3_switches);
    if (this.kvm.tdp) return this.setGuestCr3(gfn, pcid, noFlush);
    this.countExit();
    this.#storeCr3(gfn, pcid);
    this.roots.switchTo(gfn, pcid, !noFlush);
  }

  /** Loads registers as KVM_SET_SREGS does: unchecked, and effective at the next access. */
  setRegisters(registers: VcpuRegisters): void {
    const { mem } = this.kvm.core;
    const paging = this.#pagingRegisters;
    if (registers.cr0 !== undefined) loadCr0(this, registers.cr0);
    if (registers.cr4 !== undefined) loadCr4(this, registers.cr4);
    if (registers.efer !== undefined) loadEfer(this, registers.efer);
    if (registers.pkru !== undefined) mem.store32(this.ptr + VCPU_PKRU, registers.pkru);
    if (registers.rflags !== undefined) mem.store32(this.ptr + VCPU_RFLAGS, registers.rflags);
    if (paging !== this.#pagingRegisters && this.kvm.generation.sregsFlush)
      this.roots.request(REQ_TLB_FLUSH_GUEST);
  }

  /** CR0, CR4 and EFER as text. */
  get #pagingRegisters(): string {
    const { mem } = this.kvm.core;
    return [VCPU_CR0, VCPU_CR4, VCPU_EFER].map((at) => mem.load32(this.ptr + at)).join(' ');
  }

  /** Value of CR0. */
  get cr0(): number {
    return this.kvm.core.mem.load32(this.ptr + VCPU_CR0);
  }

  /** MOV to CR3 without an exit, as under TDP. */
  setGuestCr3(gfn: number, pcid = 0, noFlush = false): void {
    this.#storeCr3(gfn, pcid);
    if (!noFlush) this.kvm.core.x.tlbFlushSpace(this.ptr, pcid);
  }

  /** The register, and the TLB space that its PCID names. */
  #storeCr3(gfn: number, pcid: number): void {
    const { x, mem } = this.kvm.core;
    mem.store32(this.ptr + VCPU_CR3, ((gfn << 12) | pcid) >>> 0);
    mem.store32(this.ptr + VCPU_CR3 + 4, Math.floor(gfn / 2 ** 20));
    this.space = pcid;
    x.tlbSelect(this.ptr, pcid);
  }

  /** INVLPG of the page `vpn` (gva >> 12, up to 52 bits); one that is not canonical does nothing. */
  invlpg(vpn: number): void {
    const { x, mem } = this.kvm.core;
    const { tdp } = this.kvm;
    if (!tdp) this.countExit();
    if (!canonicalVpn(this, vpn)) return;
    if (tdp) return void x.tlbFlushPage(this.ptr, this.space, vpn >>> 0, Math.floor(vpn / 2 ** 32));
    const gva = BigInt.asUintN(64, BigInt(vpn) << 12n);
    mem.storeBig(this.ptr + VCPU_FAULT_GVA, gva);
    this.flushGva(this.space);
    for (const table of this.roots.tables) x.invalidateGva(this.ptr, table);
  }

  /** Counts an instruction that exits. */
  countExit(): void {
    this.kvm.core.bump(COUNTER_SLOTS.vmexits);
  }

  /**
   * The guest kernel stores entry `index` of its table in `tableGfn`. A write-protected table exits
   * and is emulated; a leaf table goes unsync where the generation can do that.
   */
  writeGuestPte(tableGfn: number, index: number, lo: number, hi: number): void {
    const { x, mem } = this.kvm.core;
    const page = this.#tablePage(tableGfn, true);
    const trap = x.guestTableWrite(tableGfn);
    if (trap !== 0) this.countExit();
    mem.store32(page + index * 8, lo);
    mem.store32(page + index * 8 + 4, hi);
    x.guestPageWritten(tableGfn);
    if (trap === 1) this.#shadowedWrite(tableGfn, index);
  }

  /** KVM emulated a write to entry `index` of a shadowed table. */
  #shadowedWrite(gfn: number, index: number): void {
    const { x } = this.kvm.core;
    x.mmuPteWrite(this.ptr, gfn, index * 8, 8);
    x.updatePte(this.ptr, gfn, index);
  }

  /** Low word of a guest table entry, as the guest kernel reads it. */
  readGuestPteLo(tableGfn: number, index: number): number {
    return this.kvm.core.mem.load32(this.#tablePage(tableGfn, false) + index * 8);
  }

  /** High word of a guest table entry. */
  readGuestPteHi(tableGfn: number, index: number): number {
    return this.kvm.core.mem.load32(this.#tablePage(tableGfn, false) + index * 8 + 4);
  }

  /** Content of a guest page, faulted in by the host if need be. */
  #tablePage(gfn: number, write: boolean): number {
    const { x } = this.kvm.core;
    const find = (): number => (write ? x.guestPagePtrForWrite(gfn) : x.guestPagePtr(gfn)) >>> 0;
    const page = find();
    if (page !== 0) return page;
    this.kvm.faultIn(this.task, gfn, write);
    const found = find();
    if (found === 0) throw new CoreBugError(`guest page ${gfn} is absent after its fault`);
    return found;
  }
}
