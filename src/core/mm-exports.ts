// The exports of the host mm: frames, page tables, faults, swap, files. Part of exports.ts.

/** Exports of mm/frame.ts: the frame table. pfns and counts are u32 (use `>>> 0`). */
export interface FrameExports {
  /** Makes the frame table: `nframes` usable frames and the zero page. */
  frameInit(nframes: number): void;
  /** Byte address of a frame's struct page. */
  framePtr(pfn: number): number;
  /** Byte address of the frame table (frame 0). */
  frameTable(): number;
  /** Usable frames. */
  frameTotal(): number;
  /** Frames that can still be allocated. */
  framesFree(): number;
  /** Frames that count against the host's limit. */
  framesCharged(): number;
  /** Address of the word that framesCharged() reads. */
  framesChargedPtr(): number;
  /** A zeroed frame with one reference, or 0 when all are in use. */
  frameAlloc(): number;
  /** Counts a frame against the limit until it is freed. */
  frameCharge(pfn: number): void;
  /** Whether host page tables count against the limit. */
  frameChargeTables(on: number): void;
  /** Whether anonymous pages are marked as one mapping's own (PageAnonExclusive). Default 1. */
  frameMarkExclusive(on: number): void;
  /** Takes a reference. */
  getPage(pfn: number): void;
  /** Drops a reference; 1 when the frame was freed. */
  putPage(pfn: number): number;
  /** 4 KiB of content for reading (zeros when nothing was written as bytes). */
  frameContentPtr(pfn: number): number;
  /** 4 KiB of content for writing. */
  frameContentForWrite(pfn: number): number;
  /** Content word: 0, a version stamp, or CONTENT_PAGE | page number. */
  frameContent(pfn: number): number;
  /** Replaces the content word. */
  frameSetContent(pfn: number, content: number): void;
  /** A copy of a content word (a content page is duplicated). */
  contentCopy(content: number): number;
  /** Gives back the content page that a content word owns. */
  contentFree(content: number): void;
  /** The frame that stands for a page: the head of a compound one. */
  folioOf(pfn: number): number;
}

/** Exports of mm/pgtable.ts, pmd.ts and pte.ts: host page tables by mm id and host virtual page number (hvn). */
export interface PteExports {
  /** A new address space: its id (1 to 255), or 0 when all are in use. */
  mmCreate(): number;
  /** Gives an address space without ptes back. */
  mmDestroy(mm: number): void;
  /** Ptes that are not 0. */
  mmUsed(mm: number): number;
  /** Leaf tables in use, of all mms. */
  hpteTables(): number;
  /** The pte (HPTE_*) of a page, 0 when none. */
  hpteGet(mm: number, hvn: number): number;
  /** Writes a pte; returns the old one. */
  hpteSet(mm: number, hvn: number, pte: number): number;
  /** Sets HPTE_YOUNG or HPTE_DIRTY in a pte that exists. */
  hpteOr(mm: number, hvn: number, bits: number): void;
  /** Clears the young bit; 1 when it was set. */
  hpteTestAndClearYoung(mm: number, hvn: number): number;
  /** First page in [hvn, end) with a pte, or `end`. */
  hpteNextMapped(mm: number, hvn: number, end: number): number;
  /** The huge pte that maps a page, or 0. */
  hpmdGet(mm: number, hvn: number): number;
  /** Writes (or, with 0, clears) a huge pte at an aligned hvn. */
  hpmdSet(mm: number, hvn: number, pte: number): void;
  /** Replaces a huge pte by 512 ptes. */
  hpmdSplit(mm: number, hvn: number): void;
  /** 1 when neither a leaf table nor a huge pte is at the page's place (pmd_none). */
  hpmdNone(mm: number, hvn: number): number;
  /** First page in [hvn, end) at whose place there is one, or `end`. */
  hpmdNextPopulated(mm: number, hvn: number, end: number): number;
  /** 1 when there is a pmd table for the page's place (pud_present). */
  hpmdTable(mm: number, hvn: number): number;
  /** Whether empty tables stay (1) until hpteFreeTables() and hpmdFreeTables(). */
  hpteKeepTables(keep: number): void;
  /** Frees the empty leaf tables that serve pages of [hvn, end). */
  hpteFreeTables(mm: number, hvn: number, end: number): void;
  /** Frees the empty pmd tables that serve pages of [hvn, end). */
  hpmdFreeTables(mm: number, hvn: number, end: number): void;
}

