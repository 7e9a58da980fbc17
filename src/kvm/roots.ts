// The roots of a vCPU: the current one and those it keeps for the address spaces that it ran last
// (cf. kvm_mmu_new_pgd, fast_pgd_switch, kvm_mmu_load, kvm_mmu_sync_roots, 6.1).

import {
  CR4_PCIDE,
  EVENT_FLUSH_ALL_TLB,
  EVENT_FLUSH_ASID_TLB,
  EVENT_FLUSH_CURRENT_TLB,
  EVENT_FREE_ROOTS,
  EVENT_LOAD_ROOT,
  EVENT_NEW_CR3,
  EVENT_SYNC_ROOTS,
  KVM_MMU_VALID_GEN,
  PT_PAGE_SIZE_BIT,
  PT_PRESENT_BIT,
  REQ_LOAD_MMU_PGD,
  REQ_MMU_FREE_OBSOLETE_ROOTS,
  REQ_MMU_SYNC,
  REQ_TLB_FLUSH,
  REQ_TLB_FLUSH_CURRENT,
  REQ_TLB_FLUSH_GUEST,
  ROLE_INVALID,
  ROLE_LEVEL_MASK,
  SP_ROLE,
  SP_UNSYNC,
  SP_UNSYNC_CHILDREN,
  SP_VALID_GEN,
  SP_WRITE_FLOODING,
  VCPU_CR4,
  VCPU_REQUESTS,
  VCPU_ROOT,
  VCPU_ROOT_LEVEL,
} from '../../assembly/abi.ts';
import type { Kvm } from './kvm.ts';

/** A root: the shadow page for a cr3 under a role. */
interface Root {
  /** gfn of the top-level guest table. */
  readonly cr3: number;
  /** PCID that it was loaded with: what is flushed for one is not flushed for another. */
  readonly pcid: number;
  readonly role: number;
  /** Shadow page, 0: none. */
  readonly sp: number;
}

const NO_ROOT: Root = { cr3: -1, pcid: 0, role: 0, sp: 0 };

/** The roots of one vCPU. */
export class Roots {
  readonly #kvm: Kvm;
  readonly #vcpu: number;
  current: Root = NO_ROOT;
  /** Most recently left first; replaced, never changed in place. */
  previous: readonly Root[];
  readonly stateFields = ['current', 'previous'] as const;

  constructor(kvm: Kvm, vcpu: number) {
    this.#kvm = kvm;
    this.#vcpu = vcpu;
    this.previous = Array.from({ length: kvm.generation.prevRoots }, () => NO_ROOT);
  }

  /** Tables of all cached roots, current first, for INVLPG. */
  get tables(): number[] {
    const { x } = this.#kvm.core;
    return [this.current, ...this.previous].filter((r) => r.sp !== 0).map((r) => x.spTable(r.sp));
  }

  /**
   * The guest loads cr3. `sync`: the load flushes the address space, so unsync tables must be
   * synced before the guest runs on.
   */
  switchTo(cr3: number, pcid: number, flush: boolean): void {
    const { core, generation } = this.#kvm;
    const { current } = this;
    if (current.cr3 !== cr3 || current.pcid !== pcid) {
      this.#emit(EVENT_NEW_CR3, cr3);
      this.#kvm.vcpuAt(this.#vcpu).mmio.forget();
      this.#rotate(cr3, pcid, core.x.rootRole(this.#vcpu) >>> 0);
      if (this.current.sp !== 0) {
        this.request(REQ_LOAD_MMU_PGD);
        core.mem.store32(this.current.sp + SP_WRITE_FLOODING, 0);
      } else if (!generation.flushesNewRoots) return;
    }
    if (flush) this.invalidatePcid(pcid);
  }

