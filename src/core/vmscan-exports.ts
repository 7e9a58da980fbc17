// The exports of reclaim: lists, generations, the reclaim of a page. Part of exports.ts.

/** Exports of mm/{lru,lru_add,isolate}.ts: the lists, and the ways onto and off them. */
export interface LruExports {
  /** Marks a page on no list as isolated, with a reference. */
  holdIsolated(pfn: number): void;
  /** Address of the list heads, for the host's audit. */
  lruHeads(): number;
  /** Pages on a list. */
  lruSize(list: number): number;
  /** Oldest page of a list, or 0. */
  lruTail(list: number): number;
  /** Newest page of a list, or 0. */
  lruHead(list: number): number;
  /** The next newer page on the same list, or 0. */
  lruNewer(pfn: number): number;
  /** The list that a frame is on, or 0xffffffff. */
  lruListOf(pfn: number): number;
  /** Adds a page as the newest of a list. */
  lruAdd(pfn: number, list: number): void;
  /** Adds a page as the oldest of a list. */
  lruAddTail(pfn: number, list: number): void;
  /** Takes a page off its list. */
  lruDel(pfn: number): void;
  /** Moves a listed page to the newest end of a list. */
  lruMove(pfn: number, list: number): void;
  /** Says which list stands for which kind of page, and whether new anonymous pages are active. */
  lruSetMap(ia: number, aa: number, ifile: number, af: number, startActive: number): void;
  /** Sets the size of the per-CPU batch of new pages (15 in Linux 6.1; 0 here: none). */
  lruSetBatch(pages: number): void;
  /** The list on which a page with these flags belongs. */
  lruTarget(flags: number): number;
  /** Adds a new page to its list, by way of the batch when there is one (folio_add_lru). */
  lruCacheAdd(pfn: number): void;
  /** Empties the batch onto the lists (lru_add_drain); returns how many pages it held. */
  lruAddDrain(): number;
  /** Puts a page that reclaim isolated back where its flags say, and drops reclaim's reference. */
  lruPutback(pfn: number): void;
  /** The same by way of the batch of new pages (folio_putback_lru). */
  lruPutbackBatched(pfn: number): void;
  /** Takes the oldest page off a list for reclaim, with a reference; 0 when the list is empty. */
  lruIsolateTail(list: number): number;
  /** Takes a page off its list for reclaim, with a reference. */
  lruIsolate(pfn: number): void;
  /** Changes flags of a page and moves it to the list that they call for, if that is another one. */
  lruSetFlags(pfn: number, set: number, clear: number): void;
  /** A second touch activates a page (mark_page_accessed); 1 when this one did. */
  markPageAccessed(pfn: number): number;
  /** Puts an isolated page back as VERDICT_* says, and drops reclaim's reference. */
  lruVerdict(pfn: number, verdict: number): void;
  /** The flags word of a frame. */
  pageFlags(pfn: number): number;
  /** Pages that a per-CPU batch holds; 0: there are none. */
  lruBatchSize(): number;
}

/** Exports of mm/lru_gen.ts and mm/lru_gen_scan.ts. */
export interface LruGenExports {
  /** Switches the multi-generational LRU on (1) or off (0); every listed page moves. */
  lruGenEnable(on: number): void;
  /** Number of the youngest generation. */
  lruGenMaxSeq(): number;
  /** Number of the oldest generation of a type: 0 anonymous, 1 file. */
  lruGenMinSeq(type: number): number;
  /** Pages of a generation (its number modulo 4) and type. */
  lruGenPages(gen: number, type: number): number;
  /** The last tier of a type that eviction takes. */
  lruGenTier(type: number): number;
  /** Bit 0: the type to scan; from bit 1 on: its last tier. */
  lruGenTypeToScan(swappiness: number): number;
  /** Takes pages of the oldest generation; how many were looked at. MM_OUT word 0: how many taken. */
  lruGenIsolate(type: number, tier: number): number;
  /** Address of the pages that lruGenIsolate() took. */
  lruGenIsolated(): number;
  /** Skips generations that are empty; 1 when one was. */
  lruGenIncMinSeq(canSwap: number): number;
  /** A new youngest generation begins. */
  lruGenIncMaxSeq(canSwap: number): void;
  /** Puts an isolated page into the youngest generation and drops reclaim's reference. */
  lruGenPutback(pfn: number): void;
  /** Promotes the young neighbours of a page whose pte was found young. */
  lruGenLookAround(pfn: number, mm: number, hvn: number, start: number, end: number): void;
  /** What a look around that asks the notifiers finds in a pte: 0 nothing, 1 a page, 3 a young pte, made old. */
  lruGenTestYoung(mm: number, hvn: number, anon: number): number;
  /** The page of a pte was used: it is promoted, at once (`walks`) or by way of the CPU's batch. */
  lruGenFoundYoung(mm: number, hvn: number, walks: number): void;
  /** Whether the scans of generations are told by their tracepoint. */
  lruGenTells(on: number): void;
  /** Promotes the young pages of a range of an mm; how many. */
  lruGenWalk(mm: number, start: number, end: number): number;
}

