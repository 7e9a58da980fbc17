// Compares one step of a recording with the same step on the emulator, level by level (levels.ts).
//
// A field of a step that a repeat of the recording did differently is not compared; nothing else is
// left out but events of frames that one side can't know (strangers.ts) and memory.stat, which the kernel flushes late.

import { countEvents, isListed, sequence, withTheirPages } from './event-counts.ts';
import { FramePairs, withFrames } from './frame-pairs.ts';
import { eventLevel } from './levels.ts';
import type { Level } from './levels.ts';
import { mappedFrames, numberOf } from './our-step.ts';
import type { OurStep } from './our-step.ts';
import { parseScript } from './script.ts';
import {
  ageLines,
  counterLines,
  eventText,
  objectText,
  resultText,
  sameLines,
} from './step-text.ts';
import { withoutStrangers, type FrameNames } from './strangers.ts';
import { withoutPauses, withoutRepeats, withoutRescans, withoutYields } from './timing.ts';
import { ZeroBits } from './zero-page.ts';
import type { JsonObject, KvmEvent, PageState, Recording, Step } from './recording.ts';

/** One disagreement: what was compared, and both sides in lines of words. */
export interface Difference {
  readonly level: Level;
  readonly what: string;
  readonly recorded: readonly string[];
  readonly emulated: readonly string[];
}

/** Compares two lists of lines, and notes how they differ. */
type Check = (level: Level, what: string, recorded: string[], emulated: string[]) => void;

/** Order of groups of pages: those whose list is cut come first. */
function cutFirst(group: JsonObject): number {
  return (group.pages as readonly unknown[])[1] === '..' ? 0 : 1;
}

/** Follows the recording's page states and compares each step. */
export class StepComparer {
  readonly #recording: Recording;
  /** The recording lists the shadow pages. */
  readonly #listsShadowPages: boolean;
  readonly #pairs = new FramePairs();
  readonly #zeroBits = new ZeroBits();
  readonly #pages: PageState[] = [];
  #shadowPages: readonly JsonObject[] = [];
  /** The last recorded shadow pages, and states of pages, that a repeat had otherwise. */
  #shadowPagesVary = false;
  readonly #vary = new Set<number>();
  /** Steps after which no state was recorded. */
  readonly #unseen = new Set<number>();
  /** Our frames that ever back a slot page: the recorder knows them (strangers.ts). */
  readonly #known: ReadonlySet<string>;
  /** Their numbers, under whatever name. */
  readonly #knownNumbers: ReadonlySet<string>;
  /** Flushes of the step that a timer caused. */
  #yields = 0;
  /** Our frames that backed a slot page before the step. */
  #mapped: ReadonlySet<string> = new Set();

  constructor(recording: Recording, known: ReadonlySet<string>, listsShadowPages: boolean) {
    this.#recording = recording;
    this.#listsShadowPages = listsShadowPages;
    this.#known = known;
    this.#knownNumbers = new Set([...known].map(numberOf));
    const { steps } = parseScript(recording.script, recording.file);
    steps.forEach((step, i) => {
      if (!step.snapshot) this.#unseen.add(i);
    });
  }

  #compared(field: string, step: Step): boolean {
    return !(this.#recording.differing[field] ?? []).includes(step.i);
  }

  /** All disagreements of a step. */
  compare(step: Step, ours: OurStep): Difference[] {
    const out: Difference[] = [];
    const check = (level: Level, what: string, recorded: string[], emulated: string[]): void => {
      if (!sameLines(recorded, emulated)) out.push({ level, what, recorded, emulated });
    };
    if (this.#compared('result', step) && step.result !== undefined) {
      check(1, 'result', step.result.map(resultText), ours.result.map(resultText));
    }
    if (step.dirty !== undefined) {
      check(1, 'dirty bitmap', [step.dirty.join(' ')], [(ours.dirty ?? []).join(' ')]);
    }
    if (step.age !== undefined && this.#compared('age', step)) this.#age(step, ours, check);
    this.#zeroBits.follow(step.op, ours.events);
    this.#follow(step);
    this.#pairMapped(step, ours);
    this.#yields = 0;
    if (step.events !== undefined) this.#events(step, ours, check);
    else this.#counts(step, ours, check);
    if (step.kvm_counters_delta !== undefined && this.#compared('kvm_counters_delta', step)) {
      const theirs = { ...step.kvm_counters_delta };
      const flushes = theirs.remote_tlb_flush_requests;
      if (flushes !== undefined) theirs.remote_tlb_flush_requests = flushes - this.#yields;
      check(2, 'counters', counterLines(theirs), counterLines(ours.counters));
    }
    this.#pageStates(step, ours, check);
    if (ours.pages.length > 0) this.#mapped = mappedFrames(ours);
    if (step.shadow_pages !== undefined) {
      this.#shadowPages = step.shadow_pages;
      this.#shadowPagesVary = !this.#compared('shadow_pages', step);
    }
    const seen = step.kvm_counters_delta !== undefined && !this.#unseen.has(step.i);
    if (seen && this.#recording.npt === 0 && this.#listsShadowPages) {
      if (this.#compared('shadow_pages', step) && !this.#shadowPagesVary) {
        check(
          2,
          'shadow pages',
          this.#shadowPages.map(objectText),
          ours.shadowPages.map(objectText),
        );
      }
    }
    return out;
  }

  #age(step: Step, ours: OurStep, check: Check): void {
    check(2, 'young', ageLines(step.age), ageLines(ours.age));
  }

