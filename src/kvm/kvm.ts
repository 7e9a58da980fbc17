// A VM: memslots, vCPUs and KVM's registration with the host mm (cf. struct kvm).

import {
  AGE_CLEAR,
  AGE_DROP,
  AGE_NONE,
  FOLL_UACCESS,
  FOLL_YOUNG,
  HPTE_PRESENT,
  HPTE_PROTNONE,
  HPTE_WRITE,
  HPTE_YOUNG,
  KVM_FEATURE_FLUSH_PAGES,
  EVENT_ZAP_ALL_FAST,
  KVM_FEATURE_PREFETCH,
  KVM_FEATURE_SLOT_PROTECTS,
  KVM_FEATURE_SPTE_PINS,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  KVM_MEMSLOT_GENERATION,
  REQ_MMU_FREE_OBSOLETE_ROOTS,
  SLOT_BASE_GFN,
  SLOT_DIRTY,
  SLOT_FLAGS,
  SLOT_NPAGES,
  TOUCH_FOLIO_REFERENCED,
  TOUCH_PTE_YOUNG,
  VCPU_TDP,
} from '../../assembly/abi.ts';
import { CoreBugError, ERRNO, KvmError } from '../core/errors.ts';
import type { Core } from '../core/load.ts';
import type { AgingPreset } from '../mm/aging.ts';
import { FOLL_TOUCH, FOLL_WRITE } from '../mm/gup.ts';
import type { MmHandle } from '../mm/mm.ts';
import type { MmuNotifierOps } from '../mm/mmu-notifier.ts';
import { Task } from '../sched/task.ts';
import { DEFAULT_TLB, type TlbGeometry } from '../units.ts';
import { type FaultProtocol, faultCheck, faultProtocolOf } from './fault-protocol.ts';
import { KVM_QUIRKS, kvmGeneration, type KvmGeneration } from './generation.ts';
import { kvmNotifier } from './notifier.ts';
import { StraightRuns } from './straight.ts';
import { Vcpu } from './vcpu.ts';

/** log2 of the hash chains for shadow pages (KVM_MMU_HASH_SHIFT). */
const MMU_HASH_SHIFT = 12;
/** log2 of the installations that `spte-lru` remembers. */
const SPTE_LRU_SHIFT = 20;

/** Options of a VM. */
export interface KvmOptions {
  readonly core: Core;
  /** Address space of the VMM that backs the guest. */
  readonly mm: MmHandle;
  readonly aging: AgingPreset;
  /** Name of a KVM_GENERATIONS entry; default `6.1`. */
  readonly generation?: string;
  /** How a fault notices an invalidation; default: as the aging protocol's hooks want it. */
  readonly protocol?: FaultProtocol;
  /** vCPUs; default 1. */
  readonly vcpus?: number;
  readonly tlb?: TlbGeometry;
  /**
   * What a notifier call flushes: `all` translations, as KVM on x86 does (default), or only those of
   * the `pages` that it changed, up to 33.
   */
  readonly flushScope?: 'all' | 'pages';
  /** Two-dimensional paging instead of shadow paging; default false. */
  readonly tdp?: boolean;
  /** False: the processor sets no A and D bits in the VM's tables (EPT before Haswell), so that sptes
   *  are access-tracked; default: as the aging protocol wants it. */
  readonly adBits?: boolean;
  /** False: no neighbours of a faulting page are mapped, whatever the generation does. */
  readonly prefetch?: boolean;
  /** False: every fault goes through kvmPageFault(); default: simple ones stay in the core. */
  readonly quickFaults?: boolean;
  /** Limit of shadow pages; default 0, none. */
  readonly maxShadowPages?: number;
  /** Whether the generation's deviations from the architecture are kept (KVM_QUIRKS). Default true. */
  readonly quirks?: boolean;
  /** log2 of the hash chains for shadow pages; default 12. */
  readonly hashShift?: number;
}

/** A memory slot as KVM_SET_USER_MEMORY_REGION takes it, in pages. */
export interface MemoryRegion {
  readonly slot: number;
  readonly gfn: number;
  /** 0 deletes the slot. */
  readonly npages: number;
  /** Host virtual page number of the backing. */
  readonly hvn: number;
  /** KVM_MEM_*. */
  readonly flags?: number;
}

