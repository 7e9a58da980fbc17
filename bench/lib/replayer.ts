// A machine of the emulator that replays records as the native reference does: the same modelled work,
// one page a flush, no neighbours mapped ahead.
import { createVm } from '../../src/machine.ts';
import type { Vm } from '../../src/machine.ts';
import { makePolicy } from '../../src/policies.ts';
import { cpuTime } from './measure.ts';
import { type Counts, native } from './native.ts';
import type { Records } from './traces.ts';

const BATCH = 32_768;

/** What differs between the replays. */
export interface ReplayOptions {
  /** Times that the records behind the warm-up are replayed in a row. Default 1. */
  readonly passes?: number;
  /** The exact-LRU yardstick beside the machine. Default false. */
  readonly yardstick?: boolean;
  readonly generation?: string;
}

/** Faults and write-backs of what was timed. */
export interface ReplayCounts {
  readonly faults: number;
  readonly writebacks: number;
}

/** A machine with the records in its memory, after the warm-up. */
export class Replayer {
  readonly vm: Vm;
  readonly #records: Records;
  readonly #at: number;

  constructor(records: Records, frames: number, options: ReplayOptions) {
    const { generation, yardstick = false } = options;
    this.vm = createVm({
      memoryPages: frames,
      guestPages: records.pages + 64,
      protocol: 'v3',
      policy: makePolicy('clock'),
      backing: 'file',
      guestTables: 'resident',
      flushScope: 'pages',
      prefetch: false,
      yardstick,
      ...(records.warmup === records.pages ? { tablePages: (records.pages >> 8) + 64 } : {}),
      ...(generation === undefined ? {} : { generation }),
    });
    this.#records = records;
    this.#at = this.vm.core.x.arenaAlloc(records.bytes.length) >>> 0;
    this.vm.core.mem.u8.set(records.bytes, this.#at);
    this.#run(0, records.warmup);
  }

  #run(from: number, to: number): void {
    for (let i = from; i < to; i += BATCH) {
      this.vm.runRecords(this.#at + i * 8, Math.min(BATCH, to - i));
    }
  }

  /** CPU ns a reference of some passes over the records behind the warm-up, and what they counted. */
  replay(passes = 1): { readonly ns: number; readonly counts: ReplayCounts } {
    const { warmup, count } = this.#records;
    const before = this.vm.stats.read();
    const ns = cpuTime(() => {
      for (let pass = 0; pass < passes; pass++) this.#run(warmup, count);
    });
    const after = this.vm.stats.read();
    return {
      ns: ns / ((count - warmup) * passes),
      counts: {
        faults: after.major_faults - before.major_faults,
        writebacks: after.file_writebacks - before.file_writebacks,
      },
    };
  }
}

/** The same by the native reference. */
export function referenceReplay(records: Records, frames: number, passes = 1): Counts {
  const { file, warmup } = records;
  return native('replay', file, `${frames}`, 'clock', 'stamps', `${warmup}`, `${passes}`);
}

/** ns a reference of the native reference. */
export function perReference(counts: Counts): number {
  return counts.ns / (counts['references'] as number);
}

/** Throws when the two sides did not count the same. */
export function assertEqual(name: string, frames: number, ours: ReplayCounts, c: Counts): void {
  if (ours.faults === c['faults'] && ours.writebacks === c['writebacks']) return;
  throw new Error(
    `${name} in ${frames} frames: ${ours.faults} faults and ${ours.writebacks} write-backs, ` +
      `the reference has ${c['faults']} and ${c['writebacks']}`,
  );
}
