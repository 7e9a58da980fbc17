// Integers that the core and the host both read. This file is compiled twice: by asc as part of the
// core and by tsc as part of the host, so it holds nothing but `export const NAME: u32 = literal`.
// 64-bit masks are derived from the bit numbers on each side. Layouts of records in linear memory
// are given as byte offsets; the file that owns the record asserts them.

/** Bumped whenever a layout or a signature below changes; `load.ts` refuses another core. */
export const ABI_VERSION: u32 = 1;

/** log2 of the 4 KiB page size. */
export const PAGE_SHIFT: u32 = 12;
/** Bytes in a page. */
export const PAGE_SIZE: u32 = 4096;
/** Entries of an x86-64 page table. */
export const PT64_ENTRIES: u32 = 512;
/** Address bits that one level of an x86-64 page table translates. */
export const PT64_LEVEL_BITS: u32 = 9;

// ---- access records -------------------------------------------------------------------------
// One guest reference is one u64: bits 63:12 are those of the guest virtual address, bits 11:0 are
// the flags below.

/** Kind field (bits 1:0) of an access record. */
export const ACCESS_KIND_MASK: u32 = 3;
/** Data read. */
export const ACCESS_READ: u32 = 0;
/** Data write. */
export const ACCESS_WRITE: u32 = 1;
/** Instruction fetch. */
export const ACCESS_FETCH: u32 = 2;
/** Not an access: a control record (context switch); bits 63:12 carry its argument. */
export const ACCESS_CONTROL: u32 = 3;
/** The access is made at CPL 0 (without it: CPL 3). */
export const ACCESS_SUPERVISOR: u32 = 4;
/** An implicit supervisor access (descriptor tables and the like; EFLAGS.AC is ignored). */
export const ACCESS_IMPLICIT: u32 = 8;

// ---- random generator (assembly/random.ts) -----------------------------------------------------
/** Bytes of one generator's state. */
export const RNG_STATE_SIZE: u32 = 32;

// ---- trace decoders and encoders (assembly/trace/decoder.ts): byte offsets ---------------------
/** TRACE_FORMAT_*. */
export const TRACE_FORMAT: u32 = 0;
/** TRACE_* status of the last call. */
export const TRACE_STATUS: u32 = 4;
/** Input bytes that the last call consumed. */
export const TRACE_CONSUMED: u32 = 8;
/** TRACE_ERR_* when the status is TRACE_ERROR. */
export const TRACE_ERROR_CODE: u32 = 12;
/** u64: lines (text) or records (binary) consumed so far. */
export const TRACE_LINES: u32 = 16;
/** u64: input bytes consumed so far. */
export const TRACE_BYTES: u32 = 24;
/** u64: accesses that crossed a page boundary so far. */
export const TRACE_CROSSINGS: u32 = 32;
/** u64: references announced by the header of our own format (0: not said). */
export const TRACE_ANNOUNCED: u32 = 40;
/** u64: records decoded or encoded so far. */
export const TRACE_RECORDS: u32 = 48;
/** u64: lines so far that were neither records nor messages (the traced program's own output). */
export const TRACE_FOREIGN: u32 = 56;
/** Format's own state from here to the end of the page. */
export const TRACE_PRIVATE: u32 = 64;

export const TRACE_FORMAT_LACKEY: u32 = 1;
export const TRACE_FORMAT_CLASSIC: u32 = 2;
export const TRACE_FORMAT_PAGES: u32 = 3;
export const TRACE_FORMAT_DIN: u32 = 4;
export const TRACE_FORMAT_MEMTRACE_SIMPLE: u32 = 5;
export const TRACE_FORMAT_MEMTRACE_X86: u32 = 6;
export const TRACE_FORMAT_DRVIEW: u32 = 7;
export const TRACE_FORMAT_CHAMPSIM: u32 = 8;
export const TRACE_FORMAT_ORACLE_GENERAL: u32 = 9;
export const TRACE_FORMAT_SMT: u32 = 10;

/** All whole lines or records of the input are consumed. */
export const TRACE_OK: u32 = 0;
/** The output is full. */
export const TRACE_FULL: u32 = 1;
/** TRACE_ERROR_CODE says why; TRACE_CONSUMED stops at the start of the bad line or record. */
export const TRACE_ERROR: u32 = 2;
/** The trace's own end mark was read. */
export const TRACE_END: u32 = 3;

/** The line is not of the format. */
export const TRACE_ERR_LINE: u32 = 1;
/** The address is not canonical (bits 63:47 differ). */
export const TRACE_ERR_CANONICAL: u32 = 2;
/** The size of an access is 0 or more than TRACE_SIZE_MAX. */
export const TRACE_ERR_SIZE: u32 = 3;
/** The input ends inside a record, or without the end mark. */
export const TRACE_ERR_TRUNCATED: u32 = 4;
/** Not our format, or a version of it that this program does not know. */
export const TRACE_ERR_HEADER: u32 = 5;
/** A field of a binary record has a value that the format does not allow. */
export const TRACE_ERR_RECORD: u32 = 6;
/** The end mark's count differs from the records read. */
export const TRACE_ERR_COUNT: u32 = 7;

/** Largest access in bytes; DynamoRIO's largest is an fxsave or xsave area. */
export const TRACE_SIZE_MAX: u32 = 32768;
/** Output records that one input line or record can give at most. */
export const TRACE_OUT_SLACK: u32 = 16;
/** Bytes that must be readable before and behind an input buffer. */
export const TRACE_IN_SLACK: u32 = 32;
/** Output bytes that one record can take at most when encoded. */
export const TRACE_ENCODED_MAX: u32 = 64;

// ---- page index (assembly/trace/pages.ts): byte offsets ----------------------------------------
/** u32: distinct pages so far. */
export const PAGES_COUNT: u32 = 0;
/** Pointer to the keys, one u64 a page in order of first use. */
export const PAGES_KEYS: u32 = 4;
/** u32: process of the next reference. */
export const PAGES_PROCESS: u32 = 8;
/** Bits of a page number in a key; the process number lies above them. */
export const PAGES_KEY_PROCESS_SHIFT: u32 = 45;
/** Shift of the page's index in a page reference; the access kind lies below it. */
export const PAGEREF_SHIFT: u32 = 2;

// ---- trace figures (assembly/trace/info.ts): byte offsets ----------------------------------------
/** u64[3]: references by kind: reads, writes, fetches. */
export const INFO_KINDS: u32 = 0;
/** u32: pages written; pages fetched from. */
export const INFO_PAGES_WRITTEN: u32 = 24;
export const INFO_PAGES_FETCHED: u32 = 28;
/** u32: pages touched, and written, in the current window. */
export const INFO_WINDOW_TOUCHED: u32 = 32;
export const INFO_WINDOW_WRITTEN: u32 = 36;

// ---- replacement simulators (assembly/trace/replace.ts, opt.ts): byte offsets ---------------------
export const REPLACE_FIFO: u32 = 0;
/** CLOCK; a loaded page's reference bit is set. */
export const REPLACE_CLOCK: u32 = 1;
/** CLOCK; a loaded page's reference bit is clear. */
export const REPLACE_CLOCK_REF0: u32 = 2;
export const REPLACE_LRU: u32 = 3;
/** u64: pages loaded. */
export const REPLACE_FAULTS: u32 = 0;
/** u64: dirty pages evicted. */
export const REPLACE_WRITEBACKS: u32 = 8;

// ---- synthetic workloads (assembly/workload/generate.ts): byte offsets -------------------------
/** GEN_KIND_*. */
export const GEN_KIND: u32 = 0;
/** Pages of the workload's data, and the first of them. */
export const GEN_PAGES: u32 = 4;
export const GEN_BASE: u32 = 8;
/** u64: references in all. */
export const GEN_REFS: u32 = 16;
/** Share of writes, as a fraction of 2^32 (0xffffffff: always). */
export const GEN_WRITE: u32 = 24;
/** References in a row to a page that was chosen. */
export const GEN_BURST: u32 = 28;
/** Pages of code; with some, each data reference is preceded by a fetch. */
export const GEN_CODE: u32 = 32;
/** First of eight parameters of the kind. */
export const GEN_PARAMETERS: u32 = 64;
/** State of its random generator. */
export const GEN_RNG: u32 = 96;
/** u64: references made. */
export const GEN_DONE: u32 = 128;
/** The kind's own state from here to the end of the page. */
export const GEN_PRIVATE: u32 = 160;

/** Pages in order, over and over; parameter 0: stride. */
export const GEN_KIND_SEQUENTIAL: u32 = 0;
/** Any page. */
export const GEN_KIND_UNIFORM: u32 = 1;
/** Page of rank k with weight 1/k^s; parameters 0, 1: s as f64. */
export const GEN_KIND_ZIPF: u32 = 2;
/** Parameter 0: hot pages; 1: share of references to them. The other pages are scanned in order. */
export const GEN_KIND_HOT_COLD: u32 = 3;
/** Parameter 0: pages of the working set; 1: references between moves; 2: pages of a move. */
export const GEN_KIND_SHIFTING: u32 = 4;
/** Along one random cycle through all pages. */
export const GEN_KIND_CHASE: u32 = 5;
/** Parameter 0: references of a child; 1: of the parent between children. */
export const GEN_KIND_FORK_SERVER: u32 = 6;
/** Parameter 0: processes; 1: references of a time slice. */
export const GEN_KIND_SWITCH: u32 = 7;
/** Parameter 0: pages of a region; 1: passes over a mapped region; 2: regions. */
export const GEN_KIND_CHURN: u32 = 8;
/** Populate, write, read, age, write, age, read. */
export const GEN_KIND_ACCESS_TRACKING: u32 = 9;

// ---- page-table entries, bit numbers (Intel SDM vol. 3A, 4.5; AMD APM vol. 2, 5.4) -----------
export const PT_PRESENT_BIT: u32 = 0;
export const PT_WRITABLE_BIT: u32 = 1;
export const PT_USER_BIT: u32 = 2;
export const PT_PWT_BIT: u32 = 3;
export const PT_PCD_BIT: u32 = 4;
export const PT_ACCESSED_BIT: u32 = 5;
export const PT_DIRTY_BIT: u32 = 6;
/** Page size (PDE, PDPTE); PAT in a PTE. */
export const PT_PAGE_SIZE_BIT: u32 = 7;
export const PT_GLOBAL_BIT: u32 = 8;
export const PT64_PKEY_BIT: u32 = 59;
export const PT64_NX_BIT: u32 = 63;

