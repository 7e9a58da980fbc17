// A recording's script on the emulator, step by step: the operations, the snapshot after each step, and what KVM's
// statistics say.

import * as abi from '../../../assembly/abi.ts';
import { CoreBugError } from '../../core/errors.ts';
import { loadCore, untraced } from '../../core/load.ts';
import type { Core, CoreBuild } from '../../core/load.ts';
import { Kvm } from '../../kvm/kvm.ts';
import { AGING_PRESETS, type AgingPreset } from '../../mm/aging.ts';
import { MM_GENERATIONS } from '../../mm/generation.ts';
import { Host } from '../../mm/host.ts';
import { isNormalPte } from '../../mm/host-pte.ts';
import { khugepagedPass } from '../../mm/khugepaged.ts';
import type { Mm } from '../../mm/mm.ts';
import { BlockDevice, DEVICES } from '../../mm/swap-device.ts';
import type { StepRunner } from './check.ts';
import { DriverMemory } from './driver-memory.ts';
import { FACILITIES, type Facilities } from './facilities.ts';
import { GroupRoom } from './group-room.ts';
import { RecordedGuest } from './guest.ts';
import { NOTHING, USUAL, type History, type Seen } from './history.ts';
import { OBJECT_BYTES, RecordedHost } from './host-ops.ts';
import { HostPages } from './host-pages.ts';
import { KvmStatistics } from './kvm-statistics.ts';
import {
  DATA_GFN,
  DATA_HVN,
  DATA_VPN,
  gfnName,
  gpteGfn,
  gpteText,
  INFRA_HVN,
  INFRA_PAGES,
  TABLES,
} from './layout.ts';
import { generationOf } from './kernel.ts';
import { LruSwitch } from './lru-switch.ts';
import { OurFrames } from './our-frames.ts';
import type { OurStep } from './our-step.ts';
import { RecordedMemory } from './recorded-memory.ts';
import { RecordedVcpu } from './recorded-vcpu.ts';
import type { JsonObject, KvmEvent, PageState } from './recording.ts';
import type { Script } from './script.ts';
import { ShadowState } from './shadow-state.ts';
import { MemoryStamps } from './stamps.ts';
import { EventWriter } from './stream.ts';
import type { RawEvent } from './stream.ts';

/** Events that name a gva. */
const PAGE_EVENTS = new Set<number>([
  abi.EVENT_GUEST_WALK,
  abi.EVENT_MMU_INVALIDATE_GVA,
  abi.EVENT_FLUSH_TLB_GVA,
  abi.EVENT_HANDLE_MMIO_PAGE_FAULT,
]);

/** Pages on the lists of the rest of the recorded machine: more than any script evicts. */
const OUTSIDE_PAGES = 1 << 14;

/** The events without those of functions that the compiler put into their callers. */
function withoutInlined(events: readonly KvmEvent[]): KvmEvent[] {
  return events.filter(({ t, pfn }, i) => {
    const before = events[i - 1];
    const marked = before?.t === 'folio_mark_accessed' && before.pfn === pfn;
    return t !== 'wp_page_copy' && !(t === 'folio_activate' && marked);
  });
}

/** Options of a run. */
export interface MachineOptions {
  readonly npt: boolean;
  /** The history of the boot. Default: the usual one. */
  readonly history?: History;
  /** What the script's host operations find in the kernel. Default: all. */
  readonly facilities?: Facilities;
  /** Whether every load of the guest is compared with what memory must hold (stamps.ts). */
  readonly stamps?: boolean;
  readonly build?: CoreBuild;
}

/** The machine. */
export class RecordedMachine implements StepRunner {
  readonly core: Core;
  readonly host: Host;
  readonly mm: Mm;
  readonly kvm: Kvm;
  readonly #script: Script;
  readonly #npt: boolean;
  readonly #cpu: RecordedVcpu;
  readonly #guest: RecordedGuest;
  readonly #memory: RecordedMemory;
  readonly #driver: DriverMemory;
  readonly #frames: OurFrames;
  readonly #hostPages: HostPages;
  readonly #shadow: ShadowState;
  readonly #statistics: KvmStatistics;
  readonly #ops: RecordedHost;
  readonly #writer: EventWriter;
  readonly #stamps: MemoryStamps | null = null;
  readonly #history: History;
  readonly #facilities: Facilities;
  readonly #room: GroupRoom;
  #raw: RawEvent[] = [];
  #step = -1;
  /** Events after the counters of the last step were read. */
  #untold: readonly KvmEvent[] = [];

