// Named cases that others measured on real machines: a workload of the same shape, the options that
// go with it, and the published figures to print beside ours. What is compared is the direction and
// the rough size of an effect, not the absolute times of other people's hardware.

import type { Spec } from './spec.ts';

/** A figure that somebody published. */
export interface PublishedFigure {
  /** What was measured, with the unit. */
  readonly what: string;
  /** Values by case. */
  readonly values: Readonly<Record<string, number | string>>;
}

/** A published case. */
export interface WorkloadPreset {
  readonly name: string;
  /** One line for lists. */
  readonly summary: string;
  /** What happened there, and what to look at here. */
  readonly meaning: string;
  /** The workload: a spec, or the steps of a scenario. */
  readonly workload: string | readonly object[];
  /** Defaults of options of the command line, by their long names. */
  readonly options: Readonly<Record<string, string>>;
  /** Aging protocols that stand for the published cases: case → protocol. */
  readonly cases: Readonly<Record<string, string>>;
  /** Counters of ours to read beside the published figures. */
  readonly counters: readonly string[];
  readonly published: readonly PublishedFigure[];
  /** Where the figures stand. */
  readonly source: string;
}

/** Pages of the guest of the NUMA case, and the chunk that one scan takes. */
const NUMA_PAGES = 8192;
const NUMA_CHUNK = 2048;

/** A boot that touches its memory while NUMA balancing's scanner goes over it, chunk by chunk. */
function numaSteps(): readonly object[] {
  const chunks = Array.from({ length: NUMA_PAGES / NUMA_CHUNK }, (_, i) => i * NUMA_CHUNK);
  return [
    { mark: 'populate' },
    { access: 'write', page: 65536, pages: NUMA_PAGES },
    { mark: 'boot under NUMA balancing' },
    {
      repeat: 8,
      steps: chunks.flatMap((page) => [
        { host: 'numa_hint', page, pages: NUMA_CHUNK },
        { workload: `hot-cold:pages=${NUMA_PAGES},hot=${NUMA_CHUNK},refs=20k` },
      ]),
    },
  ];
}

