// Where guest references come from. A Workload can be opened as often as needed (a pass for the
// footprint, one for OPT, one in each worker), and each opening gives the same references.

import type { Core } from '../core/load.ts';
import type { HostOperation } from './host-op.ts';

/** A stream of access records (ACCESS_* in assembly/abi.ts), read in batches. */
export interface AccessSource {
  /** References in all, when known beforehand. Control records count too. */
  readonly references: number | undefined;
  /** Writes up to `maxRecords` (at least MIN_BATCH) records at `recordsPtr`; 0 is the end. */
  next(core: Core, recordsPtr: number, maxRecords: number): number;
  /** How much of the source was read, 0 to 1; undefined when not known. */
  progress(): number | undefined;
  /** Frees files and buffers; may be called twice. */
  close(): void;
}

/** Smallest batch that AccessSource.next() takes. */
export const MIN_BATCH = 64;

/** Records in a batch: they fit a second-level cache, and what a fault finds out for a batch serves many. */
export const BATCH_RECORDS = 32_768;

/** Something that gives the same references each time that it is opened. */
export interface Workload {
  /** Name for tables and messages. */
  readonly name: string;
  /** What its CONTROL_HOST records name, by index. */
  readonly hostOps?: readonly HostOperation[];
  /** Opens it on a core. */
  open(core: Core): AccessSource;
}

/** The first `limit` records of another source. */
export class LimitedSource implements AccessSource {
  readonly #inner: AccessSource;
  readonly #limit: number;
  #done = 0;

  constructor(inner: AccessSource, limit: number) {
    this.#inner = inner;
    this.#limit = limit;
  }

  get references(): number | undefined {
    const all = this.#inner.references;
    return all === undefined ? undefined : Math.min(all, this.#limit);
  }

  next(core: Core, recordsPtr: number, maxRecords: number): number {
    const left = this.#limit - this.#done;
    if (left <= 0) return 0;
    // A batch below the least is cut off afterwards instead.
    const n = this.#inner.next(core, recordsPtr, Math.max(MIN_BATCH, Math.min(maxRecords, left)));
    const taken = Math.min(n, left);
    this.#done += taken;
    return taken;
  }

  progress(): number | undefined {
    const inner = this.#inner.progress();
    const own = this.#done / this.#limit;
    return inner === undefined ? own : Math.max(inner, own);
  }

  close(): void {
    this.#inner.close();
  }
}

/** A workload cut off after `limit` records. */
export function limited(workload: Workload, limit: number): Workload {
  return {
    ...workload,
    open: (core) => new LimitedSource(workload.open(core), limit),
  };
}
