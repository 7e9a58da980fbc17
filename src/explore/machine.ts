// A machine small enough to be explored: the emulator's own host, mm and KVM with a few pages, one TLB
// entry a page, devices that take no time, and a monitor that knows what the guest wrote.

import {
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  EFER_LMA,
  EFER_NXE,
  EXIT_DONE,
  EXIT_NPF,
  EXIT_PAGE_FAULT,
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  FRAME_FLAGS,
  LRU_POLICY_FIRST,
  MM_OUT_WORDS,
  PG_LOCKED,
  TLB_LIST_ENTRY,
  TLB_LIST_GVA,
  TLB_LIST_PFN,
  VCPU_EXIT_REASON,
  VERDICT_KEEP,
  VERDICT_RECLAIM,
} from '../../assembly/abi.ts';
import { loadCore } from '../core/load.ts';
import type { Core } from '../core/load.ts';
import { kvmPageFault } from '../kvm/page-fault.ts';
import type { SeededBug } from '../kvm/fault-protocol.ts';
import { Kvm } from '../kvm/kvm.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import { MM_GENERATIONS } from '../mm/generation.ts';
import { Host } from '../mm/host.ts';
import type { Mm } from '../mm/mm.ts';
import type { MmuNotifierOps } from '../mm/mmu-notifier.ts';
import { BlockDevice, DEVICES } from '../mm/swap-device.ts';
import type { ReclaimPolicy } from '../mm/vmscan/policy.ts';
import { pageOfLock } from '../sched/locks.ts';
import { runStraight } from '../sched/task.ts';
import type { Task } from '../sched/task.ts';
import { Mirror } from './mirror.ts';
import { Monitor } from './monitor.ts';
import type { WordRange } from './memory.ts';
import type { ProtocolPreset } from './presets.ts';
import type { StateObject } from './records.ts';
import { ViolationSink } from './system.ts';

/** First gfn of the guest's data pages; its four tables lie at gfns 0 to 3. */
export const DATA_GFN = 8;
/** First host page of the guest's memory. */
export const GUEST_HVN = 0x100;
/** The guest's four tables in the host, resident, and one more page beside them. */
const TABLE_HVN = 0x10;
const RESIDENT_PAGES = 5;
/** Where the guest maps that page: the last of its leaf table. */
const SPARE_PAGE = 511;
const PT_FLAGS = 7;
/** Words of a page. */
const PAGE_WORDS = 1024;

/** A swap device or disk that takes no time; a fault-injection actor makes requests fail. */
class ExploredDevice extends BlockDevice {
  failing = 0;
  readonly stateFields = ['failing'] as const;

  constructor() {
    super(DEVICES.zram);
  }

  override read(): number {
    return this.failing !== 0 ? -1 : 0;
  }

  override write(): number {
    return 0;
  }

  override nextWriteFails(): boolean {
    return this.failing !== 0;
  }
}

/** Reclaim of whatever page is oldest, after one test for young. */
class ExploredPolicy implements ReclaimPolicy {
  readonly name = 'explored';
  readonly cluster = 1;
  #host!: Host;
  /** Pages that may still be looked at in this run. */
  left = 0;
  readonly stateFields = ['left'] as const;

  attach(host: Host): void {
    this.#host = host;
    host.core.x.lruSetMap(LIST, LIST, LIST, LIST, 0);
  }

