// All that a machine of the core holds and that a run may change, as plain data: two machines of which the counters agree
// may still have come to different ends.
import {
  FRAME_CONTENT,
  FRAME_FLAGS,
  FRAME_MAPCOUNT,
  FRAME_PRIVATE,
  FRAME_REFCOUNT,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  LRU_LISTS,
  PT_PRESENT_BIT,
  TLB_LIST_DENIES,
  TLB_LIST_ENTRY,
  TLB_LIST_PFN,
  TLB_LIST_TAG,
  VCPU_ROOT,
} from '../../assembly/abi.ts';
import type { Vcpu } from '../../src/kvm/vcpu.ts';
import type { Vm } from '../../src/machine.ts';
import { accuracyOf } from '../../src/result.ts';

const TLB_MOST = 4096;
/** Where the list of a TLB goes, once for each core. */
const scratch = new WeakMap<object, number>();

/** What is counted: compared after each batch. */
export function countsOf(vm: Vm) {
  return {
    outcome: vm.outcome,
    counters: vm.stats.read(),
    time: vm.deviceTime(),
    now: vm.host.now,
    accuracy: accuracyOf(vm.core),
    verified: vm.verified,
  };
}

/** The host's side: ptes by page, the frames of what they map, the order of the lists. */
export function hostState(vm: Vm) {
  const { x, mem } = vm.core;
  const word = (pfn: number, at: number): number => mem.load32((x.framePtr(pfn) >>> 0) + at);
  const maps = [vm.mm.id, ...new Set(vm.mm.vmas.map(({ file }) => file))].filter((id) => id !== 0);
  const lists: number[][] = [];
  for (let list = 0; list < LRU_LISTS; list++) {
    const pages: number[] = [];
    for (let pfn = x.lruTail(list); pfn !== 0; pfn = x.lruNewer(pfn)) pages.push(pfn);
    lists.push(pages);
  }
  const WORDS = [FRAME_FLAGS, FRAME_REFCOUNT, FRAME_MAPCOUNT, FRAME_PRIVATE, FRAME_CONTENT];
  const { base, count } = vm.data;
  const gfns = Array.from({ length: count }, (_, i) => base + i);
  return {
    lists,
    pages: gfns.flatMap((gfn) =>
      maps.map((id) => {
        // A file begins where its area does.
        const at = id === vm.mm.id ? vm.hvnOf(gfn) : gfn - base;
        const pte = x.hpteGet(id, at) >>> 0;
        const pfn = pte >>> HPTE_PFN_SHIFT;
        const present = (pte & HPTE_PRESENT) !== 0;
        return { gfn, id, pte, frame: present ? WORDS.map((at) => word(pfn, at)) : [] };
      }),
    ),
    charged: x.framesCharged() >>> 0,
    tables: x.hpteTables() >>> 0,
    bytes: x.tablePages() >>> 0,
    used: maps.map((id) => x.mmUsed(id) >>> 0),
  };
}

/** The spte of a page under the root of a vCPU, as text; '': there is no table for it. */
function spteOf(vcpu: Vcpu, vpn: number): string {
  const { mem } = vcpu.kvm.core;
  let table = mem.load32(vcpu.ptr + VCPU_ROOT);
  for (let level = 4; level > 1 && table !== 0; level--) {
    const lo = mem.load32(table + (Math.floor(vpn / 512 ** (level - 1)) & 511) * 8);
    table = (lo & (1 << PT_PRESENT_BIT)) === 0 ? 0 : (lo & 0xfffff000) >>> 0;
  }
  return table === 0 ? '' : mem.loadBig(table + (vpn & 511) * 8).toString(16);
}

/** The live entries of a vCPU's TLB, in no order: in which way of the L2 one lies means nothing. */
export function tlbOf(vcpu: Vcpu): string[] {
  const { core } = vcpu.kvm;
  const out = scratch.get(core) ?? core.x.arenaAlloc(TLB_MOST * TLB_LIST_ENTRY) >>> 0;
  scratch.set(core, out);
  const count = core.x.tlbList(vcpu.ptr, out, TLB_MOST) >>> 0;
  const entries = Array.from({ length: count }, (_, i) => {
    const at = out + i * TLB_LIST_ENTRY;
    const words = [TLB_LIST_PFN, TLB_LIST_TAG, TLB_LIST_DENIES].map((w) => core.mem.load32(at + w));
    return `${core.mem.loadBig(at).toString(16)} ${words.join(' ')}`;
  });
  return entries.toSorted();
}

/** KVM's side for the guest's pages `vpns`. */
export function kvmState(vm: Vm, vpns: readonly number[]) {
  return vm.kvm.vcpus.map((vcpu) => ({
    sptes: vpns.map((vpn) => spteOf(vcpu, vpn)),
    tlb: tlbOf(vcpu),
  }));
}
