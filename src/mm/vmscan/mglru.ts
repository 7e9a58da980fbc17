// The multi-generational LRU of Linux 6.1 (mm/vmscan.c: lru_gen_shrink_lruvec, evict_folios,
// get_nr_to_scan, should_run_aging, try_to_inc_max_seq). Where pages are, and what moves them between
// generations, is assembly/mm/lru_gen.ts and lru_gen_scan.ts; here is when eviction and aging run. As in
// assembly/mm/lruvec.ts it is a state machine, since the host asks for one page at a time.

import * as abi from '../../../assembly/abi.ts';
import type { Host } from '../host.ts';
import { VM_LOCKED, VM_READ, VM_WRITE } from '../vma.ts';
import { lookAround } from './look-around.ts';
import { DEFAULT_SWAPPINESS, SWAP_CLUSTER_MAX, type ReclaimPolicy } from './policy.ts';

const ANON = 0;
const FILE = 1;

/** Where the run goes on. */
const PHASE_PRIORITY = 0;
const PHASE_SCAN = 1;
const PHASE_PRIORITY_END = 2;
const PHASE_DONE = 3;

/** Options of the multi-generational LRU. */
export interface MglruOptions {
  /** Pages that one run frees at least. Default: SWAP_CLUSTER_MAX, scaled down on a small host. */
  readonly cluster?: number;
  /** vm.swappiness, 0 to 200. Default 60. */
  readonly swappiness?: number;
  /** Aging walks page tables (bit 1 of /sys/kernel/mm/lru_gen/enabled). Default: true. */
  readonly walk?: boolean;
  /** Whether it is on from the start; else enable() does it. Default: true. */
  readonly enabled?: boolean;
}

/** Where a run stands. Arrays are replaced, never changed in place. */
interface RunState {
  phase: number;
  priority: number;
  target: number;
  reclaimed: number;
  /** Of the call for this priority: youngest generation at its start, pages looked at. */
  seq: number;
  scanned: number;
  needSwapping: boolean;
  /** The batch: what evict_folios() looked at, how many pages are wanted, the pages. */
  looked: number;
  wanted: number;
  type: number;
  batch: readonly number[];
  given: number;
  kept: readonly (readonly [pfn: number, verdict: number])[];
  /** Pages of the batch that were kept for one reference (PAGEREF_KEEP). */
  refKept: number;
  /** The page in hand was promoted while it was isolated: it is kept unasked. */
  promoted: boolean;
}

const IDLE: RunState = {
  phase: PHASE_DONE,
  priority: 0,
  target: 0,
  reclaimed: 0,
  seq: 0,
  scanned: 0,
  needSwapping: false,
  looked: 0,
  wanted: 0,
  type: ANON,
  batch: [],
  given: 0,
  kept: [],
  refKept: 0,
  promoted: false,
};

/** Linux's multi-generational LRU. */
export class MglruPolicy implements ReclaimPolicy {
  readonly name = 'mglru';
  readonly #options: MglruOptions;
  #host!: Host;
  #s: RunState = { ...IDLE };
  #walk: boolean;
  cluster = SWAP_CLUSTER_MAX;

  constructor(options: MglruOptions = {}) {
    this.#options = options;
    this.#walk = options.walk ?? true;
  }

