// A recording's script on the emulator, step by step: the host operations, the snapshot after each
// step, and the counters as KVM's statistics name them.

import {
  EFER_LMA,
  EFER_NXE,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_PROTNONE,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  PT_PRESENT_BIT,
  ROLE_ACCESS_SHIFT,
  ROLE_CR0_WP,
  ROLE_DIRECT,
  ROLE_EFER_NX,
  ROLE_INVALID,
  ROLE_LEVEL_MASK,
  SP_GFN,
  SP_LINK_NEXT,
  SP_PRESENT,
  SP_ROLE,
  SP_ROOT_COUNT,
  SP_UNSYNC,
  SP_UNSYNC_CHILDREN,
  SP_VALID_GEN,
  SP_WRITE_FLOODING,
  VCPU_ROOT,
} from '../../../assembly/abi.ts';
import * as abi from '../../../assembly/abi.ts';
import { CoreBugError } from '../../core/errors.ts';
import { loadCore } from '../../core/load.ts';
import type { Core, CoreBuild } from '../../core/load.ts';
import { Kvm } from '../../kvm/kvm.ts';
import { AGING_PRESETS, type AgingPreset } from '../../mm/aging.ts';
import { MM_GENERATIONS } from '../../mm/generation.ts';
import { Host } from '../../mm/host.ts';
import type { Mm } from '../../mm/mm.ts';
import { BlockDevice, DEVICES } from '../../mm/swap-device.ts';
import { VM_DONTCOPY, VM_HUGEPAGE, VM_LOCKED, VM_NOHUGEPAGE, VM_NORESERVE } from '../../mm/vma.ts';
import type { StepRunner } from './check.ts';
import type { OurStep } from './our-step.ts';
import { RecordedGuest } from './guest.ts';
import { NOTHING, USUAL, type History, type Seen } from './history.ts';
import { CHILD_HVNS, RecordedHost } from './host-ops.ts';
import {
  DATA_GFN,
  DATA_HVN,
  DATA_VPN,
  gfnName,
  gpteGfn,
  gpteText,
  hpteText,
  INFRA_HVN,
  INFRA_PAGES,
  spteText,
  TABLES,
} from './layout.ts';
import { LruSwitch } from './lru-switch.ts';
import { RecordedVcpu } from './recorded-vcpu.ts';
import type { JsonObject, PageState } from './recording.ts';
import type { Script } from './script.ts';
import { MemoryStamps } from './stamps.ts';
import { zeroName } from './zero-page.ts';
import { EventWriter } from './stream.ts';
import type { RawEvent } from './stream.ts';

const FLAG_NAMES: readonly [name: string, bit: number][] = [
  ['referenced', abi.PG_REFERENCED],
  ['uptodate', 0],
  ['dirty', abi.PG_DIRTY],
  ['lru', abi.PG_LRU],
  ['active', abi.PG_ACTIVE],
  ['anon', abi.PG_ANON],
  ['swapcache', abi.PG_SWAPCACHE],
  ['swapbacked', abi.PG_SWAPBACKED],
  ['compound_head', abi.PG_HUGE],
  ['unevictable', abi.PG_UNEVICTABLE],
  ['ksm', abi.PG_KSM],
  ['thp', abi.PG_HUGE],
  ['mlocked', abi.PG_UNEVICTABLE],
  ['mappedtodisk', abi.PG_ANON_EXCLUSIVE],
];

/** KVM statistics that a step's events tell. */
const COUNTED_EVENTS: Readonly<Record<string, string>> = {
  flush_remote_tlbs: 'remote_tlb_flush_requests',
  emulate_insn: 'insn_emulation',
};
const COUNTED_SHADOW_EVENTS: Readonly<Record<string, string>> = {
  sp_zap: 'mmu_shadow_zapped',
  kvm_mmu_pte_write: 'mmu_pte_write',
};

