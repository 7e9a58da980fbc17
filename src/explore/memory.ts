// The journal of linear memory: what the instrumented core logged during one step, without repeats.
// See scripts/explore-core.mjs for the log's layout.

import { CoreBugError } from '../core/errors.ts';
import type { Core } from '../core/load.ts';
import type { MemoryObserver } from '../core/memory.ts';
import type { Journal } from './cells.ts';

/** Bytes of each of the two logs. */
const LOG_BYTES = 1 << 20;
const HEADER = 16;
/** Bytes beyond those in use at first that are held against the initial state too. */
const HEADROOM = 1 << 20;

/** A range of linear memory that is no part of the state: [first word, end word). */
export interface WordRange {
  readonly first: number;
  readonly end: number;
}

/** Linear memory of one instrumented core; its globals are words of it too. */
export class TrackedMemory implements MemoryObserver {
  readonly core: Core;
  readonly #log: number;
  readonly #on: WebAssembly.Global;
  /** Words that are not state: the counters, the log itself. */
  #ignored: WordRange[];
  /** Step in which a word was last logged as read or written; as long as any word was. */
  #readAt = new Int32Array(0);
  #writtenAt = new Int32Array(0);
  #epoch = 0;
  /** Whether accesses are logged; the core's own switch is slow to read. */
  #logging = false;
  /** Linear memory in the initial state, as far as it is in use. */
  #image = new Uint32Array(0);

  constructor(core: Core, counterBytes: number) {
    this.core = core;
    const x = core.x as unknown as Record<string, WebAssembly.Global>;
    const on = x['explore_log'];
    if (on === undefined) throw new CoreBugError('the explorer needs loadCore("explore")');
    this.#on = on;
    this.#log = core.x.arenaAlloc(2 * LOG_BYTES) >>> 0;
    const counters = (core.x.statsPtr() >>> 0) >>> 2;
    this.#ignored = [
      { first: counters, end: counters + (counterBytes >>> 2) },
      { first: this.#log >>> 2, end: (this.#log + 2 * LOG_BYTES) >>> 2 },
    ];
  }

  /** Excludes a range of words from the state. */
  ignore(first: number, end: number): void {
    this.#ignored.push({ first, end });
  }

  /**
   * The first word that is part of the state and differs from the initial state, or -1: a store that
   * escaped the log.
   */
  escaped(): number {
    const { u32 } = this.core.mem;
    const image = this.#image;
    let word = 0;
    for (const { first, end } of this.#ignored.toSorted((a, b) => a.first - b.first)) {
      for (; word < Math.min(first, image.length); word++)
        if (u32[word] !== image[word]) return word;
      word = Math.max(word, end);
    }
    for (; word < image.length; word++) if (u32[word] !== image[word]) return word;
    return -1;
  }

  /** Starts logging. */
  start(): void {
    const u32 = this.core.mem.u32;
    const at = this.#log >>> 2;
    u32[at + 2] = this.#log + LOG_BYTES;
    u32[at + 3] = this.#log + 2 * LOG_BYTES;
    const used = ((this.core.x.memoryTop() >>> 0) + HEADROOM) >>> 2;
    this.#image = u32.slice(0, Math.min(used, u32.length));
    this.#on.value = this.#log;
    this.#logging = true;
    this.#fit(used);
    for (const { first, end } of this.#ignored) {
      this.#fit(end);
      this.#readAt.fill(0x7fffffff, first, end);
      this.#writtenAt.fill(0x7fffffff, first, end);
    }
    this.core.mem.observer = this;
    this.begin();
  }

  /** Stops logging. */
  stop(): void {
    this.#on.value = 0;
    this.#logging = false;
    this.core.mem.observer = null;
  }

  /** Empties the log before a step. */
  begin(): void {
    const u32 = this.core.mem.u32;
    const at = this.#log >>> 2;
    u32[at] = this.#log + HEADER;
    u32[at + 1] = this.#log + LOG_BYTES;
    this.#epoch++;
  }

  /** Appends what the step did to the journal. */
  collect(journal: Journal): void {
    const u32 = this.core.mem.u32;
    const epoch = this.#epoch;
    const base = this.#log >>> 2;
    const readEnd = (u32[base] as number) >>> 2;
    const writeEnd = (u32[base + 1] as number) >>> 2;
    const limit = (this.#log + LOG_BYTES) >>> 2;
    if (readEnd >= limit || writeEnd >= limit + (LOG_BYTES >>> 2)) {
      throw new CoreBugError('one step of an actor overflowed the access log');
    }
    for (let i = limit; i < writeEnd; i += 2) {
      const word = u32[i] as number;
      if (word >= this.#writtenAt.length) this.#fit(word + 1);
      if ((this.#writtenAt[word] as number) >= epoch) continue;
      this.#writtenAt[word] = epoch;
      const old = (u32[i + 1] as number) | 0;
      const now = (u32[word] as number) | 0;
      journal.writes.push(word);
      if (old !== now) journal.change(word, old, now);
    }
    for (let i = base + HEADER / 4; i < readEnd; i++) {
      const word = u32[i] as number;
      if (word >= this.#readAt.length) this.#fit(word + 1);
      if ((this.#readAt[word] as number) >= epoch) continue;
      this.#readAt[word] = epoch;
      journal.reads.push(word);
    }
  }

  /** MemoryObserver: appends an access of the host to the log that the core writes. */
  read(word: number): void {
    if (!this.#logging) return;
    const u32 = this.core.mem.u32;
    const top = u32[this.#log >>> 2] as number;
    u32[top >>> 2] = word;
    u32[this.#log >>> 2] = top + 4;
  }

  write(word: number): void {
    if (!this.#logging) return;
    const u32 = this.core.mem.u32;
    const top = u32[(this.#log >>> 2) + 1] as number;
    u32[top >>> 2] = word;
    u32[(top >>> 2) + 1] = u32[word] as number;
    u32[(this.#log >>> 2) + 1] = top + 8;
  }

  #fit(words: number): void {
    if (this.#readAt.length >= words) return;
    const length = Math.max(words, this.#readAt.length * 2);
    const grow = (old: Int32Array): Int32Array<ArrayBuffer> => {
      const next = new Int32Array(length);
      next.set(old);
      return next;
    };
    this.#readAt = grow(this.#readAt) as Int32Array<ArrayBuffer>;
    this.#writtenAt = grow(this.#writtenAt) as Int32Array<ArrayBuffer>;
  }
}
