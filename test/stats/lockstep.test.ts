// The yardstick against an LRU written plainly with a Map, alone and under the whole machine.
import { describe, expect, test } from 'vitest';
import { ACCESS_WRITE, LOCKSTEP_FAULTS, LOCKSTEP_WRITEBACKS } from '../../assembly/abi.ts';
import { type Core, loadCore } from '../../src/core/load.ts';
import { createVm } from '../../src/machine.ts';
import type { VmOptions } from '../../src/vm-options.ts';
import { makePolicy } from '../../src/policies.ts';
import { idealLruOf } from '../../src/result.ts';
import { Stats } from '../../src/stats/stats.ts';

function random(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 4294967296;
  };
}

class PlainLru {
  /** Pages held, oldest first, and whether they are dirty. */
  readonly pages = new Map<number, boolean>();
  faults = 0;
  writebacks = 0;
  readonly limit: number;
  constructor(limit: number) {
    this.limit = limit;
  }
  touch(page: number, write: boolean): void {
    let dirty = this.pages.get(page);
    if (dirty === undefined) {
      this.faults++;
      dirty = false;
      if (this.pages.size === this.limit) {
        const [victim, wasDirty] = this.pages.entries().next().value as [number, boolean];
        this.pages.delete(victim);
        if (wasDirty) this.writebacks++;
      }
    }
    this.pages.delete(page);
    this.pages.set(page, dirty || write);
  }
}

/** What the yardstick must say about tests for young and refaults. */
class PlainJudge {
  readonly last = new Map<number, number>();
  readonly tested = new Map<number, number>();
  readonly evicted = new Set<number>();
  falseOld = 0;
  falseYoung = 0;
  spurious = 0;
  test(page: number, young: boolean, now: number): void {
    const accessed = (this.last.get(page) ?? 0) > (this.tested.get(page) ?? 0);
    this.tested.set(page, now);
    if (young && !accessed) this.falseYoung++;
    if (!young && accessed) this.falseOld++;
  }
  refault(page: number, held: boolean): void {
    if (this.evicted.delete(page) && held) this.spurious++;
  }
}

/** Time at which the yardstick starts to count from small numbers again. */
const TIME_MAX = 0x7fff_0000 / 2;

function compare(core: Core, plain: PlainLru, judge: PlainJudge, gfns: number): void {
  const state = core.x.lockstepState() >>> 0;
  expect(core.mem.load64(state + LOCKSTEP_FAULTS)).toBe(plain.faults);
  expect(core.mem.load64(state + LOCKSTEP_WRITEBACKS)).toBe(plain.writebacks);
  const { false_old, false_young, spurious_swap_outs } = new Stats(core).read();
  expect([false_old, false_young, spurious_swap_outs]).toEqual([
    judge.falseOld,
    judge.falseYoung,
    judge.spurious,
  ]);
  const held = Array.from({ length: gfns }, (_, gfn) => core.x.lockstepResident(gfn));
  expect(held).toEqual(held.map((_, gfn) => (plain.pages.has(gfn) ? 1 : 0)));
}

