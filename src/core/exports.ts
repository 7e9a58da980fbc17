// The interface of the core, by hand because its comments are the ABI reference. test/abi.test.ts
// holds it against the module's real exports.

import type { WorkloadExports } from './workload-exports.ts';

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
  /** Address of the word that framesCharged() reads. */
  framesChargedPtr(): number;
  /** A zeroed frame with one reference, or 0 when all are in use. */
  frameAlloc(): number;
  /** Counts a frame against the limit until it is freed. */
  frameCharge(pfn: number): void;
  /** Whether host page tables count against the limit. */
  frameChargeTables(on: number): void;
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
  /** 1 when neither a leaf table nor a huge pte is at the page's place (pmd_none). */
  hpmdNone(mm: number, hvn: number): number;
  /** First page in [hvn, end) at whose place there is one, or `end`. */
  hpmdNextPopulated(mm: number, hvn: number, end: number): number;
  /** Whether empty leaf tables stay (1) until hpteFreeTables(). */
  hpteKeepTables(keep: number): void;
  /** Frees the empty leaf tables that serve pages of [hvn, end). */
  hpteFreeTables(mm: number, hvn: number, end: number): void;
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
  splitHugePage(head: number): void;
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
  shmemMap(mm: number, hvn: number, pfn: number, args: number): void;
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
}

/** Exports of lockstep.ts: the exact LRU that runs beside the emulator, keyed by gfn. */
export interface LockstepExports {
  /** Makes the yardstick for `gfns` guest frames and `limit` host frames. */
  lockstepInit(gfns: number, limit: number): void;
  /** Lets the next reference have the time `now`, as after a long run. */
  lockstepAdvance(now: number): void;
  /** One access that is not in the records. */
  lockstepTouch(gfn: number, write: number): void;
  /** 1: an LRU that saw every access holds the page. */
  lockstepResident(gfn: number): number;
  /** Reclaim tested a page and called it young (1) or old (0). */
  lockstepTested(gfn: number, young: number): void;
  /** Reclaim took a page from the guest. */
  lockstepEvicted(gfn: number): void;
  /** An evicted page is read again. */
  lockstepRefault(gfn: number): void;
  /** Address of the LOCKSTEP_* counters. */
  lockstepState(): number;
}

/** Exports of guest_map.ts: the guest kernel's own record of its address spaces. */
export interface GuestMapExports {
  /** Makes room for it; until then nothing is recorded. */
  guestMapInit(): void;
  /** Virtual page (vpnHi:vpnLo, 36 bits) of a space lies on `gfn`; 0xffffffff: on none. */
  guestMapSet(space: number, vpnHi: number, vpnLo: number, gfn: number): void;
  /** gfn under a virtual page of a space, 0xffffffff when none. */
  guestMapGet(space: number, vpnHi: number, vpnLo: number): number;
  /** Forgets all pages of an address space. */
  guestMapDrop(space: number): void;
}

