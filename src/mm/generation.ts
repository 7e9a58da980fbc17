// What differs between the host mm of early 2008 (2.6.24), of Linux 6.1 and of 6.12, as data.

/**
 * What a write to a read-only anonymous pte looks at: `mapcount`, whether others map the page (until 5.7); `alone`,
 * whether nobody but the pte holds it, the swap cache and the CPUs' batches included (5.8, commit 09854ba94c6a);
 * `exclusive`, PageAnonExclusive, else the references that are left once what can be dropped is (5.17 to 5.19).
 */
export type CowReuse = 'mapcount' | 'alone' | 'exclusive';

/** Rules of one generation of the host's memory management. */
export interface MmGeneration {
  readonly name: string;
  /** Kernel version that the rules are read from. */
  readonly source: string;
  /** A read fault on anonymous memory maps the shared zero page (removed in 2.6.24, back in 2.6.32). */
  readonly zeroPage: boolean;
  /** When a write to a page that may be shared needs no copy. */
  readonly reuse: CowReuse;
  /** try_to_unmap asks for young once more (until 5.12 and stable trees, commit 013339df116c). */
  readonly recheckYoung: boolean;
  /** A referenced mapped page must be seen twice before it is activated (2.6.34; anonymous: 5.9). */
  readonly lookTwice: boolean;
  /** New anonymous pages start on the active list (until 5.9). */
  readonly anonStartsActive: boolean;
  /** Anonymous and file pages have lists of their own (2.6.28). */
  readonly splitLists: boolean;
  /** Refaults of evicted pages are told by shadow entries (3.15; anonymous: 5.9). */
  readonly workingset: boolean;
  /** An eviction ages what is not resident before its shadow is made, so that a page that comes back at once was at a
   *  distance of 0 (workingset_eviction() of 5.10.262; 6.1 takes the age first). */
  readonly evictionAgesFirst: boolean;
  /** mprotect back to writable upgrades exclusive anonymous ptes at once (6.1). */
  readonly protectUpgrade: boolean;
  /** mprotect back to writable upgrades clean exclusive ptes and huge ones, too (can_change_pte_writable(),
   *  can_change_pmd_writable(); 6.2). */
  readonly upgradesClean: boolean;
  /** A page that a read swaps in is mapped writable if it is exclusive (do_swap_page(), 6.10). */
  readonly swapinWritable: boolean;
  /** A fault that makes a page writable says so (VM_FAULT_WRITE, until 6.2). */
  readonly faultTellsWrite: boolean;
  /** A pte that is not writable keeps its dirty bit apart from the processor's (_PAGE_SAVED_DIRTY, 6.6). */
  readonly savedDirty: boolean;
  /** The ptes of a huge page that is mapped in parts keep its dirty bit (__split_huge_pmd_locked(), 6.2). */
  readonly splitKeepsDirty: boolean;
  /** Pages that wait on the CPU for their list (PAGEVEC_SIZE; 31 since 6.10). */
  readonly folioBatch: number;
  /** /proc/kpageflags tells the flags of a huge page for its parts, and KSM of all anonymous pages
   *  (stable_page_flags() of 6.10 and later). */
  readonly folioFlags: boolean;
  /** fork() write-protects under a notifier call; v3 as posted had no hook there. */
  readonly forkHook: boolean;
  /** MADV_PAGEOUT leaves pages that are referenced (until 6.8; reclaim_folio_list() ignores references since). */
  readonly pageoutAsks: boolean;
  /** MADV_FREE splits a huge page that small ptes map if its first page is mapped once (folio_estimated_sharers(), 6.1
   *  stable); else if the page at hand is. */
  readonly freeAsksFirst: boolean;
  /** mprotect() gathers what it flushes, and tells the notifiers of that once more (mmu_gather, 6.0). */
  readonly protectGathers: boolean;
  /** Mlocked pages wait for their list in a batch of their own (5.18, commit 2fbb0c10d1e8). */
  readonly mlockBatch: boolean;
  /** khugepaged's tracepoints tell why a collapse failed, and a huge page from none at all (5.19 to 6.1). */
  readonly collapseTells: boolean;
  /** What is told of a part of a compound page is told of the whole (folios, 5.16). */
  readonly folios: boolean;
  /** invalidate_range is called with every flush of the processor's TLB and with nothing else (flush_tlb_mm_range();
   *  6.6, commits 6bbd42e2df8f and 1af5a8109904: arch_invalidate_secondary_tlbs). */
  readonly secondaryTlbs: boolean;
  /** Hooks that know change_pte call it for a copied or merged page (set_pte_at_notify(), until 6.9). */
  readonly changePte: boolean;
  /** A group's statistics are flushed together (rstat, 5.13), else each item is summed up by itself. */
  readonly flushedStatistics: boolean;
  /** A fault that made shared memory dirty is taken again (until 5.19; commit d92725256b4f ends it at once). */
  readonly dirtyingRetries: boolean;
  /**
   * How a control group's statistics are counted until they are added up (memcg_rstat_updated()): `batches` of more than 64
   * updates, of which there must be two, where bytes of objects count as many; `pages`: what changed, in pages, when it is
   * more than 64 (6.8, commit 8d59d2214c23), charges left out (no CONFIG_MEMCG_V1).
   */
  readonly groupStats: 'batches' | 'pages';
  /** MADV_POPULATE_READ and _WRITE fault in their range as one, and empty the CPU's batches at its end (faultin_page_range(),
   *  6.10), else area by area. */
  readonly populatesWhole: boolean;
  /** The look around a young pte asks the notifiers about every neighbour, young or not, and about the pte itself without
   *  a flush (lru_gen_look_around() of 6.12.74; commit 1d4832becdc2). */
  readonly lookAroundAsks: boolean;
  /** Eviction of a group's generations goes on for as many pages as its size says, and ends when it made a generation;
   *  before, it ended once enough was free (should_abort_scan(), get_nr_to_scan(); 6.3). */
  readonly evictsWhole: boolean;
  /** Scans of generations are told by the tracepoints of the lists' (6.8, commit 8c2214fc9a47). */
  readonly generationsTell: boolean;
  /** memory.reclaim asks for a part of what is missing at a time: one this-many-th (memory_reclaim(); 4 since 6.9). */
  readonly requestParts: number;
  /** Same-page merging exists (2.6.32). */
  readonly ksm: boolean;
  /** mprotect() tells the notifiers; v3 as posted had no hook there either. */
  readonly protectHook: boolean;
  /** A swap-in past the swap cache claims its slot, so that the slot cannot be freed and used again
   *  meanwhile (6.8 and stable trees, commit 13ddaf26be32). */
  readonly swapPrepare: boolean;
  /** A fatal signal ends get_user_pages (commit 4779280d1ea4) and the wait for a page's lock. */
  readonly killable: boolean;
  /** Least distance of the watermarks, in 10,000ths of the host (vm.watermark_scale_factor, 4.6); 0: none. */
  readonly watermarkScale: number;
  /** Most that vm.min_free_kbytes is by default (5.7 raised it). */
  readonly mostMinFreeKbytes: number;
}

