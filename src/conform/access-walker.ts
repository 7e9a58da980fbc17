// The walker's way of `conform access`: a guest of four page-table pages in host memory, and batches
// of rows through accessRowsWalk() of the core.

import {
  ACX_JOB_GVA,
  ACX_JOB_LARGE_GFN,
  ACX_JOB_PAGE_GFN,
  ACX_JOB_SIZE,
  ACX_JOB_TABLE_GFN,
  ACX_JOB_VCPU,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  VCPU_SIZE,
} from '../../assembly/abi.ts';
import type { Core } from '../core/load.ts';
import { ROWS_PER_CHUNK } from './access.ts';
import type { RowRunner } from './access.ts';

/** Address that every row accesses: upper half, with another index at each level. */
export const ACCESS_GVA = 0xffff_a123_4567_8000n;
/** gfns of the PML4, the PDPT, the PD and the PT. */
const TABLE_GFN = 16;
const TABLES = 4;
/** gfn of the 4 KiB page; the walker never touches it. */
const PAGE_GFN = 32;
/** gfn of the 2 MiB page, aligned to its size; bits 20:13 of its address are clear. */
const LARGE_GFN = 512;
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
  const vcpu = x.arenaAlloc(VCPU_SIZE) >>> 0;
  const job = x.arenaAlloc(ACX_JOB_SIZE) >>> 0;
  const idsAt = x.arenaAlloc(4 * ROWS_PER_CHUNK) >>> 0;
  const outAt = x.arenaAlloc(2 * ROWS_PER_CHUNK) >>> 0;
  mem.store32(job + ACX_JOB_VCPU, vcpu);
  mem.store32(job + ACX_JOB_TABLE_GFN, TABLE_GFN);
  mem.store32(job + ACX_JOB_PAGE_GFN, PAGE_GFN);
  mem.store32(job + ACX_JOB_LARGE_GFN, LARGE_GFN);
  mem.storeBig(job + ACX_JOB_GVA, ACCESS_GVA);
  return (ids) => {
    mem.u32.set(ids, idsAt >>> 2);
    x.accessRowsWalk(job, idsAt, outAt, ids.length);
    const bytes = mem.u8.slice(outAt, outAt + 2 * ids.length);
    return new Uint16Array(bytes.buffer);
  };
}