/** Exports of mm/two_list.ts. */
export interface TwoListExports {
  /** Sets the era's rules (the scan of 6.1 or of 2.6.24, a page is looked at twice), vm.swappiness, the pages of a
   *  batch, and whether the timer that flushes a group's statistics is always taken to be due. */
  twoListInit(
    split: number,
    twice: number,
    swappiness: number,
    cluster: number,
    fresh: number,
  ): void;
  /** A run begins that is to free `target` pages. */
  twoListBegin(target: number): void;
  /** 1 when the run may end here. */
  twoListDone(): number;
  /** The next page off its list, with a reference; 0: no more this run; or SCAN_SHRINK_SLAB. */
  twoListNext(): number;
  /** VERDICT_* of the page in hand, of which `referenced` mappings were young. */
  twoListJudge(pfn: number, referenced: number): number;
  /** The page in hand was not freed. */
  twoListJoin(head: number): void;
  twoListKeep(pfn: number, verdict: number): void;
  /** folio_check_references() of 6.1: VERDICT_* of an inactive page. */
  checkReferences(pfn: number, referenced: number): number;
}

/** Exports of mm/vmscan.ts. */
export interface VmscanExports {
  /**
   * Clears the young bit of the i-th pte that maps a page. The result is its hvn, with bit 31 set when
   * it was young.
   */
  pageReferencedOne(pfn: number, i: number): number;
  /** Gives an anonymous page a swap slot and puts it into the swap cache; 0: no slot is free. */
  addToSwap(pfn: number): number;
  /**
   * Replaces the oldest pte that maps the page by what finds the page again (a swap entry, or nothing
   * for a file page); 0 when a lazily freed page turned out dirty and stays.
   */
  tryToUnmapOne(pfn: number): number;
  /** Writes an unmapped, isolated page if it is dirty. Result: RECLAIM_WROTE, RECLAIM_PINNED or 0. */
  pageout(pfn: number): number;
  /**
   * Takes a clean, unmapped, isolated page out of its cache and frees it (remove_mapping), leaving a
   * shadow when `shadow` is not 0. Result: RECLAIM_FREED, or RECLAIM_PINNED and the page is as it was.
   */
  removeMapping(pfn: number, shadow: number): number;
  /**
   * Write-back and freeing of an unmapped page in one call, for reclaim that nothing can interrupt.
   * Result: RECLAIM_* bits; RECLAIM_FREED without RECLAIM_WROTE is a clean drop.
   */
  pageoutFree(pfn: number, shadow: number, before: number): number;
  /** True (1) when the hvn's pte was young; used where only the pte is asked. */
  hpteYoung(mm: number, hvn: number): number;
  /**
   * The next pte that is to be unmapped of a page that is reclaimed: its hvn, and its mm in MM_OUT word
   * 0; RECLAIM_NO_MAPPING when none is left. The first call gives an anonymous page its swap slot, or
   * says RECLAIM_NO_SWAP.
   */
  reclaimNext(pfn: number): number;
  /** reclaimNext() and tryToUnmapOne() in one, for a page with one mapping that is not lazily freed; else
   *  RECLAIM_NO_MAPPING and nothing is changed. */
  reclaimUnmap(pfn: number): number;
}

/** Exports of mm/{folio_batch,mark_accessed,workingset}.ts. */
export interface FolioBatchExports {
  /** Activates a page, by way of the per-CPU batch when there is one. */
  folioActivate(pfn: number): void;
  /** Deactivates an active page (MADV_COLD), likewise. */
  deactivatePage(pfn: number): void;
  /** munlock_page: a locked area does not map the page any more; `last`: nor does another one. */
  munlockPage(pfn: number, last: number): void;
  /** Empties the batch in which new mlocked pages wait up to a page that is in it. */
  lruDrainThrough(pfn: number): void;
  /** Whether mlocked pages have a batch of their own. Default 1. */
  lruSetMlockBatch(on: number): void;
  /** Locks a page that follow_page() found (mlock.ts). */
  mlockVmaPage(pfn: number): void;
  /** Unlocks one page. */
  munlockVmaPage(pfn: number): void;
  /** Unlocks a page: 2 it is off its list, 1 it was on none, 0 it was not locked. */
  munlockIsolate(pfn: number): number;
  /** Puts an isolated page back, if that is done at once (`fast`) or by way of the batch. */
  munlockPutback(pfn: number, fast: number): number;
  /** Makes an anonymous page lazily freeable (MADV_FREE), likewise. */
  markPageLazyfree(pfn: number): void;
  /** Sets how many pages the rest of the host has on its lists (0 at first). */
  workingsetSetOutside(pages: number): void;
  /** Whether an eviction ages what is not resident before it makes the shadow. Default 0. */
  workingsetSetAgesFirst(on: number): void;
  /** Tells the LRU that a page was used. */
  folioMarkAccessed(pfn: number): void;
}

/** Exports of mm/memcg.ts: the statistics of the control group. */
export interface MemcgExports {
  /** The cost of reclaim so far of a kind: 0 anonymous, 1 file. */
  lruCost(kind: number): number;
  /** Pages of a kind were written out or refaulted (lru_note_cost). */
  lruNoteCost(kind: number, pages: number, rotated: number): void;
  /** The CPU's stock of kernel objects is drained: a flush of the statistics is due. */
  memcgDrainStock(): void;
  /** Switches the group's statistics on (1) or off (0). */
  memcgEnable(on: number): void;
  /** Flushes the group's statistics if enough changed, or in any case (1). */
  memcgFlush(force: number): void;
  /** Whether each item's updates are summed up by themselves. Default 0. */
  memcgPerItem(on: number): void;
  /** Pages on a list (LRU_*), or activated refaults (4 anonymous, 5 file), at the last flush. */
  memcgStat(i: number): number;
  /** Statistics of the group changed by `n` in one update. */
  memcgUpdated(n: number): void;
}