/** Exports of mm/huge.ts: transparent huge pages. `hvn` is aligned to 512 where a pte is huge. */
export interface HugeExports {
  /** Maps a new huge page (MAP_* in `args`): its head, or 0 when there is no room. */
  doHugeAnonymousPage(mm: number, hvn: number, args: number): number;
  /** Maps the huge zero page read-only: its head, or 0 when there is no room. */
  mapHugeZeroPage(mm: number, hvn: number): number;
  /** Head of the huge zero page, or 0. */
  hugeZeroPage(): number;
  /** A write to a read-only huge pte: 1 when it is writable now, 0 when it must be split. */
  hugeWpReuse(mm: number, hvn: number): number;
  /** 512 ptes in place of the huge one around `hvn`; `keep` 1: they keep its dirty bit. */
  splitHugePmd(mm: number, hvn: number, keep: number): void;
  /** Makes the frames of a compound page, which only small ptes map, pages of their own. */
  splitHugePage(head: number, isolated: number): void;
  /** Moves 512 small, isolated pages to a new huge page in their place: its head, or 0. */
  collapseHugePage(mm: number, hvn: number, args: number): number;
}

/** Exports of mm/shmem.ts: files whose pages are dropped to swap. `args` is MAP_*. */
export interface ShmemExports {
  /** Makes a new file shared memory. */
  shmemInit(file: number): void;
  /** Swap slot of the page at an offset, or NO_SLOT (as a signed number: -1). */
  shmemSlot(file: number, offset: number): number;
  /** The page at an offset with a reference (IO_MAJOR: read from swap), or 0 when no frame is free. */
  shmemGet(file: number, offset: number, args: number): number;
  /** Maps a page where no pte is; its reference becomes the mapping's. */
  shmemMap(mm: number, hvn: number, pfn: number, args: number): number;
  /** Maps what is cached for [start, end), `offset` being that of `start`; 1: `hvn` is among it. */
  shmemMapAround(
    mm: number,
    hvn: number,
    start: number,
    end: number,
    file: number,
    offset: number,
    args: number,
  ): number;
  /** The pages of [start, end) of a file go. */
  shmemTruncate(file: number, start: number, end: number): void;
  /** Reads what is swapped out of [start, end) of a file into the swap cache. */
  shmemWillneed(file: number, start: number, end: number, args: number): void;
}

/** Exports of mm/rmap.ts: from a frame to the host ptes that map it. */
export interface RmapExports {
  /** Number of host ptes that map a frame. */
  pageMapcount(pfn: number): number;
  rmapAdd(pfn: number, mm: number, hvn: number): void;
  rmapRemove(pfn: number, mm: number, hvn: number): void;
  /** mm id of the i-th mapping, oldest first. */
  rmapMm(pfn: number, i: number): number;
  /** hvn of the i-th mapping, oldest first. */
  rmapHvn(pfn: number, i: number): number;
  /** The mapping of `hvn` in `mm`, one of several, counts as the oldest from now on. */
  rmapMoveFirst(pfn: number, mm: number, hvn: number): void;
}

