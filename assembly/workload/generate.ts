// Synthetic workloads: a page of parameters and state each, records on demand. All randomness comes
// from the generator in that page, so a workload is a function of its parameters and its seed.
//
// The kinds that are one process are functions from state to the next page; those with control
// records (fork, context switch, unmap) are in processes.ts.

import {
  ACCESS_FETCH,
  ACCESS_WRITE,
  GEN_BASE,
  GEN_BURST,
  GEN_CODE,
  GEN_DONE,
  GEN_KIND,
  GEN_KIND_ACCESS_TRACKING,
  GEN_KIND_CHASE,
  GEN_KIND_CHURN,
  GEN_KIND_FORK_SERVER,
  GEN_KIND_HOT_COLD,
  GEN_KIND_SEQUENTIAL,
  GEN_KIND_SHIFTING,
  GEN_KIND_SWITCH,
  GEN_KIND_UNIFORM,
  GEN_KIND_ZIPF,
  GEN_PAGES,
  GEN_PARAMETERS,
  GEN_PRIVATE,
  GEN_REFS,
  GEN_RNG,
  GEN_WRITE,
} from '../abi';
import { arenaAlloc, pageAlloc, pageFree } from '../layout';
import { rngBelow, rngSeed, rngU32 } from '../random';
import { aliasDraw, zipfTable } from './alias';
import { nextAccessTracking, nextChurn, nextForkServer, nextSwitch } from './processes';

/** First page of the code of a workload that has some. */
const CODE_BASE: u64 = 0x400;
/** Data references between two code pages. */
const CODE_RUN_SHIFT: u64 = 6;

// Private state of the kinds of one process.
/** Page offset of the burst under way, and references left in it. */
const BURST_PAGE: usize = <usize>GEN_PRIVATE;
const BURST_LEFT: usize = <usize>GEN_PRIVATE + 4;
/** Where a scan or a chase is. */
const CURSOR: usize = <usize>GEN_PRIVATE + 8;
/** Start of the shifting working set; references until its next move. */
const WINDOW: usize = <usize>GEN_PRIVATE + 12;
const UNTIL_MOVE: usize = <usize>GEN_PRIVATE + 16;
/** Table of the kind: a permutation of the pages, or their successors. */
const TABLE: usize = <usize>GEN_PRIVATE + 20;
/** Alias table of Zipf's law. */
const ALIAS: usize = <usize>GEN_PRIVATE + 24;

/** A workload with all parameters 0; the host stores them and calls genStart(). */
export function genNew(): u32 {
  return <u32>pageAlloc();
}

/** Frees a workload; its tables stay in the arena. */
export function genFree(gen: usize): void {
  pageFree(gen);
}

/** Parameter `i` of the kind. */
export function parameter(gen: usize, i: usize): u32 {
  return load<u32>(gen + <usize>GEN_PARAMETERS + (i << 2));
}

/** Makes the tables; the parameters are final. */
export function genStart(gen: usize, seedLo: u32, seedHi: u32): void {
  const rng = gen + <usize>GEN_RNG;
  rngSeed(rng, seedLo, seedHi);
  const kind = load<u32>(gen, GEN_KIND);
  const pages = load<u32>(gen, GEN_PAGES);
  if (kind == GEN_KIND_ZIPF) {
    store<u32>(gen + ALIAS, <u32>zipfTable(pages, load<f64>(gen, GEN_PARAMETERS)));
    store<u32>(gen + TABLE, <u32>shuffled(pages, rng, false));
  }
  if (kind == GEN_KIND_CHASE) store<u32>(gen + TABLE, <u32>shuffled(pages, rng, true));
}

/** A random permutation of 0 … n-1, or (`cycle`, Sattolo's) one that is a single cycle. */
function shuffled(n: u32, rng: usize, cycle: bool): usize {
  const table = arenaAlloc((<usize>n) << 2);
  for (let i: u32 = 0; i < n; i++) store<u32>(table + ((<usize>i) << 2), i);
  for (let i = n - 1; i > 0; i--) {
    const j = rngBelow(rng, cycle ? i : i + 1);
    const a = table + ((<usize>i) << 2);
    const b = table + ((<usize>j) << 2);
    const value = load<u32>(a);
    store<u32>(a, load<u32>(b));
    store<u32>(b, value);
  }
  return table;
}

/** True for a draw that a share (fraction of 2^32) admits. */
export function admits(gen: usize, share: u32): bool {
  if (share == 0 || share == 0xffffffff) return share != 0;
  return rngU32(gen + <usize>GEN_RNG) < share;
}

function nextSequential(gen: usize, pages: u32): u32 {
  const at = load<u32>(gen + CURSOR);
  const next = (<u64>at + <u64>parameter(gen, 0)) % <u64>pages;
  store<u32>(gen + CURSOR, <u32>next);
  return at;
}

