// The guest kernel model: processes with a cr3 of their own, demand paging on #PF, fork with
// copy-on-write, munmap and mprotect, context switches with PCID as Linux makes them.
//
// Its page tables really lie in guest memory (page-tables.ts): a store to a write-protected table is seen
// by KVM, and a table page that the host swapped out is faulted in.
//
// What it keeps to, so that no stale translation is ever legal in the guest:
// - after an entry loses rights or its frame, the address is flushed on the running vCPU and on
//   every other vCPU that runs the process, before the frame is reused;
// - a vCPU that has the process only in a PCID slot flushes at its next switch to it (tlbGen).

import { NO_GFN, PFERR_PRESENT_MASK, PFERR_WRITE_MASK } from '../../assembly/abi.ts';
import { DataError, KvmError } from '../core/errors.ts';
import type { Core } from '../core/load.ts';
import type { Stats } from '../stats/stats.ts';
import { GuestFrames, type GuestFramesRecord } from './frames.ts';
import {
  A,
  type GuestCpu,
  GuestTables,
  LEAF_RIGHTS,
  P,
  SW_READ_ONLY,
  U,
  W,
  gpteGfn,
  gpteHi,
  gpteLo,
  indexAt,
} from './page-tables.ts';
import { PcidSlots, type PcidSlotsRecord } from './pcid.ts';

/** What the guest kernel's own memory accesses need from the machine. */
export interface GuestMemory {
  /** The guest kernel copies a page (copy-on-write). */
  copyPage(fromGfn: number, toGfn: number): void;
  /** The guest kernel clears a fresh page; left out where guest memory comes with its content. */
  clearPage?(gfn: number): void;
}

/** A guest process. */
export interface Process {
  readonly pid: number;
  /** Index of its address space in the record of guest_map.ts; reused after exit. */
  readonly space: number;
  /** gfn of its top table. */
  readonly cr3: number;
  /** Raised whenever a translation of the process was taken back. */
  tlbGen: number;
}

/** What came of a guest #PF. */
export type FaultOutcome =
  | 'mapped'
  | 'copied'
  | 'spurious'
  | 'violation'
  /** The host had no page behind the frame that was to be filled. */
  | 'host_refused';

/** The guest kernel's state outside linear memory, for snapshots. */
export interface GuestKernelRecord {
  readonly data: GuestFramesRecord;
  readonly tables: GuestFramesRecord;
  readonly processes: readonly Process[];
  readonly current: readonly number[];
  readonly pcids: readonly PcidSlotsRecord[];
}

/** Options of the guest kernel. */
export interface GuestKernelOptions {
  readonly core: Core;
  readonly stats: Stats;
  readonly cpus: readonly GuestCpu[];
  readonly memory: GuestMemory;
  /** Data pages: first gfn and number. */
  readonly data: { readonly base: number; readonly count: number };
  /** Table pages: first gfn and number. */
  readonly tables: { readonly base: number; readonly count: number };
  /** Tag address spaces by PCID, so that a switch flushes nothing. */
  readonly pcid: boolean;
}

/** The guest kernel. */
export class GuestKernel {
  readonly data: GuestFrames;
  readonly tables: GuestFrames;
  readonly #tables: GuestTables;
  readonly #core: Core;
  readonly #stats: Stats;
  readonly #cpus: readonly GuestCpu[];
  readonly #memory: GuestMemory;
  readonly #processes = new Map<number, Process>();
  /** pid that each vCPU runs. */
  readonly #current: number[];
  readonly #pcids: PcidSlots[];
  readonly #pcid: boolean;

  constructor(options: GuestKernelOptions) {
    this.#core = options.core;
    this.#stats = options.stats;
    this.#cpus = options.cpus;
    this.#memory = options.memory;
    this.#pcid = options.pcid;
    this.data = new GuestFrames(options.core, options.data.base, options.data.count);
    this.tables = new GuestFrames(options.core, options.tables.base, options.tables.count);
    this.#tables = new GuestTables(this.tables);
    this.#current = options.cpus.map(() => -1);
    this.#pcids = options.cpus.map(() => new PcidSlots());
  }

  /** pid of the process on a vCPU (-1: none yet). */
  current(cpu: GuestCpu): number {
    return this.#current[cpu.id] as number;
  }

