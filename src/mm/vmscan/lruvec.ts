// Reclaim of one lruvec as Linux 6.1 does it (mm/vmscan.c: do_try_to_free_pages, shrink_lruvec,
// get_scan_count, shrink_active_list, shrink_inactive_list). It is a state machine, since the host
// asks for one page at a time: a batch is taken off a list at once, as isolate_lru_folios() does, and
// handed out page by page.

import * as abi from '../../../assembly/abi.ts';
import { COUNTER_SLOTS } from '../../stats/stats.ts';
import type { Host } from '../host.ts';

const DEF_PRIORITY = 12;
/** The statistics are flushed every two seconds in any case (FLUSH_TIME), ns. */
const FLUSH_TIME = 2e9;
/** Priority from which on small caches of kernel objects are scanned (do_shrink_slab). */
const SLAB_PRIORITY = 1;
const ANON = 0;
const FILE = 2;
const ACTIVE = 1;
/** for_each_evictable_lru. */
const EVICTABLE = [
  abi.LRU_INACTIVE_ANON,
  abi.LRU_ACTIVE_ANON,
  abi.LRU_INACTIVE_FILE,
  abi.LRU_ACTIVE_FILE,
] as const;

/** Where the scan goes on. */
const PHASE_PRIORITY = 0;
const PHASE_LISTS = 1;
const PHASE_REBALANCE = 2;
const PHASE_PRIORITY_END = 3;
const PHASE_DONE = 4;

/** Integer square root of the inactive ratio: 1 below a gigabyte. */
function inactiveRatio(pages: number): number {
  const gigabytes = Math.floor(pages / 2 ** 18);
  return gigabytes > 0 ? Math.floor(Math.sqrt(10 * gigabytes)) : 1;
}

/** Where a scan stands. Arrays are replaced, never changed in place. */
interface ScanState {
  phase: number;
  priority: number;
  target: number;
  reclaimed: number;
  /** `reclaimed` when the priority began. */
  before: number;
  /** Bit 0: active anonymous pages may be deactivated, bit 1: file pages. */
  mayDeactivate: number;
  force: boolean;
  skipped: boolean;
  trimCache: boolean;
  /** Next list of the round. */
  list: number;
  /** Pages still to scan of each list, and at the start of the priority. */
  nr: readonly number[];
  targets: readonly number[];
  /** The batch in hand: its list, its pages, how many were handed out, and which are kept, as what. */
  from: number;
  batch: readonly number[];
  given: number;
  kept: readonly (readonly [pfn: number, verdict: number])[];
  pagedOutBefore: number;
  /** When the statistics were flushed last because of the time. */
  flushedAt: number;
  /** WORKINGSET_ACTIVATE at the end of the last run (snapshot_refaults). */
  refaults: readonly [anon: number, file: number];
}

const IDLE: ScanState = {
  phase: PHASE_DONE,
  priority: 0,
  target: 0,
  reclaimed: 0,
  before: 0,
  mayDeactivate: 0,
  force: false,
  skipped: false,
  trimCache: false,
  list: 0,
  nr: [0, 0, 0, 0],
  targets: [0, 0, 0, 0],
  from: 0,
  batch: [],
  given: 0,
  kept: [],
  pagedOutBefore: 0,
  flushedAt: 0,
  refaults: [0, 0],
};

/** One lruvec's scan. */
export class LruvecScan {
  readonly #host: Host;
  readonly #swappiness: number;
  readonly #cluster: number;
  readonly #stats: number;
  #s: ScanState = { ...IDLE };

  constructor(host: Host, swappiness: number, cluster: number) {
    this.#host = host;
    this.#swappiness = swappiness;
    this.#cluster = cluster;
    this.#stats = host.core.x.statsPtr() >>> 0;
  }

