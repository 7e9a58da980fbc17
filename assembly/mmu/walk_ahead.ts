// Leaf sptes that the next walks will read, loaded early and together. Where the shadow tables exceed the
// caches and most references miss the TLB, each walk waits for the memory of its leaf, and the work between
// two walks is too long for the processor to begin the next one meanwhile. The records say which leaves
// come next, so a row of loads that do not wait for each other fetches those of a whole group.
//
// Nothing here has an effect on the machine: what is loaded is thrown away.

import { KVM_N_USED_MMU_PAGES, VCPU_TDP } from '../abi';
import { KVM } from './kvm';
import { commonLeaf } from './shadow_walk';

/** Bytes of the records of a group: 32. */
export const AHEAD_GROUP: usize = 256;
/** Up to so many shadow pages, 1 MiB of them, the tables fit the caches. */
const TABLES_MIN: u32 = 256;
/** Takes what is loaded, so that no compiler leaves it out. */
const SINK: usize = memory.data(8, 8);
/** Addresses of a group's leaves. */
const LEAVES: usize = memory.data(128, 64);
if (AHEAD_GROUP >> 1 != 128) ERROR('walk_ahead: one address a record');

/** Whether walks of a vCPU's tables are worth it: they are shadow tables and many. */
export function worthAhead(vcpu: usize): bool {
  return load<u32>(KVM, KVM_N_USED_MMU_PAGES) > TABLES_MIN && load<u32>(vcpu, VCPU_TDP) == 0;
}

/** Loads the leaf sptes of at most a group of records; of those without one, what lies at address 0. */
export function touchLeaves(vcpu: usize, records: usize, end: usize): void {
  let leaf = LEAVES;
  for (let at = records; at < end; at += 8) {
    store<u32>(leaf, <u32>commonLeaf(vcpu, load<u64>(at)));
    leaf += 4;
  }
  let sum: u32 = 0;
  for (let at = LEAVES; at < leaf; at += 4) sum += load<u32>(<usize>load<u32>(at));
  store<u32>(SINK, sum);
}