  /** pids of all processes. */
  get pids(): number[] {
    return [...this.#processes.keys()];
  }

  #process(pid: number): Process {
    let process = this.#processes.get(pid);
    if (!process) {
      const used = new Set([...this.#processes.values()].map((p) => p.space));
      let space = 0;
      while (used.has(space)) space++;
      process = { pid, space, cr3: this.#tables.alloc(), tlbGen: 1 };
      this.#processes.set(pid, process);
    }
    return process;
  }

  /** Index of the address space of the process on a vCPU. */
  space(cpu: GuestCpu): number {
    return this.#running(cpu).space;
  }

  #running(cpu: GuestCpu): Process {
    return this.#processes.get(this.current(cpu)) as Process;
  }

  #allocData(): number {
    const gfn = this.data.alloc();
    if (gfn === NO_GFN) {
      throw new DataError(
        `the guest ran out of memory (${this.data.count} pages): give the guest more memory`,
      );
    }
    return gfn;
  }

  /** A data page with one user after `fill`; NO_GFN when the host has no page behind it. */
  #filled(fill: (gfn: number) => void): number {
    const gfn = this.#allocData();
    try {
      fill(gfn);
    } catch (error) {
      this.data.free(gfn);
      if (error instanceof KvmError && error.code === 'EFAULT') return NO_GFN;
      throw error;
    }
    this.data.addUsers(gfn, 1);
    return gfn;
  }

  /** Context switch (cf. switch_mm_irqs_off): loads CR3, without a flush where the PCID is current. */
  switchTo(cpu: GuestCpu, pid: number): void {
    if (this.current(cpu) === pid) return;
    const process = this.#process(pid);
    this.#current[cpu.id] = pid;
    this.#stats.bump('context_switches');
    if (!this.#pcid) {
      cpu.setCr3(process.cr3, 0, false);
      return;
    }
    const slots = this.#pcids[cpu.id] as PcidSlots;
    const { slot, current } = slots.choose(pid, process.tlbGen);
    cpu.setCr3(process.cr3, slot + 1, current);
  }

  /** Takes a translation of the running process back everywhere (cf. flush_tlb_mm_range). */
  #shootdown(cpu: GuestCpu, process: Process, vpn: number): void {
    process.tlbGen++;
    for (const other of this.#cpus) {
      if (this.current(other) !== process.pid) continue;
      other.invlpg(vpn);
      if (this.#pcid) (this.#pcids[other.id] as PcidSlots).sawGen(process.pid, process.tlbGen);
    }
    if (this.current(cpu) !== process.pid) cpu.invlpg(vpn);
  }