// ---- #PF error code (SDM vol. 3A, 4.7) -----------------------------------------------------------
export const PFERR_PRESENT_MASK: u32 = 1;
export const PFERR_WRITE_MASK: u32 = 2;
export const PFERR_USER_MASK: u32 = 4;
export const PFERR_RSVD_MASK: u32 = 8;
export const PFERR_FETCH_MASK: u32 = 16;
export const PFERR_PK_MASK: u32 = 32;

// ---- control registers, the bits that paging reads -------------------------------------------
export const CR0_PG: u32 = 0x80000000;
export const CR0_WP: u32 = 0x10000;
export const CR4_PSE: u32 = 0x10;
export const CR4_PAE: u32 = 0x20;
export const CR4_PGE: u32 = 0x80;
export const CR4_LA57: u32 = 0x1000;
export const CR4_PCIDE: u32 = 0x20000;
export const CR4_SMEP: u32 = 0x100000;
export const CR4_SMAP: u32 = 0x200000;
export const CR4_PKE: u32 = 0x400000;
export const EFER_LMA: u32 = 0x400;
export const EFER_NXE: u32 = 0x800;
export const RFLAGS_AC: u32 = 0x40000;

// ---- KVM's access rights of a mapping (arch/x86/kvm/mmu.h) -----------------------------------
export const ACC_EXEC_MASK: u32 = 1;
export const ACC_WRITE_MASK: u32 = 2;
export const ACC_USER_MASK: u32 = 4;
export const ACC_ALL: u32 = 7;
/** Ours: where the protection key of a leaf stands above its ACC_* on the way into a spte. */
export const ACC_PKEY_SHIFT: u32 = 3;

// ---- struct vcpu (assembly/vcpu.ts): byte offsets ------------------------------------------------
export const VCPU_SIZE: u32 = 512;
export const VCPU_ID: u32 = 0;
/** Why run() came back: EXIT_*. */
export const VCPU_EXIT_REASON: u32 = 4;
/** u64: gva of the access that exited. */
export const VCPU_FAULT_GVA: u32 = 8;
/** #PF error code that the hardware reports with the exit. */
export const VCPU_FAULT_CODE: u32 = 16;
/** Access-record flags of the access that exited. */
export const VCPU_FAULT_FLAGS: u32 = 20;
export const VCPU_CR0: u32 = 24;
export const VCPU_CR4: u32 = 28;
/** u64. */
export const VCPU_CR3: u32 = 32;
export const VCPU_EFER: u32 = 40;
export const VCPU_PKRU: u32 = 44;
export const VCPU_RFLAGS: u32 = 48;
/** Guest physical-address width, 36 to 52. */
export const VCPU_MAXPHYADDR: u32 = 52;
/** u64: faulting address of the last injected #PF. */
export const VCPU_CR2: u32 = 56;
/** Address of the root table that the hardware walks (0: none, load one). */
export const VCPU_ROOT: u32 = 64;
/** TLB tag of the current address space. */
export const VCPU_TLB_TAG: u32 = 68;
/** Requests to honour before the next guest entry, REQ_*. */
export const VCPU_REQUESTS: u32 = 72;
/** Base of this vCPU's TLB block. */
export const VCPU_TLB: u32 = 76;
/** Level of the root table that the hardware walks: 4 or 5. */
export const VCPU_ROOT_LEVEL: u32 = 80;
/** Not 0: the hardware sees the guest's CR0.WP (two-dimensional paging); 0: WP = 1. */
export const VCPU_GUEST_WP: u32 = 88;
/** How far run() came with the fault: 1 the guest's tables are walked (VCPU_WALK_*), 2 faultTranslate()
 *  was called, too. */
export const VCPU_FAULT_WALKED: u32 = 92;
/** RET_PF_* that run() brought the fault to; RET_PF_CONTINUE (0): the host serves it. */
export const VCPU_FAULT_RESULT: u32 = 96;
/** What faultTranslate() returned to run(). */
export const VCPU_FAULT_TRANSLATED: u32 = 100;
/** hvn of the page that the fault is about. */
export const VCPU_FAULT_HVN: u32 = 104;
/** FOLL_WRITE if the host is asked for a writable page, else 0. */
export const VCPU_FAULT_WANT: u32 = 108;
/** 1: the slot is read-only. */
export const VCPU_FAULT_READONLY: u32 = 112;
/** Faults in a row on one access without progress. More happen only when the host can't keep the pages of a single
 *  access (its guest tables and its data) at once: it is out of memory. */
export const FAULTS_MAX: u32 = 64;
/** How many faults run() may serve for the first record of a batch. */
export const VCPU_FAULTS_LEFT: u32 = 116;
/** How many it served for the record that it stopped at. */
export const VCPU_FAULTS_SERVED: u32 = 120;

// Result of the last guest walk (cf. struct guest_walker in paging_tmpl.h).
/** WALK_*. */
export const VCPU_WALK_RESULT: u32 = 128;
/** #PF error code when WALK_FAULT. */
export const VCPU_WALK_ERROR: u32 = 132;
/** Level of the leaf, 1 = 4 KiB; or the level at which the walk stopped. */
export const VCPU_WALK_LEVEL: u32 = 136;
/** gfn that the gva translates to (4 KiB granularity, large-page offset included). */
export const VCPU_WALK_GFN: u32 = 140;
/** Combined ACC_* of all levels above the leaf. */
export const VCPU_WALK_PT_ACCESS: u32 = 144;
/** Combined ACC_* of all levels, leaf included. */
export const VCPU_WALK_PTE_ACCESS: u32 = 148;
/** gfn of a table page that must be made present first (WALK_NEED_PAGE). */
export const VCPU_WALK_NEED_GFN: u32 = 152;
/** Bit i set: the table of level i+1 had A (or D at the leaf) set by this walk. */
export const VCPU_WALK_AD_SET: u32 = 156;
/** u32[6]: gfn of the table read at level i (index = level, 0 unused). */
export const VCPU_WALK_TABLE_GFN: u32 = 160;
/** u32[6]: index of the entry read at level i. */
export const VCPU_WALK_INDEX: u32 = 184;
/** u64[6]: entry read at level i, A/D included if this walk set them. */
export const VCPU_WALK_PTE: u32 = 208;
/** u32[6]: combined ACC_* of the levels above level i. */
export const VCPU_WALK_LEVEL_ACCESS: u32 = 256;

/** The walk translated the access. */
export const WALK_OK: u32 = 0;
/** The guest gets a #PF with VCPU_WALK_ERROR. */
export const WALK_FAULT: u32 = 1;
/** A guest table page is not present in the host: fault it in (VCPU_WALK_NEED_GFN) and walk again. */
export const WALK_NEED_PAGE: u32 = 2;

/** The gva is not canonical: the guest gets a #GP. */
export const WALK_NONCANONICAL: u32 = 3;

// More of the walk, and the state that only the guest walk reads.
/** WALK_NEED_PAGE: 1 if the table must be writable (its A or D bits are to be set). */
export const VCPU_WALK_NEED_WRITE: u32 = 280;
/** Protection key of the leaf. */
export const VCPU_WALK_PKEY: u32 = 284;
/** u64: gpa that the gva translates to. VCPU_WALK_GFN is 0xffffffff where it does not fit. */
export const VCPU_WALK_GPA: u32 = 288;
/** u64[4]: the PDPTE registers of PAE paging. */
export const VCPU_PDPTR: u32 = 296;
/** FEATURE_*: what CPUID says, where it is not the default. */
export const VCPU_FEATURES: u32 = 328;
/** No 1 GiB pages: PS is a reserved bit in a PDPTE. */
export const FEATURE_NO_GBPAGES: u32 = 1;

// ---- exit reasons of run() -------------------------------------------------------------------
/** The whole batch ran. */
export const EXIT_DONE: u32 = 0;
/** Shadow page fault: VCPU_FAULT_*. */
export const EXIT_PAGE_FAULT: u32 = 1;
/** A control record: the host handles it (VCPU_FAULT_GVA >> 12 is the argument). */
export const EXIT_CONTROL: u32 = 2;
/** A watched page was read or written (version stamps, `verify`). */
export const EXIT_VERIFY: u32 = 3;
/** The address is not canonical: #GP. */
export const EXIT_NONCANONICAL: u32 = 4;

// ---- rows of an access table (`conform access`): bits of the input word ----------------------
// The layout is that of the published tables (docs/fidelity.md), so it is fixed.
export const ACX_PTE_WRITABLE: u32 = 0;
export const ACX_PTE_USER: u32 = 1;
export const ACX_PTE_ACCESSED: u32 = 2;
export const ACX_PTE_DIRTY: u32 = 3;
export const ACX_PTE_NX: u32 = 4;
export const ACX_PTE_PRESENT: u32 = 5;
export const ACX_PTE_BIT51: u32 = 6;
export const ACX_PTE_BIT36: u32 = 7;
export const ACX_PDE_WRITABLE: u32 = 8;
export const ACX_PDE_USER: u32 = 9;
export const ACX_PDE_ACCESSED: u32 = 10;
export const ACX_PDE_DIRTY: u32 = 11;
export const ACX_PDE_PAGE_SIZE: u32 = 12;
export const ACX_PDE_NX: u32 = 13;
export const ACX_PDE_PRESENT: u32 = 14;
export const ACX_PDE_BIT51: u32 = 15;
export const ACX_PDE_BIT36: u32 = 16;
export const ACX_PDE_BIT13: u32 = 17;
export const ACX_PDPTE_READONLY: u32 = 18;
export const ACX_PKRU_AD: u32 = 19;
export const ACX_PKRU_WD: u32 = 20;
export const ACX_PKEY: u32 = 21;
export const ACX_USER: u32 = 22;
export const ACX_WRITE: u32 = 23;
export const ACX_FETCH: u32 = 24;
export const ACX_PREREAD: u32 = 25;
export const ACX_NXE: u32 = 26;
export const ACX_WP: u32 = 27;
export const ACX_SMEP: u32 = 28;
export const ACX_PKE: u32 = 29;

