// The explorer as a library: a driver author's own actors and properties in a test suite.

import { lockName } from '../sched/locks.ts';
import { pct } from './pct.ts';
import type { PctOptions, PctResult } from './pct.ts';
import { search } from './search.ts';
import type { SearchOptions, SearchResult } from './search.ts';
import { storyText, tell } from './story.ts';
import type { Story } from './story.ts';
import { System } from './system.ts';
import type { SystemDefinition } from './system.ts';

/** Options of explore(). */
export interface ExploreOptions extends SearchOptions {
  /** Random schedules instead of all of them. */
  readonly random?: PctOptions;
  /** Kernel name of a lock id, for the stories. */
  readonly lockName?: (lock: number) => string;
}

/** A violated property. */
export interface ExploredViolation {
  readonly property: string;
  readonly detail: string;
  /** Actor of each step of a shortest schedule. */
  readonly schedule: readonly number[];
  readonly story: Story;
  /** The story as text, one column an actor. */
  readonly text: string;
}

/** Outcome of explore(). */
export interface ExploreResult {
  /** `holds`: every state was visited; `open`: nothing was found, but not all was visited. */
  readonly verdict: 'holds' | 'violated' | 'open';
  readonly violations: readonly ExploredViolation[];
  readonly search: SearchResult | null;
  readonly random: PctResult | null;
}

/**
 * Runs a scenario in every distinguishable order of its actors. `make` builds it in its initial
 * state; it is called once for the search and once for each story.
 *
 * @example
 * const result = explore(() => ({ actors: [fault, unmap], properties: [noStaleEntry], records: [device] }));
 * assert.equal(result.verdict, 'holds', result.violations[0]?.text);
 */
export function explore(make: () => SystemDefinition, options: ExploreOptions = {}): ExploreResult {
  const system = new System(make());
  const random = options.random === undefined ? null : pct(system, options.random);
  const found = random === null ? search(system, options) : null;
  system.close();
  const violations = ((found ?? random)?.violations ?? []).map((violation) => {
    const story = tell(make(), violation.schedule, options.lockName ?? lockName);
    return { ...violation, story, text: storyText(story) };
  });
  let verdict: ExploreResult['verdict'] = found?.exhausted === true ? 'holds' : 'open';
  if (violations.length > 0) verdict = 'violated';
  return { verdict, violations, search: found, random };
}
