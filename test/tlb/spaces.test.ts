// A page that two address spaces have in the TLB, each for a page of its own: a flush by the host, which knows only the
// address, takes both translations, whichever was used last.
import { expect, test } from 'vitest';
import { HPTE_PRESENT } from '../../assembly/abi.ts';
import { PT, TableGuest } from '../mmu/guest.ts';

const DATA = 20;
/** The root of the second space, whose tables follow it. */
const SECOND = 4;
/** CR4.PAE and CR4.PCIDE. */
const CR4 = 0x20020;
const PCIDS = { [0]: 1, [SECOND]: 2 } as const;
const ROOTS = [0, SECOND] as const;

test.each([
  [0, SECOND],
  [SECOND, 0],
] as const)(
  'the host takes the page of root %i after root %i was the last to use the address',
  (victim, last) => {
    const guest = new TableGuest({ pages: 64, flushScope: 'pages' });
    const { mm, hvn, vcpu, stats } = guest;
    vcpu.setRegisters({ cr4: CR4 });
    for (let table = SECOND; table < SECOND + 3; table++) guest.map(table, 0, table + 1);
    const behind = { [0]: DATA, [SECOND]: DATA + 1 } as const;
    guest.map(PT, DATA, behind[0]);
    guest.map(SECOND + 3, DATA, behind[SECOND]);
    const inSpace = (root: (typeof ROOTS)[number]): void => {
      vcpu.setCr3(root, PCIDS[root], true);
      expect(guest.access(DATA).kind).toBe('done');
    };
    for (const root of [victim, last, victim, last]) inSpace(root);
    // Both translations are there by now.
    const misses = stats.get('tlb_misses');
    for (const root of [victim, last]) inSpace(root);
    expect(stats.get('tlb_misses')).toBe(misses);
    expect(mm.madvise(hvn + behind[victim], 1, 'dontneed')).toBe(0);
    expect(guest.hpte(behind[victim])).toBe(0);
    inSpace(victim);
    expect(guest.hpte(behind[victim]) & HPTE_PRESENT).toBe(HPTE_PRESENT);
    expect(guest.spte(DATA) >>> 12).toBe(guest.pfn(behind[victim]));
  },
);
