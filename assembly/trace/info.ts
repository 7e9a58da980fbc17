// What `trace info` says of a stream: references by kind, pages by kind, and the pages touched and
// written in each window of references, which is what a scan that tests and clears every A and D
// bit at the window's end would count.

import {
  ACCESS_FETCH,
  ACCESS_WRITE,
  INFO_KINDS,
  INFO_PAGES_FETCHED,
  INFO_PAGES_WRITTEN,
  INFO_WINDOW_TOUCHED,
  INFO_WINDOW_WRITTEN,
  PAGEREF_SHIFT,
} from '../abi';
import { pageAlloc } from '../layout';
import { growArray } from './pages';

// Private: the current window's number, and per page
//   u32 last window touched in | u32 last window written in | u32 bit 0 written, bit 1 fetched | 0
const WINDOW: usize = 48;
const CAPACITY: usize = 52;
const PAGES: usize = 56;
const PAGE_SHIFT: usize = 4;

/** Figures of no references. */
export function infoNew(): u32 {
  const info = pageAlloc();
  store<u32>(info + WINDOW, 1);
  return <u32>info;
}

/** Starts the next window. */
export function infoNextWindow(info: usize): void {
  store<u32>(info + WINDOW, load<u32>(info + WINDOW) + 1);
  store<u32>(info, 0, INFO_WINDOW_TOUCHED);
  store<u32>(info, 0, INFO_WINDOW_WRITTEN);
}

function reserve(info: usize, npages: u32): void {
  const capacity = load<u32>(info + CAPACITY);
  if (npages <= capacity) return;
  const larger = max<u32>(npages, max<u32>(capacity << 1, 1024));
  const old = <usize>load<u32>(info + PAGES);
  const grown = growArray(old, (<usize>capacity) << PAGE_SHIFT, (<usize>larger) << PAGE_SHIFT);
  store<u32>(info + PAGES, <u32>grown);
  store<u32>(info + CAPACITY, larger);
}

/** Counts `count` pagerefs to pages below `npages`. */
export function infoFeed(info: usize, refs: usize, count: u32, npages: u32): void {
  reserve(info, npages);
  const pages = <usize>load<u32>(info + PAGES);
  const window = load<u32>(info + WINDOW);
  const end = refs + ((<usize>count) << 2);
  for (let p = refs; p < end; p += 4) {
    const ref = load<u32>(p);
    const kind = ref & 3;
    const page = pages + ((<usize>(ref >> PAGEREF_SHIFT)) << PAGE_SHIFT);
    const counter = info + <usize>INFO_KINDS + ((<usize>kind) << 3);
    store<u64>(counter, load<u64>(counter) + 1);
    if (load<u32>(page) != window) {
      store<u32>(page, window);
      store<u32>(info, load<u32>(info, INFO_WINDOW_TOUCHED) + 1, INFO_WINDOW_TOUCHED);
    }
    if (kind == ACCESS_WRITE && load<u32>(page, 4) != window) {
      store<u32>(page, window, 4);
      store<u32>(info, load<u32>(info, INFO_WINDOW_WRITTEN) + 1, INFO_WINDOW_WRITTEN);
      markPage(info, page, 1, INFO_PAGES_WRITTEN);
    }
    if (kind == ACCESS_FETCH) markPage(info, page, 2, INFO_PAGES_FETCHED);
  }
}

function markPage(info: usize, page: usize, flag: u32, counter: u32): void {
  const flags = load<u32>(page, 8);
  if ((flags & flag) != 0) return;
  store<u32>(page, flags | flag, 8);
  const at = info + <usize>counter;
  store<u32>(at, load<u32>(at) + 1);
}
