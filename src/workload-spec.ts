// A workload as data: what the command line names and what a worker thread is sent.

import { hostOperations } from './scenario-ops.ts';
import type { ScenarioWorkload } from './simulate.ts';
import { openWorkload } from './workload/open.ts';
import { openScenario } from './workload/scenario.ts';
import { type Workload, limited } from './workload/source.ts';
import { openTrace } from './workload/trace-source.ts';

/** What runs in the guest. */
export interface WorkloadSpec {
  readonly kind: 'trace' | 'workload' | 'scenario';
  /** File, or NAME[:key=value,…] of a synthetic workload. */
  readonly name: string;
  /** Format of a trace, when it is not to be detected. */
  readonly format?: string;
  /** Stop after this many records. */
  readonly limit?: number;
}

/** The workload that a specification names. */
export function resolveWorkload(spec: WorkloadSpec, seed: number): ScenarioWorkload {
  const whole = open(spec, seed);
  const workload = spec.limit === undefined ? whole : limited(whole, spec.limit);
  return workload.hostOps === undefined
    ? workload
    : { ...workload, hostOperations: hostOperations(workload.hostOps) };
}

function open(spec: WorkloadSpec, seed: number): Workload {
  if (spec.kind === 'trace') {
    return openTrace(spec.name, spec.format === undefined ? {} : { format: spec.format });
  }
  return spec.kind === 'scenario' ? openScenario(spec.name, seed) : openWorkload(spec.name, seed);
}
