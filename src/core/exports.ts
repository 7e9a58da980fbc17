// The interface of the core, by hand because its comments are the ABI reference. test/abi.test.ts
// holds it against the module's real exports.

/** Exports of layout.ts, stats.ts and index.ts. */
export interface BaseExports {
  readonly memory: WebAssembly.Memory;
  /** ABI version that the core was compiled with. */
  abiVersion(): number;
  /** Zeroed, page-aligned memory that stays until the instance goes. */
  arenaAlloc(bytes: number): number;
  /** A zeroed 4 KiB page. */
  pageAlloc(): number;
  /** Gives a 4 KiB page back. */
  pageFree(page: number): void;
  /** End of the used part of linear memory, for snapshots. */
  memoryTop(): number;
  /** 4 KiB pages in use. */
  tablePages(): number;
  /** Address of the counter block: one u64 a counter. */
  statsPtr(): number;
  /** Adds `n` to a counter. */
  statBump(slot: number, n: number): void;
  /** Turns the core's part of the event stream on (1) or off (0). */
  setTracing(on: number): void;
}

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
  /** A zeroed frame with one reference, or 0 when all are in use. */
  frameAlloc(): number;
  /** Counts a frame against the limit until it is freed. */
  frameCharge(pfn: number): void;
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
}

/** Exports of mm/pte.ts: host page tables by mm id and host virtual page number (hvn). */
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
}

/** Exports of mm/lru.ts: page lists (LRU_* in abi.ts); the head is the newest page. */
export interface LruExports {
  /** Byte address of the list heads. */
  lruHeads(): number;
  /** Pages on a list. */
  lruSize(list: number): number;
  /** Oldest page of a list, or 0. */
  lruTail(list: number): number;
  /** Newest page of a list, or 0. */
  lruHead(list: number): number;
  /** The next newer page on the same list, or 0. */
  lruNewer(pfn: number): number;
  /** The list that a page is on, or 0xffffffff. */
  lruListOf(pfn: number): number;
  lruAdd(pfn: number, list: number): void;
  lruAddTail(pfn: number, list: number): void;
  lruDel(pfn: number): void;
  /** Moves a listed page to the newest end of a list. */
  lruMove(pfn: number, list: number): void;
}

/** Exports of lockstep.ts: the exact LRU that runs beside the emulator, keyed by gfn. */
export interface LockstepExports {
  /** Makes the yardstick for `gfns` guest frames and `limit` host frames. */
  lockstepInit(gfns: number, limit: number): void;
  /** Virtual page (vpnHi:vpnLo, 36 bits) of a space lies on `gfn`; 0xffffffff: on none. */
  lockstepMap(space: number, vpnHi: number, vpnLo: number, gfn: number): void;
  /** gfn under a virtual page of a space, 0xffffffff when none. */
  lockstepGfn(space: number, vpnHi: number, vpnLo: number): number;
  /** Forgets all pages of an address space. */
  lockstepDropSpace(space: number): void;
  /** One access that is not in the records. */
  lockstepTouch(gfn: number, write: number): void;
  /** Replays `count` references of an address space. */
  lockstepRun(records: number, count: number, space: number): void;
  /** 1: an LRU that saw every access holds the page. */
  lockstepResident(gfn: number): number;
  /** Index of the last reference of a page; 0: none. */
  lockstepLast(gfn: number): number;
  /** Address of the LOCKSTEP_* counters. */
  lockstepState(): number;
}

/** Exports of vcpu.ts, tlb.ts and run.ts. */
export interface RunExports {
  /** Makes `n` vCPUs in 64-bit mode; called once. */
  vcpuInit(n: number): void;
  /** Address of a vCPU (VCPU_* offsets in assembly/abi.ts). */
  vcpuPtr(i: number): number;
  /** Gives a vCPU its TLB: sets are powers of two, ways 1 to 16. */
  tlbInit(vcpu: number, l1Sets: number, l1Ways: number, l2Sets: number, l2Ways: number): void;
  /** Makes an address space (PCID, 0 to 4095) the current one of the vCPU. */
  tlbSelect(vcpu: number, space: number): void;
  /** Flushes everything, global translations included. */
  tlbFlushAll(vcpu: number): void;
  /** Flushes all spaces but global translations. */
  tlbFlushNonGlobal(vcpu: number): void;
  /** Flushes one space but global translations. */
  tlbFlushSpace(vcpu: number, space: number): void;
  /** Flushes the page at vpn = hi * 2^32 + lo (gva bits 63:12) in a space and globally. */
  tlbFlushPage(vcpu: number, space: number, lo: number, hi: number): void;
  /** Runs access records on a vCPU; returns how many were executed (exit in VCPU_EXIT_REASON). */
  runBatch(vcpu: number, records: number, count: number): number;
}

/** Exports of verify.ts: version stamps by gfn. */
export interface VerifyExports {
  /** Makes the record for gfns 0 .. `count` - 1. */
  verifyInit(count: number): void;
  /** Address of the VERIFY_* words. */
  verifyState(): number;
  /** What a guest page must hold: a stamp or 0; bit 31: or zero (MADV_FREE). */
  verifyGet(gfn: number): number;
  /** Says what a guest page must hold from now on. */
  verifySet(gfn: number, value: number): void;
  /** A stamp that no page holds yet. */
  verifyStamp(): number;
  /** 1: a frame may be read as a guest page. */
  verifyRead(gfn: number, pfn: number): number;
  /** A write to a guest page through a frame; 0 when the frame must not be written. */
  verifyWrite(gfn: number, pfn: number): number;
  /** As runBatch(), each access checked, for the space on the vCPU. */
  runBatchVerified(vcpu: number, records: number, count: number, space: number): number;
}

/** Exports of mmu/guest_walk.ts and conform/access.ts: the guest's own page tables. */
export interface GuestWalkExports {
  /**
   * Walks the guest's tables for the gva in VCPU_FAULT_GVA and an access with ACCESS_* flags; fills
   * VCPU_WALK_*, sets A and D in guest memory, returns WALK_*.
   */
  guestWalk(vcpu: number, flags: number): number;
  /** Loads the PDPTE registers (PAE): 0, 1 for #GP, 2 for WALK_NEED_PAGE. */
  loadPdptrs(vcpu: number): number;
  /** Decodes the input word of an access-table row into the job block (ACX_JOB_*). */
  accessRow(job: number, id: number): void;
  /** Runs `n` rows through the guest walker: input words at `ids`, outcome words to `out`. */
  accessRowsWalk(job: number, ids: number, out: number, n: number): void;
}

/** Exports of mmu/memslot.ts. */
export interface MemslotExports {
  /** Creates memslot `id`, or deletes it (`npages` = 0). */
  memslotSet(
    id: number,
    baseGfn: number,
    npages: number,
    hvn: number,
    mm: number,
    flags: number,
  ): void;
}

/** All exports of the core. */
export interface CoreExports
  extends
    BaseExports,
    RunExports,
    FrameExports,
    PteExports,
    RmapExports,
    LruExports,
    LockstepExports,
    VerifyExports,
    GuestWalkExports,
    MemslotExports {}