  constructor(script: Script, options: MachineOptions) {
    const { history = USUAL, facilities = FACILITIES } = options;
    const generation = generationOf(facilities);
    this.#script = script;
    this.#npt = options.npt;
    this.#history = history;
    this.#facilities = facilities;
    this.core = loadCore(options.build ?? 'release');
    const frames = new OurFrames(this.core);
    this.#frames = frames;
    this.#writer = new EventWriter(
      options.npt,
      (pfn) => frames.name(pfn),
      (pfn) => frames.born(pfn),
      !MM_GENERATIONS[generation].folios,
    );
    const aging: AgingPreset = { ...AGING_PRESETS.clear_flush_young, hooks: '6.x' };
    this.host = new Host(this.core, {
      frames: 1 << 20,
      residentFrames: 0,
      swapPages: 1 << 17,
      generation: MM_GENERATIONS[generation],
      swap: new BlockDevice(DEVICES.zram),
      thp: 'madvise',
      aging,
      policy: new LruSwitch(),
    });
    this.host.slabPages = history.slabPages;
    this.host.slabByRcu = history.slabFreed !== 'within';
    this.host.khugepagedWaits = history.khugepagedWaits;
    this.host.khugepagedHolds = history.khugepagedHolds;
    this.host.ksm.othersGone = history.othersMerged;
    this.core.x.lruSetBatch(this.host.generation.folioBatch);
    this.#room = new GroupRoom(this.host, history.stepPages);
    this.core.x.frameChargeTables(1);
    // The recorded machine's other processes and files.
    this.core.x.workingsetSetOutside(OUTSIDE_PAGES);
    this.mm = this.host.createMm();
    this.#memory = new RecordedMemory(this.host, this.mm, script);
    this.#driver = new DriverMemory(this.host, this.mm, script, history);
    this.#driver.map();
    this.#memory.mapInfra();
    this.#memory.mapData();
    this.#driver.mapGrownHeap(history.heapPages);
    this.kvm = new Kvm({
      core: this.core,
      mm: this.mm,
      aging,
      generation,
      tdp: options.npt,
    });
    this.kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: INFRA_PAGES, hvn: INFRA_HVN });
    this.kvm.setUserMemoryRegion({
      slot: 1,
      gfn: DATA_GFN,
      npages: script.pages,
      hvn: DATA_HVN,
      flags: script.slotFlags,
    });
    const vcpu = this.kvm.vcpus[0];
    if (vcpu === undefined) throw new CoreBugError('a VM has a vCPU');
    vcpu.setRegisters({ cr0: 0x80050033, cr4: 0x20, efer: 0x100 | abi.EFER_LMA | abi.EFER_NXE });
    vcpu.setGuestCr3(TABLES.A_PML4);
    this.#cpu = new RecordedVcpu(this.core, vcpu, options.npt);
    this.#guest = new RecordedGuest(this.#cpu);
    if (options.stamps === true) {
      this.#stamps = new MemoryStamps(this.core, this.mm, script);
      this.#cpu.watch(this.#stamps);
    }
    this.#ops = new RecordedHost(
      this.host,
      this.mm,
      this.kvm,
      script,
      this.#driver,
      history,
      facilities,
    );
    this.#hostPages = new HostPages(this.core, this.mm, frames);
    this.#shadow = new ShadowState(this.kvm, frames);
    this.#statistics = new KvmStatistics(this.kvm, this.#cpu, this.#ops, options.npt);
    this.host.hooks = { anonPrepared: () => this.#ops.chargeObject() };
    this.core.x.memcgDrainStock();
    this.core.x.memcgFlush(0);
    this.core.x.memcgUpdated(history.updates);
    this.core.x.swapSetReturned(history.slots);
  }

  /** Loads that were compared with what memory must hold. */
  get checks(): number {
    return this.#stamps?.checks ?? 0;
  }

  /** Whether the guest has met a page that may have been emptied or not. */
  get uncertain(): boolean {
    return this.#stamps?.uncertain ?? false;
  }

  next(seen: Seen = NOTHING): OurStep | null {
    const step = this.#step++;
    this.#ops.reclaims = seen.reclaims;
    this.#ops.tlb.young = seen.young;
    this.#timer(step, 0);
    const { steps } = this.#script;
    if (step > steps.length) return null;
    this.#raw = [];
    this.#untraced(() => this.#driver.begins());
    let faults = 0;
    let hostFaults = 0;
    this.core.trace((id, a, b, c, d) => {
      if (id === abi.EVENT_KVM_PAGE_FAULT) {
        this.#room.fault();
        this.#timer(step, ++faults);
      }
      if (id === abi.EVENT_HOST_FAULT_RET) this.#drainWithin(step, ++hostFaults, seen);
      // The emulator's accesses are whole pages; the recording's have an offset.
      const offset = b === 0 && PAGE_EVENTS.has(id) ? this.#cpu.offset : b;
      // The recordings show what the VMM's process does, not its child.
      if (this.#ops.byOthers && id !== abi.EVENT_FRAME_ALLOC) return;
      this.#raw.push([id, a, offset, c, d]);
    });
    let result: readonly JsonObject[];
    let extra: Pick<OurStep, 'age' | 'dirty'> = {};
    try {
      if (step === -1) result = this.#warmUp();
      else if (step === steps.length) result = this.#teardown();
      else {
        const words = (steps[step] as { words: readonly string[] }).words;
        const text = (steps[step] as { text: string }).text;
        if (text.startsWith('g ')) {
          this.#ops.tlb.flush();
          if (this.#history.opensCounters) this.#room.begin(seen.scans);
          result = this.#guest.run(words);
          this.#room.stopped();
          // KVM_GET_REGS.
          this.#ops.chargeObject();
        } else {
          const { limit } = this.host;
          const done = this.#ops.run(words);
          this.#room.limitSet(limit);
          const { errno } = done.result;
          this.#stamps?.ran(words, typeof errno === 'string' ? errno : undefined);
          result = [done.result];
          extra = done.extra;
        }
      }
      const freed = this.host.gracePeriod();
      if (freed && this.#history.slabFreed === 'counted') this.core.x.memcgUpdated(OBJECT_BYTES);
      if (this.#history.unseenRun) this.#ops.hidden(() => this.#room.ended(seen.swap));
      if (this.#history.opensCounters) this.#openCounters();
      this.#countObjects(step);
      this.#driver.logCounters();
      this.#readStatistics(seen);
      this.#driver.logStatistics();
    } finally {
      this.core.trace(null);
    }
    const last = step === steps.length;
    const events = this.#seen(this.#writer.write(this.#raw));
    const counters = last ? {} : this.#statistics.delta([...this.#untold, ...events]);
    this.#untold = step === this.#history.khugepagedScans ? this.#khugepaged() : [];
    this.#untraced(() => this.#log(step));
    this.#drainAsSeen(seen);
    return {
      result,
      events,
      counters,
      pages: last ? [] : this.#pages(),
      shadowPages: last ? [] : this.#shadow.shadowPages(),
      ...extra,
    };
  }

  /** The bytes of kernel objects exceed a page in this step, if the history says so. */
  #countObjects(step: number): void {
    if (step !== this.#history.objectsAt) return;
    this.#ops.countObjects();
    this.core.x.memcgUpdated(this.#history.objectsRest);
  }

  /** What the driver does while the trace is off; frames have new names all the same. */
  #untraced(work: () => void): void {
    this.core.trace((id, pfn) => {
      if (id === abi.EVENT_FRAME_ALLOC) this.#frames.born(pfn);
    });
    work();
    this.core.trace(null);
  }

  /** The driver logs what a step came to. */
  #log(step: number): void {
    if (!this.#driver.forks) return;
    this.#driver.logTrace(this.#raw);
    if (this.#script.steps[step]?.snapshot === false) return;
    const leaf = this.#npt ? DATA_GFN : DATA_VPN;
    const leafSptes = Array.from({ length: this.#script.pages }, (_, i) => leaf + i).some(
      (page) => this.#shadow.spte(page).level === 1,
    );
    this.#driver.logSnapshot(this.#shadow.shadowPages().length, leafSptes);
  }

  /** The driver opens a file for each counter; what its own memory's faults do is not recorded. */
  #openCounters(): void {
    this.#room.opened(() => this.#ops.chargeObject());
    this.#ops.hidden(() => this.#driver.readNames());
    this.#room.closed();
  }

  /** khugepaged comes to scan once a step's events are recorded and KVM's counters read. Result: the events. */
  #khugepaged(): KvmEvent[] {
    const raw: RawEvent[] = [];
    this.core.trace((...event) => raw.push(event));
    khugepagedPass(this.host);
    this.core.trace(null);
    return this.#writer.write(raw);
  }

  /** The timer flushes the statistics after so many of a step's faults, if it did so then. */
  #timer(step: number, faults: number): void {
    const due = this.#history.flushes.some((at) => at.step === step && at.faults === faults);
    if (due) this.core.x.memcgFlush(1);
  }

  /**
   * The driver reads memory.stat after each step, which flushes the group's statistics if due. The
   * kernel's timer flushes them too, every two seconds: when it did is seen in the recording.
   */
  #readStatistics(seen: Seen): void {
    const { x } = this.core;
    x.memcgFlush(0);
    if (seen.lists === null) return;
    const [inactive, active] = seen.lists;
    const is = (read: (list: number) => number): boolean =>
      read(abi.LRU_INACTIVE_ANON) >>> 0 === inactive && read(abi.LRU_ACTIVE_ANON) >>> 0 === active;
    if (!is((list) => x.memcgStat(list)) && is((list) => x.lruSize(list))) x.memcgFlush(1);
  }

  /** The CPU's batches that are emptied after so many host faults of a step. */
  #drainWithin(step: number, faults: number, seen: Seen): void {
    for (const drain of this.#history.drains) {
      if (drain.step !== step || drain.faults !== faults) continue;
      if (drain.batch === 'locked') this.#drainAsSeen(seen);
      else untraced(this.core, () => this.core.x.lruAddDrain());
    }
  }

  /**
   * After a fork() the driver's own pages, which are locked, are copied as it writes to them. The copies wait in the same
   * batch as the locked data pages, and as all of them where mlocked pages have no batch of their own; in which step it is
   * full is seen in the recording.
   */
  #drainAsSeen({ listed, evictable }: Seen): void {
    if (!this.#ops.forked) return;
    this.#drainThrough(listed, abi.PG_LRU_PENDING);
    if (this.host.generation.mlockBatch) this.#drainThrough(evictable, abi.PG_UNEVICTABLE);
  }

  /** Empties the batch up to the last of the data pages that still have a flag. */
  #drainThrough(pages: readonly number[], flag: number): void {
    const { x } = this.core;
    for (const page of pages) {
      const pte = x.hpteGet(this.mm.id, DATA_HVN + page) >>> 0;
      if (!isNormalPte(pte)) continue;
      const pfn = pte >>> abi.HPTE_PFN_SHIFT;
      if ((x.pageFlags(pfn) & flag) !== 0) x.lruDrainThrough(pfn);
    }
  }

  #warmUp(): JsonObject[] {
    return [...this.#guest.run(['nop']), ...this.#guest.readAt(0x7f0000000)];
  }

  #teardown(): JsonObject[] {
    this.core.x.lruAddDrain();
    this.kvm.destroy();
    return [{ rc: '0' }];
  }

  /** The events without those that the recorder could not see. */
  #seen(events: KvmEvent[]): KvmEvent[] {
    return this.#facilities.inlines ? withoutInlined(events) : events;
  }

  #pages(): PageState[] {
    const pages: PageState[] = [];
    // mincore() fails for the whole range when a part of it is not mapped.
    const whole = this.#ops.allMapped();
    for (let i = 0; i < this.#script.pages; i++) {
      const gpte =
        i < 15 * 512 ? this.#memory.gpte(TABLES.A_PT + (i >>> 9), i & 511) : { lo: 0, hi: 0 };
      const gfn = gpteGfn(gpte.lo, gpte.hi);
      const target = gpte.lo & 1 && gfn !== DATA_GFN + i ? `->${gfnName(gfn)}` : '';
      pages.push({
        host: this.#hostPages.state(i, whole),
        shadow: this.#shadow.spte(this.#npt ? DATA_GFN + i : DATA_VPN + i),
        gpte: gpteText(gpte.lo, gpte.hi) + target,
      });
    }
    return pages;
  }
}
