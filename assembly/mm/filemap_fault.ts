// The pieces of a host page fault at a page of a file (cf. mm/filemap.c: filemap_fault; mm/memory.c:
// do_set_pte). As those of memory.ts; src/mm/fault.ts has their order.

import {
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  HPTE_YOUNG,
  IO_MAJOR,
  MAP_OLD,
  MAP_SHARED,
  MAP_VM_WRITE,
  MAP_WRITE_FAULT,
} from '../abi';
import { FILE_READS, MAJOR_FAULTS, MINOR_FAULTS } from '../counters';
import { bump } from '../stats';
import { Hpte, Hvn, Pfn } from '../types';
import { fileRead, filemapAddAt, filemapGetAt } from './filemap';
import { getPage, putPage } from './frame';
import { lruCacheAdd } from './lru_add';
import { allocFor } from './memory';
import { hpteGet, hpteSetAt, leafPmdp } from './pte';
import { rmapAdd } from './rmap';

/** The page of a file, from the page cache or (IO_MAJOR) the device; 0 when no frame is free. */
export function filemapRead(file: u32, offset: u32, args: u32): u32 {
  return filemapReadAt(file, offset, args, leafPmdp(file, offset));
}

/** The same with the pmd entry of the cache's table, or 0. */
export function filemapReadAt(file: u32, offset: u32, args: u32, pmdp: usize): u32 {
  const cached = filemapGetAt(offset, pmdp);
  if (cached != 0) {
    getPage(cached);
    bump(MINOR_FAULTS);
    return cached;
  }
  const pfn = allocFor(args, 0);
  if (pfn == 0) return 0;
  fileRead(pfn, file, offset);
  filemapAddAt(pfn, file, offset, pmdp);
  lruCacheAdd(pfn);
  bump(FILE_READS);
  bump(MAJOR_FAULTS);
  return pfn | IO_MAJOR;
}

/**
 * Maps a page of the page cache where no pte is; 0 when there is one by now (the reference is
 * dropped). A shared page is writable from its first write on, so that it is dirty only then.
 */
export function filemapMap(mm: u32, hvn: Hvn, pfn: Pfn, args: u32): u32 {
  if (hpteGet(mm, hvn) != 0) {
    putPage(pfn);
    return 0;
  }
  filemapMapAt(mm, hvn, leafPmdp(mm, hvn), pfn, args);
  return 1;
}

/** The same where no pte is, with the pmd entry of the page, or 0. */
export function filemapMapAt(mm: u32, hvn: Hvn, pmdp: usize, pfn: Pfn, args: u32): void {
  hpteSetAt(mm, hvn, pmdp, filemapPte(pfn, args));
  rmapAdd(pfn, mm, hvn);
}

/** The pte that a fault with MAP_* `args` maps a page of the page cache by. */
export function filemapPte(pfn: Pfn, args: u32): Hpte {
  let pte: Hpte = HPTE_PRESENT | (pfn << HPTE_PFN_SHIFT);
  if ((args & MAP_OLD) == 0) pte |= HPTE_YOUNG;
  const writable: u32 = MAP_SHARED | MAP_WRITE_FAULT | MAP_VM_WRITE;
  return (args & writable) == writable ? pte | HPTE_WRITE | HPTE_DIRTY : pte;
}
