// What the bits of a host pte (HPTE_*) say together.
import { HPTE_PFN_SHIFT, HPTE_PRESENT, HPTE_SWAP } from '../../assembly/abi.ts';

/** Whether a pte maps a page that counts its mappings (vm_normal_page(), mm/memory.c): no swap entry, nor the zero page. */
export function isNormalPte(pte: number): boolean {
  return (pte & (HPTE_PRESENT | HPTE_SWAP)) === HPTE_PRESENT;
}

/** Whether a pte maps a page. A huge one maps a compound page, by its head. */
export function mapsPage(pte: number, pfn: number): boolean {
  return isNormalPte(pte) && pte >>> HPTE_PFN_SHIFT === pfn;
}