// Bits of the outcome word; the error code stands in bits 6:1.
export const ACX_OUT_FAULT: u32 = 0;
export const ACX_OUT_ERROR: u32 = 1;
export const ACX_OUT_PTE_ACCESSED: u32 = 7;
export const ACX_OUT_PTE_DIRTY: u32 = 8;
export const ACX_OUT_PDE_ACCESSED: u32 = 9;
export const ACX_OUT_PDE_DIRTY: u32 = 10;
/** Expected: PDE.A is not compared. */
export const ACX_OUT_IGNORE_PDE_A: u32 = 11;
/** Found: a bit other than A or D of an entry changed, or the translation is wrong. */
export const ACX_OUT_CORRUPT: u32 = 12;

// ---- job block of an access-table check (assembly/conform/access.ts): byte offsets -----------
export const ACX_JOB_SIZE: u32 = 80;
/** MAXPHYADDR that the tables are made for. */
export const ACX_MAXPHYADDR: u32 = 36;
// Of the guest that the rows run in; the host fills these once.
/** Address of the vCPU. */
export const ACX_JOB_VCPU: u32 = 0;
/** gfn of the PML4; the PDPT, the PD and the PT follow. */
export const ACX_JOB_TABLE_GFN: u32 = 4;
/** gfn of the 4 KiB page. */
export const ACX_JOB_PAGE_GFN: u32 = 8;
/** gfn of the 2 MiB page. */
export const ACX_JOB_LARGE_GFN: u32 = 12;
/** u64: the address that every row accesses. */
export const ACX_JOB_GVA: u32 = 16;
// Of the row, filled by accessRow().
/** u64. */
export const ACX_JOB_PDPTE: u32 = 24;
/** u64. */
export const ACX_JOB_PDE: u32 = 32;
/** u64; 0 if the PDE maps a 2 MiB page. */
export const ACX_JOB_PTE: u32 = 40;
export const ACX_JOB_CR0: u32 = 48;
export const ACX_JOB_CR4: u32 = 52;
export const ACX_JOB_EFER: u32 = 56;
export const ACX_JOB_PKRU: u32 = 60;
/** Flags (ACCESS_*) of the access. */
export const ACX_JOB_FLAGS: u32 = 64;
/** 1 if a supervisor read comes first. */
export const ACX_JOB_PREREAD: u32 = 68;
/** gfn that the access must translate to if it does not fault. */
export const ACX_JOB_GFN: u32 = 72;

// ---- struct kvm_memory_slot (assembly/mmu/memslot.ts): 64 bytes -------------------------------
export const SLOT_SIZE: u32 = 64;
export const SLOT_MAX: u32 = 64;
export const SLOT_BASE_GFN: u32 = 0;
/** 0: the slot is free. */
export const SLOT_NPAGES: u32 = 4;
export const SLOT_HVN: u32 = 8;
export const SLOT_MM: u32 = 12;
export const SLOT_FLAGS: u32 = 16;
/** Addresses of the rmap heads by level, u32 each: 4 KiB, 2 MiB, 1 GiB. */
export const SLOT_RMAP: u32 = 20;
/** Addresses of the disallow_lpage counts by level, u32 each: 2 MiB, 1 GiB. */
export const SLOT_LPAGE: u32 = 32;
/** Address of the blocks of write-tracking counts (page_track.ts), u32 for each 512 gfns. */
export const SLOT_TRACK: u32 = 40;
/** Address of the dirty bitmap, or 0. */
export const SLOT_DIRTY: u32 = 44;
export const SLOT_USED: u32 = 48;
export const SLOT_ID: u32 = 52;
/** Address of the numbers of the latest installations (spte_lru.ts), or 0. */
export const SLOT_INSTALLED: u32 = 56;
/** Address of a u8 for each 512 gfns: not 0 when one of them may have an spte. */
export const SLOT_MAPPED: u32 = 60;

/** No gfn: beyond what a memslot can hold. */
export const NO_GFN: u32 = 0xffffffff;
/** Id of no memslot. */
export const NO_MEMSLOT: u32 = 0xffffffff;
/** No hvn: outside all memslots. */
export const NO_HVN: u32 = 0xffffffff;

export const KVM_MEM_LOG_DIRTY_PAGES: u32 = 1;
export const KVM_MEM_READONLY: u32 = 2;

// ---- host ptes (u32; assembly/mm/pte.ts) ------------------------------------------------------
//  31                            7 6 5 4 3 2 1 0
//  ┌──────────────────────────────┬─┬─┬─┬─┬─┬─┬─┐
//  │ pfn, or swap slot when P = 0 │N│E│S│D│A│W│P│   0 = none
//  └──────────────────────────────┴─┴─┴─┴─┴─┴─┴─┘
export const HPTE_PRESENT: u32 = 1;
export const HPTE_WRITE: u32 = 2;
export const HPTE_YOUNG: u32 = 4;
export const HPTE_DIRTY: u32 = 8;
/** Not present: a swap entry. Present: special (no struct page accounting: the zero page). */
export const HPTE_SWAP: u32 = 16;
/** Swap entry: the page was exclusive. Present: read-only since its soft-dirty bit was cleared. */
export const HPTE_AUX: u32 = 32;
/** Present, but PROT_NONE: the processor sees no present pte. */
export const HPTE_PROTNONE: u32 = 64;
/** Shift of the pfn or swap slot. */
export const HPTE_PFN_SHIFT: u32 = 7;

/** pfn of the shared zero page; never on a list, never freed. */
export const ZERO_PFN: u32 = 0;

// ---- struct page (assembly/mm/frame.ts): 32 bytes a frame ------------------------------------
export const FRAME_SIZE: u32 = 32;
/** PG_* in bits 23:0, id of the mm of the single mapping in bits 31:24. */
export const FRAME_FLAGS: u32 = 0;
/** Reference count: one per mapping, per pin (spte, direct I/O), swap cache, isolation. */
export const FRAME_REFCOUNT: u32 = 4;
/** Number of host ptes that map the frame. */
export const FRAME_MAPCOUNT: u32 = 8;
/** The next older page of its list, and the next newer one; behind the oldest comes the newest. */
export const FRAME_LRU_NEXT: u32 = 12;
export const FRAME_LRU_PREV: u32 = 16;
/** Content: 0 all zero; bit 31 set: content page number in bits 30:0; else a 31-bit version stamp. */
export const FRAME_CONTENT: u32 = 20;
/** Swap slot while in the swap cache; page offset in the file for file pages. */
export const FRAME_PRIVATE: u32 = 24;
/** hvn of the single mapping, or (PG_MULTIMAP) pointer to the first mapping node. */
export const FRAME_RMAP: u32 = 28;

// ---- events of the stream (names: src/events/names.ts) -------------------------------------------
// Named as KVM's and the mm's tracepoints and functions are; words a to d as given with each.
// vCPU.
/**
 * A: VMEXIT_* reason, b: page number of the address (gva at a shadow fault, gpa under TDP), c:
 * offset in the page, d: error code.
 */
export const EVENT_VMEXIT: u32 = 1;
/**
 * A: page number (gva; gfn under TDP), b: offset in the page, c: error code bits 31:0, d: bits
 * 63:32.
 */
export const EVENT_KVM_PAGE_FAULT: u32 = 2;
/** A: page number of the gva, b: offset, c: pferr. */
export const EVENT_GUEST_WALK: u32 = 3;
/** One paging element of the walk; a: level, b: gpte bits 31:0, c: bits 63:32. */
export const EVENT_GUEST_PTE: u32 = 4;
/** A: gfn of the table, b: index. */
export const EVENT_GUEST_PTE_SET_A: u32 = 5;
/** A: gfn of the table, b: index. */
export const EVENT_GUEST_PTE_SET_D: u32 = 6;
/** A: #PF error code. */
export const EVENT_GUEST_WALK_ERROR: u32 = 7;
/** A: vector, b: error code. */
export const EVENT_INJECT: u32 = 8;
/** A: 1 when the instruction can't be emulated, which follows its first event. */
export const EVENT_EMULATE_INSN: u32 = 9;
/** A: gfn, b: offset, c: 0 a read for the VMM, 1 its completion, 2 a write, d: length. */
export const EVENT_MMIO: u32 = 10;
/** The vCPU's flush of one address; a: page number, b: offset. */
export const EVENT_FLUSH_TLB_GVA: u32 = 11;
/** No arguments. */
export const EVENT_FLUSH_CURRENT_TLB: u32 = 12;
/** A queued request is honoured before guest entry. */
export const EVENT_FLUSH_ALL_TLB: u32 = 13;
/** No arguments. */
export const EVENT_FLUSH_ASID_TLB: u32 = 14;
/** A: gfn of the new PML4. */
export const EVENT_NEW_CR3: u32 = 15;
/** No arguments. */
export const EVENT_SYNC_ROOTS: u32 = 16;
/** No arguments. */
export const EVENT_FREE_ROOTS: u32 = 17;
/** A: level. */
export const EVENT_LOAD_ROOT: u32 = 18;
/** A: page number, b: offset. */
export const EVENT_MMU_INVALIDATE_GVA: u32 = 19;
// KVM's MMU.
/** A: hvn. */
export const EVENT_HVA_TO_PFN: u32 = 20;
/** A: hvn, b: pfn, c: KVM_PFN_ERR_* or 0. */
export const EVENT_HVA_TO_PFN_RET: u32 = 21;
/** A: gfn, b: level. */
export const EVENT_SPTE_REQUESTED: u32 = 22;
/** A: gfn, b: spte bits 31:0, c: bits 63:32, d: level. */
export const EVENT_SPTE_SET: u32 = 23;
/** A: old spte bits 31:0, b: bits 63:32, c: SPTE_BY_*. */
export const EVENT_SPTE_ZAP: u32 = 24;
/** A: new spte bits 31:0, b: bits 63:32, c: 1 = a flush is needed, d: SPTE_BY_*. */
export const EVENT_SPTE_UPDATE: u32 = 25;
/**
 * First half of kvm_tdp_mmu_spte_changed; a: gfn, b: level, c: old spte bits 31:0, d: bits 63:32.
 */
