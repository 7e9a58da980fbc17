// What a preset or a scenario brings along: options that the command line did not give, and the
// published figures to print beside ours.

import { DataError } from '../core/errors.ts';
import type { WorkloadSpec } from '../workload-spec.ts';
import { type WorkloadPreset, presetByName, publishedLines } from '../workload/presets.ts';
import { openScenario } from '../workload/scenario.ts';
import { didYouMean, splitSpec } from '../workload/spec.ts';

/** Parsed options. */
export type OptionValues = { readonly [name: string]: string | boolean | undefined };

/** Options that say what runs; a scenario or a preset cannot. */
const OWN = ['trace', 'workload', 'scenario', 'format'];

function presetOf(text: string): WorkloadPreset | undefined {
  return presetByName(splitSpec(text).name);
}

/** Options of a scenario as util.parseArgs would give them. */
function scenarioOptions(
  path: string,
  declared: readonly string[],
): Record<string, string | boolean> {
  const result: Record<string, string | boolean> = {};
  const known = declared.filter((name) => !OWN.includes(name));
  for (const [name, value] of Object.entries(openScenario(path).options)) {
    if (!known.includes(name)) {
      const hint = didYouMean(name, known);
      throw new DataError(`${path}: options.${name}: is no option that a scenario can set${hint}`);
    }
    result[name] = typeof value === 'number' ? String(value) : value;
  }
  return result;
}

/** The values, and for options that were not given those of the preset or scenario. */
export function withDefaults(values: OptionValues, declared: readonly string[]): OptionValues {
  const { workload, scenario } = values;
  if (typeof scenario === 'string') return { ...scenarioOptions(scenario, declared), ...values };
  const preset = typeof workload === 'string' ? presetOf(workload) : undefined;
  if (!preset) return values;
  const protocols = [...new Set(Object.values(preset.cases))].join(',');
  const own = declared.includes('protocols') ? { ...preset.options, protocols } : preset.options;
  return { ...own, ...values };
}

/** What was published about a preset, to print under our figures; '' for other workloads. */
export function publishedText(spec: WorkloadSpec): string {
  const preset = spec.kind === 'workload' ? presetOf(spec.name) : undefined;
  if (!preset) return '';
  const cases = Object.entries(preset.cases).map(([name, protocol]) => `${name} = ${protocol}`);
  const lines = publishedLines(preset).map((line) => `  ${line}\n`);
  return (
    `\n${preset.meaning}\n\npublished (${cases.join(', ')} here; read ` +
    `${preset.counters.join(', ')}):\n${lines.join('')}`
  );
}
