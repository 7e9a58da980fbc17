// Opens workloads by what the command line says.

import type { Workload } from './source.ts';
import { splitSpec } from './spec.ts';
import { syntheticWorkload } from './synthetic.ts';

/**
 * The workload of a spec `NAME[:k=v,…]`. The same spec and seed give the same references on every
 * machine. Throws UsageError.
 */
export function openWorkload(spec: string, seed = 1): Workload {
  return syntheticWorkload(splitSpec(spec), seed);
}
