// Cost profiles: nanoseconds of each event on a host of 2008 and on one of 2026. Events are exact,
// time is a model: the sum of counts times costs. Each figure says where it comes from:
//
// - published: measured or specified by the source named;
// - derived: computed from published figures, the computation is given.
//
// Where nobody measured a path of the kernel by itself, it is derived from the cache lines that it is the
// first to touch, each at the latency of the host's memory: such a path waits for memory more than it computes.
//
// Devices have a model of their own (queues in virtual time, src/mm/swap-device.ts): reads are waited
// for, writes of reclaimed pages only keep the device busy until its queue is full.

import type { DeviceName } from '../mm/swap-device.ts';
import type { CounterName } from './counters.ts';
import type { CounterValues } from './stats.ts';

/** Where a figure comes from. */
export type FigureKind = 'published' | 'derived';

/** One cost. */
export interface CostFigure {
  /** Nanoseconds per event. */
  readonly ns: number;
  readonly kind: FigureKind;
  readonly source: string;
}

/** CPU events with a cost: the counter whose events it is charged for. */
export const COSTED_COUNTERS = [
  'accesses',
  'tlb_l2_hits',
  'walk_steps',
  'vmexits',
  'guest_walks',
  'sptes_installed',
  'sptes_dropped',
  'sptes_aged',
  'guest_page_faults',
  'guest_pte_writes',
  'cr3_switches',
  'remote_tlb_flushes',
  'minor_faults',
  'major_faults',
  'cow_faults',
  'pages_scanned',
  'evictions',
] as const satisfies readonly CounterName[];

/** Counter that a cost is charged for. */
export type CostedCounter = (typeof COSTED_COUNTERS)[number];

/** A host. */
export interface CostProfile {
  readonly name: '2008' | '2026';
  /** What machine it stands for. */
  readonly host: string;
  /** Device that the host swaps to unless another is asked for. */
  readonly device: DeviceName;
  readonly costs: Readonly<Record<CostedCounter, CostFigure>>;
}

function published(ns: number, source: string): CostFigure {
  return { ns, kind: 'published', source };
}
function derived(ns: number, source: string): CostFigure {
  return { ns, kind: 'derived', source };
}

/** Memory of a host: its latency, and where that is from. */
interface Memory {
  readonly ns: number;
  readonly source: string;
}

/** A path that waits for `lines` cache lines, `which` ones. */
function lines(memory: Memory, count: number, which: string): CostFigure {
  const ns = Math.round(memory.ns * count);
  return derived(ns, `${count} cache lines (${which}) × ${memory.ns} ns: ${memory.source}`);
}

const OPT_MANUAL = 'Intel 64 and IA-32 Architectures Optimization Reference Manual';
const ADAMS = 'Adams & Agesen, A Comparison of Software and Hardware Techniques, ASPLOS 2006';
const AGESEN = 'Agesen et al., Software Techniques for Avoiding Hardware Exits, USENIX ATC 2012';
const HOUGHTON =
  'Houghton, mm: multi-gen LRU: Have secondary MMUs participate in aging (access_tracking_perf_test)';

const DUNE = 'Belay et al., Dune, OSDI 2012';
const AIOS = 'Lee et al., Asynchronous I/O Stack, USENIX ATC 2019, table 1 (4 KiB read, NVMe)';
const SWITCH = 'Li, Ding & Shen, Quantifying the Cost of Context Switch, ExpCS 2007';

const MEMORY_2008: Memory = {
  ns: 59,
  source:
    `${OPT_MANUAL}: Core 2 memory access 14 cycles + 5.5 bus cycles (333 MHz) + DRAM; ` +
    'JESD79-2 DDR2-800 5-5-5: tRP + tRCD + CL = 37.5 ns',
};

const MEMORY_2026: Memory = {
  ns: 97,
  source:
    'Li et al., Pond, ASPLOS 2023: 78 ns to the local node on Intel Skylake, 115 ns on AMD EPYC; the mean',
};

