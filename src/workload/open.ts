// Opens workloads by what the command line says.

import { UsageError } from '../core/errors.ts';
import { WORKLOAD_PRESETS, overriddenSpec, presetByName } from './presets.ts';
import { SCENARIO_SCHEMA, parseScenario } from './scenario.ts';
import type { Workload } from './source.ts';
import { didYouMean, splitSpec } from './spec.ts';
import { SYNTHETIC, syntheticWorkload } from './synthetic.ts';

/** Names that openWorkload() knows: synthetic workloads, then presets. */
export const WORKLOAD_NAMES: readonly string[] = [...SYNTHETIC, ...WORKLOAD_PRESETS].map(
  ({ name }) => name,
);

/**
 * The workload of a spec `NAME[:k=v,…]`, where NAME is a synthetic workload or a preset (whose
 * parameters are those of its workload). The same spec and seed give the same references on every
 * machine. Throws UsageError.
 */
export function openWorkload(spec: string, seed = 1): Workload {
  const given = splitSpec(spec);
  const preset = presetByName(given.name);
  if (!preset) {
    if (WORKLOAD_NAMES.includes(given.name)) return syntheticWorkload(given, seed);
    const hint = didYouMean(given.name, WORKLOAD_NAMES);
    const names = hint || `; there are ${WORKLOAD_NAMES.join(', ')}`;
    throw new UsageError(`unknown workload ${JSON.stringify(given.name)}${names}`);
  }
  if (typeof preset.workload === 'string') {
    const own = overriddenSpec(splitSpec(preset.workload), given);
    return { ...syntheticWorkload(own, seed), name: preset.name };
  }
  if (given.parameters.size > 0) {
    throw new UsageError(`workload ${preset.name}: takes no parameters`);
  }
  const scenario = { schema: SCENARIO_SCHEMA, name: preset.name, steps: preset.workload };
  return parseScenario(preset.name, JSON.stringify(scenario), '.', seed);
}
