// What the plain fault must notice before it maps a page, in one small scene each: a page that the host exchanged, an
// area that forbids the access, and a table of the host's that goes while room is made for the page.
import { describe, expect, test } from 'vitest';
import { ACCESS_READ, ACCESS_WRITE, FRAME_REFCOUNT, HPTE_PRESENT } from '../../assembly/abi.ts';
import { ERRNO } from '../../src/core/errors.ts';
import { FifoPolicy } from '../../src/mm/vmscan/fifo.ts';
import type { ReclaimPolicy } from '../../src/mm/vmscan/policy.ts';
import { TwoListPolicy } from '../../src/mm/vmscan/two-list.ts';
import { ENTRY, PT, TABLES, TableGuest } from './guest.ts';

/** Pages behind the guest's first table. */
const DATA = 20;

function refcount({ core }: TableGuest, pfn: number): number {
  return core.mem.load32((core.x.framePtr(pfn) >>> 0) + FRAME_REFCOUNT);
}

describe('a page that the VMM copied while KVM, without notifiers, maps the old one', () => {
  // KVM's spte is to the page of the file, and pins it. The guest's write finds another one in the host's table: it is
  // mapped in place of the old one, which only the page cache holds then.
  test.each([true, false])('is mapped by the next write; faults served in run(): %s', (quick) => {
    const guest = new TableGuest({
      pages: 64,
      protocol: 'none',
      memory: 'private',
      quickFaults: quick,
    });
    guest.map(PT, DATA, DATA);
    guest.map(PT, DATA + 1, DATA + 1);
    expect(guest.access(DATA + 1).kind).toBe('done');
    expect(guest.access(DATA).kind).toBe('done');
    const old = guest.pfn(DATA);
    expect(guest.spte(DATA) >>> 12).toBe(old);
    guest.mm.access(guest.hvn + DATA, true);
    const copy = guest.pfn(DATA);
    expect(copy).not.toBe(old);
    expect(refcount(guest, old)).toBe(2);
    const before = refcount(guest, copy);
    expect(guest.access(DATA, ACCESS_WRITE).kind).toBe('done');
    expect(guest.spte(DATA) >>> 12).toBe(copy);
    expect(refcount(guest, copy)).toBe(before + 1);
    expect(refcount(guest, old)).toBe(1);
  });
});

describe('an area that the VMM made inaccessible', () => {
  const FORBIDS = [
    ['reads', ACCESS_READ, { read: false, write: false }],
    ['writes', ACCESS_WRITE, { read: true, write: false }],
  ] as const;
  const cases = FORBIDS.flatMap(([name, kind, prot]) =>
    (['anon', 'file', 'private'] as const).map((memory) => [name, memory, kind, prot] as const),
  );

  test.each(cases)('%s of pages of %s memory fail with EFAULT', (_name, memory, kind, prot) => {
    const guest = new TableGuest({ pages: 64, memory });
    for (let page = DATA; page < DATA + 4; page++) guest.map(PT, page, page);
    // The area had faults of either kind before, and a neighbour of the page is in memory.
    expect(guest.access(DATA, ACCESS_READ).kind).toBe('done');
    expect(guest.access(DATA + 1, ACCESS_WRITE).kind).toBe('done');
    expect(guest.mm.mprotect(guest.hvn + DATA, 44, prot)).toBe(0);
    const { kind: ended, code } = guest.access(DATA + 2, kind);
    expect([ended, code]).toEqual(['memory_fault', ERRNO.EFAULT]);
    expect(guest.hpte(DATA + 2)).toBe(0);
    expect(guest.spte(DATA + 2)).toBe(0);
  });
});

describe('a table that the VMM put in place of another, behind KVM’s back', () => {
  const [FIRST, OTHER] = [600, 700] as const;

  /** Ends of accesses, sptes and counters after the entry of the second 2 MiB was exchanged. */
  function exchanged(generation: string, large: boolean, quickFaults: boolean) {
    const guest = new TableGuest({ pages: 1024, generation, quickFaults });
    guest.map(2, 1, 512, large ? ENTRY | 0x80 : ENTRY);
    for (let i = 0; i < 8; i++) {
      guest.map(512, i, FIRST + i);
      guest.map(513, i, OTHER + i);
    }
    const page = large ? 512 + 100 : 512;
    const seen = [guest.access(page), guest.access(page + 1, ACCESS_WRITE)];
    const entry = (guest.core.x.guestPagePtr(2) >>> 0) + 8;
    const to = large ? 512 : 513;
    guest.core.mem.store32(entry, (to << 12) | ENTRY);
    for (let i = 2; i < 8; i++) {
      seen.push(guest.access(512 + i, i % 3));
      const behind = guest.pfn((large ? FIRST : OTHER) + i);
      expect(guest.spte(512 + i) >>> 12).toBe(behind);
    }
    return { seen, counters: guest.stats.read() };
  }

  test.each([
    ['2008', 'a table', false],
    ['2008', 'a large page', true],
    ['6.1', 'a table', false],
    ['6.1', 'a large page', true],
  ] as const)('%s, before %s: its pages are mapped, as by the protocol', (generation, _, large) => {
    const quick = exchanged(generation, large, true);
    expect(quick).toEqual(exchanged(generation, large, false));
    expect(quick.seen.every(({ kind }) => kind === 'done')).toBe(true);
  });
});

