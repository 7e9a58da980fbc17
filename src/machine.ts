// The whole machine: host, mm, KVM, vCPUs and the guest kernel, made from one options object, and the
// loop that feeds it references.
//
// Guest memory is two memslots: data pages and the guest's page-table pages, each backed by a vma of
// the VMM's address space. The references of the workload are one stream; with several vCPUs it is
// dealt to them in slices of seeded length, as one program's threads that take turns.

import {
  ACCESS_CONTROL,
  CONTROL_COUNT_SHIFT,
  CONTROL_EXIT,
  CONTROL_FORK,
  CONTROL_HOST,
  CONTROL_INVLPG,
  CONTROL_MARK,
  CONTROL_OPERAND_SHIFT,
  CONTROL_OP_SHIFT,
  CONTROL_PROTECT_RO,
  CONTROL_PROTECT_RW,
  CONTROL_SWITCH,
  CONTROL_UNMAP,
  FOLL_TOUCH,
  FOLL_WRITE,
  VERIFY_CHECKS,
  VERIFY_EXPECTED,
  VERIFY_FOUND,
  VERIFY_GFN,
  VERIFY_PFN,
  VERIFY_WRITES,
} from '../assembly/abi.ts';
import { CoreBugError, DataError, ERRNO, KvmError, UsageError } from './core/errors.ts';
import { type Core, type CoreBuild, loadCore } from './core/load.ts';
import { type CoreSnapshot, restoreCore, saveCore } from './core/snapshot.ts';
import { GuestKernel, type GuestKernelRecord } from './guest/kernel.ts';
import { HostOps } from './host-ops.ts';
import type { VmExit } from './kvm/exit.ts';
import { Kvm } from './kvm/kvm.ts';
import type { Vcpu } from './kvm/vcpu.ts';
import { AGING_PRESETS, type AgingPreset, agingPreset } from './mm/aging.ts';
import { MM_GENERATIONS, type MmGeneration } from './mm/generation.ts';
import { Host } from './mm/host.ts';
import type { Mm } from './mm/mm.ts';
import { BlockDevice, DEVICES, type DeviceErrors, type DeviceName } from './mm/swap-device.ts';
import type { ReclaimPolicy } from './mm/vmscan/policy.ts';
import { Random } from './random.ts';
import { type DeviceTime, PROFILES, type ProfileName } from './stats/profiles.ts';
import { type CounterValues, Stats, counterDelta } from './stats/stats.ts';
import { DEFAULT_TLB, type TlbGeometry } from './units.ts';
import type { HostOperation } from './workload/host-op.ts';
import { type AccessSource, BATCH_RECORDS } from './workload/source.ts';

/** First gfn of the data slot; the table slot follows it. */
const DATA_GFN = 256;
/** hvn of gfn 0 of the VMM's mappings: 4 GiB into its address space. */
const HVN_BASE = 0x100000;
/** Mean length of a vCPU's turn, in references. */
const SLICE = 500;
const NO_GFN = 0xffffffff;

