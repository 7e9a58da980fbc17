// Compares one step of a recording with the same step on the emulator, level by level.
//
//   L1  what the guest and the VMM see: results, guest ptes with A and D, the dirty bitmap
//   L2  what KVM does: faults, injections, notifier calls, sptes, shadow pages, flushes, counters
//   L3  what the host mm does: faults, LRU and swap activity, page states
//
// A field of a step that a repeat of the recording did differently is not compared; nothing else is
// left out but events of frames that one side can't know (strangers.ts) and memory.stat, which the kernel flushes late.

import { parseScript } from './script.ts';
import { withoutStrangers, type FrameNames } from './strangers.ts';
import { withoutRepeats, withoutRescans, withoutYields } from './timing.ts';
import { ZeroBits } from './zero-page.ts';
import type { JsonObject, KvmEvent, PageState, Recording, Step } from './recording.ts';

/** Level of a comparison. */
export type Level = 1 | 2 | 3;
export const LEVELS: readonly Level[] = [1, 2, 3];

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

/** One disagreement: what was compared, and both sides in lines of words. */
export interface Difference {
  readonly level: Level;
  readonly what: string;
  readonly recorded: readonly string[];
  readonly emulated: readonly string[];
}

const L1_EVENTS = new Set(['guest_pte_set_A', 'guest_pte_set_D']);
const L3_EVENTS = new Set(
  (
    'host_fault host_fault_ret wp_page_copy folio_mark_accessed folio_activate folio_referenced ' +
    'folio_referenced_one folio_referenced_ret try_to_unmap_one swap_writepage swap_read ' +
    'vmscan_write workingset_eviction workingset_refault lru_insert lru_activate ' +
    'lru_gen_look_around vmscan_lru_isolate vmscan_lru_shrink_active ' +
    'vmscan_lru_shrink_inactive mm_collapse_huge_page mm_khugepaged_scan_pmd'
  ).split(' '),
);

/** Events of pages on their way through the lists, which the recorder shows for frames that it knows. */
const LIST_EVENTS = new Set(
  (
    'folio_mark_accessed folio_referenced folio_referenced_ret swap_writepage swap_read workingset_refault ' +
    'workingset_eviction folio_activate lru_insert lru_activate'
  ).split(' '),
);

/** Whether an event is of a page on its way through the lists. */
function isListed({ t, pfn }: KvmEvent): boolean {
  return LIST_EVENTS.has(t) && typeof pfn === 'string';
}

/** What folio_referenced() found, with the page that it looked at. */
function withTheirPages(events: readonly KvmEvent[]): KvmEvent[] {
  let looked: KvmEvent['pfn'];
  return events.map((event) => {
    if (event.t === 'folio_referenced') looked = event.pfn;
    return event.t === 'folio_referenced_ret'
      ? { ...event, ...(looked === undefined ? {} : { pfn: looked }) }
      : event;
  });
}

/** Level at which an event is compared. */
export function eventLevel(t: string): Level {
  return L1_EVENTS.has(t) ? 1 : L3_EVENTS.has(t) ? 3 : 2;
}

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

/** An event in words: name, then its arguments. */
export function eventText(event: KvmEvent): string {
  const parts: string[] = [event.t];
  for (const [key, value] of Object.entries(event)) {
    if (key === 't' || value === undefined) continue;
    if (key === 'by' && !event.t.startsWith('spte_')) continue;
    parts.push(`${key}=${Array.isArray(value) ? value.join(',') : scalarText(event.t, value)}`);
  }
  return parts.join(' ');
}

/** The raw spte of a split shows where the host's memory lies: only its flags are compared. */
function scalarText(t: string, value: unknown): string {
  const text = String(value);
  return t === 'split_huge_page' ? text.replace(/spte [0-9a-f]*(?=[0-9a-f]{3} )/, 'spte …') : text;
}

const FRAME_KEYS = ['pfn', 'ret'] as const;

/** Our events with the recording's frame names, paired in order with the recorded ones. */
function withFrames(
  ours: readonly KvmEvent[],
  recorded: readonly KvmEvent[],
  pairs: FramePairs,
): KvmEvent[] {
  return ours.map((event, i) => {
    let out = event;
    const twin = recorded[i];
    for (const key of FRAME_KEYS) {
      const name = event[key];
      if (typeof name !== 'string' || !(name.startsWith('#') || name === 'zero')) continue;
      const other = twin?.t === event.t ? twin[key] : undefined;
      out = { ...out, [key]: pairs.recorded(name, typeof other === 'string' ? other : undefined) };
    }
    return out;
  });
}

