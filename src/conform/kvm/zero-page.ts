// Names of frames of the shared zero pages, of which there are two: a small one, and a huge one with 512
// frames. The recorder calls such a frame `zero` if a snapshot of the script shows it; if none does, it
// is a frame like any other.

import type { OurStep } from './compare.ts';
import type { JsonObject, Recording } from './recording.ts';

const PREFIX = 'zero:';

/** Our name of a frame of a zero page, before it is known whether a snapshot shows it. */
export function zeroName(pfn: number): string {
  return `${PREFIX}${pfn}`;
}

/** Our names of zero frames that snapshots show. */
function shownZeros(recording: Recording, run: readonly OurStep[]): Set<string> {
  const shown = new Set<string>();
  for (const [i, step] of run.entries()) {
    const recorded = recording.steps[i];
    if ((recorded?.pages_initial ?? recorded?.pages_changed) === undefined) continue;
    for (const { host } of step.pages) {
      if (typeof host.pfn === 'string' && host.pfn.startsWith(PREFIX)) shown.add(host.pfn);
    }
  }
  return shown;
}

/** The steps with the recorder's names of zero frames. */
export function nameZeroPages(recording: Recording, run: readonly OurStep[]): readonly OurStep[] {
  const shown = shownZeros(recording, run);
  const named = <T extends JsonObject>(object: T): T => {
    const key = typeof object.pfn === 'string' ? 'pfn' : 'ret';
    const name = object[key];
    if (typeof name !== 'string' || !name.startsWith(PREFIX)) return object;
    return { ...object, [key]: shown.has(name) ? 'zero' : `#${name}` };
  };
  return run.map((step) => ({
    ...step,
    events: step.events.map(named),
    pages: step.pages.map((page) => ({
      ...page,
      host: named(page.host),
      shadow: named(page.shadow),
    })),
  }));
}
