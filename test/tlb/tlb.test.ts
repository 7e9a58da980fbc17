// The TLB and the access path against the plain model of model.ts: hits, L2 hits and misses must
// agree exactly after every step of random programs of accesses and flushes.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  EXIT_DONE,
  EXIT_PAGE_FAULT,
  VCPU_EXIT_REASON,
  VCPU_ROOT,
  VCPU_ROOT_LEVEL,
} from '../../assembly/abi.ts';
import { TLB_HITS, TLB_L2_HITS, TLB_MISSES } from '../../assembly/counters.ts';
import { type Core, loadCore } from '../../src/core/load.ts';
import { type Entry, type ModelAccess, ModelTlb } from './model.ts';

const P = 1n;
const W = 2n;
const U = 4n;
const LARGE = 128n;
const G = 256n;
const NX = 1n << 63n;

/** A mapping of the random programs: rights and size depend on the page alone. */
interface Mapping {
  readonly user: boolean;
  readonly write: boolean;
  readonly exec: boolean;
  readonly global: boolean;
  readonly size: number;
}

const SIZES = [1, 512, 262144] as const;

/** vpns: 24 small pages, 4 of 2 MiB (at 1 GiB), 2 of 1 GiB (at 4 GiB), in 3 spaces. */
function mappingOf(vpn: number): Mapping {
  const size = vpn < 262144 ? 1 : vpn < 1048576 ? 512 : 262144;
  const page = Math.floor(vpn / size);
  return {
    user: page % 5 !== 1,
    write: page % 3 !== 1,
    exec: page % 7 !== 2,
    global: page % 4 === 3,
    size,
  };
}

class Machine {
  readonly core: Core = loadCore('debug');
  readonly vcpu: number;
  readonly records: number;
  readonly #roots: number[] = [];
  /** Pages whose D is set in the tables, by space (small and large alike). */
  readonly #dirty = new Set<string>();
  readonly model: ModelTlb;

  constructor(geometry: readonly [number, number, number, number]) {
    const { x, mem } = this.core;
    x.vcpuInit(1);
    this.vcpu = x.vcpuPtr(0);
    x.tlbInit(this.vcpu, ...geometry);
    this.model = new ModelTlb(...geometry);
    this.records = x.pageAlloc();
    for (let space = 0; space < 3; space++) this.#roots.push(x.pageAlloc());
    mem.store32(this.vcpu + VCPU_ROOT_LEVEL, 4);
    mem.store32(this.vcpu + VCPU_ROOT, this.#roots[0] as number);
  }

  /** Address of the entry of `vpn` at the level of its mapping, tables made on the way. */
  #entry(space: number, vpn: number): number {
    const { x, mem } = this.core;
    const level = SIZES.indexOf(mappingOf(vpn).size as 1) + 1;
    let table = this.#roots[space] as number;
    for (let l = 4; l > level; l--) {
      const at = table + (Math.floor(vpn / 512 ** (l - 1)) % 512) * 8;
      let next = mem.load32(at) & ~0xfff;
      if (next === 0) {
        next = x.pageAlloc();
        mem.storeBig(at, BigInt(next) | P | W | U);
      }
      table = next;
    }
    return table + (Math.floor(vpn / 512 ** (level - 1)) % 512) * 8;
  }

  map(space: number, vpn: number): void {
    const m = mappingOf(vpn);
    const frame = BigInt(Math.floor(vpn / m.size) * m.size) << 12n;
    let pte = frame | P | (m.user ? U : 0n) | (m.write ? W : 0n) | (m.exec ? 0n : NX);
    if (m.global) pte |= G;
    if (m.size > 1) pte |= LARGE;
    this.core.mem.storeBig(this.#entry(space, vpn), pte);
    this.#dirty.delete(`${space} ${Math.floor(vpn / m.size)} ${m.size}`);
  }

  unmap(space: number, vpn: number): void {
    this.core.mem.storeBig(this.#entry(space, vpn), 0n);
  }

  #walk(access: ModelAccess): Entry | undefined {
    const m = mappingOf(access.vpn);
    const space = this.model.space;
    const page = Math.floor(access.vpn / m.size);
    if ((this.core.mem.load32(this.#entry(space, access.vpn)) & 1) === 0) return undefined;
    if (!access.supervisor && !m.user) return undefined;
    if (access.kind === 1 && !m.write) return undefined;
    if (access.kind === 2 && !m.exec) return undefined;
    const key = `${space} ${page} ${m.size}`;
    if (access.kind === 1) this.#dirty.add(key);
    return { ...m, space, page, dirty: this.#dirty.has(key) };
  }

  /** Runs one access on both; the model's verdict is returned, agreement checked. */
  access(access: ModelAccess): void {
    const { x, mem } = this.core;
    // The model's walk looks at P as it is before the access, the core's walk sets only A and D.
    const allowed = this.model.access(access, () => this.#walk(access));
    const flags = access.kind | (access.supervisor ? 4 : 0);
    mem.storeBig(this.records, (BigInt(access.vpn) << 12n) | BigInt(flags));
    const done = x.runBatch(this.vcpu, this.records, 1);
    expect(done).toBe(allowed ? 1 : 0);
    const exit = mem.load32(this.vcpu + VCPU_EXIT_REASON);
    expect(exit).toBe(allowed ? EXIT_DONE : EXIT_PAGE_FAULT);
  }

  select(space: number): void {
    this.model.space = space;
    this.core.mem.store32(this.vcpu + VCPU_ROOT, this.#roots[space] as number);
    this.core.x.tlbSelect(this.vcpu, space);
  }

  counter(slot: number): number {
    return this.core.mem.load64((this.core.x.statsPtr() >>> 0) + slot * 8);
  }

  check(): void {
    const { l1, l2, miss } = this.model.counts;
    expect({
      hits: this.counter(TLB_HITS),
      l2: this.counter(TLB_L2_HITS),
      misses: this.counter(TLB_MISSES),
    }).toEqual({ hits: l1 + l2, l2, misses: miss });
  }
}

const vpnArb = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 23 }).map((i) => (i % 12) * 3 + i) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 9 }).map((i) => 262144 + i * 512 + 77) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 5 }).map((i) => 1048576 + i * 262144 + 9999) },
);