export const EVENT_TDP_SPTE_OLD: u32 = 26;
/** Second half; a: gfn, b: level, c: new spte bits 31:0, d: bits 63:32. */
export const EVENT_TDP_SPTE_NEW: u32 = 27;
/** A: gfn, b: level, c: role word, d: bit 0 unsync, bit 1 created. */
export const EVENT_SP_GET: u32 = 28;
/** A: gfn, b: level, c: role word. */
export const EVENT_SP_ZAP: u32 = 29;
/** A: gfn, b: level, c: role word. */
export const EVENT_SP_UNSYNC: u32 = 30;
/** A: gfn, b: level, c: role word. */
export const EVENT_SP_SYNC: u32 = 31;
/** A: gfn of the table, b: index. */
export const EVENT_KVM_MMU_PTE_WRITE: u32 = 32;
/** No arguments. */
export const EVENT_ZAP_ALL_FAST: u32 = 33;
/** A: gfn, b: ACC_*, c: generation. */
export const EVENT_MARK_MMIO_SPTE: u32 = 34;
/** A: kvm generation, b: spte generation, c: gfn, d: ACC_*. */
export const EVENT_CHECK_MMIO_SPTE: u32 = 35;
/** A: gfn, b: ACC_*. */
export const EVENT_HANDLE_MMIO_PAGE_FAULT: u32 = 36;
/** A: old spte low word, b: new spte low word, c: 1 = fixed, d: 1 = spurious. */
export const EVENT_FAST_PAGE_FAULT: u32 = 37;
/** No arguments. */
export const EVENT_FLUSH_REMOTE_TLBS: u32 = 38;
/** A: gfn, b: pages. */
export const EVENT_FLUSH_REMOTE_TLBS_RANGE: u32 = 39;
/** A: pfn. */
export const EVENT_KVM_SET_PFN_ACCESSED: u32 = 40;
/** A: pfn. */
export const EVENT_KVM_SET_PFN_DIRTY: u32 = 41;
/** A: hvn, b: pages, c: MMU_NOTIFY_*. */
export const EVENT_KVM_INVALIDATE_RANGE_START: u32 = 42;
/** A: hvn, b: pages, c: MMU_NOTIFY_*. */
export const EVENT_KVM_INVALIDATE_RANGE_END: u32 = 43;
/** A: hvn, b: pages. */
export const EVENT_KVM_INVALIDATE_RANGE: u32 = 44;
/** A: hvn, b: pages. */
export const EVENT_KVM_CLEAR_FLUSH_YOUNG: u32 = 45;
/** A: result. */
export const EVENT_KVM_CLEAR_FLUSH_YOUNG_RET: u32 = 46;
/** A: hvn, b: pages. */
export const EVENT_KVM_CLEAR_YOUNG: u32 = 47;
/** A: result. */
export const EVENT_KVM_CLEAR_YOUNG_RET: u32 = 48;
/** A: hvn. */
export const EVENT_KVM_TEST_YOUNG: u32 = 49;
/** A: result. */
export const EVENT_KVM_TEST_YOUNG_RET: u32 = 50;
/** A: hvn. */
export const EVENT_KVM_CHANGE_PTE: u32 = 51;
/** No arguments. */
export const EVENT_KVM_MN_RELEASE: u32 = 52;
/** A: hvn, b: pages. */
export const EVENT_TP_KVM_UNMAP_HVA_RANGE: u32 = 53;
/** A: hvn, b: pages. */
export const EVENT_TP_KVM_AGE_HVA: u32 = 54;
/** A: hvn. */
export const EVENT_TP_KVM_TEST_AGE_HVA: u32 = 55;
/** A: hvn. */
export const EVENT_TP_KVM_SET_SPTE_HVA: u32 = 56;
// notifier chain of the mm.
/** A: hvn, b: pages, c: MMU_NOTIFY_*. */
export const EVENT_MN_INVALIDATE_RANGE_START: u32 = 57;
/** A: hvn, b: pages, c: MMU_NOTIFY_*. */
export const EVENT_MN_INVALIDATE_RANGE_END: u32 = 58;
/** A: hvn, b: pages. */
export const EVENT_MN_INVALIDATE_RANGE: u32 = 59;
/** A: hvn, b: pages. */
export const EVENT_MN_CLEAR_FLUSH_YOUNG: u32 = 60;
/** A: result. */
export const EVENT_MN_CLEAR_FLUSH_YOUNG_RET: u32 = 61;
/** A: hvn, b: pages. */
export const EVENT_MN_CLEAR_YOUNG: u32 = 62;
/** A: result. */
export const EVENT_MN_CLEAR_YOUNG_RET: u32 = 63;
/** A: hvn. */
export const EVENT_MN_TEST_YOUNG: u32 = 64;
/** A: result. */
export const EVENT_MN_TEST_YOUNG_RET: u32 = 65;
/** A: hvn. */
export const EVENT_MN_CHANGE_PTE: u32 = 66;
/** No arguments. */
export const EVENT_MN_RELEASE: u32 = 67;
// host mm.
/** Handle_mm_fault; a: hvn, b: FAULT_FLAG_*. */
export const EVENT_HOST_FAULT: u32 = 68;
/** A: hvn, b: VM_FAULT_*. */
export const EVENT_HOST_FAULT_RET: u32 = 69;
/** No arguments. */
export const EVENT_WP_PAGE_COPY: u32 = 70;
/** A: pfn. */
export const EVENT_FOLIO_MARK_ACCESSED: u32 = 71;
/** A: pfn. */
export const EVENT_FOLIO_ACTIVATE: u32 = 72;
/** A: pfn. */
export const EVENT_FOLIO_REFERENCED: u32 = 73;
/** A: hvn. */
export const EVENT_FOLIO_REFERENCED_ONE: u32 = 74;
/** A: result. */
export const EVENT_FOLIO_REFERENCED_RET: u32 = 75;
/** A: hvn. */
export const EVENT_TRY_TO_UNMAP_ONE: u32 = 76;
/** A: pfn. */
export const EVENT_SWAP_WRITEPAGE: u32 = 77;
/** A: pfn. */
export const EVENT_SWAP_READ: u32 = 78;
/** A: pfn. */
export const EVENT_VMSCAN_WRITE: u32 = 79;
/** A: pfn. */
export const EVENT_WORKINGSET_EVICTION: u32 = 80;
/** A: pfn. */
export const EVENT_WORKINGSET_REFAULT: u32 = 81;
/**
 * A: pfn, b: LRU list (0 inactive anon, 1 active anon, 2 inactive file, 3 active file, 4
 * unevictable).
 */
export const EVENT_LRU_INSERT: u32 = 82;
/** A: pfn. */
export const EVENT_LRU_ACTIVATE: u32 = 83;
/** No arguments. */
export const EVENT_LRU_GEN_LOOK_AROUND: u32 = 84;
/** No arguments. */
export const EVENT_VMSCAN_LRU_ISOLATE: u32 = 85;
/** No arguments. */
export const EVENT_VMSCAN_LRU_SHRINK_INACTIVE: u32 = 86;
/** No arguments. */
export const EVENT_VMSCAN_LRU_SHRINK_ACTIVE: u32 = 87;
/** A frame starts a new life. A: pfn. */
export const EVENT_FRAME_ALLOC: u32 = 88;
/** A large spte became a table. A: gfn, B: low word of the spte, C: its level, D: errno. */
export const EVENT_SPLIT_HUGE_PAGE: u32 = 89;
/** khugepaged or MADV_COLLAPSE worked on 512 pages. A: 1 for success, B: SCAN_*. */
export const EVENT_MM_COLLAPSE_HUGE_PAGE: u32 = 90;
/** A: SCAN_* * 2 + whether a pte was writable, B: referenced, C: none or zero, D: swapped ptes. */
export const EVENT_MM_KHUGEPAGED_SCAN_PMD: u32 = 91;
/** A: start hvn, B: pages: secondary TLBs are flushed with the processor's (since 6.6). */
export const EVENT_MN_INVALIDATE_SECONDARY_TLBS: u32 = 92;
/** Number of event ids, 0 unused. */
export const EVENT_COUNT: u32 = 93;

// Reasons of EVENT_VMEXIT.
export const VMEXIT_PF_EXCP: u32 = 1;
export const VMEXIT_NPF: u32 = 2;
export const VMEXIT_IO: u32 = 3;
export const VMEXIT_INVLPG: u32 = 4;
export const VMEXIT_WRITE_CR0: u32 = 5;
export const VMEXIT_CR0_SEL_WRITE: u32 = 6;
export const VMEXIT_WRITE_CR3: u32 = 7;
export const VMEXIT_WRITE_CR4: u32 = 8;
export const VMEXIT_UD_EXCP: u32 = 9;

// Who zapped or updated an spte.
export const SPTE_BY_DROP_SPTE: u32 = 1;
export const SPTE_BY_KVM_ZAP_ALL_RMAP_SPTES: u32 = 2;
export const SPTE_BY_MMU_SET_SPTE: u32 = 3;
export const SPTE_BY_PAGING64_SYNC_PAGE: u32 = 4;
export const SPTE_BY_RMAP_WRITE_PROTECT: u32 = 5;
export const SPTE_BY_AGE: u32 = 6;
export const SPTE_BY_KVM_RMAP_ZAP_COLLAPSIBLE_SPTES: u32 = 7;
export const SPTE_BY_PAGING64_SYNC_SPTE: u32 = 8;

// enum mmu_notifier_event.
export const MMU_NOTIFY_UNMAP: u32 = 0;
export const MMU_NOTIFY_CLEAR: u32 = 1;
export const MMU_NOTIFY_PROTECTION_VMA: u32 = 2;
export const MMU_NOTIFY_PROTECTION_PAGE: u32 = 3;
export const MMU_NOTIFY_SOFT_DIRTY: u32 = 4;
export const MMU_NOTIFY_RELEASE: u32 = 5;
export const MMU_NOTIFY_MIGRATE: u32 = 6;
export const MMU_NOTIFY_EXCLUSIVE: u32 = 7;

