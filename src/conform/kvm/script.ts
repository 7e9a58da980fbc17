// Parses the scripts of the recording rig: header directives, guest operations (`g …`), host
// operations (`h …`), loops and the quiet switch.

import { DataError } from '../../core/errors.ts';
import { ALIAS_VPN, DATA_GFN, DATA_VPN, FLAG_BITS, TABLES } from './layout.ts';

/** One step: its words, and where it stands. */
export interface Operation {
  readonly line: number;
  readonly text: string;
  readonly words: readonly string[];
  readonly quiet: boolean;
  /** Whether the state of every page is recorded after the step. */
  readonly snapshot: boolean;
}

/** Edit of a guest table before the machine starts. */
export interface TableEdit {
  readonly table: number;
  readonly index: number;
  readonly lo: number;
  readonly hi: number;
  /** True: only the flags are replaced, the address stays. */
  readonly keepAddress: boolean;
}

/** A parsed script. */
export interface Script {
  readonly name: string;
  readonly desc: string;
  readonly pages: number;
  readonly backing: 'anon' | 'shmem' | 'privfile';
  readonly thp: boolean;
  /** Flags of the data slot, KVM_MEM_*. */
  readonly slotFlags: number;
  readonly edits: readonly TableEdit[];
  readonly steps: readonly Operation[];
  /** As it was written. */
  readonly lines: readonly string[];
}

/** 64-bit entry in two words. */
export interface Pte {
  readonly lo: number;
  readonly hi: number;
}

/** A guest address. */
export interface Gva {
  readonly vpn: number;
  readonly offset: number;
}

const GUEST_OPS = new Set(
  (
    'read write read8 write8 rw lock exec invlpg nop cr3 cr0 wp cr4 reads writes setpte getpte ' +
    'setpde'
  ).split(' '),
);
const HOST_OPS = new Set(
  (
    'read write fill mprotect munmap mmapfixed mremap mlock munlock drain fork reap clear_refs ' +
    'reclaim budget memmax memhigh slot_delete slot_add slot_ro dirtylog_on dirtylog_off ' +
    'getdirty ksm khugepaged lru_gen gpte idle isidle age sleep nop sysfs dontneed pageout cold ' +
    'free hugepage nohugepage mergeable unmergeable willneed collapse populate_read ' +
    'populate_write remove dontfork'
  ).split(' '),
);
const HEADERS = new Set(
  'name desc pages backing thp only slotflags pte pde pdefl note nosnap quiet'.split(' '),
);

/** Flag letters to entry bits; throws on an unknown letter. */
export function parseFlags(text: string): Pte {
  let lo = 0;
  let hi = 0;
  for (const letter of text) {
    if (letter === '-') continue;
    if (letter === 'n') hi |= 0x80000000;
    else if (letter === 'R') hi |= 1 << 19;
    else {
      const bits = FLAG_BITS[letter];
      if (bits === undefined) throw new DataError(`unknown flag letter '${letter}' in '${text}'`);
      lo |= bits;
    }
  }
  return { lo: lo >>> 0, hi: hi >>> 0 };
}

/** Flags and a target (`3` data page, `gpa=0x…`) to an entry. */
export function parsePte(flags: string, target: string | undefined): Pte {
  const f = parseFlags(flags);
  let gpa = DATA_GFN * 4096;
  if (target !== undefined && target.startsWith('gpa=')) gpa = parseNumber(target.slice(4));
  else if (target !== undefined) gpa += parseNumber(target) * 4096;
  return {
    lo: (f.lo | (gpa % 4294967296)) >>> 0,
    hi: (f.hi | Math.floor(gpa / 4294967296)) >>> 0,
  };
}

/** What strtoull(…, 0) takes for octal. */
const OCTAL = /^0[0-7]+$/;

/** A number as strtoull(…, 0) reads it. */
export function parseNumber(text: string): number {
  const value = OCTAL.test(text) ? parseInt(text, 8) : Number(text);
  if (!Number.isFinite(value)) throw new DataError(`'${text}' is not a number`);
  return value;
}

/** A number of 64 bits. */
export function parseWord(text: string): Pte {
  const octal = OCTAL.test(text);
  if (!octal && !/^(0x[0-9a-f]+|[0-9]+)$/i.test(text)) {
    throw new DataError(`'${text}' is not a number`);
  }
  const value = BigInt(octal ? `0o${text}` : text);
  return { lo: Number(value & 0xffffffffn), hi: Number((value >> 32n) & 0xffffffffn) };
}

/** `3`, `~3`, `3+0x10`, `0x40200000`. */
export function parseGva(text: string): Gva {
  if (text.startsWith('0x')) {
    const gva = parseNumber(text);
    return { vpn: Math.floor(gva / 4096), offset: gva % 4096 };
  }
  const alias = text.startsWith('~');
  const [page, offset] = (alias ? text.slice(1) : text).split('+') as [string, string?];
  const off = offset === undefined ? 0 : parseNumber(offset);
  const vpn = (alias ? ALIAS_VPN : DATA_VPN) + parseNumber(page) + Math.floor(off / 4096);
  return { vpn, offset: off % 4096 };
}

