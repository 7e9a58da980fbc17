// Random scripts in the language of the recording rig: guest operations and all host operations whose
// outcome a script determines. A script may be run on the emulator and on real KVM.

import {
  FAMILIES,
  type Choice,
  type Draws,
  type Family,
  type ScriptState,
} from './generate-families.ts';

const FLAGS = ['pwu', 'pwu', 'pwua', 'pwuad', 'pu', 'pw', 'pua', '-', 'pwun', 'pwuR'];
const TABLES_FLAGS = ['pwua', 'pwua', 'pwu', 'pua', 'pw', 'pwun', '-'];
/** gpa of A_PT, and one outside all slots. */
const LEAF_TABLE = 'gpa=0x21000';
const OUTSIDE = 'gpa=0x30000000';
/** PAE alone, with global pages, with SMAP. SMEP is left out: the handler lies in a user page. */
const CR4_VALUES = ['0x20', '0x20', '0xa0', '0x200020'];
const MIXED_PAGES = 8;
const MIXED_STEPS = 60;

/** What a script is about: all operations on few pages, or one of the families. */
export type FamilyName = 'mixed' | keyof typeof FAMILIES;
export const FAMILY_NAMES: readonly FamilyName[] = [
  'mixed',
  ...(Object.keys(FAMILIES) as (keyof typeof FAMILIES)[]),
];

/** Options of a script. */
export interface ScriptOptions {
  /** Default 'mixed'. */
  readonly family?: FamilyName;
  /** The guest flushes what it changed at once, and nobody edits its tables behind its back: then it
   *  sees the same whatever a TLB may keep. */
  readonly settled?: boolean;
}

/** Both spaces are loaded anew, which flushes each. */
const SETTLE = ['g cr3 B', 'g cr3 A'];