/** Exports of vcpu.ts, tlb/ and run.ts. */
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
  /** Frame that the last walk on a vCPU led to. */
  lastWalkPfn(vcpu: number): number;
  /**
   * From VCPU_WALK_GFN to the host page of a fault: fills VCPU_FAULT_HVN, _WANT and _READONLY.
   * RET_PF_CONTINUE, or what the fault ends with: RET_PF_*, FAULT_NO_SLOT, FAULT_TO_READONLY.
   */
  faultTranslate(vcpu: number): number;
  /**
   * Installs the spte of a fault for `pfn` unless it is stale (`check` FAULT_CHECK_*, `seq`) or the root
   * is obsolete, and drops the reference; `marks`: it marks the page accessed. RET_PF_*.
   */
  faultInstall(
    vcpu: number,
    pfn: number,
    writable: number,
    check: number,
    seq: number,
    marks: number,
  ): number;
  /** Lets run() serve faults (`on`): TOUCH_* of the fast lookup, or 0 and FOLL_* of follow_page;
   *  FAULT_CHECK_*; whether releasing the page marks it accessed. */
  quickFaultInit(
    on: number,
    mm: number,
    touch: number,
    foll: number,
    check: number,
    releaseMarks: number,
  ): void;
  /** Address of the STRAIGHT_* words: what of a straight run the core may do itself. */
  straightPtr(): number;
  /** Runs access records on a vCPU; returns how many were executed (exit in VCPU_EXIT_REASON). */
  runBatch(vcpu: number, records: number, count: number): number;
  /** One access to gva hi:lo when the TLB serves it at once; 0: nothing was done. */
  accessHit(vcpu: number, lo: number, hi: number, flags: number): number;
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
  /** Outcome word of the job's row from the entries as they are and what the access did. */
  accessRowOutcome(job: number, faulted: number, error: number, gfn: number): number;
  /** Frame that the shadow tables map the job's address to, or 0xffffffff. */
  accessRowPfn(job: number): number;
}

/** Exports of mmu/memslot.ts and mmu/kvm.ts. */
export interface KvmExports {
  /** Creates memslot `id` or deletes it (`npages` = 0). */
  memslotSet(
    id: number,
    baseGfn: number,
    npages: number,
    hvn: number,
    mm: number,
    flags: number,
  ): void;
  /** Changes KVM_MEM_* of a live slot. */
  memslotSetFlags(id: number, flags: number): void;
  /** Id of the slot of a gfn, or 0xffffffff. */
  gfnToSlotId(gfn: number): number;
  /** hvn behind a gfn, or 0xffffffff. */
  gfnToHvn(gfn: number): number;
  /** Content of a guest page for reading; 0 when the host page is not present. */
  guestPagePtr(gfn: number): number;
  /** Content of a guest page for writing; 0 when the host page is not present and writable. */
  guestPagePtrForWrite(gfn: number): number;
  /** KVM or the VMM wrote a guest page: host pte young and dirty, dirty log. */
  guestPageWritten(gfn: number): void;
  /** Byte address of slot `id` (SLOT_*). */
  slotPtr(id: number): number;
  /** Byte address of the VM's words (KVM_*). */
  kvmPtr(): number;
  /** Sets KVM_FEATURE_* and the limit of shadow pages (0: none). */
  kvmInit(features: number, maxShadowPages: number): void;
  /** 1: sptes are made without A/D bits (access tracking). */
  kvmSetAdDisabled(disabled: number): void;
  /** kvm_mmu_invalidate_begin for a range of hvns. */
  invalidateBegin(start: number, end: number): void;
  /** kvm_mmu_invalidate_end. */
  invalidateEnd(): void;
  /** Whether a fault that sampled `seq` is stale for a hvn. */
  invalidateRetry(seq: number, hvn: number): number;
}

