// What a run gives: plain data with snake_case keys, the JSON output of `run` and the rows of
// `compare`. Nothing in it depends on the machine that computed it, so equal inputs give equal bytes.

import { LOCKSTEP_FAULTS, LOCKSTEP_MATRIX, LOCKSTEP_WRITEBACKS } from '../assembly/abi.ts';
import type { Core } from './core/load.ts';
import type { ReclaimTrigger } from './mm/host.ts';
import type { DeviceName } from './mm/swap-device.ts';
import type { Watermarks } from './mm/vmscan/watermarks.ts';
import type { ProfileName, RunTime } from './stats/profiles.ts';
import type { CounterValues } from './stats/stats.ts';
import type { TlbGeometry } from './units.ts';

/**
 * How a run ended: `oom_killed`, the host had no page to give and its OOM killer ended the VMM;
 * `run_failed`, KVM_RUN returned -EFAULT since a page of the guest's tables can't be had (its device
 * failed), and the VMM gave up.
 */
export type RunOutcome = 'done' | 'oom_killed' | 'run_failed';

/** Counters at a CONTROL_MARK: what was counted since the mark before. */
export interface Phase {
  readonly mark: number;
  readonly counters: CounterValues;
}

/**
 * How well a protocol's young answers agreed with the guest's accesses: at each test of a guest data page,
 * what it was called × whether it was accessed since the last test. Exact, for the yardstick sees all.
 */
export interface AgingAccuracy {
  /** Tests: the sum of the four cells. */
  readonly young_tests: number;
  /** Called young, and accessed. */
  readonly true_young: number;
  /** Called young although not accessed. */
  readonly false_young: number;
  /** Called old, and not accessed. */
  readonly true_old: number;
  /** Called old although accessed. */
  readonly false_old: number;
  /** Share of wrong answers, 0 to 1; null without a test. */
  readonly error_rate: number | null;
  /** Share of the accessed pages that were called old; null without one. */
  readonly false_old_rate: number | null;
  /** Share of the pages not accessed that were called young; null without one. */
  readonly false_young_rate: number | null;
}

/** The machine that ran. */
export interface MachineFacts {
  readonly protocol: string;
  readonly policy: string;
  /** Generation of KVM's MMU, and of the host mm. */
  readonly generation: string;
  readonly mm_generation: string;
  /** What starts reclaim, and the watermarks if they do (free pages). */
  readonly reclaim: ReclaimTrigger;
  readonly watermarks: Watermarks | null;
  readonly backing: 'anon' | 'file';
  readonly swap: DeviceName;
  readonly profile: ProfileName;
  /** Distinct pages of the workload. */
  readonly footprint_pages: number;
  /** Host frames for the guest. */
  readonly memory_pages: number;
  readonly guest_tables: 'resident' | 'pageable';
  /** Shadow paging, or two-dimensional paging. */
  readonly paging: 'shadow' | 'tdp';
  readonly vcpus: number;
  readonly tlb: TlbGeometry;
  readonly pcid: boolean;
  readonly seed: number;
  readonly verify: boolean;
}

/** Result of one run. */
export interface RunResult {
  readonly schema: 'shadowmmu.run/1';
  readonly version: string;
  readonly workload: string;
  readonly machine: MachineFacts;
  readonly outcome: RunOutcome;
  readonly counters: CounterValues;
  readonly accuracy: AgingAccuracy;
  /** An exact LRU over every access with the same number of frames. */
  readonly ideal_lru: { readonly faults: number; readonly writebacks: number };
  readonly time: RunTime;
  readonly phases: readonly Phase[];
  /** With verify: reads and writes that were checked. */
  readonly verified?: { readonly reads: number; readonly writes: number };
}

/** A share to six digits; null of nothing. */
function rate(part: number, whole: number): number | null {
  return whole === 0 ? null : Math.round((part / whole) * 1e6) / 1e6;
}

/** How the protocol's answers on guest data pages compare with the accesses. */
export function accuracyOf(core: Core): AgingAccuracy {
  const matrix = (core.x.lockstepState() >>> 0) + LOCKSTEP_MATRIX;
  const cell = (i: number): number => core.mem.load32(matrix + i * 4);
  const [true_old, false_old, false_young, true_young] = [cell(0), cell(1), cell(2), cell(3)];
  const young_tests = true_old + false_old + false_young + true_young;
  return {
    young_tests,
    true_young,
    false_young,
    true_old,
    false_old,
    error_rate: rate(false_old + false_young, young_tests),
    false_old_rate: rate(false_old, false_old + true_young),
    false_young_rate: rate(false_young, false_young + true_old),
  };
}

/** The lockstep yardstick's own figures. */
export function idealLruOf(core: Core): { faults: number; writebacks: number } {
  const state = core.x.lockstepState() >>> 0;
  return {
    faults: core.mem.load64(state + LOCKSTEP_FAULTS),
    writebacks: core.mem.load64(state + LOCKSTEP_WRITEBACKS),
  };
}
