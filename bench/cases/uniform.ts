// (c), (d) and (m): uniform references over many pages. The machine of (c) and (m) holds them all and
// is made once; every round replays the same records on it.
import { compared } from '../lib/measure.ts';
import {
  type ReplayOptions,
  Replayer,
  assertEqual,
  perReference,
  referenceReplay,
} from '../lib/replayer.ts';
import type { Limit, Row } from '../lib/row.ts';
import { uniform } from '../lib/traces.ts';

interface Rounds {
  readonly ours: number[];
  readonly theirs: number[];
}

/** References over `pages` pages that all fit. */
export function fitting(
  letter: 'c' | 'm',
  pages: number,
  rounds: number,
  options: ReplayOptions = {},
): Row {
  const records = uniform(pages, Math.max(1_000_000, Math.min(4_000_000, pages)));
  const frames = pages + 64;
  const machine = new Replayer(records, frames, options);
  assertEqual(records.name, frames, machine.replay().counts, referenceReplay(records, frames));
  const ours: number[] = [];
  const theirs: number[] = [];
  // One more pass that is not timed: the first ones run code that is being compiled.
  machine.replay();
  for (let round = 0; round < rounds; round++) {
    ours.push(machine.replay().ns);
    theirs.push(perReference(referenceReplay(records, frames)));
  }
  const limit: Limit = letter === 'c' ? { ratio: 1.5 } : {};
  const { generation } = options;
  return {
    letter,
    name: `uniform over ${pages} pages`,
    unit: 'ns/ref',
    ...compared(ours, theirs),
    limit,
    ...(generation === undefined ? {} : { generation }),
    counts: { references: records.count - records.warmup },
  };
}

const THRASH_PAGES = 262_144;
const THRASH_FRAMES = 65_536;
const THRASH_REFERENCES = 1_000_000;

/**
 * (d): a fault with an eviction. Uniform over 262,144 pages in 65,536 frames, less what its hits cost,
 * which uniform references over as many pages as there are frames show.
 */
export function thrash(rounds: number, options: ReplayOptions = {}): Row[] {
  const thrashing = uniform(THRASH_PAGES, THRASH_REFERENCES);
  const fit = uniform(THRASH_FRAMES, THRASH_REFERENCES);
  const fits = new Replayer(fit, THRASH_FRAMES + 64, options);
  const machine = new Replayer(thrashing, THRASH_FRAMES, options);
  const { counts } = machine.replay();
  assertEqual('thrash', THRASH_FRAMES, counts, referenceReplay(thrashing, THRASH_FRAMES));
  fits.replay();
  const share = counts.faults / THRASH_REFERENCES;
  const fault = (all: number, hit: number): number => (all - (1 - share) * hit) / share;
  const whole: Rounds = { ours: [], theirs: [] };
  const derived: Rounds = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round++) {
    const ours = machine.replay().ns;
    const theirs = perReference(referenceReplay(thrashing, THRASH_FRAMES));
    const ourHit = fits.replay().ns;
    const theirHit = perReference(referenceReplay(fit, THRASH_FRAMES + 64));
    whole.ours.push(ours);
    whole.theirs.push(theirs);
    derived.ours.push(fault(ours, ourHit));
    derived.theirs.push(fault(theirs, theirHit));
  }
  const { generation } = options;
  const common = generation === undefined ? {} : { generation };
  return [
    {
      letter: 'd',
      name: `uniform over ${THRASH_PAGES} pages in ${THRASH_FRAMES} frames`,
      unit: 'ns/ref',
      ...compared(whole.ours, whole.theirs),
      ...common,
      counts: { ...counts },
    },
    {
      letter: 'd',
      name: 'one fault and eviction',
      unit: 'ns',
      ...compared(derived.ours, derived.theirs),
      limit: { ratio: 3.5, value: 267 },
      ...common,
      counts: {},
    },
  ];
}
