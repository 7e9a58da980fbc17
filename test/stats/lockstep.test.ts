// The lockstep yardstick against an LRU written plainly with a Map.
import { describe, expect, test } from 'vitest';
import {
  ACCESS_WRITE,
  LOCKSTEP_FAULTS,
  LOCKSTEP_RESIDENT,
  LOCKSTEP_WRITEBACKS,
} from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';

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

describe('lockstep LRU', () => {
  test('agrees with a plain LRU on faults, write-backs, residents and last accesses', () => {
    const core = loadCore('debug');
    const GFNS = 200;
    core.x.lockstepInit(GFNS, 60);
    // Two spaces; each space's pages lie far apart, upper half included.
    const vpns: { space: number; hi: number; lo: number; gfn: number }[] = [];
    for (let gfn = 0; gfn < GFNS; gfn++) {
      const space = gfn & 1;
      const hi = gfn % 3 === 0 ? 15 : 0;
      const lo = (gfn * 2654435761) >>> 0;
      core.x.lockstepMap(space, hi, lo, gfn);
      expect(core.x.lockstepGfn(space, hi, lo)).toBe(gfn);
      expect(core.x.lockstepGfn(space ^ 1, hi, lo) >>> 0).toBe(0xffffffff);
      vpns.push({ space, hi, lo, gfn });
    }
    const plain = new PlainLru(60);
    const last = new Map<number, number>();
    const rnd = random(7);
    const at = core.x.pageAlloc() >>> 0;
    for (let now = 1; now <= 50_000; now++) {
      const page = vpns[Math.floor(rnd() ** 2 * GFNS)] as (typeof vpns)[number];
      const write = rnd() < 0.3;
      const word = at >>> 2;
      core.mem.u32[word] = ((page.lo << 12) | (write ? ACCESS_WRITE : 0)) >>> 0;
      const sign = page.hi === 15 ? 0xffff0000 : 0;
      core.mem.u32[word + 1] = (sign | (page.hi << 12) | (page.lo >>> 20)) >>> 0;
      core.x.lockstepRun(at, 1, page.space);
      plain.touch(page.gfn, write);
      last.set(page.gfn, now);
    }
    const state = core.x.lockstepState() >>> 0;
    expect(core.mem.load64(state + LOCKSTEP_FAULTS)).toBe(plain.faults);
    expect(core.mem.load64(state + LOCKSTEP_WRITEBACKS)).toBe(plain.writebacks);
    for (let gfn = 0; gfn < GFNS; gfn++) {
      const resident = plain.pages.has(gfn) ? LOCKSTEP_RESIDENT : 0;
      expect(core.x.lockstepResident(gfn)).toBe(resident);
      expect(core.x.lockstepLast(gfn)).toBe(last.get(gfn) ?? 0);
    }
  });
});