// Why hva_to_pfn() failed (include/linux/kvm_host.h).
export const KVM_PFN_ERR_FAULT: u32 = 1;
export const KVM_PFN_ERR_HWPOISON: u32 = 2;
export const KVM_PFN_ERR_RO_FAULT: u32 = 3;
export const KVM_PFN_NOSLOT: u32 = 4;

// What became of a write to a read-only pte (wpReuse; 0: the page has to be copied).
export const WP_REUSED: u32 = 1;
export const WP_DIRTIED: u32 = 2;

// enum fault_flag (include/linux/mm_types.h).
export const FAULT_FLAG_WRITE: u32 = 1;
export const FAULT_FLAG_MKWRITE: u32 = 2;
export const FAULT_FLAG_ALLOW_RETRY: u32 = 4;
export const FAULT_FLAG_RETRY_NOWAIT: u32 = 8;
export const FAULT_FLAG_KILLABLE: u32 = 16;
export const FAULT_FLAG_TRIED: u32 = 32;
export const FAULT_FLAG_USER: u32 = 64;
export const FAULT_FLAG_REMOTE: u32 = 128;
export const FAULT_FLAG_INSTRUCTION: u32 = 256;
export const FAULT_FLAG_INTERRUPTIBLE: u32 = 512;
export const FAULT_FLAG_UNSHARE: u32 = 1024;

// vm_fault_t.
export const VM_FAULT_OOM: u32 = 1;
export const VM_FAULT_SIGBUS: u32 = 2;
export const VM_FAULT_MAJOR: u32 = 4;
export const VM_FAULT_WRITE: u32 = 8;
export const VM_FAULT_SIGSEGV: u32 = 64;
export const VM_FAULT_NOPAGE: u32 = 256;
export const VM_FAULT_LOCKED: u32 = 512;
export const VM_FAULT_RETRY: u32 = 1024;
export const VM_FAULT_FALLBACK: u32 = 2048;
// ---- page flags of FRAME_FLAGS (cf. include/linux/page-flags.h) ----------------------------------
//  31      24 23   19 18                              0
//  ┌─────────┬───────┬─────────────────────────────────┐
//  │ mm id   │ list  │ PG_*                            │  list: LRU_* while PG_LRU is set
//  └─────────┴───────┴─────────────────────────────────┘
/** Held by whoever reads the page in, writes it out or unmaps it. */
export const PG_LOCKED: u32 = 0x1;
/** Seen once by mark_page_accessed() or by a scan. */
export const PG_REFERENCED: u32 = 0x2;
/** The content is newer than the swap slot or the file. */
export const PG_DIRTY: u32 = 0x4;
/** On a list of lru.ts. */
export const PG_LRU: u32 = 0x8;
export const PG_ACTIVE: u32 = 0x10;
/** Was in the working set when it was evicted last. */
export const PG_WORKINGSET: u32 = 0x20;
/** In the swap cache: FRAME_PRIVATE is its slot, and the cache holds a reference. */
export const PG_SWAPCACHE: u32 = 0x40;
/** Anonymous and not lazily freeable (MADV_FREE clears it). */
export const PG_SWAPBACKED: u32 = 0x80;
/** Anonymous (else a page of the page cache). */
export const PG_ANON: u32 = 0x100;
/** No other mm maps this anonymous page: a write may reuse it. */
export const PG_ANON_EXCLUSIVE: u32 = 0x200;
export const PG_WRITEBACK: u32 = 0x400;
/** To be freed as soon as its write-back ends. */
export const PG_RECLAIM: u32 = 0x800;
/** Mapped by a locked vma: on no list that is scanned. */
export const PG_UNEVICTABLE: u32 = 0x1000;
/** FRAME_RMAP is a chain of mapping nodes. */
export const PG_MULTIMAP: u32 = 0x2000;
/** Merged by KSM: always copied on write. */
export const PG_KSM: u32 = 0x4000;
/** One of 512 frames that one huge pte maps. */
export const PG_HUGE: u32 = 0x8000;
/** Counted against the limit of the host. */
export const PG_CHARGED: u32 = 0x10000;
/** In a per-CPU batch on the way to an LRU list; the batch holds a reference. */
export const PG_LRU_PENDING: u32 = 0x20000;
/** Taken off its list by reclaim, which holds a reference. */
export const PG_ISOLATED: u32 = 0x40000;
/** Shift of the list field. */
export const PG_LIST_SHIFT: u32 = 19;
export const PG_LIST_MASK: u32 = 0xf80000;
/** Shift of the mm id. */
export const PG_MM_SHIFT: u32 = 24;
/** The bits that are flags. */
export const PG_FLAGS_MASK: u32 = 0x7ffff;
/** FRAME_MAPCOUNT: bits of the count; above them the id of the file (0: none). */
export const FRAME_MAPCOUNT_MASK: u32 = 0xffffff;
export const FRAME_FILE_SHIFT: u32 = 24;
/** FRAME_CONTENT: the rest is the number of a content page. */
export const CONTENT_PAGE: u32 = 0x80000000;

// ---- LRU lists (assembly/mm/lru.ts) -----------------------------------------------------------
export const LRU_INACTIVE_ANON: u32 = 0;
export const LRU_ACTIVE_ANON: u32 = 1;
export const LRU_INACTIVE_FILE: u32 = 2;
export const LRU_ACTIVE_FILE: u32 = 3;
export const LRU_UNEVICTABLE: u32 = 4;
/** First of 8 lists of the multi-generational LRU: generation mod 4, anon then file. */
export const LRU_GEN_FIRST: u32 = 8;
/** First of 16 lists that a policy uses as it likes. */
export const LRU_POLICY_FIRST: u32 = 16;
export const LRU_LISTS: u32 = 32;
/** Bytes of a list head: first pfn, last pfn, pages, spare. */
export const LRU_HEAD_SIZE: u32 = 16;
/** Word of a list head: its pages. */
export const LRU_HEAD_PAGES: u32 = 8;

/** Most host mms and files together; their ids start at 1. */
export const MM_MAX: u32 = 256;
/** Pages that a huge pte maps. */
export const HPAGE_PMD_NR: u32 = 512;
/** Host virtual page numbers are below this. */
export const HVN_LIMIT: u32 = 0x40000000;
/** Reclaim begins with this priority, and scans more with each lower one. */
export const DEF_PRIORITY: u32 = 12;
/** Priority from which on small caches of kernel objects are scanned (do_shrink_slab). */
export const SLAB_PRIORITY: u32 = 1;
/** Generations of the multi-generational LRU. */
export const MIN_NR_GENS: u32 = 2;
export const MAX_NR_GENS: u32 = 4;
/** Pages that one isolation takes, and refaults below which a tier is not trusted to be worse. */
export const MIN_LRU_BATCH: u32 = 64;

// ---- control records (ACCESS_CONTROL) ---------------------------------------------------------
// The argument of a control record, in bits 63:12 of the record:
//
//   bit of the record 63            28 27          16 15      12 11          0
//                     ┌───────────────┬──────────────┬──────────┬─────────────┐
//                     │ operand (36)  │ count-1 (12) │ op (4)   │ ACCESS_CONTROL
//                     └───────────────┴──────────────┴──────────┴─────────────┘

/** Shift of the op in the low word of a control record. */
export const CONTROL_OP_SHIFT: u32 = 12;
/** Shift of `count - 1` in the low word. */
export const CONTROL_COUNT_SHIFT: u32 = 16;
/** Shift of the operand in the low word: its low 4 bits lie there, the rest is the high word. */
export const CONTROL_OPERAND_SHIFT: u32 = 28;
/** Switch to guest process `operand` (made on first use). */
export const CONTROL_SWITCH: u32 = 0;
/** Guest munmap of `count` pages at vpn `operand` of the current process. */
export const CONTROL_UNMAP: u32 = 1;
/** Guest mprotect to read-only. */
export const CONTROL_PROTECT_RO: u32 = 2;
/** Guest mprotect to read-write. */
export const CONTROL_PROTECT_RW: u32 = 3;
/** Guest fork: process `operand` becomes a copy-on-write copy of the current one. */
export const CONTROL_FORK: u32 = 4;
/** Guest exit of process `operand`. */
export const CONTROL_EXIT: u32 = 5;
/** Guest invlpg of `count` pages at vpn `operand`. */
export const CONTROL_INVLPG: u32 = 6;
/** Host operation number `operand` of the scenario. */
export const CONTROL_HOST: u32 = 7;
/** A boundary between phases: the counters are noted. */
export const CONTROL_MARK: u32 = 8;

// ---- the lockstep yardstick (assembly/lockstep.ts): byte offsets of its state ------------------
/** u64: faults of an exact LRU, cold ones included. */
export const LOCKSTEP_FAULTS: u32 = 0;
/** u64: evictions of dirty pages by an exact LRU. */
export const LOCKSTEP_WRITEBACKS: u32 = 8;
/** u32: pages that the exact LRU holds. */
export const LOCKSTEP_RESIDENT_PAGES: u32 = 16;
/** Tests of data pages for young, four u32: called old and unused, old and used, young and unused, young and used. */
export const LOCKSTEP_MATRIX: u32 = 20;
export const LOCKSTEP_STATE_SIZE: u32 = 40;

// ---- TLB (assembly/tlb/) ---------------------------------------------------------------------
/** Address-space numbers (PCIDs) run from 0 to TLB_SPACES - 1. */
export const TLB_SPACES: u32 = 4096;
/** Most ways of a set. */
export const TLB_MAX_WAYS: u32 = 16;

// ---- version stamps (assembly/verify.ts): byte offsets of its state -----------------------------
/** u64: reads checked. */
export const VERIFY_CHECKS: u32 = 0;
/** u64: writes stamped. */
export const VERIFY_WRITES: u32 = 8;
/** u32: gfn, frame, expected and found stamp of the access that showed a violation. */
export const VERIFY_GFN: u32 = 16;
export const VERIFY_PFN: u32 = 20;
export const VERIFY_EXPECTED: u32 = 24;
export const VERIFY_FOUND: u32 = 28;
export const VERIFY_STATE_SIZE: u32 = 32;
/** Beside the stamp that a page must hold: it may also be zero, for MADV_FREE was called and it was not written since. */
export const STAMP_LAZY_FREE: u32 = 0x80000000;
// ---- host mm: results and argument bits of assembly/mm/{memory,vmscan}.ts ----------------------
/** Words of the scratch block (mmOut()) in which a call leaves what does not fit its result. */
export const MM_OUT_WORDS: u32 = 16;

