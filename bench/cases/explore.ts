// (x): transitions per second of CPU time of the exhaustive search, on the long two-actor scenario.
import { protocolPreset } from '../../src/explore/presets.ts';
import { exploreCell } from '../../src/explore/run.ts';
import { longScenario } from '../../src/explore/scenarios.ts';
import { cpuTime, series } from '../lib/measure.ts';

/** One measured search. */
export interface ExploreRow {
  readonly benchmark: 'x';
  readonly protocol: string;
  readonly states: number;
  readonly transitions: number;
  /** Transitions per second of CPU time: of the median round, and of the fastest. */
  readonly perSecond: number;
  readonly best: number;
  /** Bytes that the search held at its end. */
  readonly bytes: number;
}

/** The search under one protocol; the first round warms up. */
export function exploration(protocol: string, rounds: number): ExploreRow {
  const preset = protocolPreset(protocol);
  if (preset === undefined) throw new Error(`${protocol} is no protocol`);
  const times: number[] = [];
  let found = exploreCell(preset, longScenario).search;
  for (let round = 0; round < rounds; round++) {
    times.push(cpuTime(() => (found = exploreCell(preset, longScenario).search)));
  }
  if (found === null || !found.exhausted) throw new Error('the long scenario is exhausted');
  const { states, transitions, bytes } = found;
  const { median, min } = series(times.map((ns) => ns / 1e9));
  const perSecond = (seconds: number): number => Math.round(transitions / seconds);
  return {
    benchmark: 'x',
    protocol,
    states,
    transitions,
    bytes,
    perSecond: perSecond(median),
    best: perSecond(min),
  };
}
