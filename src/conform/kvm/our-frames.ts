// Names of our frames. A frame that is allocated again has a new name.

import type { Core } from '../../core/load.ts';
import { zeroName } from './zero-page.ts';

/** Names frames by number and by how often they were allocated. */
export class OurFrames {
  readonly #core: Core;
  readonly #generation = new Map<number, number>();

  constructor(core: Core) {
    this.#core = core;
  }

  /** A frame was allocated. */
  born(pfn: number): void {
    this.#generation.set(pfn, (this.#generation.get(pfn) ?? 0) + 1);
  }

  /** Our name of a frame: the comparison pairs it with the recording's. */
  name(pfn: number): string {
    if (pfn === 0 || this.isHugeZero(pfn)) return zeroName(pfn);
    return `#${pfn}.${this.#generation.get(pfn) ?? 0}`;
  }

  /** Whether a frame is part of the huge zero page. */
  isHugeZero(pfn: number): boolean {
    const head = this.#core.x.hugeZeroPage() >>> 0;
    return head !== 0 && this.#core.x.folioOf(pfn) === head;
  }
}
