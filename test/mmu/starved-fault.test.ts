// A host that can't keep the pages of a single access at once: KVM pins what it maps, and what is left is less than the
// guest's tables and a page. The vCPU tries as often, and ends in the same way, wherever its faults are served.
import { expect, test } from 'vitest';
import { NO_GFN } from '../../assembly/abi.ts';
import { ERRNO } from '../../src/core/errors.ts';
import { FifoPolicy } from '../../src/mm/vmscan/fifo.ts';
import { PT, TABLES, TableGuest } from './guest.ts';

const PAGES = 64;

function starve(frames: number, quickFaults: boolean) {
  const guest = new TableGuest({
    pages: PAGES,
    frames,
    protocol: 'pinned',
    policy: new FifoPolicy(),
    quickFaults,
  });
  for (let page = TABLES; page < PAGES; page++) guest.map(PT, page, page);
  const exits = [];
  for (let page = TABLES; page < PAGES; page++) exits.push(guest.access(page));
  return { exits, counters: { ...guest.stats.read() } };
}

test.each([16, 17, 18, 19, 20])('%i frames: the vCPU gives up at the same fault', (frames) => {
  const slow = starve(frames, false);
  const quick = starve(frames, true);
  expect(quick).toEqual(slow);
  const { kind, code, gfn } = slow.exits.at(-1)!;
  expect({ kind, code, gfn }).toEqual({ kind: 'memory_fault', code: ERRNO.ENOMEM, gfn: NO_GFN });
});

test.each([true, false])('the exit names the table that the host has no page for: %s', (quick) => {
  const guest = new TableGuest({ pages: PAGES, quickFaults: quick });
  for (let page = TABLES; page < PAGES; page++) guest.map(PT, page, page);
  expect(guest.access(TABLES).kind).toBe('done');
  expect(guest.mm.madvise(guest.hvn + PT, 1, 'pageout')).toBe(0);
  guest.mm.mlock(guest.hvn, PT, true);
  guest.mm.mlock(guest.hvn + TABLES, 1, true);
  guest.host.limit = guest.host.charged();
  const { kind, code, gfn } = guest.access(TABLES + 1);
  expect({ kind, code, gfn }).toEqual({ kind: 'memory_fault', code: ERRNO.ENOMEM, gfn: PT });
});