test('without EFER.NXE, XD is reserved: P, U and RSVD of the error code', () => {
  const guest = new TableGuest({ pages: 64 });
  guest.vcpu.setRegisters({ efer: 0x500 });
  for (let page = DATA; page < DATA + 3; page++) guest.map(PT, page, page);
  guest.map(PT, DATA + 3, DATA + 3, ENTRY, 0x8000_0000);
  for (const page of [DATA, DATA + 1]) expect(guest.access(page).kind).toBe('done');
  for (const kind of [ACCESS_READ, ACCESS_WRITE]) {
    const { kind: ended, code } = guest.access(DATA + 3, kind);
    expect([ended, code]).toEqual(['guest_page_fault', 13 | (kind === ACCESS_WRITE ? 2 : 0)]);
  }
  guest.vcpu.setRegisters({ efer: 0xd00 });
  expect(guest.access(DATA + 3).kind).toBe('done');
});

describe('a table of the host that an eviction frees while a fault needs it', () => {
  /** Leaf tables map 512 pages, the tables above them 2^18. */
  const LEAF = 512;
  const UPPER = 2 ** 18;
  const FRAMES = 64;

  function guestWith(pages: number, policy: ReclaimPolicy): TableGuest {
    const guest = new TableGuest({ pages, frames: FRAMES, memory: 'file', policy });
    expect(guest.mm.mlock(guest.hvn, TABLES, true)).toBe(0);
    return guest;
  }

  /** Fills memory; the pages of `alone` are the first that go. */
  function fill(guest: TableGuest, alone: readonly number[]): void {
    for (const page of alone) guest.reach(page);
    for (const page of alone) expect(guest.access(page).kind).toBe('done');
    for (let page = DATA; guest.host.charged() < FRAMES; page++) {
      guest.map(PT, page, page);
      expect(guest.access(page).kind).toBe('done');
    }
    for (const page of alone) {
      expect(guest.hpte(page) & HPTE_PRESENT).toBe(HPTE_PRESENT);
      guest.core.x.hpteTestAndClearYoung(guest.mm.id, guest.hvn + page);
    }
  }

  test('a page of a file that is read is in the page cache, mapped, and the spte’s', () => {
    const guest = guestWith(2 * LEAF, new FifoPolicy());
    fill(guest, [LEAF]);
    guest.reach(LEAF + 1);
    const faults = guest.stats.get('shadow_page_faults');
    expect(guest.access(LEAF + 1).kind).toBe('done');
    expect(guest.stats.get('shadow_page_faults')).toBe(faults + 1);
    expect(guest.hpte(LEAF)).toBe(0);
    expect(guest.hpte(LEAF + 1) & HPTE_PRESENT).toBe(HPTE_PRESENT);
    const file = guest.mm.fileOf(guest.hvn + LEAF);
    expect(guest.core.x.filemapGet(file, LEAF + 1)).toBe(guest.pfn(LEAF + 1));
    expect(guest.spte(LEAF + 1) >>> 12).toBe(guest.pfn(LEAF + 1));
  });

  test.each([
    [UPPER, 2 * UPPER],
    [2 * UPPER, UPPER],
  ])('a page of anonymous memory that is written is writable at once: %i, %i', (first, second) => {
    // Anonymous memory begins behind a page of a file that is alone in its tables. Those of another such page go with
    // them, so that one of the two gets a new table that lies elsewhere.
    const guest = guestWith(4 * UPPER, new TwoListPolicy({ cluster: 4 }));
    const written = 2 * UPPER + 1;
    guest.mm.mmap({ hvn: guest.hvn + written, npages: UPPER });
    const before = 3 * UPPER;
    guest.reach(before);
    expect(guest.access(before, ACCESS_WRITE).kind).toBe('done');
    fill(guest, [first, second]);
    guest.reach(written);
    const faults = guest.stats.get('shadow_page_faults');
    expect(guest.access(written, ACCESS_WRITE).kind).toBe('done');
    expect(guest.stats.get('shadow_page_faults')).toBe(faults + 1);
    expect([guest.hpte(first), guest.hpte(second)]).toEqual([0, 0]);
    expect(guest.spte(written) >>> 12).toBe(guest.pfn(written));
    expect(guest.spte(written) & ENTRY & 2).toBe(2);
  });
});
