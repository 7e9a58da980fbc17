// Options of a machine, and what they come to: the generations of a protocol's time, the guest's memory
// layout, the devices.

import { UsageError } from './core/errors.ts';
import type { CoreBuild } from './core/load.ts';
import { AGING_PRESETS, type AgingPreset, agingPreset } from './mm/aging.ts';
import { MM_GENERATIONS, type MmGeneration } from './mm/generation.ts';
import type { ReclaimTrigger } from './mm/host.ts';
import type { DeviceErrors, DeviceName } from './mm/swap-device.ts';
import type { ReclaimPolicy } from './mm/vmscan/policy.ts';
import { PROFILES, type ProfileName } from './stats/profiles.ts';
import type { TlbGeometry } from './units.ts';

/** First gfn of the data slot; the table slot follows it. */
const DATA_GFN = 256;

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
  /** What starts reclaim; see HostOptions. Default `memcg`. */
  readonly reclaim?: ReclaimTrigger;
  /** vm.min_free_kbytes of a host with watermarks. Default: by its size. */
  readonly minFreeKbytes?: number;
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
  /**
   * Two-dimensional paging (EPT, NPT) instead of shadow paging: the guest's own tables are walked by the
   * processor and never intercepted. KVM of 6.1 and one vCPU only. Default false.
   */
  readonly tdp?: boolean;
  /** With `tdp`, whether the processor sets A and D bits in its tables; see KvmOptions. */
  readonly adBits?: boolean;
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

/** A run of gfns. */
export interface GfnRange {
  readonly base: number;
  readonly count: number;
}

/** What options come to. */
export interface MachinePlan {
  readonly aging: AgingPreset;
  /** Generations of KVM's MMU and of the host mm. */
  readonly generation: string;
  readonly mm: MmGeneration;
  readonly profile: ProfileName;
  readonly device: DeviceName;
  readonly backing: 'anon' | 'file';
  readonly tablesResident: boolean;
  readonly prefetch: boolean;
  readonly data: GfnRange;
  readonly tables: GfnRange;
}

/** KVM's generation: the one that is asked for, else that of the protocol's time. */
function kvmGenerationOf(options: VmOptions, aging: AgingPreset): string {
  if (options.adBits !== undefined && options.tdp !== true) {
    throw new UsageError(
      'a processor without A and D bits: that is about two-dimensional paging, ask for it (--paging tdp)',
    );
  }
  if (options.tdp === true) {
    if ((options.vcpus ?? 1) > 1) {
      throw new UsageError(
        `two-dimensional paging with ${options.vcpus} vCPUs: its one root serves one vCPU (--vcpus 1)`,
      );
    }
    if (!aging.kvm.notifiers || aging.kvm.shrinkEvery > 0) {
      throw new UsageError(
        `protocol ${aging.name} is about sptes that pin their pages: it needs shadow paging`,
      );
    }
    if (options.generation === '2008') {
      throw new UsageError(
        'generation 2008: two-dimensional paging is modelled from 5.10 on (--generation 6.1)',
      );
    }
    return options.generation ?? '6.1';
  }
  if (options.generation !== undefined) return options.generation;
  return options.backing === 'file' ? '6.1' : mmGenerationOf(aging);
}

/** Fills the defaults in; throws a UsageError for what can't be. */
export function planMachine(options: VmOptions): MachinePlan {
  const aging = preset(options.protocol ?? 'v3');
  const backing = options.backing ?? 'anon';
  const tablesResident = guestTablesOf(options.guestTables, options.protocol) === 'resident';
  if (!tablesResident && options.memoryPages < MIN_PAGEABLE_FRAMES) {
    throw new UsageError(
      `${options.memoryPages} frames can't hold the guest tables and the data of one access: ` +
        `give the host ${MIN_PAGEABLE_FRAMES} or more, or use --guest-tables resident`,
    );
  }
  const profile = options.profile ?? '2026';
  const { guestPages } = options;
  return {
    aging,
    generation: kvmGenerationOf(options, aging),
    mm: mmGeneration(options.generation ?? mmGenerationOf(aging)),
    profile,
    device: options.swap ?? PROFILES[profile].device,
    backing,
    tablesResident,
    prefetch: options.prefetch ?? prefetchesByDefault(aging),
    data: { base: DATA_GFN, count: guestPages },
    tables: { base: DATA_GFN + guestPages, count: options.tablePages ?? guestPages + 1024 },
  };
}
