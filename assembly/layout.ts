// The memory map and its two allocators.
//
//   0 ┌───────────────────────────────┐
//     │ static data: counters, config │  compiled in (memory.data)
//     ├───────────────────────────────┤ __heap_base
//     │ arena: fixed tables           │  arenaAlloc(): frame table, rmaps of a memslot, TLBs, …
//     │ 4 KiB pages                   │  pageAlloc(): guest table contents, shadow tables, host
//     │   (interleaved with the above)│  page tables; freed pages are chained and reused
//     └───────────────────────────────┘ memory.size()
//
// Both only ever take from one bump pointer, so the layout is a function of the calls alone and a
// run is repeatable bit for bit. Memory grows by doubling, at most to the 4 GiB of wasm32.

import { PAGE_SIZE } from './abi';

const PAGE_MASK: usize = <usize>PAGE_SIZE - 1;
/** Bytes in a Wasm page. */
const WASM_PAGE: usize = 65536;

/** Next free byte of the arena. */
let arenaTop: usize = 0;
/** First page of the chain of free 4 KiB pages (0: none); the link is the page's first word. */
let freePages: usize = 0;
/** 4 KiB pages handed out and not returned. */
let pagesInUse: u32 = 0;

function reserve(bytes: usize): usize {
  if (arenaTop == 0) arenaTop = (__heap_base + PAGE_MASK) & ~PAGE_MASK;
  const at = arenaTop;
  const end = <u64>at + <u64>bytes;
  assert(end <= <u64>0xffff0000, 'the 4 GiB of linear memory hold all tables');
  const have = <u64>memory.size() * <u64>WASM_PAGE;
  if (end > have) {
    const need = <i32>((end - have + <u64>WASM_PAGE - 1) / <u64>WASM_PAGE);
    // Growing costs the engine milliseconds, untouched pages nothing: 16 MiB at least.
    let step = max<i32>(need, max<i32>(256, min<i32>(memory.size(), 4096)));
    if (memory.grow(step) < 0) {
      step = need;
      if (memory.grow(step) < 0) abort('out of linear memory: lower the guest or host size');
    }
  }
  arenaTop = <usize>end;
  return at;
}

/** `bytes` of zeroed memory, page-aligned, that stay until the instance goes. */
export function arenaAlloc(bytes: usize): usize {
  return reserve((bytes + PAGE_MASK) & ~PAGE_MASK);
}

/** `bytes` (a power of two ≥ 4 KiB) of zeroed memory, aligned to their size; the gap before them goes
 *  to the chain of free pages. */
export function arenaAllocAligned(bytes: usize): usize {
  while (true) {
    const page = reserve(<usize>PAGE_SIZE);
    if ((page & (bytes - 1)) == 0) {
      reserve(bytes - <usize>PAGE_SIZE);
      return page;
    }
    store<u32>(page, <u32>freePages);
    freePages = page;
  }
}

/** A zeroed 4 KiB page. */
export function pageAlloc(): usize {
  pagesInUse++;
  const page = freePages;
  if (page == 0) return reserve(<usize>PAGE_SIZE);
  freePages = load<u32>(page);
  memory.fill(page, 0, <usize>PAGE_SIZE);
  return page;
}

/** The blocks of a new page as a list: its first block, each with the address of the next one at `link`, 0 in the last. */
export function blocksOfPage(bytes: usize, link: usize): usize {
  const page = pageAlloc();
  let first: usize = 0;
  for (let at = page + <usize>PAGE_SIZE - bytes; at >= page; at -= bytes) {
    store<u32>(at + link, <u32>first);
    first = at;
  }
  return first;
}

/** Gives a page of pageAlloc() back. */
export function pageFree(page: usize): void {
  assert((page & PAGE_MASK) == 0 && page != 0, 'a page of pageAlloc() is aligned');
  store<u32>(page, <u32>freePages);
  freePages = page;
  pagesInUse--;
}

/** End of the used part of linear memory, for snapshots. */
export function memoryTop(): u32 {
  return <u32>arenaTop;
}

/** 4 KiB pages of pageAlloc() in use. */
export function tablePages(): u32 {
  return pagesInUse;
}