describe('the yardstick', () => {
  test.each([
    ['fewer frames than pages', 60, 0],
    ['one frame', 1, 0],
    ['a frame for each page', 200, 0],
    ['fewer frames, past the end of time', 60, 10],
    ['a frame for each page, past the end of time', 200, 10],
    ['not full at the end of time', 195, 10],
  ])('agrees with a plain LRU: %s', (_, limit, jumps) => {
    const core = loadCore('debug');
    const GFNS = 200;
    const STEPS = 40_000;
    core.x.lockstepInit(GFNS, limit);
    const plain = new PlainLru(limit);
    const judge = new PlainJudge();
    const rnd = random(7);
    for (let now = 1; now <= STEPS; now++) {
      if (jumps > 0 && now % (STEPS / jumps) === 20) core.x.lockstepAdvance(TIME_MAX - 15);
      const gfn = Math.floor(rnd() ** 2 * GFNS);
      const what = rnd();
      const other = Math.floor(rnd() * GFNS);
      if (what < 0.1) {
        core.x.lockstepTested(other, what < 0.05 ? 1 : 0);
        judge.test(other, what < 0.05, now - 1);
      } else if (what < 0.15) {
        core.x.lockstepEvicted(other);
        judge.evicted.add(other);
      } else if (what < 0.2) {
        core.x.lockstepRefault(other);
        judge.refault(other, plain.pages.has(other));
      }
      // Beyond the gfns that are watched lie the guest's tables.
      if (what > 0.95) core.x.lockstepTouch(GFNS + other, 1);
      const write = rnd() < 0.3;
      core.x.lockstepTouch(gfn, write ? 1 : 0);
      plain.touch(gfn, write);
      judge.last.set(gfn, now);
      if (now % (STEPS / 20) === 0 || now === 40) compare(core, plain, judge, GFNS);
    }
  });
});

const PAGES = 700;
const REFERENCES = 60_000;

/** A machine's counters after references of all kinds, and the pages of those references. */
function machine(options: Partial<VmOptions>) {
  const vm = createVm({
    memoryPages: 250,
    guestPages: PAGES + 8,
    protocol: 'clear_young',
    policy: makePolicy('two-list'),
    ...options,
  });
  const records = vm.core.x.arenaAlloc(REFERENCES * 8) >>> 0;
  const plain = new PlainLru(options.memoryPages ?? 250);
  const { u32 } = vm.core.mem;
  const rnd = random(99);
  for (let i = 0; i < REFERENCES; i++) {
    // Phases whose hot pages differ, so that pages leave the LRU while the TLB still holds them.
    const hot = Math.floor(i / 5000) * 40;
    const near = rnd() < 0.9;
    const page = near ? hot + Math.floor(rnd() ** 3 * 200) : Math.floor(rnd() * PAGES);
    const kind = Math.floor(rnd() * 3);
    u32[records / 4 + 2 * i] = ((page << 12) | kind) >>> 0;
    plain.touch(page, kind === ACCESS_WRITE);
  }
  for (let i = 0; i < REFERENCES; i += 1000) vm.runRecords(records + i * 8, 1000);
  return { counters: vm.stats.read(), ideal: idealLruOf(vm.core), plain };
}

describe('the yardstick under the machine', () => {
  test.each<[string, Partial<VmOptions>]>([
    ['as it comes', {}],
    ['a TLB that reaches further than the LRU', { memoryPages: 20, guestTables: 'resident' }],
    ['fully used', { memoryPages: 900 }],
    ['three vCPUs', { vcpus: 3 }],
    ['faults that leave the core', { quickFaults: false }],
    ['KVM of 6.1 with prefetch', { generation: '6.1', prefetch: true }],
  ])('counts the faults of a plain LRU: %s', (_, options) => {
    const { ideal, plain } = machine(options);
    expect(ideal).toEqual({ faults: plain.faults, writebacks: plain.writebacks });
  });

  test.each(['spte-lru', 'v3', 'clear_young'])('changes nothing of the machine: %s', (protocol) => {
    const beside = machine({ protocol, vcpus: 2 }).counters;
    const alone = machine({ protocol, vcpus: 2, yardstick: false }).counters;
    const none = { spurious_swap_outs: 0, false_old: 0, false_young: 0 };
    expect(alone).toEqual({ ...beside, ...none });
    expect(beside.evictions).toBeGreaterThan(PAGES);
  });

  test('sees what the guest kernel knows: with --verify its own record tells which page it is', () => {
    for (const protocol of ['v3', 'v4', 'clear_young']) {
      const fast = machine({ protocol, vcpus: 2 });
      const checked = machine({ protocol, vcpus: 2, verify: true });
      expect(checked.counters).toEqual(fast.counters);
      expect(checked.ideal).toEqual(fast.ideal);
      expect(fast.counters.spurious_swap_outs).toBeGreaterThan(0);
    }
  });
});
