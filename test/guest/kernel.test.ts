// The guest kernel on a plain machine: tables in a Map, and vCPUs whose TLBs never forget anything
// on their own, so that every flush that the kernel owes is needed.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PFERR_PRESENT_MASK, PFERR_USER_MASK, PFERR_WRITE_MASK } from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { GuestKernel } from '../../src/guest/kernel.ts';
import type { GuestCpu } from '../../src/guest/page-tables.ts';
import { Stats } from '../../src/stats/stats.ts';

class PlainMemory {
  readonly entries = new Map<number, { lo: number; hi: number }>();
  readonly content = new Map<number, number>();
  copyPage(from: number, to: number): void {
    this.content.set(to, this.content.get(from) ?? 0);
  }
}

class PlainCpu implements GuestCpu {
  readonly id: number;
  readonly #memory: PlainMemory;
  #cr3 = 0;
  #pcid = 0;
  /** Cached leaf entries by pcid and page. */
  readonly tlb = new Map<string, number>();
  constructor(id: number, memory: PlainMemory) {
    this.id = id;
    this.#memory = memory;
  }
  setCr3(gfn: number, pcid: number, noFlush: boolean): void {
    this.#cr3 = gfn;
    this.#pcid = pcid;
    if (noFlush) return;
    for (const key of this.tlb.keys()) {
      if (key.startsWith(`${pcid}:`)) this.tlb.delete(key);
    }
  }
  invlpg(vpn: number): void {
    this.tlb.delete(`${this.#pcid}:${vpn}`);
  }
  writeGuestPte(table: number, index: number, lo: number, hi: number): void {
    this.#memory.entries.set(table * 512 + index, { lo, hi });
  }
  readGuestPteLo(table: number, index: number): number {
    return this.#memory.entries.get(table * 512 + index)?.lo ?? 0;
  }
  readGuestPteHi(table: number, index: number): number {
    return this.#memory.entries.get(table * 512 + index)?.hi ?? 0;
  }
  /** Leaf entry used for an access: from the TLB, or walked and cached; an error code as -1 - ec. */
  translate(vpn: number, write: boolean): number {
    const key = `${this.#pcid}:${vpn}`;
    const ec = PFERR_USER_MASK | (write ? PFERR_WRITE_MASK : 0);
    const cached = this.tlb.get(key);
    if (cached !== undefined && (!write || (cached & 2) !== 0)) return cached;
    let table = this.#cr3;
    for (let level = 4; ; level--) {
      const lo = this.readGuestPteLo(table, Math.floor(vpn / 512 ** (level - 1)) % 512);
      if ((lo & 1) === 0) return -1 - ec;
      if (level === 1) {
        if (write && (lo & 2) === 0) return -1 - (ec | PFERR_PRESENT_MASK);
        this.tlb.set(key, lo);
        return lo;
      }
      table = lo >>> 12;
    }
  }
}

interface Rig {
  readonly kernel: GuestKernel;
  readonly cpus: readonly PlainCpu[];
  readonly memory: PlainMemory;
}

function makeRig(pcid: boolean, cpuCount = 2): Rig {
  const core = loadCore('debug');
  const memory = new PlainMemory();
  const cpus = Array.from({ length: cpuCount }, (_, id) => new PlainCpu(id, memory));
  const kernel = new GuestKernel({
    core,
    stats: new Stats(core),
    cpus,
    memory,
    data: { base: 16, count: 2000 },
    tables: { base: 2048, count: 1000 },
    pcid,
  });
  return { kernel, cpus, memory };
}

/** One access of the program on a vCPU; returns the value read, or -1 when refused. */
function access(rig: Rig, cpu: PlainCpu, vpn: number, write: number | undefined): number {
  for (let tries = 0; tries < 4; tries++) {
    const entry = cpu.translate(vpn, write !== undefined);
    if (entry >= 0) {
      const gfn = entry >>> 12;
      if (write !== undefined) rig.memory.content.set(gfn, write);
      return rig.memory.content.get(gfn) ?? 0;
    }
    if (rig.kernel.pageFault(cpu, vpn, -1 - entry) === 'violation') return -1;
  }
  throw new Error('the access never succeeded');
}

const step = fc.record({
  op: fc.constantFrom('read', 'write', 'write', 'switch', 'unmap', 'ro', 'rw', 'fork', 'exit'),
  cpu: fc.nat(1),
  page: fc.nat(11),
  pid: fc.nat(8),
  count: fc.integer({ min: 1, max: 3 }),
});

