// One workload on one machine, from options as people write them to a plain result.

import { CoreBugError, UsageError } from './core/errors.ts';
import { auditKvmPins } from './kvm/audit.ts';
import { type RunProgress, type Vm, createVm } from './machine.ts';
import { AGING_PRESETS } from './mm/aging.ts';
import { auditHost } from './mm/audit.ts';
import { MM_GENERATIONS } from './mm/generation.ts';
export { RECLAIM_TRIGGERS } from './mm/host.ts';
import { DEVICES as DEVICE_PROFILES, type DeviceName } from './mm/swap-device.ts';
import { POLICY_NAMES, makePolicy } from './policies.ts';
import { type RunResult, accuracyOf, idealLruOf } from './result.ts';
import { PROFILES, type ProfileName, runTime } from './stats/profiles.ts';
import { DEFAULT_TLB, MAX_PAGES, type MemorySize } from './units.ts';
import { VERSION } from './version.ts';
import { footprint as countPages } from './workload/analyse.ts';
import { type VmOptions, guestTablesOf } from './vm-options.ts';
import type { Workload } from './workload/source.ts';

/** Aging protocols by name. */
export const PROTOCOLS: readonly string[] = Object.keys(AGING_PRESETS);
/** Reclaim policies by name. */
export const POLICIES: readonly string[] = POLICY_NAMES;
/** Kinds of backing. */
export const BACKINGS = ['anon', 'file'] as const;
/** Swap devices. */
export const DEVICES = Object.keys(DEVICE_PROFILES) as readonly DeviceName[];
/** Generations of KVM and the host mm. */
export const GENERATIONS: readonly string[] = Object.keys(MM_GENERATIONS);
/** What becomes of the guest's page tables. */
export const GUEST_TABLES = ['pageable', 'resident'] as const;
/** Cost profiles. */
export const PROFILE_NAMES = Object.keys(PROFILES) as readonly ProfileName[];

/** Distinct pages of a workload, and what the guest needs beyond them. */
export interface Footprint {
  readonly pages: number;
}

/** Options of a run. */
export interface SimulateOptions extends Partial<
  Pick<
    VmOptions,
    | 'guestPages'
    | 'backing'
    | 'swap'
    | 'profile'
    | 'reclaim'
    | 'minFreeKbytes'
    | 'swapPages'
    | 'deviceErrors'
    | 'generation'
    | 'vcpus'
    | 'tlb'
    | 'pcid'
    | 'seed'
    | 'verify'
    | 'guestTables'
    | 'yardstick'
    | 'tdp'
    | 'adBits'
    | 'flushScope'
    | 'prefetch'
    | 'quickFaults'
    | 'core'
  >
> {
  /** Host memory for the guest; a share is of the workload's pages. Default 25%, at least 16 pages. */
  readonly memory?: MemorySize;
  /** Name of an aging protocol. Default `v3`. */
  readonly protocol?: string;
  /** Name of a reclaim policy. Default `two-list`. */
  readonly policy?: string;
  /** The footprint, when it is known; it is counted in a pass of its own otherwise. */
  readonly footprint?: Footprint;
}

/** Checks the whole structures of KVM and of the host mm after a run. */
function audit(vm: Vm): void {
  const { problems, pins } = auditKvmPins(vm.kvm);
  vm.core.x.lruAddDrain();
  const found = [...problems, ...auditHost(vm.host, pins).problems];
  if (found.length > 0) throw new CoreBugError(`audit: ${found.slice(0, 5).join('; ')}`);
}

/** Counts the pages of a workload. */
export async function measure(workload: Workload, progress?: RunProgress): Promise<Footprint> {
  return { pages: await countPages(workload, progress) };
}

/** Frames that a host has at least when its size is a default. */
const DEFAULT_PAGES = 16;

/** Host frames for a size. */
export function hostPages(memory: MemorySize | undefined, footprint: Footprint): number {
  const size = memory ?? { pages: Math.max(DEFAULT_PAGES, Math.ceil(footprint.pages / 4)) };
  const pages =
    'pages' in size ? size.pages : Math.max(1, Math.floor(size.share * footprint.pages));
  if (pages > MAX_PAGES) {
    throw new UsageError(`--memory: ${pages} pages are more than the ${MAX_PAGES} supported`);
  }
  return pages;
}

/** Runs a workload on a fresh machine. */
export async function simulate(
  workload: Workload,
  options: SimulateOptions = {},
  progress?: RunProgress,
): Promise<RunResult> {
  const footprint = options.footprint ?? (await measure(workload, progress));
  const memoryPages = hostPages(options.memory, footprint);
  const protocol = options.protocol ?? 'v3';
  const policy = options.policy ?? 'two-list';
  const { memory: _memory, footprint: _footprint, ...rest } = options;
  const guestPages = options.guestPages ?? footprint.pages + 64;
  const vm = createVm({
    ...rest,
    memoryPages,
    guestPages,
    protocol,
    policy: makePolicy(policy),
  });
  vm.hostOperations = workload.hostOps ?? [];
  await vm.run(workload.open(vm.core), progress);
  const counters = vm.stats.read();
  if (options.verify === true) audit(vm);
  const { verified } = vm;
  return {
    schema: 'shadowmmu.run/1',
    version: VERSION,
    workload: workload.name,
    machine: {
      protocol,
      policy,
      generation: vm.kvmGeneration,
      mm_generation: vm.mmGeneration,
      reclaim: options.reclaim ?? 'memcg',
      watermarks: vm.host.kswapd?.marks ?? null,
      backing: options.backing ?? 'anon',
      swap: vm.device,
      profile: vm.profile,
      footprint_pages: footprint.pages,
      memory_pages: memoryPages,
      guest_tables: guestTablesOf(options.guestTables, protocol),
      paging: options.tdp === true ? 'tdp' : 'shadow',
      vcpus: options.vcpus ?? 1,
      tlb: options.tlb ?? DEFAULT_TLB,
      pcid: options.pcid ?? true,
      seed: options.seed ?? 1,
      verify: options.verify ?? false,
    },
    outcome: vm.outcome,
    counters,
    accuracy: accuracyOf(vm.core),
    ideal_lru: idealLruOf(vm.core),
    time: runTime(counters, vm.profile, vm.deviceTime()),
    phases: vm.phases,
    ...(verified === undefined ? {} : { verified }),
  };
}
