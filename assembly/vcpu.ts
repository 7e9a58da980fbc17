// The vCPUs: one block of VCPU_SIZE bytes each (offsets in abi.ts), in one array that is made once,
// so a vCPU's address never changes. The registers that paging reads lie here; the guest state that
// only the host needs (scheduling, exit records) is the host's.

import {
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  EFER_LMA,
  EFER_NXE,
  VCPU_CR0,
  VCPU_CR4,
  VCPU_EFER,
  VCPU_ID,
  VCPU_MAXPHYADDR,
  VCPU_SIZE,
} from './abi';
import { arenaAlloc } from './layout';

/** Guest physical-address width of a new vCPU. */
const DEFAULT_MAXPHYADDR: u32 = 46;

let vcpus: usize = 0;
let count: u32 = 0;

/** Makes `n` vCPUs in 64-bit mode (paging, write protection, NX and global pages on). */
export function vcpuInit(n: u32): void {
  assert(vcpus == 0, 'vcpuInit() is called once');
  vcpus = arenaAlloc(<usize>n * <usize>VCPU_SIZE);
  count = n;
  for (let i: u32 = 0; i < n; i++) {
    const vcpu = vcpuPtr(i);
    store<u32>(vcpu, i, VCPU_ID);
    store<u32>(vcpu, CR0_PG | CR0_WP, VCPU_CR0);
    store<u32>(vcpu, CR4_PAE | CR4_PGE, VCPU_CR4);
    store<u32>(vcpu, EFER_LMA | EFER_NXE, VCPU_EFER);
    store<u32>(vcpu, DEFAULT_MAXPHYADDR, VCPU_MAXPHYADDR);
  }
}

/** Address of a vCPU. */
export function vcpuPtr(i: u32): usize {
  assert(i < count, 'the vCPU exists');
  return vcpus + <usize>i * <usize>VCPU_SIZE;
}

/** Number of vCPUs. */
export function vcpuCount(): u32 {
  return count;
}
