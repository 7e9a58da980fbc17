// The trace that comes with the package.

import { existsSync } from 'node:fs';
import { DataError } from '../core/errors.ts';
import type { WorkloadSpec } from '../workload-spec.ts';
import { bundledTracePath } from '../workload/bundled.ts';

/** The bundled trace as a workload. */
export function demoSpec(): WorkloadSpec {
  const path = bundledTracePath();
  if (existsSync(path)) return { kind: 'trace', name: path };
  throw new DataError(`${path}: the bundled trace is missing; reinstall the package`);
}