type Step = (machine: Machine) => void;

const stepArb: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 30,
    arbitrary: fc
      .record({ vpn: vpnArb, kind: fc.constantFrom(0, 0, 1, 2), supervisor: fc.boolean() })
      .map((access) => (m: Machine) => m.access(access)),
  },
  {
    weight: 3,
    arbitrary: fc.nat(2).map((space) => (m: Machine) => m.select(space)),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(2), vpnArb).map(([space, vpn]) => (m: Machine) => {
      m.model.flushPage(space, vpn);
      m.core.x.tlbFlushPage(m.vcpu, space, vpn, 0);
    }),
  },
  {
    weight: 1,
    arbitrary: fc.nat(2).map((space) => (m: Machine) => {
      m.model.flushSpace(space);
      m.core.x.tlbFlushSpace(m.vcpu, space);
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      (m: Machine) => {
        m.model.flushAll();
        m.core.x.tlbFlushAll(m.vcpu);
      },
      (m: Machine) => {
        m.model.flushNonGlobal();
        m.core.x.tlbFlushNonGlobal(m.vcpu);
      },
    ),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.nat(2), vpnArb, fc.boolean())
      .map(([space, vpn, present]) => (m: Machine) => {
        if (present) m.map(space, vpn);
        else m.unmap(space, vpn);
      }),
  },
);

const geometryArb = fc.constantFrom(
  [1, 1, 1, 1] as const,
  [2, 2, 4, 3] as const,
  [4, 4, 4, 12] as const,
  [1, 16, 2, 16] as const,
  [16, 4, 128, 12] as const,
);

test('hits and misses of random programs are those of the model', () => {
  fc.assert(
    fc.property(
      geometryArb,
      fc.array(stepArb, { minLength: 1, maxLength: 400, size: 'max' }),
      (geometry, steps) => {
        const machine = new Machine(geometry);
        for (let space = 0; space < 3; space++) {
          for (let i = 0; i < 24; i++) machine.map(space, (i % 12) * 3 + i);
          for (let i = 0; i < 10; i++) machine.map(space, 262144 + i * 512);
          for (let i = 0; i < 6; i++) machine.map(space, 1048576 + i * 262144);
        }
        for (const step of steps) {
          step(machine);
          machine.check();
        }
      },
    ),
    { numRuns: 150, seed: 5 },
  );
});

test('hundreds of flushes recycle the tags without a wrong hit', () => {
  const machine = new Machine([2, 2, 4, 3]);
  for (let space = 0; space < 3; space++) {
    for (let vpn = 0; vpn < 40; vpn++) machine.map(space, vpn);
  }
  let seed = 12345;
  const random = (n: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % n;
  };
  for (let round = 0; round < 3000; round++) {
    machine.select(random(3));
    for (let i = 0; i < 6; i++) {
      machine.access({ vpn: random(40), kind: random(3), supervisor: true });
    }
    const space = random(3);
    machine.model.flushSpace(space);
    machine.core.x.tlbFlushSpace(machine.vcpu, space);
    if (random(9) === 0) {
      machine.model.flushAll();
      machine.core.x.tlbFlushAll(machine.vcpu);
    }
  }
  machine.check();
});

test('a translation left alone while every tag was used again does not come back', () => {
  const machine = new Machine([16, 4, 128, 12]);
  for (let space = 0; space < 3; space++) {
    for (let vpn = 0; vpn < 40; vpn++) machine.map(space, vpn);
  }
  const read = (vpn: number): void => machine.access({ vpn, kind: 0, supervisor: true });
  // Each page is read every 126th to 129th flush: there are 127 tags.
  for (const period of [126, 127, 128, 129]) {
    for (let flush = 0; flush < 4 * period; flush++) {
      machine.model.flushSpace(0);
      machine.core.x.tlbFlushSpace(machine.vcpu, 0);
      const vpn = flush % period;
      if (vpn < 40) read(vpn);
      machine.check();
    }
  }
});