function nextHotCold(gen: usize, pages: u32): u32 {
  const hot = parameter(gen, 0);
  if (admits(gen, parameter(gen, 1))) return rngBelow(gen + <usize>GEN_RNG, hot);
  const cold = load<u32>(gen + CURSOR);
  store<u32>(gen + CURSOR, cold + 1 >= pages - hot ? 0 : cold + 1);
  return hot + cold;
}

function nextShifting(gen: usize, pages: u32): u32 {
  let left = load<u32>(gen + UNTIL_MOVE);
  let window = load<u32>(gen + WINDOW);
  if (left == 0) {
    left = parameter(gen, 1);
    // The first window lies at the first page.
    if (load<u64>(gen, GEN_DONE) != 0)
      window = <u32>((<u64>window + <u64>parameter(gen, 2)) % <u64>pages);
    store<u32>(gen + WINDOW, window);
  }
  store<u32>(gen + UNTIL_MOVE, left - 1);
  const offset = rngBelow(gen + <usize>GEN_RNG, parameter(gen, 0));
  return <u32>((<u64>window + <u64>offset) % <u64>pages);
}

function nextChase(gen: usize): u32 {
  const at = load<u32>(gen + CURSOR);
  store<u32>(gen + CURSOR, load<u32>(<usize>load<u32>(gen + TABLE) + ((<usize>at) << 2)));
  return at;
}

function nextPage(gen: usize, kind: u32, pages: u32): u32 {
  const rng = gen + <usize>GEN_RNG;
  if (kind == GEN_KIND_SEQUENTIAL) return nextSequential(gen, pages);
  if (kind == GEN_KIND_UNIFORM) return rngBelow(rng, pages);
  if (kind == GEN_KIND_ZIPF) {
    const rank = aliasDraw(<usize>load<u32>(gen + ALIAS), pages, rng);
    return load<u32>(<usize>load<u32>(gen + TABLE) + ((<usize>rank) << 2));
  }
  if (kind == GEN_KIND_HOT_COLD) return nextHotCold(gen, pages);
  if (kind == GEN_KIND_SHIFTING) return nextShifting(gen, pages);
  assert(kind == GEN_KIND_CHASE, 'the kind is one of one process');
  return nextChase(gen);
}

/** Writes a reference (and the fetch before it); returns the end of the output. */
export function emitReference(gen: usize, out: usize, vpn: u64, kind: u32): usize {
  const done = load<u64>(gen, GEN_DONE);
  const code = load<u32>(gen, GEN_CODE);
  if (code != 0) {
    const page = CODE_BASE + ((done >> CODE_RUN_SHIFT) % <u64>code);
    store<u64>(out, (page << 12) | (<u64>ACCESS_FETCH));
    out += 8;
  }
  store<u64>(out, (vpn << 12) | (<u64>kind));
  store<u64>(gen, done + 1, GEN_DONE);
  return out + 8;
}

function nextOfOneProcess(gen: usize, kind: u32, out: usize): usize {
  let left = load<u32>(gen + BURST_LEFT);
  let page = load<u32>(gen + BURST_PAGE);
  if (left == 0) {
    page = nextPage(gen, kind, load<u32>(gen, GEN_PAGES));
    store<u32>(gen + BURST_PAGE, page);
    left = load<u32>(gen, GEN_BURST);
  }
  store<u32>(gen + BURST_LEFT, left - 1);
  const access = admits(gen, load<u32>(gen, GEN_WRITE)) ? ACCESS_WRITE : 0;
  return emitReference(gen, out, <u64>load<u32>(gen, GEN_BASE) + <u64>page, access);
}

/** Writes at most `max` (at least 8) records; returns how many, 0 at the end. */
export function genNext(gen: usize, out: usize, max: u32): u32 {
  const kind = load<u32>(gen, GEN_KIND);
  const refs = load<u64>(gen, GEN_REFS);
  // One step writes at most four records.
  const limit = out + ((<usize>(max - 3)) << 3);
  let at = out;
  while (at < limit && load<u64>(gen, GEN_DONE) < refs) {
    if (kind <= GEN_KIND_CHASE) at = nextOfOneProcess(gen, kind, at);
    else if (kind == GEN_KIND_FORK_SERVER) at = nextForkServer(gen, at);
    else if (kind == GEN_KIND_SWITCH) at = nextSwitch(gen, at);
    else if (kind == GEN_KIND_CHURN) at = nextChurn(gen, at);
    else {
      assert(kind == GEN_KIND_ACCESS_TRACKING, 'the kind is known');
      at = nextAccessTracking(gen, at);
    }
  }
  return <u32>((at - out) >> 3);
}