  /** What the explorer and a snapshot save. */
  get state(): ScanState {
    return { ...this.#s };
  }

  set state(saved: ScanState) {
    this.#s = { ...saved };
  }

  /** try_to_free_mem_cgroup_pages: a run that is to free `target` pages begins. */
  begin(target: number): void {
    const { refaults, flushedAt } = this.#s;
    this.#s = { ...IDLE, phase: PHASE_PRIORITY, priority: DEF_PRIORITY, target };
    Object.assign(this.#s, { refaults, flushedAt });
  }

  /** Whether the run is over: a batch and a round are never left half done. */
  get done(): boolean {
    return this.#s.phase === PHASE_DONE;
  }

  /** Whether the page in hand came off an active list. */
  get active(): boolean {
    return (this.#s.from & ACTIVE) !== 0;
  }

  /** The next page, or 0 at the end of the run. */
  next(): number {
    for (;;) {
      if (this.#s.given < this.#s.batch.length) return this.#s.batch[this.#s.given++] as number;
      this.#finishBatch();
      if (!this.#advance()) return 0;
    }
  }

  /** A page of the batch was not freed: it goes back with the others at the end of the batch. */
  keep(pfn: number, verdict: number): void {
    if (verdict === abi.VERDICT_ACTIVATE) this.#host.core.x.memcgUpdated(1);
    this.#s.kept = [...this.#s.kept, [pfn, verdict]];
  }

  #size(list: number): number {
    return this.#host.core.x.lruSize(list) >>> 0;
  }

  /** inactive_is_low(), by the group's statistics: they are flushed only now and then. */
  #inactiveIsLow(kind: number): boolean {
    const { x } = this.#host.core;
    const inactive = x.memcgStat(kind) >>> 0;
    const active = x.memcgStat(kind + ACTIVE) >>> 0;
    return inactive * inactiveRatio(inactive + active) < active;
  }

  /** The end of shrink_inactive_list() or shrink_active_list(). */
  #finishBatch(): void {
    const { batch, kept, from } = this.#s;
    if (batch.length === 0) return;
    const { x } = this.#host.core;
    const freed = batch.length - kept.length;
    const file = from >= abi.LRU_INACTIVE_FILE;
    x.memcgGather(0);
    for (const [pfn, verdict] of kept) x.lruVerdict(pfn, verdict);
    // PGSTEAL, or PGDEACTIVATE.
    x.memcgUpdated(this.active ? kept.length : freed);
    if (this.active) {
      this.#traceActive(kept.length);
    } else {
      this.#s.reclaimed += freed;
      const pages = this.#pagedOut(file) - this.#s.pagedOutBefore;
      x.lruNoteCost(file ? 1 : 0, pages);
      this.#traceInactive(batch.length, freed);
    }
    this.#s.batch = [];
    this.#s.kept = [];
    this.#s.given = 0;
  }

  /** Goes on to the next call of shrink_list(); false: the run is over. */
  #advance(): boolean {
    for (;;) {
      switch (this.#s.phase) {
        case PHASE_PRIORITY:
          this.#prepareScanCount();
          this.#getScanCount();
          this.#s.list = 0;
          this.#s.before = this.#s.reclaimed;
          this.#s.phase = this.#moreToScan() ? PHASE_LISTS : PHASE_REBALANCE;
          break;
        case PHASE_LISTS:
          if (this.#lists()) return true;
          break;
        case PHASE_REBALANCE:
          this.#s.phase = PHASE_PRIORITY_END;
          if (this.#inactiveIsLow(ANON)) {
            this.#isolate(abi.LRU_ACTIVE_ANON, this.#cluster);
            return true;
          }
          break;
        case PHASE_PRIORITY_END:
          this.#endPriority();
          break;
        default:
          return false;
      }
    }
  }

  /** The loop of shrink_lruvec(): one list after the other; true when a batch was taken. */
  #lists(): boolean {
    for (; this.#s.list < EVICTABLE.length;) {
      const at = this.#s.list++;
      const want = this.#s.nr[at] as number;
      if (want === 0) continue;
      const batch = Math.min(want, this.#cluster);
      this.#setNr(at, want - batch);
      const deactivates = this.#s.mayDeactivate & (at >= FILE ? 2 : 1);
      if ((at & ACTIVE) !== 0 && deactivates === 0) {
        this.#s.skipped = true;
        continue;
      }
      this.#isolate(EVICTABLE[at] as number, batch);
      return true;
    }
    this.#s.list = 0;
    const enough = this.#s.reclaimed - this.#s.before >= this.#s.target;
    if (enough && !this.#balanceRest()) this.#s.phase = PHASE_REBALANCE;
    if (!this.#moreToScan()) this.#s.phase = PHASE_REBALANCE;
    return false;
  }

  /** Active anonymous pages alone do not keep the loop going. */
  #moreToScan(): boolean {
    const [inactiveAnon, , inactiveFile, activeFile] = this.#s.nr;
    return inactiveAnon !== 0 || inactiveFile !== 0 || activeFile !== 0;
  }

  /** Enough is reclaimed: the smaller kind is left alone, the larger scanned in proportion. */
  #balanceRest(): boolean {
    const nr = this.#s.nr;
    const file = (nr[2] as number) + (nr[3] as number);
    const anon = (nr[0] as number) + (nr[1] as number);
    if (file === 0 || anon === 0) return false;
    const smaller = file > anon ? ANON : FILE;
    const larger = smaller === ANON ? FILE : ANON;
    const wanted =
      (this.#s.targets[smaller] as number) + (this.#s.targets[smaller + 1] as number) + 1;
    const percentage = Math.floor(((smaller === ANON ? anon : file) * 100) / wanted);
    for (const list of [larger, larger + ACTIVE]) {
      const target = this.#s.targets[list] as number;
      const scanned = target - (nr[list] as number);
      const left = Math.floor((target * (100 - percentage)) / 100);
      this.#setNr(list, left - Math.min(left, scanned));
    }
    this.#setNr(smaller, 0);
    this.#setNr(smaller + ACTIVE, 0);
    return true;
  }

  #setNr(list: number, value: number): void {
    this.#s.nr = this.#s.nr.map((old, i) => (i === list ? value : old));
  }

  /** isolate_lru_folios(): takes up to `n` pages off the old end of a list. */
  #isolate(list: number, n: number): void {
    const { x } = this.#host.core;
    x.lruAddDrain();
    const taken = x.lruIsolateBatch(list, n) >>> 0;
    const at = (x.lruIsolated() >>> 0) >>> 2;
    const batch = [...this.#host.core.mem.u32.subarray(at, at + taken)];
    this.#s.from = list;
    this.#s.batch = batch;
    this.#s.pagedOutBefore = this.#pagedOut(list >= abi.LRU_INACTIVE_FILE);
    this.#host.emit(abi.EVENT_VMSCAN_LRU_ISOLATE, n, taken, list);
    if (taken > 0) x.memcgGather(1);
    if (taken === 0 && this.active) this.#traceActive(0);
  }

  #traceActive(taken: number): void {
    const file = this.#s.from >= abi.LRU_INACTIVE_FILE ? 1 : 0;
    this.#host.emit(abi.EVENT_VMSCAN_LRU_SHRINK_ACTIVE, taken, taken, this.#s.priority, file);
  }

  #traceInactive(scanned: number, freed: number): void {
    const file = this.#s.from >= abi.LRU_INACTIVE_FILE ? 1 : 0;
    const activated = this.#s.kept.filter(([, verdict]) => verdict === abi.VERDICT_ACTIVATE).length;
    const kept = this.#s.kept.length - activated;
    const priority = this.#s.priority | (file << 8);
    const outcome = kept | (activated << 16);
    this.#host.emit(abi.EVENT_VMSCAN_LRU_SHRINK_INACTIVE, scanned, freed, priority, outcome);
  }

