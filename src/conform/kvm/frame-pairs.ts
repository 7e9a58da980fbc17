// Which of our frames is which of the recording's.

import type { KvmEvent } from './recording.ts';
import type { FrameNames } from './strangers.ts';

/** Pairs the recording's frame names with ours; a frame that is freed gets a new name of ours. */
export class FramePairs {
  readonly #toRecorded = new Map<string, string>();
  /** The latest of ours that got a recorded name. */
  readonly #toOurs = new Map<string, string>();

  /** The recorded name for one of ours; `expected` is bound to it if ours is still new. */
  recorded(ours: string, expected: string | undefined): string {
    if (ours === 'zero') return 'zero';
    const bound = this.#toRecorded.get(ours);
    if (bound !== undefined) return bound;
    if (expected === undefined || expected === 'zero' || !expected.startsWith('f')) return ours;
    this.#bind(ours, expected);
    return expected;
  }

  #bind(ours: string, recorded: string): void {
    this.#toRecorded.set(ours, recorded);
    this.#toOurs.set(recorded, ours);
  }

  /** The recorded name for one of ours, if it has one. */
  boundTo(ours: string): string | undefined {
    return this.#toRecorded.get(ours);
  }

  /** Our latest frame with a recorded name. */
  latest(recorded: string): string | undefined {
    return this.#toOurs.get(recorded);
  }

  /** Binds anew, after a disagreement was reported. */
  rebind(ours: string, recorded: string): void {
    if (ours === 'zero' || recorded === 'zero' || this.#toRecorded.get(ours) === recorded) return;
    this.#bind(ours, recorded);
  }
}

const FRAME_KEYS = ['pfn', 'ret'] as const;

/**
 * Our events with the recording's frame names, paired in order with the recorded ones. A frame of somebody else's
 * on both sides (strangers.ts) is the same for this event alone, since which of them is which nobody can know.
 */
export function withFrames(
  ours: readonly KvmEvent[],
  recorded: readonly KvmEvent[],
  pairs: FramePairs,
  names: FrameNames,
): KvmEvent[] {
  return ours.map((event, i) => {
    let out = event;
    const twin = recorded[i];
    for (const key of FRAME_KEYS) {
      const name = event[key];
      if (typeof name !== 'string' || !(name.startsWith('#') || name === 'zero')) continue;
      const twins = twin?.t === event.t ? twin[key] : undefined;
      const other = typeof twins === 'string' ? twins : undefined;
      const strangers = other !== undefined && !names.isKnown(name) && !names.isLive(other);
      out = { ...out, [key]: strangers && name !== 'zero' ? other : pairs.recorded(name, other) };
    }
    return out;
  });
}
