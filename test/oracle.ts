// Where the oracle data lies: beside the project, or in the folder that SHADOWMMU_ORACLE names. It is not part of
// the project, so tests that need it are skipped, visibly, when it is absent; a name that leads nowhere is an error.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const named = process.env['SHADOWMMU_ORACLE'];
const root = named ?? fileURLToPath(new URL('../../shared/oracle', import.meta.url));

if (named !== undefined && !existsSync(join(named, 'kvm'))) {
  throw new Error(`SHADOWMMU_ORACLE=${named}: no oracle data there (no folder 'kvm')`);
}

/** Path of a file of the oracle data, or undefined when there is none. */
export function oraclePath(name: string): string | undefined {
  const path = join(root, name);
  return existsSync(path) ? path : undefined;
}
