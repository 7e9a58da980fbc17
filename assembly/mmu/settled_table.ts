// The guest's leaf tables on a straight run. The tables above one, and where it lies, are as they were when a walk
// through them settled (settled_walk.ts) until something disturbs them: the host (so each batch begins with a
// disturbance), or reclaim that ages or takes a page with bytes. In such a quiet the walk to an entry of the table is
// a look at the entry. Other faults disturb nothing: they set bits in entries, and what a walk through shadow tables
// that they free found is known no more (leaf_table.ts).

import { NO_GFN } from '../abi';
import { GUEST_BITS, GUEST_CALM, LEAF_GUEST, LEAF_QUIET } from './leaf_table';
import { settledLeafGfn, upperAccess } from './settled_walk';
import { tableContent, walkCacheOn } from './walk_cache';

/** Number of the present quiet. */
export let quiet: u64 = 1;

/** A guest table, or what a walk through one finds out of the host, may be another now. */
export function disturb(): void {
  // Nothing is known where the walk cache is off: there the number would be state.
  if (walkCacheOn()) quiet++;
}

/**
 * The entries of the guest's table that its walk comes to where the hardware's came to the leaf table `leaf` (LEAF_*),
 * and in the bits below a page's the ACC_* that the levels above allow, when the walk is known to settle; 0: it is
 * another walk. It is the table that is shadowed there, unless the VMM wrote to a table above it behind KVM's back: even
 * then the guest's walk says what is mapped, as in shadowMap().
 */
export function settledTable(vcpu: usize, leaf: usize, gva: u64): u32 {
  return load<u64>(leaf, LEAF_QUIET) == quiet
    ? load<u32>(leaf, LEAF_GUEST)
    : settle(vcpu, leaf, gva);
}

/** The entries of that table as far as they are known; 0: nothing is. */
export function knownTable(leaf: usize): usize {
  return load<u64>(leaf, LEAF_QUIET) == quiet
    ? <usize>(load<u32>(leaf, LEAF_GUEST) & ~GUEST_BITS)
    : 0;
}

/** Walks to the table, and notes it. */
function settle(vcpu: usize, leaf: usize, gva: u64): u32 {
  const gfn = settledLeafGfn(vcpu, gva);
  const table: u32 = gfn == NO_GFN ? 0 : <u32>tableContent(gfn);
  if (table == 0) return 0;
  const guest = table | upperAccess;
  store<u32>(leaf, guest, LEAF_GUEST);
  store<u64>(leaf, quiet, LEAF_QUIET);
  return guest;
}

/** Whether the flood counts of the tables to a leaf table are clear; they will be. Nobody writes to tables in a quiet. */
export function isCalm(leaf: usize): bool {
  const guest = load<u32>(leaf, LEAF_GUEST);
  if (load<u64>(leaf, LEAF_QUIET) != quiet) return false;
  store<u32>(leaf, guest | GUEST_CALM, LEAF_GUEST);
  return (guest & GUEST_CALM) != 0;
}