// What faultClassify() finds.
/** No pte. */
export const FAULT_NONE: u32 = 0;
/** A present pte; under the lock: one that permits the access, and young (and dirty) are set. */
export const FAULT_PRESENT: u32 = 1;
/** A write to a read-only pte. */
export const FAULT_WP: u32 = 2;
/** A swap entry: MM_OUT word 0 is the slot. */
export const FAULT_SWAP: u32 = 3;

// How a page is mapped: argument bits of the map functions.
/** The access writes. */
export const MAP_WRITE_FAULT: u32 = 1;
/** The vma permits writes. */
export const MAP_VM_WRITE: u32 = 2;
/** The frame counts against the limit. */
export const MAP_CHARGED: u32 = 4;
/** The vma is locked or resident: the page goes on no list that is scanned. */
export const MAP_UNEVICTABLE: u32 = 8;
/** The vma shares its file: writes go to the page cache. */
export const MAP_SHARED: u32 = 16;
/** New ptes are not young (a page read ahead). */
export const MAP_OLD: u32 = 32;
/** Linux 2.6.24: a fresh anonymous page is dirty and writable even after a read. */
export const MAP_DIRTY_ALWAYS: u32 = 64;

/** Bit of a swapinBegin()/filemapRead() result: the device was read. */
export const IO_MAJOR: u32 = 0x80000000;
/** swapinBegin(): the fault is to be tried again, once nobody reads the slot past the swap cache. */
export const IO_BUSY: u32 = 0x7fffffff;

// Result bits of pageoutFree() and its parts.
/** The frame is free. */
export const RECLAIM_FREED: u32 = 1;
/** It was written to its swap slot or file. */
export const RECLAIM_WROTE: u32 = 2;
/** Somebody else holds a reference. */
export const RECLAIM_PINNED: u32 = 4;
/** No swap slot is free. */
export const RECLAIM_SWAP_FULL: u32 = 8;
/** pageReferencedOne(), reclaimNext(): no (further) pte maps the page. */
export const RECLAIM_NO_MAPPING: u32 = 0xffffffff;
/** reclaimNext(): no swap slot is free. */
export const RECLAIM_NO_SWAP: u32 = 0x7fffffff;

// Results of tryToUnmapOne().
/** A page that was freed lazily turned out dirty and stays. */
export const UNMAP_DIRTY: u32 = 0;
/** It was the last pte. */
export const UNMAP_LAST: u32 = 1;
/** Other ptes map the page. */
export const UNMAP_MORE: u32 = 2;
/** There was none. */
export const UNMAP_NONE: u32 = 3;

/** Gather buffers of unmapped pages: one for each task id modulo this. */
export const GATHER_BUFFERS: u32 = 16;
/** Frames that a gather buffer holds. */
export const GATHER_PAGES: u32 = 9698;
/** protectRange(), `rights`: none at all, else reading, or reading and writing. */
export const PROTECT_NONE: u32 = 0;
export const PROTECT_READ: u32 = 1;
export const PROTECT_WRITE: u32 = 2;
/** protectRange(), `upgrade`: exclusive anonymous pages; all pages (of shared memory). */
export const PROTECT_ANON: u32 = 1;
export const PROTECT_SHARED: u32 = 2;
/** With PROTECT_ANON: clean pages and huge ones, too. */
export const PROTECT_CLEAN: u32 = 4;
/** Why zapRange() stopped: at the end or a full buffer, at a huge pte to split, to flush. */
export const ZAP_FULL: u32 = 0;
export const ZAP_SPLIT: u32 = 1;
export const ZAP_FLUSH: u32 = 2;

/** No swap slot. */
export const NO_SLOT: u32 = 0xffffffff;
/** Freed swap slots go back so many at a time. */
export const SWAP_SLOTS_CACHE_SIZE: u32 = 64;

// ---- shadow PTEs (assembly/mmu/spte.ts; cf. arch/x86/kvm/mmu/spte.h, 6.1) -------------------------
/** Host pte allows writes. */
export const SPTE_HOST_WRITABLE_BIT: u32 = 9;
/** KVM itself allows writes (not write-protected for a shadowed table). */
export const SPTE_MMU_WRITABLE_BIT: u32 = 10;
/** The spte is shadow-present, whatever the hardware bits say. */
export const SPTE_MMU_PRESENT_BIT: u32 = 11;
/** Two bits: 0 A/D enabled, 1 A/D disabled (access tracking). */
export const SPTE_AD_DISABLED_BIT: u32 = 52;
/** Where access tracking saves P and NX. */
export const SPTE_SAVED_P_BIT: u32 = 54;
export const SPTE_SAVED_NX_BIT: u32 = 55;

// ---- struct kvm_mmu_page (assembly/mmu/shadow_page.ts): 256 bytes -----------------------------
export const SP_SIZE: u32 = 256;
export const SP_GFN: u32 = 0;
export const SP_ROLE: u32 = 4;
/** u32[512] at this address: gfn << 3 | ACC_* of each spte; 0 in a direct page. */
export const SP_TRANSLATIONS: u32 = 8;
export const SP_HASH_NEXT: u32 = 12;
export const SP_ROOT_COUNT: u32 = 16;
export const SP_UNSYNC: u32 = 20;
export const SP_UNSYNC_CHILDREN: u32 = 24;
export const SP_WRITE_FLOODING: u32 = 28;
export const SP_VALID_GEN: u32 = 32;
/** Head of the list of sptes that point to this page (rmap.ts). */
export const SP_PARENT_PTES: u32 = 36;
/** active_mmu_pages, newest first. */
export const SP_LINK_NEXT: u32 = 40;
export const SP_LINK_PREV: u32 = 44;
/** Present sptes, leaf or not. */
export const SP_PRESENT: u32 = 48;
/** Chain of pages to free (kvm_mmu_commit_zap_page). */
export const SP_INVALID_NEXT: u32 = 52;
/** Where a leaf table translates from (flush.ts): its gva's bits from 21 on, and when they were found. */
export const SP_GVA_BASE: u32 = 56;
export const SP_GVA_EPOCH: u32 = 60;
/** 512 bits: which children are, or contain, unsync pages. */
export const SP_UNSYNC_BITMAP: u32 = 64;
/** 512 bits: which sptes are shadow-present. */
export const SP_PRESENT_BITMAP: u32 = 128;

// Role of a shadow page: what it depends on besides the gfn (union kvm_mmu_page_role).
export const ROLE_LEVEL_MASK: u32 = 0xf;
export const ROLE_DIRECT: u32 = 0x10;
export const ROLE_ACCESS_SHIFT: u32 = 5;
export const ROLE_INVALID: u32 = 0x100;
export const ROLE_EFER_NX: u32 = 0x200;
export const ROLE_CR0_WP: u32 = 0x400;
export const ROLE_SMEP_ANDNOT_WP: u32 = 0x800;
export const ROLE_SMAP_ANDNOT_WP: u32 = 0x1000;
export const ROLE_AD_DISABLED: u32 = 0x2000;
export const ROLE_GUEST_MODE: u32 = 0x4000;
/** Guest tables have 4-byte entries (legacy 32-bit paging). */
export const ROLE_4_BYTE_GPTE: u32 = 0x8000;
export const ROLE_QUADRANT_SHIFT: u32 = 16;
/** Ours: protection key of a direct page, four bits. */
export const ROLE_PKEY_SHIFT: u32 = 18;
/** Ours: CR4.PKE without CR0.WP, as ROLE_SMAP_ANDNOT_WP. */
export const ROLE_PKE_ANDNOT_WP: u32 = 0x400000;

// ---- struct kvm (assembly/mmu/kvm.ts): words of the block at kvmPtr() -----------------------------
export const KVM_INVALIDATE_SEQ: u32 = 0;
export const KVM_INVALIDATE_IN_PROGRESS: u32 = 4;
export const KVM_INVALIDATE_RANGE_START: u32 = 8;
export const KVM_INVALIDATE_RANGE_END: u32 = 12;
/** KVM_FEATURE_* of the generation. */
export const KVM_FEATURES: u32 = 16;
/** Shadow pages whose gptes are write-protected. */
export const KVM_INDIRECT_SHADOW_PAGES: u32 = 20;
export const KVM_N_USED_MMU_PAGES: u32 = 24;
/** Limit of shadow pages (KVM_SET_NR_MMU_PAGES). */
export const KVM_N_MAX_MMU_PAGES: u32 = 28;
export const KVM_MMU_VALID_GEN: u32 = 32;
/** Write-flooding of 2008 is per vCPU: gfn of the last table written and how often in a row. */
export const KVM_LAST_PT_WRITE_GFN: u32 = 36;
export const KVM_LAST_PT_WRITE_COUNT: u32 = 40;

