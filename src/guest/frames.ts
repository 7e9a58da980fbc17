// The guest kernel's page allocator: one zone of consecutive gfns, first fresh ones in order, then
// freed ones, last freed first. One word a frame lies in linear memory: a count of users while the
// frame is in use (mappings of a data page, present entries of a table page), the link of the free
// list while it is free.

import type { Core } from '../core/load.ts';

/** What `alloc` returns when the zone is exhausted. */
export const NO_GFN = 0xffffffff;

/** The small part of an allocator's state, for snapshots. */
export interface GuestFramesRecord {
  readonly fresh: number;
  readonly free: number;
  readonly inUse: number;
}

/** A zone of guest frames. */
export class GuestFrames {
  readonly base: number;
  readonly count: number;
  readonly #core: Core;
  /** Word index of the first frame's word. */
  readonly #words: number;
  #fresh = 0;
  /** First free frame + 1; 0: none. */
  #free = 0;
  #inUse = 0;

  constructor(core: Core, base: number, count: number) {
    this.#core = core;
    this.base = base;
    this.count = count;
    this.#words = (core.x.arenaAlloc(count * 4) >>> 0) >>> 2;
  }

  /** Frames in use. */
  get inUse(): number {
    return this.#inUse;
  }

  /** A frame with a count of 0, or NO_GFN. */
  alloc(): number {
    let index: number;
    if (this.#free !== 0) {
      index = this.#free - 1;
      this.#free = this.#core.mem.u32[this.#words + index] as number;
      this.#core.mem.u32[this.#words + index] = 0;
    } else {
      if (this.#fresh === this.count) return NO_GFN;
      index = this.#fresh++;
    }
    this.#inUse++;
    return this.base + index;
  }

  /** Gives a frame back. */
  free(gfn: number): void {
    const index = gfn - this.base;
    this.#core.mem.u32[this.#words + index] = this.#free;
    this.#free = index + 1;
    this.#inUse--;
  }

  /** Users of a frame. */
  users(gfn: number): number {
    return this.#core.mem.u32[this.#words + gfn - this.base] as number;
  }

  /** Adds to the users of a frame and returns how many there are now. */
  addUsers(gfn: number, by: number): number {
    const u32 = this.#core.mem.u32;
    const at = this.#words + gfn - this.base;
    return (u32[at] = (u32[at] as number) + by);
  }

  /** The part of the state outside linear memory. */
  save(): GuestFramesRecord {
    return { fresh: this.#fresh, free: this.#free, inUse: this.#inUse };
  }

  /** Goes back to a saved state. */
  restore(record: GuestFramesRecord): void {
    this.#fresh = record.fresh;
    this.#free = record.free;
    this.#inUse = record.inUse;
  }
}