/** Options of a machine. Everything but the two sizes has a default. */
export interface VmOptions {
  /** Host frames for the guest. */
  readonly memoryPages: number;
  /** Data pages of the guest. */
  readonly guestPages: number;
  /** Page-table pages of the guest. Default: enough for any layout of its data pages. */
  readonly tablePages?: number;
  /** Aging protocol: a name or a preset of your own. Default `v3`. */
  readonly protocol?: string | AgingPreset;
  /** Reclaim policy. Default: Linux's two lists. */
  readonly policy?: ReclaimPolicy;
  /** Default `anon`. */
  readonly backing?: 'anon' | 'file';
  /** Swap device and the disk of files. Default: the profile's. */
  readonly swap?: DeviceName;
  /** Which requests of the swap device and the disk of files fail. Default: none. */
  readonly deviceErrors?: DeviceErrors;
  /** Swap slots. Default: the host's. */
  readonly swapPages?: number;
  /** Cost profile. Default `2026`. */
  readonly profile?: ProfileName;
  /**
   * Generation of KVM's MMU and of the host mm. Default: those of the protocol's time; with file
   * backing KVM's of 6.1, since KVM of 2008 makes every page that it maps dirty.
   */
  readonly generation?: string;
  /** Default 1. */
  readonly vcpus?: number;
  /** Default 64 entries of 4 ways and 1,536 of 12. */
  readonly tlb?: TlbGeometry;
  /** Guest address spaces are tagged by PCID. Default true. */
  readonly pcid?: boolean;
  /** Seed of the vCPUs' turns. Default 1. */
  readonly seed?: number;
  /** Stamp every page and check every access. Default false. */
  readonly verify?: boolean;
  /**
   * Runs the yardstick beside the machine: an exact LRU over every access, for spurious swap-outs and
   * the aging accuracy. Default true; without it those are 0 and a replay is faster.
   */
  readonly yardstick?: boolean;
  /** What a notifier call flushes; see KvmOptions. Default `all`. */
  readonly flushScope?: 'all' | 'pages';
  /**
   * Whether KVM maps neighbours of a faulting page, where its generation can. Default: not under the
   * protocols of 2008.
   */
  readonly prefetch?: boolean;
  /** False: every page fault leaves the core; see KvmOptions. Default true. */
  readonly quickFaults?: boolean;
  /**
   * `resident`: the guest's tables stay in memory, outside the limit. Default: `pageable`, but
   * `resident` under a protocol without notifiers, where only the tables could ever be taken.
   */
  readonly guestTables?: 'resident' | 'pageable';
  /** Build of the core. Default `release`; `debug` has asserts. */
  readonly core?: CoreBuild;
}

/**
 * How a run ended: `oom_killed`, the host had no page to give and its OOM killer ended the VMM;
 * `run_failed`, KVM_RUN returned -EFAULT since a page of the guest's tables can't be had (its device
 * failed), and the VMM gave up.
 */
export type RunOutcome = 'done' | 'oom_killed' | 'run_failed';

/** Counters between two marks. */
export interface Phase {
  readonly mark: number;
  readonly counters: CounterValues;
}

/** Records of an object: fields that are replaced, never changed in place. */
interface SavedFields {
  readonly object: object;
  readonly fields: Readonly<Record<string, unknown>>;
}

function saveFields(object: object): SavedFields {
  const names = 'stateFields' in object ? (object.stateFields as readonly string[]) : [];
  const values = object as Readonly<Record<string, unknown>>;
  const open = names.filter((name) => !name.startsWith('#'));
  return { object, fields: Object.fromEntries(open.map((name) => [name, values[name]])) };
}

/** A saved state of a machine. */
export interface VmSnapshot {
  readonly core: CoreSnapshot;
  readonly records: readonly SavedFields[];
  readonly guest: GuestKernelRecord;
  readonly random: readonly number[];
  readonly turn: readonly [number, number];
  readonly phases: readonly Phase[];
  readonly markCounters: CounterValues;
  readonly outcome: Vm['outcome'];
}

/** Told now and then how far a run is; may be awaited. */
export type RunProgress = (part: number | undefined) => void | Promise<void>;

const BATCHES_PER_PROGRESS = 16;

function preset(protocol: string | AgingPreset): AgingPreset {
  if (typeof protocol !== 'string') return protocol;
  const found = agingPreset(protocol);
  if (found) return found;
  const names = Object.keys(AGING_PRESETS).join(', ');
  throw new UsageError(`protocol ${protocol}: expected ${names}`);
}

/** Frames below which the tables and the data of a single access don't fit together. */
const MIN_PAGEABLE_FRAMES = 16;

/** Where the guest's tables are when the caller does not say. */
export function guestTablesOf(
  asked: 'resident' | 'pageable' | undefined,
  protocol: VmOptions['protocol'],
): 'resident' | 'pageable' {
  return asked ?? (preset(protocol ?? 'v3').kvm.notifiers ? 'pageable' : 'resident');
}

