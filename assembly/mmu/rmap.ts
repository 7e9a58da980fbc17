// Reverse maps: from a gfn to the sptes that map it, and from a shadow page to the sptes that point
// to it (cf. struct kvm_rmap_head and struct pte_list_desc in arch/x86/kvm/mmu/mmu.c, 6.1).
//
//  head: 0                 empty
//        sptep             one entry (bit 0 clear: sptes are 8-byte aligned)
//        desc | 1          chain of descriptors, the one that is being filled first
//
//  With KVM_FEATURE_SHORT_CHAINS a descriptor has three sptes, and new ones go to the first that has room.
//
//  desc  ┌──────┬───────┬─────────┬─────┬──────────┐
//        │ more │ count │ sptep 0 │  …  │ sptep 13 │   64 bytes, one cache line
//        └──────┴───────┴─────────┴─────┴──────────┘
//
// New entries go to the first descriptor. A removal moves the last entry of the same descriptor into
// the hole, as KVM's does, so the order in which sptes are visited is KVM's too.

import { KVM_FEATURE_SHORT_CHAINS } from '../abi';
import { RMAP_NODES_VISITED } from '../counters';
import { blocksOfPage } from '../layout';
import { bumpBy } from '../stats';
import { Sptep } from '../types';
import { hasFeature } from './kvm';

const DESC_SIZE: usize = 64;
const DESC_MORE: usize = 0;
const DESC_COUNT: usize = 4;
const DESC_SPTES: usize = 8;
/** PTE_LIST_EXT. */
const DESC_MAX: u32 = 14;
/** That of KVM_FEATURE_SHORT_CHAINS. */
const SHORT_MAX: u32 = 3;

let freeDescs: usize = 0;

function descAlloc(): usize {
  if (freeDescs == 0) freeDescs = blocksOfPage(DESC_SIZE, DESC_MORE);
  const desc = freeDescs;
  freeDescs = <usize>load<u32>(desc, DESC_MORE);
  store<u32>(desc, 0, DESC_MORE);
  store<u32>(desc, 0, DESC_COUNT);
  return desc;
}

function descFree(desc: usize): void {
  store<u32>(desc, <u32>freeDescs, DESC_MORE);
  freeDescs = desc;
}

function descPush(desc: usize, sptep: Sptep): void {
  const count = load<u32>(desc, DESC_COUNT);
  store<u32>(desc + ((<usize>count) << 2), <u32>sptep, DESC_SPTES);
  store<u32>(desc, count + 1, DESC_COUNT);
}

/** pte_list_add: adds an entry to the list at `head`; returns how many it had. */
export function pteListAdd(head: usize, sptep: Sptep): u32 {
  const value = load<u32>(head);
  if (value == 0) {
    store<u32>(head, <u32>sptep);
    return 0;
  }
  if ((value & 1) == 0) {
    const desc = descAlloc();
    descPush(desc, <usize>value);
    descPush(desc, sptep);
    store<u32>(head, (<u32>desc) | 1);
    return 1;
  }
  let desc = <usize>(value & ~1);
  const count = pteListCount(head);
  if (hasFeature(KVM_FEATURE_SHORT_CHAINS)) {
    descPush(firstWithRoom(desc), sptep);
    return count;
  }
  if (load<u32>(desc, DESC_COUNT) == DESC_MAX) {
    const first = descAlloc();
    store<u32>(first, <u32>desc, DESC_MORE);
    store<u32>(head, (<u32>first) | 1);
    desc = first;
  }
  descPush(desc, sptep);
  return count;
}

/** The first descriptor of a chain of short ones that is not full; a new one at its end if all are. */
function firstWithRoom(desc: usize): usize {
  while (load<u32>(desc, DESC_COUNT) == SHORT_MAX) {
    const more = <usize>load<u32>(desc, DESC_MORE);
    if (more == 0) {
      const last = descAlloc();
      store<u32>(desc, <u32>last, DESC_MORE);
      return last;
    }
    desc = more;
  }
  return desc;
}

