// The host: its frames, its address spaces, its reclaim and its devices. One host per core.

import * as abi from '../../assembly/abi.ts';
import type { Core } from '../core/load.ts';
import { UsageError } from '../core/errors.ts';
import { Task } from '../sched/task.ts';
import { COUNTER_SLOTS } from '../stats/stats.ts';
import { AGING_PRESETS, type AgingPreset } from './aging.ts';
import { MM_GENERATIONS, type MmGeneration } from './generation.ts';
import { Ksm } from './ksm.ts';
import type { TransparentHugepage } from './huge-memory.ts';
import { Mm } from './mm.ts';
import { BlockDevice, DEVICES } from './swap-device.ts';
import { Kswapd } from './vmscan/kswapd.ts';
import type { ReclaimPolicy } from './vmscan/policy.ts';
import { shrinkPages } from './vmscan/shrink.ts';
import { TwoListPolicy } from './vmscan/two-list.ts';

/** A swap entry names no more slots. */
const SWAP_PAGES_MAX = 2 ** (32 - abi.HPTE_PFN_SHIFT);

/** What a caller may watch; each is called at the moment that its name says. */
export interface HostHooks {
  /** Reclaim tested a page; `young` is the combined answer that page_referenced used. */
  youngTest?(mm: number, hvn: number, young: boolean): void;
  /** A page was evicted. */
  evicted?(mm: number, hvn: number, wrote: boolean): void;
  /** An area gets its anon_vma, an object of the kernel. */
  anonPrepared?(): void;
  /** A page is about to be read from the swap device or the file. */
  majorFault?(mm: number, hvn: number): void;
}

/** What starts reclaim. */
export const RECLAIM_TRIGGERS = ['memcg', 'watermarks'] as const;

/** Name of what starts reclaim. */
export type ReclaimTrigger = (typeof RECLAIM_TRIGGERS)[number];

/** How a host is made. */
export interface HostOptions {
  /** Limit of the pages that count (those of all vmas but VM_RESIDENT ones). */
  readonly frames: number;
  /**
   * `memcg`: the frames are a control group's memory.max, and who needs one more reclaims (try_charge).
   * `watermarks`: they are the whole host, and kswapd reclaims ahead (balance_pgdat). Default: `memcg`.
   */
  readonly reclaim?: ReclaimTrigger;
  /** vm.min_free_kbytes of a host with watermarks. Default: by its size, as the generation does. */
  readonly minFreeKbytes?: number;
  /** Frames beyond the limit, for resident pages. Default: 65,536 or a quarter of `frames`. */
  readonly residentFrames?: number;
  /** Swap slots. Default: 4 × frames, at least 65,536. */
  readonly swapPages?: number;
  readonly generation?: MmGeneration;
  readonly aging?: AgingPreset;
  readonly policy?: ReclaimPolicy;
  /** Default: NVMe. */
  readonly swap?: BlockDevice;
  /** Transparent huge pages of anonymous memory. Default: 'never'. */
  readonly thp?: TransparentHugepage;
  /** Device of the backing files. Default: one like `swap`'s profile. */
  readonly disk?: BlockDevice;
}

// Locals of tryCharge().
const ROUND = 1;
/** 1: the CPU's stock was drained for this charge. */
const DRAINED = 2;
const CALLEE = 3;

// Its program counters.
const START = 0;
const KSWAPD = 1;
const KSWAPD_RUNS = 2;
const DIRECT = 3;
const SHRINK = 4;

