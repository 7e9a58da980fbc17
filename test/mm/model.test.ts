// Random host operations against a plain model of what each page must hold. A secondary MMU with no
// reference of its own watches through the notifiers: at no moment may it map a frame that its page
// does not have.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as abi from '../../assembly/abi.ts';
import { type Core, loadCore } from '../../src/core/load.ts';
import { AGING_PRESETS, type AgingName } from '../../src/mm/aging.ts';
import { auditHost } from '../../src/mm/audit.ts';
import { MM_GENERATIONS, type MmGenerationName } from '../../src/mm/generation.ts';
import { Host } from '../../src/mm/host.ts';
import type { Mm } from '../../src/mm/mm.ts';
import type { MmuNotifierOps } from '../../src/mm/mmu-notifier.ts';
import { ClockPolicy } from '../../src/mm/vmscan/clock.ts';
import { FifoPolicy } from '../../src/mm/vmscan/fifo.ts';
import { TwoListPolicy } from '../../src/mm/vmscan/two-list.ts';

const PAGES = 24;
const BASE = 0x400;

/** Maps what it was given, and unmaps what it is told of: a device without page pins. */
class Device implements MmuNotifierOps {
  readonly mapped = new Map<number, number>();
  readonly young = new Set<number>();
  readonly #core: Core;
  readonly #mm: Mm;

  constructor(core: Core, mm: Mm) {
    this.#core = core;
    this.#mm = mm;
  }

  map(hvn: number): void {
    const t = this.#mm.host.task;
    t.stack[0] = 0;
    t.stack[1] = hvn;
    t.stack[2] = abi.FOLL_TOUCH;
    this.#mm.getUserPages(t, 0);
    if (t.result <= 0) return;
    this.mapped.set(hvn, t.result);
    this.young.add(hvn);
    this.#core.x.putPage(t.result);
  }

  check(): void {
    for (const [hvn, pfn] of this.mapped) {
      const pte = this.#core.x.hpteGet(this.#mm.id, hvn) >>> 0;
      expect(pte & abi.HPTE_PRESENT, `the device maps page ${hvn}`).not.toBe(0);
      expect(pte >>> abi.HPTE_PFN_SHIFT).toBe(pfn);
    }
  }

  release(): void {
    this.mapped.clear();
  }

  agePage(hvn: number): boolean {
    return this.young.delete(hvn);
  }

  invalidatePage(hvn: number): void {
    this.mapped.delete(hvn);
  }

  invalidateRange(start: number, end: number): void {
    for (let hvn = start; hvn < end; hvn++) this.mapped.delete(hvn);
  }

  invalidateRangeStart(start: number, end: number): void {
    this.invalidateRange(start, end);
  }

  clearFlushYoung(start: number): boolean {
    return this.young.delete(start);
  }

  clearYoung(start: number): boolean {
    return this.young.delete(start);
  }
}

/** One address space, what its pages must hold, and the device on it. */
class Space {
  readonly content = new Map<number, number>();
  /** Pages under MADV_FREE: old content or zero. */
  readonly lazy = new Set<number>();
  readonly unmapped = new Set<number>();
  readonly readonly = new Set<number>();
  readonly device: Device;
  readonly mm: Mm;

  constructor(core: Core, mm: Mm) {
    this.mm = mm;
    this.device = new Device(core, mm);
  }
}

class Machine {
  readonly core = loadCore('debug');
  readonly host: Host;
  readonly spaces: Space[] = [];
  #stamp = 0;

  constructor(aging: AgingName, generation: MmGenerationName, policy: string, frames: number) {
    const policies = { 'two-list': TwoListPolicy, fifo: FifoPolicy, clock: ClockPolicy };
    this.host = new Host(this.core, {
      frames,
      residentFrames: 8,
      swapPages: 4 * PAGES,
      aging: AGING_PRESETS[aging],
      generation: MM_GENERATIONS[generation],
      policy: new policies[policy as keyof typeof policies](),
    });
    if (generation === '6.1') this.core.x.lruSetBatch(4);
    const space = new Space(this.core, this.host.createMm());
    const { mm } = space;
    const half = PAGES / 2;
    mm.mmap({ hvn: BASE, npages: half });
    mm.mmap({ hvn: BASE + half, npages: half, file: this.host.createFile(), shared: true });
    mm.registerNotifier(space.device);
    this.spaces.push(space);
  }