/**
 * KVM maps neighbours of a faulting page since 2.6.37. Under a protocol of 2008 that would hide
 * accesses: a neighbour's spte appears without its host pte becoming young, and only the host pte
 * is asked.
 */
function prefetchesByDefault(aging: AgingPreset): boolean {
  return aging.hooks !== 'v3' && aging.hooks !== 'none';
}

function mmGeneration(name: string): MmGeneration {
  const found = (MM_GENERATIONS as Readonly<Record<string, MmGeneration>>)[name];
  if (!found) {
    throw new UsageError(`generation ${name}: expected ${Object.keys(MM_GENERATIONS).join(', ')}`);
  }
  return found;
}

/** The host mm that a protocol was made for. */
function mmGenerationOf(aging: AgingPreset): string {
  return aging.hooks === '6.x' ? '6.1' : '2008';
}

/** One virtual machine on one host. */
export class Vm {
  readonly #tablesResident: boolean;
  readonly core: Core;
  readonly stats: Stats;
  readonly host: Host;
  /** Address space of the VMM. */
  readonly mm: Mm;
  readonly kvm: Kvm;
  readonly guest: GuestKernel;
  /** What the host does to the guest's memory. */
  readonly ops: HostOps;
  readonly device: DeviceName;
  readonly profile: ProfileName;
  /** Generations of KVM's MMU and of the host mm. */
  readonly kvmGeneration: string;
  readonly mmGeneration: string;
  /** First data gfn, and how many. */
  readonly data: { readonly base: number; readonly count: number };
  readonly tables: { readonly base: number; readonly count: number };
  /** Counters by phase, one entry for each CONTROL_MARK. */
  phases: readonly Phase[] = [];
  /** How the run stands. */
  outcome: RunOutcome = 'done';
  /** Operations that CONTROL_HOST records name by index. */
  hostOperations: readonly HostOperation[] = [];
  readonly #random: Random;
  /** Whether pages are stamped and accesses checked. */
  readonly verify: boolean;
  readonly backing: 'anon' | 'file';
  #records = 0;
  /** Record of access(). */
  readonly #single: number;
  /** vCPU whose turn it is, and the references left of it. */
  #turn = 0;
  #turnLeft = 0;
  #markCounters: CounterValues;