/** Events that name a gva. */
const PAGE_EVENTS = new Set<number>([
  abi.EVENT_GUEST_WALK,
  abi.EVENT_MMU_INVALIDATE_GVA,
  abi.EVENT_FLUSH_TLB_GVA,
  abi.EVENT_HANDLE_MMIO_PAGE_FAULT,
]);

/** Pages on the lists of the rest of the recorded machine: more than any script evicts. */
const OUTSIDE_PAGES = 1 << 14;

/** Bytes of kernel objects that are counted at once: more than a page. */
const OBJECT_BYTES = 4104;

/** SPTE_MMIO in an entry's high word. */
const MMIO_HIGH = 1 << 19;

/** Options of a run. */
export interface MachineOptions {
  readonly npt: boolean;
  /** The history of the boot. Default: the usual one. */
  readonly history?: History;
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
  readonly #ops: RecordedHost;
  readonly #writer: EventWriter;
  readonly #stamps: MemoryStamps | null = null;
  readonly #generation = new Map<number, number>();
  readonly #history: History;
  #raw: RawEvent[] = [];
  #gauges: Record<string, number> = {};
  #step = -1;

  constructor(script: Script, options: MachineOptions) {
    const history = options.history ?? USUAL;
    this.#script = script;
    this.#npt = options.npt;
    this.#history = history;
    this.core = loadCore(options.build ?? 'release');
    this.#writer = new EventWriter(
      options.npt,
      (pfn) => this.#frameName(pfn),
      (pfn) => this.#generation.set(pfn, (this.#generation.get(pfn) ?? 0) + 1),
    );
    const aging: AgingPreset = { ...AGING_PRESETS.clear_flush_young, hooks: '6.x' };
    this.host = new Host(this.core, {
      frames: 1 << 20,
      residentFrames: 0,
      swapPages: 1 << 17,
      generation: MM_GENERATIONS['6.1'],
      swap: new BlockDevice(DEVICES.zram),
      thp: 'madvise',
      aging,
      policy: new LruSwitch(),
    });
    this.host.slabPages = history.slabPages;
    this.core.x.lruSetBatch(15);
    this.core.x.frameChargeTables(1);
    // The recorded machine's other processes and files.
    this.core.x.workingsetSetOutside(OUTSIDE_PAGES);
    this.mm = this.host.createMm();
    this.#mapInfra(history.forkPages);
    this.#mapData();
    this.kvm = new Kvm({
      core: this.core,
      mm: this.mm,
      aging,
      generation: '6.1',
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
    vcpu.setRegisters({ cr0: 0x80050033, cr4: 0x20, efer: 0x100 | EFER_LMA | EFER_NXE });
    vcpu.setGuestCr3(TABLES.A_PML4);
    this.#cpu = new RecordedVcpu(this.core, vcpu, options.npt);
    this.#guest = new RecordedGuest(this.#cpu);
    if (options.stamps === true) {
      this.#stamps = new MemoryStamps(this.core, this.mm, script);
      this.#cpu.watch(this.#stamps);
    }
    this.#ops = new RecordedHost(this.host, this.mm, this.kvm, script, history.stocked);
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

  next(seen: Seen = NOTHING): OurStep | null {
    const step = this.#step++;
    this.#ops.reclaims = seen.reclaims;
    const { steps } = this.#script;
    if (step > steps.length) return null;
    this.#raw = [];
    this.core.trace((id, a, b, c, d) => {
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
          result = this.#guest.run(words);
          // KVM_GET_REGS.
          this.#ops.chargeObject();
        } else {
          const done = this.#ops.run(words);
          if (done.result.errno === undefined) this.#stamps?.ran(words);
          result = [done.result];
          extra = done.extra;
        }
      }
    } finally {
      this.core.trace(null);
    }
    if (step === this.#history.objectsAt) {
      this.core.x.memcgUpdated(OBJECT_BYTES);
      this.core.x.memcgUpdated(this.#history.objectsRest);
    }
    this.#readStatistics(seen);
    const last = step === steps.length;
    const events = this.#writer.write(this.#raw);
    return {
      result,
      events,
      counters: last ? {} : this.#counters(events),
      pages: last ? [] : this.#pages(),
      shadowPages: last ? [] : this.#shadowPages(),
      ...extra,
    };
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

  #warmUp(): JsonObject[] {
    return [...this.#guest.run(['nop']), ...this.#guest.readAt(0x7f0000000)];
  }

  #teardown(): JsonObject[] {
    this.core.x.lruAddDrain();
    this.kvm.destroy();
    return [{ rc: '0' }];
  }

  // ---- set-up ----------------------------------------------------------------------------------

  #mapInfra(childPages: number): void {
    this.mm.mmap({ hvn: INFRA_HVN, npages: INFRA_PAGES, flags: VM_LOCKED | VM_DONTCOPY });
    for (let i = 0; i < INFRA_PAGES; i++) this.mm.access(INFRA_HVN + i, true);
    for (const hvn of CHILD_HVNS.slice(0, childPages)) {
      this.mm.mmap({ hvn, npages: 1, flags: VM_LOCKED });
      this.mm.access(hvn, true);
    }
    this.core.x.lruAddDrain();
    const put = (table: number, index: number, lo: number, hi = 0): void =>
      this.#put(table, index, lo >>> 0, hi);
    const link = (table: number, index: number, child: number): void =>
      put(table, index, child * 4096 + 7);
    const t = TABLES;
    link(t.A_PML4, 0, t.A_PDPT);
    link(t.A_PDPT, 0, t.I_PD);
    link(t.A_PDPT, 1, t.A_PD);
    link(t.I_PD, 0, t.I_PT);
    for (let i = 0; i < INFRA_PAGES; i++) put(t.I_PT, i, i * 4096 + 0x63 + (i === 3 ? 4 : 0));
    link(t.B_PML4, 0, t.B_PDPT);
    link(t.B_PDPT, 0, t.I_PD);
    link(t.B_PDPT, 1, t.B_PD);
    link(t.B_PD, 0, t.B_PT);
    const { pages, edits } = this.#script;
    for (let k = 0; k * 512 < pages && k < 15; k++) link(t.A_PD, k, t.A_PT + k);
    link(t.A_PD, 64, t.ALIAS_PT);
    for (let i = 0; i < pages && i < 15 * 512; i++) {
      const lo = (DATA_GFN + i) * 4096 + 7;
      put(t.A_PT + (i >>> 9), i & 511, lo);
      if (i >= 512) continue;
      put(t.B_PT, i, lo);
      put(t.ALIAS_PT, i, lo);
    }
    for (const edit of edits) {
      const keep = edit.keepAddress ? this.#get(edit.table, edit.index) : { lo: 0, hi: 0 };
      put(edit.table, edit.index, (keep.lo & 0xfffff000) | edit.lo, edit.hi);
    }
  }

  #mapData(): void {
    const { pages, backing, thp } = this.#script;
    const file = backing === 'anon' ? 0 : this.host.createShmem();
    this.mm.mmap({
      hvn: DATA_HVN,
      npages: pages,
      file,
      shared: backing === 'shmem',
      flags: VM_NORESERVE | (thp ? VM_HUGEPAGE : VM_NOHUGEPAGE),
    });
  }

