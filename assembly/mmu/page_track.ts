// Write-tracking counts of gfns (cf. arch/x86/kvm/mmu/page_track.c): how many shadowed upper tables lie
// in a page. Few pages of a guest hold tables, so the counts, a u8 a gfn, lie in blocks of 512 that are
// made when the first gfn of a block is tracked.

import { SLOT_BASE_GFN, SLOT_NPAGES, SLOT_TRACK } from '../abi';
import { arenaAlloc, blocksOfPage } from '../layout';
import { Gfn } from '../types';

const BLOCK_SHIFT: u32 = 9;
const BLOCK: usize = 512;

/** Blocks that are not in use (0: none); the link is the first word. */
let freeBlocks: usize = 0;

function blockAlloc(): usize {
  if (freeBlocks == 0) freeBlocks = blocksOfPage(BLOCK, 0);
  const block = freeBlocks;
  freeBlocks = <usize>load<u32>(block);
  memory.fill(block, 0, BLOCK);
  return block;
}

/** Blocks that a slot of `npages` needs at most, wherever it begins. */
function blocksOf(npages: u32): u32 {
  return ((npages + BLOCK - 1) >> BLOCK_SHIFT) + 1;
}

/** Gives a new slot its table of blocks. */
export function trackAlloc(slot: usize, npages: u32): void {
  store<u32>(slot, <u32>arenaAlloc((<usize>blocksOf(npages)) << 2), SLOT_TRACK);
}

/** Nothing of a slot is tracked any more. */
export function trackClear(slot: usize): void {
  const table = <usize>load<u32>(slot, SLOT_TRACK);
  const blocks = blocksOf(load<u32>(slot, SLOT_NPAGES));
  for (let i: u32 = 0; i < blocks; i++) {
    const at = table + ((<usize>i) << 2);
    const block = <usize>load<u32>(at);
    if (block == 0) continue;
    store<u32>(at, 0);
    store<u32>(block, <u32>freeBlocks);
    freeBlocks = block;
  }
}

/** Address of the word that names the block of a gfn. */
function blockp(slot: usize, gfn: Gfn): usize {
  const block = (gfn >> BLOCK_SHIFT) - (load<u32>(slot, SLOT_BASE_GFN) >> BLOCK_SHIFT);
  return <usize>load<u32>(slot, SLOT_TRACK) + ((<usize>block) << 2);
}

/** Shadowed upper tables in a gfn of the slot. */
export function gfnTracked(slot: usize, gfn: Gfn): u32 {
  const block = <usize>load<u32>(blockp(slot, gfn));
  return block == 0 ? 0 : <u32>load<u8>(block + ((<usize>gfn) & (BLOCK - 1)));
}

/** kvm_slot_page_track_add_page and …_remove_page: one table more or fewer. */
export function gfnTrack(slot: usize, gfn: Gfn, delta: i32): void {
  const at = blockp(slot, gfn);
  if (load<u32>(at) == 0) store<u32>(at, <u32>blockAlloc());
  const count = <usize>load<u32>(at) + ((<usize>gfn) & (BLOCK - 1));
  assert(<i32>load<u8>(count) + delta >= 0, 'a shadowed upper table is write-tracked');
  store<u8>(count, <u8>(<i32>load<u8>(count) + delta));
}