  /** The kernel's own record, which the verification believes: page `vpn` lies on `gfn`. */
  #note(process: Process, vpn: number, gfn: number): void {
    this.#core.x.guestMapSet(process.space, Math.floor(vpn / 4294967296), vpn >>> 0, gfn);
  }

  /** Serves a #PF of the running process at page `vpn`. */
  pageFault(cpu: GuestCpu, vpn: number, errorCode: number): FaultOutcome {
    const process = this.#running(cpu);
    const table = this.#tables.leafTable(cpu, process.cr3, vpn, true);
    const index = indexAt(vpn, 1);
    const lo = cpu.readGuestPteLo(table, index);
    if ((lo & P) === 0) {
      const gfn = this.#filled((fresh) => this.#memory.clearPage?.(fresh));
      if (gfn === NO_GFN) return 'host_refused';
      this.tables.addUsers(table, 1);
      this.#note(process, vpn, gfn);
      cpu.writeGuestPte(table, index, gpteLo(gfn, P | W | U | A), gpteHi(gfn));
      return 'mapped';
    }
    const write = (errorCode & PFERR_WRITE_MASK) !== 0;
    if ((errorCode & PFERR_PRESENT_MASK) === 0 || !write || (lo & W) !== 0) {
      // Another vCPU served it meanwhile; drop what this one may still have cached.
      cpu.invlpg(vpn);
      return 'spurious';
    }
    if ((lo & SW_READ_ONLY) !== 0) return 'violation';
    return this.#breakCow(cpu, process, vpn, table, lo, cpu.readGuestPteHi(table, index));
  }

  /** Write to a page shared after a fork (cf. do_wp_page). */
  #breakCow(
    cpu: GuestCpu,
    process: Process,
    vpn: number,
    table: number,
    lo: number,
    hi: number,
  ): FaultOutcome {
    const gfn = gpteGfn(lo, hi);
    const index = indexAt(vpn, 1);
    this.#stats.bump('guest_cow_faults');
    if (this.data.users(gfn) === 1) {
      cpu.writeGuestPte(table, index, gpteLo(gfn, P | W | U | A), gpteHi(gfn));
      cpu.invlpg(vpn);
      return 'copied';
    }
    const copy = this.#filled((fresh) => this.#memory.copyPage(gfn, fresh));
    if (copy === NO_GFN) return 'host_refused';
    this.#note(process, vpn, copy);
    // Clear, flush, then set: no vCPU may use the old page after the new one is visible.
    cpu.writeGuestPte(table, index, 0, 0);
    this.#shootdown(cpu, process, vpn);
    cpu.writeGuestPte(table, index, gpteLo(copy, P | W | U | A), gpteHi(copy));
    this.#unuse(gfn);
    return 'copied';
  }

  #unuse(gfn: number): void {
    if (this.data.addUsers(gfn, -1) === 0) this.data.free(gfn);
  }

  /** Guest munmap: gives the frames back; empty leaf tables go, too (cf. free_pgtables). */
  unmap(cpu: GuestCpu, vpn: number, count: number): void {
    const process = this.#running(cpu);
    this.#tables.walkRange(cpu, process.cr3, vpn, count, (page, table, index, lo, hi) => {
      cpu.writeGuestPte(table, index, 0, 0);
      this.#note(process, page, NO_GFN);
      if (this.tables.addUsers(table, -1) === 0) {
        const flush = (): void => this.#shootdown(cpu, process, page);
        this.#tables.freeLeafTable(cpu, process.cr3, page, table, flush);
      }
      this.#shootdown(cpu, process, page);
      this.#unuse(gpteGfn(lo, hi));
    });
  }

  /** Guest mprotect of pages that are mapped. */
  protect(cpu: GuestCpu, vpn: number, count: number, writable: boolean): void {
    const process = this.#running(cpu);
    this.#tables.walkRange(cpu, process.cr3, vpn, count, (page, table, index, lo, hi) => {
      const shared = this.data.users(gpteGfn(lo, hi)) > 1;
      const rights = writable ? (shared ? P | U : P | W | U) : P | U | SW_READ_ONLY;
      if ((lo & LEAF_RIGHTS) === rights) return;
      cpu.writeGuestPte(table, index, ((lo & ~LEAF_RIGHTS) | rights) >>> 0, hi);
      if (!writable) this.#shootdown(cpu, process, page);
    });
  }

  /** Guest fork: the child shares every page copy-on-write (cf. copy_page_range). */
  fork(cpu: GuestCpu, childPid: number): void {
    const parent = this.#running(cpu);
    if (this.#processes.has(childPid)) {
      throw new DataError(`guest fork: process ${childPid} exists already`);
    }
    const child = this.#process(childPid);
    this.#tables.walk(cpu, parent.cr3, 4, 0, (vpn, table, index, lo, hi) => {
      const gfn = gpteGfn(lo, hi);
      if ((lo & W) !== 0) {
        cpu.writeGuestPte(table, index, (lo & ~W) >>> 0, hi);
        this.#shootdown(cpu, parent, vpn);
      }
      const leaf = this.#tables.leafTable(cpu, child.cr3, vpn, true);
      cpu.writeGuestPte(leaf, index, (lo & ~W) >>> 0, hi);
      this.tables.addUsers(leaf, 1);
      this.data.addUsers(gfn, 1);
      this.#note(child, vpn, gfn);
    });
  }

  /** Guest exit: frees the process's pages and tables. A vCPU that runs it must switch first. */
  exit(cpu: GuestCpu, pid: number): void {
    const process = this.#processes.get(pid);
    if (!process) return;
    for (const other of this.#cpus) {
      if (this.current(other) === pid) {
        throw new DataError(`guest exit: process ${pid} still runs on vCPU ${other.id}`);
      }
    }
    this.#tables.free(cpu, process.cr3, 4, (gfn) => this.#unuse(gfn));
    this.#processes.delete(pid);
    for (const slots of this.#pcids) slots.forget(pid);
    this.#core.x.guestMapDrop(process.space);
  }

  /** The state outside linear memory. */
  save(): GuestKernelRecord {
    return {
      data: this.data.save(),
      tables: this.tables.save(),
      processes: [...this.#processes.values()].map((p) => ({ ...p })),
      current: [...this.#current],
      pcids: this.#pcids.map((p) => p.save()),
    };
  }

  /** Goes back to a saved state. */
  restore(record: GuestKernelRecord): void {
    this.data.restore(record.data);
    this.tables.restore(record.tables);
    this.#processes.clear();
    for (const p of record.processes) this.#processes.set(p.pid, { ...p });
    record.current.forEach((pid, cpu) => (this.#current[cpu] = pid));
    record.pcids.forEach((slots, cpu) => (this.#pcids[cpu] as PcidSlots).restore(slots));
  }
}