  touch(space: Space, page: number, write: boolean): void {
    const hvn = BASE + page;
    const result = space.mm.access(hvn, write);
    const allowed = !space.unmapped.has(page) && !(write && space.readonly.has(page));
    if (!allowed) {
      expect(result).toBe(-14);
      return;
    }
    if (result === -12) return;
    expect(result).toBeGreaterThanOrEqual(0);
    const pfn = (this.core.x.hpteGet(space.mm.id, hvn) >>> 0) >>> abi.HPTE_PFN_SHIFT;
    const held = this.core.x.frameContent(pfn) >>> 0;
    const expected = space.content.get(page) ?? 0;
    if (space.lazy.has(page) && held === 0) space.content.delete(page);
    else expect(held, `page ${page}`).toBe(expected);
    if (!write) return;
    this.#stamp++;
    this.core.x.frameSetContent(pfn, this.#stamp);
    space.content.set(page, this.#stamp);
    space.lazy.delete(page);
    // A shared file page is one page for all.
    if (page >= PAGES / 2) for (const other of this.spaces) other.content.set(page, this.#stamp);
  }

  fork(space: Space): void {
    if (this.spaces.length > 2) return;
    const child = new Space(this.core, space.mm.fork());
    for (const [page, stamp] of space.content) child.content.set(page, stamp);
    for (const page of space.lazy) child.lazy.add(page);
    for (const page of space.unmapped) child.unmapped.add(page);
    for (const page of space.readonly) child.readonly.add(page);
    child.mm.registerNotifier(child.device);
    this.spaces.push(child);
  }

  exit(index: number): void {
    if (this.spaces.length < 2) return;
    (this.spaces[index] as Space).mm.exit();
    this.spaces.splice(index, 1);
  }

  dontneed(space: Space, page: number, n: number): void {
    space.mm.madvise(BASE + page, n, 'dontneed');
    for (let p = page; p < page + n; p++) {
      if (p < PAGES / 2) space.content.delete(p);
      space.lazy.delete(p);
    }
  }

  unmap(space: Space, page: number, n: number): void {
    space.mm.munmap(BASE + page, n);
    for (let p = page; p < page + n; p++) {
      space.unmapped.add(p);
      space.readonly.delete(p);
      space.lazy.delete(p);
      if (p < PAGES / 2) space.content.delete(p);
    }
  }

  protect(space: Space, page: number, n: number, write: boolean): void {
    space.mm.mprotect(BASE + page, n, { read: true, write });
    for (let p = page; p < page + n; p++) {
      if (write) space.readonly.delete(p);
      else if (!space.unmapped.has(p)) space.readonly.add(p);
    }
  }

  free(space: Space, page: number): void {
    if (page >= PAGES / 2 || space.unmapped.has(page)) return;
    space.mm.madvise(BASE + page, 1, 'free');
    space.lazy.add(page);
  }

  check(): void {
    for (const space of this.spaces) space.device.check();
    this.core.x.lruAddDrain();
    expect(auditHost(this.host, 0).problems).toEqual([]);
  }
}

type Op = readonly [string, number, number, number];

function apply(machine: Machine, [op, which, page, n]: Op): void {
  const index = which % machine.spaces.length;
  const space = machine.spaces[index] as Space;
  const count = Math.min(1 + (n % 6), PAGES - page);
  switch (op) {
    case 'read':
      return machine.touch(space, page, false);
    case 'write':
      return machine.touch(space, page, true);
    case 'map':
      return space.device.map(BASE + page);
    case 'dontneed':
      return machine.dontneed(space, page, count);
    case 'cold':
    case 'pageout':
    case 'willneed':
      space.mm.madvise(BASE + page, count, op);
      return;
    case 'free':
      return machine.free(space, page);
    case 'munmap':
      return machine.unmap(space, page, count);
    case 'protect':
      return machine.protect(space, page, count, n % 2 === 0);
    case 'fork':
      return machine.fork(space);
    case 'exit':
      return machine.exit(index);
    case 'pin': {
      const pfns = space.mm.pin(BASE + page, count, false);
      space.mm.unpin(pfns, false);
      return;
    }
    default:
      machine.host.reclaim(1 + (n % 4));
  }
}

const NAMES = ['dontneed', 'cold', 'pageout', 'willneed', 'free', 'munmap', 'protect'];
const opArb = fc.tuple(
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('read', 'write', 'map') },
    { weight: 2, arbitrary: fc.constantFrom(...NAMES, 'fork', 'exit', 'reclaim', 'pin') },
  ),
  fc.nat(2),
  fc.nat(PAGES - 1),
  fc.nat(1000),
);

test.each([
  ['v3', '2008', 'two-list'],
  ['v4', '2008', 'two-list'],
  ['v2', '2008', 'fifo'],
  ['clear_flush_young', '6.1', 'two-list'],
  ['clear_young', '6.1', 'clock'],
  ['clear_flush_young', '2008', 'clock'],
] as const)('no page is lost or foreign: %s on %s with %s', (aging, generation, policy) => {
  fc.assert(
    fc.property(
      fc.array(opArb, { minLength: 20, maxLength: 120 }),
      fc.integer({ min: 6, max: 40 }),
      (ops, frames) => {
        const machine = new Machine(aging, generation, policy, frames);
        for (const op of ops) {
          apply(machine, op);
          machine.check();
        }
        while (machine.spaces.length > 1) machine.exit(0);
        (machine.spaces[0] as Space).mm.exit();
        machine.core.x.lruAddDrain();
        expect(machine.core.x.swapUsed()).toBe(0);
      },
    ),
    {
      numRuns: Number(process.env.MODEL_RUNS ?? 30),
      seed: Number(process.env.MODEL_SEED ?? 20080121),
    },
  );
});