/** All presets. */
export const WORKLOAD_PRESETS: readonly WorkloadPreset[] = [
  {
    name: 'kvm-access-tracking',
    summary: "KVM's access_tracking_perf_test: what aging costs a guest that does not swap",
    meaning:
      'A vCPU populates 1 GiB while the host ages it, then writes and reads it idle. Nothing is ' +
      'evicted, so every vmexit after the first touch of a page is the price of asking whether it ' +
      'is young: sptes dropped (v3), made non-present (access-track), or not at all (clear_young).',
    workload: 'access-tracking',
    options: { memory: '125%', profile: '2026' },
    cases: { none: 'v2', unoptimised: 'clear_flush_young', optimised: 'clear_young' },
    counters: ['age_page_calls', 'sptes_dropped', 'minor_faults', 'remote_tlb_flushes'],
    published: [
      {
        what: 'populate 1 GiB per vCPU while MGLRU ages, 1 vCPU, wall s',
        values: { none: 0.879, unoptimised: 0.938, optimised: 0.912 },
      },
      {
        what: 'the same with 8 vCPUs, wall s',
        values: { none: 1.474, unoptimised: 1.589, optimised: 1.498 },
      },
      {
        what: 'the same with 32 vCPUs, wall s',
        values: { none: 3.316, unoptimised: 3.955, optimised: 3.355 },
      },
      {
        what: 'the same with 112 vCPUs, wall s',
        values: { none: 8.498, unoptimised: 10.214, optimised: 8.897 },
      },
    ],
    source:
      'James Houghton, "mm: multi-gen LRU: Have secondary MMUs participate in aging", ' +
      'linux-kselftest msg62901 (access_tracking_perf_test -p -l -b 1G; TDP, THP off)',
  },
  {
    name: 'chromeos-tabs',
    summary: 'ChromeOS: opening tabs under pressure when aging skips the secondary MMU',
    meaning:
      'The guest keeps using a hot set while new tabs stream through the rest of memory. When the ' +
      "host's aging does not ask KVM, the guest's hot pages look idle and are swapped out; opening " +
      'a tab waits for them. Compare major_faults and spurious_swap_outs of the cases.',
    workload: 'hot-cold:pages=24576,hot=8192,share=0.97,write=0.4,burst=4,refs=4M',
    options: { memory: '50%', profile: '2026', swap: 'zram' },
    cases: { skipped: 'v2', base: 'clear_flush_young', fix: 'clear_young' },
    counters: ['major_faults', 'swap_outs', 'spurious_swap_outs', 'false_old'],
    published: [
      { what: 'tab-open latency p50, ms', values: { base: 1315, skipped: 2559, fix: 1119 } },
      { what: 'tab-open latency mean, ms', values: { base: 1198, skipped: 1311, fix: 926 } },
      { what: 'tab-open latency p95, ms', values: { base: 2347, skipped: 7399, fix: 2470 } },
      { what: 'tab-open latency p99, ms', values: { base: 3454, skipped: 12060, fix: 4211 } },
      { what: 'tab-open latency max, ms', values: { base: 10319, skipped: 43758, fix: 6947 } },
    ],
    source:
      'James Houghton, series of 2024-10-19 ending in "mm: multi-gen LRU: use ' +
      '{ptep,pmdp}_clear_young_notify()", patchew 20241019012940.3656292-1',
  },
  {
    name: 'ept-no-accessed-bit',
    summary: 'EPT without accessed bits: actively used guest pages are swapped out',
    meaning:
      'Before the commit KVM answered "not young" for every page under EPT, so reclaim saw only the ' +
      'faults, as under v2; since then it drops the entry and answers for it, as v4 without accessed ' +
      'bits (and here v3) does. No figures were published with it; the effect is the order of ' +
      'swap_outs and spurious_swap_outs of the cases.',
    workload: 'hot-cold:pages=8192,hot=2048,share=0.95,refs=2M',
    options: { memory: '50%', profile: '2026' },
    cases: { before: 'v2', after: 'v3', 'with A bits': 'clear_flush_young' },
    counters: ['swap_outs', 'spurious_swap_outs', 'major_faults', 'minor_faults'],
    published: [],
    source:
      'Rik van Riel, commit 6316e1c8c6af, "KVM: VMX: emulate accessed bit for EPT" (Linux 2.6.34)',
  },
  {
    name: 'numa-balancing',
    summary: 'NUMA balancing zaps sptes of a booting guest to learn who uses its pages',
    meaning:
      'The scanner makes chunks of the guest PROT_NONE; through the notifiers each costs the sptes of ' +
      'the whole chunk and a remote TLB flush, even if nothing can be migrated. Read ' +
      'invalidate_range_calls, remote_tlb_flushes and the sptes that come back as minor faults.',
    workload: numaSteps(),
    options: { memory: '125%', profile: '2026', vcpus: '2' },
    cases: { 'today (range hooks)': 'clear_young', v3: 'v3' },
    counters: ['invalidate_range_calls', 'remote_tlb_flushes', 'sptes_dropped', 'minor_faults'],
    published: [
      {
        what: 'KVM TLB shootdowns by NUMA-balancing notifiers during a VM boot',
        values: { before: '9000+', 'with the RFC': 0 },
      },
    ],
    source: 'Yan Zhao, RFC on NUMA balancing and secondary MMUs, kvm list msg323822',
  },
];

/** The preset of a name. */
export function presetByName(name: string): WorkloadPreset | undefined {
  return WORKLOAD_PRESETS.find((preset) => preset.name === name);
}

/** A preset's own spec with the parameters that were given instead of its own. */
export function overriddenSpec(own: Spec, given: Spec): Spec {
  return { name: own.name, parameters: new Map([...own.parameters, ...given.parameters]) };
}

/** The published figures as lines of text; empty when there are none. */
export function publishedLines(preset: WorkloadPreset): string[] {
  const lines = preset.published.map(({ what, values }) => {
    const cells = Object.entries(values).map(([name, value]) => `${name} ${value}`);
    return `${what}: ${cells.join(', ')}`;
  });
  return [...lines, `source: ${preset.source}`];
}
