// What the bits of a host pte (HPTE_*) say together.
import { HPTE_PRESENT, HPTE_SWAP } from '../../assembly/abi.ts';

/** Whether a pte maps a page that counts its mappings (vm_normal_page(), mm/memory.c): no swap entry, nor the zero page. */
export function isNormalPte(pte: number): boolean {
  return (pte & (HPTE_PRESENT | HPTE_SWAP)) === HPTE_PRESENT;
}
