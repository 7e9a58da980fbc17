// The trace that comes with the package.

import { existsSync } from 'node:fs';
import { DataError, UsageError } from '../core/errors.ts';
import { bundledTracePath } from '../workload/bundled.ts';
import type { OptionValues } from './defaults.ts';

/** Options with the bundled trace as their workload. */
export function withDemo(values: OptionValues): OptionValues {
  for (const name of ['trace', 'workload', 'scenario', 'format']) {
    if (values[name] !== undefined) throw new UsageError(`--demo and --${name}: give one of them`);
  }
  const trace = bundledTracePath();
  if (existsSync(trace)) return { ...values, trace };
  throw new DataError(`${trace}: the bundled trace is missing; reinstall the package`);
}
