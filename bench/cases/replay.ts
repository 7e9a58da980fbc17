// (a) and (b): replay of real traces, from an empty machine on, through the whole emulator beside the
// native reference, after untimed runs of 20 M references and more. (a) replays the trace as often in a row as
// it takes to time as many; (b) replays it once. `cold` is one pass in a new process, where nothing is compiled
// yet.
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

/** References of (a) that are timed at least, and of (b) that are run before. */
const TIMED = 20_000_000;

/** Frames for (a) and the two cases of (b). */
export function framesOf(trace: Records): readonly number[] {
  return [trace.pages + 8, Math.floor(trace.pages / 2), Math.floor(trace.pages / 10)];
}

function passesOf(trace: Records, size: number): number {
  return size === 0 ? Math.ceil(TIMED / trace.count) : 1;
}

const SIZES = ['all fits', 'half', 'a tenth'] as const;

/** One trace in one size of memory, on fresh machines, after untimed runs. */
export function replay(
  trace: Records,
  size: 0 | 1 | 2,
  rounds: number,
  options: ReplayOptions = {},
): Row {
  const frames = framesOf(trace)[size] as number;
  const passes = passesOf(trace, size);
  const emulate = () => new Replayer(trace, frames, options).replay(passes);
  const { counts } = emulate();
  assertEqual(trace.name, frames, counts, referenceReplay(trace, frames, passes));
  // V8 compiles a function when it was run often, on threads whose time is counted too: not in these rounds.
  for (let done = trace.count * passes; done < TIMED; done += trace.count) emulate();
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    ours.push(emulate().ns);
    theirs.push(perReference(referenceReplay(trace, frames, passes)));
  }
  const { generation, yardstick } = options;
  return {
    letter: size === 0 ? 'a' : 'b',
    name: `${trace.name}, ${SIZES[size]}${yardstick === true ? ', yardstick on' : ''}`,
    unit: 'ns/ref',
    ...compared(ours, theirs),
    limit: { ratio: 1.4 },
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
