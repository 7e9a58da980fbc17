// A workload as data: what the command line names and what a worker thread is sent.

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
export function resolveWorkload(spec: WorkloadSpec, seed: number): Workload {
  const workload = open(spec, seed);
  return spec.limit === undefined ? workload : limited(workload, spec.limit);
}

function open(spec: WorkloadSpec, seed: number): Workload {
  switch (spec.kind) {
    case 'trace':
      return openTrace(spec.name, spec.format === undefined ? {} : { format: spec.format });
    case 'workload':
      return openWorkload(spec.name, seed);
    case 'scenario':
      return openScenario(spec.name, seed);
  }
}
