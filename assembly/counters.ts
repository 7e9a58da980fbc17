// Generated from src/stats/counters.ts by scripts/gen-counters.mjs; do not edit.

/** guest memory references executed (count) */
export const ACCESSES: u32 = 0;
/** data reads among the references (count) */
export const READS: u32 = 1;
/** data writes among the references (count) */
export const WRITES: u32 = 2;
/** instruction fetches among the references (count) */
export const FETCHES: u32 = 3;
/** references translated by a TLB (either level) (count) */
export const TLB_HITS: u32 = 4;
/** references that missed the L1 TLB and hit the L2 (count) */
export const TLB_L2_HITS: u32 = 5;
/** references that walked the shadow (or nested) tables (count) */
export const TLB_MISSES: u32 = 6;
/** table entries read by hardware walks (count) */
export const WALK_STEPS: u32 = 7;
/** exits from guest mode, of every reason (count) */
export const VMEXITS: u32 = 8;
/** vmexits for a #PF or nested page fault (count) */
export const SHADOW_PAGE_FAULTS: u32 = 9;
/** #PF injected into the guest (count) */
export const GUEST_PAGE_FAULTS: u32 = 10;
/** software walks of the guest page tables (count) */
export const GUEST_WALKS: u32 = 11;
/** emulated writes to write-protected guest tables (count) */
export const GUEST_PTE_WRITES: u32 = 12;
/** host faults served without reading a device (count) */
export const MINOR_FAULTS: u32 = 13;
/** host faults that read the swap device or the file (count) */
export const MAJOR_FAULTS: u32 = 14;
/** host faults that copied a shared page (count) */
export const COW_FAULTS: u32 = 15;
/** notifier calls that age a page (age_page, clear_flush_young, clear_young) (count) */
export const AGE_PAGE_CALLS: u32 = 16;
/** notifier calls that only test young (count) */
export const TEST_YOUNG_CALLS: u32 = 17;
/** notifier calls that invalidate one page (count) */
export const INVALIDATE_PAGE_CALLS: u32 = 18;
/** notifier calls that invalidate a range (count) */
export const INVALIDATE_RANGE_CALLS: u32 = 19;
/** notifier calls at the end of the mm (count) */
export const RELEASE_CALLS: u32 = 20;
/** leaf sptes made present (count) */
export const SPTES_INSTALLED: u32 = 21;
/** leaf sptes made non-present (count) */
export const SPTES_DROPPED: u32 = 22;
/** leaf sptes installed ahead of an access (count) */
export const SPTES_PREFETCHED: u32 = 23;
/** leaf sptes whose accessed bit was cleared (count) */
export const SPTES_AGED: u32 = 24;
/** vmexits whose spte was already there (count) */
export const SPURIOUS_PAGE_FAULTS: u32 = 25;
/** vmexits retried because an invalidation ran meanwhile (count) */
export const RETRIED_PAGE_FAULTS: u32 = 26;
/** shadow pages allocated (count) */
export const SHADOW_PAGES_CREATED: u32 = 27;
/** shadow pages destroyed (count) */
export const SHADOW_PAGES_ZAPPED: u32 = 28;
/** shadow pages that went out of sync (count) */
export const SHADOW_PAGES_UNSYNC: u32 = 29;
/** shadow pages zapped by write-flooding detection (count) */
export const SHADOW_PAGES_FLOODED: u32 = 30;
/** shadow pages zapped to stay under the limit (count) */
export const SHADOW_PAGES_RECYCLED: u32 = 31;
/** TLB flushes of any scope on one vCPU (count) */
export const TLB_FLUSHES: u32 = 32;
/** flush requests sent to all vCPUs of the VM (count) */
export const REMOTE_TLB_FLUSHES: u32 = 33;
/** loads of CR3 (count) */
export const CR3_SWITCHES: u32 = 34;
/** pages that reclaim looked at (pages) */
export const PAGES_SCANNED: u32 = 35;
/** pages moved to the active list (pages) */
export const PAGES_ACTIVATED: u32 = 36;
/** pages moved to the inactive list (pages) */
export const PAGES_DEACTIVATED: u32 = 37;
/** pages given a second chance on their list (pages) */
export const PAGES_ROTATED: u32 = 38;
/** pages reclaimed from their mapping (pages) */
export const EVICTIONS: u32 = 39;
/** pages read from the swap device (pages) */
export const SWAP_INS: u32 = 40;
/** pages written to the swap device (pages) */
export const SWAP_OUTS: u32 = 41;
/** pages read from the backing file (pages) */
export const FILE_READS: u32 = 42;
/** dirty pages written to the backing file (pages) */
export const FILE_WRITEBACKS: u32 = 43;
/** pages evicted without a write (pages) */
export const CLEAN_DROPS: u32 = 44;
/** evictions that an LRU seeing every access would not have made before the next access (pages) */
export const SPURIOUS_SWAP_OUTS: u32 = 45;
/** refaults within the workingset distance (pages) */
export const WORKINGSET_REFAULTS: u32 = 46;
/** reads or writes that the swap device failed (count) */
export const SWAP_IO_ERRORS: u32 = 47;
/** evictions given up because no swap slot was free (count) */
export const SWAP_FULL: u32 = 48;
/** times no frame could be freed and the OOM killer ran (count) */
export const OOM_KILLS: u32 = 49;
/** tests of a page for young (count) */
export const YOUNG_TESTS: u32 = 50;
/** tests that called a page old although it was accessed since the last test (count) */
export const FALSE_OLD: u32 = 51;
/** tests that called a page young although it was not accessed since the last test (count) */
export const FALSE_YOUNG: u32 = 52;
/** vmexits fixed without a host page lookup (count) */
export const FAST_PAGE_FAULTS: u32 = 53;
/** accesses outside all memslots (count) */
export const MMIO_EXITS: u32 = 54;
/** reverse-map entries visited (count) */
export const RMAP_NODES_VISITED: u32 = 55;
/** list moves of the page LRU (count) */
export const LRU_MOVES: u32 = 56;
/** trace bytes decoded (bytes) */
export const DECODED_BYTES: u32 = 57;
/** switches of a vCPU to another guest process (count) */
export const CONTEXT_SWITCHES: u32 = 58;
/** guest #PFs that ended a sharing after a guest fork (count) */
export const GUEST_COW_FAULTS: u32 = 59;
/** guest references that the guest kernel refused (a signal to the program) (count) */
export const GUEST_ACCESS_VIOLATIONS: u32 = 60;
/** exits to the VMM because the host has no page to give (EFAULT, ENOMEM) (count) */
export const MEMORY_FAULT_EXITS: u32 = 61;
/** shadow entries above level 1 zapped by an emulated guest table write (count) */
export const PDES_ZAPPED: u32 = 62;
/** pages scanned for an allocation that waits (pages) */
export const PGSCAN_DIRECT: u32 = 63;
/** pages freed for an allocation that waits (pages) */
export const PGSTEAL_DIRECT: u32 = 64;
/** allocations that had to reclaim themselves (count) */
export const ALLOCSTALL: u32 = 65;
/** pages scanned by kswapd (pages) */
export const PGSCAN_KSWAPD: u32 = 66;
/** pages freed by kswapd (pages) */
export const PGSTEAL_KSWAPD: u32 = 67;
/** times kswapd was woken and ran (count) */
export const PAGEOUTRUN: u32 = 68;
export const COUNTER_COUNT: u32 = 69;