/** One virtual machine. */
export class Kvm {
  readonly core: Core;
  readonly mm: MmHandle;
  readonly aging: AgingPreset;
  readonly generation: KvmGeneration;
  readonly protocol: FaultProtocol;
  /** FAULT_CHECK_* of the protocol. */
  readonly check: number;
  /** 1: the reference that a fault drops marks the page accessed. */
  readonly releaseMarks: number;
  /** What the core may do of straight runs. */
  readonly straight: StraightRuns;
  /** The VM's notifier, as it registers it. */
  readonly notifier: MmuNotifierOps;
  /** Byte address of the VM's words (KVM_*). */
  readonly ptr: number;
  readonly vcpus: readonly Vcpu[];
  /** AGE_*: what ageing a page does to its sptes. */
  readonly ageAction: number;
  /** TOUCH_*: how a lookup of a mapped page tells the mm that it is used. */
  readonly touch: number;
  /** FOLL_* that every lookup adds. */
  readonly gupTouch = FOLL_TOUCH;
  /** Address space of a vCPU's version stamps; set by the machine when it verifies. */
  verifySpaceOf: (vcpu: number) => number = () => 0;
  /** Two-dimensional paging. */
  readonly tdp: boolean;
  /** kvm_memslots()->generation: even, and another number after every change of a slot. */
  memslotGeneration = 0;
  /** Live slots by id; replaced, never changed in place. */
  regions: readonly MemoryRegion[] = [];
  /** A TLB flush was asked for and not waited for (a seeded bug). */
  lateFlush = false;
  readonly stateFields = ['regions', 'lateFlush', 'memslotGeneration'] as const;

  constructor(options: KvmOptions) {
    const { core, mm, aging } = options;
    this.core = core;
    this.tdp = options.tdp ?? false;
    this.mm = mm;
    this.aging = aging;
    this.generation = kvmGeneration(options.generation ?? '6.1');
    this.protocol = options.protocol ?? faultProtocolOf(aging.hooks, this.generation.rangedFaults);
    this.notifier = kvmNotifier(this);
    this.check = faultCheck(this.protocol);
    this.releaseMarks = this.generation.releaseMarksAccessed ? 1 : 0;
    this.ptr = core.x.kvmPtr() >>> 0;
    this.ageAction = ageAction(aging);
    this.touch = aging.touch === 'pte-young' ? TOUCH_PTE_YOUNG : TOUCH_FOLIO_REFERENCED;
    const pins = this.pinsPages ? KVM_FEATURE_SPTE_PINS : 0;
    const flush = options.flushScope === 'pages' ? KVM_FEATURE_FLUSH_PAGES : 0;
    const without =
      (options.prefetch === false ? KVM_FEATURE_PREFETCH : 0) |
      (options.quirks === false ? KVM_QUIRKS : 0);
    const features = (this.generation.features & ~without) | pins | flush;
    core.x.kvmInit(features, this.generation.tdpRules, options.maxShadowPages ?? 0);
    core.x.kvmSetAdDisabled((options.adBits ?? aging.kvm.mkold !== 'access-track') ? 0 : 1);
    this.straight = new StraightRuns(this, this.#initQuickFaults(options.quickFaults ?? true));
    const every = aging.kvm.shrinkEvery;
    if (every > 0) core.x.spteLruInit(SPTE_LRU_SHIFT, every);
    core.x.shadowPageInit(options.hashShift ?? MMU_HASH_SHIFT);
    const count = options.vcpus ?? 1;
    core.x.vcpuInit(count);
    const tlb = options.tlb ?? DEFAULT_TLB;
    this.vcpus = Array.from({ length: count }, (_, id) => {
      const vcpu = new Vcpu(this, id);
      core.mem.store32(vcpu.ptr + VCPU_TDP, this.tdp ? 1 : 0);
      core.x.tlbInit(vcpu.ptr, tlb.l1Sets, tlb.l1Ways, tlb.l2Sets, tlb.l2Ways);
      return vcpu;
    });
    if (aging.kvm.notifiers) mm.registerNotifier(this.notifier);
  }

  /** Simple faults stay in the core, with the pieces of which kvmPageFault() consists; whether they do. */
  #initQuickFaults(wanted: boolean): boolean {
    const { generation, protocol, mm } = this;
    const simple = protocol.retry !== 'seqlock' && protocol.bug === undefined;
    const touch = generation.gupFast ? this.touch : 0;
    const foll = this.gupTouch | (this.touch === TOUCH_PTE_YOUNG ? FOLL_YOUNG : 0);
    const on = wanted && simple;
    this.core.x.quickFaultInit(on ? 1 : 0, mm.id, touch, foll, this.check, this.releaseMarks);
    return on;
  }

  /** Everything of the VM that a snapshot must hold besides linear memory. */
  stateObjects(): object[] {
    return [this, ...this.vcpus.flatMap((vcpu) => [vcpu, vcpu.roots, vcpu.mmio])];
  }

  /** Faults take mmu_lock for reading. */
  get sharesLock(): boolean {
    return this.tdp && this.generation.parallelFaults;
  }