/** Table and index of a leaf entry: `A 3`, `B 3`, `~ 3`. */
export function leafTable(space: string, index: number): { table: number; index: number } {
  const first = space === 'B' ? TABLES.B_PT : space === '~' ? TABLES.ALIAS_PT : TABLES.A_PT;
  return { table: first + Math.floor(index / 512), index: index % 512 };
}

/** Page directory of a space. */
export function directory(space: string): number {
  return space === 'B' ? TABLES.B_PD : TABLES.A_PD;
}

function parseEdit(words: readonly string[]): TableEdit {
  const [kind, space, indexText, flags, target] = words as [
    string,
    string,
    string,
    string,
    string?,
  ];
  const index = parseNumber(indexText);
  if (kind === 'pte') {
    const at = leafTable(space, index);
    return { ...at, ...parsePte(flags, target ?? String(index)), keepAddress: false };
  }
  const table = directory(space);
  if (kind === 'pdefl') return { table, index, ...parseFlags(flags), keepAddress: true };
  return { table, index, ...parsePte(flags, target), keepAddress: false };
}

function checkOperation(words: readonly string[]): void {
  const [who, op] = words as [string, string | undefined];
  if (op === undefined) throw new DataError('an operation is missing');
  const known = who === 'g' ? GUEST_OPS : HOST_OPS;
  const name =
    who === 'g' && op.length > 1 && op.startsWith('u') && !known.has(op) ? op.slice(1) : op;
  if (!known.has(name)) {
    throw new DataError(`unknown ${who === 'g' ? 'guest' : 'host'} operation '${op}'`);
  }
}

interface Line {
  readonly line: number;
  readonly text: string;
  readonly words: string[];
}

function matchingEnd(lines: readonly Line[], from: number): number {
  let depth = 1;
  for (let i = from; i < lines.length; i++) {
    const word = lines[i]?.words[0];
    if (word === 'loop') depth++;
    if (word === 'end' && --depth === 0) return i;
  }
  throw new DataError('this loop has no end');
}

/** Parses the lines of a script; `where` names them in errors. */
export function parseScript(source: readonly string[], where: string): Script {
  const lines = source
    .map((text, i): Line => ({ line: i + 1, text, words: text.trim().split(/\s+/) }))
    .filter(({ words }) => words[0] !== '' && !(words[0] as string).startsWith('#'));
  const head = { name: '', desc: '', pages: 16, backing: 'anon', thp: false, slotFlags: 0 };
  const edits: TableEdit[] = [];
  const steps: Operation[] = [];
  let quiet = false;
  let snapshot = true;

  const run = (from: number, to: number): void => {
    for (let i = from; i < to; i++) {
      const { line, text, words } = lines[i] as Line;
      try {
        const [first] = words as [string];
        if (first === 'loop') {
          const end = matchingEnd(lines, i + 1);
          const times = parseNumber(words[1] ?? '');
          for (let k = 0; k < times; k++) run(i + 1, end);
          i = end;
        } else if (first === 'quiet') quiet = words[1] === '1';
        else if (first === 'nosnap') snapshot = words[1] !== '1';
        else if (first === 'g' || first === 'h') {
          checkOperation(words);
          steps.push({ line, text: words.join(' '), words: words.slice(1), quiet, snapshot });
        } else if (!HEADERS.has(first)) throw new DataError(`unknown directive '${first}'`);
      } catch (error) {
        if (!(error instanceof DataError) || error.message.startsWith(where)) throw error;
        throw new DataError(`${where}: script line ${line} '${text}': ${error.message}`);
      }
    }
  };

  for (const { line, text, words } of lines) {
    try {
      const [first, second] = words as [string, string?];
      if (first === 'name') head.name = second ?? '';
      else if (first === 'desc') head.desc = text.trim().slice(5);
      else if (first === 'pages') head.pages = parseNumber(second ?? '');
      else if (first === 'backing') head.backing = second ?? '';
      else if (first === 'thp') head.thp = second === 'on';
      else if (first === 'slotflags') head.slotFlags = parseNumber(second ?? '');
      else if (first === 'pte' || first === 'pde' || first === 'pdefl')
        edits.push(parseEdit(words));
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      throw new DataError(`${where}: script line ${line} '${text}': ${error.message}`);
    }
  }
  if (!['anon', 'shmem', 'privfile'].includes(head.backing)) {
    throw new DataError(`${where}: unknown backing '${head.backing}'`);
  }
  run(0, lines.length);
  return { ...head, backing: head.backing as Script['backing'], edits, steps, lines: source };
}