  begin(): void {
    // Twice around: a page that was young at first may be old by then.
    this.left = 2 * (this.#host.core.x.lruSize(LIST) >>> 0);
  }

  next(): number {
    if (this.left === 0) return 0;
    this.left--;
    return this.#host.core.x.lruIsolateTail(LIST) >>> 0;
  }

  mayStop(): boolean {
    return true;
  }

  asks(): boolean {
    return true;
  }

  judge(_pfn: number, referenced: number): number {
    return referenced > 0 ? VERDICT_KEEP : VERDICT_RECLAIM;
  }

  putBack(pfn: number, verdict: number): void {
    this.#host.core.x.lruVerdict(pfn, verdict);
  }
}

const LIST = LRU_POLICY_FIRST;

/** Options of a machine. */
export interface MachineOptions {
  /** Data pages of the guest. @default 1 */
  readonly pages?: number;
  /** @default 1 */
  readonly vcpus?: number;
  /** Swap slots; few are used again soon. @default 8 */
  readonly swapPages?: number;
  readonly bug?: SeededBug | undefined;
}

function wordsAt(address: number, words: number): WordRange {
  return { first: address >>> 2, end: (address >>> 2) + words };
}

/** The access of a frame of guestAccess() or deviceAccess(), in words. */
function accessName(s: Int32Array, at: number): string {
  return `${s[at + 2] ? 'write' : 'read'} page ${s[at + 1]}`;
}

/** The machine of a scenario. */
export class ExploredMachine {
  readonly preset: ProtocolPreset;
  readonly core: Core;
  readonly host: Host;
  readonly mm: Mm;
  readonly kvm: Kvm | null;
  readonly mirror: Mirror | null;
  readonly device = new ExploredDevice();
  readonly sink = new ViolationSink();
  readonly monitor: Monitor;
  readonly pages: number;
  /** Id of the secondary MMU's registration, 0: none. */
  registration = 0;
  /** Address of one access record a vCPU, and of the list of TLB entries. */
  readonly #records: number;
  readonly #scratch: number;
  readonly #vcpus: number;

  constructor(preset: ProtocolPreset, options: MachineOptions = {}) {
    this.preset = preset;
    this.pages = options.pages ?? 1;
    this.#vcpus = options.vcpus ?? 1;
    this.core = loadCore('explore');
    this.host = new Host(this.core, {
      frames: 8,
      residentFrames: 8,
      swapPages: options.swapPages ?? 8,
      generation: {
        ...MM_GENERATIONS[preset.mm],
        forkHook: preset.forkHook,
        protectHook: preset.protectHook,
        swapPrepare: preset.swapPrepare,
      },
      aging: preset.aging,
      policy: new ExploredPolicy(),
      swap: this.device,
      disk: this.device,
    });
    this.mm = this.host.createMm();
    this.mm.notifiers.chainLock = preset.chainLock;
    this.mm.notifiers.releaseOrder = preset.releaseOrder;
    this.mm.notifiers.freeing = options.bug === 'no-synchronize' ? 'at-once' : preset.freeing;
    this.mm.notifiers.takeAllLocks = preset.takeAllLocks;
    this.mm.notifiers.onMisuse = (what) => this.sink.report('no_use_after_free', what);
    this.mm.mmap({ hvn: TABLE_HVN, npages: RESIDENT_PAGES, resident: true });
    this.mm.mmap({ hvn: GUEST_HVN, npages: this.pages });
    this.#scratch = this.core.x.arenaAlloc(4096) >>> 0;
    this.#records = this.core.x.arenaAlloc(4096) >>> 0;
    if (preset.secondary === 'kvm') {
      this.kvm = this.#makeKvm(options);
      this.mirror = null;
      this.registration = this.mm.notifiers.list.head;
    } else {
      this.kvm = null;
      const checks = options.bug !== 'no-retry';
      this.mirror = new Mirror(this.mm, GUEST_HVN, this.pages, preset.interval === true, checks);
      this.registration = this.mm.registerNotifier(this.mirror.ops);
    }
    const { core, host, mm, sink, pages, kvm, mirror } = this;
    const mirrored = mirror === null ? null : (page: number): number => mirror.frameOf(page);
    const pins = (): boolean => kvm?.pinsPages === true;
    const nested = kvm?.tdp === true ? DATA_GFN : -1;
    const first = GUEST_HVN;
    this.monitor = new Monitor({ core, host, mm, sink, pages, first, mirrored, pins, nested });
    if (kvm?.tdp === true) this.#mapTables(kvm);
  }

