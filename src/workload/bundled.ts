// The trace that comes with the package.

import { fileURLToPath } from 'node:url';
import type { Workload } from './source.ts';
import { openTrace } from './trace-source.ts';

/** Path of the bundled trace of sqlite3 (traces/README.md). */
export function bundledTracePath(): string {
  // dist/*.js lies one folder below the package's root, src/workload/bundled.ts two.
  const root = import.meta.url.endsWith('.ts') ? '../../' : '../';
  return fileURLToPath(new URL(`${root}traces/sqlite.smt.gz`, import.meta.url));
}

/** The bundled trace of sqlite3. */
export function bundledTrace(): Workload {
  return openTrace(bundledTracePath());
}