  attach(host: Host): void {
    this.#host = host;
    host.core.x.lruSetMap(
      abi.LRU_INACTIVE_ANON,
      abi.LRU_ACTIVE_ANON,
      abi.LRU_INACTIVE_FILE,
      abi.LRU_ACTIVE_FILE,
      0,
    );
    const scaled = Math.min(SWAP_CLUSTER_MAX, Math.max(1, host.limit >> 5));
    this.cluster = this.#options.cluster ?? scaled;
    host.core.x.lruGenTells(host.generation.generationsTell ? 1 : 0);
    if (this.#options.enabled ?? true) host.core.x.lruGenEnable(1);
  }

  /** Switches it on or off; bit 1 of `caps` says whether aging walks page tables. */
  enable(caps: number): void {
    this.#walk = (caps & 2) !== 0;
    this.#host.core.x.lruGenEnable(caps & 1);
  }

  begin(target: number): void {
    this.#s = { ...IDLE, phase: PHASE_PRIORITY, priority: abi.DEF_PRIORITY, target };
  }

  mayStop(): boolean {
    return this.#s.phase === PHASE_DONE;
  }

  next(): number {
    for (;;) {
      if (this.#s.given < this.#s.batch.length) return this.#s.batch[this.#s.given++] as number;
      if (this.#s.batch.length > 0) this.#finishBatch();
      if (!this.#advance()) return 0;
    }
  }

  asks(pfn: number): boolean {
    // A neighbour's look around marked it while it was isolated.
    this.#s.promoted = (this.#host.core.x.pageFlags(pfn) & abi.PG_REFERENCED) !== 0;
    return !this.#s.promoted;
  }

  lookAround(pfn: number, mm: number, hvn: number): void {
    const vma = this.#host.mm(mm).findVma(hvn);
    if (vma !== undefined) {
      this.#host.core.x.lruGenLookAround(pfn, mm, hvn, vma.start, vma.end);
    }
  }

  testsYoung(pfn: number, mm: number, hvn: number, young: boolean): boolean | undefined {
    if (!this.#host.generation.lookAroundAsks) return undefined;
    return lookAround(this.#host.mm(mm), pfn, hvn, young, this.#host.reclaimsOnRequest);
  }

  judge(pfn: number, referenced: number): number {
    if (this.#s.promoted) return abi.VERDICT_KEEP;
    const verdict = this.#host.core.x.checkReferences(pfn, referenced);
    if (verdict === abi.VERDICT_KEEP) this.#s.refKept++;
    return verdict;
  }

  join(head: number): void {
    const tails = Array.from({ length: abi.HPAGE_PMD_NR - 1 }, (_, i) => head + 1 + i);
    this.#s.batch = [...this.#s.batch, ...tails];
  }

  putBack(pfn: number, verdict: number): void {
    this.#s.kept = [...this.#s.kept, [pfn, verdict]];
  }

  /** The end of evict_folios(): what was kept goes to the youngest generation. */
  #finishBatch(): void {
    const { batch, kept } = this.#s;
    this.#tell();
    for (const [pfn] of kept) this.#host.core.x.lruGenPutback(pfn);
    this.#s.reclaimed += batch.length - kept.length;
    if (this.#s.type === ANON) this.#s.needSwapping = true;
    this.#s.batch = [];
    this.#s.kept = [];
    this.#s.given = 0;
    this.#evicted();
  }

  /** The tracepoint at the end of evict_folios(), where there is one. */
  #tell(): void {
    const { batch, kept, looked, priority, type, refKept } = this.#s;
    if (!this.#host.generation.generationsTell || !this.#host.core.tracing) return;
    let anon = 0;
    let file = 0;
    for (const [pfn, verdict] of kept) {
      if (verdict !== abi.VERDICT_ACTIVATE) continue;
      if ((this.#host.core.x.pageFlags(pfn) & abi.PG_SWAPBACKED) !== 0) anon++;
      else file++;
    }
    // Pages that were freed lazily, and written since, are anonymous again.
    const failed = type === FILE ? anon : 0;
    const when = priority | (type << 8) | (failed << 9);
    const freed = batch.length - kept.length;
    const event = abi.EVENT_VMSCAN_LRU_SHRINK_INACTIVE;
    this.#host.emit(event, looked, freed, when, refKept | (anon << 10) | (file << 20));
  }

  /** What lru_gen_shrink_lruvec() does after evict_folios(). */
  #evicted(): void {
    const s = this.#s;
    s.scanned += s.looked;
    const over = s.looked === 0 || s.scanned >= s.wanted || this.#aborts();
    s.phase = over ? PHASE_PRIORITY_END : PHASE_SCAN;
  }

  /** should_abort_scan(): a group's share is not to be exceeded, or enough is free. */
  #aborts(): boolean {
    const s = this.#s;
    if (this.#host.generation.evictsWhole) {
      return this.#host.kswapd !== null && s.reclaimed >= s.target;
    }
    const aged = (this.#host.core.x.lruGenMaxSeq() >>> 0) - s.seq > 1;
    return aged || (s.reclaimed >= s.target && s.needSwapping);
  }

  #advance(): boolean {
    const { x } = this.#host.core;
    const s = this.#s;
    for (;;) {
      switch (s.phase) {
        case PHASE_PRIORITY:
          x.lruAddDrain();
          s.seq = x.lruGenMaxSeq() >>> 0;
          s.scanned = 0;
          s.needSwapping = false;
          s.phase = PHASE_SCAN;
          break;
        case PHASE_SCAN:
          s.wanted = this.#nrToScan();
          if (s.wanted === 0) {
            s.phase = PHASE_PRIORITY_END;
            break;
          }
          this.#isolate();
          if (s.batch.length > 0) return true;
          this.#evicted();
          break;
        case PHASE_PRIORITY_END:
          this.#endPriority();
          break;
        default:
          return false;
      }
    }
  }

  #endPriority(): void {
    const s = this.#s;
    if (s.priority <= abi.SLAB_PRIORITY) this.#host.shrinkSlab();
    const more = s.reclaimed < s.target && --s.priority >= 0;
    s.phase = more ? PHASE_PRIORITY : PHASE_DONE;
  }

  #swappiness(): number {
    const { x } = this.#host.core;
    if ((x.swapTotal() >>> 0) - (x.swapUsed() >>> 0) < abi.MIN_LRU_BATCH) return 0;
    return this.#options.swappiness ?? DEFAULT_SWAPPINESS;
  }

  /** isolate_folios() and try_to_inc_min_seq(). */
  #isolate(): void {
    const { core } = this.#host;
    const { x } = core;
    const s = this.#s;
    const swappiness = this.#swappiness();
    let type = FILE;
    let tier = -1;
    if (swappiness > 0) {
      if (x.lruGenMinSeq(ANON) >>> 0 < x.lruGenMinSeq(FILE) >>> 0) type = ANON;
      else if (swappiness === 200) type = ANON;
      else if (swappiness > 1) {
        const choice = x.lruGenTypeToScan(swappiness) >>> 0;
        type = choice & 1;
        tier = choice >>> 1;
      }
    }
    let looked = 0;
    for (let i = swappiness > 0 ? 0 : 1; i < 2; i++) {
      if (tier < 0) tier = x.lruGenTier(type) >>> 0;
      looked = x.lruGenIsolate(type, tier) >>> 0;
      if (looked > 0) break;
      type = 1 - type;
      tier = -1;
    }
    const taken = looked > 0 ? this.#host.out(0) : 0;
    const from = (x.lruGenIsolated() >>> 0) >>> 2;
    s.batch = [...core.mem.u32.subarray(from, from + taken)];
    s.refKept = 0;
    s.type = type;
    looked += x.lruGenIncMinSeq(swappiness > 0 ? 1 : 0) >>> 0;
    const last = swappiness > 0 ? ANON : FILE;
    const gens = (x.lruGenMaxSeq() >>> 0) - (x.lruGenMinSeq(last) >>> 0) + 1;
    s.looked = gens === abi.MIN_NR_GENS ? 0 : looked;
  }

  /** get_nr_to_scan(): how many pages this priority looks at; ages when eviction runs short. */
  #nrToScan(): number {
    const canSwap = this.#swappiness() > 0;
    const wanted = this.#total(canSwap) >>> this.#s.priority;
    if (!this.#shouldAge(canSwap)) return wanted;
    if (this.#s.priority !== abi.DEF_PRIORITY) {
      this.#age(canSwap);
      return this.#host.generation.evictsWhole ? 0 : wanted;
    }
    const { x } = this.#host.core;
    const oldest = x.lruGenMinSeq(canSwap ? ANON : FILE) >>> 0;
    return oldest + abi.MIN_NR_GENS <= x.lruGenMaxSeq() >>> 0 ? wanted : 0;
  }

  /** Calls `visit` for each generation of each type that eviction may take. */
  #generations(canSwap: boolean, visit: (seq: number, pages: number) => void): void {
    const { x } = this.#host.core;
    const max = x.lruGenMaxSeq() >>> 0;
    for (let type = canSwap ? ANON : FILE; type <= FILE; type++) {
      for (let seq = x.lruGenMinSeq(type) >>> 0; seq <= max; seq++) {
        visit(seq, x.lruGenPages(seq % abi.MAX_NR_GENS, type) >>> 0);
      }
    }
  }

  #total(canSwap: boolean): number {
    let total = 0;
    this.#generations(canSwap, (_, pages) => (total += pages));
    return total;
  }

  /** should_run_aging(): too few generations, or pages spread unevenly among three. */
  #shouldAge(canSwap: boolean): boolean {
    const { x } = this.#host.core;
    const max = x.lruGenMaxSeq() >>> 0;
    const min = x.lruGenMinSeq(canSwap ? ANON : FILE) >>> 0;
    if (min + abi.MIN_NR_GENS !== max) return min + abi.MIN_NR_GENS > max;
    let young = 0;
    let old = 0;
    let total = 0;
    this.#generations(canSwap, (seq, pages) => {
      total += pages;
      if (seq === max) young += pages;
      else if (seq + abi.MIN_NR_GENS === max) old += pages;
    });
    return young * abi.MIN_NR_GENS > total || old * (abi.MIN_NR_GENS + 2) < total;
  }

  /** try_to_inc_max_seq(): walks the page tables, then begins a generation. */
  #age(canSwap: boolean): void {
    const { x } = this.#host.core;
    if (this.#walk) this.#walkTables();
    x.lruGenIncMaxSeq(canSwap ? 1 : 0);
  }

  /** walk_mm() over every mm with at least a batch of pages. */
  #walkTables(): void {
    const { x } = this.#host.core;
    for (const mm of this.#host.mms) {
      if (mm === null || !mm.alive) continue;
      for (const vma of mm.vmas) {
        const accessible = (vma.flags & (VM_READ | VM_WRITE)) !== 0;
        if (accessible && (vma.flags & VM_LOCKED) === 0) x.lruGenWalk(mm.id, vma.start, vma.end);
      }
    }
  }
}
