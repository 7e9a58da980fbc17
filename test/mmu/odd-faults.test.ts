// Faults that are not plain, between others that are, in one batch: guest tables that the guest maps as data, entries
// without a right, a bit or a page, frames above all gfns, reserved bits, keys, read-only memslots and two sptes of a
// page. Whether run() serves faults itself or not, the guest sees the same and every counter agrees.
import { expect, test } from 'vitest';
import { HPTE_PFN_SHIFT, HPTE_PRESENT, KVM_MEM_READONLY } from '../../assembly/abi.ts';
import { loadCore } from '../../src/core/load.ts';
import { auditKvm } from '../../src/kvm/audit.ts';
import { Kvm } from '../../src/kvm/kvm.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { CLEAR_REFS_ALL, CLEAR_REFS_SOFT_DIRTY } from '../../src/mm/clear-refs.ts';
import { Host } from '../../src/mm/host.ts';
import type { Mm } from '../../src/mm/mm.ts';
import { makePolicy } from '../../src/policies.ts';
import { GENERATIONS } from '../../src/simulate.ts';
import { Stats } from '../../src/stats/stats.ts';

const PAGES = 160;
const READ_ONLY = 16;
/** gfn of the read-only slot. */
const ROM = 256;
/** Present, writable, user, accessed, dirty. */
const ENTRY = 0x67;
const BATCH = 24;
const BATCHES = 400;

/** What lies behind the guest: anonymous memory, a shared file, a private one. */
const MEMORY = ['anon', 'file', 'private'] as const;

/** What the entries of the second half of the first leaf table are instead: low and high word. */
const ODD: readonly (readonly [lo: number, hi: number])[] = [
  [ENTRY & ~2, 0],
  [ENTRY & ~4, 0],
  [ENTRY & ~0x20, 0],
  [ENTRY & ~0x40, 0],
  [ENTRY & ~1, 0],
  [ENTRY | 0x100, 0],
  // XD, a key, a reserved bit, and a frame above all gfns.
  [ENTRY, 0x8000_0000],
  [ENTRY, 0x1000_0000],
  [ENTRY, 1 << 19],
  [ENTRY, 1 << 12],
];

function* numbers(seed: number): Generator<number, never> {
  for (;;) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    yield seed >>> 8;
  }
}

/** What the host does to `npages` pages from `hvn` on between batches, so that later faults find ptes in all states. */
function hostOp(mm: Mm, hvn: number, npages: number, which: number): void {
  // Soft-dirty bits came with 3.11: without the hooks of that time it is refused.
  if (which === 0) mm.clearRefs(CLEAR_REFS_SOFT_DIRTY);
  else if (which === 1) expect(mm.clearRefs(CLEAR_REFS_ALL)).toBe(0);
  else if (which === 2) expect(mm.madvise(hvn, npages, 'cold')).toBe(0);
  else {
    expect(mm.mprotect(hvn, npages, { read: true, write: false, exec: true })).toBe(0);
    expect(mm.mprotect(hvn, npages, { read: true, write: true, exec: true })).toBe(0);
  }
}

