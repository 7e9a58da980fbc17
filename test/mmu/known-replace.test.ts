// A page of a file takes the place of the one that is evicted for it, both known (assembly/straight/known_replace.ts):
// what stands against it in each scene must be noticed. Served in run() or by the protocols, host and guest end up in
// the same way.
import { describe, expect, test } from 'vitest';
import {
  ACCESS_READ,
  ACCESS_WRITE,
  FRAME_CONTENT,
  FRAME_FLAGS,
  FRAME_REFCOUNT,
  FRAME_RMAP,
  HPTE_PRESENT,
  LRU_POLICY_FIRST,
} from '../../assembly/abi.ts';
import { auditKvmPins } from '../../src/kvm/audit.ts';
import { auditHost } from '../../src/mm/audit.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { VM_SHARED, type Vma } from '../../src/mm/vma.ts';
import { makePolicy } from '../../src/policies.ts';
import { GENERATIONS } from '../../src/simulate.ts';
import { testRandom } from '../machine/helpers.ts';
import { ENTRY, type GuestOptions, PT, TableGuest } from './guest.ts';

const PAGES = 1024;
/** Frames for some of the pages that the guest uses in turn, and for its four tables. */
const FRAMES = 14;
const FIRST = 40;
const TURN = Array.from({ length: 14 }, (_, i) => FIRST + i);
/** A page of other 2 MiB, in the host's tables and in the file's, and where the guest maps it. */
const FAR = 600;
const ELSEWHERE = 70;

/** A page that can be locked in memory. */
const LOCKED = 10;

type Memory = NonNullable<GuestOptions['memory']>;

/** A guest that used its pages in turn until all were known. */
function turning(memory: Memory, generation: string, quickFaults: boolean, prefetch: boolean) {
  const guest = new TableGuest({
    pages: PAGES,
    frames: FRAMES,
    memory,
    generation,
    host: MM_GENERATIONS[generation as keyof typeof MM_GENERATIONS],
    policy: makePolicy('clock'),
    flushScope: 'pages',
    quickFaults,
    prefetch,
  });
  // Reclaim that comes to a table of the guest's forgets what is known.
  guest.mm.mlock(guest.hvn, PT + 1, true);
  for (const page of TURN) guest.map(PT, page, page);
  guest.map(PT, ELSEWHERE, FAR);
  return guest;
}

/** The guest uses pages in turn, some times, in one batch. */
function turn(guest: TableGuest, times: number, kind = ACCESS_READ, pages = TURN): string {
  return guest.accesses(repeated(pages, times), kind).kind;
}

function repeated(pages: readonly number[], times: number): number[] {
  return Array.from({ length: times }, () => pages).flat();
}

/** The guest reads pages, and writes those that are given negative, in one batch. */
function mixed(guest: TableGuest, pages: readonly number[]): string {
  const kinds = pages.map((page) => (page < 0 ? ACCESS_WRITE : ACCESS_READ));
  return guest.accesses(pages.map(Math.abs), kinds).kind;
}

const WORDS = [FRAME_FLAGS, FRAME_REFCOUNT, FRAME_RMAP, FRAME_CONTENT];

/** What a scene leaves behind, while `pins` references are held. */
function left(guest: TableGuest, ends: readonly unknown[], pins: number) {
  const { core, kvm, host } = guest;
  const audited = auditKvmPins(kvm);
  expect([...audited.problems, ...auditHost(host, audited.pins + pins).problems]).toEqual([]);
  const word = (pfn: number, at: number): number =>
    core.mem.load32((core.x.framePtr(pfn) >>> 0) + at);
  const list: number[][] = [];
  for (let pfn = core.x.lruTail(LRU_POLICY_FIRST); pfn !== 0; pfn = core.x.lruNewer(pfn)) {
    list.push([pfn, ...WORDS.map((at) => word(pfn, at))]);
  }
  const pages = [...TURN, FAR];
  return {
    ends,
    list,
    tables: core.x.hpteTables() >>> 0,
    bytes: core.x.tablePages() >>> 0,
    hptes: pages.map((page) => guest.hpte(page)),
    sptes: [...TURN, ELSEWHERE].map((page) => guest.spte(page)),
    time: [host.now, host.disk.waitNs, host.disk.busyNs, host.swap.writes],
    counters: { ...guest.stats.read() },
  };
}

interface Played {
  readonly ends: readonly unknown[];
  readonly pins?: number;
}

/** Whether the host maps a page. */
function isMapped(guest: TableGuest, page: number): boolean {
  return (guest.hpte(page) & HPTE_PRESENT) !== 0;
}

