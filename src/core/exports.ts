// The interface of the core, by hand because its comments are the ABI reference. test/abi.test.ts
// holds it against the module's real exports.

import type {
  RunExports,
  GuestWalkExports,
  KvmExports,
  ShadowExports,
  TdpExports,
} from './kvm-exports.ts';
import type {
  FrameExports,
  PteExports,
  HugeExports,
  ShmemExports,
  RmapExports,
  MemoryExports,
  SwapExports,
  FilemapExports,
  RangeExports,
  KsmExports,
  DeviceExports,
} from './mm-exports.ts';
import type {
  LruExports,
  LruGenExports,
  TwoListExports,
  VmscanExports,
  FolioBatchExports,
  MemcgExports,
} from './vmscan-exports.ts';
import type { WorkloadExports } from './workload-exports.ts';

/** Exports of layout.ts, stats.ts, events.ts and index.ts. */
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
    TwoListExports,
    VmscanExports,
    RangeExports,
    FolioBatchExports,
    MemcgExports,
    KsmExports,
    DeviceExports,
    TdpExports {}
