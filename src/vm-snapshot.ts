// A saved state of a machine: one copy of linear memory, and the records that are not in it.

import type { CoreSnapshot } from './core/snapshot.ts';
import type { GuestKernelRecord } from './guest/kernel.ts';
import type { HostOpsRecord } from './host-ops.ts';
import type { Phase, RunOutcome } from './result.ts';
import type { CounterValues } from './stats/stats.ts';
import type { TurnsRecord } from './turns.ts';

/** Records of an object: fields that are replaced, never changed in place. */
export interface SavedFields {
  readonly object: object;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** The fields that an object says are state (`stateFields`). */
export function saveFields(object: object): SavedFields {
  const names = 'stateFields' in object ? (object.stateFields as readonly string[]) : [];
  const values = object as Readonly<Record<string, unknown>>;
  return { object, fields: Object.fromEntries(names.map((name) => [name, values[name]])) };
}

/** A saved state of a machine. */
export interface VmSnapshot {
  readonly core: CoreSnapshot;
  readonly records: readonly SavedFields[];
  readonly guest: GuestKernelRecord;
  readonly ops: HostOpsRecord;
  readonly turns: TurnsRecord;
  readonly phases: readonly Phase[];
  readonly markCounters: CounterValues;
  readonly outcome: RunOutcome;
}