// Pages spread over leaf tables and upper tables.
const PAGES = [
  0, 1, 2, 511, 512, 513, 262144, 262145, 134217728, 134217729, 68719476734, 68719476735,
];

describe('guest kernel', () => {
  for (const pcid of [false, true]) {
    test(`keeps each process's memory its own (${pcid ? 'with' : 'without'} PCID)`, () => {
      fc.assert(
        fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), (steps) => {
          const rig = makeRig(pcid);
          const spaces = new Map<number, Map<number, number>>();
          const readOnly = new Map<number, Set<number>>();
          const start = (pid: number): void => {
            if (spaces.has(pid)) return;
            spaces.set(pid, new Map());
            readOnly.set(pid, new Set());
          };
          for (const cpu of rig.cpus) rig.kernel.switchTo(cpu, 0);
          start(0);
          let stamp = 1;
          // A page whose content is unknown to the model (fresh) may hold an earlier owner's words:
          // the kernel model does not zero. The model therefore writes before it compares.
          for (const s of steps) {
            const cpu = rig.cpus[s.cpu] as PlainCpu;
            const pid = rig.kernel.current(cpu);
            const space = spaces.get(pid) as Map<number, number>;
            const locked = readOnly.get(pid) as Set<number>;
            const vpn = PAGES[s.page] as number;
            if (s.op === 'read') {
              const value = access(rig, cpu, vpn, undefined);
              const known = space.get(vpn);
              if (known !== undefined) expect(value).toBe(known);
              else space.set(vpn, value);
            } else if (s.op === 'write') {
              const value = access(rig, cpu, vpn, ++stamp);
              expect(value).toBe(locked.has(vpn) ? -1 : stamp);
              if (value >= 0) space.set(vpn, stamp);
            } else if (s.op === 'switch') {
              start(s.pid);
              rig.kernel.switchTo(cpu, s.pid);
            } else if (s.op === 'fork' && !spaces.has(s.pid)) {
              rig.kernel.fork(cpu, s.pid);
              spaces.set(s.pid, new Map(space));
              readOnly.set(s.pid, new Set(locked));
            } else if (s.op === 'exit' && rig.cpus.every((c) => rig.kernel.current(c) !== s.pid)) {
              rig.kernel.exit(cpu, s.pid);
              spaces.delete(s.pid);
            } else if (s.op === 'unmap' || s.op === 'ro' || s.op === 'rw') {
              if (s.op === 'unmap') rig.kernel.unmap(cpu, vpn, s.count);
              else rig.kernel.protect(cpu, vpn, s.count, s.op === 'rw');
              for (let page = vpn; page < vpn + s.count; page++) {
                if (s.op === 'unmap') {
                  space.delete(page);
                  locked.delete(page);
                } else if (s.op === 'rw') locked.delete(page);
                else if (space.has(page)) locked.add(page);
              }
            }
          }
          // Everything known is still there, and nothing leaks once all processes are gone.
          const cpu = rig.cpus[0] as PlainCpu;
          for (const [pid, space] of spaces) {
            rig.kernel.switchTo(cpu, pid);
            for (const [vpn, value] of space) expect(access(rig, cpu, vpn, undefined)).toBe(value);
          }
          for (const c of rig.cpus) rig.kernel.switchTo(c, 99);
          for (const pid of rig.kernel.pids) if (pid !== 99) rig.kernel.exit(cpu, pid);
          expect(rig.kernel.data.inUse).toBe(0);
          expect(rig.kernel.tables.inUse).toBe(1);
        }),
        { numRuns: 80, seed: 20080121 },
      );
    });
  }

  test('a switch to a current PCID flushes nothing, after six others it does', () => {
    const rig = makeRig(true, 1);
    const cpu = rig.cpus[0] as PlainCpu;
    for (const pid of [0, 1]) {
      rig.kernel.switchTo(cpu, pid);
      access(rig, cpu, 5, pid);
    }
    rig.kernel.switchTo(cpu, 0);
    expect(cpu.tlb.size).toBe(2);
    for (let pid = 2; pid < 8; pid++) rig.kernel.switchTo(cpu, pid);
    rig.kernel.switchTo(cpu, 0);
    expect(cpu.translate(5, false)).toBeGreaterThan(0);
    expect(access(rig, cpu, 5, undefined)).toBe(0);
  });
});
