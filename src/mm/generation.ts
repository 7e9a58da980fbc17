// What differs between the host mm of early 2008 (2.6.24), of Linux 6.1 and of 6.12, as data.

/** Rules of one generation of the host's memory management. */
export interface MmGeneration {
  readonly name: string;
  /** Kernel version that the rules are read from. */
  readonly source: string;
  /** A read fault on anonymous memory maps the shared zero page (removed in 2.6.24, back in 2.6.32). */
  readonly zeroPage: boolean;
  /** COW reuse follows PageAnonExclusive and the reference count (5.19), not the mapcount. */
  readonly exclusive: boolean;
  /** try_to_unmap asks for young once more (until 5.12, commit 013339df116c). */
  readonly recheckYoung: boolean;
  /** A referenced mapped page must be seen twice before it is activated (2.6.34; anonymous: 5.9). */
  readonly lookTwice: boolean;
  /** New anonymous pages start on the active list (until 5.9). */
  readonly anonStartsActive: boolean;
  /** Anonymous and file pages have lists of their own (2.6.28). */
  readonly splitLists: boolean;
  /** Refaults of evicted pages are told by shadow entries (3.15; anonymous: 5.9). */
  readonly workingset: boolean;
  /** mprotect back to writable upgrades exclusive anonymous ptes at once (6.1). */
  readonly protectUpgrade: boolean;
  /** fork() write-protects under a notifier call; v3 as posted had no hook there. */
  readonly forkHook: boolean;
  /** MADV_PAGEOUT leaves pages that are referenced (until 6.8; reclaim_folio_list() ignores references since). */
  readonly pageoutAsks: boolean;
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
  exclusive: true,
  recheckYoung: false,
  lookTwice: true,
  anonStartsActive: false,
  splitLists: true,
  workingset: true,
  protectUpgrade: true,
  forkHook: true,
  pageoutAsks: true,
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
    exclusive: false,
    recheckYoung: true,
    lookTwice: false,
    anonStartsActive: true,
    splitLists: false,
    workingset: false,
    protectUpgrade: false,
    forkHook: true,
    pageoutAsks: true,
    ksm: false,
    protectHook: true,
    swapPrepare: false,
    killable: false,
    watermarkScale: 0,
    mostMinFreeKbytes: 65_536,
  },
  '6.1': LINUX_6_1,
  '6.12': { ...LINUX_6_1, name: '6.12', source: 'Linux 6.12', pageoutAsks: false },
} as const satisfies Readonly<Record<string, MmGeneration>>;

/** Name of a generation of the host mm. */
export type MmGenerationName = keyof typeof MM_GENERATIONS;
