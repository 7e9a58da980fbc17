// Which pages of a range the guest used, asked page by page (assembly/mmu/young_bitmap.ts): what an estimate
// of a working set needs. The host's own ptes and lists are left as they are; HostOperations.markIdle()
// is idle page tracking with them.

import { AGE_CLEAR, AGE_TEST, YOUNG_BITMAP_PAGES } from '../../assembly/abi.ts';
import type { Kvm } from './kvm.ts';

/** The pages that were young, a bit each from bit 0 of byte 0 on, and how many they are. */
export interface YoungPages {
  readonly count: number;
  readonly bitmap: Uint8Array;
}

/**
 * Tests `npages` pages from `hvn` on for accesses by the guest since they were last cleared, and with
 * `clear` makes them old. As with clear_young nothing is flushed: an access that a TLB serves is not seen.
 */
export function testClearYoung(kvm: Kvm, hvn: number, npages: number, clear = true): YoungPages {
  const { core, mm } = kvm;
  const bitmap = new Uint8Array(Math.ceil(npages / 8));
  const from = core.x.youngBitmapPtr() >>> 0;
  const action = clear ? AGE_CLEAR : AGE_TEST;
  let count = 0;
  for (let page = 0; page < npages; page += YOUNG_BITMAP_PAGES) {
    const end = Math.min(page + YOUNG_BITMAP_PAGES, npages);
    count += core.x.testClearYoung(mm.id, hvn + page, hvn + end, action) >>> 0;
    bitmap.set(core.mem.u8.subarray(from, from + Math.ceil((end - page) / 8)), page / 8);
  }
  return { count, bitmap };
}
