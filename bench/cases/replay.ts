// (a) and (b): replay of real traces, from an empty machine on, through the whole emulator beside the
// native reference, as often in a row as it takes to time 20 M references, after 40 M untimed ones. `once` is one
// pass on a machine of its own, of which a good part are the first touches of a short trace's pages; `cold` is one pass
// in a new process, where nothing is compiled yet.
import { execFileSync } from 'node:child_process';
import { compared } from '../lib/measure.ts';
import {
  type ReplayOptions,
  Replayer,
  assertEqual,
  perReference,
  referenceReplay,
} from '../lib/replayer.ts';
import type { Row } from '../lib/row.ts';
import type { Records } from '../lib/traces.ts';

/** References that are timed at least. */
const TIMED = 20_000_000;
/** References that are run before, at least. */
const WARMED = 40_000_000;

/** Frames for (a) and the two cases of (b). */
export function framesOf(trace: Records): readonly number[] {
  return [trace.pages + 8, Math.floor(trace.pages / 2), Math.floor(trace.pages / 10)];
}

const SIZES = ['all fits', 'half', 'a tenth'] as const;

/** One trace in one size of memory, on fresh machines, after untimed runs. */
export function replay(
  trace: Records,
  size: 0 | 1 | 2,
  rounds: number,
  options: ReplayOptions = {},
): Row {
  const row = timed(trace, size, rounds, options, Math.ceil(TIMED / trace.count));
  return { ...row, limit: { ratio: 1.4 } };
}

/** One pass over a trace in a tenth of its memory. */
export function once(trace: Records, rounds: number): Row {
  const row = timed(trace, 2, rounds, {}, 1);
  return { ...row, name: `${row.name}, once` };
}

function timed(
  trace: Records,
  size: 0 | 1 | 2,
  rounds: number,
  options: ReplayOptions,
  passes: number,
): Row {
  const frames = framesOf(trace)[size] as number;
  const emulate = (times: number) => new Replayer(trace, frames, options).replay(times);
  const { counts } = emulate(passes);
  assertEqual(trace.name, frames, counts, referenceReplay(trace, frames, passes));
  // V8 compiles a function when it was run often, on threads whose time is counted too: not in these rounds. What a
  // machine does for each page once is run often on many machines.
  for (let done = 0; done < WARMED; done += trace.count) emulate(1);
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    ours.push(emulate(passes).ns);
    theirs.push(perReference(referenceReplay(trace, frames, passes)));
  }
  const { generation, yardstick } = options;
  return {
    letter: size === 0 ? 'a' : 'b',
    name: `${trace.name}, ${SIZES[size]}${yardstick === true ? ', yardstick on' : ''}`,
    unit: 'ns/ref',
    ...compared(ours, theirs),
    ...(generation === undefined ? {} : { generation }),
    counts: { frames, references: trace.count * passes, ...counts },
  };
}

/** One pass over a trace that fits, each in a new process: nothing is compiled yet. */
export function cold(trace: Records, rounds: number): Row {
  const frames = framesOf(trace)[0] as number;
  const program = process.argv[1] as string;
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const out = execFileSync(process.execPath, [program, '--cold', trace.name], {
      encoding: 'utf8',
    });
    ours.push(Number(out));
    theirs.push(perReference(referenceReplay(trace, frames)));
  }
  return {
    letter: 'a',
    name: `${trace.name}, all fits, first pass of a process`,
    unit: 'ns/ref',
    ...compared(ours, theirs),
    counts: { frames, references: trace.count },
  };
}
