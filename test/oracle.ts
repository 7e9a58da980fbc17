// Where the oracle data lies: beside the project, or where SHADOWMMU_ORACLE says. It is not part of
// the project, so tests that need it are skipped, visibly, when it is absent.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root =
  process.env['SHADOWMMU_ORACLE'] ?? fileURLToPath(new URL('../../shared/', import.meta.url));

/** Path of a file of the oracle data, or undefined when there is none. */
export function oraclePath(name: string): string | undefined {
  const path = `${root.replace(/\/$/, '')}/oracle/${name}`;
  return existsSync(path) ? path : undefined;
}
