// The exports of the core, grouped by the file that owns them. The typed interface with one doc line
// each is src/core/exports.ts; a test compares the two lists.

import { ABI_VERSION } from './abi';

/** ABI version that this core was compiled with. */
export function abiVersion(): u32 {
  return ABI_VERSION;
}

export { arenaAlloc, pageAlloc, pageFree, memoryTop, tablePages } from './layout';
export { statsPtr } from './stats';
export { setTracing } from './events';
