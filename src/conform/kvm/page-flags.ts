// Flags of a frame as /proc/kpageflags tells them.

import * as abi from '../../../assembly/abi.ts';

const FLAG_NAMES: readonly [name: string, bit: number][] = [
  ['referenced', abi.PG_REFERENCED],
  ['uptodate', 0],
  ['dirty', abi.PG_DIRTY],
  ['lru', abi.PG_LRU],
  ['active', abi.PG_ACTIVE],
  ['anon', abi.PG_ANON],
  ['swapcache', abi.PG_SWAPCACHE],
  ['swapbacked', abi.PG_SWAPBACKED],
  ['compound_head', abi.PG_HUGE],
  ['unevictable', abi.PG_UNEVICTABLE],
  ['ksm', abi.PG_KSM],
  ['thp', abi.PG_HUGE],
  ['mlocked', abi.PG_UNEVICTABLE],
  ['mappedtodisk', abi.PG_ANON_EXCLUSIVE],
];

/** Whether a frame is part of a compound page but not its head. */
function isTail(pfn: number, flags: number): boolean {
  return (flags & abi.PG_HUGE) !== 0 && pfn % abi.HPAGE_PMD_NR !== 0;
}

/** Flags of a frame of a zero page. */
export function zeroFlags(pfn: number, flags: number): string[] {
  const compound = isTail(pfn, flags) ? 'compound_tail' : 'compound_head';
  return [
    ...(flags & abi.PG_REFERENCED ? ['referenced'] : []),
    ...(flags & abi.PG_HUGE ? [compound, 'thp'] : []),
    'zero_page',
  ];
}

/** Flags as /proc/kpageflags tells them: of a tail it knows little. */
export function flagNames(pfn: number, flags: number): string[] {
  if (isTail(pfn, flags)) {
    const exclusive = (flags & abi.PG_ANON_EXCLUSIVE) !== 0;
    return ['anon', 'compound_tail', 'thp', ...(exclusive ? ['mappedtodisk'] : [])];
  }
  const anon = (flags & abi.PG_ANON) !== 0;
  // A mlocked page becomes unevictable when it gets to its list.
  const pending = (flags & abi.PG_LRU_PENDING) !== 0;
  return FLAG_NAMES.filter(([name, bit]) => name === 'uptodate' || (flags & bit) !== 0)
    .map(([name]) => name)
    .filter((name) => name !== 'unevictable' || !pending)
    .filter((name) => anon || name !== 'mappedtodisk');
}

/** Flags as /proc/kpageflags tells them of a page of 6.10 or later: `flags` are those of its first frame. */
export function folioFlagNames(pfn: number, flags: number): string[] {
  const tail = isTail(pfn, flags);
  const anon = (flags & abi.PG_ANON) !== 0;
  return flagNames(tail ? 0 : pfn, anon ? flags | abi.PG_KSM : flags).map((name) =>
    tail && name === 'compound_head' ? 'compound_tail' : name,
  );
}