/** Exports of mm/{memory,swapin,filemap_fault,cow,follow,gup}.ts: what faults do to ptes and frames. */
export interface MemoryExports {
  /** Address of the scratch block of results. */
  mmOut(): number;
  /** What a fault at a page meets, without the page-table lock. FAULT_PRESENT: call faultPresent(). */
  faultClassify(mm: number, hvn: number): number;
  /** A fault on a present pte, under the page-table lock: FAULT_PRESENT (young and dirty are set),
   *  FAULT_WP, or FAULT_NONE when the pte changed meanwhile. */
  faultPresent(mm: number, hvn: number, write: number): number;
  /** Maps a zeroed page where no pte is; 0 when no frame is free. */
  doAnonymousPage(mm: number, hvn: number, args: number): number;
  /** Maps the shared zero page read-only where no pte is. */
  mapZeroPage(mm: number, hvn: number): void;
  /** The page of a swap slot, from the swap cache or (IO_MAJOR) the device; 0 when no frame is free,
   *  IO_BUSY while another fault reads the slot past the swap cache. */
  swapinBegin(slot: number, args: number): number;
  /**
   * Maps a page of the swap cache in place of its swap entry (do_swap_page). 0 when the pte changed
   * meanwhile (the reference is dropped), else 1. A write maps writable only if nobody shares the page.
   */
  swapinMap(mm: number, hvn: number, pfn: number, args: number): number;
  /** A swap-in ends without a mapping: the reader's reference goes, and its claim of the slot. */
  swapinAbort(pfn: number): void;
  /** Drops the slot of a page that only the swap cache still uses; the page is then dirty. */
  tryToFreeSwap(pfn: number): number;
  /** The page of a file, from the page cache or (IO_MAJOR) the device; 0 when no frame is free. */
  filemapRead(file: number, offset: number, args: number): number;
  /**
   * Maps a page of the page cache where no pte is; 0 when there is one by now (the reference is
   * dropped). A shared page is writable from its first write on, so that it is dirty only then.
   */
  filemapMap(mm: number, hvn: number, pfn: number, args: number): number;
  /**
   * A write to a read-only pte that needs no copy: maps it writable and returns 1 (do_wp_page), under
   * the page-table lock. With MAP_DIRTY_ALWAYS the rule of 2.6.24 decides (one mapping), else that of
   * 6.1 (exclusive, or no reference but the mapping's); a page that is locked is copied.
   */
  wpReuse(mm: number, hvn: number, args: number): number;
  /** The new page of a copy on write of `from`, content copied, not yet mapped; 0: no frame is free. */
  wpCopyBegin(from: number, args: number): number;
  /** Clears a pte and leaves rmap and references as they are (ptep_clear_flush); returns the pte. */
  ptepClear(mm: number, hvn: number): number;
  /** Maps the copy and drops the page that `old` (the cleared pte, or 0) mapped. */
  wpCopyInstall(mm: number, hvn: number, pfn: number, old: number, args: number): void;
  /** Frees the swap slot of a page that nobody maps any more (free_swap_cache). */
  tryToFreeSwapUnmapped(pfn: number): void;
  /** Marks a page dirty (set_page_dirty). */
  setPageDirty(pfn: number): void;
  /**
   * The page of a present pte that permits the access, with a reference; FOLLOW_NONE when a fault must
   * come first (follow_page_pte).
   */
  followPage(mm: number, hvn: number, flags: number): number;
  /**
   * get_user_pages in the plain cases, for a run that nothing can preempt: a pfn with a reference,
   * GUP_CHARGE (room first), or GUP_SLOW (the protocol goes on). MM_OUT words GUP_OUT_*: what was read.
   */
  gupPlain(
    mm: number,
    hvn: number,
    foll: number,
    args: number,
    file: number,
    offset: number,
    limit: number,
  ): number;
  /** A page that could not be read leaves its cache, and the reader drops its reference. */
  readFailed(pfn: number): void;
}

/** Exports of mm/swap.ts. */
export interface SwapExports {
  /** Makes `n` swap slots; called once. */
  swapInit(n: number): void;
  /** Slots of the device. */
  swapTotal(): number;
  /** Sets how many freed slots wait on the CPU (0 at first). */
  swapSetReturned(n: number): void;
  /** Slots in use. */
  swapUsed(): number;
  /** A slot that no pte and no page uses, or NO_SLOT. It has count 1: the swap cache's. */
  swapAlloc(): number;
  /** Users of a slot: swap entries, and the swap cache. */
  swapCount(slot: number): number;
  /** One more swap entry names the slot. */
  swapDuplicate(slot: number): void;
  /** The content word that the device holds for a slot; see frameContent(). */
  swapContent(slot: number): number;
  /** One user fewer; the last one frees the slot. */
  swapFree(slot: number): void;
  /** The frame that the swap cache holds for a slot, or 0. */
  swapCacheLookup(slot: number): number;
  /** 1 while a fault reads the slot past the swap cache. */
  swapClaimed(slot: number): number;
  /** Takes a page out of the swap cache; the caller drops the cache's reference. */
  swapCacheDel(pfn: number): void;
  /** The shadow of the page that was evicted to the slot, or 0. */
  swapShadow(slot: number): number;
  /** Leaves the shadow of an evicted page. */
  swapSetShadow(slot: number, shadow: number): void;
}

