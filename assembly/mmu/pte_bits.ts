// Bits of 64-bit page-table entries as values: those of the guest's and of the shadow's (SDM vol. 3A, 4.5).

import {
  PT64_NX_BIT,
  PT_ACCESSED_BIT,
  PT_DIRTY_BIT,
  PT_GLOBAL_BIT,
  PT_PAGE_SIZE_BIT,
  PT_PRESENT_BIT,
  PT_USER_BIT,
  PT_WRITABLE_BIT,
} from '../abi';

export const PT_PRESENT: u64 = (<u64>1) << (<u64>PT_PRESENT_BIT);
export const PT_WRITABLE: u64 = (<u64>1) << (<u64>PT_WRITABLE_BIT);
export const PT_USER: u64 = (<u64>1) << (<u64>PT_USER_BIT);
export const PT_ACCESSED: u64 = (<u64>1) << (<u64>PT_ACCESSED_BIT);
export const PT_DIRTY: u64 = (<u64>1) << (<u64>PT_DIRTY_BIT);
export const PT_GLOBAL: u64 = (<u64>1) << (<u64>PT_GLOBAL_BIT);
export const PT_PAGE_SIZE: u64 = (<u64>1) << (<u64>PT_PAGE_SIZE_BIT);
export const PT64_NX: u64 = (<u64>1) << (<u64>PT64_NX_BIT);
/** Bits 51:12. */
export const PT64_BASE_MASK: u64 = 0x000f_ffff_ffff_f000;