const LINUX_6_1 = {
  name: '6.1',
  source: 'Linux 6.1',
  zeroPage: true,
  reuse: 'exclusive',
  recheckYoung: false,
  lookTwice: true,
  anonStartsActive: false,
  splitLists: true,
  workingset: true,
  evictionAgesFirst: false,
  protectUpgrade: true,
  upgradesClean: false,
  swapinWritable: false,
  faultTellsWrite: true,
  savedDirty: false,
  splitKeepsDirty: false,
  folioBatch: 15,
  folioFlags: false,
  forkHook: true,
  pageoutAsks: true,
  freeAsksFirst: true,
  protectGathers: true,
  mlockBatch: true,
  collapseTells: true,
  folios: true,
  secondaryTlbs: false,
  changePte: true,
  flushedStatistics: true,
  dirtyingRetries: false,
  groupStats: 'batches',
  populatesWhole: false,
  lookAroundAsks: false,
  evictsWhole: false,
  generationsTell: false,
  requestParts: 1,
  ksm: true,
  protectHook: true,
  swapPrepare: true,
  killable: true,
  watermarkScale: 10,
  mostMinFreeKbytes: 262_144,
} as const satisfies MmGeneration;

/** All generations by name. */
export const MM_GENERATIONS = {
  '2008': {
    name: '2008',
    source: 'Linux 2.6.24 with the v3 patch',
    zeroPage: false,
    reuse: 'mapcount',
    recheckYoung: true,
    lookTwice: false,
    anonStartsActive: true,
    splitLists: false,
    workingset: false,
    evictionAgesFirst: false,
    protectUpgrade: false,
    upgradesClean: false,
    swapinWritable: false,
    faultTellsWrite: true,
    savedDirty: false,
    splitKeepsDirty: false,
    folioBatch: 14,
    folioFlags: false,
    forkHook: true,
    pageoutAsks: true,
    freeAsksFirst: false,
    protectGathers: true,
    mlockBatch: true,
    collapseTells: true,
    folios: true,
    secondaryTlbs: false,
    changePte: true,
    flushedStatistics: true,
    dirtyingRetries: false,
    groupStats: 'batches',
    populatesWhole: false,
    lookAroundAsks: false,
    evictsWhole: false,
    generationsTell: false,
    requestParts: 1,
    ksm: false,
    protectHook: true,
    swapPrepare: false,
    killable: false,
    watermarkScale: 0,
    mostMinFreeKbytes: 65_536,
  },
  '5.10': {
    ...LINUX_6_1,
    name: '5.10',
    source: 'Linux 5.10.262',
    reuse: 'alone',
    freeAsksFirst: false,
    protectUpgrade: false,
    protectGathers: false,
    mlockBatch: false,
    collapseTells: false,
    folios: false,
    flushedStatistics: false,
    evictionAgesFirst: true,
    dirtyingRetries: true,
    swapPrepare: false,
  },
  '6.1': LINUX_6_1,
  '6.12': {
    ...LINUX_6_1,
    name: '6.12',
    source: 'Linux 6.12',
    upgradesClean: true,
    swapinWritable: true,
    faultTellsWrite: false,
    savedDirty: true,
    splitKeepsDirty: true,
    folioBatch: 31,
    folioFlags: true,
    pageoutAsks: false,
    freeAsksFirst: false,
    secondaryTlbs: true,
    changePte: false,
    groupStats: 'pages',
    populatesWhole: true,
    lookAroundAsks: true,
    evictsWhole: true,
    generationsTell: true,
    requestParts: 4,
  },
} as const satisfies Readonly<Record<string, MmGeneration>>;

/** Name of a generation of the host mm. */
export type MmGenerationName = keyof typeof MM_GENERATIONS;
