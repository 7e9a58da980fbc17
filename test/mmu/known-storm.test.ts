// Pages that fault again and again are known (assembly/straight/known_page.ts). Pairs of machines, of which one knows
// none, weather the same storm: hot pages under pressure, and in between whatever may change what is known of them.
// After each batch the counters agree, and in the end the state of the whole machine. SHADOWMMU_KNOWN: how many
// pairs; SHADOWMMU_SEED: the first one's seed.
import { describe, expect, test } from 'vitest';
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  CONTROL_EXIT,
  CONTROL_FORK,
  CONTROL_INVLPG,
  CONTROL_PROTECT_RO,
  CONTROL_PROTECT_RW,
  CONTROL_SWITCH,
  CONTROL_UNMAP,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
} from '../../assembly/abi.ts';
import { AGING_PRESETS, type AgingPreset } from '../../src/mm/aging.ts';
import { controlRecord } from '../../src/control-record.ts';
import { KvmError } from '../../src/core/errors.ts';
import { auditKvm } from '../../src/kvm/audit.ts';
import { createVm, type Vm } from '../../src/machine.ts';
import { makePolicy } from '../../src/policies.ts';
import { BASE_VPN, testRandom } from '../machine/helpers.ts';
import { countsOf, hostState, kvmState } from './machine-state.ts';

const PAIRS = Number(process.env['SHADOWMMU_KNOWN'] ?? 60);
const SEED = Number(process.env['SHADOWMMU_SEED'] ?? 1);
const BATCHES = 10;
const MOST_RECORDS = 2_500;
/** Where a guest that maps pages twice has their second addresses: in the same leaf table. */
const ALIASES = 200;
/** Where the pages before those of the storm are. */
const BEFORE_VPN = BASE_VPN + 16 * 512;
/** Leaf tables from there to where it may link the table again: there each page has the entry of another one. */
const LINKED = 4;
const PIDS = 3;

/** Protocols by name: those that drop sptes know most pages; and some that nobody posted, each in one point unlike v3. */
const OWN: Readonly<Record<string, AgingPreset>> = {
  ...AGING_PRESETS,
  'v3, asks about old pages': { ...AGING_PRESETS.v3, askOnlyYoung: false },
  'v3, unflushed': { ...AGING_PRESETS.v3, kvm: { ...AGING_PRESETS.v3.kvm, flush: false } },
  'v3, clears': { ...AGING_PRESETS.v3, kvm: { ...AGING_PRESETS.v3.kvm, mkold: 'clear' } },
  'v3, never asks': { ...AGING_PRESETS.v3, op: 'none' },
  'v3, hooks of 2.6.27': { ...AGING_PRESETS.v3, hooks: '2.6.27' },
  'v3, hooks of 6.x': { ...AGING_PRESETS.v3, hooks: '6.x' },
  'v3, hooks of none': { ...AGING_PRESETS.v3, hooks: 'none' },
  'v3, pins nothing': { ...AGING_PRESETS.v3, kvm: { ...AGING_PRESETS.v3.kvm, pinsPages: false } },
  'v3, marks': { ...AGING_PRESETS.v3, touch: 'mark_page_accessed' },
};
const PROTOCOLS = [
  ...Array.from({ length: 12 }, () => 'v3'),
  ...Object.keys(OWN).filter((name) => name !== 'v3'),
];

type Random = () => number;

function below(random: Random, n: number): number {
  return Math.floor(random() * n);
}

function pick<T>(random: Random, all: readonly T[]): T {
  return all[below(random, all.length)] as T;
}

