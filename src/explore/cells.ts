// Cells: the numbering of everything that an explored machine's state consists of.
//
//   0x00000000 …  words of linear memory (index = address / 4)
//   0x3f000000 …  shared words of actors without a core
//   0x40000000 …  task stacks and status, TASK_CELLS a task
//   0x50000000 …  the lock table
//   0x60000000 …  fields of host records (value: an interned id)
//
// A step's effect is a list of (cell, old value, new value); a state is the initial state plus the
// steps that led to it. Its hash is a sum of one mixed word a cell, so that a step changes it in
// time proportional to the cells that it wrote, in any order (Zobrist 1970, with addition).

export const WORDS_CELL = 0x3f000000;
export const TASK_CELL = 0x40000000;
export const LOCK_CELL = 0x50000000;
export const RECORD_CELL = 0x60000000;

/** Cells of one task: its stack and, at the end, its status. */
export const TASK_CELLS = 512;
/** Offset of a task's status cells; the stack lies below. */
export const TASK_STATUS = 256;

/** Avalanche of (cell, value) with one of the two seeds of a 64-bit hash (after MurmurHash3). */
export function mixLow(cell: number, value: number): number {
  let h = Math.imul(cell ^ 0x2545f491, 0x9e3779b1) ^ Math.imul(value + 0x7ed55d16, 0x85ebca6b);
  h ^= h >>> 15;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 13;
  h = Math.imul(h, 0x27d4eb2f);
  return h ^ (h >>> 16);
}

/** The other half of the hash. */
export function mixHigh(cell: number, value: number): number {
  let h = Math.imul(value ^ 0x5bd1e995, 0xcc9e2d51) ^ Math.imul(cell + 0x165667b1, 0x1b873593);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 14;
  h = Math.imul(h, 0x9e3779b1);
  return h ^ (h >>> 15);
}

/** Growing list of i32. */
export class IntList {
  data: Int32Array;
  length = 0;

  constructor(capacity = 1024) {
    this.data = new Int32Array(capacity);
  }

  push(value: number): void {
    if (this.length === this.data.length) this.reserve(1);
    this.data[this.length++] = value;
  }

  /** Makes room for `more` entries. */
  reserve(more: number): void {
    if (this.length + more <= this.data.length) return;
    const next = new Int32Array(Math.max(this.data.length * 2, this.length + more));
    next.set(this.data);
    this.data = next;
  }

  /** Bytes allocated. */
  get bytes(): number {
    return this.data.byteLength;
  }
}

/** What one step did: its effect in order of first write, and what it read and wrote of others. */
export class Journal {
  /** Triples of a cell, its old and its new value; each cell once. */
  changes: Int32Array = new Int32Array(3 * 256);
  /** Triples in use. */
  count = 0;
  /** Shared cells read, each once. */
  readonly reads = new IntList(256);
  /** Shared cells written, each once. */
  readonly writes = new IntList(256);
  /** The step changed a host record: it commutes with no other. */
  wroteRecords = false;

  clear(): void {
    this.count = 0;
    this.reads.length = 0;
    this.writes.length = 0;
    this.wroteRecords = false;
  }

  change(cell: number, old: number, now: number): void {
    const at = this.count * 3;
    if (at === this.changes.length) {
      const more = new Int32Array(at * 2);
      more.set(this.changes);
      this.changes = more;
    }
    this.changes[at] = cell;
    this.changes[at + 1] = old;
    this.changes[at + 2] = now;
    this.count++;
  }
}