  #events(step: Step, ours: OurStep, check: Check): void {
    if (!this.#compared('events', step)) return;
    const recorded = withoutRescans(step.op, step.events ?? [], eventText);
    const emulated = withoutRescans(step.op, ours.events, eventText);
    for (const level of [1, 2, 3] as const) {
      let theirs: readonly KvmEvent[] = recorded.filter((e) => eventLevel(e.t) === level);
      let mine: readonly KvmEvent[] = emulated.filter((e) => eventLevel(e.t) === level);
      theirs = withoutRepeats(theirs);
      mine = withoutRepeats(mine);
      if (level === 2) {
        const all = countEvents(theirs).flush_remote_tlbs ?? 0;
        theirs = withoutYields(withoutPauses(theirs, mine), mine, this.#recording.npt === 1);
        this.#yields = all - (countEvents(theirs).flush_remote_tlbs ?? 0);
      }
      const names = this.#names(ours, mine);
      if (level === 3) {
        const known = withoutStrangers(theirs, mine, names);
        theirs = known.recorded;
        mine = known.emulated;
      }
      const named = withFrames(mine, theirs, this.#pairs, names);
      check(level, 'events', theirs.map(eventText), named.map(eventText));
    }
  }

  /** What is known of frames in a step: one is in use while it backs a page or something happens to it. */
  #names(ours: OurStep, events: readonly KvmEvent[]): FrameNames {
    const live = new Set([...this.#mapped, ...mappedFrames(ours)]);
    for (const { pfn } of events) if (typeof pfn === 'string') live.add(pfn);
    const pairs = this.#pairs;
    return {
      boundTo: (name) => pairs.boundTo(name),
      isLive: (recorded) => recorded === 'zero' || live.has(pairs.latest(recorded) ?? ''),
      isKnown: (name) => this.#known.has(name),
    };
  }

  /** Frames that back the same page on both sides after a step are the same. */
  #pairMapped(step: Step, ours: OurStep): void {
    if (step.pages_initial === undefined && step.pages_changed === undefined) return;
    ours.pages.forEach((mine, i) => {
      const theirs = this.#pages[i];
      const name = mine.host.pfn;
      const recorded = theirs?.host.pfn;
      if (typeof name !== 'string' || typeof recorded !== 'string') return;
      if (this.#pairs.boundTo(name) === undefined) this.#pairs.rebind(name, recorded);
    });
  }

  /**
   * Our counts of a quiet step. Of pages that go through the lists the recorder shows only those whose frame it
   * knows. A frame that is the driver's at the time may be one of them or not, by what it is used for later: so
   * many events as that leaves open are taken as recorded.
   */
  counts(step: Step, ours: OurStep): Record<string, number> {
    const isKnown = ({ pfn }: KvmEvent): boolean => this.#known.has(String(pfn));
    const isNumbered = ({ pfn }: KvmEvent): boolean =>
      this.#knownNumbers.has(numberOf(String(pfn)));
    const events = withTheirPages(ours.events);
    const counts = countEvents(events.filter((event) => !isListed(event) || isNumbered(event)));
    const surely = countEvents(events.filter((event) => isListed(event) && isKnown(event)));
    const atMost = countEvents(events.filter(isListed));
    for (const [key, most] of Object.entries(atMost)) {
      const recorded = step.event_counts?.[key] ?? 0;
      if (recorded >= (surely[key] ?? 0) && recorded <= most) counts[key] = recorded;
      if (counts[key] === 0) delete counts[key];
    }
    return counts;
  }

  /** Quiet steps: counts by kind of event. */
  #counts(step: Step, ours: OurStep, check: Check): void {
    if (step.event_counts === undefined || !this.#compared('event_counts', step)) return;
    const mine = this.counts(step, ours);
    for (const level of [1, 2, 3] as const) {
      const lines = (counts: Readonly<Record<string, number>>): string[] =>
        Object.entries(counts)
          .filter(([key]) => eventLevel((key.split(':') as [string])[0]) === level)
          .map(([key, n]) => `${key} ${n}`)
          .toSorted();
      check(level, 'event counts', lines(step.event_counts), lines(mine));
    }
    if (step.seq === undefined || !this.#compared('seq', step)) return;
    const recorded = step.seq.split(' ');
    check(3, 'sequence', recorded, this.#sequence(recorded, ours.events));
  }

  /** Our sequence, without what was found of pages that the recorder may not know, if that agrees. */
  #sequence(recorded: readonly string[], events: readonly KvmEvent[]): string[] {
    const known = ({ pfn }: KvmEvent): boolean => this.#known.has(String(pfn));
    const numbered = ({ pfn }: KvmEvent): boolean => this.#knownNumbers.has(numberOf(String(pfn)));
    for (const shown of [known, numbered]) {
      const part = withTheirPages(events).filter((event) => !isListed(event) || shown(event));
      if (sameLines(recorded, sequence(part))) return sequence(part);
    }
    return sequence(events);
  }

  /** Takes the recorded page states of a step over. */
  #follow(step: Step): void {
    // A long list is cut to its first and last page: what others list inside it is theirs.
    const groups = [...(step.pages_initial ?? [])].toSorted((a, b) => cutFirst(a) - cutFirst(b));
    for (const group of groups) {
      const { pages, ...state } = group;
      const list = pages as readonly (number | string)[];
      const ends = list.filter((p) => typeof p === 'number');
      const numbers =
        list[1] === '..'
          ? Array.from(
              { length: (ends[1] as number) - (ends[0] as number) + 1 },
              (_, i) => (ends[0] as number) + i,
            )
          : ends;
      for (const i of numbers) this.#pages[i] = state as unknown as PageState;
    }
    const varies = !this.#compared('pages_changed', step);
    for (const [i, state] of Object.entries(step.pages_changed ?? {})) {
      this.#pages[Number(i)] = state;
      if (varies) this.#vary.add(Number(i));
      else this.#vary.delete(Number(i));
    }
  }

  #pageStates(step: Step, ours: OurStep, check: Check): void {
    if (step.pages_initial === undefined && step.pages_changed === undefined) return;
    if (!this.#compared('pages_changed', step)) return;
    const lines: Record<Level, [string[], string[]]> = { 1: [[], []], 2: [[], []], 3: [[], []] };
    const put = (level: Level, i: number, a: string, b: string): void => {
      if (a === b) return;
      lines[level][0].push(`page ${i}: ${a}`);
      lines[level][1].push(`page ${i}: ${b}`);
    };
    this.#pages.forEach((theirs, i) => {
      const mine = ours.pages[i];
      if (mine === undefined || this.#vary.has(i)) return;
      put(1, i, `gpte ${theirs.gpte}`, `gpte ${mine.gpte}`);
      put(2, i, objectText(theirs.shadow), objectText(this.#named(mine.shadow, theirs.shadow)));
      const named = this.#named(this.#zeroBits.aligned(mine.host, theirs.host), theirs.host);
      put(3, i, objectText(theirs.host), objectText(named));
      const name = mine.host.pfn;
      const recorded = theirs.host.pfn;
      if (typeof name === 'string' && typeof recorded === 'string')
        this.#pairs.rebind(name, recorded);
    });
    check(1, 'guest ptes', ...lines[1]);
    check(2, 'sptes', ...lines[2]);
    check(3, 'host pages', ...lines[3]);
  }

  #named(mine: JsonObject, theirs: JsonObject): JsonObject {
    if (typeof mine.pfn !== 'string') return mine;
    const other = typeof theirs.pfn === 'string' ? theirs.pfn : undefined;
    return { ...mine, pfn: this.#pairs.recorded(mine.pfn, other) };
  }
}