/** The host. */
export class Host {
  readonly core: Core;
  readonly generation: MmGeneration;
  readonly aging: AgingPreset;
  readonly policy: ReclaimPolicy;
  readonly swap: BlockDevice;
  readonly disk: BlockDevice;
  readonly thp: TransparentHugepage;
  /** Task of host operations that no vCPU makes. */
  readonly task = new Task(15);
  /** Task of what such an operation does in between. */
  readonly nested = new Task(14);
  /** Address spaces by id. Replaced, never changed in place. */
  mms: readonly (Mm | null)[] = [null];
  /** Files of createShmem(). */
  shmemFiles: readonly number[] = [];
  /** Frames for pages that count. */
  readonly frames: number;
  /** Most pages that count; at most `frames`. */
  limit: number;
  /** Pages of kernel objects that count and that reclaim frees when it tries hard. */
  slabPages = 0;
  /** These objects are freed by RCU: there is room for more when a grace period is over, not within the reclaim. */
  slabByRcu = false;
  /** Pages of objects that wait for the end of a grace period. */
  slabWaiting = 0;
  /** khugepaged has no address space to look at: the first one that it is told of wakes it (khugepaged_wait_event). */
  khugepagedWaits = false;
  /** A process ended while khugepaged was at its address space, which it gives up when it scans again (__khugepaged_exit). */
  khugepagedHolds = false;
  /** The reclaim that runs is not for the limit's sake but for the whole host's (sc->target_mem_cgroup
   *  is not set): MADV_PAGEOUT. */
  reclaimsForAll = false;
  /** The reclaim that runs was asked for (sc->proactive): memory.reclaim. */
  reclaimsOnRequest = false;
  /** Background reclaim of a host with watermarks. */
  readonly kswapd: Kswapd | null;
  hooks: HostHooks = {};
  /** Whether a run of reclaim that nothing can interrupt may be made in the core; KVM says it. */
  reclaimsInCore: () => boolean = () => false;
  /** Addresses of the core's count of charged frames, and of its list heads. */
  readonly #charged: number;
  readonly #lists: number;
  readonly #stats: number;
  /** pages_scanned when the direct reclaim that runs began. */
  #scannedBefore = 0;
  /** Index of the core's scratch block in its words. */
  readonly #out: number;
  #ksm: Ksm | null = null;
  readonly stateFields = [
    'mms',
    'shmemFiles',
    'limit',
    'slabPages',
    'slabWaiting',
    'khugepagedWaits',
    'khugepagedHolds',
  ] as const;

  constructor(core: Core, options: HostOptions) {
    const { frames } = options;
    if (!Number.isInteger(frames) || frames < 1) {
      throw new UsageError(`a host needs at least 1 frame, not ${frames}`);
    }
    this.core = core;
    this.frames = frames;
    this.limit = frames;
    this.generation = options.generation ?? MM_GENERATIONS['2008'];
    if (this.generation.reuse === 'alone') core.x.frameMarkExclusive(0);
    if (!this.generation.mlockBatch) core.x.lruSetMlockBatch(0);
    if (!this.generation.flushedStatistics) core.x.memcgPerItem(1);
    if (this.generation.evictionAgesFirst) core.x.workingsetSetAgesFirst(1);
    this.aging = options.aging ?? AGING_PRESETS.v3;
    this.swap = options.swap ?? new BlockDevice(DEVICES.nvme);
    this.disk = options.disk ?? new BlockDevice(this.swap.profile);
    this.swap.attach(core, abi.DEVICE_SWAP);
    this.disk.attach(core, abi.DEVICE_DISK);
    this.thp = options.thp ?? 'never';
    if (this.thp !== 'never') core.x.hpteKeepTables(1);
    const resident = options.residentFrames ?? Math.max(65_536, frames >> 2);
    this.#out = core.x.mmOut() >>> 2;
    this.#charged = core.x.framesChargedPtr() >>> 0;
    this.#lists = core.x.lruHeads() >>> 0;
    core.x.frameInit(frames + resident);
    core.x.swapInit(Math.min(options.swapPages ?? Math.max(65_536, frames * 4), SWAP_PAGES_MAX));
    this.#stats = core.x.statsPtr() >>> 0;
    this.policy = options.policy ?? new TwoListPolicy();
    this.policy.attach(this);
    this.kswapd = options.reclaim === 'watermarks' ? new Kswapd(this, options.minFreeKbytes) : null;
  }