  constructor(options: VmOptions) {
    const core = loadCore(options.core ?? 'release');
    this.core = core;
    this.stats = new Stats(core);
    this.profile = options.profile ?? '2026';
    this.device = options.swap ?? PROFILES[this.profile].device;
    this.verify = options.verify ?? false;
    this.backing = options.backing ?? 'anon';
    const tablePages = options.tablePages ?? options.guestPages + 1024;
    this.data = { base: DATA_GFN, count: options.guestPages };
    this.tables = { base: DATA_GFN + options.guestPages, count: tablePages };
    const aging = preset(options.protocol ?? 'v3');
    const ofItsTime = this.backing === 'file' ? '6.1' : mmGenerationOf(aging);
    const generation = options.generation ?? ofItsTime;
    this.kvmGeneration = generation;
    this.mmGeneration = options.generation ?? mmGenerationOf(aging);
    this.#tablesResident = guestTablesOf(options.guestTables, options.protocol) === 'resident';
    if (!this.#tablesResident && options.memoryPages < MIN_PAGEABLE_FRAMES) {
      throw new UsageError(
        `${options.memoryPages} frames can't hold the guest tables and the data of one access: ` +
          `give the host ${MIN_PAGEABLE_FRAMES} or more, or use --guest-tables resident`,
      );
    }
    this.host = this.#makeHost(options, aging, mmGeneration(this.mmGeneration));
    const { costs } = PROFILES[this.profile];
    this.host.setReferenceCosts(costs.accesses.ns, costs.tlb_l2_hits.ns, costs.walk_steps.ns);
    this.mm = this.host.createMm();
    const vcpus = options.vcpus ?? 1;
    const tlb = options.tlb ?? DEFAULT_TLB;
    const { flushScope = 'all', quickFaults = true } = options;
    const prefetch = options.prefetch ?? prefetchesByDefault(aging);
    this.kvm = new Kvm({
      core,
      mm: this.mm,
      aging,
      generation,
      vcpus,
      tlb,
      flushScope,
      prefetch,
      quickFaults,
    });
    this.#makeMemory(options);
    this.guest = new GuestKernel({
      core,
      stats: this.stats,
      cpus: this.kvm.vcpus,
      memory: {
        copyPage: (from, to) => this.#copyPage(from, to),
        // A file holds the guest's content already.
        ...(this.backing === 'anon' ? { clearPage: (gfn) => this.#clearPage(gfn) } : {}),
      },
      data: this.data,
      tables: this.tables,
      pcid: options.pcid ?? true,
    });
    this.ops = new HostOps(this);
    this.#random = new Random(options.seed ?? 1);
    // Version stamps are kept by gfn, which the yardstick's map of the guest gives.
    if (options.yardstick !== false || this.verify) this.#makeYardstick(options.memoryPages);
    else {
      this.host.hooks = { majorFault: () => core.x.clockAdvance(0, 0) };
      this.kvm.straight.known = { hooks: this.host.hooks, yardstick: null };
    }
    for (const vcpu of this.kvm.vcpus) this.guest.switchTo(vcpu, 0);
    this.#single = core.x.arenaAlloc(8) >>> 0;
    this.#markCounters = this.stats.read();
  }

  #makeHost(options: VmOptions, aging: AgingPreset, generation: MmGeneration): Host {
    return new Host(this.core, {
      frames: options.memoryPages,
      residentFrames: this.#tablesResident ? this.tables.count : 0,
      aging,
      generation,
      swap: new BlockDevice(DEVICES[this.device], options.deviceErrors),
      disk: new BlockDevice(DEVICES[this.device], options.deviceErrors),
      ...(options.policy === undefined ? {} : { policy: options.policy }),
      ...(options.swapPages === undefined ? {} : { swapPages: options.swapPages }),
    });
  }

  /** Maps the two slots' memory and hands it to KVM. */
  #makeMemory(options: VmOptions): void {
    const file = options.backing === 'file';
    const slots = [
      { slot: 0, ...this.data, resident: false },
      { slot: 1, ...this.tables, resident: this.#tablesResident },
    ];
    for (const { slot, base, count, resident } of slots) {
      this.mm.mmap({
        hvn: HVN_BASE + base,
        npages: count,
        resident,
        ...(file && !resident ? { file: this.host.createFile() } : {}),
      });
      this.kvm.setUserMemoryRegion({ slot, gfn: base, npages: count, hvn: HVN_BASE + base });
    }
  }

  #makeYardstick(frames: number): void {
    const { x } = this.core;
    const gfns = this.data.base + this.data.count;
    x.lockstepInit(gfns, frames);
    const ours = (mm: number, hvn: number): number => {
      const gfn = hvn - HVN_BASE;
      if (mm !== this.mm.id || gfn < this.data.base || gfn >= gfns) return NO_GFN;
      return gfn;
    };
    this.host.hooks = {
      youngTest: (mm, hvn, young) => x.lockstepTested(ours(mm, hvn), young ? 1 : 0),
      evicted: (mm, hvn) => {
        x.lockstepEvicted(ours(mm, hvn));
        this.kvm.shrink(1);
      },
      majorFault: (mm, hvn) => {
        x.clockAdvance(0, 0);
        x.lockstepRefault(ours(mm, hvn));
      },
    };
    const yardstick = { base: HVN_BASE, first: this.data.base, end: gfns };
    this.kvm.straight.known = { hooks: this.host.hooks, yardstick };
    if (!this.verify) return;
    x.verifyInit(gfns);
    x.guestMapInit();
    this.kvm.verifySpaceOf = (vcpu) => this.guest.space(this.kvm.vcpus[vcpu] as Vcpu);
    for (const vcpu of this.kvm.vcpus) vcpu.verify = true;
  }

