// What watches a machine from outside guest and host: the yardstick (assembly/lockstep.ts), an exact LRU
// over the same references, and the version stamps of `verify` (assembly/verify.ts). Both are kept by
// gfn, and the yardstick begins first, since the stamps are found through its map of the guest.

import {
  NO_GFN,
  VERIFY_CHECKS,
  VERIFY_EXPECTED,
  VERIFY_FOUND,
  VERIFY_GFN,
  VERIFY_PFN,
  VERIFY_WRITES,
} from '../assembly/abi.ts';
import type { Core } from './core/load.ts';
import { gfnOfHvn, hvnOfGfn } from './guest-pages.ts';
import type { VmExit } from './kvm/exit.ts';
import type { Vcpu } from './kvm/vcpu.ts';
import type { Vm } from './machine.ts';

/** Begins to compare the host's reclaim with an exact LRU of `frames` frames. */
export function beginYardstick({ core, host, mm, kvm, data }: Vm, frames: number): void {
  const { x } = core;
  const gfns = data.base + data.count;
  x.lockstepInit(gfns, frames);
  const ours = (id: number, hvn: number): number => {
    const gfn = gfnOfHvn(hvn);
    if (id !== mm.id || gfn < data.base || gfn >= gfns) return NO_GFN;
    return gfn;
  };
  host.hooks = {
    youngTest: (id, hvn, young) => x.lockstepTested(ours(id, hvn), young ? 1 : 0),
    evicted: (id, hvn) => {
      x.lockstepEvicted(ours(id, hvn));
      kvm.shrink(1);
    },
    majorFault: (id, hvn) => {
      x.clockAdvance(0, 0, 0);
      x.lockstepRefault(ours(id, hvn));
    },
  };
  const yardstick = { base: hvnOfGfn(0), first: data.base, end: gfns };
  kvm.straight.known = { hooks: host.hooks, yardstick };
}

/** No yardstick: what else hangs on the host's hooks, the clock and the shrinker, goes on. */
export function withoutYardstick({ core, host, kvm }: Vm): void {
  host.hooks = {
    evicted: () => kvm.shrink(1),
    majorFault: () => core.x.clockAdvance(0, 0, 0),
  };
  kvm.straight.known = { hooks: host.hooks, yardstick: null };
}

/** Begins to stamp pages and to check accesses. */
export function beginVerify({ core, kvm, guest, data }: Vm): void {
  core.x.verifyInit(data.base + data.count);
  core.x.guestMapInit();
  kvm.verifySpaceOf = (vcpu) => guest.space(kvm.vcpus[vcpu] as Vcpu);
  for (const vcpu of kvm.vcpus) vcpu.verify = true;
}

/** Reads and writes checked so far. */
export function verifiedSoFar({ x, mem }: Core): { reads: number; writes: number } {
  const state = x.verifyState() >>> 0;
  return { reads: mem.load64(state + VERIFY_CHECKS), writes: mem.load64(state + VERIFY_WRITES) };
}

/** What an access met that reached the wrong page or a stale one. */
export function violationOf({ x, mem }: Core, exit: VmExit): string {
  const state = x.verifyState() >>> 0;
  const word = (at: number): number => mem.load32(state + at);
  const gva = `0x${(exit.gvaHi * 2 ** 32 + exit.gvaLo).toString(16)}`;
  return (
    `verify: access to ${gva} (gfn ${word(VERIFY_GFN)}) reached frame ${word(VERIFY_PFN)} with ` +
    `stamp ${word(VERIFY_FOUND)}, expected ${word(VERIFY_EXPECTED)}`
  );
}
