// The whole machine: host, mm, KVM, vCPUs and the guest kernel (machine-parts.ts), made from one options
// object, and the loop that feeds it references. The references of the workload are one stream, dealt
// to the vCPUs in turns.

import {
  CONTROL_EXIT,
  CONTROL_FORK,
  CONTROL_HOST,
  CONTROL_INVLPG,
  CONTROL_MARK,
  CONTROL_PROTECT_RO,
  CONTROL_PROTECT_RW,
  CONTROL_SWITCH,
  CONTROL_UNMAP,
} from '../assembly/abi.ts';
import { readControlRecord } from './control-record.ts';
import { CoreBugError, DataError, ERRNO, KvmError } from './core/errors.ts';
import { type Core, loadCore } from './core/load.ts';
import { restoreCore, saveCore } from './core/snapshot.ts';
import type { GuestKernel } from './guest/kernel.ts';
import { hvnOfGfn } from './guest-pages.ts';
import { HostOps } from './host-ops.ts';
import type { VmExit } from './kvm/exit.ts';
import type { Kvm } from './kvm/kvm.ts';
import type { Vcpu } from './kvm/vcpu.ts';
import { makeGuest, makeHost, makeKvm, makeMemory } from './machine-parts.ts';
import type { Host } from './mm/host.ts';
import type { Mm } from './mm/mm.ts';
import type { DeviceName } from './mm/swap-device.ts';
import type { Phase, RunOutcome } from './result.ts';
import type { DeviceTime, ProfileName } from './stats/profiles.ts';
import { type CounterValues, Stats, counterDelta } from './stats/stats.ts';
import { Turns } from './turns.ts';
import { type GfnRange, type VmOptions, planMachine } from './vm-options.ts';
import { type VmSnapshot, saveFields } from './vm-snapshot.ts';
import type { HostOperation } from './workload/host-op.ts';
import { type AccessSource, BATCH_RECORDS } from './workload/source.ts';
import {
  beginVerify,
  beginYardstick,
  verifiedSoFar,
  violationOf,
  withoutYardstick,
} from './yardstick.ts';

/** Told now and then how far a run is; may be awaited. */
export type RunProgress = (part: number | undefined) => void | Promise<void>;

const BATCHES_PER_PROGRESS = 16;

/** One virtual machine on one host. */
export class Vm {
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
  readonly data: GfnRange;
  readonly tables: GfnRange;
  /** Counters by phase, one entry for each CONTROL_MARK. */
  phases: readonly Phase[] = [];
  /** How the run stands. */
  outcome: RunOutcome = 'done';
  /** Operations that CONTROL_HOST records name by index. */
  hostOperations: readonly HostOperation[] = [];
  readonly #turns: Turns;
  /** Whether pages are stamped and accesses checked. */
  readonly verify: boolean;
  readonly backing: 'anon' | 'file';
  #records = 0;
  /** Record of access(). */
  readonly #single: number;
  #markCounters: CounterValues;

  constructor(options: VmOptions) {
    const plan = planMachine(options);
    const core = loadCore(options.core ?? 'release');
    this.core = core;
    this.stats = new Stats(core);
    this.profile = plan.profile;
    this.device = plan.device;
    this.verify = options.verify ?? false;
    this.backing = plan.backing;
    this.data = plan.data;
    this.tables = plan.tables;
    this.kvmGeneration = plan.generation;
    this.mmGeneration = plan.mm.name;
    this.host = makeHost(core, options, plan);
    this.mm = this.host.createMm();
    this.kvm = makeKvm(core, this.mm, options, plan);
    makeMemory(this, plan);
    this.guest = makeGuest(this, options.pcid);
    this.ops = new HostOps(this);
    this.#turns = new Turns(this.kvm.vcpus.length, options.seed ?? 1);
    // Version stamps are kept by gfn, which the yardstick's map of the guest gives.
    if (options.yardstick !== false || this.verify) beginYardstick(this, options.memoryPages);
    else withoutYardstick(this);
    if (this.verify) beginVerify(this);
    for (const vcpu of this.kvm.vcpus) this.guest.switchTo(vcpu, 0);
    this.#single = core.x.arenaAlloc(8) >>> 0;
    this.#markCounters = this.stats.read();
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
    return hvnOfGfn(gfn);
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
    const end = records + count * 8;
    for (let at = records; at < end;) {
      const n = this.#turns.take((end - at) / 8);
      this.#runOn(this.kvm.vcpus[this.#turns.vcpu] as Vcpu, at, n);
      at += n * 8;
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
        throw new CoreBugError(violationOf(this.core, exit));
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
    const { mem } = this.core;
    const { op, operand, count } = readControlRecord(mem.load32(at), mem.load32(at + 4));
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
      ops: this.ops.save(),
      turns: this.#turns.save(),
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
    this.kvm.straight.forget();
    this.guest.restore(snapshot.guest);
    this.ops.restore(snapshot.ops);
    this.#turns.restore(snapshot.turns);
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
    return this.verify ? verifiedSoFar(this.core) : undefined;
  }
}

/** Makes a machine. */
export function createVm(options: VmOptions): Vm {
  return new Vm(options);
}
