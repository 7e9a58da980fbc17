// Passes over a workload without an emulator: figures of the stream, fault counts by number of
// frames, footprint. Each pass runs in a core of its own, so its memory goes with it.

import {
  INFO_KINDS,
  INFO_PAGES_FETCHED,
  INFO_PAGES_WRITTEN,
  INFO_WINDOW_TOUCHED,
  INFO_WINDOW_WRITTEN,
  PAGES_COUNT,
  PAGES_KEYS,
  PAGES_KEY_PROCESS_SHIFT,
  REPLACE_CLOCK,
  REPLACE_CLOCK_REF0,
  REPLACE_FAULTS,
  REPLACE_FIFO,
  REPLACE_LRU,
  REPLACE_WRITEBACKS,
} from '../../assembly/abi.ts';
import { DataError, UsageError } from '../core/errors.ts';
import { type Core, loadCore } from '../core/load.ts';
import { type AccessSource, BATCH_RECORDS, type Workload } from './source.ts';
import { TraceSource } from './trace-source.ts';

/** Told now and then how far a pass is, 0 to 1 (undefined: not known), and given time to. */
export type Progress = (part: number | undefined) => void | Promise<void>;

/** Batches between two calls of a Progress. */
const PROGRESS_BATCHES = 64;

/** Feeds every batch of a workload, as pagerefs, to `feed`; returns the number of pages. */
async function eachBatch(
  core: Core,
  source: AccessSource,
  index: number,
  feed: (refs: number, count: number, npages: number) => void,
  progress: Progress | undefined,
): Promise<number> {
  const { x, mem } = core;
  const records = x.arenaAlloc(BATCH_RECORDS * 8) >>> 0;
  const refs = x.arenaAlloc(BATCH_RECORDS * 4) >>> 0;
  let batches = 0;
  try {
    for (;;) {
      const n = source.next(core, records, BATCH_RECORDS);
      if (n === 0) break;
      const count = x.pagesMap(index, records, n, refs);
      feed(refs, count, mem.load32(index + PAGES_COUNT));
      if (progress && ++batches % PROGRESS_BATCHES === 0) await progress(source.progress());
    }
  } finally {
    source.close();
  }
  return mem.load32(index + PAGES_COUNT);
}

/** Distinct (process, page) pairs of a workload. */
export async function footprint(workload: Workload, progress?: Progress): Promise<number> {
  const core = loadCore();
  const index = core.x.pagesNew() >>> 0;
  return eachBatch(core, workload.open(core), index, () => {}, progress);
}

/** Figures of a stream of references. */
export interface StreamInfo {
  /** Format of the trace, when it is one. */
  readonly format?: string;
  /** References; an access over a page boundary counts once for each page. */
  readonly refs: number;
  readonly reads: number;
  readonly writes: number;
  readonly fetches: number;
  readonly unique_pages: number;
  readonly unique_written_pages: number;
  readonly unique_fetched_pages: number;
  /** Accesses that crossed a page boundary (0 when the format has no sizes). */
  readonly page_crossing_accesses: number;
  /** Lines that were skipped since they are the traced program's own output. */
  readonly foreign_lines: number;
  /** Lowest and highest page number, in hexadecimal. */
  readonly min_vpn: string;
  readonly max_vpn: string;
  /** Distinct page-table pages that a 4-level walk needs. */
  readonly tables: {
    readonly pt: number;
    readonly pd: number;
    readonly pdpt: number;
    readonly pml4: number;
  };
  /** References in a window. */
  readonly window: number;
  /** For each window: distinct pages touched, and written. */
  readonly windows: readonly (readonly [number, number])[];
}

/** Options of streamInfo(). */
export interface StreamInfoOptions {
  /** References in a window; default 100,000. */
  readonly window?: number;
  readonly progress?: Progress | undefined;
}

/** Bits of a page number. */
const VPN_BITS = 52;

