// Known pages (assembly/straight/known_page.ts) and the TLB: a fault at one looks into none, and what it enters is where
// its entry says when it has to go. Served in run() or by the protocols, the TLB comes to hold the same.
import { describe, expect, test } from 'vitest';
import { ACCESS_READ, ACCESS_WRITE, HPTE_PRESENT, LRU_POLICY_FIRST } from '../../assembly/abi.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { createVm } from '../../src/machine.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { makePolicy } from '../../src/policies.ts';
import { GENERATIONS } from '../../src/simulate.ts';
import type { TlbGeometry } from '../../src/units.ts';
import { BASE_VPN, testRandom } from '../machine/helpers.ts';
import { PT, TableGuest } from './guest.ts';
import { countsOf, hostState, kvmState, tlbOf } from './machine-state.ts';

const { v3 } = AGING_PRESETS;
/** So few pages stay in the TLB and in memory that most accesses fault, and are looked for among known pages first. */
const PAGES = 60;
const FRAMES = 20;
const ACCESSES = 3_000;

/** Pages from `first` on come up in no order; to the first one goes a share of its own, `hot`. */
function play(
  generation: string,
  quickFaults: boolean,
  {
    flush,
    first,
    hot,
    l2Ways,
  }: Readonly<Record<'first' | 'hot' | 'l2Ways', number>> & { flush: boolean },
) {
  const vm = createVm({
    protocol: { ...v3, kvm: { ...v3.kvm, flush } },
    generation,
    policy: makePolicy('clock'),
    backing: 'file',
    flushScope: 'pages',
    guestTables: 'resident',
    memoryPages: FRAMES,
    guestPages: PAGES,
    tablePages: 20,
    tlb: { l1Sets: 1, l1Ways: 4, l2Sets: 1, l2Ways },
    quickFaults,
  });
  const records = vm.core.x.arenaAlloc(8 * ACCESSES) >>> 0;
  const random = testRandom(3);
  const counts: unknown[] = [];
  for (let batch = 0; batch < 3; batch++) {
    for (let i = 0; i < ACCESSES; i++) {
      const kind = random() < 0.3 ? ACCESS_WRITE : ACCESS_READ;
      const page = random() < hot ? first : first + Math.floor(random() * PAGES);
      vm.core.mem.store32(records + 8 * i, (page << 12) | kind);
      vm.core.mem.store32(records + 8 * i + 4, 0);
    }
    vm.runRecords(records, ACCESSES);
    counts.push(countsOf(vm));
  }
  const vpns = Array.from({ length: PAGES }, (_, i) => first + i);
  const { sptes, tlb } = kvmState(vm, vpns)[0]!;
  // An entry begins with its gva.
  const outlive = tlb.some((entry) => sptes[parseInt(entry, 16) / 4096 - first] === '0');
  return { counts, host: hostState(vm), sptes, tlb, outlive };
}

describe('translations that outlive their sptes', () => {
  // No page is known there.
  test.each(GENERATIONS)('are used, %s', (generation) => {
    const how = { flush: false, first: BASE_VPN, hot: 0, l2Ways: 12 };
    const core = play(generation, true, how);
    expect(core.outlive).toBe(true);
    expect(core).toEqual(play(generation, false, how));
  });
});

describe('the page at address 0', () => {
  // An empty way looks like one of its, so that it is not known while its sets have room.
  test.each(GENERATIONS)('comes and goes, %s', (generation) => {
    const how = { flush: true, first: 0, hot: 0.1, l2Ways: 4 };
    expect(play(generation, true, how)).toEqual(play(generation, false, how));
  });
});

const REGISTERS = { cr0: 0x80050033, cr4: 0x20020, efer: 0xd00 };
/** A page that is locked in memory, and pages that come up in turn, more than there is room for. */
const LOCKED = 10;
const TURN = Array.from({ length: 14 }, (_, i) => 40 + i);