/** Leaf tables may go out of sync (since 2.6.28). */
export const KVM_FEATURE_UNSYNC: u32 = 1;
/** Neighbours of a faulting pte are mapped too (pte_prefetch, since 2.6.37). */
export const KVM_FEATURE_PREFETCH: u32 = 2;
/** A spte holds a reference on its page (until 2.6.27). */
export const KVM_FEATURE_SPTE_PINS: u32 = 4;
/** Write flooding is counted per shadow page (since 2.6.39), else per vCPU. */
export const KVM_FEATURE_FLOOD_PER_PAGE: u32 = 8;
/** A guest #PF on a present pte invalidates the gva in the shadow first (5.7 on). */
export const KVM_FEATURE_INVALIDATE_ON_INJECT: u32 = 16;
/** Host faults ask for write access whatever the guest does (gfn_to_page until 2.6.36). */
export const KVM_FEATURE_GUP_WRITE: u32 = 32;
/** An emulated write of a present, accessed leaf entry maps it at once (mmu_pte_write_new_pte, until 3.0). */
export const KVM_FEATURE_UPDATE_PTE: u32 = 64;
/** A walk of the guest's tables checks rights and sets A level by level (walk_addr, until 2.6.37). */
export const KVM_FEATURE_STEPWISE_WALK: u32 = 0x80;
/** Reserved bits of guest ptes are not looked at (until 2.6.30). */
export const KVM_FEATURE_IGNORES_RESERVED: u32 = 0x400;
/** A write at CPL 3 to a page that is shadowed ends the shadow instead of being emulated (mmu_unshadow). */
export const KVM_FEATURE_USER_UNSHADOWS: u32 = 0x800;
/** A supervisor's write under CR0.WP=0 maps a read-only page writable and leaves it the user's (until 2.6.35). */
export const KVM_FEATURE_WP0_KEEPS_USER: u32 = 0x1000;
/** Every change of a memslot takes write access from what it maps (until 2.6.35). */
export const KVM_FEATURE_SLOT_PROTECTS: u32 = 0x2000;
/** An invalidation outside all memslots makes no fault stale (since 5.13: mmu_lock is not even taken). */
export const KVM_FEATURE_INVALIDATE_IN_SLOTS: u32 = 0x4000;
/** Syncing leaves an spte alone whose rights are as before, with its A and D bits (FNAME(sync_spte) of 6.12). */
export const KVM_FEATURE_SYNC_KEEPS: u32 = 0x8000;
/** INVLPG brings the spte of an unsync table up to date instead of dropping it (since 6.4). */
export const KVM_FEATURE_INVLPG_SYNCS: u32 = 0x10000;
/** A flush for one entry is one of a range, which falls back to everything (kvm_flush_remote_tlbs_range(), 6.5). */
export const KVM_FEATURE_FLUSH_RANGES: u32 = 0x20000;
/** A mapping ahead of an access may let the guest table that it maps go unsync (mmu_need_write_protect() of 5.10). */
export const KVM_FEATURE_PREFETCH_UNSYNCS: u32 = 0x100000;
/** A fault on a leaf that was writable already sets D in it anew (make_spte() of 5.10, can_unsync). */
export const KVM_FEATURE_DIRTY_ANEW: u32 = 0x200000;
/**
 * A vCPU that synced a table, or emulated a write to one, flushes its own TLB alone; what a sync dropped is flushed
 * for the others with the next flush (kvm_mmu_flush_or_zap() and tlbs_dirty of 5.10). A synced table that maps
 * nothing is zapped.
 */
export const KVM_FEATURE_LOCAL_FLUSH: u32 = 0x400000;
/**
 * A new upper-level table syncs leaf tables of the same page instead of zapping them, and what is unsync below a
 * table that is linked is synced at the next entry (kvm_mmu_get_page() of 5.10).
 */
export const KVM_FEATURE_LATE_SYNC: u32 = 0x800000;
/** A chain of an rmap has descriptors of three sptes, filled from the first one on (pte_list_add() of 5.10). */
export const KVM_FEATURE_SHORT_CHAINS: u32 = 0x1000000;
/** What was mapped ahead is not marked accessed when its reference is dropped (kvm_release_pfn_clean() of 5.10). */
export const KVM_FEATURE_PREFETCH_UNMARKED: u32 = 0x2000000;
/** Tracepoints tell the gva and the guest's level of a fault, and of MMIO sptes as of others (mmutrace.h of 5.10). */
export const KVM_FEATURE_EARLY_TRACES: u32 = 0x4000000;
/** Of a direct table, what follows the last mapped entry of a group is not mapped ahead (__direct_pte_prefetch() of 5.10). */
export const KVM_FEATURE_PREFETCH_BETWEEN: u32 = 0x80000;
/** Nested tables that a zapped range covers go as a whole, with a flush each (zap_gfn_range() of 5.10). */
export const KVM_FEATURE_TDP_WHOLE_TABLES: u32 = 0x8000000;
/** Ageing a nested spte clears D, too (age_gfn_range() of 5.10). */
export const KVM_FEATURE_TDP_AGE_CLEANS: u32 = 0x10000000;
/** No fault on nested tables of the TDP MMU is fast (direct_page_fault() of 5.10). */
export const KVM_FEATURE_TDP_NEVER_FAST: u32 = 0x20000000;
/** Write protection of a slot counts every nested leaf as changed (wrprot_gfn_range() of 5.10). */
export const KVM_FEATURE_TDP_PROTECTS_ALL: u32 = 0x40000000;

// Rules of two-dimensional paging that came after 6.1 (kvmInit(), KVM_TDP_RULES).
/** Entries that are not present have bit 63, SUPPRESS_VE (6.10). */
export const TDP_RULE_SUPPRESS_VE: u32 = 1;
/** A root is zapped level by level from its leaves up, not from 1 GiB entries down (6.12). */
export const TDP_RULE_ZAP_UPWARDS: u32 = 2;
/** A fault below a large page splits it, as dirty logging does, instead of zapping it (6.2). */
export const TDP_RULE_SPLITS: u32 = 4;
/** An entry that is zapped under a shared lock is flushed first and torn down then (tdp_mmu_zap_spte_atomic(), 6.10). */
export const TDP_RULE_FLUSHES_FIRST: u32 = 8;
/** Reading the dirty log makes a page dirty for the host that it write-protects (6.4). */
export const TDP_RULE_LOG_DIRTIES: u32 = 16;

// ---- results of the fault path (arch/x86/kvm/mmu/mmu_internal.h) -----------------------------
export const RET_PF_CONTINUE: u32 = 0;
export const RET_PF_RETRY: u32 = 1;
export const RET_PF_EMULATE: u32 = 2;
export const RET_PF_INVALID: u32 = 3;
export const RET_PF_FIXED: u32 = 4;
export const RET_PF_SPURIOUS: u32 = 5;
/** Not of KVM: a guest table page went away under the fault; walk again. */
export const RET_PF_REWALK: u32 = 6;
/** faultTranslate(), beside RET_PF_*: no memslot holds the gfn. */
export const FAULT_NO_SLOT: u32 = 18;
/** A write to a read-only slot. */
export const FAULT_TO_READONLY: u32 = 19;

// ---- how faultInstall() finds out that the page it is given is stale (fault-protocol.ts) ---------
export const FAULT_CHECK_NONE: u32 = 0;
/** By the count of running invalidations and the sequence number (2.6.27). */
export const FAULT_CHECK_COUNT: u32 = 1;
/** The same, and only an invalidation of the page's range counts (5.12). */
export const FAULT_CHECK_RANGE: u32 = 2;
/** It is told: not 0 for a stale page. */
export const FAULT_CHECK_GIVEN: u32 = 3;

// ---- what a notifier does to the sptes of an aged page ---------------------------------------
export const AGE_NONE: u32 = 0;
/** Drop them (v3's age_page; v4 without accessed bits). */
export const AGE_DROP: u32 = 1;
/** Clear the accessed bit. */
export const AGE_CLEAR: u32 = 2;
/** Only look. */
export const AGE_TEST: u32 = 3;
/** Most pages of a call of testClearYoung(). */
export const YOUNG_BITMAP_PAGES: u32 = 32768;

// ---- VCPU_REQUESTS (arch/x86/include/asm/kvm_host.h) --------------------------------------------
/** Report a flush of everything (it was done when it was asked for). */
export const REQ_TLB_FLUSH: u32 = 1;
/** Let go of roots that are obsolete or invalid. */
export const REQ_MMU_FREE_OBSOLETE_ROOTS: u32 = 2;
/** Sync the unsync tables below the root. */
export const REQ_MMU_SYNC: u32 = 4;
/** Flush the current address space. */
export const REQ_TLB_FLUSH_CURRENT: u32 = 8;
/** The root was switched without loading it. */
export const REQ_LOAD_MMU_PGD: u32 = 16;
/** Flush what the guest cached, and sync what it may see of its tables then. */
export const REQ_TLB_FLUSH_GUEST: u32 = 32;

// ---- how a lookup of a host page tells the mm that it is used --------------------------------
/** Makes the host pte young (v3's follow_page with FOLL_TOUCH). */
export const TOUCH_PTE_YOUNG: u32 = 1;
/** folio_set_referenced() (get_user_pages_fast, 6.1). */
export const TOUCH_FOLIO_REFERENCED: u32 = 2;

// ---- two-dimensional paging (assembly/mmu/tdp.ts, nested_walk.ts) ------------------------------
/** u64 in struct vcpu: gpa of the last nested page fault. */
export const VCPU_FAULT_GPA: u32 = 336;
/** Error code bits 63:32 of the last nested page fault: 1 final gpa, 2 a guest table's. */
export const VCPU_FAULT_CODE_HIGH: u32 = 344;
/** Not 0: the vCPU runs on nested tables, VCPU_ROOT is theirs and VCPU_CR3 the guest's own. */
export const VCPU_TDP: u32 = 348;
/** In struct kvm: shadow page of the nested root, 0 none. */
export const KVM_TDP_ROOT: u32 = 44;
/** A flush for a few pages drops their translations alone instead of everything (not KVM on x86). */
export const KVM_FEATURE_FLUSH_PAGES: u32 = 0x200;
/** Nested page fault: VCPU_FAULT_GPA, VCPU_FAULT_CODE, VCPU_FAULT_CODE_HIGH. */
export const EXIT_NPF: u32 = 5;
/** No vmexit: the processor delivers a #PF with VCPU_WALK_ERROR to the guest. */
export const EXIT_GUEST_FAULT: u32 = 6;

// ---- entries that tlbList() writes (assembly/tlb/list.ts) -----------------------------------------
export const TLB_LIST_ENTRY: u32 = 24;
/** u64: page-aligned gva. */
export const TLB_LIST_GVA: u32 = 0;
/** Frame of the 4 KiB page that filled the entry. */
export const TLB_LIST_PFN: u32 = 8;
/** 1 4 KiB, 2 2 MiB, 3 1 GiB. */
export const TLB_LIST_LEVEL: u32 = 12;
/** Tag; that of the vCPU's current space is VCPU_TLB_TAG. */
export const TLB_LIST_TAG: u32 = 16;
/** TLB_LIST_NOT_*: what the entry does not let pass. */
export const TLB_LIST_DENIES: u32 = 20;
export const TLB_LIST_NOT_WRITABLE: u32 = 0x200;
export const TLB_LIST_NOT_DIRTY: u32 = 0x400;
// ---- follow_page / get_user_pages flags (include/linux/mm.h; FOLL_YOUNG is ours) ---------------
export const FOLL_WRITE: u32 = 1;
export const FOLL_TOUCH: u32 = 2;
/** v3: FOLL_TOUCH makes the pte young instead of mark_page_accessed(). */
export const FOLL_YOUNG: u32 = 4;
/** followPage(): no page can be returned without a fault. */
export const FOLLOW_NONE: u32 = 0xffffffff;

