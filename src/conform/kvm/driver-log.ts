// How much the recording driver writes to its log in a step. Its lines are of nearly one length for each kind of event, so
// that what our own events come to tells which pages of its buffer and its log it writes to (driver-memory.ts).

import * as abi from '../../../assembly/abi.ts';
import type { RawEvent } from './stream.ts';

/** Bytes of a line of the kernel's trace, by event; 0: it has none. */
const LINES = new Map<number, number>([
  [abi.EVENT_FRAME_ALLOC, 0],
  [abi.EVENT_TDP_SPTE_OLD, 0],
  [abi.EVENT_VMEXIT, 180],
  [abi.EVENT_GUEST_WALK, 94],
  [abi.EVENT_GUEST_PTE, 88],
  [abi.EVENT_GUEST_PTE_SET_A, 82],
  [abi.EVENT_GUEST_PTE_SET_D, 79],
  [abi.EVENT_GUEST_WALK_ERROR, 77],
  [abi.EVENT_INJECT, 75],
  [abi.EVENT_HVA_TO_PFN, 104],
  [abi.EVENT_SPTE_REQUESTED, 97],
  [abi.EVENT_SPTE_SET, 112],
  // The function and what it returned.
  [abi.EVENT_SPTE_ZAP, 262],
  [abi.EVENT_SPTE_UPDATE, 255],
  [abi.EVENT_FLUSH_REMOTE_TLBS, 99],
  [abi.EVENT_FLUSH_ALL_TLB, 100],
  [abi.EVENT_FLUSH_ASID_TLB, 102],
  [abi.EVENT_KVM_SET_PFN_ACCESSED, 109],
  [abi.EVENT_KVM_SET_PFN_DIRTY, 104],
  [abi.EVENT_KVM_INVALIDATE_RANGE_START, 165],
  [abi.EVENT_KVM_INVALIDATE_RANGE_END, 161],
  [abi.EVENT_KVM_INVALIDATE_RANGE, 154],
  [abi.EVENT_KVM_CLEAR_FLUSH_YOUNG, 148],
  [abi.EVENT_KVM_CLEAR_FLUSH_YOUNG_RET, 148],
  [abi.EVENT_KVM_CLEAR_YOUNG, 141],
  [abi.EVENT_KVM_CLEAR_YOUNG_RET, 135],
  [abi.EVENT_KVM_TEST_YOUNG_RET, 133],
  [abi.EVENT_TP_KVM_UNMAP_HVA_RANGE, 130],
  [abi.EVENT_TP_KVM_TEST_AGE_HVA, 108],
  [abi.EVENT_TP_KVM_SET_SPTE_HVA, 107],
  [abi.EVENT_MN_INVALIDATE_RANGE_START, 152],
  [abi.EVENT_MN_INVALIDATE_RANGE_END, 158],
  [abi.EVENT_MN_INVALIDATE_RANGE, 141],
  [abi.EVENT_MN_CLEAR_FLUSH_YOUNG, 152],
  [abi.EVENT_MN_CLEAR_FLUSH_YOUNG_RET, 148],
  [abi.EVENT_MN_CLEAR_YOUNG, 140],
  [abi.EVENT_MN_CHANGE_PTE, 138],
  [abi.EVENT_HOST_FAULT, 140],
  [abi.EVENT_WP_PAGE_COPY, 76],
  [abi.EVENT_FOLIO_ACTIVATE, 107],
  [abi.EVENT_FOLIO_REFERENCED, 112],
  [abi.EVENT_FOLIO_REFERENCED_ONE, 114],
  [abi.EVENT_TRY_TO_UNMAP_ONE, 105],
  [abi.EVENT_SWAP_WRITEPAGE, 106],
  [abi.EVENT_SWAP_READ, 105],
  [abi.EVENT_VMSCAN_WRITE, 141],
  [abi.EVENT_WORKINGSET_EVICTION, 113],
  [abi.EVENT_WORKINGSET_REFAULT, 111],
  [abi.EVENT_LRU_ACTIVATE, 97],
  [abi.EVENT_LRU_GEN_LOOK_AROUND, 91],
  [abi.EVENT_VMSCAN_LRU_ISOLATE, 173],
  [abi.EVENT_VMSCAN_LRU_SHRINK_INACTIVE, 286],
  [abi.EVENT_VMSCAN_LRU_SHRINK_ACTIVE, 187],
]);
/** All others. */
const LINE = 121;

/** What stands before the trace: the result with KVM's counters, and the statistics. */
export const COUNTER_BYTES = 830;
export const STATISTICS_BYTES = 540;
/** A page's line, a shadow page's, and what is around them. */
const PAGE_LINE = 93;
const SHADOW_PAGE_LINE = 80;
const SNAPSHOT_REST = 190;

/** Bytes of a step's trace. */
export function traceBytes(raw: readonly RawEvent[]): number {
  return raw.reduce((sum, [id]) => sum + (LINES.get(id) ?? LINE), 0);
}

/** Bytes of a snapshot. */
export function snapshotBytes(pages: number, shadowPages: number): number {
  return pages * PAGE_LINE + shadowPages * SHADOW_PAGE_LINE + SNAPSHOT_REST;
}

/** Bytes of what `age` found about so many pages: each one's number and two digits. */
export function agesBytes(pages: number): number {
  let bytes = 0;
  for (let i = 0; i < pages; i++) bytes += String(i).length + ':1,1 '.length;
  return bytes;
}

/** What malloc() takes for so many bytes (glibc). */
function chunkOf(bytes: number): number {
  return Math.max(32, (bytes + 8 + 15) & ~15);
}

/** Where the buffer of the log begins in its page: behind a copy of each of the script's lines. */
export function bufferOffset(lines: readonly string[]): number {
  const BEFORE = 0x8c0;
  return lines.reduce((sum, line) => sum + chunkOf(line.length + 2), BEFORE);
}
