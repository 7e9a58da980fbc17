// Random scripts in the language of the recording rig: all guest operations but execution, and all host
// operations whose outcome a script determines. A script may be run on the emulator and on real KVM.

const FLAGS = ['pwu', 'pwu', 'pwua', 'pwuad', 'pu', 'pw', 'pua', '-', 'pwun', 'pwuR'];
const TABLES_FLAGS = ['pwua', 'pwua', 'pwu', 'pua', 'pw', 'pwun', '-'];
/** gpa of A_PT, and one outside all slots. */
const LEAF_TABLE = 'gpa=0x21000';
const OUTSIDE = 'gpa=0x30000000';

/** Options of a script. */
export interface ScriptOptions {
  /** Data pages. Default 8. */
  readonly pages?: number;
  /** Operations. Default 60. */
  readonly steps?: number;
  /** The guest flushes what it changed at once, and nobody edits its tables behind its back: then it
   *  sees the same whatever a TLB may keep. */
  readonly settled?: boolean;
}

/** Both spaces are loaded anew, which flushes each. */
const SETTLE = ['g cr3 B', 'g cr3 A'];

/** xorshift32: the same scripts everywhere. */
class Random {
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

/** An operation of the generator: how often it comes, and its line (null: not now). */
type Choice = readonly [weight: number, line: (page: number) => string | null];

class Generator {
  readonly #r: Random;
  readonly #pages: number;
  /** Rights of each page for the VMM's own accesses: '' is not mapped. */
  readonly #rights: string[];
  #forked = false;
  #slot: 'rw' | 'ro' | 'log' | 'none' = 'rw';
  #merges = 0;
  readonly #guest: readonly Choice[];
  readonly #host: readonly Choice[];

  constructor(seed: number, pages: number) {
    this.#r = new Random(seed);
    this.#pages = pages;
    this.#rights = Array.from({ length: pages }, () => 'rw');
    this.#guest = this.#guestChoices();
    this.#host = this.#hostChoices();
  }

  script(name: string, steps: number, settled: boolean): string[] {
    const r = this.#r;
    const lines = [`name ${name}`, 'desc random guest and host operations', `pages ${this.#pages}`];
    for (let i = 0; i < this.#pages; i++) {
      if (r.below(4) !== 0) continue;
      const flags = r.pick(FLAGS);
      if (!settled || flags !== 'pwuR') lines.push(`pte A ${i} ${flags}`);
    }
    if (r.below(4) !== 0) lines.push(`h fill 0 ${2 + r.below(this.#pages - 2)} 1`);
    for (let i = 0; i < steps;) {
      const line = this.#choose(r.below(5) < 3 ? this.#guest : this.#host);
      // The recorded processor reports reserved bits in two ways.
      const unsettled = line?.startsWith('h gpte') === true || line?.includes('pwuR') === true;
      if (line === null || (settled && unsettled)) continue;
      lines.push(line);
      // A load of CR3 with the same value flushes the address space.
      if (settled && /^g (setpte|setpde)/.test(line)) lines.push(...SETTLE);
      i++;
    }
    if (this.#forked) lines.push('h reap');
    return lines;
  }

  #choose(choices: readonly Choice[]): string | null {
    const total = choices.reduce((sum, [weight]) => sum + weight, 0);
    let at = this.#r.below(total);
    for (const [weight, line] of choices) {
      if (at < weight) return line(this.#r.below(this.#pages));
      at -= weight;
    }
    return null;
  }

  #range(page: number): string {
    return `${page} ${1 + this.#r.below(Math.min(4, this.#pages - page))}`;
  }

  #guestChoices(): Choice[] {
    const r = this.#r;
    const where = (i: number): string => (r.below(12) === 0 ? `~${i}` : String(i));
    return [
      [12, (i) => `g ${r.pick(['read', 'read', 'uread', 'read8'])} ${where(i)}`],
      [12, (i) => `g ${r.pick(['write', 'uwrite', 'write8', 'rw', 'lock'])} ${where(i)}`],
      [1, (i) => `g ${r.pick(['reads', 'writes'])} ${i} ${1 + r.below(this.#pages - i)}`],
      [5, (i) => `g setpte A ${i} ${r.pick(FLAGS)} ${r.pick([i, i, r.below(this.#pages)])}`],
      [1, (i) => `g setpte ${r.pick(['B', '~'])} ${i} ${r.pick(FLAGS)} ${r.below(this.#pages)}`],
      [1, (i) => `g setpte A ${i} ${r.pick(['pwu', 'pu', 'pwua'])} ${OUTSIDE}`],
      [
        1,
        () => `g setpde ${r.pick(['A', 'B'])} ${r.below(3)} ${r.pick(TABLES_FLAGS)} ${LEAF_TABLE}`,
      ],
      [1, (i) => `g getpte A ${i}`],
      [3, (i) => `g invlpg ${where(i)}`],
      [2, () => `g cr3 ${r.pick(['A', 'A', 'B'])}`],
      [1, () => `g wp ${r.below(2)}`],
    ];
  }