/** xorshift32: the same scripts everywhere. */
class Random implements Draws {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed, 2654435761) + 12345) >>> 0 || 1;
  }

  below(n: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % n;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

/** What the operations of a script have in common. */
class State implements ScriptState {
  readonly #r: Random;
  /** Rights of each page for the VMM's own accesses: '' is not mapped. */
  readonly rights: string[];
  forked = false;
  #slot: 'rw' | 'ro' | 'log' | 'none' = 'rw';
  #merges = 0;

  constructor(r: Random, pages: number) {
    this.#r = r;
    this.rights = Array.from({ length: pages }, () => 'rw');
  }

  touchable(first: number, count: number, write: boolean): boolean {
    return this.rights
      .slice(first, first + count)
      .every((rights) => rights === 'rw' || (rights === 'r' && !write));
  }

  mprotect(first: number, count: number): string | null {
    const range = this.rights.slice(first, first + count);
    if (range.includes('')) return null;
    const rights = range.every((old) => old === 'rw') ? this.#r.pick(['r', 'r', 'none']) : 'rw';
    this.rights.fill(rights, first, first + count);
    return `h mprotect ${first} ${range.length} ${rights}`;
  }

  fork(): string {
    this.forked = !this.forked;
    return this.forked ? 'h fork' : 'h reap';
  }

  memslot(): string {
    const r = this.#r;
    const was = this.#slot;
    if (was === 'log' && r.below(2) === 0) return 'h getdirty';
    if (was !== 'rw') {
      this.#slot = was === 'ro' ? 'none' : 'rw';
      return was === 'ro' ? 'h slot_delete' : was === 'log' ? 'h dirtylog_off' : 'h slot_add';
    }
    this.#slot = r.pick(['log', 'log', 'none', 'ro']);
    return { log: 'h dirtylog_on', ro: 'h slot_ro', none: 'h slot_delete' }[this.#slot];
  }

  /** The scanner takes a second of real time, so a script asks for it twice at most. */
  merge(range: string): string | null {
    const r = this.#r;
    if (this.#merges > 0 && r.below(3) === 0) return `h unmergeable ${range}`;
    if (this.#merges >= 4) return null;
    this.#merges++;
    return this.#merges % 2 === 1 ? `h mergeable 0 ${this.rights.length}` : 'h ksm 1000';
  }
}

/** All operations, on eight pages. */
class Mixed {
  readonly #r: Random;
  readonly #state: State;
  readonly #pages = MIXED_PAGES;
  readonly #guest: readonly Choice[];
  readonly #host: readonly Choice[];

  constructor(r: Random, state: State) {
    this.#r = r;
    this.#state = state;
    this.#guest = this.#guestChoices();
    this.#host = this.#hostChoices();
  }

  head(settled: boolean): string[] {
    const r = this.#r;
    const lines: string[] = [];
    for (let i = 0; i < this.#pages; i++) {
      if (r.below(4) !== 0) continue;
      const flags = r.pick(FLAGS);
      if (!settled || flags !== 'pwuR') lines.push(`pte A ${i} ${flags}`);
    }
    if (r.below(4) !== 0) lines.push(`h fill 0 ${2 + r.below(this.#pages - 2)} 195`);
    return lines;
  }

  next(): string | null {
    return choose(this.#r, this.#r.below(5) < 3 ? this.#guest : this.#host);
  }

  #page(): number {
    return this.#r.below(this.#pages);
  }

  #range(page = this.#page()): string {
    return `${page} ${1 + this.#r.below(Math.min(4, this.#pages - page))}`;
  }

  #where(): string {
    const i = this.#page();
    return this.#r.below(12) === 0 ? `~${i}` : String(i);
  }

  #guestChoices(): Choice[] {
    const r = this.#r;
    const page = (): number => this.#page();
    return [
      [12, () => `g ${r.pick(['read', 'read', 'uread', 'read8'])} ${this.#where()}`],
      [12, () => `g ${r.pick(['write', 'uwrite', 'write8', 'rw', 'lock'])} ${this.#where()}`],
      [1, () => `g ${r.pick(['exec', 'uexec'])} ${this.#where()}`],
      [1, () => this.#loop(page())],
      [5, () => this.#setpte(page())],
      [1, () => `g setpte ${r.pick(['B', '~'])} ${page()} ${r.pick(FLAGS)} ${page()}`],
      [1, () => `g setpte A ${page()} ${r.pick(['pwu', 'pu', 'pwua'])} ${OUTSIDE}`],
      [1, () => this.#setpde()],
      [1, () => `g getpte A ${page()}`],
      [3, () => `g invlpg ${this.#where()}`],
      [2, () => `g cr3 ${r.pick(['A', 'A', 'B'])}`],
      [1, () => `g wp ${r.below(2)}`],
      [1, () => `g cr4 ${r.pick(CR4_VALUES)}`],
    ];
  }

  #loop(page: number): string {
    const r = this.#r;
    return `g ${r.pick(['reads', 'writes'])} ${page} ${1 + r.below(this.#pages - page)}`;
  }

  #setpte(page: number): string {
    const r = this.#r;
    return `g setpte A ${page} ${r.pick(FLAGS)} ${r.pick([page, page, this.#page()])}`;
  }

  #setpde(): string {
    const r = this.#r;
    return `g setpde ${r.pick(['A', 'B'])} ${r.below(3)} ${r.pick(TABLES_FLAGS)} ${LEAF_TABLE}`;
  }

  #hostChoices(): Choice[] {
    const r = this.#r;
    const state = this.#state;
    const page = (): number => this.#page();
    const range = (): string => this.#range();
    return [
      [5, () => `h dontneed ${range()}`],
      [6, () => `h pageout ${range()}`],
      [2, () => `h ${r.pick(['cold', 'free', 'willneed'])} ${range()}`],
      [2, () => `h ${r.pick(['populate_read', 'populate_write'])} ${range()}`],
      [1, () => `h ${r.pick(['mlock', 'munlock'])} ${range()}`],
      [1, () => `h dontfork ${range()}`],
      [5, () => `h age ${r.pick(['flush', 'clear', 'test'])} 0 ${this.#pages}`],
      [1, () => `h clear_refs ${r.pick([1, 1, 2, 3, 4, 4])}`],
      [1, () => 'h drain'],
      [1, () => `h gpte ${r.pick(['A', 'A', 'B', '~'])} ${page()} ${r.pick(FLAGS)} ${page()}`],
      [4, () => this.#touch(page())],
      [4, () => state.mprotect(page(), 1)],
      [2, () => this.#remap(page())],
      [1, () => this.#move(page())],
      [3, () => state.fork()],
      [3, () => state.memslot()],
      [2, () => state.merge(this.#range(0))],
    ];
  }

  #touch(page: number): string | null {
    if (!this.#state.touchable(page, 1, false)) return null;
    if (!this.#state.touchable(page, 1, true)) return `h read ${page} 1`;
    return `h ${this.#r.pick(['read', 'write', 'fill'])} ${page} 1 ${this.#r.pick([195, 195, 2])}`;
  }

  #remap(page: number): string {
    const { rights } = this.#state;
    const unmap = rights[page] !== '' && this.#r.below(3) === 0;
    rights[page] = unmap ? '' : 'rw';
    return `h ${unmap ? 'munmap' : 'mmapfixed'} ${page} 1`;
  }

  #move(page: number): string | null {
    const { rights } = this.#state;
    const target = this.#page();
    if (target === page || rights[page] === '') return null;
    rights[target] = rights[page] ?? '';
    rights[page] = '';
    return `h mremap ${page} 1 ${target}`;
  }
}

function choose(r: Random, choices: readonly Choice[]): string | null {
  const total = choices.reduce((sum, [weight]) => sum + weight, 0);
  let at = r.below(total);
  for (const [weight, line] of choices) {
    if (at < weight) return line();
    at -= weight;
  }
  return null;
}

/** The lines of a script after its name, description and number of pages. */
function body(lines: string[], steps: number, settled: boolean, next: () => string | null): void {
  for (let i = 0; i < steps;) {
    const line = next();
    // The recorded processor reports reserved bits in two ways, and loads before it looks whether a locked
    // instruction may store: over MMIO that is emulated, in one mode with the rights of the load. A slot that
    // went and came back may stay MMIO under shadow paging, since a sync revives the spte (sync_mmio_spte).
    const unsettled =
      line?.startsWith('h gpte') === true || /pwuR|^g u?lock|^h slot_/.test(line ?? '');
    if (line === null || (settled && unsettled)) continue;
    lines.push(line);
    // A load of CR3 with the same value flushes the address space.
    if (settled && /^g (setpte|setpde)/.test(line)) lines.push(...SETTLE);
    i++;
  }
}

/** The random script of a seed. */
export function randomScript(seed: number, options: ScriptOptions = {}): string[] {
  const { family = 'mixed', settled = false } = options;
  const r = new Random(seed);
  const id = FAMILY_NAMES.indexOf(family);
  const name = `8${id}_${family}_${String(seed).padStart(4, '0')}`;
  const rules: Family | null = family === 'mixed' ? null : FAMILIES[family];
  const pages = rules?.pages ?? MIXED_PAGES;
  const state = new State(r, pages);
  const lines = [`name ${name}`, 'desc random guest and host operations', `pages ${pages}`];
  if (rules === null) {
    const mixed = new Mixed(r, state);
    lines.push(...mixed.head(settled));
    body(lines, MIXED_STEPS, settled, () => mixed.next());
  } else {
    lines.push(...rules.head(r));
    const choices = rules.choices(r, state);
    body(lines, rules.steps, settled, () => choose(r, choices));
  }
  if (state.forked) lines.push('h reap');
  return [...lines, ...(rules?.tail ?? [])];
}
