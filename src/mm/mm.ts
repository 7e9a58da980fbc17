// An address space: its areas, its notifiers and the operations on them. The ptes are in the core, by
// the mm's id.

import * as abi from '../../assembly/abi.ts';
import { KvmError } from '../core/errors.ts';
import { type Protocol, type Task, runStraight } from '../sched/task.ts';
import type { NotifierHooks } from './aging.ts';
import { noteAreas } from './rmap-areas.ts';
import { clearRefs } from './clear-refs.ts';
import { handleMmFault } from './fault.ts';
import { forkMm } from './fork.ts';
import { getUserPages } from './gup.ts';
import type { Host } from './host.ts';
import { type Advice, madvise } from './madvise.ts';
import { MN_INVALIDATE_RANGE, type MmuNotifierOps, NotifierChain } from './mmu-notifier.ts';
import { mprotect, mremap, type Protection } from './mprotect.ts';
import { mlock } from './populate.ts';
import { exitMmap, munmapRange, zapPageRange } from './unmap.ts';
import {
  VM_HUGETLB,
  VM_READ,
  VM_RESIDENT,
  VM_SHARED,
  VM_WRITE,
  anonOf,
  type Vma,
  vmaMerged,
  vmasWithin,
  vmasWithout,
} from './vma.ts';

/** What a secondary MMU needs of an address space. */
export interface MmHandle {
  /** Id in the core's tables. */
  readonly id: number;
  /** Registers a notifier; returns its id. */
  registerNotifier(ops: MmuNotifierOps): number;
  /** Protocol: the page of s[at + 1] = hvn for s[at + 2] = FOLL_*, with a reference. */
  getUserPages(t: Task, at: number): boolean;
}

/** A mapping to make. */
export interface MmapOptions {
  /** First page (hva >> 12). Default: the first gap above 0x100. */
  readonly hvn?: number;
  /** Pages. */
  readonly npages: number;
  /** Default: read and write. */
  readonly prot?: { readonly read?: boolean; readonly write?: boolean };
  /** File behind it (Host.createFile()); default: anonymous memory. */
  readonly file?: number;
  /** Page offset in the file. Default 0. */
  readonly pgoff?: number;
  /** MAP_SHARED. Default: true for files, else false. */
  readonly shared?: boolean;
  /** The pages are resident and do not count against the host's limit. */
  readonly resident?: boolean;
  /** Further VM_* flags. */
  readonly flags?: number;
}

const FIRST_HVN = 0x100;
/** Pages that one leaf page table maps. */
const PAGES_OF_TABLE = 512;
/** Pages that one entry of the uppermost of four levels covers. */
const PAGES_OF_PGD_ENTRY = PAGES_OF_TABLE ** 3;

/** Flags of a fault that a process's own access makes (arch/x86/mm/fault.c, FAULT_FLAG_DEFAULT). */
const USER_FAULT =
  abi.FAULT_FLAG_USER |
  abi.FAULT_FLAG_ALLOW_RETRY |
  abi.FAULT_FLAG_KILLABLE |
  abi.FAULT_FLAG_INTERRUPTIBLE;

/** One address space. */
export class Mm implements MmHandle {
  readonly host: Host;
  /** Id in the core's tables. */
  readonly id: number;
  readonly notifiers: NotifierChain;
  /** Where the notifier calls sit; as the aging protocol says. */
  readonly hooks: NotifierHooks;
  #vmas: readonly Vma[] = [];
  /** The mm that this one was forked from. */
  parent: Mm | null = null;
  /** False after exit. */
  alive = true;
  /** khugepaged knows of it (MMF_VM_HUGEPAGE). */
  khugepaged = false;
  /** The last number that its areas' anonymous pages were given (Vma.anon): children and merged pages remember it. */
  lastAnon = 0;
  readonly stateFields = ['vmas', 'alive', 'khugepaged', 'lastAnon'] as const;
  /** Index of the area that was found last: only a cache. */
  #last = 0;

  constructor(host: Host, id: number) {
    this.host = host;
    this.id = id;
    this.notifiers = new NotifierChain(host.core, id);
    this.hooks = host.aging.hooks;
    this.notifiers.withFlushes = host.generation.secondaryTlbs && this.hooks === '6.x';
  }

  /** Whether invalidate_range_start and _end are called: since 2.6.27. */
  get ranged(): boolean {
    return this.hooks === '2.6.27' || this.hooks === '6.x';
  }

  /** This mm and what hangs on it, for the explorer. */
  stateObjects(): object[] {
    return [this, this.notifiers.list];
  }

  // ---- areas ---------------------------------------------------------------------------------

  /** Areas in order. Replaced, never changed in place. */
  get vmas(): readonly Vma[] {
    return this.#vmas;
  }

