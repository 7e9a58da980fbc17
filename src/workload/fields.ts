// Reads the fields of parsed JSON and says precisely which one is wrong.

import { DataError } from '../core/errors.ts';
import { didYouMean } from './spec.ts';

/** A JSON value in words, short. */
function found(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

/** One JSON object. Every read notes its key; done() refuses the others. */
export class Fields {
  /** Where the object stands: `file: steps[2]`. */
  readonly where: string;
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #read = new Set<string>();

  constructor(where: string, value: unknown) {
    this.where = where;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new DataError(`${where}: expected an object, found ${found(value)}`);
    }
    this.#object = value as Record<string, unknown>;
  }

  /** Keys that are there. */
  get keys(): readonly string[] {
    return Object.keys(this.#object);
  }

  has(key: string): boolean {
    return this.#object[key] !== undefined;
  }

  /** The error of a field. */
  wrong(key: string, expected: string): DataError {
    const value = found(this.#object[key]);
    return new DataError(`${this.#path(key)}: expected ${expected}, found ${value}`);
  }

  raw(key: string): unknown {
    this.#read.add(key);
    return this.#object[key];
  }

  text(key: string, otherwise?: string): string {
    const value = this.raw(key);
    if (value === undefined && otherwise !== undefined) return otherwise;
    if (typeof value !== 'string' || value === '') throw this.wrong(key, 'a text');
    return value;
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.raw(key) ?? otherwise;
    if (typeof value !== 'boolean') throw this.wrong(key, 'true or false');
    return value;
  }

  /** A whole number, or one in hexadecimal as a text (`"0x7f000"`). */
  whole(key: string, min: number, max: number, otherwise?: number): number {
    const value = this.raw(key) ?? otherwise;
    const hex = typeof value === 'string' && /^0x[0-9a-f]{1,13}$/i.test(value);
    const number = hex ? Number(value) : value;
    if (typeof number === 'number' && Number.isInteger(number) && number >= min && number <= max) {
      return number;
    }
    throw this.wrong(key, `a whole number from ${min} to ${max}`);
  }

  /** One of some texts. */
  choice<T extends string>(key: string, choices: readonly T[], otherwise?: T): T {
    const value = this.raw(key) ?? otherwise;
    const hit = choices.find((choice) => choice === value);
    if (hit !== undefined) return hit;
    const hint = typeof value === 'string' ? didYouMean(value, choices) : '';
    throw this.wrong(key, `one of ${choices.join(', ')}${hint ? ` (${hint.slice(2)})` : ''}`);
  }

  list(key: string): readonly unknown[] {
    const value = this.raw(key);
    if (!Array.isArray(value)) throw this.wrong(key, 'a list');
    return value as unknown[];
  }

  /** A field that is an object. */
  object(key: string): Fields {
    return new Fields(this.#path(key), this.raw(key));
  }

  /** Refuses keys that nothing read. */
  done(): void {
    for (const key of this.keys) {
      if (this.#read.has(key)) continue;
      const known = [...this.#read];
      const hint = didYouMean(key, known) || `; known here are ${known.join(', ')}`;
      throw new DataError(`${this.where}: unknown field ${JSON.stringify(key)}${hint}`);
    }
  }

  #path(key: string): string {
    return this.where.includes(': ') ? `${this.where}.${key}` : `${this.where}: ${key}`;
  }
}

const BLANKS = /[ \t\n\r]*/y;
const SCALAR =
  /"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** Finds where a text stops being JSON; the engines' messages do not always say. */
class JsonScanner {
  readonly #text: string;
  /** How far the text is JSON. */
  at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Scans a value; what was expected where it fails, or undefined. */
  value(): string | undefined {
    this.#blanks();
    const c = this.#text[this.at];
    if (c === '{') return this.#group('}', () => this.#member());
    if (c === '[') return this.#group(']', () => this.value());
    SCALAR.lastIndex = this.at;
    if (!SCALAR.test(this.#text)) return 'a value';
    this.at = SCALAR.lastIndex;
    return undefined;
  }

  /** True if only blanks are left. */
  atEnd(): boolean {
    this.#blanks();
    return this.at === this.#text.length;
  }

  #blanks(): void {
    BLANKS.lastIndex = this.at;
    BLANKS.test(this.#text);
    this.at = BLANKS.lastIndex;
  }

  #takes(c: string): boolean {
    this.#blanks();
    if (this.#text[this.at] !== c) return false;
    this.at++;
    return true;
  }

  #member(): string | undefined {
    this.#blanks();
    if (this.#text[this.at] !== '"') return 'a field name in quotes';
    return this.value() ?? (this.#takes(':') ? this.value() : 'a colon');
  }

  #group(close: string, item: () => string | undefined): string | undefined {
    this.at++;
    if (this.#takes(close)) return undefined;
    do {
      const wrong = item();
      if (wrong) return wrong;
    } while (this.#takes(','));
    return this.#takes(close) ? undefined : `a comma or ${close}`;
  }
}

/** Parses JSON; an error names line and column. */
export function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const scanner = new JsonScanner(text);
    const expected = scanner.value() ?? (scanner.atEnd() ? 'less nesting' : 'the end');
    const before = text.slice(0, scanner.at).split('\n');
    const column = (before.at(-1) as string).length + 1;
    throw new DataError(
      `${name}: line ${before.length}, column ${column}: not JSON: expected ${expected}`,
    );
  }
}
