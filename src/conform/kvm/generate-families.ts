// What random scripts of each family do (generate.ts makes them): huge pages, shared memory, guest
// tables that lie in data pages, reclaim.

/** Draws of a script. */
export interface Draws {
  below(n: number): number;
  pick<T>(list: readonly T[]): T;
}

/** An operation of a script: how often it comes, and its line (null: not now). */
export type Choice = readonly [weight: number, line: () => string | null];

/** State that more than one operation of a script depends on. */
export interface ScriptState {
  /** Toggles the child, the memslot or what else has a state; null: not now. */
  fork(): string;
  memslot(): string;
  /** A line of mprotect that leaves the VMM's own accesses alone. */
  mprotect(first: number, count: number): string | null;
  /** Whether the VMM may touch these pages, for reading or also for writing. */
  touchable(first: number, count: number, write: boolean): boolean;
}

/** A family: head lines after name and desc, and what its scripts do. */
export interface Family {
  readonly pages: number;
  readonly head: (r: Draws) => string[];
  /** Lines at the end. */
  readonly tail?: readonly string[];
  readonly steps: number;
  readonly choices: (r: Draws, state: ScriptState) => readonly Choice[];
}

const READS = ['read', 'read', 'uread', 'read8'];
const WRITES = ['write', 'uwrite', 'write8', 'rw', 'lock'];

function touch(r: Draws, state: ScriptState, page: number, count: number): string | null {
  const write = r.below(2) === 0;
  if (!state.touchable(page, count, write)) return null;
  return `h ${write ? 'write' : 'read'} ${page} ${count} ${1 + r.below(3)}`;
}

/** Pages where huge pages begin and end, and some between. */
const HUGE_PLACES = [0, 1, 2, 7, 8, 9, 63, 255, 300, 511, 512, 513, 700, 1023];
/** First page and number of pages of a range that cuts huge pages, or does not. */
const HUGE_RANGES: readonly (readonly [number, number])[] = [
  [0, 512],
  [0, 512],
  [512, 512],
  [0, 1024],
  [3, 1],
  [8, 8],
  [100, 300],
  [256, 512],
  [511, 2],
  [700, 1],
];
const LARGE = 'gpa=0x10000000';
const SMALL = 'gpa=0x21000';

/** Guest mappings of both sizes over host pages of both sizes. */
const HUGE: Family = {
  pages: 1024,
  steps: 36,
  head: (r) => {
    const lines = [`thp ${r.pick(['on', 'on', 'off'])}`];
    if (r.below(2) === 0)
      lines.push(`pde A 0 ${r.pick(['pwuS', 'pwuS', 'pwuadS', 'puS'])} ${LARGE}`);
    return lines;
  },
  choices: (r, state) => {
    const place = (): number => r.pick(HUGE_PLACES);
    const range = (): string => r.pick(HUGE_RANGES).join(' ');
    return [
      [9, () => `g ${r.pick(READS)} ${place()}`],
      [9, () => `g ${r.pick(WRITES)} ${place()}`],
      [2, () => `g ${r.pick(['reads', 'writes'])} ${r.pick([0, 500, 504])} ${8 + r.below(16)}`],
      [2, () => `g setpde A 0 ${r.pick(['pwuS', 'pwuadS', 'puS'])} ${LARGE}`],
      [2, () => `g setpde A 0 ${r.pick(['pwu', 'pwua'])} ${SMALL}`],
      [1, () => `g setpte A ${place() % 512} ${r.pick(['pwu', 'pu', 'pwuad'])} ${place()}`],
      [2, () => `g invlpg ${place()}`],
      [1, () => 'g cr3 A'],
      [2, () => `h dontneed ${range()}`],
      [2, () => `h ${r.pick(['pageout', 'cold', 'free'])} ${range()}`],
      [1, () => `h ${r.pick(['hugepage', 'nohugepage', 'willneed'])} ${range()}`],
      [2, () => `h collapse ${r.pick([0, 512])} 512`],
      [1, () => `h ${r.pick(['populate_read', 'populate_write'])} ${r.pick([0, 512, 500])} 16`],
      [3, () => `h age ${r.pick(['flush', 'clear', 'test'])} ${r.pick([0, 508])} 8`],
      [1, () => `h clear_refs ${r.pick([1, 4])}`],
      [2, () => state.fork()],
      [2, () => state.memslot()],
      [2, () => state.mprotect(...r.pick(HUGE_RANGES))],
      [3, () => touch(r, state, place() % 1000, 1 + r.below(8))],
      [1, () => 'h drain'],
    ];
  },
};

/** Shared memory, and private mappings of a file. */
const SHARED: Family = {
  pages: 48,
  steps: 50,
  head: (r) => [`backing ${r.pick(['shmem', 'shmem', 'privfile'])}`],
  choices: (r, state) => {
    const place = (): number => r.below(40);
    const range = (): string => `${place()} ${1 + r.below(8)}`;
    return [
      [8, () => `g ${r.pick(READS)} ${place()}`],
      [8, () => `g ${r.pick(WRITES)} ${place()}`],
      [2, () => `g ${r.pick(['reads', 'writes'])} ${place()} ${1 + r.below(8)}`],
      [2, () => `g setpte A ${place()} ${r.pick(['pwu', 'pu', 'pwuad', '-'])} ${place()}`],
      [2, () => `g invlpg ${place()}`],
      [4, () => `h dontneed ${range()}`],
      [3, () => `h remove ${range()}`],
      [4, () => `h pageout ${range()}`],
      [2, () => `h ${r.pick(['cold', 'free', 'willneed'])} ${range()}`],
      [2, () => `h ${r.pick(['populate_read', 'populate_write'])} ${range()}`],
      [3, () => `h age ${r.pick(['flush', 'clear', 'test'])} 0 48`],
      [1, () => `h clear_refs ${r.pick([1, 4])}`],
      [2, () => state.fork()],
      [1, () => state.memslot()],
      [2, () => state.mprotect(place(), 1 + r.below(4))],
      [4, () => touch(r, state, place(), 1 + r.below(4))],
      [1, () => 'h drain'],
    ];
  },
};