  /** kvm_mmu_reset_context: registers that the role depends on changed; no root can stay. */
  freeAll(): void {
    // Both MMUs of a vCPU are unloaded; the one for nested guests holds nothing.
    this.#emit(EVENT_FREE_ROOTS);
    if (!this.#kvm.tdp) this.#putAll([...this.previous, this.current]);
    else if (!this.#kvm.generation.keepsRoots) this.#kvm.core.x.tdpPutRoot();
    this.#emit(EVENT_FREE_ROOTS);
    this.current = { ...this.current, sp: 0 };
    this.previous = this.previous.map(() => NO_ROOT);
    this.#install(0);
  }

  /** kvm_mmu_destroy: the roots are freed at the vCPU's end, for both MMUs, and again with them. */
  destroy(): void {
    this.freeAll();
    this.#emit(EVENT_FREE_ROOTS);
    this.#emit(EVENT_FREE_ROOTS);
    if (this.#kvm.tdp) this.#kvm.core.x.tdpPutRoot();
  }

  /**
   * kvm_invalidate_pcid: the current root is synced if it has the PCID; cached ones with it are let
   * go, since loading a root syncs it. Without CR4.PCIDE every load of cr3 flushes, so they may stay.
   */
  invalidatePcid(pcid: number): void {
    const { mem } = this.#kvm.core;
    if (this.current.pcid === pcid) this.request(REQ_MMU_SYNC | REQ_TLB_FLUSH_CURRENT);
    if ((mem.load32(this.#vcpu + VCPU_CR4) & CR4_PCIDE) === 0) return;
    this.previous = this.previous.map((root) => {
      if (root.pcid !== pcid) return root;
      this.#put(root);
      return NO_ROOT;
    });
  }

  /**
   * KVM_REQ_TLB_FLUSH_GUEST: the guest flushed every translation it has. The current root is synced,
   * cached ones that are not in sync are let go.
   */
  flushGuest(): void {
    const { x, mem } = this.#kvm.core;
    if (this.#kvm.tdp) {
      this.#emit(EVENT_FLUSH_ASID_TLB);
      x.tlbFlushAll(this.#vcpu);
      return;
    }
    this.#sync();
    this.#emit(EVENT_FREE_ROOTS);
    this.previous = this.previous.map((root) => {
      if (root.sp === 0) return root;
      const unsync =
        mem.load32(root.sp + SP_UNSYNC) !== 0 || mem.load32(root.sp + SP_UNSYNC_CHILDREN) !== 0;
      if (!unsync) return root;
      this.#put(root);
      return NO_ROOT;
    });
    this.#emit(EVENT_FLUSH_ASID_TLB);
    x.tlbFlushAll(this.#vcpu);
  }

  /** svm_flush_tlb_asid. */
  flushAsid(): void {
    this.#emit(EVENT_FLUSH_ASID_TLB);
    this.#kvm.core.x.tlbFlushAll(this.#vcpu);
  }

  /** Address of the entry at which a walk of the current root to a page ends (not present, a leaf, or
   *  level 1); 0: there is no root. */
  leafAt(page: number): number {
    const { mem } = this.#kvm.core;
    let table = mem.load32(this.#vcpu + VCPU_ROOT);
    if (table === 0) return 0;
    for (let level = mem.load32(this.#vcpu + VCPU_ROOT_LEVEL); ; level--) {
      const at = table + (Math.floor(page / 512 ** (level - 1)) % 512) * 8;
      const lo = mem.load32(at);
      const present = (lo >>> PT_PRESENT_BIT) & 1;
      if (!present || level === 1 || (lo >>> PT_PAGE_SIZE_BIT) & 1) return at;
      table = (lo & ~0xfff) >>> 0;
    }
  }

  /** Tables of the cached roots, current first, that were loaded with a PCID. */
  tablesOf(pcid: number): number[] {
    const { x } = this.#kvm.core;
    return [this.current, ...this.previous]
      .filter((r) => r.sp !== 0 && r.pcid === pcid)
      .map((r) => x.spTable(r.sp));
  }

  /** Raises REQ_* for the next entry. */
  request(bits: number): void {
    const { mem } = this.#kvm.core;
    mem.store32(this.#vcpu + VCPU_REQUESTS, mem.load32(this.#vcpu + VCPU_REQUESTS) | bits);
  }

  /** What vcpu_enter_guest does before the guest runs: requests, then a root. */
  enter(cr3: number): void {
    this.honour();
    this.load(cr3);
    // What the load itself asked for (kvm_vcpu_exit_request).
    this.honour();
  }

  /** The requests of vcpu_enter_guest. */
  honour(): void {
    const requests = this.#kvm.core.mem.load32(this.#vcpu + VCPU_REQUESTS);
    if (requests !== 0) this.#honour(requests);
  }

  /** kvm_mmu_reload: makes a root if there is none. */
  load(cr3: number): void {
    if (this.current.sp === 0) this.#load(cr3);
  }

  #honour(requests: number): void {
    const { core } = this.#kvm;
    const { x, mem } = core;
    mem.store32(this.#vcpu + VCPU_REQUESTS, 0);
    if ((requests & REQ_MMU_FREE_OBSOLETE_ROOTS) !== 0) this.#freeObsolete();
    if ((requests & REQ_MMU_SYNC) !== 0) this.#sync();
    if ((requests & REQ_LOAD_MMU_PGD) !== 0 && this.current.sp !== 0) {
      if (core.tracing) core.emit(EVENT_LOAD_ROOT, this.#level(), 0, 0, 0);
      this.#install(this.current.sp);
    }
    // A full flush was done when it was asked for, and covers one of the current space.
    const late = mem.load32(this.#vcpu + VCPU_REQUESTS);
    mem.store32(this.#vcpu + VCPU_REQUESTS, late & ~(REQ_TLB_FLUSH | REQ_TLB_FLUSH_CURRENT));
    if (((requests | late) & REQ_TLB_FLUSH) !== 0) {
      this.#emit(EVENT_FLUSH_ALL_TLB);
      this.#emit(EVENT_FLUSH_ASID_TLB);
    } else if (((requests | late) & REQ_TLB_FLUSH_CURRENT) !== 0) {
      this.#emit(EVENT_FLUSH_CURRENT_TLB);
      this.#emit(EVENT_FLUSH_ASID_TLB);
      x.tlbFlushSpace(this.#vcpu, this.#kvm.vcpuAt(this.#vcpu).space);
    }
    if ((requests & REQ_TLB_FLUSH_GUEST) !== 0) this.flushGuest();
  }

  #sync(): void {
    const { core } = this.#kvm;
    if (core.tracing) core.emit(EVENT_SYNC_ROOTS, 0, 0, 0, 0);
    if (this.current.sp === 0 || this.#kvm.tdp) return;
    this.#kvm.vcpuAt(this.#vcpu).mmio.forget();
    core.x.syncRoot(this.#vcpu, this.current.sp);
  }

  /** kvm_mmu_load. */
  #load(cr3: number): void {
    const { core, tdp } = this.#kvm;
    const { x } = core;
    const role = x.rootRole(this.#vcpu) >>> 0;
    const sp = tdp ? x.tdpGetRoot(this.#vcpu) : x.getRoot(this.#vcpu, cr3);
    this.current = { ...this.current, cr3, role, sp: sp >>> 0 };
    this.#install(this.current.sp);
    this.#sync();
    if (core.tracing) {
      core.emit(EVENT_LOAD_ROOT, this.#level(), 0, 0, 0);
      core.emit(EVENT_FLUSH_CURRENT_TLB, 0, 0, 0, 0);
      core.emit(EVENT_FLUSH_ASID_TLB, 0, 0, 0, 0);
    }
    x.tlbFlushAll(this.#vcpu);
  }

  #freeObsolete(): void {
    if (!this.#kvm.generation.keepsRoots) {
      this.freeAll();
      return;
    }
    if (this.#kvm.tdp) {
      this.#emit(EVENT_FREE_ROOTS);
      this.current = { ...NO_ROOT, cr3: this.current.cr3 };
      this.#install(0);
      this.#kvm.core.x.tdpPutRoot();
      return;
    }
    const obsolete = [...this.previous, this.current].filter((root) => this.#isObsolete(root));
    if (obsolete.length === 0) return;
    this.#emit(EVENT_FREE_ROOTS);
    this.#putAll(obsolete);
    this.previous = this.previous.map((root) => (obsolete.includes(root) ? NO_ROOT : root));
    if (!obsolete.includes(this.current)) return;
    this.current = { ...this.current, sp: 0 };
    this.#install(0);
  }

  /** Brings the wanted root to the front; the one that falls off the end is let go. */
  #rotate(cr3: number, pcid: number, role: number): void {
    const left = this.current;
    const at = this.previous.findIndex(
      (r) => r.sp !== 0 && r.cr3 === cr3 && r.pcid === pcid && r.role === role,
    );
    const found = at >= 0 && !this.#isObsolete(this.previous[at] as Root);
    if (found) {
      this.current = this.previous[at] as Root;
      this.previous = [left, ...this.previous.slice(0, at), ...this.previous.slice(at + 1)];
      return;
    }
    const kept = [left, ...this.previous];
    const dropped = kept.pop() as Root;
    this.previous = kept;
    this.#emit(EVENT_FREE_ROOTS);
    this.#put(dropped);
    this.current = { ...NO_ROOT, cr3, pcid };
    this.#install(0);
  }

  #emit(id: number, a = 0): void {
    if (this.#kvm.core.tracing) this.#kvm.core.emit(id, a, 0, 0, 0);
  }

  /** kvm_mmu_free_roots: several roots, one flush. */
  #putAll(roots: readonly Root[]): void {
    const { x } = this.#kvm.core;
    for (const root of roots) if (root.sp !== 0) x.dropRoot(root.sp);
    x.commitZapPage();
  }

  #put(root: Root): void {
    if (root.sp !== 0) this.#kvm.core.x.putRoot(root.sp);
  }

  #install(sp: number): void {
    const { x, mem } = this.#kvm.core;
    mem.store32(this.#vcpu + VCPU_ROOT, sp === 0 ? 0 : x.spTable(sp));
    if (sp !== 0) mem.store32(this.#vcpu + VCPU_ROOT_LEVEL, this.#level());
  }

  #level(): number {
    return this.current.role & ROLE_LEVEL_MASK;
  }

  #isObsolete(root: Root): boolean {
    if (root.sp === 0) return false;
    const { mem } = this.#kvm.core;
    if ((mem.load32(root.sp + SP_ROLE) & ROLE_INVALID) !== 0) return true;
    return mem.load32(root.sp + SP_VALID_GEN) !== mem.load32(this.#kvm.ptr + KVM_MMU_VALID_GEN);
  }
}