function objectText(object: JsonObject): string {
  return Object.entries(object)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => {
      if (typeof value !== 'object' || value === null) return `${key}=${String(value)}`;
      if (Array.isArray(value)) return `${key}=${value.join('+')}`;
      return `${key}={${objectText(value as JsonObject)}}`;
    })
    .join(' ');
}

/** Keys in one order, so that two objects compare as text. */
function sorted(object: JsonObject): JsonObject {
  const out: Record<string, JsonObject[string]> = {};
  for (const key of Object.keys(object).toSorted()) {
    const value = object[key];
    const nested = typeof value === 'object' && value !== null && !Array.isArray(value);
    out[key] = nested ? sorted(value as JsonObject) : value;
  }
  return out;
}

function sameLines(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, i) => line === b[i]);
}

/** Fields of a result that carry no fact: EFAULT's exit is a stale field of the run page. */
function resultText(result: JsonObject): string {
  const { exit, ...rest } = result;
  return objectText(sorted(rest.err === undefined && exit !== undefined ? result : rest));
}

function counterLines(counters: Readonly<Record<string, number>>): string[] {
  return Object.entries(counters)
    .filter(([, v]) => v !== 0)
    .map(([k, v]) => `${k} ${v > 0 ? '+' : ''}${v}`)
    .toSorted();
}

function ageLines(age: Step['age']): string[] {
  return Object.entries(age ?? {}).map(
    ([page, { host, kvm }]) => `page ${page}: host ${host} kvm ${kvm}`,
  );
}

function shadowPageText(sp: JsonObject): string {
  return objectText(sorted(sp));
}

/** Follows the recording's page states and compares each step. */
export class StepComparer {
  readonly #recording: Recording;
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

  constructor(recording: Recording, known: ReadonlySet<string>) {
    this.#recording = recording;
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
    if (seen && this.#recording.npt === 0) {
      if (this.#compared('shadow_pages', step) && !this.#shadowPagesVary) {
        check(
          2,
          'shadow pages',
          this.#shadowPages.map(shadowPageText),
          ours.shadowPages.map(shadowPageText),
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
      if (level === 2 && this.#recording.npt === 1) {
        const all = theirs.length;
        theirs = withoutYields(theirs, mine);
        this.#yields = all - theirs.length;
      }
      if (level === 3) {
        const known = withoutStrangers(theirs, mine, this.#names(ours, mine));
        theirs = known.recorded;
        mine = known.emulated;
      }
      const named = withFrames(mine, theirs, this.#pairs);
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
      put(
        2,
        i,
        objectText(sorted(theirs.shadow)),
        objectText(sorted(this.#named(mine.shadow, theirs.shadow))),
      );
      const named = this.#named(this.#zeroBits.aligned(mine.host, theirs.host), theirs.host);
      put(3, i, objectText(sorted(theirs.host)), objectText(sorted(named)));
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
function numberOf(name: string): string {
  return name.split('.')[0] as string;
}

/** Our names of the frames that back pages after a step. */
function mappedFrames(ours: OurStep): Set<string> {
  const names = new Set<string>();
  for (const { host } of ours.pages) if (typeof host.pfn === 'string') names.add(host.pfn);
  return names;
}

type Check = (level: Level, what: string, recorded: string[], emulated: string[]) => void;

function cutFirst(group: JsonObject): number {
  return (group.pages as readonly unknown[])[1] === '..' ? 0 : 1;
}

/** Tokens of a quiet step: page faults, major host faults, and what reclaim asked and did. */
function sequence(events: readonly KvmEvent[]): string[] {
  const out: string[] = [];
  for (const e of events) {
    if (e.t === 'kvm_page_fault') out.push(`F${String(e.page ?? e.addr)}`);
    else if (e.t === 'folio_referenced_one') out.push(`R${String(e.page ?? e.addr)}`);
    else if (e.t === 'try_to_unmap_one') out.push(`U${String(e.page ?? e.addr)}`);
    else if (e.t === 'folio_referenced_ret') out.push(`=${String(e.ret)}`);
    else if (e.t === 'host_fault_ret' && String(e.ret).includes('MAJOR')) {
      out.push(`M${String(e.page)}`);
    } else if (e.t === 'mn_clear_flush_young_ret') out.push(`y${String(e.ret)}`);
  }
  return out.length === 0 ? [''] : out;
}

/** Counts events as quiet steps of recordings do. */
export function countEvents(events: readonly KvmEvent[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const event of events) {
    const suffix =
      event.t.endsWith('_ret') && event.t !== 'hva_to_pfn_ret' ? `:${String(event.ret)}` : '';
    const key = event.t + suffix;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}