  /** This host and what hangs on it, for the explorer. */
  stateObjects(): object[] {
    const all: object[] = [this, this.policy];
    if (this.kswapd !== null) all.push(this.kswapd);
    for (const mm of this.mms) if (mm !== null) all.push(...mm.stateObjects());
    return all;
  }

  /** Whether any area was ever mergeable. */
  get merges(): boolean {
    return this.#ksm !== null;
  }

  /** Kernel same-page merging, from the first mergeable area on. */
  get ksm(): Ksm {
    this.#ksm ??= new Ksm(this);
    return this.#ksm;
  }

  /** A new, empty address space. */
  createMm(): Mm {
    const id = this.core.x.mmCreate() >>> 0;
    if (id === 0) throw new UsageError('a host has at most 255 address spaces and files');
    const mm = new Mm(this, id);
    const mms = [...this.mms];
    while (mms.length <= id) mms.push(null);
    mms[id] = mm;
    this.mms = mms;
    return mm;
  }

  /** The mm of an id. */
  mm(id: number): Mm {
    return this.mms[id] as Mm;
  }

  /** Forgets an mm that has exited. */
  dropMm(id: number): void {
    const mms = [...this.mms];
    mms[id] = null;
    this.mms = mms;
    this.core.x.mmDestroy(id);
  }

  /** A new file of shared memory (memfd): all zeros, and its pages are dropped to swap. */
  createShmem(): number {
    const file = this.createFile();
    this.core.x.shmemInit(file);
    this.shmemFiles = [...this.shmemFiles, file];
    return file;
  }

  /** A new file, all zeros; pages of it are mapped with `mmap({ file })`. */
  createFile(): number {
    const file = this.core.x.fileCreate() >>> 0;
    if (file === 0) throw new UsageError('a host has at most 255 address spaces and files');
    return file;
  }

  /** shrink_slab: kernel objects of the group that nobody uses are freed, and there is room for more. */
  shrinkSlab(): void {
    if (this.slabPages === 0) return;
    this.slabWaiting = this.slabPages;
    this.slabPages = 0;
    if (this.slabByRcu) return;
    this.core.x.memcgDrainStock();
    this.gracePeriod();
  }

  /** A grace period of RCU is over; whether objects waited for it. */
  gracePeriod(): boolean {
    const waiting = this.slabWaiting;
    this.limit += waiting;
    this.slabWaiting = 0;
    return waiting > 0;
  }

