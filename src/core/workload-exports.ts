// The core's exports of random numbers, traces and workloads; part of exports.ts.

/** Exports of random.ts and trace/: owner of traces, workloads and yardsticks. */
export interface WorkloadExports {
  /** Address of the emulator's own generator state. */
  rngPtr(): number;
  /** Fills a generator state (RNG_STATE_SIZE bytes) from a 64-bit seed. */
  rngSeed(state: number, seedLo: number, seedHi: number): void;
  /** The next 32 bits of a generator. */
  rngU32(state: number): number;
  /** A number in [0, n), without bias. */
  rngBelow(state: number, n: number): number;
  /** A decoder or encoder of a format (TRACE_FORMAT_*); its fields are TRACE_* of the abi. */
  traceOpen(format: number): number;
  /** Frees a decoder or encoder. */
  traceClose(decoder: number): void;
  /** Decodes a chunk into access records; returns how many. `last` is 1 with the last chunk. */
  traceDecode(
    decoder: number,
    input: number,
    length: number,
    last: number,
    out: number,
    outMax: number,
  ): number;
  /** Encodes access records; returns the bytes written, at most TRACE_ENCODED_MAX a record. */
  traceEncode(encoder: number, records: number, count: number, out: number): number;
  /** Writes what ends an encoded trace; returns the bytes. */
  traceEncodeEnd(encoder: number, out: number): number;
  /** Writes the header of our own format; returns the bytes. */
  traceEncodeHeader(out: number, recordsLo: number, recordsHi: number): number;
  /** A page index: numbers the distinct (process, page) pairs of a stream; PAGES_* of the abi. */
  pagesNew(): number;
  /** Turns access records into pagerefs (u32: index << PAGEREF_SHIFT | kind); returns how many. */
  pagesMap(index: number, records: number, count: number, out: number): number;
  /** Number of distinct tables over the pages: 9 bits for page tables, 18, 27, 36. */
  pagesTables(index: number, bits: number): number;
  /** Figures of a stream, INFO_* of the abi. */
  infoNew(): number;
  /** Starts the next window. */
  infoNextWindow(info: number): void;
  /** Counts pagerefs to pages below `npages`. */
  infoFeed(info: number, refs: number, count: number, npages: number): void;
  /** A simulator of a replacement policy (REPLACE_*); its results are REPLACE_FAULTS and so on. */
  replaceNew(policy: number, frames: number): number;
  /** Runs pagerefs to pages below `npages`. */
  replaceFeed(sim: number, refs: number, count: number, npages: number): void;
  /** A next-use index for OPT with at least `minFrames` frames. */
  optNew(minFrames: number): number;
  /** OPT's first pass; 0 when the stream is too long. */
  optScan(opt: number, refs: number, count: number, npages: number): number;
  /** Ends OPT's first pass. */
  optSeal(opt: number, npages: number): void;
  /** A simulator of OPT's second pass; its result is REPLACE_FAULTS. */
  optAdd(opt: number, frames: number, npages: number): number;
  /** OPT's second pass. */
  optFeed(opt: number, refs: number, count: number): void;
  /** A synthetic workload; the host stores its GEN_* parameters and calls genStart(). */
  genNew(): number;
  /** Frees a synthetic workload. */
  genFree(gen: number): void;
  /** Makes the tables of a synthetic workload. */
  genStart(gen: number, seedLo: number, seedHi: number): void;
  /** The next records of a synthetic workload, at most `max` (at least 8); 0 at the end. */
  genNext(gen: number, out: number, max: number): number;
}