/** Exports of the shadow MMU: mmu/{shadow_page,fault,sync,zap,age,invlpg,pfn,guest_walk}.ts. */
export interface ShadowExports {
  /** Sizes the hash of shadow pages: 2^shift chains. */
  shadowPageInit(shift: number): void;
  /** Newest active shadow page, or 0. */
  activeFirst(): number;
  /** Oldest active shadow page, or 0. */
  activeLast(): number;
  /** The next newer active page, or 0. */
  activePrev(sp: number): number;
  /** Table of a shadow page. */
  spTable(sp: number): number;
  /** Root shadow page for a cr3 (its gfn), with a reference. */
  getRoot(vcpu: number, gfn: number): number;
  /** Role of a vCPU's root (ROLE_*). */
  rootRole(vcpu: number): number;
  /** Marks the access as outside all slots; RET_PF_*. */
  shadowMapMmio(vcpu: number, generation: number): number;
  /** The guest writes one of its tables: 0 free, 1 emulate, 2 free after this exit (unsync). */
  guestTableWrite(gfn: number): number;
  /** Frame of a page that the host maps writable, with a reference, or 0xffffffff. */
  hvaToPfnFast(mm: number, hvn: number, touch: number): number;
  /** What get_user_pages_fast does to the page it finds. */
  folioSetReferenced(pfn: number): void;
  /** kvm_mmu_unprotect_page: the guest page is shadowed no more, so that it may be written. */
  mmuUnprotectPage(gfn: number): void;
  /** An emulated write of `bytes` at entry `index` of a shadowed table. */
  mmuPteWrite(gfn: number, index: number, bytes: number): void;
  /** Syncs the unsync tables below a root. */
  syncRoot(vcpu: number, root: number): void;
  /** 1 when the gfn is a guest table that is shadowed. */
  gfnShadowed(gfn: number): number;
  /** Gives a root's reference back. */
  putRoot(sp: number): void;
  /** The same without freeing an invalid root before commitZapPage(). */
  dropRoot(sp: number): void;
  /** Flushes once and frees what was zapped. */
  commitZapPage(): void;
  /** Zaps every shadow page of the VM. */
  zapAllFast(): void;
  /** Write-protects a gfn range for dirty logging; 1: TLBs must be flushed. */
  writeProtectRange(gfn: number, npages: number): number;
  /** Zaps the 4 KiB sptes of a slot that could be mapped larger; 1 if TLBs must be flushed. */
  zapCollapsibleSptes(slot: number): number;
  /** Everything goes, newest first: the address space is released. */
  zapAll(): void;
  /** ageHvaRange() and the flush that ends it, in one. */
  ageAndFlush(mm: number, start: number, end: number, action: number): number;
  /** unmapHvaRange() and the flush that ends it, in one. */
  unmapAndFlush(mm: number, start: number, end: number): void;
  /** Zaps the sptes of a range of hvns; 1: flush. */
  unmapHvaRange(mm: number, start: number, end: number): number;
  /** Ages a range of hvns (AGE_*); 1: some page was young. */
  ageHvaRange(mm: number, start: number, end: number, action: number): number;
  /** kvm_flush_remote_tlbs. */
  flushTlbs(): void;
  /** Lists live TLB entries (TLB_LIST_*) at `out`; returns how many there are. */
  tlbList(vcpu: number, out: number, max: number): number;
  /** Keeps leaf sptes in the order of their installation, the last 2^shift of them. */
  spteLruInit(shift: number): void;
  /** Drops the sptes of the gfn that was installed longest ago; 0: there is none. */
  spteLruShrink(): number;
  /** Maps a leaf entry that an emulated write made, where the generation does that. */
  updatePte(vcpu: number, gfn: number, index: number): void;
  /** The cost of reclaim so far of a kind: 0 anonymous, 1 file. */
  lruCost(kind: number): number;
  /** Pages of a kind were written out or refaulted (lru_note_cost). */
  lruNoteCost(kind: number, pages: number): void;
  /** The CPU's stock of kernel objects is drained: a flush of the statistics is due. */
  memcgDrainStock(): void;
  /** Switches the group's statistics on (1) or off (0). */
  memcgEnable(on: number): void;
  /** Flushes the group's statistics if enough changed, or in any case (1). */
  memcgFlush(force: number): void;
  /** 1: freed pages are gathered; 0: they are counted in one update. */
  memcgGather(on: number): void;
  /** Pages on a list (LRU_*), or activated refaults (4 anonymous, 5 file), at the last flush. */
  memcgStat(i: number): number;
  /** Statistics of the group changed by `n` in one update. */
  memcgUpdated(n: number): void;
  /** INVLPG of VCPU_FAULT_GVA below a root table. */
  invalidateGva(vcpu: number, rootTable: number): void;
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
  /** Promotes the young pages of a range of an mm; how many. */
  lruGenWalk(mm: number, start: number, end: number): number;
}