  /** What the devices did so far. */
  deviceTime(): DeviceTime {
    const devices = [this.host.swap, this.host.disk];
    return {
      device: this.device,
      waitNs: devices.reduce((sum, device) => sum + device.waitNs, 0),
      busyNs: devices.reduce((sum, device) => sum + device.busyNs, 0),
    };
  }

  /** hvn that backs a gfn of the guest. */
  hvnOf(gfn: number): number {
    return HVN_BASE + gfn;
  }

  /** The guest kernel copies a page through its direct map. */
  #copyPage(from: number, to: number): void {
    const { x } = this.core;
    const source = this.#pin(from, false);
    try {
      const target = this.#pin(to, true);
      x.frameSetContent(target, x.contentCopy(x.frameContent(source) >>> 0) >>> 0);
      this.#wrote(to, target, this.verify ? x.verifyGet(from) >>> 0 : 0);
    } finally {
      x.putPage(source);
    }
    x.lockstepTouch(from, 0);
    x.lockstepTouch(to, 1);
  }

  /** The guest kernel clears a page through its direct map. */
  #clearPage(gfn: number): void {
    const pfn = this.#pin(gfn, true);
    this.core.x.frameSetContent(pfn, 0);
    this.#wrote(gfn, pfn, 0);
  }

  /** A pinned page has new content: it is dirty, for the host and in the dirty log. */
  #wrote(gfn: number, pfn: number, holds: number): void {
    const { x } = this.core;
    x.guestPageWritten(gfn);
    x.putPage(pfn);
    if (this.verify) x.verifySet(gfn, holds);
  }

  /** pfn behind a gfn, with a reference held, as the host's own access would get it. */
  #pin(gfn: number, write: boolean): number {
    const { mm } = this;
    const flags = FOLL_TOUCH | (write ? FOLL_WRITE : 0);
    const pfn = mm.run((t, at) => mm.getUserPages(t, at), this.hvnOf(gfn), flags);
    if (pfn < 0) {
      const code = pfn === -ERRNO.ENOMEM ? 'ENOMEM' : 'EFAULT';
      throw new KvmError(code, `no host page for guest page ${gfn}`);
    }
    return pfn;
  }

  /** Runs a source to its end. */
  async run(source: AccessSource, progress?: RunProgress): Promise<void> {
    if (this.#records === 0) this.#records = this.core.x.arenaAlloc(BATCH_RECORDS * 8) >>> 0;
    try {
      for (let batches = 1; ; batches++) {
        const count = source.next(this.core, this.#records, BATCH_RECORDS);
        if (count === 0) break;
        this.runRecords(this.#records, count);
        if (this.outcome !== 'done') break;
        if (progress && batches % BATCHES_PER_PROGRESS === 0) await progress(source.progress());
      }
    } finally {
      source.close();
    }
  }

  /**
   * Runs access records that lie in linear memory, dealt to the vCPUs. When the host has no page to
   * give, its OOM killer ends the VMM; when a page of the guest's tables can't be had, KVM_RUN fails.
   * `outcome` says so, and nothing runs any more.
   */
  runRecords(records: number, count: number): void {
    this.#orKilled(() => this.#deal(records, count));
  }

  #orKilled(work: () => void): void {
    if (this.outcome !== 'done') return;
    try {
      work();
    } catch (error) {
      if (!(error instanceof KvmError)) throw error;
      if (error.code === 'ENOMEM') this.outcome = 'oom_killed';
      else if (error.code === 'EFAULT') this.outcome = 'run_failed';
      else throw error;
    }
  }

  /**
   * One access of the guest: `gva` is the address, `flags` are ACCESS_READ (0), ACCESS_WRITE (1) or
   * ACCESS_FETCH (2). False: it was refused or reached no memory, and the counters say why. An access
   * that the TLB serves costs one call into the core; many accesses are better run as records.
   */
  access(gva: number, flags = 0, vcpu = 0): boolean {
    const cpu = this.kvm.vcpus[vcpu] as Vcpu;
    const hi = Math.floor(gva / 4294967296);
    const direct = !this.verify && this.outcome === 'done';
    if (direct && this.core.x.accessHit(cpu.ptr, gva, hi, flags) !== 0) return true;
    return this.#accessSlowly(cpu, gva, hi, flags);
  }

  #accessSlowly(cpu: Vcpu, gva: number, hi: number, flags: number): boolean {
    this.core.mem.store32(this.#single, ((gva & ~0xfff) | flags) >>> 0);
    this.core.mem.store32(this.#single + 4, hi);
    const before = this.stats.get('accesses');
    this.#orKilled(() => this.#runOn(cpu, this.#single, 1));
    return this.stats.get('accesses') !== before;
  }

  #deal(records: number, count: number): void {
    const { vcpus } = this.kvm;
    let at = records;
    const end = records + count * 8;
    while (at < end) {
      if (vcpus.length > 1 && this.#turnLeft === 0) {
        this.#turn = this.#random.below(vcpus.length);
        this.#turnLeft = 1 + this.#random.below(2 * SLICE - 1);
      }
      const left = (end - at) / 8;
      const n = vcpus.length > 1 ? Math.min(left, this.#turnLeft) : left;
      this.#runOn(vcpus[this.#turn] as Vcpu, at, n);
      at += n * 8;
      if (vcpus.length > 1) this.#turnLeft -= n;
    }
  }

  #runOn(vcpu: Vcpu, records: number, count: number): void {
    const end = records + count * 8;
    for (let at = records; at < end;) {
      const exit = vcpu.run(at, (end - at) / 8);
      at += exit.consumed * 8;
      if (exit.kind === 'done') break;
      // The record is done, or given up, unless it is to be executed now.
      if (!this.#handle(vcpu, exit, at)) at += 8;
    }
  }

  /** Serves an exit; true: the record at `at` is to be executed now. */
  #handle(vcpu: Vcpu, exit: VmExit, at: number): boolean {
    switch (exit.kind) {
      case 'guest_page_fault': {
        const vpn = (exit.gvaHi & 0xffff) * 2 ** 20 + (exit.gvaLo >>> 12);
        return this.#guestFault(vcpu, vpn, exit.code);
      }
      case 'control':
        this.#control(vcpu, at);
        return false;
      case 'verify':
        throw new CoreBugError(this.#violation(exit));
      case 'mmio':
        this.stats.bump('mmio_exits');
        return false;
      case 'memory_fault':
        this.stats.bump('memory_fault_exits');
        if (exit.code === ERRNO.ENOMEM) throw new KvmError('ENOMEM', 'the host is out of memory');
        return false;
      default:
        this.stats.bump('guest_access_violations');
        return false;
    }
  }

  /** The guest kernel serves a #PF; false: it refused the access, or the VMM had no page for it. */
  #guestFault(vcpu: Vcpu, vpn: number, code: number): boolean {
    const outcome = this.guest.pageFault(vcpu, vpn, code);
    if (outcome === 'violation') this.stats.bump('guest_access_violations');
    else if (outcome === 'host_refused') this.stats.bump('memory_fault_exits');
    else return true;
    return false;
  }

  /** A control record. */
  #control(vcpu: Vcpu, at: number): void {
    const lo = this.core.mem.load32(at);
    const hi = this.core.mem.load32(at + 4);
    const op = (lo >>> CONTROL_OP_SHIFT) & 15;
    const count = ((lo >>> CONTROL_COUNT_SHIFT) & 0xfff) + 1;
    const operand = hi * 16 + (lo >>> CONTROL_OPERAND_SHIFT);
    const { guest } = this;
    switch (op) {
      case CONTROL_SWITCH:
        return guest.switchTo(vcpu, operand);
      case CONTROL_UNMAP:
        return guest.unmap(vcpu, operand, count);
      case CONTROL_PROTECT_RO:
      case CONTROL_PROTECT_RW:
        return guest.protect(vcpu, operand, count, op === CONTROL_PROTECT_RW);
      case CONTROL_FORK:
        return guest.fork(vcpu, operand);
      case CONTROL_EXIT:
        return this.#exitProcess(vcpu, operand);
      case CONTROL_INVLPG:
        for (let i = 0; i < count; i++) vcpu.invlpg(operand + i);
        return;
      case CONTROL_MARK:
        return this.mark(operand);
      case CONTROL_HOST:
        return this.#hostOperation(operand);
      default:
        throw new DataError(`control record with unknown operation ${op}`);
    }
  }

  /** vCPUs that run the process go to process 0 first. */
  #exitProcess(vcpu: Vcpu, pid: number): void {
    for (const other of this.kvm.vcpus) {
      if (this.guest.current(other) === pid) this.guest.switchTo(other, 0);
    }
    this.guest.exit(vcpu, pid);
  }

  #hostOperation(index: number): void {
    const operation = this.hostOperations[index];
    if (!operation) throw new DataError(`host operation ${index} is not in the scenario`);
    this.ops.apply(operation);
  }

  /** Everything that a run depends on: one copy of memory, and the records. */
  snapshot(): VmSnapshot {
    return {
      core: saveCore(this.core),
      records: this.#stateObjects().map((object) => saveFields(object)),
      guest: this.guest.save(),
      random: this.#random.save(),
      turn: [this.#turn, this.#turnLeft],
      phases: this.phases,
      markCounters: this.#markCounters,
      outcome: this.outcome,
    };
  }

  /** Goes back to a snapshot of this machine. Runs from there are as they were. */
  restore(snapshot: VmSnapshot): void {
    restoreCore(this.core, snapshot.core);
    // It may have been made after the snapshot.
    this.#records = 0;
    for (const { object, fields } of snapshot.records) Object.assign(object, fields);
    this.guest.restore(snapshot.guest);
    this.#random.restore(snapshot.random);
    [this.#turn, this.#turnLeft] = snapshot.turn;
    this.phases = snapshot.phases;
    this.#markCounters = snapshot.markCounters;
    this.outcome = snapshot.outcome;
  }

  #stateObjects(): object[] {
    return [...this.host.stateObjects(), ...this.kvm.stateObjects()];
  }

  /** Notes the counters since the last mark as a phase. */
  mark(id: number): void {
    const counters = this.stats.read();
    this.phases = [
      ...this.phases,
      { mark: id, counters: counterDelta(counters, this.#markCounters) },
    ];
    this.#markCounters = counters;
  }

  /** Reads and writes checked so far; undefined without `verify`. */
  get verified(): { reads: number; writes: number } | undefined {
    if (!this.verify) return undefined;
    const state = this.core.x.verifyState() >>> 0;
    const { mem } = this.core;
    return { reads: mem.load64(state + VERIFY_CHECKS), writes: mem.load64(state + VERIFY_WRITES) };
  }

  #violation(exit: VmExit): string {
    const state = this.core.x.verifyState() >>> 0;
    const word = (at: number): number => this.core.mem.load32(state + at);
    const gva = `0x${(exit.gvaHi * 2 ** 32 + exit.gvaLo).toString(16)}`;
    return (
      `verify: access to ${gva} (gfn ${word(VERIFY_GFN)}) reached frame ${word(VERIFY_PFN)} with ` +
      `stamp ${word(VERIFY_FOUND)}, expected ${word(VERIFY_EXPECTED)}`
    );
  }
}

/** Makes a machine. */
export function createVm(options: VmOptions): Vm {
  return new Vm(options);
}

/** A control record as the two words of an access record. */
export function controlRecord(op: number, operand: number, count = 1): [number, number] {
  const lo =
    (ACCESS_CONTROL |
      (op << CONTROL_OP_SHIFT) |
      ((count - 1) << CONTROL_COUNT_SHIFT) |
      ((operand % 16) << CONTROL_OPERAND_SHIFT)) >>>
    0;
  return [lo, Math.floor(operand / 16)];
}
