// What the emulator did in a step of a script, and the frames in it.

import type { JsonObject, KvmEvent, PageState, Recording, Step } from './recording.ts';

/** What the emulator did in a step, in the recording's form. */
export interface OurStep {
  readonly result: readonly JsonObject[];
  readonly events: readonly KvmEvent[];
  readonly counters: Readonly<Record<string, number>>;
  /** State of every data page. */
  readonly pages: readonly PageState[];
  readonly shadowPages: readonly JsonObject[];
  readonly age?: Step['age'];
  readonly dirty?: Step['dirty'];
}

/**
 * Our frames that the recorder would know: those that back a page in a recorded snapshot, and those that KVM
 * got for a fault.
 */
export function knownFrames(recording: Recording, run: readonly OurStep[]): Set<string> {
  const known = new Set<string>();
  for (const [i, step] of run.entries()) {
    const recorded = recording.steps[i];
    if ((recorded?.pages_initial ?? recorded?.pages_changed) !== undefined) {
      for (const name of mappedFrames(step)) known.add(name);
    }
    for (const { t, ret } of step.events) {
      if (t === 'hva_to_pfn_ret' && typeof ret === 'string') known.add(ret);
    }
  }
  return known;
}

/** The frame behind a name, which says how often the frame was allocated too. */
export function numberOf(name: string): string {
  return name.split('.')[0] as string;
}

/** Our names of the frames that back pages after a step. */
export function mappedFrames(ours: OurStep): Set<string> {
  const names = new Set<string>();
  for (const { host } of ours.pages) if (typeof host.pfn === 'string') names.add(host.pfn);
  return names;
}
