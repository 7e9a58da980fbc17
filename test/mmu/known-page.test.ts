// A page that faulted again and again is known (assembly/straight/known_page.ts): its next fault looks nothing up. What
// each scene changes between two faults must be noticed all the same. Served in run() or by the protocols, the
// page ends up in the same way.
import { describe, expect, test } from 'vitest';
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  FRAME_FLAGS,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_WRITE,
  HPTE_YOUNG,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  PG_ACTIVE,
  PG_DIRTY,
  PG_REFERENCED,
} from '../../assembly/abi.ts';
import { auditKvm } from '../../src/kvm/audit.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { MM_GENERATIONS } from '../../src/mm/generation.ts';
import { makePolicy } from '../../src/policies.ts';
import { GENERATIONS } from '../../src/simulate.ts';
import { ENTRY, type GuestOptions, PT, TableGuest } from './guest.ts';

const PAGES = 1024;
/** Outside the group of entries that KVM maps ahead of a fault. */
const WARM = 30;
/** The first of a group, which is mapped ahead up to the first entry that is empty. */
const DATA = 40;
const OTHER = 41;
const SPARE = 50;
/** A table that is in no other. */
const OTHER_PT = 15;
/** A page of other 2 MiB, and where the guest maps it. */
const FAR = 600;
const ELSEWHERE = 43;
/** A page with the same entry as DATA (known_page.ts): bits 31:11 of its number are 16, which changes the lower ones. */
const RIVAL = (16 << 11) | (DATA ^ 16);
const READABLE = { read: true, write: false, exec: true };

/** KVM drops the page's spte, and the host still maps it. */
function drop(guest: TableGuest, page = DATA, npages = 1): void {
  const start = guest.hvn + page;
  guest.core.x.unmapAndFlush(guest.mm.id, start, start + npages);
}

/** The first fault of a batch, and the first below a table, are not for known pages: another page has it. */
function fault(guest: TableGuest, kind = ACCESS_READ, page = DATA) {
  drop(guest, WARM);
  return guest.accesses([WARM, page], kind);
}

type How = Pick<GuestOptions, 'quickFaults' | 'prefetch' | 'protocol' | 'maxShadowPages'> & {
  readonly generation: string;
  readonly policy: string;
};

function known({ policy, ...how }: How): TableGuest {
  const host = MM_GENERATIONS[how.generation as keyof typeof MM_GENERATIONS];
  const guest = new TableGuest({
    ...how,
    host,
    policy: makePolicy(policy),
    pages: PAGES,
    flushScope: 'pages',
  });
  for (const page of [WARM, DATA, OTHER]) guest.map(PT, page, page);
  for (let i = 0; i < 4; i++) {
    expect(fault(guest, ACCESS_WRITE).kind).toBe('done');
    drop(guest);
  }
  return guest;
}

/** What a scene leaves behind. */
function left(guest: TableGuest, ends: readonly unknown[]) {
  expect(auditKvm(guest.kvm)).toEqual([]);
  const pages = [WARM, DATA, OTHER];
  return {
    ends,
    sptes: pages.map((page) => guest.spte(page)),
    hptes: pages.map((page) => guest.hpte(page)),
    flags: pages.map((page) => guest.core.x.pageFlags(guest.pfn(page))),
    counters: { ...guest.stats.read() },
  };
}

type Scene = (guest: TableGuest) => unknown[];

