// Which events of frames the recorder shows. It knows a frame if it backed a page of the slots at any time of
// the whole script: a snapshot saw it there, or KVM got it for a fault. It shows all that happens to such a
// frame, also while the frame is somebody else's (the VMM's stack, page cache that was only copied); of other
// frames it shows nothing. Which frame is reused for what is the history of the host's allocator, so:
//
// - one of ours that never backs a slot page while it is in use (unknown) may be absent in the recording;
// - a recorded one that is no page of ours at the time (foreign) may be absent here, if it is put on a list:
//   that is all that the recorder shows of somebody else's page.
//
// Everything else must agree: the two sides are aligned with as few left out as possible.

import type { KvmEvent } from './recording.ts';

/** What is known of names of frames. */
export interface FrameNames {
  /** The recorded name of one of our frames, if it was paired with one. */
  boundTo(ours: string): string | undefined;
  /** Whether one of our frames was given a recorded name and is in use. */
  isLive(recorded: string): boolean;
  /** Whether one of our frames ever backs a slot page. */
  isKnown(ours: string): boolean;
}

/** Events by which a page gets to a list. */
const LIST_EVENTS = new Set(['lru_insert', 'lru_activate']);
/** Costs of an alignment: leaving out what may be absent, and what may not. */
const ABSENT = 1;
const WRONG = 1000;
/** Longest product of two sides' lengths that is aligned; more is compared as it stands. */
const ALIGNED = 1 << 22;

function frameOf(event: KvmEvent): string | undefined {
  return typeof event.pfn === 'string' ? event.pfn : undefined;
}

/** Whether all but the frames agrees. */
function sameButFrame(a: KvmEvent, b: KvmEvent): boolean {
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => key === 'pfn' || a[key] === b[key]);
}

/** Which of our events the recorder may not show; what folio_referenced() found goes with the page it looked at. */
function unknownEvents(emulated: readonly KvmEvent[], names: FrameNames): boolean[] {
  let looked = false;
  return emulated.map((event) => {
    if (event.t === 'folio_referenced_ret') return looked;
    const name = frameOf(event);
    const unknown = name !== undefined && name !== 'zero' && !names.isKnown(name);
    if (event.t === 'folio_referenced') looked = unknown;
    return unknown;
  });
}

/** Leaves out what only one side can know. */
export function withoutStrangers(
  recorded: readonly KvmEvent[],
  emulated: readonly KvmEvent[],
  names: FrameNames,
): { recorded: readonly KvmEvent[]; emulated: readonly KvmEvent[] } {
  const unknown = unknownEvents(emulated, names);
  const foreign = recorded.map((event) => {
    const name = frameOf(event);
    return name !== undefined && LIST_EVENTS.has(event.t) && !names.isLive(name);
  });
  if (!unknown.includes(true) && !foreign.includes(true)) return { recorded, emulated };
  if (recorded.length * emulated.length > ALIGNED) return { recorded, emulated };
  const matches = (i: number, j: number): boolean => {
    const theirs = recorded[i] as KvmEvent;
    const ours = emulated[j] as KvmEvent;
    if (theirs.t !== ours.t || !sameButFrame(theirs, ours)) return false;
    const name = frameOf(ours);
    const other = frameOf(theirs);
    if (name === undefined || other === undefined) return name === other;
    const bound = name === 'zero' ? name : names.boundTo(name);
    return bound === undefined ? !names.isLive(other) : bound === other;
  };
  const costs = {
    theirs: foreign.map((absent) => (absent ? ABSENT : WRONG)),
    ours: unknown.map((absent) => (absent ? ABSENT : WRONG)),
  };
  const kept = align(costs, matches);
  return {
    recorded: recorded.filter((_, i) => !foreign[i] || kept.theirs.has(i)),
    emulated: emulated.filter((_, j) => !unknown[j] || kept.ours.has(j)),
  };
}

interface Costs {
  readonly theirs: readonly number[];
  readonly ours: readonly number[];
}

/** The cheapest alignment of two sequences: which elements of each have a partner. */
function align(
  costs: Costs,
  matches: (i: number, j: number) => boolean,
): { theirs: Set<number>; ours: Set<number> } {
  const n = costs.theirs.length;
  const m = costs.ours.length;
  const width = m + 1;
  // best[i * width + j]: cost of what follows the first i and j.
  const best = new Float64Array((n + 1) * width);
  const at = (i: number, j: number): number => best[i * width + j] as number;
  const skipTheirs = (i: number, j: number): number => at(i + 1, j) + (costs.theirs[i] as number);
  const skipOurs = (i: number, j: number): number => at(i, j + 1) + (costs.ours[j] as number);
  for (let i = n; i >= 0; i--) {
    for (let j = m; j >= 0; j--) {
      if (i === n && j === m) continue;
      let cost = Infinity;
      if (i < n) cost = Math.min(cost, skipTheirs(i, j));
      if (j < m) cost = Math.min(cost, skipOurs(i, j));
      if (i < n && j < m && matches(i, j)) cost = Math.min(cost, at(i + 1, j + 1));
      best[i * width + j] = cost;
    }
  }
  const kept = { theirs: new Set<number>(), ours: new Set<number>() };
  for (let i = 0, j = 0; i < n && j < m;) {
    if (matches(i, j) && at(i, j) === at(i + 1, j + 1)) {
      kept.theirs.add(i++);
      kept.ours.add(j++);
    } else if (at(i, j) === skipTheirs(i, j)) i++;
    else j++;
  }
  return kept;
}
