// Every counter, declared once: the Wasm slot is the position in this list (assembly/counters.ts is
// generated from it), the JSON key is the name, the tables and docs/counters.md print the meaning.

/** One counter. */
export interface CounterDeclaration {
  /** JSON key, snake_case. */
  readonly name: string;
  /** Unit of the value. */
  readonly unit: 'count' | 'pages' | 'bytes';
  /** One sentence: what one unit of it is. */
  readonly meaning: string;
}

/** All counters in slot order. Append only: a slot is never reused within an ABI version. */
export const COUNTERS = [
  { name: 'accesses', unit: 'count', meaning: 'guest memory references executed' },
  { name: 'reads', unit: 'count', meaning: 'data reads among the references' },
  { name: 'writes', unit: 'count', meaning: 'data writes among the references' },
  { name: 'fetches', unit: 'count', meaning: 'instruction fetches among the references' },
  { name: 'tlb_hits', unit: 'count', meaning: 'references translated by a TLB (either level)' },
  {
    name: 'tlb_l2_hits',
    unit: 'count',
    meaning: 'references that missed the L1 TLB and hit the L2',
  },
  {
    name: 'tlb_misses',
    unit: 'count',
    meaning: 'references that walked the shadow (or nested) tables',
  },
  { name: 'walk_steps', unit: 'count', meaning: 'table entries read by hardware walks' },
  { name: 'vmexits', unit: 'count', meaning: 'exits from guest mode, of every reason' },
  { name: 'shadow_page_faults', unit: 'count', meaning: 'vmexits for a #PF or nested page fault' },
  { name: 'guest_page_faults', unit: 'count', meaning: '#PF injected into the guest' },
  { name: 'guest_walks', unit: 'count', meaning: 'software walks of the guest page tables' },
  {
    name: 'guest_pte_writes',
    unit: 'count',
    meaning: 'emulated writes to write-protected guest tables',
  },
  { name: 'minor_faults', unit: 'count', meaning: 'host faults served without reading a device' },
  {
    name: 'major_faults',
    unit: 'count',
    meaning: 'host faults that read the swap device or the file',
  },
  { name: 'cow_faults', unit: 'count', meaning: 'host faults that copied a shared page' },
  {
    name: 'age_page_calls',
    unit: 'count',
    meaning: 'notifier calls that age a page (age_page, clear_flush_young, clear_young)',
  },
  { name: 'test_young_calls', unit: 'count', meaning: 'notifier calls that only test young' },
  {
    name: 'invalidate_page_calls',
    unit: 'count',
    meaning: 'notifier calls that invalidate one page',
  },
  {
    name: 'invalidate_range_calls',
    unit: 'count',
    meaning: 'notifier calls that invalidate a range',
  },
  { name: 'release_calls', unit: 'count', meaning: 'notifier calls at the end of the mm' },
  { name: 'sptes_installed', unit: 'count', meaning: 'leaf sptes made present' },
  { name: 'sptes_dropped', unit: 'count', meaning: 'leaf sptes made non-present' },
  { name: 'sptes_prefetched', unit: 'count', meaning: 'leaf sptes installed ahead of an access' },
  { name: 'sptes_aged', unit: 'count', meaning: 'leaf sptes whose accessed bit was cleared' },
  { name: 'spurious_page_faults', unit: 'count', meaning: 'vmexits whose spte was already there' },
  {
    name: 'retried_page_faults',
    unit: 'count',
    meaning: 'vmexits retried because an invalidation ran meanwhile',
  },
  { name: 'shadow_pages_created', unit: 'count', meaning: 'shadow pages allocated' },
  { name: 'shadow_pages_zapped', unit: 'count', meaning: 'shadow pages destroyed' },
  { name: 'shadow_pages_unsync', unit: 'count', meaning: 'shadow pages that went out of sync' },
  {
    name: 'shadow_pages_flooded',
    unit: 'count',
    meaning: 'shadow pages zapped by write-flooding detection',
  },
  {
    name: 'shadow_pages_recycled',
    unit: 'count',
    meaning: 'shadow pages zapped to stay under the limit',
  },
  { name: 'tlb_flushes', unit: 'count', meaning: 'TLB flushes of any scope on one vCPU' },
  {
    name: 'remote_tlb_flushes',
    unit: 'count',
    meaning: 'flush requests sent to all vCPUs of the VM',
  },
  { name: 'cr3_switches', unit: 'count', meaning: 'loads of CR3' },
  { name: 'pages_scanned', unit: 'pages', meaning: 'pages that reclaim looked at' },
  { name: 'pages_activated', unit: 'pages', meaning: 'pages moved to the active list' },
  { name: 'pages_deactivated', unit: 'pages', meaning: 'pages moved to the inactive list' },
  { name: 'pages_rotated', unit: 'pages', meaning: 'pages given a second chance on their list' },
  { name: 'evictions', unit: 'pages', meaning: 'pages reclaimed from their mapping' },
  { name: 'swap_ins', unit: 'pages', meaning: 'pages read from the swap device' },
  { name: 'swap_outs', unit: 'pages', meaning: 'pages written to the swap device' },
  { name: 'file_reads', unit: 'pages', meaning: 'pages read from the backing file' },
  { name: 'file_writebacks', unit: 'pages', meaning: 'dirty pages written to the backing file' },
  { name: 'clean_drops', unit: 'pages', meaning: 'pages evicted without a write' },
  {
    name: 'spurious_swap_outs',
    unit: 'pages',
    meaning: 'evictions that an LRU seeing every access would not have made before the next access',
  },
  {
    name: 'workingset_refaults',
    unit: 'pages',
    meaning: 'refaults within the workingset distance',
  },
  { name: 'swap_io_errors', unit: 'count', meaning: 'reads or writes that the swap device failed' },
  { name: 'swap_full', unit: 'count', meaning: 'evictions given up because no swap slot was free' },
  {
    name: 'oom_kills',
    unit: 'count',
    meaning: 'times no frame could be freed and the OOM killer ran',
  },
  { name: 'young_tests', unit: 'count', meaning: 'tests of a page for young' },
  {
    name: 'false_old',
    unit: 'count',
    meaning: 'tests that called a page old although it was accessed since the last test',
  },
  {
    name: 'false_young',
    unit: 'count',
    meaning: 'tests that called a page young although it was not accessed since the last test',
  },
  { name: 'fast_page_faults', unit: 'count', meaning: 'vmexits fixed without a host page lookup' },
  { name: 'mmio_exits', unit: 'count', meaning: 'accesses outside all memslots' },
  { name: 'rmap_nodes_visited', unit: 'count', meaning: 'reverse-map entries visited' },
  { name: 'lru_moves', unit: 'count', meaning: 'list moves of the page LRU' },
  { name: 'decoded_bytes', unit: 'bytes', meaning: 'trace bytes decoded' },
  {
    name: 'context_switches',
    unit: 'count',
    meaning: 'switches of a vCPU to another guest process',
  },
  {
    name: 'guest_cow_faults',
    unit: 'count',
    meaning: 'guest #PFs that ended a sharing after a guest fork',
  },
  {
    name: 'guest_access_violations',
    unit: 'count',
    meaning: 'guest references that the guest kernel refused (a signal to the program)',
  },
  {
    name: 'memory_fault_exits',
    unit: 'count',
    meaning: 'exits to the VMM because the host has no page to give (EFAULT, ENOMEM)',
  },
  {
    name: 'pdes_zapped',
    unit: 'count',
    meaning: 'shadow entries above level 1 zapped by an emulated guest table write',
  },
  { name: 'pgscan_direct', unit: 'pages', meaning: 'pages scanned for an allocation that waits' },
  { name: 'pgsteal_direct', unit: 'pages', meaning: 'pages freed for an allocation that waits' },
  { name: 'allocstall', unit: 'count', meaning: 'allocations that had to reclaim themselves' },
  { name: 'pgscan_kswapd', unit: 'pages', meaning: 'pages scanned by kswapd' },
  { name: 'pgsteal_kswapd', unit: 'pages', meaning: 'pages freed by kswapd' },
  { name: 'pageoutrun', unit: 'count', meaning: 'times kswapd was woken and ran' },
] as const satisfies readonly CounterDeclaration[];

/** Name of a counter. */
export type CounterName = (typeof COUNTERS)[number]['name'];
