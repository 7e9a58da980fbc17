// Names for the integers that travel through the core: the type says which space a number is in.

/** Guest frame number: gpa >> 12. */
export type Gfn = u32;
/** Host frame number: index into the frame table. */
export type Pfn = u32;
/** Host virtual page number: hva >> 12. */
export type Hvn = u32;
/** Shadow page-table entry, a value. */
export type Spte = u64;
/** Address of a shadow page-table entry in linear memory. */
export type Sptep = usize;
/** Host page-table entry (HPTE_* in abi.ts). */
export type Hpte = u32;