  #counter(slot: number): number {
    return this.#host.core.mem.load64(this.#stats + slot * 8);
  }

  /** Pages written so far, of a kind (stat.nr_pageout is a difference of it). */
  #pagedOut(file: boolean): number {
    return this.#counter(file ? COUNTER_SLOTS.file_writebacks : COUNTER_SLOTS.swap_outs);
  }

  #endPriority(): void {
    // A shrinker scans only when half of its objects make a batch.
    if (this.#s.priority <= SLAB_PRIORITY) this.#host.shrinkSlab();
    if (this.#s.reclaimed >= this.#s.target) return this.#finish();
    if (--this.#s.priority >= 0) {
      this.#s.phase = PHASE_PRIORITY;
      return;
    }
    if (this.#s.reclaimed === 0 && this.#s.skipped && !this.#s.force) {
      this.#s.force = true;
      this.#s.skipped = false;
      this.#s.priority = DEF_PRIORITY;
      this.#s.phase = PHASE_PRIORITY;
      return;
    }
    this.#finish();
  }

  #finish(): void {
    this.#s.refaults = this.#workingsetActivate();
    this.#s.phase = PHASE_DONE;
  }

  /** WORKINGSET_ACTIVATE at the last flush. */
  #workingsetActivate(): readonly [anon: number, file: number] {
    const { x } = this.#host.core;
    return [x.memcgStat(4) >>> 0, x.memcgStat(5) >>> 0];
  }

  /** mem_cgroup_flush_stats(), and what the kernel's timer would have flushed meanwhile. */
  #flushStats(): void {
    const { now } = this.#host;
    const due = now - this.#s.flushedAt >= FLUSH_TIME;
    if (due) this.#s.flushedAt = now;
    this.#host.core.x.memcgFlush(due ? 1 : 0);
  }

  /** prepare_scan_count(): may the active lists be scanned at all. */
  #prepareScanCount(): void {
    this.#flushStats();
    const now = this.#workingsetActivate();
    const anon = now[0] !== this.#s.refaults[0] || this.#inactiveIsLow(ANON);
    const file = now[1] !== this.#s.refaults[1] || this.#inactiveIsLow(FILE);
    this.#s.mayDeactivate = this.#s.force ? 3 : (anon ? 1 : 0) | (file ? 2 : 0);
    const { x } = this.#host.core;
    const cache = (x.memcgStat(abi.LRU_INACTIVE_FILE) >>> 0) >>> this.#s.priority;
    this.#s.trimCache = cache > 0 && (this.#s.mayDeactivate & 2) === 0;
  }

  /** get_scan_count(): how many pages of each list this priority looks at. */
  #getScanCount(): void {
    const { x } = this.#host.core;
    const swapFull = x.swapUsed() >>> 0 >= x.swapTotal() >>> 0;
    const onlyFile =
      swapFull || this.#swappiness === 0 || (this.#s.priority > 0 && this.#s.trimCache);
    const anonCost = x.lruCost(0) >>> 0;
    const fileCost = x.lruCost(1) >>> 0;
    const total = anonCost + fileCost;
    const anonWeight = total + anonCost;
    const fileWeight = total + fileCost;
    const sum = anonWeight + fileWeight + 1;
    const ap = Math.floor((this.#swappiness * sum) / (anonWeight + 1));
    const fp = Math.floor(((200 - this.#swappiness) * sum) / (fileWeight + 1));
    const nr = EVICTABLE.map((list, at) => {
      const scan = this.#size(list) >>> this.#s.priority;
      if (onlyFile) return at >= FILE ? scan : 0;
      if (this.#s.priority === 0) return scan;
      return Math.floor((scan * (at >= FILE ? fp : ap)) / (ap + fp));
    });
    this.#s.nr = nr;
    this.#s.targets = nr;
  }
}