/** Exports of mm/lru.ts. */
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
  /** Takes up to `n` of the oldest pages off a list for reclaim; how many. */
  lruIsolateBatch(list: number, n: number): number;
  /** Address of the pages that lruIsolateBatch() took. */
  lruIsolated(): number;
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
  /** Clears PG_REFERENCED; 1 when it was set (TestClearPageReferenced). */
  testClearReferenced(pfn: number): number;
  /** Pages that a per-CPU batch holds; 0: there are none. */
  lruBatchSize(): number;
}

/** Exports of mm/memory.ts. */
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
  pageoutFree(pfn: number, shadow: number): number;
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
  /**
   * Changes the write permission of [hvn, end) (change_protection); `upgrade`: exclusive anonymous pages
   * become writable at once, else at their next write fault. Returns how many ptes changed.
   */
  protectRange(mm: number, hvn: number, end: number, writable: number, upgrade: number): number;
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

/** Exports of mm/folio_batch.ts and mm/mark_accessed.ts. */
export interface FolioBatchExports {
  /** Activates a page, by way of the per-CPU batch when there is one. */
  folioActivate(pfn: number): void;
  /** Deactivates an active page (MADV_COLD), likewise. */
  deactivatePage(pfn: number): void;
  /** Makes an anonymous page lazily freeable (MADV_FREE), likewise. */
  markPageLazyfree(pfn: number): void;
  /** The shadow that an evicted page leaves (not 0). */
  workingsetEviction(pfn: number, root: number): number;
  /** Sets how many pages the rest of the host has on its lists (0 at first). */
  workingsetSetOutside(pages: number): void;
  /** Tells the LRU that a page was used. */
  folioMarkAccessed(pfn: number): void;
}

/** Exports of mmu/tdp.ts: the two-dimensional backend. */
export interface TdpExports {
  /** The nested root's shadow page, made if there is none. */
  tdpGetRoot(vcpu: number): number;
  /** Frees the root; its tables are empty. */
  tdpPutRoot(): void;
  /** Address of the leaf entry of a gfn, or of the last present one above; 0 without a root. */
  tdpFind(gfn: number): number;
  /** Marks a gfn outside all slots; RET_PF_EMULATE. */
  tdpMapMmio(vcpu: number, gfn: number, generation: number): number;
  /** Unmaps [start, end) of an address space; 1: TLBs must be flushed. */
  tdpUnmapHvaRange(mm: number, start: number, end: number): number;
  /** Ages [start, end) (AGE_*); 1: young. */
  tdpAgeHvaRange(mm: number, start: number, end: number, action: number): number;
  /** Write-protects a gfn range for dirty logging; 1: TLBs must be flushed. */
  tdpWriteProtect(first: number, npages: number): number;
  /** Splits the large sptes of a gfn range before dirty logging write-protects it. */
  tdpSplitHugePages(first: number, npages: number): void;
  /** Zaps the tables of a slot that a large spte could stand for. */
  tdpZapCollapsible(slot: number): void;
  /** Zaps everything below the root; 1: other CPUs may be in it. */
  tdpZapAll(shared: number): void;
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
  clockAdvance(accesses: number, l2Hits: number): void;
}

/** Random numbers, traces and workloads; merged into the interface below. */
export interface CoreExports extends WorkloadExports {}

/** All exports of the core. */
export interface CoreExports
  extends
    BaseExports,
    FrameExports,
    PteExports,
    HugeExports,
    ShmemExports,
    RmapExports,
    LockstepExports,
    GuestMapExports,
    RunExports,
    VerifyExports,
    GuestWalkExports,
    KvmExports,
    ShadowExports,
    LruExports,
    LruGenExports,
    MemoryExports,
    SwapExports,
    FilemapExports,
    VmscanExports,
    RangeExports,
    FolioBatchExports,
    KsmExports,
    DeviceExports,
    TdpExports {}