  set vmas(vmas: readonly Vma[]) {
    noteAreas(this.#vmas, vmas);
    this.#vmas = vmas;
  }

  /** The first page of an area, or its first anonymous one (anon_vma_prepare), is about to come. */
  noteFault(vma: Vma, anon: boolean): void {
    const makes = anon && vma.anon === undefined;
    const noted = {
      ...vma,
      faulted: true,
      ...(makes ? { anon: anonOf(this.#vmas, vma) ?? ++this.lastAnon } : {}),
    };
    this.vmas = this.#vmas.map((other) => (other === vma ? noted : other));
    if (makes) this.host.hooks.anonPrepared?.();
  }

  /**
   * The first pages of what has page tables that go when [start, end) is unmapped, because no other area lies there
   * (free_pgtables): 2 MiB each; and 512 GiB, whether it has tables or not, since the level that is folded away with four
   * levels always counts as freed (p4d_free_tlb(), CONFIG_X86_5LEVEL).
   */
  tablesFreed(start: number, end: number): number[] {
    const others = vmasWithout(this.#vmas, start, end);
    const freed: number[] = [];
    const note = (pages: number, vma: Vma, has: (at: number) => boolean): void => {
      for (let at = vma.start - (vma.start % pages); at < vma.end; at += pages) {
        if (vmasWithin(others, at, at + pages).length === 0 && has(at)) freed.push(at);
      }
    };
    const { thp, core } = this.host;
    for (const vma of vmasWithin(this.#vmas, start, end)) {
      note(PAGES_OF_PGD_ENTRY, vma, () => true);
      if (vma.faulted !== true) continue;
      note(PAGES_OF_TABLE, vma, (at) => thp === 'never' || core.x.hpmdNone(this.id, at) === 0);
    }
    return freed;
  }

  /** The area that holds a page, or undefined. */
  findVma(hvn: number): Vma | undefined {
    const cached = this.#vmas[this.#last];
    if (cached !== undefined && hvn >= cached.start && hvn < cached.end) return cached;
    let low = 0;
    let high = this.#vmas.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#vmas[middle] as Vma).end <= hvn) low = middle + 1;
      else high = middle;
    }
    const vma = this.#vmas[low];
    if (vma === undefined || hvn < vma.start) return undefined;
    this.#last = low;
    return vma;
  }

  /** Whether an area permits an access. */
  permits(vma: Vma, write: boolean): boolean {
    return (vma.flags & (write ? VM_WRITE : VM_READ)) !== 0;
  }

  /** Whether get_user_pages may have the page with these FOLL_* flags. */
  permitsAt(hvn: number, flags: number): boolean {
    const vma = this.findVma(hvn);
    return vma !== undefined && this.permits(vma, (flags & abi.FOLL_WRITE) !== 0);
  }

  /** File behind a page, or 0. */
  fileOf(hvn: number): number {
    return this.findVma(hvn)?.file ?? 0;
  }

  /** Page offset in that file. */
  pgoffOf(hvn: number): number {
    const vma = this.findVma(hvn);
    return vma === undefined ? 0 : vma.pgoff + (hvn - vma.start);
  }

  // ---- protocols: arguments in the callee's frame, s[at + 1] … --------------------------------

  /** See handleMmFault() in fault.ts. */
  handleMmFault(t: Task, at: number): boolean {
    return handleMmFault(t, at, this);
  }

  /** See getUserPages() in gup.ts. */
  getUserPages(t: Task, at: number): boolean {
    return getUserPages(t, at, this);
  }

  // ---- operations that run to their end ------------------------------------------------------

  /** Runs a protocol on the host's own task with arguments. */
  run(protocol: Protocol, ...args: number[]): number {
    const t = this.host.task;
    for (let i = 0; i < args.length; i++) t.stack[1 + i] = args[i] as number;
    return runStraight(t, protocol);
  }

  /** The same from within a protocol: on a task of its own, never preempted. */
  runNested(protocol: Protocol, ...args: number[]): number {
    const t = this.host.nested;
    for (let i = 0; i < args.length; i++) t.stack[1 + i] = args[i] as number;
    return runStraight(t, protocol);
  }

  /** Maps memory (over whatever is there); returns its first page. */
  mmap(options: MmapOptions): number {
    const { npages, file = 0 } = options;
    const start = options.hvn ?? this.#gap(npages);
    this.#checkRange(start, npages);
    const pgoff = options.pgoff ?? (file === 0 ? start : 0);
    const shared = options.shared ?? file !== 0;
    let flags = options.flags ?? 0;
    if (options.prot?.read ?? true) flags |= VM_READ;
    if (options.prot?.write ?? true) flags |= VM_WRITE;
    if (shared) flags |= VM_SHARED;
    if (options.resident === true) flags |= VM_RESIDENT;
    if (vmasWithin(this.vmas, start, start + npages).length > 0) this.munmap(start, npages);
    const vma: Vma = { start, end: start + npages, flags, file, pgoff };
    this.vmas = vmaMerged(this.vmas, vma, true);
    return start;
  }

  #gap(npages: number): number {
    let at = FIRST_HVN;
    for (const vma of this.vmas) {
      if (vma.start - at >= npages) break;
      at = Math.max(at, vma.end);
    }
    return at;
  }

  #checkRange(start: number, npages: number): void {
    const ok = Number.isInteger(start) && Number.isInteger(npages) && start >= 0 && npages > 0;
    if (!ok || start + npages > abi.HVN_LIMIT) {
      throw new KvmError('EINVAL', `pages ${start} + ${npages} are not a range below 2^30`);
    }
  }

  /** Unmaps a range (unmap_region). */
  munmap(hvn: number, npages: number): void {
    this.#checkRange(hvn, npages);
    this.run((t, at) => munmapRange(t, at, this), hvn, hvn + npages);
  }

  /** Unmaps one area's pages with the notifier calls of zap_page_range. */
  zap(part: Vma, event: number): void {
    const hugetlb = part.flags & VM_HUGETLB ? 1 : 0;
    this.run((t, at) => zapPageRange(t, at, this), part.start, part.end, event, hugetlb);
  }

  /** madvise(). Result: 0 or a negative errno. */
  madvise(hvn: number, npages: number, advice: Advice): number {
    this.#checkRange(hvn, npages);
    return madvise(this, hvn, hvn + npages, advice);
  }

  /** Changes the rights of a range. Result: 0, or -ENOMEM at a hole, which ends it. */
  mprotect(hvn: number, npages: number, prot: Protection): number {
    this.#checkRange(hvn, npages);
    return mprotect(this, hvn, hvn + npages, prot);
  }

  /** Moves a mapping, all of it in one area; returns its new first page, or a negative errno. */
  mremap(hvn: number, npages: number, target: number): number {
    this.#checkRange(hvn, npages);
    this.#checkRange(target, npages);
    return mremap(this, hvn, hvn + npages, target);
  }

  /** A copy-on-write copy of this mm. */
  fork(): Mm {
    return forkMm(this);
  }

  /** Ends the mm: unmaps all, releases the notifiers. */
  exit(): void {
    if (!this.alive) return;
    this.host.core.x.lruAddDrain();
    this.run((t, at) => exitMmap(t, at, this));
    this.vmas = [];
    this.alive = false;
    this.host.dropMm(this.id);
  }

  /** Registers a notifier; returns its id for unregisterNotifier(). */
  registerNotifier(ops: MmuNotifierOps): number {
    return this.run((t, at) => this.notifiers.register(t, at, ops));
  }

  /** Unregisters a notifier. */
  unregisterNotifier(id: number): void {
    this.run((t, at) => this.notifiers.unregister(t, at), id);
  }

  /** The host touches a page as a user process does. Result: VM_FAULT_* or a negative errno. */
  access(hvn: number, write: boolean): number {
    const flags = (write ? abi.FAULT_FLAG_WRITE : 0) | USER_FAULT;
    return this.run((t, at) => handleMmFault(t, at, this), hvn, flags);
  }

  /** A process's load or store: faults only if the pte does not permit it, else sets young and dirty.
   *  Result: 0 or a negative errno. */
  touch(hvn: number, write: boolean): number {
    const { x } = this.host.core;
    const needed = abi.HPTE_PRESENT | (write ? abi.HPTE_WRITE : 0);
    while ((x.hpteGet(this.id, hvn) & needed) !== needed) {
      const result = this.access(hvn, write);
      if (result < 0) return result;
    }
    x.hpteOr(this.id, hvn, abi.HPTE_YOUNG | (write ? abi.HPTE_DIRTY : 0));
    return 0;
  }

  /** mlock and munlock. Result: 0 or a negative errno. */
  mlock(hvn: number, npages: number, locked: boolean): number {
    this.#checkRange(hvn, npages);
    return mlock(this, hvn, hvn + npages, locked);
  }

  /** Writes to /proc/PID/clear_refs; see clearRefs(). Result: 0 or a negative errno. */
  clearRefs(type: number): number {
    return clearRefs(this, type);
  }

  /** The processor's TLB forgets [start, end): where that is told, secondary ones hear of it. */
  flushTlb(start: number, end: number): void {
    if (!this.notifiers.withFlushes) return;
    this.runNested((t, at) => this.notifiers.call(t, at), MN_INVALIDATE_RANGE, start, end);
  }

  /** Calls a notifier op (MN_*) of every notifier for [start, end), as a driver of the host may.
   *  Result: the or of the answers. */
  notify(op: number, start: number, end: number): number {
    return this.run((t, at) => this.notifiers.call(t, at), op, start, end);
  }

  /**
   * Pins pages for direct I/O (get_user_pages without FOLL_TOUCH's side effects on sptes): the pfns.
   * Stops at the first page that can't be had.
   */
  pin(hvn: number, npages: number, write: boolean): number[] {
    const flags = abi.FOLL_TOUCH | (write ? abi.FOLL_WRITE : 0);
    const pfns: number[] = [];
    for (let i = 0; i < npages; i++) {
      const pfn = this.run((t, at) => getUserPages(t, at, this), hvn + i, flags);
      if (pfn < 0) break;
      pfns.push(pfn);
    }
    return pfns;
  }

  /** Ends a direct I/O: dirties what the device wrote and drops the references. */
  unpin(pfns: readonly number[], dirty: boolean): void {
    const { x } = this.host.core;
    for (const pfn of pfns) {
      if (dirty) x.setPageDirty(pfn);
      x.putPage(pfn);
    }
  }
}
