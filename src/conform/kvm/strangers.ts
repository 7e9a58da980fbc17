// Frames that only one side knows. The recorder knows a frame once it backed a page of the slots: a page
// of the swap cache that is copied and freed before anything maps it leaves no events. And it goes on
// naming a frame that was freed, when another page of the VMM's process (its stack, which a fork copies)
// gets it and is put on a list.

import type { KvmEvent } from './recording.ts';

/** The two sides of a step's events at the level of the host mm. */
export interface Sides {
  readonly recorded: readonly KvmEvent[];
  readonly emulated: readonly KvmEvent[];
}

/** What is known of names of frames. */
export interface FrameNames {
  /** The recorded name of one of our frames, if it was paired with one. */
  boundTo(ours: string): string | undefined;
}

/** Events by which a page gets to a list: all that the recorder shows of another page's frame. */
const LIST_EVENTS = new Set(['lru_insert', 'lru_activate']);
/** Events of a page that is read from swap to be copied at once. */
const TRANSIENT_EVENTS = new Set(['workingset_refault', 'swap_read', 'lru_insert']);

function frameOf(event: KvmEvent): string | undefined {
  return typeof event.pfn === 'string' ? event.pfn : undefined;
}

/** Leaves out what only one side can know; `mapped`: our names of the frames that back pages. */
export function withoutStrangers(
  sides: Sides,
  names: FrameNames,
  mapped: ReadonlySet<string>,
): Sides {
  const { recorded, emulated } = sides;
  const live = new Set<string>();
  for (const name of [...mapped, ...emulated.map(frameOf)]) {
    const bound = name === undefined ? undefined : names.boundTo(name);
    if (bound !== undefined) live.add(bound);
  }
  const freed = (event: KvmEvent): boolean => {
    const name = frameOf(event);
    return name !== undefined && LIST_EVENTS.has(event.t) && names.boundTo(name) === undefined
      ? !live.has(name)
      : false;
  };
  const known = new Set(recorded.map(frameOf));
  const theirs = recorded.filter((event) => !freed(event) || paired(event, emulated, names));
  const transient = (event: KvmEvent): boolean => {
    const name = frameOf(event);
    if (name === undefined || !TRANSIENT_EVENTS.has(event.t)) return false;
    const bound = names.boundTo(name);
    if (mapped.has(name) || (bound !== undefined && known.has(bound))) return false;
    return count(emulated, event.t) > count(theirs, event.t);
  };
  return { recorded: theirs, emulated: emulated.filter((event) => !transient(event)) };
}

function count(events: readonly KvmEvent[], t: string): number {
  return events.filter((event) => event.t === t).length;
}

/** Whether a frame of ours that has no recorded name yet has the same event. */
function paired(event: KvmEvent, emulated: readonly KvmEvent[], names: FrameNames): boolean {
  return emulated.some((mine) => {
    const name = frameOf(mine);
    return mine.t === event.t && name !== undefined && names.boundTo(name) === undefined;
  });
}
