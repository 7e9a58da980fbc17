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

/** What a flush tells the notifiers of an mm, and KVM's answer. */
const TOLD = new Set(['mn_invalidate_range', 'kvm_invalidate_range']);

function rangeText({ t, start, pages }: KvmEvent): string {
  return `${t} ${start}+${pages}`;
}

/** An event of the range that holds those of two. */
function joined(a: KvmEvent, b: KvmEvent): KvmEvent {
  const start = Math.min(Number(a.start), Number(b.start));
  const end = Math.max(Number(a.start) + Number(a.pages), Number(b.start) + Number(b.pages));
  return { ...a, start: String(start), pages: end - start };
}

/**
 * Unmapping, too, gives up the CPU when the scheduler wants it, and flushes what it has found dirty so far
 * (zap_pte_range()): two flushes in a row where ours is one of both ranges.
 */
export function withoutPauses(
  recorded: readonly KvmEvent[],
  emulated: readonly KvmEvent[],
): readonly KvmEvent[] {
  const ours = new Set(emulated.filter(({ t }) => TOLD.has(t)).map(rangeText));
  const kept: KvmEvent[] = [];
  for (const event of recorded) {
    // Of the last flush, this one's kind is the last event or the one before it.
    const at = [kept.length - 1, kept.length - 2].find((i) => kept[i]?.t === event.t);
    const before = at === undefined || !TOLD.has(event.t) ? undefined : kept[at];
    const whole = before === undefined ? event : joined(before, event);
    const ourOne = ours.has(rangeText(whole)) && !ours.has(rangeText(event));
    if (before !== undefined && ourOne) kept[at as number] = whole;
    else kept.push(event);
  }
  return kept;
}
