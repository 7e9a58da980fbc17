// Tags: which address space an entry belongs to. A flush of a space gives it a new tag; the old one is
// used again after a sweep of all sets.

import { TLB_SPACES, VCPU_TLB, VCPU_TLB_TAG } from '../abi';
import {
  ARRAY_AGES,
  ARRAY_SETS,
  ARRAY_WAYS,
  TAGS,
  TAG_DEAD,
  TAG_FREE,
  TAG_LIVE,
  TLB_FLUSH_COUNT,
  TLB_L1,
  TLB_L2,
  TLB_LARGE,
  TLB_NEXT_TAG,
  TLB_SPACE,
  TLB_SPACE_TAG,
  TLB_TAG_MASK,
  TLB_TAG_SPACE,
  TLB_TAG_STATE,
} from './block';
import { purgeAged, purgeOrdered, setOf } from './sets';

/** Gives a tag up: the entries that carry it are dead. */
export function retire(tlb: usize, tag: u32): void {
  store<u8>(tlb + TLB_TAG_STATE + <usize>tag, TAG_DEAD);
  const space = <usize>load<u16>(tlb + TLB_TAG_SPACE + ((<usize>tag) << 1));
  store<u8>(tlb + TLB_SPACE_TAG + space, 0);
}

/** Gives all tags up. */
export function retireAll(tlb: usize): void {
  for (let base: u32 = 0; base < TAGS; base += 16) {
    const states = v128.load(tlb + TLB_TAG_STATE + <usize>base);
    let live = i8x16.bitmask(i8x16.eq(states, i8x16.splat(<i8>TAG_LIVE)));
    for (; live != 0; live &= live - 1) retire(tlb, base + ctz<u32>(live));
  }
  store<u32>(tlb + TLB_FLUSH_COUNT, load<u32>(tlb + TLB_FLUSH_COUNT) + 1);
}

/** Makes `space` the current one (MOV to CR3 with PCIDs and the no-flush bit). */
export function tlbSelect(vcpu: usize, space: u32): void {
  assert(space < TLB_SPACES, 'a space is a PCID');
  selectSpace(vcpu, <usize>load<u32>(vcpu, VCPU_TLB), space);
}

/** Makes `space` the current one and gives it a tag if it has none. */
export function selectSpace(vcpu: usize, tlb: usize, space: u32): void {
  let tag = <u32>load<u8>(tlb + TLB_SPACE_TAG + <usize>space);
  if (tag == 0) {
    tag = allocTag(tlb);
    store<u8>(tlb + TLB_TAG_STATE + <usize>tag, TAG_LIVE);
    store<u16>(tlb + TLB_TAG_SPACE + ((<usize>tag) << 1), <u16>space);
    store<u8>(tlb + TLB_SPACE_TAG + <usize>space, <u8>tag);
  }
  store<u32>(tlb + TLB_SPACE, space);
  store<u32>(vcpu, tag, VCPU_TLB_TAG);
}

function findFreeTag(tlb: usize): u32 {
  for (let tag: u32 = load<u32>(tlb + TLB_NEXT_TAG); tag < TAGS; tag++) {
    if (load<u8>(tlb + TLB_TAG_STATE + <usize>tag) == TAG_FREE) {
      store<u32>(tlb + TLB_NEXT_TAG, tag + 1);
      return tag;
    }
  }
  return 0;
}

function allocTag(tlb: usize): u32 {
  let tag = findFreeTag(tlb);
  if (tag != 0) return tag;
  sweep(tlb);
  tag = findFreeTag(tlb);
  if (tag != 0) return tag;
  // More live spaces than tags: all of them start anew.
  retireAll(tlb);
  sweep(tlb);
  return findFreeTag(tlb);
}

/** Purges every set, so that no entry carries a dead tag, and frees those tags. */
export function sweep(tlb: usize): void {
  sweepArray(tlb, tlb + TLB_L1);
  sweepArray(tlb, tlb + TLB_L2);
  sweepArray(tlb, tlb + TLB_LARGE);
  for (let tag: usize = 1; tag < <usize>TAGS; tag++) {
    if (load<u8>(tlb + TLB_TAG_STATE + tag) == TAG_DEAD) {
      store<u8>(tlb + TLB_TAG_STATE + tag, TAG_FREE);
    }
  }
  store<u32>(tlb + TLB_NEXT_TAG, 1);
}

/** Purges an array and takes the dead tags off the global entries that stay. */
function sweepArray(tlb: usize, array: usize): void {
  const sets = load<u32>(array, ARRAY_SETS) + 1;
  const ways = load<u32>(array, ARRAY_WAYS);
  const ages = <usize>load<u32>(array, ARRAY_AGES);
  for (let i: u32 = 0; i < sets; i++) {
    const set = setOf(array, <u64>i);
    if (ages != 0) purgeAged(tlb, set, ways);
    else purgeOrdered(tlb, set, ways);
    for (let way: usize = 0; way < <usize>ways; way++) {
      const at = set + ages + (way << 4);
      const key = load<u64>(at);
      const tag = <usize>(key & TLB_TAG_MASK);
      if (load<u8>(tlb + TLB_TAG_STATE + tag) != TAG_LIVE) store<u64>(at, key & ~TLB_TAG_MASK);
    }
  }
}
