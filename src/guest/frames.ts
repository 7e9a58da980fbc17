// The guest kernel's page allocator: one zone of consecutive gfns, first fresh ones in order, then
// freed ones, last freed first. In linear memory lie a count of users of each frame (mappings of a data
// page, present entries of a table page) and the stack of freed frames, in pages that are chained by
// their first word and made as it grows.

import { NO_GFN } from '../../assembly/abi.ts';
import { CoreBugError } from '../core/errors.ts';
import type { Core } from '../core/load.ts';

/** Freed frames that a page of the stack holds, behind its link. */
const STACK_PAGE = 1023;
const MAX_USERS = 0xffff;

/** The small part of an allocator's state, for snapshots. */
export interface GuestFramesRecord {
  readonly fresh: number;
  readonly stack: number;
  readonly depth: number;
  readonly inUse: number;
}

/** A zone of guest frames. */
export class GuestFrames {
  readonly base: number;
  readonly count: number;
  readonly #core: Core;
  /** Index of the first frame's count among the half words of linear memory. */
  readonly #users: number;
  #fresh = 0;
  /** Page on top of the stack of freed frames, and how many it holds; 0: the stack is empty. */
  #stack = 0;
  #depth = 0;
  #inUse = 0;

  constructor(core: Core, base: number, count: number) {
    this.#core = core;
    this.base = base;
    this.count = count;
    this.#users = (core.x.arenaAlloc(count * 2) >>> 0) >>> 1;
  }

  /** Frames in use. */
  get inUse(): number {
    return this.#inUse;
  }

  /** A frame with a count of 0, or NO_GFN. */
  alloc(): number {
    let index: number;
    if (this.#stack !== 0) index = this.#pop();
    else {
      if (this.#fresh === this.count) return NO_GFN;
      index = this.#fresh++;
    }
    this.#inUse++;
    return this.base + index;
  }

  /** Gives a frame back. */
  free(gfn: number): void {
    const index = gfn - this.base;
    this.#core.mem.u16[this.#users + index] = 0;
    this.#push(index);
    this.#inUse--;
  }

  #push(index: number): void {
    if (this.#stack === 0 || this.#depth === STACK_PAGE) {
      const page = this.#core.x.pageAlloc() >>> 0;
      this.#core.mem.u32[page >>> 2] = this.#stack;
      this.#stack = page;
      this.#depth = 0;
    }
    this.#depth++;
    this.#core.mem.u32[(this.#stack >>> 2) + this.#depth] = index;
  }

  #pop(): number {
    const { x, mem } = this.#core;
    const index = mem.u32[(this.#stack >>> 2) + this.#depth] as number;
    if (--this.#depth === 0) {
      const below = mem.u32[this.#stack >>> 2] as number;
      x.pageFree(this.#stack);
      this.#stack = below;
      this.#depth = below === 0 ? 0 : STACK_PAGE;
    }
    return index;
  }

  /** Users of a frame. */
  users(gfn: number): number {
    return this.#core.mem.u16[this.#users + gfn - this.base] as number;
  }

  /** Adds to the users of a frame and returns how many there are now. */
  addUsers(gfn: number, by: number): number {
    const users = this.users(gfn) + by;
    if (users < 0 || users > MAX_USERS) throw new CoreBugError(`frame ${gfn} has ${users} users`);
    this.#core.mem.u16[this.#users + gfn - this.base] = users;
    return users;
  }

  /** The part of the state outside linear memory. */
  save(): GuestFramesRecord {
    return {
      fresh: this.#fresh,
      stack: this.#stack,
      depth: this.#depth,
      inUse: this.#inUse,
    };
  }

  /** Goes back to a saved state. */
  restore(record: GuestFramesRecord): void {
    this.#fresh = record.fresh;
    this.#stack = record.stack;
    this.#depth = record.depth;
    this.#inUse = record.inUse;
  }
}