  /** Each spte holds a reference on its page. */
  get pinsPages(): boolean {
    if (this.tdp) return false;
    return this.aging.kvm.pinsPages || (this.generation.features & KVM_FEATURE_SPTE_PINS) !== 0;
  }

  /** kvm_flush_remote_tlbs, after sptes were cleared. */
  flushRemoteTlbs(): void {
    if (this.protocol.bug === 'flush-after-free') this.lateFlush = true;
    else this.core.x.flushTlbs();
  }

  /** The flush that was not waited for. */
  flushLate(): void {
    this.lateFlush = false;
    this.core.x.flushTlbs();
  }

  /** The vCPU whose struct lies at `ptr`. */
  vcpuAt(ptr: number): Vcpu {
    return this.vcpus.find((vcpu) => vcpu.ptr === ptr) as Vcpu;
  }

  /** KVM_SET_USER_MEMORY_REGION: creates, deletes or re-flags a slot. */
  setUserMemoryRegion(region: MemoryRegion): void {
    this.#changeSlot(region);
    if ((this.generation.features & KVM_FEATURE_SLOT_PROTECTS) === 0) return;
    this.#writeProtect(region.gfn, region.npages);
    this.core.x.flushTlbs();
  }

  #changeSlot(region: MemoryRegion): void {
    const { slot, gfn, npages, hvn } = region;
    const flags = region.flags ?? 0;
    const old = this.regions.find((r) => r.slot === slot);
    const others = this.regions.filter((r) => r.slot !== slot);
    if (npages === 0) {
      if (old === undefined) throw new KvmError('EINVAL', `memslot ${slot} does not exist`);
      this.#deleteSlot(old);
      this.regions = others;
      this.#newGeneration();
      return;
    }
    const clash = others.find((r) => gfn < r.gfn + r.npages && r.gfn < gfn + npages);
    if (clash !== undefined) {
      throw new KvmError('EEXIST', `memslot ${slot} overlaps memslot ${clash.slot}`);
    }
    const readonly = (region: MemoryRegion): number => (region.flags ?? 0) & KVM_MEM_READONLY;
    if (old !== undefined && old.npages === npages && old.gfn === gfn && old.hvn === hvn) {
      if (readonly(old) !== readonly(region)) {
        throw new KvmError('EINVAL', `memslot ${slot} can't become read-only or writable in place`);
      }
      if ((old.flags ?? 0) === flags) return;
      this.#changeFlags(region, old.flags ?? 0);
      this.regions = [...others, { slot, gfn, npages, hvn, flags }];
      this.#newGeneration();
      return;
    }
    if (old !== undefined && (old.npages !== npages || readonly(old) !== readonly(region))) {
      throw new KvmError('EINVAL', `memslot ${slot} can't change its size or KVM_MEM_READONLY`);
    }
    if (old !== undefined) this.#deleteSlot(old);
    this.core.x.memslotSet(slot, gfn, npages, hvn, this.mm.id, flags);
    this.regions = [...others, { slot, gfn, npages, hvn, flags }];
    this.#newGeneration();
  }

  /** The memslots changed: what MMIO sptes say is out of date. */
  #newGeneration(): void {
    this.memslotGeneration += 2;
    this.core.mem.store32(this.ptr + KVM_MEMSLOT_GENERATION, this.memslotGeneration);
  }

  /** A slot goes: since 4.x the whole VM's shadow pages do (kvm_arch_flush_shadow_memslot). */
  #deleteSlot(region: MemoryRegion): void {
    this.#newGeneration();
    if (this.tdp) this.#zapNested();
    else this.core.x.zapAllFast();
    this.core.x.memslotSet(region.slot, region.gfn, 0, region.hvn, this.mm.id, 0);
  }

  /** `spte-lru`: the host reclaimed `pages`; every so many of them cost the oldest spte its life. */
  shrink(pages: number): void {
    if (this.aging.kvm.shrinkEvery > 0) this.core.x.spteLruReclaimed(pages);
  }

  /** KVM_GET_DIRTY_LOG: the pages of a slot written since the last call, and protects them anew. */
  getDirtyLog(id: number): number[] {
    const { x, mem } = this.core;
    const slot = x.slotPtr(id);
    const bitmap = mem.load32(slot + SLOT_DIRTY);
    const npages = mem.load32(slot + SLOT_NPAGES);
    const pages: number[] = [];
    const logged = (mem.load32(slot + SLOT_FLAGS) & KVM_MEM_LOG_DIRTY_PAGES) !== 0;
    if (bitmap === 0 || !logged) throw new KvmError('ENOENT', `memslot ${id} is not logged`);
    for (let i = 0; i < npages; i++) {
      if ((mem.load32(bitmap + (i >>> 5) * 4) >>> (i & 31)) & 1) pages.push(i);
    }
    for (let i = 0; i < npages; i += 32) mem.store32(bitmap + (i >>> 5) * 4, 0);
    const base = mem.load32(slot + SLOT_BASE_GFN);
    let flush = false;
    for (const page of pages) {
      if (this.#writeProtect(base + page, 1, true)) flush = true;
    }
    if (pages.length > 0 || flush) this.core.x.flushTlbs();
    return pages;
  }

  #writeProtect(gfn: number, npages: number, logged = false): boolean {
    const { x } = this.core;
    if (this.tdp) return x.tdpWriteProtect(gfn, npages, logged ? 1 : 0) !== 0;
    return x.writeProtectRange(gfn, npages) !== 0;
  }

  /** Starts or stops dirty logging of a slot without making it anew (kvm_mmu_slot_apply_flags). */
  #changeFlags(region: MemoryRegion, was: number): void {
    const flags = region.flags ?? 0;
    this.core.x.memslotSetFlags(region.slot, flags);
    if (((flags ^ was) & KVM_MEM_LOG_DIRTY_PAGES) === 0) return;
    if ((flags & KVM_MEM_LOG_DIRTY_PAGES) === 0) {
      if (this.tdp) this.core.x.tdpZapCollapsible(region.slot);
      else if (this.core.x.zapCollapsibleSptes(region.slot) !== 0) this.core.x.flushTlbs();
      return;
    }
    if (this.tdp) this.core.x.tdpSplitHugePages(region.gfn, region.npages);
    const flush = this.#writeProtect(region.gfn, region.npages);
    // The flush became unconditional, lest another one that is still to come be overtaken.
    if (flush || this.generation.flushesLogged) this.core.x.flushTlbs();
  }

  /** The VM goes (kvm_destroy_vm): the notifier is released, then the vCPUs' roots. */
  destroy(): void {
    const task = new Task(0);
    task.stack[0] = 0;
    this.notifier.steps?.release?.(task, 0);
    for (const vcpu of this.vcpus) vcpu.roots.destroy();
  }

  /** kvm_mmu_zap_all_fast under TDP: the root is invalidated, and what it maps is zapped. */
  #zapNested(): void {
    const { core } = this;
    if (core.tracing) core.emit(EVENT_ZAP_ALL_FAST, 0, 0, 0, 0);
    core.x.tdpZapAll(1);
    for (const vcpu of this.vcpus) vcpu.roots.request(REQ_MMU_FREE_OBSOLETE_ROOTS);
  }

  /**
   * KVM's own access to guest memory through the VMM's mapping (copy_from_user, copy_to_user): faults
   * the page in and leaves the host pte young; after a write it is dirty, and logged. False: EFAULT.
   */
  accessAsUser(task: Task, gfn: number, write: boolean): boolean {
    const { x } = this.core;
    const hvn = x.gfnToHvn(gfn) >>> 0;
    if (hvn === 0xffffffff) return false;
    const wanted = HPTE_PRESENT | (write ? HPTE_WRITE : 0);
    if ((x.hpteGet(this.mm.id, hvn) & (wanted | HPTE_PROTNONE)) !== wanted) {
      const s = task.stack;
      s[0] = 0;
      s[1] = hvn;
      s[2] = (write ? FOLL_WRITE : 0) | FOLL_UACCESS;
      if (!this.mm.getUserPages(task, 0)) throw new CoreBugError('a straight run is not preempted');
      if (task.result < 0) return false;
      x.putPage(task.result);
    }
    if (write) x.guestPageWritten(gfn);
    else x.hpteOr(this.mm.id, hvn, HPTE_YOUNG);
    return true;
  }

  /** Makes the host page behind `gfn` present, as an access of the VMM or of KVM itself does. */
  faultIn(task: Task, gfn: number, write: boolean): void {
    const hvn = this.core.x.gfnToHvn(gfn) >>> 0;
    if (hvn === 0xffffffff) throw new KvmError('EFAULT', `gfn ${gfn} is in no memslot`);
    const s = task.stack;
    s[0] = 0;
    s[1] = hvn;
    s[2] = write ? FOLL_WRITE : 0;
    if (!this.mm.getUserPages(task, 0))
      throw new KvmError('EAGAIN', 'the host fault was preempted');
    if (task.result === -ERRNO.ENOMEM) throw new KvmError('ENOMEM', `no host page for gfn ${gfn}`);
    if (task.result < 0) throw new KvmError('EFAULT', `gfn ${gfn}: the host page can't be had`);
    this.core.x.putPage(task.result);
  }
}

function ageAction(aging: AgingPreset): number {
  switch (aging.kvm.mkold) {
    case 'none':
      return AGE_NONE;
    case 'drop':
      return AGE_DROP;
    case 'clear':
    case 'access-track':
      return AGE_CLEAR;
  }
}