  /** Pages that count and are in use. */
  charged(): number {
    return this.core.mem.load32(this.#charged);
  }

  /** Pages on a list (LRU_*). */
  listed(list: number): number {
    return this.core.mem.load32(this.#lists + list * abi.LRU_HEAD_SIZE + abi.LRU_HEAD_PAGES);
  }

  /** Pages that may be charged before reclaim has a say. */
  get room(): number {
    return this.kswapd === null ? this.limit : this.kswapd.above(this.kswapd.marks.low);
  }

  /** Counter pages_scanned. */
  pagesScanned(): number {
    return this.core.mem.load64(this.#stats + COUNTER_SLOTS.pages_scanned * 8);
  }

  /** Virtual time of the devices, ns. */
  get now(): number {
    return this.core.mem.loadF64(this.clock + abi.CLOCK_NOW);
  }

  /** Says what a reference costs, by which the devices' clock goes on (ns). */
  setReferenceCosts(access: number, l2Hit: number, walkStep: number): void {
    const { mem } = this.core;
    mem.storeF64(this.clock + abi.CLOCK_ACCESS_COST, access);
    mem.storeF64(this.clock + abi.CLOCK_L2_COST, l2Hit);
    mem.storeF64(this.clock + abi.CLOCK_WALK_COST, walkStep);
  }

  /** Address of the devices' clock (CLOCK_*). */
  get clock(): number {
    return (this.core.x.devices() >>> 0) + abi.DEVICE_COUNT * abi.DEVICE_SIZE;
  }

  /**
   * Makes room for one more page that counts: try_charge when the limit is reached, or
   * __alloc_pages_slowpath below the low watermark. Result: 0, or -ENOMEM after the OOM killer found
   * nothing to free.
   */
  tryCharge(t: Task, at: number): boolean {
    const s = t.stack;
    const { kswapd } = this;
    for (;;) {
      switch (s[at]) {
        case START:
          s[at + ROUND] = 0;
          s[at + DRAINED] = 0;
          this.core.x.clockAdvance(0, 0, 0);
          s[at] = kswapd === null ? DIRECT : KSWAPD;
          if (kswapd?.mayRun === true) this.core.bump(COUNTER_SLOTS.pageoutrun);
          continue;
        case KSWAPD:
          if (kswapd?.mayRun !== true) {
            if (this.charged() < this.#allowed()) return t.done(at, 0);
            s[at] = DIRECT;
            continue;
          }
          kswapd.begin();
          s[at + CALLEE + 1] = this.policy.cluster;
          s[at + CALLEE] = 0;
          s[at] = KSWAPD_RUNS;
        case KSWAPD_RUNS:
          if (!shrinkPages(t, at + CALLEE, this)) return false;
          kswapd?.end(t.result);
          s[at] = KSWAPD;
          continue;
        case DIRECT:
          this.#scannedBefore = this.pagesScanned();
          this.core.bump(COUNTER_SLOTS.allocstall);
          s[at + CALLEE + 1] = this.policy.cluster;
          s[at + CALLEE] = 0;
          s[at] = SHRINK;
        case SHRINK:
          if (!shrinkPages(t, at + CALLEE, this)) return false;
          this.#countDirect(t.result);
          if (this.charged() < this.#allowed()) return t.done(at, 0);
          s[at] = DIRECT;
          if (s[at + DRAINED] === 0) {
            this.core.x.memcgDrainStock();
            s[at + DRAINED] = 1;
            continue;
          }
          if (t.result === 0) s[at + ROUND] = (s[at + ROUND] as number) + 1;
          if ((s[at + ROUND] as number) < abi.RECLAIM_ROUNDS) continue;
          this.core.x.statBump(COUNTER_SLOTS.oom_kills, 1);
          return t.done(at, -12);
      }
    }
  }

  /** Pages that an allocation may find charged and still take one: the reserve below min is not for it. */
  #allowed(): number {
    return this.kswapd === null ? this.limit : this.kswapd.above(this.kswapd.marks.min);
  }

  #countDirect(freed: number): void {
    const { core } = this;
    core.bump(COUNTER_SLOTS.pgscan_direct, this.pagesScanned() - this.#scannedBefore);
    core.bump(COUNTER_SLOTS.pgsteal_direct, freed);
    // A node that gives a page is not hopeless (shrink_node).
    if (freed > 0 && this.kswapd !== null) this.kswapd.failures = 0;
  }

  /** Sends an event of the host's side. */
  emit(event: number, a = 0, b = 0, c = 0, d = 0): void {
    if (this.core.tracing) this.core.emit(event, a, b, c, d);
  }

  /** Frees up to `pages` pages now (memory.reclaim); returns how many. */
  reclaim(pages: number): number {
    const t = this.task;
    t.stack[1] = pages;
    t.stack[0] = 0;
    this.reclaimsOnRequest = true;
    shrinkPages(t, 0, this);
    this.reclaimsOnRequest = false;
    return t.result;
  }

  /** Words of the core's scratch block. */
  out(i: number): number {
    return this.core.mem.u32[this.#out + i] as number;
  }

  /** A word of it that is read once. */
  takeOut(i: number): number {
    const value = this.out(i);
    if (value !== 0) this.core.mem.u32[this.#out + i] = 0;
    return value;
  }
}