/** Data pages that are guest tables too: the guest writes them, the host takes them away. */
const TABLES: Family = {
  pages: 16,
  steps: 50,
  head: () => [],
  choices: (r, state) => {
    // Pages 14 and 15 are leaf tables of the third and fourth 2 MiB.
    const table = (): number => r.pick([14, 14, 15]);
    const entry = (i: number): string => `${table()}+0x${(i * 8).toString(16)}`;
    const flags = (): string => r.pick(['007', '007', '067', '027', '005', '003', '000']);
    const pte = (): string => `0x100${r.below(14).toString(16).padStart(2, '0')}${flags()}`;
    const far = (): string => `0x40${r.pick(['4', '6'])}0${r.below(6)}000`;
    return [
      [8, () => `g write8 ${entry(r.below(6))} ${pte()}`],
      [
        3,
        () =>
          `g setpde A ${r.pick([2, 3])} ${r.pick(['pwu', 'pwua', 'pu'])} gpa=0x1000${r.pick(['e', 'f'])}000`,
      ],
      [1, () => `g setpde A ${r.pick([2, 3])} ${r.pick(['pwuS', '-'])} ${LARGE}`],
      [8, () => `g ${r.pick(READS)} ${far()}`],
      [8, () => `g ${r.pick(WRITES)} ${far()}`],
      [3, () => `g ${r.pick([...READS, ...WRITES])} ${r.below(16)}`],
      [1, () => `g setpte A ${table()} ${r.pick(['pwu', 'pu'])} ${table()}`],
      [3, () => `g invlpg ${far()}`],
      [2, () => `g cr3 ${r.pick(['A', 'A', 'B'])}`],
      [1, () => `g wp ${r.below(2)}`],
      [2, () => `h ${r.pick(['dontneed', 'pageout', 'free', 'cold'])} ${table()} 1`],
      [1, () => `h ${r.pick(['dontneed', 'pageout'])} ${r.below(12)} 4`],
      [1, () => touch(r, state, table(), 1)],
      [1, () => `h age ${r.pick(['flush', 'clear', 'test'])} 0 16`],
      [1, () => state.fork()],
      [1, () => state.memslot()],
      [1, () => state.mprotect(table(), 1)],
      [1, () => `h clear_refs ${r.pick([1, 4])}`],
    ];
  },
};

/** Less memory than pages, of either kind of lists. */
const LIMITED: Family = {
  pages: 256,
  steps: 24,
  head: (r) => {
    const generations = r.below(3) === 0;
    const hot = r.pick([8, 16, 32]);
    const lines = ['nosnap 1', 'quiet 1'];
    if (generations) lines.push('h lru_gen 1');
    lines.push(`g writes 0 ${hot}`, 'h drain', `h budget ${r.pick([16, 32, 48, 64, 96])}`);
    return lines;
  },
  tail: ['nosnap 0', 'quiet 0', 'g reads 0 8', 'h age test 0 64', 'h lru_gen 0'],
  choices: (r, state) => {
    const run = (): string => `${8 * r.below(28)} ${r.pick([8, 8, 16, 32])}`;
    return [
      [6, () => `g reads 0 ${r.pick([8, 8, 16])}`],
      [10, () => `g writes ${run()}`],
      [4, () => `g reads ${run()}`],
      [2, () => touch(r, state, 8 * r.below(16), 8)],
      [1, () => `h ${r.pick(['dontneed', 'cold', 'free'])} ${run()}`],
      [1, () => 'h drain'],
    ];
  },
};

/** Reclaim by request. */
const RECLAIM: Family = {
  pages: 32,
  steps: 24,
  head: (r) => [...(r.below(3) === 0 ? ['h lru_gen 1'] : []), 'h write 0 32 1', 'h drain'],
  tail: ['h lru_gen 0'],
  choices: (r, state) => {
    const run = (): string => `${r.below(24)} ${1 + r.below(8)}`;
    return [
      [6, () => `g reads ${r.pick(['0 8', run()])}`],
      [4, () => `g writes ${run()}`],
      [3, () => `h reclaim ${r.pick([1, 4, 8, 16])}`],
      [3, () => 'h drain'],
      [2, () => touch(r, state, r.below(24), 1 + r.below(8))],
      [1, () => `h age ${r.pick(['flush', 'clear', 'test'])} 0 32`],
      [1, () => `h ${r.pick(['dontneed', 'pageout', 'cold', 'free'])} ${run()}`],
    ];
  },
};

/** By name. */
export const FAMILIES = {
  huge: HUGE,
  shared: SHARED,
  tables: TABLES,
  limited: LIMITED,
  reclaim: RECLAIM,
} as const satisfies Readonly<Record<string, Family>>;
