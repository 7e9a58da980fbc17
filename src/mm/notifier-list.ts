// The registrations of an mm's notifier chain (mmu-notifier.ts). The list is an hlist as in the kernel:
// the newest comes first, entries carry their successor, and a removed entry keeps it, so that an RCU
// reader that stands on it goes on.
//
// Nothing is changed in place: an entry, and the array of them, is replaced, so that a snapshot and the
// explorer may hold the old one.

import type { MmuNotifierOps } from './notifier-ops.ts';

/** One registration. */
export interface NotifierEntry {
  readonly ops: MmuNotifierOps;
  /** Id of the next entry of the list, 0 at its end; kept after removal. */
  readonly next: number;
  /** True while on the list. */
  readonly listed: boolean;
  /** True once its owner freed it: the memory may be anything by now, or another mm's notifier. */
  readonly freed: boolean;
}

/** Stands at index 0, which is no id. */
const NO_ENTRY: NotifierEntry = { ops: {}, next: 0, listed: true, freed: false };

/** The list of one mm. */
export class NotifierList {
  /** Id of the first entry, 0 when nobody is registered. */
  head = 0;
  /** Every registration ever made; index = id. */
  entries: readonly NotifierEntry[] = [NO_ENTRY];
  readonly stateFields = ['head', 'entries'] as const;

  /** The registration of an id. */
  entry(id: number): NotifierEntry {
    return this.entries[id] as NotifierEntry;
  }

  /** Adds a notifier at the head; returns its id. */
  add(ops: MmuNotifierOps): number {
    this.entries = [...this.entries, { ops, next: this.head, listed: true, freed: false }];
    this.head = this.entries.length - 1;
    return this.head;
  }

  /** Takes an entry off the list, if it is on it. */
  unlink(id: number): void {
    const { next, listed } = this.entry(id);
    if (!listed) return;
    if (this.head === id) this.head = next;
    else
      this.change(
        this.entries.findIndex((e) => e.listed && e.next === id),
        { next },
      );
    this.change(id, { listed: false });
  }

  /** The owner frees a notifier that it unregistered. */
  free(id: number): void {
    this.change(id, { freed: true });
  }

  /** The memory of a freed notifier becomes another's, of another mm (type-safe slabs). */
  reuse(id: number, ops: MmuNotifierOps): void {
    this.change(id, { ops, next: 0, listed: false, freed: true });
  }

  /** Replaces an entry by one that differs in some fields. */
  change(id: number, fields: Partial<NotifierEntry>): void {
    this.entries = this.entries.with(id, { ...this.entry(id), ...fields });
  }
}
