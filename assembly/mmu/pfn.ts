// From a host virtual page to its frame, on KVM's side (cf. virt/kvm/kvm_main.c, hva_to_pfn_fast and
// kvm_release_pfn_clean, 6.1).

import {
  FRAME_FLAGS,
  FRAME_REFCOUNT,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  PG_HUGE,
  PG_REFERENCED,
  TOUCH_FOLIO_REFERENCED,
  TOUCH_PTE_YOUNG,
  ZERO_PFN,
} from '../abi';
import { folioOf, framePtr, getPage, putPage } from '../mm/frame';
import { folioMarkAccessed, markPlain } from '../mm/mark_accessed';
import { hpteGet, hpteOr } from '../mm/pte';
import { Hpte, Hvn, Pfn } from '../types';

/** No page could be had without a host fault. */
const NO_PFN: u32 = 0xffffffff;

/**
 * The frame of a page that the host maps writable, with a reference; 0xffffffff otherwise. `touch`
 * (TOUCH_*) is how the lookup tells the mm that the page is used.
 */
export function hvaToPfnFast(mm: u32, hvn: Hvn, touch: u32): Pfn {
  const hpte = hpteGet(mm, hvn);
  if (!mapsForWrite(hpte)) return NO_PFN;
  if (touch == TOUCH_PTE_YOUNG && (hpte & HPTE_YOUNG) == 0) hpteOr(mm, hvn, HPTE_YOUNG);
  return takePfn(hpte >> HPTE_PFN_SHIFT, touch);
}

/** The same with the pte of a page that has a leaf table. */
export function ptepToPfnFast(ptep: usize, touch: u32): Pfn {
  const hpte = load<u32>(ptep);
  if (!mapsForWrite(hpte)) return NO_PFN;
  if (touch == TOUCH_PTE_YOUNG) store<u32>(ptep, hpte | HPTE_YOUNG);
  return takePfn(hpte >> HPTE_PFN_SHIFT, touch);
}

/** Whether an entry maps a page, not the zero page, writable. */
function mapsForWrite(hpte: Hpte): bool {
  const maps = HPTE_PRESENT | HPTE_WRITE;
  return (hpte & (maps | HPTE_SWAP)) == maps;
}

/** The lookup's reference, and what it tells the frame. */
function takePfn(pfn: Pfn, touch: u32): Pfn {
  if (touch == TOUCH_FOLIO_REFERENCED) folioSetReferenced(pfn);
  getPage(pfn);
  return pfn;
}

/** kvm_release_pfn_clean: drops the fault's reference; since 2.6.26 it marks the page accessed. */
export function releasePfn(pfn: Pfn, markAccessed: u32): void {
  if (markAccessed != 0 && pfn != ZERO_PFN) folioMarkAccessed(pfn);
  putPage(pfn);
}

/** releasePfn() of a small page that has other references, where no generations are kept and no event is traced. */
export function releasePlain(pfn: Pfn, markAccessed: u32): void {
  const page = framePtr(pfn);
  const flags = load<u32>(page, FRAME_FLAGS);
  const refs = load<u32>(page, FRAME_REFCOUNT);
  if ((flags & PG_HUGE) != 0 || pfn == ZERO_PFN) {
    releasePfn(pfn, markAccessed);
    return;
  }
  assert(refs > 1, 'a mapped page has other references');
  store<u32>(page, refs - 1, FRAME_REFCOUNT);
  if (markAccessed != 0) markPlain(pfn, page, flags);
}

/** folio_set_referenced: what get_user_pages_fast does to the page it finds. */
export function folioSetReferenced(pfn: Pfn): void {
  const page = framePtr(folioOf(pfn));
  store<u32>(page, load<u32>(page, FRAME_FLAGS) | PG_REFERENCED, FRAME_FLAGS);
}
