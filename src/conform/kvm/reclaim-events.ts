// The tracepoints of reclaim (trace/events/vmscan.h) as recordings show them.

import * as abi from '../../../assembly/abi.ts';
import type { KvmEvent } from './recording.ts';

const LRU_NAMES = ['inactive_anon', 'active_anon', 'inactive_file', 'active_file', 'unevictable'];

/** Which pages a write-back was about. */
function flags(file: number): string {
  return `${file ? 'RECLAIM_WB_FILE' : 'RECLAIM_WB_ANON'}|RECLAIM_WB_ASYNC`;
}

/** Tracepoints of a reclaim batch (trace/events/vmscan.h). Order, zone and mode are always the same. */
export function reclaimEvent(
  id: number,
  t: string,
  a: number,
  b: number,
  c: number,
  d: number,
): KvmEvent {
  switch (id) {
    case abi.EVENT_VMSCAN_LRU_ISOLATE:
      return {
        t,
        isolate_mode: '0',
        classzone: '4',
        order: '0',
        nr_requested: String(a),
        nr_scanned: String(b),
        nr_skipped: '0',
        nr_taken: String(d),
        lru: LRU_NAMES[c] ?? String(c),
      };
    case abi.EVENT_VMSCAN_LRU_SHRINK_ACTIVE:
      return {
        t,
        nr_taken: String(a),
        nr_active: '0',
        nr_deactivated: String(b),
        nr_referenced: '0',
        priority: String(c),
        flags: flags(d),
      };
    case abi.EVENT_VMSCAN_LRU_SHRINK_INACTIVE: {
      const file = (c >>> 8) & 1;
      return {
        t,
        nr_scanned: String(a),
        nr_reclaimed: String(b),
        nr_dirty: '0',
        nr_writeback: '0',
        nr_congested: '0',
        nr_immediate: '0',
        nr_activate_anon: String((d >>> 10) & 0x3ff),
        nr_activate_file: String(d >>> 20),
        nr_ref_keep: String(d & 0x3ff),
        nr_unmap_fail: String(c >>> 9),
        priority: String(c & 0xff),
        flags: flags(file),
      };
    }
    default:
      return { t };
  }
}