/** Page number of a key: above what the key holds, a canonical address repeats its last bit. */
function vpnOf(key: bigint): bigint {
  return BigInt.asUintN(VPN_BITS, BigInt.asIntN(PAGES_KEY_PROCESS_SHIFT, key));
}

function vpnRange(core: Core, index: number, npages: number): [bigint, bigint] {
  const keys = core.mem.load32(index + PAGES_KEYS);
  let low = 1n << BigInt(VPN_BITS);
  let high = -1n;
  for (let i = 0; i < npages; i++) {
    const vpn = vpnOf(core.mem.loadBig(keys + i * 8));
    if (vpn < low) low = vpn;
    if (vpn > high) high = vpn;
  }
  return [low, high];
}

/** Counts what `trace info` prints. */
export async function streamInfo(
  workload: Workload,
  options: StreamInfoOptions = {},
): Promise<StreamInfo> {
  const window = options.window ?? 100_000;
  const core = loadCore();
  const { x, mem } = core;
  const index = x.pagesNew() >>> 0;
  const info = x.infoNew() >>> 0;
  const windows: [number, number][] = [];
  let inWindow = 0;
  const endWindow = () => {
    const touched = mem.load32(info + INFO_WINDOW_TOUCHED);
    windows.push([touched, mem.load32(info + INFO_WINDOW_WRITTEN)]);
    x.infoNextWindow(info);
    inWindow = 0;
  };
  const source = workload.open(core);
  const format = source instanceof TraceSource ? source.format.name : undefined;
  let crossings = 0;
  let foreign = 0;
  const unique = await eachBatch(
    core,
    source,
    index,
    (refs, count, npages) => {
      for (let done = 0; done < count;) {
        const n = Math.min(count - done, window - inWindow);
        x.infoFeed(info, refs + done * 4, n, npages);
        done += n;
        inWindow += n;
        if (inWindow === window) endWindow();
      }
      if (!(source instanceof TraceSource)) return;
      crossings = source.crossings;
      foreign = source.foreignLines;
    },
    options.progress,
  );
  if (inWindow > 0) endWindow();
  const [reads, writes, fetches] = [0, 8, 16].map((o) => mem.load64(info + INFO_KINDS + o)) as [
    number,
    number,
    number,
  ];
  const [low, high] = vpnRange(core, index, unique);
  return {
    ...(format === undefined ? {} : { format }),
    refs: reads + writes + fetches,
    reads,
    writes,
    fetches,
    unique_pages: unique,
    unique_written_pages: mem.load32(info + INFO_PAGES_WRITTEN),
    unique_fetched_pages: mem.load32(info + INFO_PAGES_FETCHED),
    page_crossing_accesses: crossings,
    foreign_lines: foreign,
    min_vpn: `0x${low.toString(16)}`,
    max_vpn: `0x${high.toString(16)}`,
    tables: {
      pt: x.pagesTables(index, 9) >>> 0,
      pd: x.pagesTables(index, 18) >>> 0,
      pdpt: x.pagesTables(index, 27) >>> 0,
      pml4: x.pagesTables(index, 36) >>> 0,
    },
    window,
    windows,
  };
}

/** Replacement algorithms of missRatioCurve(). */
export const MRC_ALGORITHMS = ['lru', 'fifo', 'clock', 'clock_ref0', 'opt'] as const;
export type MrcAlgorithm = (typeof MRC_ALGORITHMS)[number];

const POLICY_IDS: Record<Exclude<MrcAlgorithm, 'opt'>, number> = {
  fifo: REPLACE_FIFO,
  clock: REPLACE_CLOCK,
  clock_ref0: REPLACE_CLOCK_REF0,
  lru: REPLACE_LRU,
};

/** Faults and dirty write-backs of one algorithm at one number of frames. */
export interface MrcPoint {
  readonly frames: number;
  /** Pages loaded, first touches included. */
  readonly faults: number;
  /** Dirty pages evicted; not given for OPT, where it depends on the choice among ties. */
  readonly writebacks: number | undefined;
}

