// A machine with memory for all of a guest whose pages were all written once, in order.
import { type Vm, createVm } from '../../src/machine.ts';
import type { VmOptions } from '../../src/vm-options.ts';

const BATCH = 32_768;
/** Pages whose records lie in linear memory at a time. */
const WINDOW = 65_536;

/** The machine and its records. */
export class Filled {
  readonly vm: Vm;
  readonly pages: number;
  readonly #records: number;

  constructor(pages: number, options: Partial<VmOptions> = {}) {
    this.vm = createVm({
      memoryPages: pages + 4096,
      guestPages: pages,
      // As many as a dense layout needs; the default serves any layout.
      tablePages: Math.ceil(pages / 256) + 64,
      swapPages: 65_536,
      protocol: 'v3',
      guestTables: 'resident',
      yardstick: false,
      prefetch: false,
      ...options,
    });
    this.pages = pages;
    this.#records = this.vm.core.x.arenaAlloc(Math.min(pages, WINDOW) * 8) >>> 0;
    this.#write(0, Math.min(pages, WINDOW));
    this.touch();
  }

  #write(first: number, count: number): void {
    const { u32 } = this.vm.core.mem;
    const at = this.#records >>> 2;
    for (let i = 0; i < count; i++) {
      const page = first + i;
      u32[at + 2 * i] = ((page << 12) | 1) >>> 0;
      u32[at + 2 * i + 1] = page >>> 20;
    }
  }

  /** Address of the record that writes a page of the first window. */
  record(page: number): number {
    return this.#records + page * 8;
  }

  /** Writes to every page, or to the first ones. */
  touch(pages = this.pages): void {
    const end = Math.min(pages, this.pages);
    for (let from = 0; from < end; from += WINDOW) {
      const count = Math.min(WINDOW, end - from);
      if (this.pages > WINDOW) this.#write(from, count);
      for (let i = 0; i < count; i += BATCH) {
        this.vm.runRecords(this.record(i), Math.min(BATCH, count - i));
      }
    }
  }

  /** First hvn of the data pages. */
  get hvn(): number {
    return this.vm.hvnOf(this.vm.data.base);
  }

  /** Linear memory in use. */
  get used(): number {
    return this.vm.core.x.memoryTop() >>> 0;
  }
}

/** Rounds of one thing, two of them not counted. */
export function repeat(rounds: number, once: () => number): number[] {
  once();
  once();
  return Array.from({ length: rounds }, once);
}
