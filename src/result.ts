// What a run gives: plain data with snake_case keys, the JSON output of `run` and the rows of
// `compare`. Nothing in it depends on the machine that computed it, so equal inputs give equal bytes.

import { LOCKSTEP_FAULTS, LOCKSTEP_TESTS, LOCKSTEP_WRITEBACKS } from '../assembly/abi.ts';
import type { Core } from './core/load.ts';
import type { RunOutcome } from './machine.ts';
import type { DeviceName } from './mm/swap-device.ts';
import type { ProfileName, RunTime } from './stats/profiles.ts';
import type { CounterValues } from './stats/stats.ts';
import type { TlbGeometry } from './units.ts';

/** How well a protocol's young answers agreed with the guest's accesses. */
export interface AgingAccuracy {
  /** Tests of guest data pages for young. */
  readonly young_tests: number;
  /** Called old although accessed since the last test. */
  readonly false_old: number;
  /** Called young although not accessed since the last test. */
  readonly false_young: number;
  /** Share of wrong answers, 0 to 1; null without a test. */
  readonly error_rate: number | null;
}

/** The machine that ran. */
export interface MachineFacts {
  readonly protocol: string;
  readonly policy: string;
  /** Generation of KVM's MMU, and of the host mm. */
  readonly generation: string;
  readonly mm_generation: string;
  readonly backing: 'anon' | 'file';
  readonly swap: DeviceName;
  readonly profile: ProfileName;
  /** Distinct pages of the workload. */
  readonly footprint_pages: number;
  /** Host frames for the guest. */
  readonly memory_pages: number;
  readonly guest_tables: 'resident' | 'pageable';
  readonly vcpus: number;
  readonly tlb: TlbGeometry;
  readonly pcid: boolean;
  readonly seed: number;
  readonly verify: boolean;
}

/** Counters at a CONTROL_MARK: what was counted since the mark before. */
export interface PhaseResult {
  readonly mark: number;
  readonly counters: CounterValues;
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
  readonly phases: readonly PhaseResult[];
  /** With verify: reads and writes that were checked. */
  readonly verified?: { readonly reads: number; readonly writes: number };
}

/** How the protocol's answers on guest data pages compare with the accesses. */
export function accuracyOf(core: Core, counters: CounterValues): AgingAccuracy {
  const young_tests = core.mem.load32((core.x.lockstepState() >>> 0) + LOCKSTEP_TESTS);
  const { false_old, false_young } = counters;
  const wrong = false_old + false_young;
  return {
    young_tests,
    false_old,
    false_young,
    error_rate: young_tests === 0 ? null : Math.round((wrong / young_tests) * 1e6) / 1e6,
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
