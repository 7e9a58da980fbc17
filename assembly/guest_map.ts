// The guest kernel's own record of its address spaces: which gfn lies under which virtual page,
// independently of the guest's tables and of the shadow's. The guest kernel writes it; whoever must
// not believe the tables reads it (assembly/verify.ts, the guest kernel's gfnOf()).
//
// One radix tree an address space, of four levels of 4 KiB tables with 1,024 words each; a leaf word
// is gfn + 1, 0 for none.

import { arenaAlloc, pageAlloc, pageFree } from './layout';
import { Gfn } from './types';

/** Levels of the radix tree over 36-bit page numbers, 10 bits each. */
const RADIX_BITS: u32 = 10;
const RADIX_MASK: u32 = 1023;
/** Address spaces that can be told apart. */
const MAX_SPACES: u32 = 4096;

/** Roots of the radix trees, one u32 an address space. */
let roots: usize = 0;

/** Makes room for the roots. */
export function guestMapInit(): void {
  roots = arenaAlloc((<usize>MAX_SPACES) << 2);
}

/** Address of the leaf word of a page, or 0 when the tree has no such leaf and `make` is false. */
function leafOf(space: u32, vpnHi: u32, vpnLo: u32, make: bool): usize {
  // vpn = vpnHi : vpnLo, 36 bits; the top level takes 6 of them.
  let slot = roots + ((<usize>space) << 2);
  const top = (vpnHi << 2) | (vpnLo >> 30);
  let level: u32 = 4;
  while (level > 0) {
    level--;
    let table = <usize>load<u32>(slot);
    if (table == 0) {
      if (!make) return 0;
      table = pageAlloc();
      store<u32>(slot, <u32>table);
    }
    const index = level == 3 ? top & RADIX_MASK : (vpnLo >> (level * RADIX_BITS)) & RADIX_MASK;
    slot = table + ((<usize>index) << 2);
  }
  return slot;
}

/** Virtual page (vpnHi:vpnLo, 36 bits) of a space now lies on `gfn`; 0xffffffff: on none. */
export function guestMapSet(space: u32, vpnHi: u32, vpnLo: u32, gfn: Gfn): void {
  if (roots == 0) return;
  assert(space < MAX_SPACES, 'a guest has at most 4096 address spaces at a time');
  const leaf = leafOf(space, vpnHi, vpnLo, gfn != 0xffffffff);
  if (leaf != 0) store<u32>(leaf, gfn + 1);
}

/** gfn under a virtual page of a space, 0xffffffff when none. */
export function guestMapGet(space: u32, vpnHi: u32, vpnLo: u32): Gfn {
  if (roots == 0) return 0xffffffff;
  const leaf = leafOf(space, vpnHi, vpnLo, false);
  return leaf == 0 ? 0xffffffff : load<u32>(leaf) - 1;
}

function freeTree(table: usize, level: u32): void {
  if (level > 0) {
    for (let i: usize = 0; i < 4096; i += 4) {
      const child = <usize>load<u32>(table + i);
      if (child != 0) freeTree(child, level - 1);
    }
  }
  pageFree(table);
}

/** Forgets all pages of an address space. */
export function guestMapDrop(space: u32): void {
  if (roots == 0) return;
  const slot = roots + ((<usize>space) << 2);
  const table = <usize>load<u32>(slot);
  if (table == 0) return;
  freeTree(table, 3);
  store<u32>(slot, 0);
}