  #hostChoices(): Choice[] {
    const r = this.#r;
    return [
      [5, (i) => `h dontneed ${this.#range(i)}`],
      [6, (i) => `h pageout ${this.#range(i)}`],
      [2, (i) => `h ${r.pick(['cold', 'free', 'willneed'])} ${this.#range(i)}`],
      [2, (i) => `h ${r.pick(['populate_read', 'populate_write'])} ${this.#range(i)}`],
      [1, (i) => `h ${r.pick(['mlock', 'munlock'])} ${this.#range(i)}`],
      [1, (i) => `h dontfork ${this.#range(i)}`],
      [5, () => `h age ${r.pick(['flush', 'clear', 'test'])} 0 ${this.#pages}`],
      [1, () => `h clear_refs ${r.pick([1, 1, 2, 3, 4, 4])}`],
      [1, () => 'h drain'],
      [
        1,
        (i) =>
          `h gpte ${r.pick(['A', 'A', 'B', '~'])} ${i} ${r.pick(FLAGS)} ${r.below(this.#pages)}`,
      ],
      [4, (i) => this.#touch(i)],
      [4, (i) => this.#mprotect(i)],
      [2, (i) => this.#remap(i)],
      [1, (i) => this.#move(i)],
      [3, () => this.#fork()],
      [3, () => this.#memslot()],
      [2, () => this.#merge()],
    ];
  }

  #touch(page: number): string | null {
    const rights = this.#rights[page] ?? '';
    if (rights === '' || rights === 'none') return null;
    if (rights === 'r') return `h read ${page} 1`;
    const value = this.#r.pick([1, 1, 2]);
    return `h ${this.#r.pick(['read', 'write', 'fill'])} ${page} 1 ${value}`;
  }

  #mprotect(page: number): string | null {
    if (this.#rights[page] === '') return null;
    const rights = this.#rights[page] === 'rw' ? this.#r.pick(['r', 'r', 'none']) : 'rw';
    this.#rights[page] = rights;
    return `h mprotect ${page} 1 ${rights}`;
  }

  #remap(page: number): string {
    const unmap = this.#rights[page] !== '' && this.#r.below(3) === 0;
    this.#rights[page] = unmap ? '' : 'rw';
    return `h ${unmap ? 'munmap' : 'mmapfixed'} ${page} 1`;
  }

  #move(page: number): string | null {
    const target = this.#r.below(this.#pages);
    if (target === page || this.#rights[page] === '') return null;
    this.#rights[target] = this.#rights[page] ?? '';
    this.#rights[page] = '';
    return `h mremap ${page} 1 ${target}`;
  }

  #fork(): string {
    this.#forked = !this.#forked;
    return this.#forked ? 'h fork' : 'h reap';
  }

  #memslot(): string {
    const r = this.#r;
    const was = this.#slot;
    if (was === 'log' && r.below(2) === 0) return 'h getdirty';
    if (was !== 'rw') {
      this.#slot = was === 'ro' ? 'none' : 'rw';
      return was === 'ro' ? 'h slot_delete' : was === 'log' ? 'h dirtylog_off' : 'h slot_add';
    }
    this.#slot = r.pick(['log', 'log', 'none', 'ro']);
    return this.#slot === 'log'
      ? 'h dirtylog_on'
      : this.#slot === 'ro'
        ? 'h slot_ro'
        : 'h slot_delete';
  }

  /** The scanner takes a second of real time, so a script asks for it twice at most. */
  #merge(): string | null {
    const r = this.#r;
    if (this.#merges > 0 && r.below(3) === 0) return `h unmergeable ${this.#range(0)}`;
    if (this.#merges >= 4) return null;
    this.#merges++;
    return this.#merges % 2 === 1 ? `h mergeable 0 ${this.#pages}` : 'h ksm 1000';
  }
}

/** The random script of a seed. */
export function randomScript(seed: number, options: ScriptOptions = {}): string[] {
  const { pages = 8, steps = 60, settled = false } = options;
  const name = `80_fuzz_${String(seed).padStart(4, '0')}`;
  return new Generator(seed, pages).script(name, steps, settled);
}