/** How the machines of a pair are made; those that know most pages come up most. */
function makeOptions(random: Random) {
  return {
    policy: pick(random, ['clock', 'clock', 'clock', 'clock', 'fifo', 'two-list', 'mglru']),
    protocol: pick(random, PROTOCOLS),
    generation: pick(random, ['2008', '5.10', '6.1', '6.12']),
    flushScope: pick(random, ['pages', 'pages', 'pages', 'all'] as const),
    prefetch: random() < 0.4,
    reclaim: pick(random, ['memcg', 'memcg', 'memcg', 'memcg', 'memcg', 'watermarks'] as const),
    minFreeKbytes: 8,
    memory: pick(random, ['file', 'file', 'anon', 'private'] as const),
    guestTables: pick(random, ['resident', 'resident', 'pageable'] as const),
    vcpus: pick(random, [1, 1, 1, 2]),
    pcid: random() < 0.5,
    yardstick: random() < 0.6,
    verify: random() < 0.2,
    memoryPages: 16 + below(random, 48),
    pages: 60 + below(random, ALIASES - 80),
    // Pages of the guest before those of the storm, which so lie in one table of the host's and of the file's or in two.
    before: pick(random, [0, 150 + below(random, 100), 400 + below(random, 110)]),
    tlb: pick(random, [
      { l1Sets: 16, l1Ways: 4, l2Sets: 128, l2Ways: 12 },
      { l1Sets: 4, l1Ways: 4, l2Sets: 4, l2Ways: 6 },
      { l1Sets: 2, l1Ways: 4, l2Sets: 2, l2Ways: 4 },
      { l1Sets: 4, l1Ways: 8, l2Sets: 16, l2Ways: 12 },
    ]),
  };
}

type Options = ReturnType<typeof makeOptions>;

function makeMachine(options: Options, quickFaults: boolean, aliases: boolean): Vm {
  const { policy, memory, verify, pages, before, protocol, memoryPages, ...rest } = options;
  const aging = OWN[protocol] as AgingPreset;
  const sound = aging.kvm.notifiers && (aging.kvm.flush || aging.kvm.mkold !== 'drop');
  const vm = createVm({
    ...rest,
    protocol: aging,
    // Pages under sptes that nothing drops can't be reclaimed.
    memoryPages: aging.kvm.notifiers ? memoryPages : 2048,
    verify: verify && sound && memory !== 'private' && !aliases,
    // Each process may have pages of its own, at one address or two.
    guestPages: before + (PIDS + 1) * pages,
    tablePages: 40,
    policy: makePolicy(policy),
    backing: memory === 'anon' ? 'anon' : 'file',
    quickFaults,
  });
  if (memory !== 'private') return vm;
  const hvn = vm.hvnOf(vm.data.base);
  vm.mm.munmap(hvn, vm.data.count);
  vm.mm.mmap({ hvn, npages: vm.data.count, file: vm.host.createFile(), shared: false });
  return vm;
}

/** One page of the guest's and how it is used, often. */
function drawRecords(random: Random, pages: number, frames: number): number[] {
  const hot = 1 + below(random, Math.min(pages, 2 * frames));
  const first = below(random, pages);
  const stride = 1 + below(random, 3);
  const cold = random() * 0.3;
  const writes = random();
  const fetches = random() * 0.3;
  return Array.from({ length: 1 + below(random, MOST_RECORDS) }, () => {
    const near = (first + stride * below(random, hot)) % pages;
    const page = random() < cold ? below(random, pages) : near;
    const write = random() < writes ? ACCESS_WRITE : ACCESS_READ;
    return ((BASE_VPN + page) << 12) | (random() < fetches ? ACCESS_FETCH : write);
  });
}

/** A machine, and what the storm does to it. */
class Weathered {
  readonly vm: Vm;
  readonly aliases: boolean;
  readonly #records: number;
  /** A file that none of the guest's memory lies in at first. */
  readonly otherFile: number;
  #slotFlags = 0;
  /** Frames that a device holds. */
  #held: number[] = [];

  constructor(vm: Vm, aliases: boolean) {
    this.vm = vm;
    this.aliases = aliases;
    this.otherFile = vm.host.createFile();
    this.#records = vm.core.x.arenaAlloc(8 * MOST_RECORDS) >>> 0;
  }

