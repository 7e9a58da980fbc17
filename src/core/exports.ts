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
  /** Turns the core's part of the event stream on (1) or off (0). */
  setTracing(on: number): void;
}

/** All exports of the core. */
export interface CoreExports extends BaseExports {}