/** pte_list_remove: the entry must be there. */
export function pteListRemove(head: usize, sptep: Sptep): void {
  const value = load<u32>(head);
  if ((value & 1) == 0) {
    assert(value == <u32>sptep, 'a present spte is in the rmap of its gfn');
    store<u32>(head, 0);
    return;
  }
  let prev: usize = 0;
  let desc = <usize>(value & ~1);
  let visited: u32 = 0;
  while (desc != 0) {
    const count = load<u32>(desc, DESC_COUNT);
    for (let i: u32 = 0; i < count; i++) {
      visited++;
      if (load<u32>(desc + ((<usize>i) << 2), DESC_SPTES) == <u32>sptep) {
        removeEntry(head, prev, desc, i);
        bumpBy(RMAP_NODES_VISITED, visited);
        return;
      }
    }
    prev = desc;
    desc = <usize>load<u32>(desc, DESC_MORE);
  }
  assert(false, 'a present spte is in the rmap of its gfn');
}

/** pte_list_desc_remove_entry. */
function removeEntry(head: usize, prev: usize, desc: usize, i: u32): void {
  const last = load<u32>(desc, DESC_COUNT) - 1;
  const from = load<u32>(desc + ((<usize>last) << 2), DESC_SPTES);
  store<u32>(desc + ((<usize>i) << 2), from, DESC_SPTES);
  store<u32>(desc, last, DESC_COUNT);
  if (last != 0) return;
  const more = load<u32>(desc, DESC_MORE);
  if (prev != 0) store<u32>(prev, more, DESC_MORE);
  else store<u32>(head, more == 0 ? 0 : more | 1);
  descFree(desc);
}

/** Empties the list; its sptes have been cleared (kvm_zap_all_rmap_sptes). */
export function pteListFree(head: usize): void {
  const value = load<u32>(head);
  store<u32>(head, 0);
  if ((value & 1) == 0) return;
  for (let desc = <usize>(value & ~1); desc != 0;) {
    const more = <usize>load<u32>(desc, DESC_MORE);
    descFree(desc);
    desc = more;
  }
}

/** Number of entries. */
export function pteListCount(head: usize): u32 {
  const value = load<u32>(head);
  if (value == 0) return 0;
  if ((value & 1) == 0) return 1;
  let count: u32 = 0;
  for (let desc = <usize>(value & ~1); desc != 0; desc = <usize>load<u32>(desc, DESC_MORE)) {
    count += load<u32>(desc, DESC_COUNT);
  }
  return count;
}

/** First entry, or 0. Loops that remove entries start over from here. */
export function rmapFirst(head: usize): Sptep {
  const value = load<u32>(head);
  if ((value & 1) == 0) return <usize>value;
  return <usize>load<u32>(<usize>(value & ~1), DESC_SPTES);
}

// An iterator for loops that change sptes but not the list (struct rmap_iterator).
let iterDesc: usize = 0;
let iterPos: u32 = 0;

/** rmap_get_first. Not re-entrant: one iteration at a time. */
export function rmapIterFirst(head: usize): Sptep {
  const value = load<u32>(head);
  iterPos = 0;
  if ((value & 1) == 0) {
    iterDesc = 0;
    return <usize>value;
  }
  iterDesc = <usize>(value & ~1);
  return <usize>load<u32>(iterDesc, DESC_SPTES);
}

/** rmap_get_next: 0 at the end. */
export function rmapIterNext(): Sptep {
  if (iterDesc == 0) return 0;
  iterPos++;
  if (iterPos == load<u32>(iterDesc, DESC_COUNT)) {
    iterDesc = <usize>load<u32>(iterDesc, DESC_MORE);
    iterPos = 0;
    if (iterDesc == 0) return 0;
  }
  return <usize>load<u32>(iterDesc + ((<usize>iterPos) << 2), DESC_SPTES);
}
