// The guest in which the rows of an access table run: where its tables and pages lie, and the job
// block that tells the core.

import {
  ACX_JOB_GVA,
  ACX_JOB_LARGE_GFN,
  ACX_JOB_PAGE_GFN,
  ACX_JOB_SIZE,
  ACX_JOB_TABLE_GFN,
  ACX_JOB_VCPU,
} from '../../assembly/abi.ts';
import type { Core } from '../core/load.ts';

/** Page number of the address that every row accesses: upper half, another index at each level. */
export const ACCESS_VPN = 0xffff_a123_45678;
/** gfns of the PML4, the PDPT, the PD and the PT. */
export const TABLE_GFN = 16;
/** Number of table pages. */
export const TABLES = 4;
/** gfn of the 4 KiB page. */
export const PAGE_GFN = 32;
/** gfn of the 2 MiB page, aligned to its size; bits 20:13 of its address are clear. */
export const LARGE_GFN = 512;

/** Makes the job block for a vCPU. */
export function accessJob(core: Core, vcpu: number): number {
  const { mem } = core;
  const job = core.x.arenaAlloc(ACX_JOB_SIZE) >>> 0;
  mem.store32(job + ACX_JOB_VCPU, vcpu);
  mem.store32(job + ACX_JOB_TABLE_GFN, TABLE_GFN);
  mem.store32(job + ACX_JOB_PAGE_GFN, PAGE_GFN);
  mem.store32(job + ACX_JOB_LARGE_GFN, LARGE_GFN);
  mem.storeBig(job + ACX_JOB_GVA, BigInt(ACCESS_VPN) << 12n);
  return job;
}
