// Local states: everything of an actor that no other can see (program counters, locals, what it waits
// for), as one number. Steps of an actor from one local state differ only in the shared cells that
// they find.

import { isFinished } from './system.ts';
import type { System } from './system.ts';

/** The local states of every actor that a search has seen. */
export class Locals {
  readonly #system: System;
  /** Number of a local state, by its words, for each actor; 0 is the initial one. */
  readonly #numbers: readonly Map<string, number>[];
  readonly #words: readonly Int32Array[][];

  constructor(system: System) {
    this.#system = system;
    this.#numbers = system.actors.map(() => new Map<string, number>());
    this.#words = system.actors.map(() => []);
    for (let actor = 0; actor < system.actors.length; actor++) this.current(actor);
  }

  /** Number of the local state that an actor is in. */
  current(actor: number): number {
    const words = this.#system.local(actor);
    const numbers = this.#numbers[actor] as Map<string, number>;
    const key = words.join();
    let number = numbers.get(key);
    if (number === undefined) {
      number = numbers.size;
      numbers.set(key, number);
      (this.#words[actor] as Int32Array[]).push(words);
    }
    return number;
  }

  /** Puts an actor into a local state. */
  restore(actor: number, number: number): void {
    this.#system.setLocal(actor, (this.#words[actor] as Int32Array[])[number] as Int32Array);
  }

  /** True if the actor has ended in that local state. */
  finished(actor: number, number: number): boolean {
    return isFinished((this.#words[actor] as Int32Array[])[number] as Int32Array);
  }

  get bytes(): number {
    // Words and the key that holds them once more as digits.
    let total = 0;
    for (const list of this.#words) for (const words of list) total += words.byteLength * 2 + 100;
    return total;
  }
}