/** Fault counts by number of frames. */
export interface MissRatioCurve {
  readonly refs: number;
  readonly unique_pages: number;
  readonly results: Partial<Record<MrcAlgorithm, readonly MrcPoint[]>>;
}

/** Options of missRatioCurve(). */
export interface MrcOptions {
  /** Algorithms; default all. */
  readonly algorithms?: readonly MrcAlgorithm[];
  /** Frame counts; default the powers of two from 4 up to the footprint. */
  readonly frames?: readonly number[];
  readonly progress?: Progress | undefined;
}

const FRAMES_MAX = 2 ** 28;

function checkFrames(frames: readonly number[]): void {
  for (const n of frames) {
    if (!Number.isInteger(n) || n < 1 || n > FRAMES_MAX) {
      throw new UsageError(`number of frames ${n}: want a whole number from 1 to ${FRAMES_MAX}`);
    }
  }
}

/** Powers of two from 4 to the first that holds all pages. */
function defaultFrames(pages: number): number[] {
  const frames = [4];
  while ((frames.at(-1) as number) < pages) frames.push((frames.at(-1) as number) * 2);
  return frames;
}

interface Simulator {
  readonly algorithm: MrcAlgorithm;
  readonly frames: number;
  readonly at: number;
}

/**
 * Counts the faults that a workload causes under each algorithm with each number of frames. Reads
 * the workload once; once more for OPT, and once before when no frame counts are given. Memory is
 * proportional to the pages, and for OPT also 1/8 byte a reference and 4 bytes a miss of an LRU
 * with the smallest number of frames (at most 8).
 */
export async function missRatioCurve(
  workload: Workload,
  options: MrcOptions = {},
): Promise<MissRatioCurve> {
  const algorithms = options.algorithms ?? MRC_ALGORITHMS;
  const { progress } = options;
  const frames = [
    ...new Set(options.frames ?? defaultFrames(await footprint(workload, progress))),
  ].toSorted((a, b) => a - b);
  checkFrames(frames);
  const core = loadCore();
  const { x, mem } = core;
  const index = x.pagesNew() >>> 0;
  const simulators: Simulator[] = [];
  for (const algorithm of algorithms) {
    if (algorithm === 'opt') continue;
    for (const n of frames) {
      const at = x.replaceNew(POLICY_IDS[algorithm], n) >>> 0;
      simulators.push({ algorithm, frames: n, at });
    }
  }
  const withOpt = algorithms.includes('opt') && frames.length > 0;
  const opt = withOpt ? x.optNew(frames[0] as number) >>> 0 : 0;
  let refs = 0;
  const feed = (ptr: number, count: number, npages: number) => {
    for (const { at } of simulators) x.replaceFeed(at, ptr, count, npages);
    if (withOpt && !x.optScan(opt, ptr, count, npages)) {
      throw new DataError(`${workload.name}: OPT takes at most 2^32 - 2 references`);
    }
    refs += count;
  };
  const unique = await eachBatch(core, workload.open(core), index, feed, progress);
  if (withOpt) {
    x.optSeal(opt, unique);
    for (const n of frames) {
      simulators.push({ algorithm: 'opt', frames: n, at: x.optAdd(opt, n, unique) >>> 0 });
    }
    const again = (ptr: number, count: number) => x.optFeed(opt, ptr, count);
    await eachBatch(core, workload.open(core), index, again, progress);
  }
  const results: Partial<Record<MrcAlgorithm, MrcPoint[]>> = {};
  for (const algorithm of algorithms) results[algorithm] = [];
  for (const { algorithm, frames: n, at } of simulators) {
    const faults = mem.load64(at + REPLACE_FAULTS);
    const writebacks = algorithm === 'opt' ? undefined : mem.load64(at + REPLACE_WRITEBACKS);
    results[algorithm]?.push({ frames: n, faults, writebacks });
  }
  return { refs, unique_pages: unique, results };
}