/** A page of the guest's turn that the host maps, the `n`-th. */
function mapped(guest: TableGuest, n: number): number {
  const all = TURN.filter((page) => isMapped(guest, page));
  return all[n % all.length] as number;
}

/** Pages behind `from` lie in a file from `pgoff` on; `sole` is used often enough that it faults while mapped, then not. */
function soleIn(
  guest: TableGuest,
  { from, sole, pgoff }: Readonly<Record<'from' | 'sole' | 'pgoff', number>>,
): Played {
  const { mm, hvn } = guest;
  const { file, flags } = mm.findVma(hvn + from) as Vma;
  mm.munmap(hvn + from, 30);
  mm.mmap({ hvn: hvn + from, npages: 30, file, pgoff, shared: (flags & VM_SHARED) !== 0 });
  TURN.forEach((vpn, i) => guest.map(PT, vpn, i < TURN.length - 3 ? from + i : vpn));
  guest.map(PT, ELSEWHERE, sole);
  for (const vpn of TURN) guest.vcpu.invlpg(vpn);
  const turned = TURN.slice(0, TURN.length - 3);
  const often = turned.flatMap((vpn, i) => (i % 3 === 2 ? [vpn, ELSEWHERE] : [vpn]));
  const all = [...repeated(often, 8), ...repeated(turned, 3)];
  return { ends: [turn(guest, 2, ACCESS_READ, all), turn(guest, 2, ACCESS_WRITE, all)] };
}