  #makeKvm(options: MachineOptions): Kvm {
    const { preset } = this;
    const kvm = new Kvm({
      core: this.core,
      mm: this.mm,
      aging: preset.aging,
      generation: preset.kvm,
      protocol: { retry: preset.retry, bug: options.bug },
      tdp: preset.tdp === true,
      vcpus: options.vcpus ?? 1,
      tlb: { l1Sets: 1, l1Ways: 2, l2Sets: 1, l2Ways: 2 },
      hashShift: 1,
      // Every fault takes the way that can be preempted.
      quickFaults: false,
    });
    kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: RESIDENT_PAGES, hvn: TABLE_HVN });
    kvm.setUserMemoryRegion({ slot: 1, gfn: DATA_GFN, npages: this.pages, hvn: GUEST_HVN });
    for (const vcpu of kvm.vcpus) {
      vcpu.setRegisters({ cr0: CR0_PG | CR0_WP, cr4: CR4_PAE, efer: EFER_LMA | EFER_NXE });
    }
    const boot = kvm.vcpus[0] as Vcpu;
    for (let level = 0; level < 3; level++) {
      boot.writeGuestPte(level, 0, ((level + 1) << 12) | PT_FLAGS, 0);
    }
    for (let page = 0; page < this.pages; page++) {
      // Accessed and dirty already, so that the guest's own tables do not change any more.
      boot.writeGuestPte(3, page, ((DATA_GFN + page) << 12) | PT_FLAGS | 0x60, 0);
    }
    for (const vcpu of kvm.vcpus) vcpu.setCr3(0);
    return kvm;
  }

  /** Under TDP the guest's tables are mapped like all else: an access beside them brings them in. */
  #mapTables(kvm: Kvm): void {
    const [vcpu] = kvm.vcpus as [Vcpu];
    vcpu.writeGuestPte(3, SPARE_PAGE, ((RESIDENT_PAGES - 1) << 12) | PT_FLAGS | 0x60, 0);
    while (!this.#enterGuest(vcpu, SPARE_PAGE, false)) {
      const result = runStraight(this.host.task, (t, at) => kvmPageFault(t, at, vcpu));
      if (result < 0) throw new Error(`the guest's tables cannot be mapped: ${result}`);
    }
    this.core.x.flushTlbs();
  }

  /**
   * Words that are dead between two steps: results of the core's last call, the access that a vCPU is
   * about to make, the list of its TLB. They would tell states apart that behave alike.
   */
  get dead(): WordRange[] {
    return [
      wordsAt(this.core.x.mmOut() >>> 0, MM_OUT_WORDS),
      wordsAt(this.#records, this.#vcpus * 2),
      wordsAt(this.#scratch, PAGE_WORDS),
    ];
  }

  /** Objects whose fields are state. */
  get records(): StateObject[] {
    const all = [...this.host.stateObjects(), ...(this.kvm?.stateObjects() ?? []), this.device];
    if (this.mirror !== null) all.push(this.mirror);
    if (this.mirror?.interval) all.push(this.mirror.interval);
    return all.filter((object) => 'stateFields' in object) as StateObject[];
  }

  // ---- what the guest does ---------------------------------------------------------------------

  /**
   * A vCPU's access to page s[at + 1], a write if s[at + 2]: enters the guest, faults until the
   * access is made. Result: 0, or a negative errno.
   */
  guestAccess(t: Task, at: number, vcpu: Vcpu): boolean {
    const s = t.stack;
    for (;;) {
      switch (s[at]) {
        case 0:
          if (!t.fresh && t.preempt(at, 1, `vcpu_enter_guest: ${accessName(s, at)}`)) return false;
        case 1:
          if (this.#tryAccess(s, at, vcpu)) return t.done(at, 0);
          s[at + 4] = 0;
          if (t.preempt(at, 2, 'vmexit: page fault')) return false;
        case 2:
          // The fault itself uses the page: the host marks it young on the way.
          this.monitor.use(s[at + 1] as number);
          if (!kvmPageFault(t, at + 4, vcpu)) return false;
          if (t.result < 0) return t.done(at, t.result);
          s[at] = 0;
      }
    }
  }

  /** The access by TLB or walk, in one step; false: it faults. */
  #tryAccess(s: Int32Array, at: number, vcpu: Vcpu): boolean {
    const page = s[at + 1] as number;
    const write = s[at + 2] !== 0;
    this.monitor.use(page);
    if (!this.#enterGuest(vcpu, page, write)) return false;
    this.monitor.accessed(page, write, this.#tlbFrame(vcpu, page));
    return true;
  }

  /** vcpu_enter_guest for one access; false: it faults. */
  #enterGuest(vcpu: Vcpu, page: number, write: boolean): boolean {
    const { x, mem } = this.core;
    const record = this.#records + vcpu.id * 8;
    vcpu.roots.enter(vcpu.cr3);
    mem.store32(record, (page << 12) | (write ? ACCESS_WRITE : ACCESS_READ) | ACCESS_SUPERVISOR);
    mem.store32(record + 4, 0);
    x.runBatch(vcpu.ptr, record, 1);
    const reason = mem.load32(vcpu.ptr + VCPU_EXIT_REASON);
    if (reason === EXIT_DONE) return true;
    if (reason !== EXIT_PAGE_FAULT && reason !== EXIT_NPF)
      throw new Error(`the guest left with reason ${reason}`);
    return false;
  }

  /** Frame that a vCPU's TLB holds for a page, or -1. */
  #tlbFrame(vcpu: Vcpu, page: number): number {
    const { x, mem } = this.core;
    const count = x.tlbList(vcpu.ptr, this.#scratch, 16) >>> 0;
    for (let i = 0; i < count; i++) {
      const entry = this.#scratch + i * TLB_LIST_ENTRY;
      if (mem.load32(entry + TLB_LIST_GVA) >>> 12 === page) return mem.load32(entry + TLB_LIST_PFN);
    }
    return -1;
  }

  /** The mirror's device reads or writes page s[at + 1]; faults until it is mapped. */
  deviceAccess(t: Task, at: number): boolean {
    const s = t.stack;
    const mirror = this.mirror as Mirror;
    for (;;) {
      switch (s[at]) {
        case 0:
          if (!t.fresh && t.preempt(at, 1, `device: ${accessName(s, at)}`)) return false;
        case 1: {
          const page = s[at + 1] as number;
          this.monitor.use(page);
          const pfn = mirror.frameOf(page);
          if (pfn >= 0) {
            this.monitor.accessed(page, s[at + 2] !== 0, pfn);
            return t.done(at, 0);
          }
          s[at + 4] = 0;
          s[at + 5] = page;
          s[at] = 2;
        }
        case 2:
          this.monitor.use(s[at + 1] as number);
          if (!mirror.fault(t, at + 4)) return false;
          if (t.result < 0) return t.done(at, t.result);
          s[at] = 0;
      }
    }
  }

  /** A page that is locked says so in its flags, where the core looks (trylock_page). */
  lockChanged(lock: number, held: boolean): void {
    const pfn = pageOfLock(lock);
    if (pfn < 0) return;
    const { x, mem } = this.core;
    const flags = (x.framePtr(pfn) >>> 0) + FRAME_FLAGS;
    mem.store32(flags, held ? mem.load32(flags) | PG_LOCKED : mem.load32(flags) & ~PG_LOCKED);
  }

  /** Replaces the ops of the registered notifier. */
  replaceOps(by: (ops: MmuNotifierOps) => MmuNotifierOps): void {
    const { list } = this.mm.notifiers;
    list.change(this.registration, { ops: by(list.entry(this.registration).ops) });
  }

  /** The secondary MMU drops all that it maps: its user closes it. */
  dropAll(): void {
    if (this.kvm !== null) {
      if (this.kvm.tdp) this.core.x.tdpZapAll(1);
      else this.core.x.zapAllFast();
      this.core.x.flushTlbs();
    }
    if (this.mirror !== null) this.mirror.ptes = this.mirror.ptes.map(() => 0);
  }
}
