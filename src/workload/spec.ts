// `NAME[:k=v,…]`: names with typed parameters, as --workload takes them.

import { PAGE_SIZE } from '../../assembly/abi.ts';
import { UsageError } from '../core/errors.ts';

/** How a parameter is written. */
export type ParameterKind =
  /** A number of pages, or a size such as 64MiB. */
  | 'pages'
  /** A whole number; k, M and G are thousands. */
  | 'count'
  /** A share: 0.9 or 90%. */
  | 'share'
  /** Any number. */
  | 'real';

/** One parameter. */
export interface ParameterDeclaration {
  readonly kind: ParameterKind;
  readonly default: number;
  readonly min: number;
  readonly max: number;
  /** What it means. */
  readonly meaning: string;
}

/** Parameters of one name. */
export type ParameterDeclarations = Readonly<Record<string, ParameterDeclaration>>;

const SIZES: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
const THOUSANDS: Readonly<Record<string, number>> = { '': 1, k: 1e3, M: 1e6, G: 1e9 };

const WANTED: Record<ParameterKind, string> = {
  pages: 'a number of pages or a size such as 64MiB',
  count: 'a whole number such as 5000000 or 5M',
  share: 'a share such as 0.9 or 90%',
  real: 'a number',
};

function parseValue(kind: ParameterKind, text: string): number | undefined {
  const plain = text.replaceAll('_', '');
  if (kind === 'share') {
    const match = /^(\d+(?:\.\d+)?|\.\d+)(%?)$/.exec(plain);
    return match ? Number(match[1]) / (match[2] ? 100 : 1) : undefined;
  }
  if (kind === 'real') return /^\d+(\.\d+)?$/.test(plain) ? Number(plain) : undefined;
  const match = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/.exec(plain);
  if (!match) return undefined;
  const unit = match[2] as string;
  const size = kind === 'pages' ? SIZES[unit] : undefined;
  const scale = size === undefined ? THOUSANDS[unit] : size / PAGE_SIZE;
  if (scale === undefined) return undefined;
  const value = Number(match[1]) * scale;
  return Number.isInteger(value) ? value : undefined;
}

/** Edits from one word to another (Levenshtein). */
function distance(a: string, b: string): number {
  let row = [...Array(b.length + 1).keys()];
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, change));
    }
    row = next;
  }
  return row[b.length] as number;
}

/** The one of `words` that is nearest to `word`, as a question; '' when none is near. */
export function didYouMean(word: string, words: readonly string[]): string {
  const ranked = words
    .map((w) => ({ w, d: w.startsWith(word) ? 0 : distance(word, w) }))
    .toSorted((a, b) => a.d - b.d);
  const best = ranked[0];
  return best && best.d <= Math.ceil(word.length / 3) ? `; did you mean ${best.w}?` : '';
}

/** The name and the raw parameters of a spec. */
export interface Spec {
  readonly name: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** Splits `NAME[:k=v,…]`. */
export function splitSpec(text: string): Spec {
  const colon = text.indexOf(':');
  const name = colon < 0 ? text : text.slice(0, colon);
  const parameters = new Map<string, string>();
  for (const item of colon < 0 ? [] : text.slice(colon + 1).split(',')) {
    const equals = item.indexOf('=');
    const key = item.slice(0, equals).trim();
    if (equals < 1 || key === '') {
      throw new UsageError(`workload ${text}: expected key=value, found ${JSON.stringify(item)}`);
    }
    if (parameters.has(key)) throw new UsageError(`workload ${text}: ${key} is given twice`);
    parameters.set(key, item.slice(equals + 1).trim());
  }
  return { name, parameters };
}

/** Values of all parameters of a spec. */
export function parameterValues<D extends ParameterDeclarations>(
  spec: Spec,
  declarations: D,
): Record<keyof D & string, number> {
  const names = Object.keys(declarations);
  const where = `workload ${spec.name}`;
  for (const key of spec.parameters.keys()) {
    if (Object.hasOwn(declarations, key)) continue;
    const hint = didYouMean(key, names) || `; it takes ${names.join(', ')}`;
    throw new UsageError(`${where}: unknown parameter ${JSON.stringify(key)}${hint}`);
  }
  const values: Record<string, number> = {};
  for (const name of names) {
    const declaration = declarations[name] as ParameterDeclaration;
    const text = spec.parameters.get(name);
    const value = text === undefined ? declaration.default : parseValue(declaration.kind, text);
    if (value === undefined) {
      throw new UsageError(`${where}: ${name}=${text}: expected ${WANTED[declaration.kind]}`);
    }
    if (value < declaration.min || value > declaration.max) {
      const { min, max } = declaration;
      throw new UsageError(`${where}: ${name}=${text ?? value}: must be from ${min} to ${max}`);
    }
    values[name] = value;
  }
  return values;
}