/** Runs random batches; what the guest and the host see of them. */
function run(
  protocol: keyof typeof AGING_PRESETS,
  generation: string,
  memory: (typeof MEMORY)[number],
  on: boolean,
) {
  const core = loadCore('release');
  const aging = AGING_PRESETS[protocol];
  const host = new Host(core, {
    frames: 90,
    aging,
    policy: makePolicy(memory === 'anon' ? 'two-list' : 'clock'),
  });
  const mm = host.createMm();
  const back = (npages: number): number =>
    mm.mmap(
      memory === 'anon'
        ? { npages }
        : { npages, file: host.createFile(), shared: memory === 'file' },
    );
  const kvm = new Kvm({ core, mm, aging, generation, quickFaults: on, prefetch: false });
  const hvn = back(PAGES);
  kvm.setUserMemoryRegion({ slot: 0, gfn: 0, npages: PAGES, hvn });
  const rom = { slot: 1, gfn: ROM, npages: READ_ONLY, hvn: back(READ_ONLY) };
  kvm.setUserMemoryRegion({ ...rom, flags: KVM_MEM_READONLY });
  const vcpu = kvm.vcpus[0];
  if (vcpu === undefined) throw new Error('a VM has a vCPU');
  vcpu.setRegisters({ cr0: 0x80050033, cr4: 0x20, efer: 0xd00 });
  for (let table = 0; table < 3; table++)
    vcpu.writeGuestPte(table, 0, ((table + 1) << 12) | ENTRY, 0);
  vcpu.writeGuestPte(2, 1, (4 << 12) | ENTRY, 0);
  // The same table once more, without the right to write.
  vcpu.writeGuestPte(2, 2, (4 << 12) | (ENTRY & ~2), 0);
  for (let page = 0; page < PAGES; page++) {
    const [lo, hi] = page < PAGES / 2 ? [ENTRY, 0] : (ODD[page % ODD.length] ?? [0, 0]);
    vcpu.writeGuestPte(3, page, ((page << 12) | lo) >>> 0, hi);
    vcpu.writeGuestPte(4, page, (page << 12) | ENTRY, 0);
  }
  for (let page = 0; page < READ_ONLY; page++) {
    vcpu.writeGuestPte(3, PAGES + page, ((ROM + page) << 12) | ENTRY, 0);
  }
  vcpu.writeGuestPte(3, PAGES + READ_ONLY, ((2 * ROM) << 12) | ENTRY, 0);
  vcpu.setGuestCr3(0);
  const records = core.x.arenaAlloc(BATCH * 8) >>> 0;
  const random = numbers(7);
  const seen: string[] = [];
  for (let batch = 0; batch < BATCHES; batch++) {
    for (let i = 0; i < BATCH; i++) {
      const page = random.next().value % (PAGES + READ_ONLY + 1);
      const vpn =
        page < PAGES && random.next().value % 4 === 0 ? page + 512 * (1 + (page % 2)) : page;
      core.mem.store32(records + 8 * i, ((vpn << 12) | (random.next().value % 3)) >>> 0);
      core.mem.store32(records + 8 * i + 4, 0);
    }
    for (let at = 0; at < BATCH;) {
      const { kind, consumed, gvaLo, code, gfn } = vcpu.run(records + 8 * at, BATCH - at);
      if (kind !== 'done') seen.push(`${batch} ${at + consumed}: ${kind} ${gvaLo} ${code} ${gfn}`);
      at += consumed + 1;
    }
    if (batch % 50 === 0) expect(auditKvm(kvm)).toEqual([]);
    const [from, which] = [random.next().value % PAGES, random.next().value % 40];
    if (which < 4) hostOp(mm, hvn + from, PAGES - from, which);
  }
  const hptes = Array.from({ length: PAGES }, (_, page) => core.x.hpteGet(mm.id, hvn + page));
  const mapped = hptes.filter((pte) => (pte & HPTE_PRESENT) !== 0);
  const flags = mapped.map((pte) => core.x.pageFlags(pte >>> HPTE_PFN_SHIFT));
  return { seen, hptes, flags, counters: { ...new Stats(core).read() } };
}

const cases = (['v3', 'v4', 'clear_young'] as const).flatMap((protocol) =>
  GENERATIONS.flatMap((generation) =>
    MEMORY.map((memory) => [protocol, generation, memory] as const),
  ),
);

test.each(cases)('%s, %s, %s memory: odd faults among plain ones', (protocol, generation, kind) => {
  const slow = run(protocol, generation, kind, false);
  const quick = run(protocol, generation, kind, true);
  expect(quick.seen).toEqual(slow.seen);
  expect(quick.counters).toEqual(slow.counters);
  expect(quick.hptes).toEqual(slow.hptes);
  expect(quick.flags).toEqual(slow.flags);
  expect(slow.seen.length).toBeGreaterThan(BATCHES);
  expect(slow.counters.evictions).toBeGreaterThan(BATCHES);
});
