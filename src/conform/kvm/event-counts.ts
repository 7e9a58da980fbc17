// A step of very many events in short: how many of each kind, and the sequence of the main ones.

import type { KvmEvent } from './recording.ts';

/** Events of pages on their way through the lists, which the recorder shows for frames that it knows. */
const LIST_EVENTS = new Set(
  (
    'folio_mark_accessed folio_referenced folio_referenced_ret swap_writepage swap_read workingset_refault ' +
    'workingset_eviction folio_activate lru_insert lru_activate'
  ).split(' '),
);

/** Whether an event is of a page on its way through the lists. */
export function isListed({ t, pfn }: KvmEvent): boolean {
  return LIST_EVENTS.has(t) && typeof pfn === 'string';
}

/** What folio_referenced() found, with the page that it looked at. */
export function withTheirPages(events: readonly KvmEvent[]): KvmEvent[] {
  let looked: KvmEvent['pfn'];
  return events.map((event) => {
    if (event.t === 'folio_referenced') looked = event.pfn;
    return event.t === 'folio_referenced_ret'
      ? { ...event, ...(looked === undefined ? {} : { pfn: looked }) }
      : event;
  });
}

/** Tokens of a quiet step: page faults, major host faults, and what reclaim asked and did. */
export function sequence(events: readonly KvmEvent[]): string[] {
  const out: string[] = [];
  for (const e of events) {
    if (e.t === 'kvm_page_fault') out.push(`F${String(e.page ?? e.addr)}`);
    else if (e.t === 'folio_referenced_one') out.push(`R${String(e.page ?? e.addr)}`);
    else if (e.t === 'try_to_unmap_one') out.push(`U${String(e.page ?? e.addr)}`);
    else if (e.t === 'folio_referenced_ret') out.push(`=${String(e.ret)}`);
    else if (e.t === 'host_fault_ret' && String(e.ret).includes('MAJOR')) {
      out.push(`M${String(e.page)}`);
    } else if (e.t === 'mn_clear_flush_young_ret') out.push(`y${String(e.ret)}`);
  }
  return out.length === 0 ? [''] : out;
}

/** Counts events as quiet steps of recordings do. */
export function countEvents(events: readonly KvmEvent[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const event of events) {
    const suffix =
      event.t.endsWith('_ret') && event.t !== 'hva_to_pfn_ret' ? `:${String(event.ret)}` : '';
    const key = event.t + suffix;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}