const RMAP_LINES = 'rmap head, spte';
const SCAN_LINES = 'struct page, its neighbour on the list, pte';
const EVICT_LINES = 'rmap of the page, swap map, swap cache node, free list, request';
const ROOT_LINES = 'cached roots, header of the shadow page, its table';

const HOST_2008: CostProfile = {
  name: '2008',
  host: 'Intel Penryn at 3 GHz, no EPT, 7200 rpm disk',
  device: 'hdd',
  costs: {
    accesses: published(1, `${OPT_MANUAL}: Core 2 L1D load-to-use latency 3 cycles`),
    tlb_l2_hits: published(0.67, `${OPT_MANUAL}: Core 2 DTLB0 miss that hits DTLB1, 2 cycles`),
    walk_steps: published(4.67, `${OPT_MANUAL}: Core 2 L2 hit 14 cycles (entry cached in the L2)`),
    vmexits: published(422, `${AGESEN}: hardware exit and entry on Penryn 1,266 cycles`),
    guest_walks: derived(
      73,
      `three upper entries in the L2 at 14 cycles, the leaf from memory: ${MEMORY_2008.source}`,
    ),
    sptes_installed: derived(
      1_100,
      `${ADAMS}: ptemod under a hardware VMM 12,733 cycles at 3.8 GHz = 3.35 us; less two exits of 2,409 + 1,931 cycles`,
    ),
    sptes_dropped: lines(MEMORY_2008, 2, RMAP_LINES),
    sptes_aged: lines(MEMORY_2008, 2, RMAP_LINES),
    guest_page_faults: derived(
      196,
      `${DUNE}, table 3: a page fault delivered inside a guest 587 cycles, at 3 GHz`,
    ),
    guest_pte_writes: derived(
      2_209,
      `${ADAMS}: ptemod under a hardware VMM 12,733 cycles at 3.8 GHz; less the exit (2,409 + 1,931 cycles), which is charged apart`,
    ),
    cr3_switches: lines(MEMORY_2008, 3, ROOT_LINES),
    remote_tlb_flushes: derived(
      689,
      `Baumann et al., The Multikernel, SOSP 2009: an IPI takes about 800 cycles; ${AGESEN}: the exit that it makes on the other CPU 1,266 cycles; at 3 GHz`,
    ),
    minor_faults: derived(
      896,
      `${DUNE}, table 2: page fault of Linux 2,687 cycles, at 3 GHz (the zeroing of the page is in it)`,
    ),
    major_faults: derived(7_600, `${SWITCH}: 3.8 us; away from the task and back to it`),
    cow_faults: derived(
      769,
      '4 KiB read and written over a front-side bus of 10.66 GB/s (FSB 1333); the fault is charged apart',
    ),
    pages_scanned: lines(MEMORY_2008, 3, SCAN_LINES),
    evictions: lines(MEMORY_2008, 5, EVICT_LINES),
  },
};