/** Exports of mm/filemap.ts. */
export interface FilemapExports {
  /** A new file, all zeros and of any length; 0 when there are too many. */
  fileCreate(): number;
  /** Removes a file that no page caches any more. */
  fileDestroy(file: number): void;
  /** The cached page at an offset, or 0. */
  filemapGet(file: number, offset: number): number;
  /** The shadow that the page at an offset left, or 0. */
  filemapShadow(file: number, offset: number): number;
  /** Adds a page to the cache. */
  filemapAdd(pfn: number, file: number, offset: number): void;
  /** Takes a page out of the cache, leaving a shadow (0: none); the caller drops the cache's reference. */
  filemapDel(pfn: number, shadow: number): void;
  /** The file that a page caches, or 0. */
  pageFile(pfn: number): number;
  /** The file gets the page's content; the page is clean afterwards. */
  fileWrite(pfn: number): void;
  /** The page gets the file's content at an offset. */
  fileRead(pfn: number, file: number, offset: number): void;
  /** Content word that the file holds at an offset. */
  fileContent(file: number, offset: number): number;
  /** Sets what the file holds at an offset (a stamp). */
  fileSetContent(file: number, offset: number, content: number): void;
}

/** Exports of mm/range.ts. */
export interface RangeExports {
  /** Frees what a task's zap gathered (tlb_finish_mmu); returns how many frames became free. */
  gatherFree(task: number): number;
  /**
   * Clears the ptes of [hvn, end) until the task's gather buffer is full; returns where it stopped
   * (`end`: all done). The caller frees the gathered pages with gatherFree().
   */
  zapRange(mm: number, hvn: number, end: number, task: number, eager: number): number;
  /**
   * Copies what a child of fork() needs of [hvn, end): anonymous pages, shared read-only from now on in
   * both; swap entries; zero-page ptes. File pages are left to the child's own faults. Returns how many
   * ptes were copied.
   */
  copyRange(from: number, to: number, hvn: number, end: number): number;
  /** Changes the rights of [hvn, end); `rights`, `upgrade`: PROTECT_*. Returns where the ptes that changed
   *  begin, `end`: none did. */
  protectRange(mm: number, hvn: number, end: number, rights: number, upgrade: number): number;
  /** Where the changes of the last protectRange() end. */
  protectedEnd(): number;
  /**
   * Moves the ptes of [hvn, end) to another place of the same mm (move_page_tables); returns where it
   * stopped: `end`, or at a huge pte that must be split first. MM_OUT word 0: how many moved.
   */
  moveRange(mm: number, hvn: number, end: number, target: number): number;
  /**
   * Write-protects what is mapped in [hvn, end) and notes that it was not written since
   * (clear_soft_dirty): mprotect() must not make such a pte writable by itself.
   */
  clearSoftDirtyRange(mm: number, hvn: number, end: number): void;
  /** Clears young and referenced without asking anyone (clear_refs, MADV_COLD's first half). */
  clearRefsRange(mm: number, hvn: number, end: number): number;
  /**
   * MADV_FREE on one page: an anonymous page that only this pte maps becomes clean and lazily
   * freeable; a swap entry goes. 1 when the page is lazily freeable now.
   */
  lazyFreeOne(mm: number, hvn: number): number;
}

/** Exports of mm/ksm.ts. */
export interface KsmExports {
  /** Whether two frames hold the same bytes (pages_identical). */
  framesIdentical(a: number, b: number): number;
  /** A checksum of a frame's content (calc_checksum). */
  frameChecksum(pfn: number): number;
  /**
   * write_protect_page, between its notifier calls: 0 somebody else holds the page, 1 the pte was
   * read-only and clean, 2 it is now.
   */
  ksmWriteProtect(mm: number, hvn: number, pfn: number): number;
  /** The page becomes one that others are merged into (set_page_stable_node). */
  ksmAdopt(pfn: number): void;
  /** replace_page, between its notifier calls: the pte of `pfn` maps `kpfn` from now on. */
  ksmReplace(mm: number, hvn: number, pfn: number, kpfn: number): void;
}

/** Exports of mm/device.ts. */
export interface DeviceExports {
  /** Address of the records of the devices (DEVICE_*); the clock's (CLOCK_*) follows them. */
  devices(): number;
  /** Reads the page at `place`: ns that its reader waited, or -1 for an I/O error. */
  deviceRead(device: number, place: number): number;
  /** Writes the page at `place`: ns that its writer waited. */
  deviceWrite(device: number, place: number): number;
  /** The clock goes on by the references made; those that are not counted yet are given. */
  clockAdvance(accesses: number, l2Hits: number, walkSteps: number): void;
}
