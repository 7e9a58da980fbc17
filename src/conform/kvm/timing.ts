// What a recording's kernel did because a timer went off, not because of the script: the comparison leaves
// out such repetitions, and nothing else of these kinds.

import type { KvmEvent } from './recording.ts';

/**
 * khugepaged scans when its timer says so: a scan that finds what an earlier one of the step found is
 * dropped, and so are those of steps that do not ask for it (it wakes up for the first mm of a boot).
 */
export function withoutRescans(
  op: string,
  events: readonly KvmEvent[],
  text: (event: KvmEvent) => string,
): readonly KvmEvent[] {
  if (op.startsWith('h collapse')) return events;
  const asked = op.startsWith('h khugepaged');
  const seen = new Set<string>();
  return events.filter((event) => {
    if (event.t !== 'mm_khugepaged_scan_pmd') return true;
    const line = text(event);
    const first = asked && !seen.has(line);
    seen.add(line);
    return first;
  });
}

/**
 * A timer that hits the delivery of an exception makes KVM inject it again; the recorder leaves out the
 * timer's own exit, so that two injections stand side by side.
 */
export function withoutRepeats(events: readonly KvmEvent[]): readonly KvmEvent[] {
  return events.filter((event, i) => {
    const again = event.t === 'inject' && String(event.what).endsWith('[reinjected]');
    return !again || events[i - 1]?.t !== 'inject';
  });
}

/** After these, in a range that is invalidated, sptes may be gone that no flush has told of. */
const ZAPPING = new Set(['tdp_spte', 'kvm_set_pfn_dirty', 'kvm_set_pfn_accessed']);
const FLUSH = 'flush_remote_tlbs';

const RANGE_FLUSH = 'flush_remote_tlbs_range';

/**
 * Zapping a range of two-dimensional paging gives up the CPU when the scheduler wants it, and flushes first
 * what it has zapped so far (tdp_mmu_iter_cond_resched): a flush inside a range that is one more than ours. Where shadow
 * paging does so too (__walk_slot_rmaps() since 6.6), that flush is one of a range.
 */
export function withoutYields(
  recorded: readonly KvmEvent[],
  emulated: readonly KvmEvent[],
  tdp: boolean,
): readonly KvmEvent[] {
  let inRange = false;
  let at = 0;
  return recorded.filter((event, i) => {
    if (event.t === 'kvm_invalidate_range_start') inRange = true;
    else if (event.t === 'kvm_invalidate_range_end') inRange = false;
    const before = recorded[i - 1]?.t ?? '';
    const zapped = tdp && inRange && (ZAPPING.has(before) || before === FLUSH);
    const ours = emulated[at]?.t;
    if (event.t === FLUSH && zapped && ours !== FLUSH) return false;
    const yields = inRange && event.t === RANGE_FLUSH && before === 'spte_zap';
    if (yields && ours !== RANGE_FLUSH) return false;
    if (event.t === FLUSH && inRange && before === RANGE_FLUSH && ours !== FLUSH) return false;
    at++;
    return true;
  });
}
