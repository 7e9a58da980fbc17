// The exports of the MMU: vCPUs, TLBs, shadow tables, nested tables. Part of exports.ts.

/** Exports of vcpu.ts, tlb/, access_path.ts and run.ts, and of mmu/page_fault.ts and straight/ below them. */
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
  /** A run of reclaim that the STRAIGHT_* words allow; how many pages were freed. */
  straightShrink(target: number): number;
  /** Runs access records on a vCPU; returns how many were executed (exit in VCPU_EXIT_REASON). */
  runBatch(vcpu: number, records: number, count: number): number;
  /** One access to gva hi:lo when the TLB serves it at once; 0: nothing was done. */
  accessHit(vcpu: number, lo: number, hi: number, flags: number): number;
}

/** Exports of mmu/guest_walk.ts and conform/access.ts: the guest's own page tables. */
export interface GuestWalkExports {
  /**
   * Walks the guest's tables for the gva in VCPU_FAULT_GVA and an access with ACCESS_* flags; fills
   * VCPU_WALK_*, sets A and D in guest memory, returns WALK_*.
   */
  guestWalk(vcpu: number, flags: number): number;
  /** After WALK_NEED_PAGE: the host can't give the page; the guest gets a #PF. Returns WALK_FAULT. */
  guestWalkLost(vcpu: number, flags: number): number;
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
  kvmInit(features: number, tdpRules: number, maxShadowPages: number): void;
  /** 1: sptes are made without A/D bits (access tracking). */
  kvmSetAdDisabled(disabled: number): void;
  /** kvm_mmu_invalidate_begin for a range of hvns. */
  invalidateRangeBegin(mm: number, start: number, end: number): void;
  /** kvm_mmu_invalidate_end. */
  invalidateRangeEnd(mm: number, start: number, end: number): void;
  /** Whether a fault that sampled `seq` is stale for a hvn. */
  invalidateRetry(seq: number, hvn: number): number;
}

/** Exports of mmu/: the shadow MMU. */
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
  mmuUnprotectPage(gfn: number): number;
  /** An emulated write of `bytes` at byte `offset` of a shadowed table. */
  mmuPteWrite(vcpu: number, gfn: number, offset: number, bytes: number): void;
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
  /** Ages at most YOUNG_BITMAP_PAGES pages, each by itself; returns how many were young. No flush. */
  testClearYoung(mm: number, start: number, end: number, action: number): number;
  /** Address of the answers of testClearYoung(): a bit a page. */
  youngBitmapPtr(): number;
  /** kvm_flush_remote_tlbs. */
  flushTlbs(): void;
  /** Lists live TLB entries (TLB_LIST_*) at `out`; returns how many there are. */
  tlbList(vcpu: number, out: number, max: number): number;
  /** Keeps leaf sptes in the order of their installation, the last 2^shift of them; for every `pages`
   *  that the host reclaims the oldest is dropped. */
  spteLruInit(shift: number, pages: number): void;
  /** The host reclaimed pages. */
  spteLruReclaimed(pages: number): void;
  /** Maps a leaf entry that an emulated write made, where the generation does that. */
  updatePte(vcpu: number, gfn: number, index: number): void;
  /** INVLPG of VCPU_FAULT_GVA below a root table. */
  invalidateGva(vcpu: number, rootTable: number): void;
}

/** Exports of the two-dimensional backend: mmu/{tdp,tdp_table,tdp_range,tdp_huge}.ts. */
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
  tdpWriteProtect(first: number, npages: number, logged: number): number;
  /** Splits the large sptes of a gfn range before dirty logging write-protects it. */
  tdpSplitHugePages(first: number, npages: number): void;
  /** Zaps the tables of a slot that a large spte could stand for. */
  tdpZapCollapsible(slot: number): void;
  /** Zaps everything below the root; 1: other CPUs may be in it. */
  tdpZapAll(shared: number): void;
}
