// The recording driver's own memory, as far as its process writes to it: what it logs, the statistics that it reads, its
// stack. It locked all of that before it joined its group, so that none of it counts; but after a fork() each page that it
// writes to is copied, and the copy is the group's. The child has the copies of an earlier fork() unlocked: reclaim finds them.

import type { Host } from '../../mm/host.ts';
import type { Mm } from '../../mm/mm.ts';
import { VM_LOCKED, VM_RESIDENT } from '../../mm/vma.ts';
import {
  agesBytes,
  bufferOffset,
  COUNTER_BYTES,
  snapshotBytes,
  STATISTICS_BYTES,
  traceBytes,
} from './driver-log.ts';
import type { History, StackLayout } from './history.ts';
import type { Script } from './script.ts';
import type { RawEvent } from './stream.ts';

/** Where the parts lie: as many pages apart as no two of them are looked at together. */
const OWN_HVN = 0x30000000;
/** Two pages that `budget` writes to. */
const SPARE = OWN_HVN;
/** The part of the heap that is not locked. */
const GROWN_HEAP = OWN_HVN + 0x2000;
/** The program's pages, by their numbers in its image. */
const IMAGE = OWN_HVN + 0x100000;
const RELRO = IMAGE + 0x4ca;
const DATA = IMAGE + 0x1004ce;
const BSS = IMAGE + 0x2004d1;
const HEAP = IMAGE + 0x300000;
const STACK = IMAGE + 0x400000;

const AREAS: readonly (readonly [hvn: number, npages: number])[] = [
  [RELRO, 4],
  [DATA, 3],
  [BSS, 0x6054],
  [HEAP, 33],
  [STACK, 33],
];

function bss(page: number): number {
  return BSS + page - 0x4d1;
}

/** What fork() and what both sides do until they sleep writes to: the thread's block, the data, the C library's variables. */
const THREAD = HEAP + 1;
const [CHILD_DATA, LIBC_DATA, LINE] = [DATA, DATA + 1, DATA + 2];
const LIBC_BSS = bss(0x6523);
/** The log's stream, and its buffer. */
const STREAM = HEAP + 2;
const BUFFER = HEAP + 3;
const BUFFER_BYTES = 1 << 16;
const STEP_NUMBER = bss(0x4f4);
/** What `age` found, as it is read: it begins so far behind its page. */
const AGES = bss(0x4d2);
const AGES_OFFSET = 0x680;
/** Where the areas of `drain` and `budget` are noted. */
const NOTED = bss(0x4e2);
/** memory.stat and /proc/vmstat, as they are read. */
const STATISTICS = [bss(0x4fc), bss(0x4fd)] as const;
/** mincore()'s result begins so far behind its page. */
const MINCORE = bss(0x509);
const MINCORE_OFFSET = 0xb40;
/** A table of sptes and one of ptes, as they are read; they have a page in common. */
const SPTES = [bss(0x50b), bss(0x50c)] as const;
const PTES = [bss(0x50c), bss(0x50d)] as const;
/** The log itself: so far behind its page, and long. */
const LOG = bss(0x50e);
const LOG_OFFSET = 0x180;
/** So many of its pages are used; of the rest one a table, since fork() copies tables. */
const LOG_USED = 1024;
const PAGES_OF_TABLE = 512;
const TRACE = [bss(0x650e), bss(0x650f)] as const;
/** The vCPU and the page tables that the trace tells of, and the pipe to the child. */
const POINTERS = bss(0x651e);

/** Stack pages: of fork(), and of what lies deeper and higher. */
const STACKS: Record<StackLayout, { readonly fork: number; readonly deep: number }> = {
  usual: { fork: 1, deep: 2 },
  short: { fork: 1, deep: 1 },
  crossing: { fork: 2, deep: 1 },
};

/** The pages, and what is written to them in which order. */
export class DriverMemory {
  readonly #host: Host;
  readonly #mm: Mm;
  readonly #pages: number;
  readonly #preempted: boolean;
  readonly #follows: boolean;
  /** The pages of the stack, from fork()'s on. */
  readonly #forkStack: readonly number[];
  readonly #deepStack: readonly number[];
  /** Whether the script has a fork(); else the driver's writes change nothing. */
  readonly forks: boolean;
  /** Whether there was one. */
  #shared = false;
  readonly #bufferOffset: number;
  /** Bytes in the buffer, and in the log. */
  #filled = 0;
  #logged = LOG_OFFSET;
  #grown = false;
  readonly #noted: boolean[] = [];

  constructor(host: Host, mm: Mm, script: Script, history: History) {
    const { stack, preempted, followsDriver } = history;
    this.#host = host;
    this.#mm = mm;
    this.#pages = script.pages;
    this.#preempted = preempted;
    this.#follows = followsDriver;
    const { fork, deep } = STACKS[stack];
    this.#forkStack = Array.from({ length: fork }, (_, i) => STACK - i + 8);
    this.#deepStack = Array.from({ length: deep }, (_, i) => STACK - fork - i + 8);
    this.forks = script.steps.some(({ words }) => words[0] === 'fork');
    this.#bufferOffset = bufferOffset(script.lines);
  }

