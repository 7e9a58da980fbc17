// The guest's memory as the VMM maps it, and the guest kernel's own access to it through its direct map,
// which no guest table is asked for.

import { FOLL_TOUCH, FOLL_WRITE } from '../assembly/abi.ts';
import { ERRNO, KvmError } from './core/errors.ts';
import type { Core } from './core/load.ts';
import type { Mm } from './mm/mm.ts';

/** hvn of gfn 0 of the VMM's mappings: 4 GiB into its address space. */
const HVN_BASE = 0x100000;

/** hvn that backs a gfn of the guest. */
export function hvnOfGfn(gfn: number): number {
  return HVN_BASE + gfn;
}

/** gfn that an hvn of the VMM backs. */
export function gfnOfHvn(hvn: number): number {
  return hvn - HVN_BASE;
}

/** The guest kernel's direct map. */
export class GuestPages {
  readonly #core: Core;
  readonly #mm: Mm;
  readonly #verify: boolean;

  constructor(core: Core, mm: Mm, verify: boolean) {
    this.#core = core;
    this.#mm = mm;
    this.#verify = verify;
  }

  /** The guest kernel copies a page through its direct map. */
  copy(from: number, to: number): void {
    const { x } = this.#core;
    const source = this.#pin(from, false);
    try {
      const target = this.#pin(to, true);
      x.frameSetContent(target, x.contentCopy(x.frameContent(source) >>> 0) >>> 0);
      this.#wrote(to, target, this.#verify ? x.verifyGet(from) >>> 0 : 0);
    } finally {
      x.putPage(source);
    }
    x.lockstepTouch(from, 0);
    x.lockstepTouch(to, 1);
  }

  /** The guest kernel clears a page through its direct map. */
  clear(gfn: number): void {
    const pfn = this.#pin(gfn, true);
    this.#core.x.frameSetContent(pfn, 0);
    this.#wrote(gfn, pfn, 0);
  }

  /** A pinned page has new content: it is dirty, for the host and in the dirty log. */
  #wrote(gfn: number, pfn: number, holds: number): void {
    const { x } = this.#core;
    x.guestPageWritten(gfn);
    x.putPage(pfn);
    if (this.#verify) x.verifySet(gfn, holds);
  }

  /** pfn behind a gfn, with a reference held, as the host's own access would get it. */
  #pin(gfn: number, write: boolean): number {
    const mm = this.#mm;
    const flags = FOLL_TOUCH | (write ? FOLL_WRITE : 0);
    const pfn = mm.run((t, at) => mm.getUserPages(t, at), hvnOfGfn(gfn), flags);
    if (pfn < 0) {
      const code = pfn === -ERRNO.ENOMEM ? 'ENOMEM' : 'EFAULT';
      throw new KvmError(code, `no host page for guest page ${gfn}`);
    }
    return pfn;
  }
}
