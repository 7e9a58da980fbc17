// Lists what a vCPU's TLB translates, for the audit and for people. Not on any path of a run.

import {
  TLB_LIST_DENIES,
  TLB_LIST_ENTRY,
  TLB_LIST_LEVEL,
  TLB_LIST_NOT_DIRTY,
  TLB_LIST_NOT_WRITABLE,
  TLB_LIST_PFN,
  TLB_LIST_TAG,
  VCPU_TLB,
} from '../abi';
import {
  ARRAY_AGES,
  ARRAY_BASE,
  ARRAY_SETS,
  ARRAY_SHIFT,
  ARRAY_WAYS,
  FRAME_BITS,
  LARGE_1G,
  TLB_L1,
  TLB_L2,
  TLB_LARGE,
  TLB_ND,
  TLB_NW,
  TLB_PAGE_MASK,
  TLB_TAG_MASK,
} from './block';
import { isDead } from './sets';

if (TLB_NW != <u64>TLB_LIST_NOT_WRITABLE) ERROR('abi: TLB_LIST_NOT_WRITABLE');
if (TLB_ND != <u64>TLB_LIST_NOT_DIRTY) ERROR('abi: TLB_LIST_NOT_DIRTY');
const DENIES: u64 = TLB_NW | TLB_ND;

/** Writes up to `max` live entries (TLB_LIST_*) to `out`; returns how many there are. */
export function tlbList(vcpu: usize, out: usize, max: u32): u32 {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  let count = listArray(tlb, tlb + TLB_L1, 1, out, 0, max);
  count = listArray(tlb, tlb + TLB_L2, 1, out, count, max);
  return listArray(tlb, tlb + TLB_LARGE, 2, out, count, max);
}

function listArray(tlb: usize, array: usize, level: u32, out: usize, n: u32, max: u32): u32 {
  const ways = load<u32>(array, ARRAY_WAYS);
  const shift = <usize>load<u32>(array, ARRAY_SHIFT);
  const ages = <usize>load<u32>(array, ARRAY_AGES);
  for (let set: usize = 0; set <= <usize>load<u32>(array, ARRAY_SETS); set++) {
    const keys = <usize>load<u32>(array, ARRAY_BASE) + (set << shift) + ages;
    for (let way: u32 = 0; way < ways; way++) {
      const at = keys + ((<usize>way) << 4);
      const key = load<u64>(at);
      const value = load<u64>(at, 8);
      if (key == 0 || isDead(tlb, key, value)) continue;
      if (n < max) {
        const entry = out + <usize>(n * TLB_LIST_ENTRY);
        const size = level == 2 && (key & LARGE_1G) != 0 ? <u32>3 : level;
        const page = level == 1 ? key & TLB_PAGE_MASK : key & TLB_PAGE_MASK & ~LARGE_1G;
        store<u64>(entry, page);
        store<u32>(entry, <u32>(value & FRAME_BITS), TLB_LIST_PFN);
        store<u32>(entry, size, TLB_LIST_LEVEL);
        store<u32>(entry, <u32>(key & TLB_TAG_MASK), TLB_LIST_TAG);
        store<u32>(entry, <u32>(key & DENIES), TLB_LIST_DENIES);
      }
      n++;
    }
  }
  return n;
}