/** A guest with address spaces 1 and 2 of the same tables, which all its pages in turn are known of. */
function spaced(generation: string, quickFaults: boolean, tlb: TlbGeometry) {
  const guest = new TableGuest({
    pages: 1024,
    frames: 16,
    memory: 'file',
    generation,
    host: MM_GENERATIONS[generation as keyof typeof MM_GENERATIONS],
    policy: makePolicy('clock'),
    flushScope: 'pages',
    quickFaults,
    tlb,
  });
  guest.mm.mlock(guest.hvn, PT + 1, true);
  guest.mm.mlock(guest.hvn + LOCKED, 1, true);
  guest.vcpu.setRegisters(REGISTERS);
  for (const page of [LOCKED, ...TURN]) guest.map(PT, page, page);
  guest.vcpu.setCr3(0, 1);
  const { x } = guest.core;
  for (let i = 0; i < 6; i++) expect(guest.accesses([LOCKED, ...TURN]).kind).toBe('done');
  const here = TURN.filter((page) => (guest.hpte(page) & HPTE_PRESENT) !== 0);
  // The next page that reclaim looks at, the others that are mapped, and one that is not.
  const oldest = here.find((page) => guest.pfn(page) === x.lruTail(LRU_POLICY_FIRST)) as number;
  const others = here.filter((page) => page !== oldest);
  const absent = TURN.find((page) => !here.includes(page)) as number;
  return { guest, oldest, others, absent };
}

type Spaced = ReturnType<typeof spaced>;

/** Accesses of a batch, in which the second page is written; the first fault below a table is not one for known pages. */
function writeSecond(guest: TableGuest, pages: readonly number[]) {
  guest.core.x.unmapAndFlush(guest.mm.id, guest.hvn + LOCKED, guest.hvn + LOCKED + 1);
  const kinds = pages.map((_, i) => (i === 1 ? ACCESS_WRITE : ACCESS_READ));
  return guest.accesses(pages, kinds).kind;
}

const SCENES: Readonly<Record<string, { tlb: TlbGeometry; scene: (on: Spaced) => unknown[] }>> = {
  'the L2 holds the page in another space, the L1 not': {
    tlb: { l1Sets: 1, l1Ways: 4, l2Sets: 1, l2Ways: 12 },
    scene: ({ guest, oldest, others, absent }) => {
      const ends = [guest.accesses([LOCKED, oldest, ...others.slice(0, 4)]).kind];
      guest.vcpu.setCr3(0, 2, true);
      return [...ends, writeSecond(guest, [LOCKED, oldest, absent])];
    },
  },

  'the L1 holds the page in another space, the L2 not': {
    tlb: { l1Sets: 1, l1Ways: 4, l2Sets: 1, l2Ways: 4 },
    scene: ({ guest, oldest, others, absent }) => {
      const again = others.slice(0, 4).flatMap((page) => [page, oldest]);
      const ends = [guest.accesses([LOCKED, oldest, ...again]).kind];
      guest.vcpu.setCr3(0, 2, true);
      return [...ends, writeSecond(guest, [LOCKED, oldest, absent])];
    },
  },

  'its sets hold translations of a space that was flushed': {
    tlb: { l1Sets: 2, l1Ways: 4, l2Sets: 2, l2Ways: 4 },
    scene: ({ guest, others }) => {
      const [known, live, ...dead] = others.filter((page) => page % 2 === 1);
      const pages = dead.slice(0, 3);
      const ends = [guest.accesses([LOCKED, known as number]).kind];
      guest.vcpu.setCr3(0, 2, true);
      ends.push(guest.accesses([LOCKED, live as number]).kind);
      guest.vcpu.setCr3(0, 1, true);
      ends.push(guest.accesses([LOCKED, ...pages]).kind);
      guest.vcpu.setCr3(0, 1);
      guest.vcpu.setCr3(0, 2, true);
      ends.push(writeSecond(guest, [LOCKED, known as number, live as number]));
      expect(pages.length).toBe(3);
      return ends;
    },
  },
};

describe('a known page of one space among others', () => {
  const cases = Object.keys(SCENES).flatMap((name) => GENERATIONS.map((g) => [name, g] as const));
  test.each(cases)('%s, %s', (name, generation) => {
    const { tlb, scene } = SCENES[name]!;
    const left = (quickFaults: boolean) => {
      const on = spaced(generation, quickFaults, tlb);
      const ends = scene(on);
      const { guest } = on;
      return { ends, tlb: tlbOf(guest.vcpu), counters: { ...guest.stats.read() } };
    };
    expect(left(true)).toEqual(left(false));
  });
});
