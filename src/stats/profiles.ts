// Cost profiles: nanoseconds of each event on a host of 2008 and on one of 2026. Events are exact,
// time is a model: the sum of counts times costs. Each figure says where it comes from:
//
// - published: measured or specified by the source named;
// - derived: computed from published figures, the computation is given;
// - assumed: no figure was found; the reason for the choice is given.
//
// Devices have a model of their own (queues in virtual time, src/mm/swap-device.ts): reads are waited
// for, writes of reclaimed pages only keep the device busy until its queue is full.

import type { DeviceName } from '../mm/swap-device.ts';
import type { CounterName } from './counters.ts';
import type { CounterValues } from './stats.ts';

/** Where a figure comes from. */
export type FigureKind = 'published' | 'derived' | 'assumed';

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
function assumed(ns: number, source: string): CostFigure {
  return { ns, kind: 'assumed', source };
}

const OPT_MANUAL = 'Intel 64 and IA-32 Architectures Optimization Reference Manual';
const ADAMS = 'Adams & Agesen, A Comparison of Software and Hardware Techniques, ASPLOS 2006';
const AGESEN = 'Agesen et al., Software Techniques for Avoiding Hardware Exits, USENIX ATC 2012';
const HOUGHTON =
  'Houghton, mm: multi-gen LRU: Have secondary MMUs participate in aging (access_tracking_perf_test)';

const HOST_2008: CostProfile = {
  name: '2008',
  host: 'Intel Penryn at 3 GHz, no EPT, 7200 rpm disk',
  device: 'hdd',
  costs: {
    accesses: published(1, `${OPT_MANUAL}: Core 2 L1D load-to-use latency 3 cycles`),
    tlb_l2_hits: published(0.67, `${OPT_MANUAL}: Core 2 DTLB0 miss that hits DTLB1, 2 cycles`),
    walk_steps: published(4.67, `${OPT_MANUAL}: Core 2 L2 hit 14 cycles (entry cached in the L2)`),
    vmexits: published(422, `${AGESEN}: hardware exit and entry on Penryn 1,266 cycles`),
    guest_walks: assumed(100, 'four guest table entries, half of them in the L2'),
    sptes_installed: derived(
      1_100,
      `${ADAMS}: ptemod under a hardware VMM 12,733 cycles at 3.8 GHz = 3.35 us; less two exits of 2,409 + 1,931 cycles`,
    ),
    sptes_dropped: assumed(150, 'rmap lookup and a store; two cache misses'),
    sptes_aged: assumed(100, 'rmap lookup and an atomic and; one cache miss'),
    guest_page_faults: assumed(600, 'injection and the guest handler entry, about 1,800 cycles'),
    guest_pte_writes: derived(
      3_351,
      `${ADAMS}: ptemod under a hardware VMM 12,733 cycles at 3.8 GHz`,
    ),
    cr3_switches: assumed(500, 'intercepted MOV to CR3: root lookup; the exit is charged apart'),
    remote_tlb_flushes: assumed(2_000, 'one IPI round trip between sockets'),
    minor_faults: derived(
      1_700,
      'zeroing 4 KiB at 4 GB/s (1.0 us) and 0.7 us of fault path; lmbench page fault on Core 2',
    ),
    major_faults: assumed(
      8_000,
      'CPU time of block I/O submission, interrupt and a context switch',
    ),
    cow_faults: assumed(1_500, 'copying 4 KiB at 3 GB/s'),
    pages_scanned: assumed(200, 'list move, rmap walk and test of one pte'),
    evictions: assumed(1_000, 'unmap, swap slot and bookkeeping'),
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
    guest_walks: assumed(40, 'four guest table entries in the caches'),
    sptes_installed: derived(
      1_400,
      `${HOUGHTON}: 0.879 s / 262,144 pages = 3,353 ns for exit, host fault and install; less 544 and 1,400`,
    ),
    sptes_dropped: assumed(80, 'rmap lookup and a store; one cache miss'),
    sptes_aged: derived(28, `${HOUGHTON}: aging pass over 262,144 pages 0.0073 s`),
    guest_page_faults: assumed(300, 'injection and the guest handler entry, about 1,000 cycles'),
    guest_pte_writes: assumed(1_500, 'emulation of the store; the exit is charged apart'),
    cr3_switches: assumed(150, 'intercepted MOV to CR3 with a cached root'),
    remote_tlb_flushes: derived(
      1_000,
      'Amit, Optimizing the TLB Shootdown Algorithm, USENIX ATC 2017: shootdowns take microseconds; lower end',
    ),
    minor_faults: derived(1_400, `${HOUGHTON}: 3,353 ns a populate fault, share of the host fault`),
    major_faults: assumed(
      3_000,
      'CPU time of block I/O submission, interrupt and a context switch',
    ),
    cow_faults: assumed(400, 'copying 4 KiB at 10 GB/s'),
    pages_scanned: assumed(80, 'list move, rmap walk and test of one pte'),
    evictions: assumed(500, 'unmap, swap slot and bookkeeping'),
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
  const { accesses, tlb_l2_hits: l2Hits, walk_steps: walkSteps } = counters;
  const base = referenceNs(costs, accesses, l2Hits, walkSteps);
  const total = cpu + devices.waitNs;
  return {
    profile,
    device: devices.device,
    total_ns: Math.round(total),
    cpu_ns: Math.round(cpu),
    io_wait_ns: Math.round(devices.waitNs),
    device_busy_ns: Math.round(devices.busyNs),
    slowdown: base === 0 ? 1 : Math.round((total / base) * 1000) / 1000,
  };
}
