// The parts of a machine, made from its options: the host, KVM with the guest's memory, the guest kernel.
//
// Guest memory is two memslots: data pages and the guest's page-table pages, each backed by a vma of
// the VMM's address space.

import type { Core } from './core/load.ts';
import { GuestKernel } from './guest/kernel.ts';
import { GuestPages, hvnOfGfn } from './guest-pages.ts';
import { Kvm } from './kvm/kvm.ts';
import type { Vm } from './machine.ts';
import { Host } from './mm/host.ts';
import type { Mm } from './mm/mm.ts';
import { BlockDevice, DEVICES } from './mm/swap-device.ts';
import { PROFILES } from './stats/profiles.ts';
import { DEFAULT_TLB } from './units.ts';
import type { MachinePlan, VmOptions } from './vm-options.ts';

/** The host, with its devices and what references cost on it. */
export function makeHost(core: Core, options: VmOptions, plan: MachinePlan): Host {
  const { policy, minFreeKbytes, swapPages } = options;
  const device = DEVICES[plan.device];
  const host = new Host(core, {
    frames: options.memoryPages,
    residentFrames: plan.tablesResident ? plan.tables.count : 0,
    aging: plan.aging,
    generation: plan.mm,
    swap: new BlockDevice(device, options.deviceErrors),
    disk: new BlockDevice(device, options.deviceErrors),
    reclaim: options.reclaim ?? 'memcg',
    ...(policy === undefined ? {} : { policy }),
    ...(minFreeKbytes === undefined ? {} : { minFreeKbytes }),
    ...(swapPages === undefined ? {} : { swapPages }),
  });
  const { costs } = PROFILES[plan.profile];
  host.setReferenceCosts(costs.accesses.ns, costs.tlb_l2_hits.ns, costs.walk_steps.ns);
  return host;
}

/** KVM on the VMM's address space, without memory yet. */
export function makeKvm(core: Core, mm: Mm, options: VmOptions, plan: MachinePlan): Kvm {
  const { aging, generation, prefetch } = plan;
  const { vcpus = 1, tlb = DEFAULT_TLB, flushScope = 'all', quickFaults = true } = options;
  const { tdp = false, adBits } = options;
  return new Kvm({
    core,
    mm,
    aging,
    generation,
    vcpus,
    tlb,
    flushScope,
    prefetch,
    quickFaults,
    tdp,
    ...(adBits === undefined ? {} : { adBits }),
  });
}

/** Maps the two slots' memory and hands it to KVM. */
export function makeMemory({ host, mm, kvm }: Vm, plan: MachinePlan): void {
  const { backing, data, tables, tablesResident } = plan;
  const slots = [
    { slot: 0, ...data, resident: false },
    { slot: 1, ...tables, resident: tablesResident },
  ];
  for (const { slot, base, count, resident } of slots) {
    const hvn = hvnOfGfn(base);
    const file = backing === 'file' && !resident ? { file: host.createFile() } : {};
    mm.mmap({ hvn, npages: count, resident, ...file });
    kvm.setUserMemoryRegion({ slot, gfn: base, npages: count, hvn });
  }
}

/** The guest kernel on KVM's vCPUs. */
export function makeGuest(vm: Vm, pcid = true): GuestKernel {
  const { core, mm, kvm, stats, data, tables } = vm;
  const pages = new GuestPages(core, mm, vm.verify);
  return new GuestKernel({
    core,
    stats,
    cpus: kvm.vcpus,
    memory: {
      copyPage: (from, to) => pages.copy(from, to),
      // A file holds the guest's content already.
      ...(vm.backing === 'anon' ? { clearPage: (gfn) => pages.clear(gfn) } : {}),
    },
    data,
    tables,
    pcid,
  });
}
