// The shadow way of `conform access`: each row is set up by the guest's own stores and INVLPG, and its
// accesses are made by a vCPU on shadow tables over 4 KiB host pages, vmexits and all.

import {
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACX_JOB_CR0,
  ACX_JOB_CR4,
  ACX_JOB_EFER,
  ACX_JOB_FLAGS,
  ACX_JOB_GFN,
  ACX_JOB_PDE,
  ACX_JOB_PDPTE,
  ACX_JOB_PKRU,
  ACX_JOB_PREREAD,
  ACX_JOB_PTE,
  ACX_MAXPHYADDR,
  HPTE_PFN_SHIFT,
  FOLLOW_NONE,
  NO_GFN,
  VCPU_MAXPHYADDR,
} from '../../assembly/abi.ts';
import { CoreBugError } from '../core/errors.ts';
import type { Kvm } from '../kvm/kvm.ts';
import { ACCESS_VPN, accessJob, TABLE_GFN } from './access-guest.ts';
import type { RowRunner } from './access.ts';

/** P, R/W and U/S. */
const ALL_RIGHTS = 7;

/** Index of the rows' address in the table of a level. */
function indexAt(level: number): number {
  return Math.floor(ACCESS_VPN / 512 ** (level - 1)) % 512;
}

/** A runner of rows on the first vCPU of a VM whose slots hold the rows' gfns. */
export function shadowRunner(kvm: Kvm): RowRunner {
  const { core } = kvm;
  const { x, mem } = core;
  const vcpu = kvm.vcpus[0];
  if (vcpu === undefined) throw new CoreBugError('a VM has a vCPU');
  const job = accessJob(core, vcpu.ptr);
  const record = x.arenaAlloc(8) >>> 0;
  mem.store32(vcpu.ptr + VCPU_MAXPHYADDR, ACX_MAXPHYADDR);
  const pml4e = (TABLE_GFN + 1) * 4096 + ALL_RIGHTS;
  vcpu.writeGuestPte(TABLE_GFN, indexAt(4), pml4e, 0);
  vcpu.setCr3(TABLE_GFN);

  const store = (level: number, at: number): void => {
    const tableGfn = TABLE_GFN + 4 - level;
    vcpu.writeGuestPte(tableGfn, indexAt(level), mem.load32(job + at), mem.load32(job + at + 4));
  };
  /** One access; the #PF error code, or -1. */
  const access = (flags: number): number => {
    const gva = ACCESS_VPN * 4096;
    mem.store32(record, ((gva % 2 ** 32) | flags) >>> 0);
    mem.store32(record + 4, Math.floor(gva / 2 ** 32));
    const exit = vcpu.run(record, 1);
    if (exit.kind === 'done') return -1;
    if (exit.kind === 'guest_page_fault') return exit.code;
    throw new CoreBugError(`an access of a table row ended with ${exit.kind}`);
  };
  /** gfn that the shadow tables map the address to; what the row says if nothing is mapped. */
  const mappedGfn = (): number => {
    const gfn = mem.load32(job + ACX_JOB_GFN);
    const pfn = x.accessRowPfn(job) >>> 0;
    const hvn = x.gfnToHvn(gfn) >>> 0;
    return pfn === FOLLOW_NONE || pfn === x.hpteGet(kvm.mm.id, hvn) >>> HPTE_PFN_SHIFT
      ? gfn
      : NO_GFN;
  };
  const run = (id: number): number => {
    x.accessRow(job, id);
    vcpu.setRegisters({
      cr0: mem.load32(job + ACX_JOB_CR0),
      cr4: mem.load32(job + ACX_JOB_CR4),
      efer: mem.load32(job + ACX_JOB_EFER),
      pkru: mem.load32(job + ACX_JOB_PKRU),
      rflags: 0,
    });
    store(3, ACX_JOB_PDPTE);
    store(2, ACX_JOB_PDE);
    store(1, ACX_JOB_PTE);
    vcpu.invlpg(ACCESS_VPN);
    if (mem.load32(job + ACX_JOB_PREREAD) !== 0) access(ACCESS_READ | ACCESS_SUPERVISOR);
    const code = access(mem.load32(job + ACX_JOB_FLAGS));
    if (code >= 0) return x.accessRowOutcome(job, 1, code, 0);
    return x.accessRowOutcome(job, 0, 0, mappedGfn());
  };
  return (ids) => Uint16Array.from(ids, run);
}
