// The levels of a comparison, and at which of them an event is compared.
//
//   L1  what the guest and the VMM see: results, guest ptes with A and D, the dirty bitmap
//   L2  what KVM does: faults, injections, notifier calls, sptes, shadow pages, flushes, counters
//   L3  what the host mm does: faults, LRU and swap activity, page states

/** Level of a comparison. */
export type Level = 1 | 2 | 3;
export const LEVELS: readonly Level[] = [1, 2, 3];

const L1_EVENTS = new Set(['guest_pte_set_A', 'guest_pte_set_D']);
const L3_EVENTS = new Set(
  (
    'host_fault host_fault_ret wp_page_copy folio_mark_accessed folio_activate folio_referenced ' +
    'folio_referenced_one folio_referenced_ret try_to_unmap_one swap_writepage swap_read ' +
    'vmscan_write workingset_eviction workingset_refault lru_insert lru_activate ' +
    'lru_gen_look_around vmscan_lru_isolate vmscan_lru_shrink_active ' +
    'vmscan_lru_shrink_inactive mm_collapse_huge_page mm_khugepaged_scan_pmd'
  ).split(' '),
);

/** Level at which an event is compared. */
export function eventLevel(t: string): Level {
  return L1_EVENTS.has(t) ? 1 : L3_EVENTS.has(t) ? 3 : 2;
}