// ---- what reclaim decides about a page ---------------------------------------------------------
/** Back to the newest end of its list: referenced. */
export const VERDICT_ROTATE: u32 = 0;
export const VERDICT_ACTIVATE: u32 = 1;
export const VERDICT_DEACTIVATE: u32 = 2;
/** Unmap it, write it if dirty, free it. */
export const VERDICT_RECLAIM: u32 = 3;
/** Back to its list: it can't be freed now. */
export const VERDICT_KEEP: u32 = 4;
/** twoListNext(): the host's kernel objects are to be shrunk before the next page. */
export const SCAN_SHRINK_SLAB: u32 = 0xffffffff;
/** Rounds of reclaim without a freed page before the OOM killer runs (MAX_RECLAIM_RETRIES). */
export const RECLAIM_ROUNDS: u32 = 16;
/** In struct kvm: most sptes that an rmap held before one was added (max_mmu_rmap_size). */
export const KVM_MAX_RMAP: u32 = 48;
/** kvm_memslots(kvm)->generation: what MMIO sptes are checked against. */
export const KVM_MEMSLOT_GENERATION: u32 = 52;
/** In struct kvm: sptes that a sync dropped since the last flush of all vCPUs (tlbs_dirty). */
export const KVM_TLBS_DIRTY: u32 = 56;
/** TDP_RULE_* of the generation. */
export const KVM_TDP_RULES: u32 = 60;
/** lazyFreeOne(): the page may be marked lazily freeable. */
export const LAZYFREE_PAGE: u32 = 1;
/** lazyFreeOne(): its pte was young or dirty. */
export const LAZYFREE_PTE: u32 = 2;
/** The kernel itself reads or writes user memory (copy_from_user): its fault is another one. */
export const FOLL_UACCESS: u32 = 0x100;
/** The swap device is a RAM disk: a page that one entry names bypasses the swap cache. */
export const MAP_SWAP_DIRECT: u32 = 128;
/** A read of untouched anonymous memory maps the zero page. */
export const MAP_ZERO_PAGE: u32 = 256;
/** gupPlain() is called again after room was made. */
export const MAP_ROOM_MADE: u32 = 512;
/** Nobody faults for the page: it is read ahead (MADV_WILLNEED), or for a huge one. */
export const MAP_NO_FAULT: u32 = 4096;
/** A swap-in by a read maps an exclusive page writable. */
export const MAP_SWAP_WRITABLE: u32 = 8192;
/** A pte of shared memory is read-only until a write (vma_wants_writenotify). */
export const MAP_WRITE_NOTIFY: u32 = 2048;

// ---- gupPlain(): results beside a pfn, and what it leaves in MM_OUT ------------------------------
/** The protocol is to go on (FOLLOW_NONE). */
export const GUP_SLOW: u32 = 0xffffffff;
/** Room must be made for one more page first. */
export const GUP_CHARGE: u32 = 0xfffffffe;
/** Word of MM_OUT: GUP_NO_READ, or the device that was read. */
export const GUP_OUT_READ: u32 = 2;
/** Word of MM_OUT: the slot or the file offset that was read. */
export const GUP_OUT_PLACE: u32 = 3;
/** Word of MM_OUT: 1 when the core left a fault to the host for which no page could be freed. */
export const GUP_OUT_NO_MEMORY: u32 = 4;
export const GUP_NO_READ: u32 = 0;
export const GUP_READ_SWAP: u32 = 1;
export const GUP_READ_FILE: u32 = 2;
/** Who bypasses the swap cache claims the slot meanwhile (swapcache_prepare, commit 13ddaf26be32). */
export const MAP_SWAP_PREPARE: u32 = 1024;

// ---- devices and their clock (assembly/mm/device.ts); f64 in ns unless said ----------------------
export const DEVICE_SWAP: u32 = 0;
export const DEVICE_DISK: u32 = 1;
export const DEVICE_COUNT: u32 = 2;
/** Channels of a device at the most. */
export const DEVICE_CHANNELS_MAX: u32 = 64;
export const DEVICE_READ_SEQUENTIAL: u32 = 0;
export const DEVICE_READ_RANDOM: u32 = 8;
export const DEVICE_WRITE_SEQUENTIAL: u32 = 16;
export const DEVICE_WRITE_RANDOM: u32 = 24;
/** Writes that may wait, in requests a channel (f64). */
export const DEVICE_QUEUE: u32 = 32;
/** Time that callers waited. */
export const DEVICE_WAITED: u32 = 40;
/** Time that the device worked, of all channels. */
export const DEVICE_BUSY: u32 = 48;
/** u32: the place after the last request. */
export const DEVICE_HEAD: u32 = 56;
/** u32: channel of the next request, and how many there are. */
export const DEVICE_NEXT: u32 = 60;
export const DEVICE_CHANNELS: u32 = 64;
/** u32: requests so far. */
export const DEVICE_READS: u32 = 68;
export const DEVICE_WRITES: u32 = 72;
/** u32: every n-th read fails (0: none). */
export const DEVICE_FAIL_READ: u32 = 76;
/** When each channel is free. */
export const DEVICE_FREE: u32 = 80;
export const DEVICE_SIZE: u32 = 592;
/** Virtual time of the devices. */
export const CLOCK_NOW: u32 = 0;
/** Time of references that the clock was given so far. */
export const CLOCK_GIVEN: u32 = 8;
/** Cost of an access, of a hit in the L2, of a step of a walk. */
export const CLOCK_ACCESS_COST: u32 = 16;
export const CLOCK_L2_COST: u32 = 24;
export const CLOCK_WALK_COST: u32 = 32;
/** u32: 1 while kswapd is who uses the devices. */
export const CLOCK_KSWAPD: u32 = 40;
/** f64: when a full queue lets kswapd go on, and how long it waited in all. */
export const CLOCK_KSWAPD_UNTIL: u32 = 48;
export const CLOCK_KSWAPD_WAITED: u32 = 56;
export const CLOCK_SIZE: u32 = 96;

// ---- straight runs in the core (assembly/straight): what the host says, u32 each -----------------
/** 1: the core may serve host faults and make room for them. */
export const STRAIGHT_ON: u32 = 0;
/** 1: reclaim may be made at once, too. */
export const STRAIGHT_RECLAIMS: u32 = 4;
/** Address space of the guest's memory. */
export const STRAIGHT_MM: u32 = 8;
/** Pages that may be charged, and how many a run of direct reclaim is to free. */
export const STRAIGHT_LIMIT: u32 = 12;
export const STRAIGHT_CLUSTER: u32 = 16;
/** STRAIGHT_SCAN_*: which page reclaim takes next. */
export const STRAIGHT_SCAN: u32 = 20;
export const STRAIGHT_SCAN_FIFO: u32 = 0;
export const STRAIGHT_SCAN_CLOCK: u32 = 1;
export const STRAIGHT_SCAN_TWO_LIST: u32 = 2;
/** 1: the unmapping of a page asks for young once more. */
export const STRAIGHT_RECHECKS: u32 = 24;
/** pageoutFree()'s kind of shadow. */
export const STRAIGHT_SHADOW: u32 = 28;
/** STRAIGHT_HOOKS_*: the notifier calls of an unmapping; NONE as well when nobody is registered. */
export const STRAIGHT_HOOKS: u32 = 32;
export const STRAIGHT_HOOKS_NONE: u32 = 0;
export const STRAIGHT_HOOKS_PAGE: u32 = 1;
export const STRAIGHT_HOOKS_RANGE: u32 = 2;
/** 1: invalidate_page bumps mmu_invalidate_seq. */
export const STRAIGHT_BUMPS_SEQ: u32 = 36;
/** 1: a test for young calls a notifier op. */
export const STRAIGHT_AGES: u32 = 40;
/** 1: only when the host pte was young. */
export const STRAIGHT_ASK_ONLY_YOUNG: u32 = 44;
/** 1: its answer counts. */
export const STRAIGHT_ANSWER_COUNTS: u32 = 48;
/** AGE_*: what the op does to the sptes, and whether it flushes. */
export const STRAIGHT_AGE_ACTION: u32 = 52;
export const STRAIGHT_AGE_FLUSHES: u32 = 56;
/** 1: the devices' clock follows the references. */
export const STRAIGHT_CLOCK: u32 = 60;
/** The yardstick: hvn of gfn 0, first gfn with words, and behind the last one (0: no yardstick). */
export const STRAIGHT_GFN_BASE: u32 = 64;
export const STRAIGHT_GFN_FIRST: u32 = 68;
export const STRAIGHT_GFN_END: u32 = 72;
/** Areas in which faults may be served, STRAIGHT_AREA_SIZE each. */
export const STRAIGHT_AREAS: u32 = 76;
export const STRAIGHT_AREA: u32 = 80;
export const STRAIGHT_AREAS_MAX: u32 = 6;
export const STRAIGHT_AREA_SIZE: u32 = 24;
/** Not 0: invalidate_range is called for a page that is unmapped. */
export const STRAIGHT_TELLS_RANGE: u32 = 224;
/** Words of an area: [start, end), file (0: none), file offset of hvn 0, MAP_* of reads and of writes. */
export const STRAIGHT_AREA_START: u32 = 0;
export const STRAIGHT_AREA_END: u32 = 4;
export const STRAIGHT_AREA_FILE: u32 = 8;
export const STRAIGHT_AREA_OFFSET: u32 = 12;
export const STRAIGHT_AREA_READ: u32 = 16;
export const STRAIGHT_AREA_WRITE: u32 = 20;
/** No faults of that kind. */
export const STRAIGHT_NOT: u32 = 0xffffffff;
