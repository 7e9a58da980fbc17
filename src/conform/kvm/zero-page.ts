// The shared zero pages, of which there are two: a small one, and a huge one with 512 frames. They are the
// whole host's: the recorder calls their frames `zero` if a snapshot of the script shows them, and else
// frames like any other; whether they were referenced before the script is not the script's.

import type { OurStep } from './our-step.ts';
import type { JsonObject, KvmEvent, Recording } from './recording.ts';

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

function isReferenced(page: JsonObject): boolean {
  return (page.flags as readonly string[]).includes('referenced');
}

/**
 * The referenced bits of the zero pages, ours with the recording's start. Marking a page accessed only toggles
 * its bit, so that the two differ by what they were at first; but with generations the mark stays.
 */
export class ZeroBits {
  #flipped: Record<string, boolean> = {};
  #generations = false;

  /** A step goes by. */
  follow(op: string, events: readonly KvmEvent[]): void {
    const [, name, value] = op.split(' ');
    // clear_refs takes the huge zero page's bit away: what it was before does not matter any more.
    if (name === 'clear_refs') delete this.#flipped.huge;
    if (name === 'lru_gen') this.#generations = value !== '0' && value !== 'n';
    const marked = events.some(({ t, pfn }) => t === 'folio_mark_accessed' && pfn === 'zero');
    if (this.#generations && marked) this.#flipped = {};
  }

  /** Our page as the recording would show it. */
  aligned(mine: JsonObject, theirs: JsonObject): JsonObject {
    if (mine.pfn !== 'zero' || theirs.pfn !== 'zero') return mine;
    const flags = mine.flags as readonly string[];
    // The tails of the huge zero page show no such bit.
    if (flags.includes('compound_tail')) return mine;
    const which = flags.includes('thp') ? 'huge' : 'small';
    this.#flipped[which] ??= isReferenced(mine) !== isReferenced(theirs);
    if (!this.#flipped[which]) return mine;
    const rest = flags.filter((flag) => flag !== 'referenced');
    return { ...mine, flags: isReferenced(mine) ? rest : ['referenced', ...rest] };
  }
}