  /** Address of the content of an infrastructure page. */
  #infra(gfn: number, write: boolean): number {
    const { x } = this.core;
    const pfn = x.hpteGet(this.mm.id, INFRA_HVN + gfn) >>> HPTE_PFN_SHIFT;
    return (write ? x.frameContentForWrite(pfn) : x.frameContentPtr(pfn)) >>> 0;
  }

  #put(table: number, index: number, lo: number, hi: number): void {
    const at = this.#infra(table, true) + index * 8;
    this.core.mem.store32(at, lo);
    this.core.mem.store32(at + 4, hi);
  }

  #get(table: number, index: number): { lo: number; hi: number } {
    const at = this.#infra(table, false) + index * 8;
    return { lo: this.core.mem.load32(at), hi: this.core.mem.load32(at + 4) };
  }

  // ---- snapshots -------------------------------------------------------------------------------

  #frameName(pfn: number): string {
    if (pfn === 0 || this.#isHugeZero(pfn)) return zeroName(pfn);
    return `#${pfn}.${this.#generation.get(pfn) ?? 0}`;
  }

  #isHugeZero(pfn: number): boolean {
    const head = this.core.x.hugeZeroPage() >>> 0;
    return head !== 0 && this.core.x.folioOf(pfn) === head;
  }

  #pages(): PageState[] {
    const pages: PageState[] = [];
    // mincore() fails for the whole range when a part of it is not mapped.
    const whole = this.#ops.allMapped();
    for (let i = 0; i < this.#script.pages; i++) {
      const gpte = i < 15 * 512 ? this.#get(TABLES.A_PT + (i >>> 9), i & 511) : { lo: 0, hi: 0 };
      const gfn = gpteGfn(gpte.lo, gpte.hi);
      const target = gpte.lo & 1 && gfn !== DATA_GFN + i ? `->${gfnName(gfn)}` : '';
      pages.push({
        host: this.#hostPage(i, whole),
        shadow: this.#shadow(this.#npt ? DATA_GFN + i : DATA_VPN + i),
        gpte: gpteText(gpte.lo, gpte.hi) + target,
      });
    }
    return pages;
  }

  #hostPage(i: number, whole: boolean): JsonObject {
    const { x } = this.core;
    const pte = x.hpteGet(this.mm.id, DATA_HVN + i) >>> 0;
    if ((pte & HPTE_PRESENT) === 0) {
      const state = (pte & HPTE_SWAP) !== 0 ? 'swapped' : 'none';
      const mincore = whole ? this.#mincore(DATA_HVN + i, pte) : null;
      return { state, mincore };
    }
    const pfn = pte >>> HPTE_PFN_SHIFT;
    const zero = pfn === 0 || this.#isHugeZero(pfn);
    const flags = x.pageFlags(pfn);
    let lo = 1 | 4;
    if (pte & HPTE_WRITE) lo |= 2;
    if (pte & HPTE_YOUNG) lo |= 0x20;
    if (pte & HPTE_DIRTY) lo |= 0x40;
    const huge = (x.hpmdGet(this.mm.id, DATA_HVN + i) & HPTE_PRESENT) !== 0;
    const mapcount = zero ? 0 : x.pageMapcount(pfn);
    return {
      state: 'present',
      pfn: this.#frameName(pfn),
      pte: pte & HPTE_PROTNONE ? 'protnone' : hpteText(huge ? lo | 0x80 : lo, 0x80000000),
      // The bit of /proc/pid/pagemap: mapped once.
      exclusive: mapcount === 1 ? 1 : 0,
      mapcount,
      flags: zero ? zeroFlags(pfn, flags) : flagNames(pfn, flags),
      mincore: whole ? 1 : null,
      ...(huge ? { huge: true } : {}),
    };
  }

  /** mincore() of an absent page: in the swap cache, or not. */
  #mincore(hvn: number, pte: number): number {
    const { x } = this.core;
    const file = this.mm.fileOf(hvn);
    if ((pte & HPTE_SWAP) !== 0) return x.swapCacheLookup(pte >>> HPTE_PFN_SHIFT) !== 0 ? 1 : 0;
    if (file === 0) return 0;
    if (x.filemapGet(file, this.mm.pgoffOf(hvn)) !== 0) return 1;
    const slot = x.shmemSlot(file, this.mm.pgoffOf(hvn)) >>> 0;
    return slot !== abi.NO_SLOT && x.swapCacheLookup(slot) !== 0 ? 1 : 0;
  }

  /** The spte that the current root's walk ends at. */
  #shadow(page: number): JsonObject {
    const { mem } = this.core;
    const vcpu = this.kvm.vcpus[0];
    let table = vcpu === undefined ? 0 : mem.load32(vcpu.ptr + VCPU_ROOT);
    if (table === 0) return { level: 0, spte: '0' };
    for (let level = 4; ; level--) {
      const index = Math.floor(page / 512 ** (level - 1)) % 512;
      const lo = mem.load32(table + index * 8);
      const hi = mem.load32(table + index * 8 + 4);
      const mmio = (hi & MMIO_HIGH) !== 0;
      const present = (lo >>> PT_PRESENT_BIT) & 1;
      const large = (lo & 0x80) !== 0;
      if (!present || level === 1 || (level < 4 && large)) {
        const spte = spteText(lo, hi);
        const pfn = ((lo >>> 12) | ((hi & 0xfff) << 20)) >>> 0;
        if (mmio) return { level, spte, pfn: `#mmio${pfn}` };
        if (!present) return { level, spte };
        return { level, spte, pfn: this.#frameName(pfn) };
      }
      table = (lo & 0xfffff000) >>> 0;
    }
  }

  #activePages(): number[] {
    const { x, mem } = this.core;
    const sps: number[] = [];
    for (let sp = x.activeFirst() >>> 0; sp !== 0; sp = mem.load32(sp + SP_LINK_NEXT)) sps.push(sp);
    return sps;
  }

  #shadowPages(): JsonObject[] {
    if (this.#npt) return [];
    const { mem } = this.core;
    return this.#activePages().map((sp) => {
      const role = mem.load32(sp + SP_ROLE);
      return {
        gfn: gfnName(mem.load32(sp + SP_GFN)),
        role: roleObject(role),
        unsync: mem.load32(sp + SP_UNSYNC),
        unsync_children: mem.load32(sp + SP_UNSYNC_CHILDREN),
        root_count: mem.load32(sp + SP_ROOT_COUNT),
        flood: mem.load32(sp + SP_WRITE_FLOODING),
        present: mem.load32(sp + SP_PRESENT) + this.#mmioSptes(sp),
        gen: mem.load32(sp + SP_VALID_GEN),
      };
    });
  }

  /** MMIO sptes of a table, which are present for the processor and not for KVM. */
  #mmioSptes(sp: number): number {
    const { x, mem } = this.core;
    const table = x.spTable(sp) >>> 0;
    let n = 0;
    for (let i = 0; i < 512; i++) if (mem.load32(table + i * 8 + 4) & MMIO_HIGH) n++;
    return n;
  }

  // ---- counters --------------------------------------------------------------------------------

  #counters(events: OurStep['events']): Record<string, number> {
    const out: Record<string, number> = {};
    const add = (name: string): void => {
      out[name] = (out[name] ?? 0) + 1;
    };
    let loading = false;
    let before = '';
    for (const event of events) {
      const name =
        COUNTED_EVENTS[event.t] ?? (this.#npt ? undefined : COUNTED_SHADOW_EVENTS[event.t]);
      const failed = event.t === 'emulate_insn' && event.fail === true;
      if (name !== undefined) add(failed ? 'insn_emulation_fail' : name);
      if (event.t === 'vmexit' && event.reason === 'invlpg') add('invlpg');
      if (event.t === 'sp_get' && event.created === true && !this.#npt) add('mmu_cache_miss');
      if (event.t === 'inject' && !String(event.what).includes('reinjected')) add('pf_guest');
      if (event.t === 'fast_page_fault' && String(event.result).endsWith('fixed 1')) add('pf_fast');
      // A root that is loaded anew is flushed without being counted.
      if (event.t === (this.#npt ? 'load_root' : 'sp_get') && event.level === 4) loading = true;
      if (event.t === 'flush_all_tlb') add('tlb_flush');
      // A flush that the guest asked for has no event of its own; svm_set_cr4() flushes uncounted.
      const byCr4 = this.#npt && before === 'emulate_insn';
      const own = !byCr4 && before !== 'flush_all_tlb' && before !== 'flush_current_tlb';
      if (event.t === 'flush_asid_tlb' && own) add('tlb_flush');
      before = event.t;
      if (event.t === 'flush_current_tlb') {
        if (!loading) add('tlb_flush');
        loading = false;
      }
    }
    for (const [name, value] of Object.entries(this.#readGauges())) {
      const delta = value - (this.#gauges[name] ?? 0);
      if (delta !== 0) out[name] = delta;
      this.#gauges[name] = value;
    }
    return out;
  }

  #readGauges(): Record<string, number> {
    const { x, mem } = this.core;
    let small = 0;
    let large = 0;
    let unsync = 0;
    for (const sp of this.#activePages()) {
      const level = mem.load32(sp + SP_ROLE) & ROLE_LEVEL_MASK;
      unsync += mem.load32(sp + SP_UNSYNC);
      if (level === 1) small += mem.load32(sp + SP_PRESENT);
      else if (level === 2) large += largeSptes(mem.u32, x.spTable(sp) >>> 0);
    }
    return {
      pages_4k: small,
      pages_2m: large,
      mmu_unsync: unsync,
      ...this.#cpu.stats,
      max_mmu_rmap_size: this.#npt ? 0 : mem.load32(this.kvm.ptr + abi.KVM_MAX_RMAP),
      mmu_flooded: this.#stat('shadow_pages_flooded'),
      mmu_pde_zapped: this.#stat('pdes_zapped'),
    };
  }

  #stat(name: string): number {
    return this.#ops.counter(name);
  }
}

function largeSptes(u32: Uint32Array, table: number): number {
  let n = 0;
  for (let i = 0; i < 512; i++) {
    const lo = u32[(table >>> 2) + i * 2] as number;
    if ((lo & 0x81) === 0x81) n++;
  }
  return n;
}

/** Whether a frame is part of a compound page but not its head. */
function isTail(pfn: number, flags: number): boolean {
  return (flags & abi.PG_HUGE) !== 0 && pfn % abi.HPAGE_PMD_NR !== 0;
}

function zeroFlags(pfn: number, flags: number): string[] {
  const compound = isTail(pfn, flags) ? 'compound_tail' : 'compound_head';
  return [
    ...(flags & abi.PG_REFERENCED ? ['referenced'] : []),
    ...(flags & abi.PG_HUGE ? [compound, 'thp'] : []),
    'zero_page',
  ];
}

/** Flags as /proc/kpageflags tells them: of a tail it knows little. */
function flagNames(pfn: number, flags: number): string[] {
  if (isTail(pfn, flags)) {
    const exclusive = (flags & abi.PG_ANON_EXCLUSIVE) !== 0;
    return ['anon', 'compound_tail', 'thp', ...(exclusive ? ['mappedtodisk'] : [])];
  }
  const anon = (flags & abi.PG_ANON) !== 0;
  // A mlocked page becomes unevictable when it gets to its list.
  const pending = (flags & abi.PG_LRU_PENDING) !== 0;
  return FLAG_NAMES.filter(([name, bit]) => name === 'uptodate' || (flags & bit) !== 0)
    .map(([name]) => name)
    .filter((name) => name !== 'unevictable' || !pending)
    .filter((name) => anon || name !== 'mappedtodisk');
}

function roleObject(role: number): JsonObject {
  const access = (role >>> ROLE_ACCESS_SHIFT) & 7;
  const text = `${access & 2 ? 'w' : '-'}${access & 4 ? 'u' : '-'}${access & 1 ? 'x' : '-'}`;
  return {
    level: role & ROLE_LEVEL_MASK,
    ...(role & ROLE_DIRECT ? { direct: 1 } : {}),
    ...(role & ROLE_INVALID ? { invalid: 1 } : {}),
    ...(role & ROLE_EFER_NX ? { nx: 1 } : {}),
    ...(role & ROLE_CR0_WP ? { wp: 1 } : {}),
    access: text,
  };
}
