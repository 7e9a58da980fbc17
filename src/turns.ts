// Whose turn it is: one stream of references is dealt to the vCPUs in slices of seeded length, as one
// program's threads that take turns.

import { Random } from './random.ts';

/** Mean length of a turn, in references. */
const SLICE = 500;

/** State of the turns, for snapshots. */
export interface TurnsRecord {
  readonly random: readonly number[];
  readonly vcpu: number;
  readonly left: number;
}

/** The turns of a machine's vCPUs. */
export class Turns {
  readonly #vcpus: number;
  readonly #random: Random;
  /** vCPU whose turn it is. */
  vcpu = 0;
  /** References left of its turn. */
  #left = 0;

  constructor(vcpus: number, seed: number) {
    this.#vcpus = vcpus;
    this.#random = new Random(seed);
  }

  /** How many of the next `count` references `vcpu` makes now. */
  take(count: number): number {
    if (this.#vcpus === 1) return count;
    if (this.#left === 0) {
      this.vcpu = this.#random.below(this.#vcpus);
      this.#left = 1 + this.#random.below(2 * SLICE - 1);
    }
    const n = Math.min(count, this.#left);
    this.#left -= n;
    return n;
  }

  /** The state. */
  save(): TurnsRecord {
    return { random: this.#random.save(), vcpu: this.vcpu, left: this.#left };
  }

  /** Goes back to a saved state. */
  restore(record: TurnsRecord): void {
    this.#random.restore(record.random);
    this.vcpu = record.vcpu;
    this.#left = record.left;
  }
}