const SCENES: Readonly<Record<string, Scene>> = {
  'nothing changed': (guest) => {
    const ends = [fault(guest).kind];
    drop(guest);
    ends.push(fault(guest, ACCESS_FETCH).kind);
    drop(guest);
    ends.push(fault(guest, ACCESS_WRITE).kind);
    expect(guest.spte(DATA) >>> 12).toBe(guest.pfn(DATA));
    return ends;
  },

  'the guest maps another page there, and then the first again': (guest) => {
    guest.map(PT, DATA, OTHER);
    guest.vcpu.invlpg(DATA);
    drop(guest, OTHER);
    const seen = [fault(guest).kind];
    expect(guest.spte(DATA) >>> 12).toBe(guest.pfn(OTHER));
    guest.map(PT, DATA, DATA);
    guest.vcpu.invlpg(DATA);
    drop(guest);
    seen.push(fault(guest).kind);
    guest.map(PT, DATA, OTHER);
    guest.vcpu.invlpg(DATA);
    drop(guest, OTHER);
    // While events are listened to, the protocols serve all faults, and note nothing.
    guest.core.trace(() => {});
    const ends = [fault(guest).kind];
    guest.core.trace(null);
    expect(guest.spte(DATA) >>> 12).toBe(guest.pfn(OTHER));
    guest.map(PT, DATA, DATA);
    guest.vcpu.invlpg(DATA);
    drop(guest, OTHER);
    drop(guest);
    ends.push(fault(guest, ACCESS_WRITE).kind);
    expect(guest.spte(DATA) >>> 12).toBe(guest.pfn(DATA));
    return [...seen, ...ends];
  },

  'the guest takes the right to write': (guest) => {
    guest.map(PT, DATA, DATA, ENTRY & ~2);
    guest.vcpu.invlpg(DATA);
    drop(guest);
    return [fault(guest, ACCESS_WRITE).kind, fault(guest).kind];
  },

  'the guest takes it from the table above': (guest) => {
    guest.map(2, 0, PT, ENTRY & ~2);
    guest.vcpu.invlpg(DATA);
    drop(guest);
    return [fault(guest).kind, guest.accesses([DATA], ACCESS_WRITE).kind];
  },

  'the host forbids writes': (guest) => {
    expect(guest.mm.mprotect(guest.hvn + DATA, 1, READABLE)).toBe(0);
    const ends = [fault(guest).kind, fault(guest, ACCESS_WRITE).kind];
    expect(guest.spte(DATA) & 2).toBe(0);
    return ends;
  },

  'the host unmaps the page': (guest) => {
    guest.mm.munmap(guest.hvn + DATA, 1);
    const ends = [fault(guest).kind];
    expect(guest.spte(DATA)).toBe(0);
    return ends;
  },

  'the slot becomes read-only': (guest) => {
    const slot = { slot: 0, gfn: 0, npages: PAGES, hvn: guest.hvn };
    guest.kvm.setUserMemoryRegion({ ...slot, npages: 0 });
    guest.kvm.setUserMemoryRegion({ ...slot, flags: KVM_MEM_READONLY });
    return [fault(guest, ACCESS_WRITE).kind];
  },

  'the slot logs what gets dirty': (guest) => {
    const slot = { slot: 0, gfn: 0, npages: PAGES, hvn: guest.hvn };
    guest.kvm.setUserMemoryRegion({ ...slot, flags: KVM_MEM_LOG_DIRTY_PAGES });
    guest.kvm.getDirtyLog(0);
    const ends = [fault(guest, ACCESS_WRITE).kind];
    const log = guest.kvm.getDirtyLog(0);
    expect(log).toContain(DATA);
    return [...ends, log];
  },

  'the slot lies elsewhere': (guest) => {
    const slot = { slot: 0, gfn: 0, npages: PAGES };
    const hvn = guest.mm.mmap({ hvn: guest.hvn + 4 * PAGES, npages: PAGES });
    guest.kvm.setUserMemoryRegion({ ...slot, npages: 0, hvn: guest.hvn });
    guest.kvm.setUserMemoryRegion({ ...slot, hvn });
    return [fault(guest).kind];
  },

  'all pages around go twice': (guest) => {
    // Zapping 512 pages at once forgets that there may be sptes around; a fault must note it.
    guest.map(PT, ELSEWHERE, FAR);
    drop(guest, 0, PAGES);
    const ends = [guest.accesses([ELSEWHERE, DATA]).kind];
    expect(guest.spte(DATA)).not.toBe(0);
    drop(guest, 0, PAGES);
    expect(guest.spte(DATA)).toBe(0);
    return ends;
  },

  'the page becomes a table': (guest) => {
    guest.map(2, 1, DATA);
    guest.map(PT, SPARE, SPARE);
    const ends = [guest.accesses([WARM, 512 + SPARE], ACCESS_READ).kind];
    ends.push(fault(guest, ACCESS_WRITE).kind);
    return ends;
  },

  'the guest writes to a table above, as if it were none': (guest) => {
    // A fault below the table says that it is one: the third write in a row without would end its shadowing.
    guest.reach(FAR);
    const ends = [guest.access(FAR).kind];
    for (let i = 0; i < 6; i++) {
      guest.map(2, 200 + i, SPARE, 0);
      if (i % 2 !== 1) continue;
      drop(guest);
      ends.push(guest.accesses([FAR, DATA]).kind);
    }
    expect(guest.spte(DATA)).not.toBe(0);
    return ends;
  },

  'the VMM puts another table in the place of the guest’s, behind KVM’s back': (guest) => {
    guest.map(OTHER_PT, WARM, WARM);
    guest.map(OTHER_PT, DATA, OTHER);
    guest.core.mem.store32(guest.core.x.guestPagePtr(2) >>> 0, (OTHER_PT << 12) | ENTRY);
    drop(guest);
    const ends = [fault(guest).kind];
    expect(guest.spte(DATA) >>> 12).toBe(guest.pfn(OTHER));
    return ends;
  },

  'the host’s table went, and is another space’s': (guest) => {
    guest.map(PT, ELSEWHERE, FAR);
    for (let i = 0; i < 4; i++) {
      expect(fault(guest, ACCESS_WRITE, ELSEWHERE).kind).toBe('done');
      drop(guest, FAR);
    }
    guest.mm.munmap(guest.hvn + 512, 512);
    guest.mm.mmap({ hvn: guest.hvn + 512, npages: 512 });
    const other = guest.host.createMm();
    const start = other.mmap({ hvn: guest.hvn + 512, npages: 512 });
    other.access(start + FAR - 512, true);
    const ends = [fault(guest, ACCESS_READ, ELSEWHERE).kind];
    expect(guest.spte(ELSEWHERE) >>> 12).toBe(guest.pfn(FAR));
    return ends;
  },

  'the page was written back': (guest) => {
    const { core, mm, hvn } = guest;
    core.x.hpteSet(mm.id, hvn + DATA, guest.hpte(DATA) & ~HPTE_DIRTY);
    const flags = (core.x.framePtr(guest.pfn(DATA)) >>> 0) + FRAME_FLAGS;
    core.mem.store32(flags, core.mem.load32(flags) & ~PG_DIRTY);
    return [fault(guest, ACCESS_WRITE).kind];
  },

  'the same tables are walked by other rules': (guest) => {
    // Without NXE they have shadow tables of their own.
    const registers = { cr0: 0x80050033, cr4: 0x20 };
    const ends: string[] = [];
    for (let i = 0; i < 3; i++) {
      for (const efer of [0x500, 0xd00]) {
        guest.vcpu.setRegisters({ ...registers, efer });
        for (let again = 0; again < 3; again++) {
          drop(guest);
          ends.push(fault(guest, ACCESS_WRITE).kind);
        }
        expect(auditKvm(guest.kvm)).toEqual([]);
      }
      drop(guest);
    }
    return ends;
  },

  'the host took the right to write from its pte': (guest) => {
    const { core, mm, hvn } = guest;
    core.x.hpteSet(mm.id, hvn + DATA, guest.hpte(DATA) & ~(HPTE_WRITE | HPTE_DIRTY));
    drop(guest);
    const ends = [fault(guest, ACCESS_WRITE).kind];
    expect(guest.spte(DATA) & 2).not.toBe(0);
    return ends;
  },

  'the host’s pte is read-only since its soft-dirty bit was cleared': (guest) => {
    const { core, mm, hvn } = guest;
    core.x.hpteSet(mm.id, hvn + DATA, (guest.hpte(DATA) & ~HPTE_WRITE) | HPTE_AUX);
    drop(guest);
    const ends = [fault(guest).kind, fault(guest, ACCESS_WRITE).kind];
    expect(guest.hpte(DATA) & (HPTE_AUX | HPTE_WRITE)).toBe(HPTE_WRITE);
    return ends;
  },

  'the page is read at two addresses, and then written, while the host’s pte is read-only': (
    guest,
  ) => {
    const { core, mm, hvn } = guest;
    guest.map(PT, ELSEWHERE, DATA);
    const ends: string[] = [];
    for (let i = 0; i < 3; i++) {
      core.x.hpteSet(mm.id, hvn + DATA, guest.hpte(DATA) & ~(HPTE_WRITE | HPTE_DIRTY));
      drop(guest, WARM);
      drop(guest);
      const read = [WARM, DATA, ELSEWHERE];
      const kinds = [...read.map(() => ACCESS_READ), ACCESS_WRITE, ACCESS_WRITE];
      ends.push(guest.accesses([...read, DATA, ELSEWHERE], kinds).kind);
    }
    return [...ends, guest.spte(ELSEWHERE)];
  },

  'the page is shared with a child, and written at once': (guest) => {
    const child = guest.mm.fork();
    drop(guest);
    const ends = [fault(guest, ACCESS_WRITE).kind];
    expect(guest.spte(DATA) >>> 12).toBe(guest.pfn(DATA));
    child.exit();
    return ends;
  },

  'the host’s pte is a hint: unreadable in an area that may be read': (guest) => {
    const ends: string[] = [];
    for (let i = 0; i < 3; i++) {
      guest.mm.mprotect(guest.hvn + DATA, 1, { read: false, write: false, exec: false });
      guest.mm.mprotect(guest.hvn + DATA, 1, { read: true, write: true, exec: false });
      drop(guest);
      ends.push(fault(guest, ACCESS_WRITE).kind);
      drop(guest);
      ends.push(fault(guest).kind);
    }
    return ends;
  },

  'the host’s pte became old and read-only, and clean': (guest) => {
    const { core, mm, hvn } = guest;
    const bits = HPTE_WRITE | HPTE_DIRTY | HPTE_YOUNG;
    core.x.hpteSet(mm.id, hvn + DATA, guest.hpte(DATA) & ~bits);
    drop(guest);
    const ends = [fault(guest, ACCESS_WRITE).kind];
    core.x.hpteSet(mm.id, hvn + DATA, guest.hpte(DATA) & ~(HPTE_DIRTY | HPTE_YOUNG));
    drop(guest);
    return [...ends, fault(guest).kind];
  },

  'nobody used the page for a while': (guest) => {
    const flags = (guest.core.x.framePtr(guest.pfn(DATA)) >>> 0) + FRAME_FLAGS;
    guest.core.mem.store32(flags, guest.core.mem.load32(flags) & ~PG_REFERENCED);
    drop(guest);
    return [fault(guest).kind];
  },

  'nothing lies there, and it is read': (guest) => {
    // In most generations that maps the zero page, which nobody marks.
    guest.mm.madvise(guest.hvn + DATA, 1, 'dontneed');
    const ends: string[] = [];
    for (let i = 0; i < 4; i++) {
      drop(guest);
      ends.push(fault(guest).kind);
    }
    return ends;
  },

  'the host locks the page in memory': (guest) => {
    guest.mm.mlock(guest.hvn + DATA, 1, true);
    const ends: string[] = [];
    for (let i = 0; i < 4; i++) {
      drop(guest);
      ends.push(fault(guest, i < 2 ? ACCESS_READ : ACCESS_WRITE).kind);
    }
    return ends;
  },

  'another page was mapped there ahead, and then the first again': (guest) => {
    guest.map(PT, DATA, OTHER);
    guest.vcpu.invlpg(DATA);
    const ends = [fault(guest, ACCESS_WRITE, OTHER).kind];
    drop(guest, OTHER);
    ends.push(fault(guest, ACCESS_WRITE, OTHER).kind);
    guest.map(PT, DATA, DATA);
    guest.vcpu.invlpg(DATA);
    drop(guest, OTHER);
    drop(guest);
    ends.push(fault(guest, ACCESS_WRITE).kind);
    expect(guest.spte(DATA) >>> 12).toBe(guest.pfn(DATA));
    return ends;
  },

  'another page has the place of its entry, in the same set of the L1 and in another one of the L2':
    (guest) => {
      guest.map(2, RIVAL >> 9, OTHER_PT);
      for (const vpn of [RIVAL, RIVAL + 16, RIVAL + 32, RIVAL + 48, RIVAL + 64])
        guest.map(OTHER_PT, vpn & 511, FAR + ((vpn - RIVAL) >> 4));
      const ends: string[] = [];
      for (let i = 0; i < 4; i++) {
        drop(guest, FAR);
        ends.push(fault(guest, ACCESS_WRITE, RIVAL).kind);
      }
      // Those push it out of the L1.
      ends.push(guest.accesses([RIVAL + 16, RIVAL + 32, RIVAL + 48, RIVAL + 64, RIVAL]).kind);
      return ends;
    },

  'the table of its entry is linked at a second place': (guest) => {
    guest.map(2, 1, PT);
    const ends: string[] = [];
    for (let i = 0; i < 3; i++) {
      ends.push(guest.accesses([WARM, 512 + WARM, 512 + DATA, DATA]).kind);
      drop(guest);
      ends.push(fault(guest, ACCESS_WRITE).kind);
      ends.push(guest.accesses([512 + DATA]).kind);
      drop(guest);
      ends.push(fault(guest, ACCESS_WRITE, 512 + DATA).kind);
    }
    return ends;
  },

  'a neighbour may be mapped ahead': (guest) => {
    const ends = [guest.access(OTHER, ACCESS_WRITE).kind];
    drop(guest, DATA, 2);
    ends.push(fault(guest).kind);
    return [...ends, guest.spte(OTHER) === 0];
  },

  'a neighbour that is mapped ahead is the same page': (guest) => {
    // Where pages that are mapped ahead are marked accessed, the page that faulted is marked after them.
    guest.map(PT, OTHER, DATA);
    guest.vcpu.invlpg(OTHER);
    const flags = (guest.core.x.framePtr(guest.pfn(DATA)) >>> 0) + FRAME_FLAGS;
    guest.core.mem.store32(flags, guest.core.mem.load32(flags) & ~(PG_REFERENCED | PG_ACTIVE));
    drop(guest);
    return [fault(guest).kind];
  },

  'the page is shared with a child': (guest) => {
    const child = guest.mm.fork();
    const ends = [fault(guest).kind, fault(guest, ACCESS_WRITE).kind];
    child.exit();
    return ends;
  },
};

