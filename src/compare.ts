// One workload under several protocols, beside the two yardsticks that no host can run: an exact LRU
// that sees every access, and Belady's OPT. Each row is a job of its own; where jobs run (here or in
// worker threads) changes nothing in the result.

import type { DeviceName } from './mm/swap-device.ts';
import type { MachineFacts, RunResult } from './result.ts';
import { type Footprint, type SimulateOptions, hostPages, measure, simulate } from './simulate.ts';
import { VERSION } from './version.ts';
import { type WorkloadSpec, resolveWorkload } from './workload-spec.ts';
import { missRatioCurve } from './workload/analyse.ts';
import { stdinCopy } from './workload/stdin.ts';

/** A row to compute: a protocol, or the faults of OPT. */
export type CompareJob =
  | {
      readonly kind: 'protocol';
      readonly spec: WorkloadSpec;
      readonly options: SimulateOptions;
    }
  | {
      readonly kind: 'opt';
      readonly spec: WorkloadSpec;
      readonly seed: number;
      readonly frames: number;
    };

/** What a job gives. */
export type CompareOutcome =
  | { readonly kind: 'protocol'; readonly result: RunResult }
  | { readonly kind: 'opt'; readonly faults: number };

/** A yardstick's row. */
export interface YardstickRow {
  readonly name: 'ideal-lru' | 'opt';
  /** Pages loaded, first touches included. */
  readonly faults: number;
  /** Pages read from a device: without the first touches of anonymous memory. */
  readonly disk_reads: number;
  /** Dirty pages evicted; null for OPT, where it depends on the choice among ties. */
  readonly writebacks: number | null;
}

/** A protocol's row: the run without what all rows share. */
export interface ProtocolRow extends Pick<RunResult, 'outcome' | 'counters' | 'accuracy' | 'time'> {
  readonly protocol: string;
  /** Pages read from a device. */
  readonly disk_reads: number;
  /** Pages written to a device. */
  readonly disk_writes: number;
}

/** Result of a comparison. */
export interface CompareResult {
  readonly schema: 'shadowmmu.compare/1';
  readonly version: string;
  readonly workload: string;
  /** The machine, but for the protocol. */
  readonly machine: Omit<MachineFacts, 'protocol' | 'generation' | 'mm_generation'>;
  readonly rows: readonly ProtocolRow[];
  readonly yardsticks: readonly YardstickRow[];
}

/** Runs a job in this thread. */
export async function runJob(
  job: CompareJob,
  progress?: (part: number | undefined) => void | Promise<void>,
): Promise<CompareOutcome> {
  if (job.kind === 'protocol') {
    const workload = resolveWorkload(job.spec, job.options.seed ?? 1);
    return { kind: 'protocol', result: await simulate(workload, job.options, progress) };
  }
  const curve = await missRatioCurve(resolveWorkload(job.spec, job.seed), {
    algorithms: ['opt'],
    frames: [job.frames],
    progress,
  });
  return { kind: 'opt', faults: curve.results.opt?.[0]?.faults ?? 0 };
}

/** The jobs of a comparison. */
export async function compareJobs(
  spec: WorkloadSpec,
  protocols: readonly string[],
  options: SimulateOptions,
  progress?: (part: number | undefined) => void | Promise<void>,
): Promise<{ jobs: CompareJob[]; footprint: Footprint }> {
  const seed = options.seed ?? 1;
  const footprint = await measure(resolveWorkload(spec, seed), progress);
  const frames = hostPages(options.memory, footprint);
  // Threads have no standard input: they read the copy that the count of the pages left.
  const shared = spec.kind === 'trace' && spec.name === '-' ? (stdinCopy() ?? '-') : spec.name;
  const job = { ...spec, name: shared };
  const jobs: CompareJob[] = protocols.map((protocol) => ({
    kind: 'protocol',
    spec: job,
    options: { ...options, protocol, footprint },
  }));
  jobs.push({ kind: 'opt', spec: job, seed, frames });
  return { jobs, footprint };
}

/** Puts the outcomes of compareJobs()'s jobs, in their order, together. */
export function compareResult(outcomes: readonly CompareOutcome[]): CompareResult {
  const results = outcomes.flatMap((o) => (o.kind === 'protocol' ? [o.result] : []));
  const first = results[0] as RunResult;
  // A run that was cut short saw only part of the references.
  const whole = results.find(({ outcome }) => outcome === 'done') ?? first;
  const {
    protocol: _protocol,
    generation: _generation,
    mm_generation: _mm,
    ...machine
  } = first.machine;
  const cold = machine.backing === 'anon' ? machine.footprint_pages : 0;
  const yardsticks: YardstickRow[] = [
    {
      name: 'ideal-lru',
      faults: whole.ideal_lru.faults,
      disk_reads: whole.ideal_lru.faults - cold,
      writebacks: whole.ideal_lru.writebacks,
    },
  ];
  for (const outcome of outcomes) {
    if (outcome.kind !== 'opt') continue;
    const { faults } = outcome;
    yardsticks.push({ name: 'opt', faults, disk_reads: faults - cold, writebacks: null });
  }
  return {
    schema: 'shadowmmu.compare/1',
    version: VERSION,
    workload: first.workload,
    machine,
    rows: results.map(({ machine: { protocol }, outcome, counters, accuracy, time }) => ({
      protocol,
      outcome,
      disk_reads: counters.swap_ins + counters.file_reads,
      disk_writes: counters.swap_outs + counters.file_writebacks,
      counters,
      accuracy,
      time,
    })),
    yardsticks,
  };
}

/** Compares protocols in this thread. */
export async function compare(
  spec: WorkloadSpec,
  protocols: readonly string[],
  options: SimulateOptions = {},
): Promise<CompareResult> {
  const { jobs } = await compareJobs(spec, protocols, options);
  const outcomes: CompareOutcome[] = [];
  for (const job of jobs) outcomes.push(await runJob(job));
  return compareResult(outcomes);
}

/** Name of a device for tables. */
export const DEVICE_TITLES: Readonly<Record<DeviceName, string>> = {
  hdd: 'hard disk',
  nvme: 'NVMe disk',
  zram: 'zram',
};