const HOST_2026: CostProfile = {
  name: '2026',
  host: 'server of the 2020s, EPT/NPT capable, NVMe disk',
  device: 'nvme',
  costs: {
    accesses: derived(1.25, `${OPT_MANUAL}: L1D load-to-use latency 5 cycles at 4 GHz`),
    tlb_l2_hits: derived(1.75, `${OPT_MANUAL}: DTLB miss that hits the STLB 7 cycles at 4 GHz`),
    walk_steps: derived(3.5, `${OPT_MANUAL}: L2 hit 14 cycles at 4 GHz (entry cached in the L2)`),
    vmexits: derived(
      544,
      'Roth, KVM: SVM: use vmsave/vmload, LKML December 2020: 1,360 cycles VMRUN round trip at 2.5 GHz',
    ),
    guest_walks: derived(
      108,
      `three upper entries in the L2 at 14 cycles and 4 GHz, the leaf from memory: ${MEMORY_2026.source}`,
    ),
    sptes_installed: derived(
      1_400,
      `${HOUGHTON}: 0.879 s / 262,144 pages = 3,353 ns for exit, host fault and install; less 544 and 1,400`,
    ),
    sptes_dropped: lines(MEMORY_2026, 2, RMAP_LINES),
    sptes_aged: derived(28, `${HOUGHTON}: aging pass over 262,144 pages 0.0073 s`),
    guest_page_faults: derived(
      147,
      `${DUNE}, table 3: a page fault delivered inside a guest 587 cycles, at 4 GHz`,
    ),
    guest_pte_writes: derived(
      1_052,
      `${ADAMS}: emulation takes (12,733 - 4,340) / 4,340 = 1.93 times the exit, which is charged apart; 1.93 × 544 ns`,
    ),
    cr3_switches: lines(MEMORY_2026, 3, ROOT_LINES),
    remote_tlb_flushes: derived(
      1_000,
      'Amit, Optimizing the TLB Shootdown Algorithm, USENIX ATC 2017: shootdowns take microseconds; lower end',
    ),
    minor_faults: derived(1_400, `${HOUGHTON}: 3,353 ns a populate fault, share of the host fault`),
    major_faults: derived(
      4_320,
      `${AIOS}: 0.72 request, 0.29 + 0.23 DMA mapping, 0.37 submission, 0.81 completion, 2 × 0.95 context switch (us)`,
    ),
    cow_faults: derived(
      776,
      `4 KiB read and written with 16 fill buffers (${OPT_MANUAL}, Golden Cove) of 64 bytes a memory latency of 97 ns; the fault is charged apart`,
    ),
    pages_scanned: lines(MEMORY_2026, 3, SCAN_LINES),
    evictions: lines(MEMORY_2026, 5, EVICT_LINES),
  },
};

/** The shipped profiles by name. */
export const PROFILES = { '2008': HOST_2008, '2026': HOST_2026 } as const;

/** Name of a cost profile. */
export type ProfileName = keyof typeof PROFILES;

/** Time of a run under a profile. */
export interface RunTime {
  readonly profile: ProfileName;
  readonly device: DeviceName;
  /** Modelled time of the run: CPU and waiting for reads, nanoseconds. */
  readonly total_ns: number;
  /** CPU part. */
  readonly cpu_ns: number;
  /** Waiting for pages to be read. */
  readonly io_wait_ns: number;
  /** CPU time of kswapd, on a CPU of its own: not in the total. */
  readonly kswapd_ns: number;
  /** Time that the device is busy, writes included. */
  readonly device_busy_ns: number;
  /** total_ns over the time of the references and their TLB misses alone. */
  readonly slowdown: number;
}

/** What the devices did: their own model, in virtual time (src/mm/swap-device.ts). */
export interface DeviceTime {
  readonly device: DeviceName;
  /** Time that callers waited. */
  readonly waitNs: number;
  /** Time that the devices worked. */
  readonly busyNs: number;
}

/** CPU time of the references themselves: no exits, no faults. */
export function referenceNs(
  costs: CostProfile['costs'],
  accesses: number,
  l2Hits: number,
  walkSteps: number,
): number {
  return (
    accesses * costs.accesses.ns + l2Hits * costs.tlb_l2_hits.ns + walkSteps * costs.walk_steps.ns
  );
}

/** Time of what was counted. */
export function runTime(
  counters: CounterValues,
  profile: ProfileName,
  devices: DeviceTime,
): RunTime {
  const { costs } = PROFILES[profile];
  let cpu = 0;
  for (const name of COSTED_COUNTERS) cpu += counters[name] * costs[name].ns;
  const kswapd =
    counters.pgscan_kswapd * costs.pages_scanned.ns + counters.pgsteal_kswapd * costs.evictions.ns;
  cpu -= kswapd;
  const { accesses, tlb_l2_hits: l2Hits, walk_steps: walkSteps } = counters;
  const base = referenceNs(costs, accesses, l2Hits, walkSteps);
  const total = cpu + devices.waitNs;
  return {
    profile,
    device: devices.device,
    total_ns: Math.round(total),
    cpu_ns: Math.round(cpu),
    io_wait_ns: Math.round(devices.waitNs),
    kswapd_ns: Math.round(kswapd),
    device_busy_ns: Math.round(devices.busyNs),
    slowdown: base === 0 ? 1 : Math.round((total / base) * 1000) / 1000,
  };
}
