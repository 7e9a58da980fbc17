// The trace that comes with the package.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DataError } from '../core/errors.ts';
import type { WorkloadSpec } from '../workload-spec.ts';

const NAME = 'sqlite.lackey.gz';

/** The bundled trace; beside dist/ in the package, beside src/ in the sources. */
export function demoSpec(): WorkloadSpec {
  for (const near of ['../traces/', '../../traces/']) {
    const path = fileURLToPath(new URL(near + NAME, import.meta.url));
    if (existsSync(path)) return { kind: 'trace', name: path };
  }
  throw new DataError(`${NAME}: the bundled trace is missing; reinstall the package`);
}
