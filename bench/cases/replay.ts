// (a) to (d) and (m): replay of references through the whole emulator beside the native reference.
// Both see the same records; their fault and write-back counts must be equal before a time counts.
import { makePolicy } from '../../src/policies.ts';
import { createVm } from '../../src/machine.ts';
import type { CounterValues } from '../../src/stats/stats.ts';
import { type Series, cpuTime, interleave } from '../lib/measure.ts';
import { type Counts, native } from '../lib/native.ts';
import type { Records } from '../lib/traces.ts';

const BATCH = 8192;

/** One row of the results. */
export interface ReplayRow {
  readonly benchmark: string;
  readonly name: string;
  readonly references: number;
  readonly pages: number;
  readonly frames: number;
  readonly faults: number;
  readonly writebacks: number;
  readonly vmexits: number;
  /** ns a reference (of those that were timed). */
  readonly emulator: Series;
  readonly reference: Series;
  /** Emulator with the exact LRU yardstick beside it, as `run` has it. */
  readonly withYardstick?: Series;
  /** Median over median. */
  readonly ratio: number;
}

/** One replay by the emulator, CPU ns a timed reference. */
function emulate(records: Records, frames: number, yardstick: boolean): [number, CounterValues] {
  const vm = createVm({
    memoryPages: frames,
    guestPages: records.pages + 64,
    protocol: 'v3',
    policy: makePolicy('clock'),
    backing: 'file',
    guestTables: 'resident',
    // The same modelled work as the reference does: one page a flush, no neighbours mapped ahead.
    flushScope: 'pages',
    prefetch: false,
    yardstick,
  });
  const at = vm.core.x.arenaAlloc(records.bytes.length) >>> 0;
  vm.core.mem.u8.set(records.bytes, at);
  const run = (from: number, to: number): void => {
    for (let i = from; i < to; i += BATCH) vm.runRecords(at + i * 8, Math.min(BATCH, to - i));
  };
  run(0, records.warmup);
  const ns = cpuTime(() => run(records.warmup, records.count));
  return [ns / (records.count - records.warmup), vm.stats.read()];
}

function reference(records: Records, frames: number): Counts {
  return native('replay', records.file, `${frames}`, 'clock', 'stamps', `${records.warmup}`);
}

/** Replays records on both sides. */
export function replay(
  benchmark: string,
  records: Records,
  frames: number,
  rounds: number,
  yardstickToo = false,
): ReplayRow {
  const [, counters] = emulate(records, frames, false);
  const expected = reference(records, frames);
  const { major_faults: faults, file_writebacks: writebacks } = counters;
  if (faults !== expected['faults'] || writebacks !== expected['writebacks']) {
    throw new Error(
      `${records.name} in ${frames} frames: ${faults} faults and ${writebacks} write-backs, ` +
        `the reference has ${expected['faults']} and ${expected['writebacks']}`,
    );
  }
  const timed = records.count - records.warmup;
  const contenders: Record<string, () => number> = {
    emulator: () => emulate(records, frames, false)[0],
    reference: () => reference(records, frames).ns / timed,
    ...(yardstickToo ? { withYardstick: () => emulate(records, frames, true)[0] } : {}),
  };
  const measured = interleave(rounds, contenders) as {
    emulator: Series;
    reference: Series;
    withYardstick?: Series;
  };
  return {
    benchmark,
    name: records.name,
    references: records.count,
    pages: records.pages,
    frames,
    faults,
    writebacks,
    vmexits: counters.vmexits,
    ...measured,
    ratio: measured.emulator.median / measured.reference.median,
  };
}