/** Scenes on machines of their own. */
const SPECIAL: Readonly<Record<string, { how: Partial<How>; scene: Scene }>> = {
  'nobody tells KVM of the copy that the host maps': {
    how: { protocol: { ...AGING_PRESETS.v3, hooks: 'none' } },
    scene: (guest) => {
      const ends: string[] = [];
      for (let i = 0; i < 3; i++) {
        const child = guest.mm.fork();
        drop(guest);
        ends.push(fault(guest).kind);
        guest.mm.access(guest.hvn + DATA, true);
        // Until 2.6.36 all pages are looked up for writing, and so copied before.
        expect(guest.spte(DATA) >>> 12 !== guest.pfn(DATA)).toBe(guest.kvm.generation.gupFast);
        ends.push(fault(guest, ACCESS_WRITE).kind);
        child.exit();
      }
      return ends;
    },
  },

  'there may be so few shadow pages that a fault must free some': {
    how: { maxShadowPages: 12 },
    scene: (guest) => {
      const ends: string[] = [];
      for (let i = 0; i < 8; i++) {
        guest.reach(FAR + 2 ** (9 + i));
        ends.push(guest.accesses([FAR + 2 ** (9 + i), WARM, DATA]).kind);
        drop(guest);
        ends.push(guest.accesses([WARM, DATA, WARM]).kind);
        drop(guest);
        ends.push(fault(guest, ACCESS_WRITE).kind);
      }
      return ends;
    },
  },
};

const cases = Object.keys(SCENES).flatMap((name) =>
  GENERATIONS.map((generation) => [name, generation] as const),
);

describe('a known page', () => {
  test.each(Object.keys(SPECIAL).flatMap((name) => GENERATIONS.map((g) => [name, g] as const)))(
    '%s, %s',
    (name, generation) => {
      const { how, scene } = SPECIAL[name]!;
      const play = (quickFaults: boolean) => {
        const guest = known({ ...how, generation, quickFaults, policy: 'clock' });
        const ends = scene(guest);
        // Without notifiers sptes are what the host left behind.
        return { ends, counters: { ...guest.stats.read() }, spte: guest.spte(DATA) };
      };
      expect(play(true)).toEqual(play(false));
    },
  );

  test.each(cases)('%s, %s', (name, generation) => {
    const machines = [
      { prefetch: false, policy: 'two-list' },
      { prefetch: true, policy: 'two-list' },
      // Its pages are on one list.
      { prefetch: false, policy: 'clock' },
    ];
    for (const machine of machines) {
      const play = (quickFaults: boolean) => {
        const guest = known({ ...machine, generation, quickFaults });
        return left(guest, SCENES[name]!(guest));
      };
      expect(play(true)).toEqual(play(false));
    }
  });
});