const SCENES: Readonly<Record<string, (guest: TableGuest) => Played>> = {
  'nothing stands against it': (guest) => ({
    ends: [turn(guest, 12), turn(guest, 6, ACCESS_WRITE)],
  }),

  'a device holds pages': (guest) => {
    const ends = [turn(guest, 6)];
    const held = [mapped(guest, 0), mapped(guest, 3)].flatMap((page) =>
      guest.mm.pin(guest.hvn + page, 1, false),
    );
    ends.push(turn(guest, 8), turn(guest, 4, ACCESS_WRITE));
    return { ends, pins: held.length };
  },

  'the only page in a table of the host’s, and not in one of the file’s': (guest) =>
    soleIn(guest, { from: 500, sole: 520, pgoff: 100 }),

  'the only page in a table of the file’s, and not in one of the host’s': (guest) =>
    soleIn(guest, { from: 200, sole: 220, pgoff: 500 }),

  'the pages come up in no order': (guest) => {
    const random = testRandom(7);
    const pages = Array.from({ length: 500 }, () => FIRST + Math.floor(random() * TURN.length));
    return { ends: [turn(guest, 1, ACCESS_WRITE, pages), turn(guest, 1, ACCESS_READ, pages)] };
  },

  'pages are read, and then written, at once': (guest) => {
    const ends = [turn(guest, 6)];
    for (let i = 0; i < 3; i++) {
      const pages = [...repeated(TURN, 4), ...TURN.map((page) => -page), ...repeated(TURN, 2)];
      ends.push(mixed(guest, pages));
    }
    return { ends };
  },

  'pages of which some were written are read, and the others then written': (guest) => {
    // In private memory a write copies.
    const [first = FIRST, ...rest] = TURN;
    const ends = [mixed(guest, [-first]), turn(guest, 6)];
    for (let i = 0; i < 3; i++) {
      const written = rest.slice(4 * i, 4 * i + 4).map((page) => -page);
      ends.push(mixed(guest, [...repeated(rest, 3), ...written, ...repeated(rest, 1)]));
    }
    return { ends };
  },

  'pages that the guest may only read are written by the VMM': (guest) => {
    const random = testRandom(9);
    const pages = Array.from({ length: 300 }, () => FIRST + Math.floor(random() * TURN.length));
    for (const page of TURN) guest.map(PT, page, page, ENTRY & ~2);
    const ends: string[] = [];
    for (let i = 0; i < 4; i++) {
      ends.push(turn(guest, 1, ACCESS_READ, pages));
      for (const page of TURN) if (isMapped(guest, page)) guest.mm.access(guest.hvn + page, true);
    }
    return { ends };
  },

  'the host forbids writes, and permits them again': (guest) => {
    // In shared memory its ptes are writable then, and clean: what the guest writes the sptes alone say.
    const rights = { read: true, write: true, exec: true };
    const random = testRandom(11);
    const ends = [turn(guest, 6)];
    for (let i = 0; i < 3; i++) {
      guest.mm.mprotect(guest.hvn + FIRST, TURN.length, { ...rights, write: false });
      guest.mm.mprotect(guest.hvn + FIRST, TURN.length, rights);
      const pages = Array.from({ length: 250 }, () => FIRST + Math.floor(random() * TURN.length));
      ends.push(
        mixed(
          guest,
          pages.map((page) => (random() < 0.2 ? -page : page)),
        ),
      );
    }
    return { ends };
  },

  'a page holds the first that its file has not': (guest) => {
    const ends = [turn(guest, 6)];
    guest.mm.mlock(guest.hvn + LOCKED, 1, true);
    guest.map(PT, LOCKED, LOCKED);
    const here = TURN.filter((page) => isMapped(guest, page));
    for (const page of here) {
      guest.mm.access(guest.hvn + page, page === here[2]);
      guest.core.x.unmapAndFlush(guest.mm.id, guest.hvn + page, guest.hvn + page + 1);
    }
    guest.core.x.frameSetContent(guest.pfn(here[2] as number), 77);
    const rest = TURN.filter((page) => !here.includes(page));
    ends.push(turn(guest, 1, ACCESS_READ, [LOCKED, ...here, ...rest, ...repeated(TURN, 2)]));
    return { ends };
  },

  'a page has bytes': (guest) => {
    const ends = [turn(guest, 6)];
    guest.map(mapped(guest, 2), 7, FIRST);
    ends.push(turn(guest, 6), turn(guest, 6, ACCESS_WRITE));
    return { ends };
  },

  'other tables of the host’s and the file’s have further pages': (guest) => {
    for (let i = 0; i < 6; i++) guest.map(PT, ELSEWHERE + i, FAR + i);
    const pages = [...TURN.slice(0, 8), ...Array.from({ length: 6 }, (_, i) => ELSEWHERE + i)];
    return { ends: [turn(guest, 10, ACCESS_READ, pages), turn(guest, 10, ACCESS_WRITE, pages)] };
  },

  'some pages are written': (guest) => {
    const ends: string[] = [];
    for (let i = 0; i < 4; i++) {
      ends.push(turn(guest, 5), turn(guest, 1, ACCESS_WRITE, TURN.slice(0, 4 + i)));
    }
    ends.push(turn(guest, 5));
    return { ends };
  },

  'there is room again': (guest) => {
    const ends = [turn(guest, 6)];
    // The first page of a batch is not known: one that is on no list.
    guest.mm.mlock(guest.hvn + LOCKED, 1, true);
    guest.map(PT, LOCKED, LOCKED);
    guest.host.reclaim(4);
    ends.push(turn(guest, 4));
    guest.host.reclaim(4);
    for (const page of TURN) {
      guest.core.x.unmapAndFlush(guest.mm.id, guest.hvn + page, guest.hvn + page + 1);
    }
    // All that the host maps is known when the first page comes for which there is room.
    const here = TURN.filter((page) => isMapped(guest, page));
    const rest = TURN.filter((page) => !here.includes(page));
    ends.push(turn(guest, 1, ACCESS_READ, [LOCKED, ...here, ...rest]));
    guest.host.limit = FRAMES - 2;
    ends.push(turn(guest, 4));
    return { ends };
  },

  'some pages are another file’s': (guest) => {
    const ends = [turn(guest, 6, ACCESS_WRITE)];
    guest.mm.munmap(guest.hvn + FIRST + 4, 4);
    const file = guest.host.createFile();
    guest.mm.mmap({ hvn: guest.hvn + FIRST + 4, npages: 4, file, pgoff: 700 });
    ends.push(turn(guest, 6), turn(guest, 6, ACCESS_WRITE));
    return { ends };
  },

  'a child maps them, too': (guest) => {
    const ends = [turn(guest, 6)];
    const child = guest.mm.fork();
    for (const page of TURN.slice(0, 6)) child.access(guest.hvn + page, false);
    ends.push(turn(guest, 6));
    child.exit();
    ends.push(turn(guest, 6, ACCESS_WRITE));
    return { ends };
  },

  'the VMM reads pages ahead': (guest) => {
    const ends = [turn(guest, 6)];
    for (let i = 0; i < 3; i++) {
      for (const page of TURN) guest.mm.access(guest.hvn + page, i === 1);
      ends.push(turn(guest, 3, i === 2 ? ACCESS_WRITE : ACCESS_READ));
    }
    return { ends };
  },
};

const cases = Object.keys(SCENES).flatMap((name) =>
  GENERATIONS.flatMap((generation) =>
    (['file', 'private'] as const).map((memory) => [name, generation, memory] as const),
  ),
);

describe('a page in the place of another', () => {
  test.each(cases)('%s, %s, %s', (name, generation, memory) => {
    for (const prefetch of [false, true]) {
      const play = (quickFaults: boolean) => {
        const guest = turning(memory, generation, quickFaults, prefetch);
        const { ends, pins = 0 } = SCENES[name]!(guest);
        return left(guest, ends, pins);
      };
      expect(play(true)).toEqual(play(false));
    }
  });
});