  run(records: readonly (readonly [number, number])[]): void {
    const { mem } = this.vm.core;
    records.forEach(([lo, hi], i) => {
      mem.store32(this.#records + 8 * i, lo);
      mem.store32(this.#records + 8 * i + 4, hi);
    });
    this.vm.runRecords(this.#records, records.length);
  }

  control(op: number, operand: number, count = 1): void {
    this.run([controlRecord(op, operand, count)]);
  }

  /** Deletes the slot of the data, and makes it anew. */
  remakeSlot(flags: number): void {
    const region = this.#region();
    this.vm.kvm.setUserMemoryRegion({ ...region, npages: 0, flags: this.#slotFlags });
    this.vm.kvm.setUserMemoryRegion({ ...region, flags });
    this.#slotFlags = flags;
  }

  flagSlot(flags: number): void {
    if (((this.#slotFlags ^ flags) & KVM_MEM_READONLY) !== 0) return this.remakeSlot(flags);
    this.vm.kvm.setUserMemoryRegion({ ...this.#region(), flags });
    this.#slotFlags = flags;
  }

  readLog(): void {
    if ((this.#slotFlags & KVM_MEM_LOG_DIRTY_PAGES) !== 0) this.vm.kvm.getDirtyLog(0);
  }

  #region() {
    const { base, count } = this.vm.data;
    return { slot: 0, gfn: base, npages: count, hvn: this.vm.hvnOf(base) };
  }

  /** A device holds some pages, which it writes. */
  pin(page: number, count: number): void {
    // A pinned page that is shared copy-on-write has no defined owner (cf. FOLL_PIN).
    if (this.vm.ops.children.length > 0 || this.#held.length > 0) return;
    this.#held = this.vm.mm.pin(this.vm.hvnOf(this.vm.data.base + page), count, true);
  }

  get holds(): boolean {
    return this.#held.length > 0;
  }

  unpin(): void {
    this.vm.mm.unpin(this.#held, true);
    this.#held = [];
  }

  /** The guest's table at a level to the storm's pages; 0: there is none yet. */
  #table(above: number): number {
    const vcpu = this.vm.kvm.vcpus[0]!;
    let table = vcpu.cr3;
    for (let level = 4; level > above; level--) {
      const index = Math.floor(BASE_VPN / 512 ** (level - 1)) & 511;
      const entry = vcpu.readGuestPteLo(table, index);
      if ((entry & 1) === 0) return 0;
      table = entry >>> 12;
    }
    return table;
  }

  /** The guest clears bits of entries of its leaf table, and flushes them or not (it may be lazy about A and D). */
  clearBits(page: number, count: number, bits: number, flushes: boolean): void {
    const table = this.#table(1);
    const vcpu = this.vm.kvm.vcpus[0]!;
    if (table === 0) return;
    for (let i = page; i < page + count; i++) {
      const entry = vcpu.readGuestPteLo(table, i);
      if ((entry & bits) !== 0) vcpu.writeGuestPte(table, i, (entry & ~bits) >>> 0, 0);
      if (flushes) vcpu.invlpg(BASE_VPN + i);
    }
  }

  /** The guest maps some pages at a second address, `far` behind. */
  alias(page: number, count: number, far: number): void {
    const table = this.#table(1);
    const vcpu = this.vm.kvm.vcpus[0]!;
    if (table === 0) return;
    for (let i = page; i < page + count; i++) {
      vcpu.writeGuestPte(table, far + i, vcpu.readGuestPteLo(table, i), 0);
      vcpu.invlpg(BASE_VPN + far + i);
    }
  }

  /** The guest links its leaf table at a second place, or no longer. */
  link(links: boolean): void {
    const vcpu = this.vm.kvm.vcpus[0]!;
    const directory = this.#table(2);
    const index = (BASE_VPN >> 9) & 511;
    if (directory === 0) return;
    const entry = links ? vcpu.readGuestPteLo(directory, index) : 0;
    vcpu.writeGuestPte(directory, index + LINKED, entry, 0);
    vcpu.setCr3(vcpu.cr3);
  }
}

/** Where and how much, for all machines of a pair alike. */
interface Place {
  /** A page of the storm's. */
  readonly page: number;
  /** A page of the guest's data. */
  readonly data: number;
  readonly count: number;
  readonly dice: number;
}

/** What a step does to both machines of a pair. */
type Step = (on: Weathered, place: Place) => void;

const A_BIT = 0x20;
const D_BIT = 0x40;

const STEPS: Readonly<Record<string, Step>> = {
  nothing: () => {},
  'drop all, and reclaim some': ({ vm }, { count }) => {
    const start = vm.hvnOf(vm.data.base);
    vm.core.x.unmapAndFlush(vm.mm.id, start, start + vm.data.count);
    vm.ops.reclaim(2 * count);
  },
  drop: ({ vm }, { data, count }) => {
    const start = vm.hvnOf(vm.data.base + data);
    vm.core.x.unmapAndFlush(vm.mm.id, start, start + count);
  },
  'host protects': ({ vm }, { data, count, dice }) =>
    vm.ops.mprotect(data, count, dice < 0.8 ? 'r' : 'none'),
  'host protects every other': ({ vm }, { data, count }) => {
    for (let i = 0; i < count; i++) vm.ops.mprotect(data + 2 * i, 1, 'r');
  },
  'hint of the host': ({ vm }, { data, count: pages }) =>
    vm.ops.apply({ op: 'numa_hint', page: data, pages }),
  'locked in memory': ({ vm }, { data, count, dice }) => {
    vm.mm.mlock(vm.hvnOf(vm.data.base + data), Math.min(count, 4), dice < 0.5);
  },
  'host permits': ({ vm }) => vm.ops.mprotect(0, vm.data.count, 'rw'),
  'mapped anew': ({ vm }, { data, count }) => vm.ops.remapFresh(data, count),
  moved: ({ vm }, { data, count }) => vm.ops.moveAndBack(data, count),
  fork: (on) => {
    const { vm } = on;
    if (vm.ops.children.length < 2 && !on.holds) vm.ops.fork();
  },
  reap: ({ vm }) => {
    const [child] = vm.ops.children;
    if (child !== undefined) vm.ops.reap(child);
  },
  'dropped by advice': ({ vm }, { data, count }) => void vm.ops.madvise(data, count, 'dontneed'),
  'paged out': ({ vm }, { data, count }) => void vm.ops.madvise(data, count, 'pageout'),
  'read ahead': ({ vm }, { data, count }) => void vm.ops.madvise(data, count, 'willneed'),
  'slot anew': (on, { dice }) => on.remakeSlot(dice < 0.3 ? KVM_MEM_READONLY : 0),
  'slot flags': (on, { dice }) => on.flagSlot(dice < 0.5 ? KVM_MEM_LOG_DIRTY_PAGES : 0),
  'dirty log': (on) => on.readLog(),
  invlpg: (on, { page, count }) => on.control(CONTROL_INVLPG, BASE_VPN + page, count),
  'guest unmaps': (on, { page, count }) => {
    if (!on.aliases) on.control(CONTROL_UNMAP, BASE_VPN + page, count);
  },
  'guest protects': (on, { page, count }) => on.control(CONTROL_PROTECT_RO, BASE_VPN + page, count),
  'guest permits': (on, { page }) => on.control(CONTROL_PROTECT_RW, BASE_VPN + page, 64),
  'guest forks': (on, { dice }) => {
    const pid = 1 + Math.floor(dice * (PIDS - 1));
    if (!on.aliases && !on.vm.guest.pids.includes(pid)) on.control(CONTROL_FORK, pid);
  },
  'guest exits': (on, { dice }) => {
    if (!on.aliases) on.control(CONTROL_EXIT, 1 + Math.floor(dice * (PIDS - 1)));
  },
  switch: (on, { dice }) => {
    const pid = Math.floor(dice * PIDS);
    if (on.vm.guest.pids.includes(pid)) on.control(CONTROL_SWITCH, pid);
  },
  'bits of the guest': (on, { page, count, dice }) =>
    on.clearBits(page, count, dice < 0.5 ? A_BIT : D_BIT, dice * 4 - Math.floor(dice * 4) < 0.5),
  alias: (on, { page, count, dice }) => {
    if (on.aliases) on.alias(page, dice < 0.5 ? count : 1, dice < 0.5 ? ALIASES : 1);
  },
  link: (on, { dice }) => {
    if (on.aliases) on.link(dice < 0.7);
  },
  'mapped anew from another file': ({ vm, otherFile }, { data, count }) => {
    const pages = Math.min(count, vm.data.count - data);
    const hvn = vm.hvnOf(vm.data.base + data);
    if (vm.verify) return;
    vm.mm.munmap(hvn, pages);
    vm.mm.mmap({ hvn, npages: pages, file: otherFile, pgoff: data });
  },
  'a device begins': (on, { data, count }) => on.pin(data, Math.min(count, 3)),
  'a device ends': (on) => on.unpin(),
  'VMM writes': ({ vm }, { data }) => void vm.ops.write(data),
  'VMM reads': ({ vm }, { data }) => void vm.ops.read(data),
  reclaim: ({ vm }, { count }) => void vm.ops.reclaim(count),
  limit: ({ vm }, { dice }) => {
    const { frames } = vm.host;
    vm.ops.apply({ op: 'limit', frames: frames - Math.floor((dice * frames) / 4) });
  },
  idle: ({ vm }) => vm.ops.markIdle(),
  'goes back': (on, { page }) => {
    const snapshot = on.vm.snapshot();
    on.run(Array.from({ length: 40 }, (_, i) => [((BASE_VPN + page + (i % 7)) << 12) | 1, 0]));
    on.vm.restore(snapshot);
  },
};

/** A step on a machine, which may find the host out of memory or a page out of reach. */
function make(step: Step, on: Weathered, place: Place): string {
  try {
    step(on, place);
    return '';
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    return error.code;
  }
}

/** The steps between two batches. */
function drawSteps(random: Random, { pages, before }: Options): { name: string; place: Place }[] {
  return Array.from({ length: below(random, 4) }, () => {
    const name = pick(random, Object.keys(STEPS));
    const page = below(random, pages);
    const place = { page, data: before + page, count: 1 + below(random, 12), dice: random() };
    return { name, place };
  });
}

/** Some accesses of a batch go to second addresses. */
function aliased(random: Random, records: readonly number[], share: number): [number, number][] {
  const far = random() < 0.5 ? ALIASES : LINKED << 9;
  return records.map((lo) => [random() < share ? lo + (far << 12) : lo, 0]);
}

function weather(seed: number): void {
  const random = testRandom(seed);
  const options = makeOptions(random);
  const aliases = random() < 0.25;
  const { pages } = options;
  const pair = [true, false].map((quick) => {
    return new Weathered(makeMachine(options, quick, aliases), aliases);
  });
  const ours = pair[0]!;
  const theirs = pair[1]!;
  const { before } = options;
  for (const on of pair) {
    on.run(Array.from({ length: before }, (_, i) => [(BEFORE_VPN + i) << 12, 0]));
  }
  const log: string[] = [];
  const where = (): string => `seed ${seed}, ${JSON.stringify(options)}: ${log.join('; ')}`;
  for (let batch = 0; batch < BATCHES && ours.vm.outcome === 'done'; batch++) {
    const records = aliased(
      random,
      drawRecords(random, pages, options.memoryPages),
      aliases ? 0.3 : 0,
    );
    log.push(`${records.length} records`);
    for (const on of pair) on.run(records);
    expect(countsOf(ours.vm), where()).toEqual(countsOf(theirs.vm));
    for (const { name, place } of drawSteps(random, options)) {
      log.push(`${name} ${place.page} ${place.count}`);
      expect(make(STEPS[name]!, ours, place), where()).toBe(make(STEPS[name]!, theirs, place));
    }
    expect(countsOf(ours.vm), where()).toEqual(countsOf(theirs.vm));
  }
  expect(hostState(ours.vm), where()).toEqual(hostState(theirs.vm));
  const vpns = Array.from({ length: 2 * ALIASES }, (_, i) => BASE_VPN + i);
  expect(kvmState(ours.vm, vpns), where()).toEqual(kvmState(theirs.vm, vpns));
  // Translations outlive their sptes where a protocol does not flush.
  expect(auditKvm(ours.vm.kvm), where()).toEqual(auditKvm(theirs.vm.kvm));
}

describe('machines that know pages, and that know none', () => {
  const GROUPS = 6;
  test.each(Array.from({ length: GROUPS }, (_, group) => group))('group %i', (group) => {
    for (let i = group; i < PAIRS; i += GROUPS) weather(SEED + i);
  });
});
