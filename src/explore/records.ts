// Host records: the small irregular part of a machine's state (vma lists, notifier lists, counts)
// that lives in JavaScript objects. A record lists its fields in `stateFields`; protocols replace
// what a field holds and never change it in place, so saving a record is saving its fields' values.
// Values are interned by structure, so that two lists of the same things are one value.

import { RECORD_CELL } from './cells.ts';
import type { Journal } from './cells.ts';

/** An object that is part of an explored machine's state. */
export interface StateObject {
  /** Names of the fields that protocols assign. */
  readonly stateFields: readonly string[];
}

type Fields = Record<string, unknown>;

/** Interned ids of small integers are the integers themselves; others start here. */
const FIRST_ID = 0x20000000;

/** The fields of a machine's records, as cells with interned values. */
export class Records {
  readonly #objects: Fields[] = [];
  readonly #names: string[] = [];
  readonly #labels: string[] = [];
  /** The value that each cell holds, and its interned id. */
  readonly #values: unknown[] = [];
  readonly ids: Int32Array;
  readonly #byId: unknown[] = [];
  readonly #byKey = new Map<string, number>();
  readonly #byIdentity = new Map<unknown, number>();
  readonly #state = new Set<unknown>();

  constructor(objects: readonly StateObject[]) {
    for (const object of objects) {
      if (this.#state.has(object)) continue;
      this.#state.add(object);
      const fields = object as unknown as Fields;
      for (const name of object.stateFields) {
        if (!(name in object)) throw new Error(`${object.constructor.name} has no field ${name}`);
        this.#objects.push(fields);
        this.#names.push(name);
        this.#labels.push(`${object.constructor.name}.${name}`);
      }
    }
    this.ids = new Int32Array(this.#objects.length);
    for (let i = 0; i < this.ids.length; i++) {
      const value = (this.#objects[i] as Fields)[this.#names[i] as string];
      this.#values.push(value);
      this.ids[i] = this.intern(value);
    }
  }

  get count(): number {
    return this.ids.length;
  }

  label(cell: number): string {
    return this.#labels[cell] as string;
  }

  /** Appends the fields that changed since the last call or assignment; true if any did. */
  collect(journal: Journal): boolean {
    let any = false;
    const values = this.#values;
    for (let i = 0; i < values.length; i++) {
      const value = (this.#objects[i] as Fields)[this.#names[i] as string];
      if (value === values[i]) continue;
      const old = this.ids[i] as number;
      const now = this.intern(value);
      values[i] = value;
      if (now === old) continue;
      this.ids[i] = now;
      journal.change(RECORD_CELL + i, old, now);
      any = true;
    }
    return any;
  }

  /** Puts an interned value back into a field. */
  assign(cell: number, id: number): void {
    const value = id < FIRST_ID && id > -FIRST_ID ? id : this.#byId[id - FIRST_ID];
    this.ids[cell] = id;
    this.#values[cell] = value;
    (this.#objects[cell] as Fields)[this.#names[cell] as string] = value;
  }

  /** A field whose value was changed in place since it was interned, or null. */
  corrupted(): string | null {
    for (let i = 0; i < this.ids.length; i++) {
      if (this.intern(this.#values[i]) !== this.ids[i]) return this.#labels[i] as string;
    }
    return null;
  }

  /** Interned id of a value. */
  intern(value: unknown): number {
    if (typeof value === 'number' && Number.isInteger(value) && Math.abs(value) < FIRST_ID) {
      return Object.is(value, -0) ? 0 : value;
    }
    const key = this.#key(value, 0);
    let id = this.#byKey.get(key);
    if (id === undefined) {
      id = FIRST_ID + this.#byId.length;
      this.#byId.push(value);
      this.#byKey.set(key, id);
    }
    return id;
  }

  #key(value: unknown, depth: number): string {
    if (value === null || (typeof value !== 'object' && typeof value !== 'function')) {
      return `${typeof value}:${String(value)}`;
    }
    if (Array.isArray(value)) {
      return `[${value.map((item: unknown) => this.#key(item, depth + 1)).join(',')}]`;
    }
    if (this.#state.has(value) || typeof value === 'function' || depth > 6) {
      return `#${this.#identity(value)}`;
    }
    if (ArrayBuffer.isView(value) || value instanceof Map || value instanceof Set) {
      return `#${this.#identity(value)}`;
    }
    const fields = value as Fields;
    const names = Object.keys(fields);
    const made = Object.getPrototypeOf(value) as object | null;
    const plain = made === Object.prototype || made === null;
    // What an object of a class keeps in private fields cannot be compared.
    if (!plain && names.length === 0) return `#${this.#identity(value)}`;
    const parts = names.map((name) => `${name}=${this.#key(fields[name], depth + 1)}`);
    return `${plain ? '' : this.#identity(made)}{${parts.join(',')}}`;
  }

  #identity(value: unknown): number {
    let id = this.#byIdentity.get(value);
    if (id === undefined) {
      id = this.#byIdentity.size;
      this.#byIdentity.set(value, id);
    }
    return id;
  }
}
