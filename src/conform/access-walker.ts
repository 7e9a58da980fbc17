// The walker's way of `conform access`: a guest of four page-table pages in host memory, and batches
// of rows through accessRowsWalk() of the core.

import { HPTE_PFN_SHIFT, HPTE_PRESENT, HPTE_WRITE, VCPU_SIZE } from '../../assembly/abi.ts';
import type { Core } from '../core/load.ts';
import { accessJob, TABLE_GFN, TABLES } from './access-guest.ts';
import { ROWS_PER_CHUNK } from './access.ts';
import type { RowRunner } from './access.ts';

/** Any hvn does. */
const HVN = 0x1000;

/** A runner of rows through the guest walker on a fresh core. */
export function walkerRunner(core: Core): RowRunner {
  const { x, mem } = core;
  x.frameInit(TABLES);
  const mm = x.mmCreate();
  x.memslotSet(0, TABLE_GFN, TABLES, HVN, mm, 0);
  for (let i = 0; i < TABLES; i++) {
    x.hpteSet(mm, HVN + i, (x.frameAlloc() << HPTE_PFN_SHIFT) | HPTE_PRESENT | HPTE_WRITE);
  }
  const job = accessJob(core, x.arenaAlloc(VCPU_SIZE) >>> 0);
  const idsAt = x.arenaAlloc(4 * ROWS_PER_CHUNK) >>> 0;
  const outAt = x.arenaAlloc(2 * ROWS_PER_CHUNK) >>> 0;
  return (ids) => {
    mem.u32.set(ids, idsAt >>> 2);
    x.accessRowsWalk(job, idsAt, outAt, ids.length);
    const bytes = mem.u8.slice(outAt, outAt + 2 * ids.length);
    return new Uint16Array(bytes.buffer);
  };
}