  /** What is there before the driver joins its group. */
  map(): void {
    if (!this.forks) return;
    const { x } = this.#host.core;
    x.frameChargeTables(0);
    for (const [hvn, npages] of AREAS) {
      this.#mm.mmap({ hvn, npages, flags: VM_LOCKED | VM_RESIDENT });
      for (let i = 0; i < npages; i++) {
        const at = hvn + i;
        if (at >= LOG + LOG_USED && at < TRACE[0] && i % PAGES_OF_TABLE !== 0) continue;
        this.#mm.access(at, true);
      }
    }
    x.lruAddDrain();
    x.frameChargeTables(1);
    this.#mm.vmas = this.#mm.vmas.map((vma) => ({ ...vma, flags: vma.flags & ~VM_RESIDENT }));
  }

  /** What the heap grew by after it was locked. */
  mapGrownHeap(pages: number): void {
    if (pages === 0) return;
    this.#mm.mmap({ hvn: GROWN_HEAP, npages: pages });
    for (let i = 0; i < pages; i++) this.#mm.touch(GROWN_HEAP + i, true);
    this.#host.core.x.lruAddDrain();
    this.#grown = true;
  }

  /** The driver opens the files of KVM's statistics, whose names are in the first page of that. */
  readNames(): void {
    if (this.#grown) this.#mm.touch(GROWN_HEAP, false);
  }

  /** `drain` (0) and `budget` (1) map an area when they are called first. */
  noteArea(which: number): void {
    if (this.#noted[which] === true) return;
    this.#noted[which] = true;
    this.#write(NOTED);
  }

  /** `budget` makes sure that the charge cache is not empty when it is drained. */
  writeSpare(): void {
    if (this.#mm.findVma(SPARE) === undefined) this.#mm.mmap({ hvn: SPARE, npages: 2 });
    this.noteArea(1);
    for (let i = 0; i < 2; i++) this.#mm.touch(SPARE + i, true);
  }

  /** `age` of so many pages has been read, and is logged. */
  readAges(pages: number): void {
    this.#fill(AGES, AGES_OFFSET, agesBytes(pages));
    this.#log(agesBytes(pages));
  }

  /** What fork() writes to before the child runs. */
  forked(): void {
    this.#shared = true;
    // The kernel notes in the thread's block that it did not run all the time (rseq).
    if (this.#preempted) this.#write(THREAD);
    this.#write(...this.#forkStack, CHILD_DATA);
  }

  /** What the child writes to before it sleeps. */
  childRuns(child: Mm): void {
    for (const hvn of [THREAD, LIBC_BSS, LIBC_DATA, ...this.#forkStack, CHILD_DATA]) {
      if (child.findVma(hvn) !== undefined) child.touch(hvn, true);
    }
    // The pipe's ends.
    child.touch(POINTERS, false);
  }

  /** A step begins: its number is logged, with what the last one left in the buffer. */
  begins(): void {
    this.#write(STEP_NUMBER);
    this.#flush();
  }

  /** A step's result and KVM's counters are logged, and memory.stat is about to be read. */
  logCounters(): void {
    const [deep] = this.#deepStack;
    this.#write(THREAD, STREAM, BUFFER, deep as number);
    this.#log(COUNTER_BYTES);
    this.#write(STATISTICS[0]);
  }

  /** The group's statistics are logged, and the host's. */
  logStatistics(): void {
    this.#log(STATISTICS_BYTES);
    this.#write(STATISTICS[1]);
  }

  /** The step's trace is logged. */
  logTrace(raw: readonly RawEvent[]): void {
    this.#flush();
    const bytes = traceBytes(raw);
    if (bytes === 0) return;
    this.#write(...TRACE, LINE, POINTERS);
    this.#log(bytes);
  }

  /** The pages' states are logged; `leafSptes`: a walk of the shadow tables ends at the lowest level. */
  logSnapshot(shadowPages: number, leafSptes: boolean): void {
    for (let at = MINCORE_OFFSET; at < MINCORE_OFFSET + this.#pages; at += 4096)
      this.#write(MINCORE + (at >>> 12));
    this.#write(...PTES, ...(leafSptes ? SPTES : []));
    this.#log(snapshotBytes(this.#pages, shadowPages));
    this.#write(...this.#deepStack);
  }

  #write(...hvns: readonly number[]): void {
    if (!this.#shared || !this.#follows) return;
    for (const hvn of hvns) this.#mm.touch(hvn, true);
  }

  /** Writes to a run of bytes. */
  #fill(hvn: number, from: number, bytes: number): void {
    for (let page = from >>> 12; page << 12 < from + bytes; page++) this.#write(hvn + page);
  }

  /** Puts bytes into the buffer, which goes to the log when it is full. */
  #log(bytes: number): void {
    if (!this.forks) return;
    for (let left = bytes; left > 0;) {
      const part = Math.min(left, BUFFER_BYTES - this.#filled);
      this.#fill(BUFFER, this.#bufferOffset + this.#filled, part);
      this.#filled += part;
      left -= part;
      if (this.#filled === BUFFER_BYTES) this.#flush();
    }
  }

  #flush(): void {
    this.#fill(LOG, this.#logged, this.#filled);
    this.#logged += this.#filled;
    this.#filled = 0;
  }
}
