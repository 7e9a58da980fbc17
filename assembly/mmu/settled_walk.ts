// The guest walk that succeeds and has nothing to set, of 4- and 5-level paging: what nearly every fault
// makes on a straight run. guest_walk.ts has the walk in all its cases; this one ends where anything is
// not plain, and that one begins anew.

import {
  ACCESS_FETCH,
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  ACC_ALL,
  ACC_EXEC_MASK,
  ACC_USER_MASK,
  ACC_WRITE_MASK,
  CR4_PKE,
  FRAME_CONTENT,
  HPTE_PFN_SHIFT,
  NO_GFN,
  PAGE_SHIFT,
  VCPU_CR3,
  VCPU_CR4,
  VCPU_WALK_INDEX,
  VCPU_WALK_LEVEL,
  VCPU_WALK_LEVEL_ACCESS,
  VCPU_WALK_PKEY,
  VCPU_WALK_PTE,
  VCPU_WALK_PTE_ACCESS,
  VCPU_WALK_PT_ACCESS,
  VCPU_WALK_TABLE_GFN,
  WALK_OK,
} from '../abi';
import { framePtr } from '../mm/frame';
import { ptepEpoch } from '../mm/pgtable';
import { gpteAccess, gptePkey, reservedLeafBits } from './guest_pte';
import { finish, frameToGfn, storeTranslation, translateLeaf } from './guest_walk';
import { PT64_BASE_MASK, PT_ACCESSED, PT_DIRTY, PT_PAGE_SIZE, PT_PRESENT } from './pte_bits';
import { pteContent, tableContent, tablePtep } from './walk_cache';

/** What every entry of a settled walk has set. */
const SETTLED: u64 = PT_PRESENT | PT_ACCESSED;

/** Reads the entry of a settled walk in the table `gfn`; 0: the walk is none. */
function settledGpte(vcpu: usize, level: u32, gva: u64, gfn: u32, access: u32, refuse: u64): u64 {
  const table = tableContent(gfn);
  if (table == 0) return 0;
  const index = (<u32>(gva >> (<u64>(PAGE_SHIFT + 9 * (level - 1))))) & 511;
  const gpte = load<u64>(table + ((<usize>index) << 3));
  const perLevel = vcpu + ((<usize>level) << 2);
  store<u32>(perLevel, gfn, VCPU_WALK_TABLE_GFN);
  store<u32>(perLevel, index, VCPU_WALK_INDEX);
  store<u32>(perLevel, access, VCPU_WALK_LEVEL_ACCESS);
  store<u64>(vcpu + ((<usize>level) << 3), gpte, VCPU_WALK_PTE);
  return (gpte & (SETTLED | refuse)) == SETTLED ? gpte : 0;
}

/** Whether rights allow a plain user access at once; false: translateLeaf() is to judge. */
function plainlyAllowed(vcpu: usize, access: u32, flags: u32): bool {
  if (flags > ACCESS_FETCH || (load<u32>(vcpu, VCPU_CR4) & CR4_PKE) != 0) return false;
  if ((access & ACC_USER_MASK) == 0) return false;
  if (flags == ACCESS_WRITE) return (access & ACC_WRITE_MASK) != 0;
  return flags != ACCESS_FETCH || (access & ACC_EXEC_MASK) != 0;
}

/** The leaf of a settled walk; false as for walkSettled(). */
function settleLeaf(vcpu: usize, root: u32, gva: u64, gpte: u64, access: u32, flags: u32): bool {
  const clean = (gpte & PT_DIRTY) == 0;
  if (clean && (flags & ACCESS_KIND_MASK) == ACCESS_WRITE) return false;
  store<u32>(vcpu, 1, VCPU_WALK_LEVEL);
  store<u32>(vcpu, access, VCPU_WALK_PT_ACCESS);
  access &= gpteAccess(gpte);
  if (plainlyAllowed(vcpu, access, flags)) {
    store<u32>(vcpu, clean ? access & ~ACC_WRITE_MASK : access, VCPU_WALK_PTE_ACCESS);
    store<u32>(vcpu, gptePkey(gpte), VCPU_WALK_PKEY);
    storeTranslation(vcpu, (gpte & PT64_BASE_MASK) >> (<u64>PAGE_SHIFT), gva);
  } else if (translateLeaf(vcpu, root, 1, access, flags) != 0) {
    return false;
  }
  finish(vcpu, WALK_OK, 0);
  return true;
}

// The upper part of the last settled walk of 4-level paging: the tables of level 4, 3 and 2, which the
// next walk mostly goes through, too. It is as it was when their host ptes, contents and entries are.
//
//   a table, from level 2 on: ┌──────┬─────┬──────────────────────────────┬───────────┐
//                             │ ptep │ pte │ address of its content word  │ that word │
//                             └──────┴─────┴──────────────────────────────┴───────────┘
const UPPER: usize = memory.data(48, 16);
const UPPER_PTEP: usize = 0;
const UPPER_PTE: usize = 4;
const UPPER_CONTENTP: usize = 8;
const UPPER_CONTENT: usize = 12;
/** vCPU whose VCPU_WALK_* of these levels are this walk's; 0: none. */
let upperVcpu: usize = 0;
let upperEpoch: u32 = 0;
let upperCr3: u64 = 0;
let upperGva: u64 = 0;
let upperRefuse: u64 = 0;
let upperGptep4: usize = 0;
let upperGptep3: usize = 0;
/** Bits 38:30 and above of a gva choose the entries of levels 4 and 3, and so the table of level 2. */
const UPPER_SHIFT: u64 = 30;

/** VCPU_WALK_* will be another walk's. */
export function forgetUpper(): void {
  upperVcpu = 0;
}

/** Whether a table of the upper part lies where it lay. */
function isTableKept(table: usize): bool {
  const pte = load<u32>(<usize>load<u32>(table, UPPER_PTEP));
  const content = load<u32>(<usize>load<u32>(table, UPPER_CONTENTP));
  return pte == load<u32>(table, UPPER_PTE) && content == load<u32>(table, UPPER_CONTENT);
}

/** Whether the upper part is that of the last walk. */
function isUpperKept(vcpu: usize, gva: u64, refuse: u64): bool {
  if (upperVcpu != vcpu || upperGva != gva >> UPPER_SHIFT) return false;
  if (upperCr3 != load<u64>(vcpu, VCPU_CR3) || upperEpoch != ptepEpoch) return false;
  if (!isTableKept(UPPER + 32) || !isTableKept(UPPER + 16) || !isTableKept(UPPER)) return false;
  if (load<u64>(upperGptep4) != load<u64>(vcpu, VCPU_WALK_PTE + 32)) return false;
  return load<u64>(upperGptep3) == load<u64>(vcpu, VCPU_WALK_PTE + 24) && upperRefuse == refuse;
}

/** Notes where the table of a level lies; the address of its entries. */
function keepTable(vcpu: usize, level: usize): usize {
  const table = UPPER + ((level - 2) << 4);
  const ptep = tablePtep(load<u32>(vcpu + (level << 2), VCPU_WALK_TABLE_GFN));
  const pte = load<u32>(ptep);
  const contentp = framePtr(pte >> HPTE_PFN_SHIFT) + <usize>FRAME_CONTENT;
  store<u32>(table, <u32>ptep, UPPER_PTEP);
  store<u32>(table, pte, UPPER_PTE);
  store<u32>(table, <u32>contentp, UPPER_CONTENTP);
  store<u32>(table, load<u32>(contentp), UPPER_CONTENT);
  return pteContent(pte);
}

/** Notes the upper part of a walk that settled. */
function keepUpper(vcpu: usize, gva: u64, refuse: u64): void {
  upperVcpu = vcpu;
  upperEpoch = ptepEpoch;
  upperCr3 = load<u64>(vcpu, VCPU_CR3);
  upperGva = gva >> UPPER_SHIFT;
  upperRefuse = refuse;
  upperGptep4 = keepTable(vcpu, 4) + ((<usize>((gva >> 39) & 511)) << 3);
  upperGptep3 = keepTable(vcpu, 3) + ((<usize>((gva >> 30) & 511)) << 3);
  keepTable(vcpu, 2);
}

/** Reads the entry of level 2 below a kept upper part; 0: the walk is none. */
function keptGpte2(vcpu: usize, gva: u64, refuse: u64): u64 {
  const index = (<u32>(gva >> 21)) & 511;
  const table = (<usize>load<u32>(UPPER, UPPER_CONTENT)) << PAGE_SHIFT;
  const gpte = load<u64>(table + ((<usize>index) << 3));
  store<u32>(vcpu, index, VCPU_WALK_INDEX + 8);
  store<u64>(vcpu, gpte, VCPU_WALK_PTE + 16);
  return (gpte & (SETTLED | refuse)) == SETTLED ? gpte : 0;
}

/** ACC_* that the levels above the leaf table allow, after settleUpper(). */
export let upperAccess: u32 = 0;

/**
 * The upper part of a walk that settles: the entry of level 2, and upperAccess; 0: the walk is none. `reserved` are the
 * bits that no entry may have.
 */
function settleUpper(vcpu: usize, root: u32, gva: u64, reserved: u64): u64 {
  // No entry of an upper level is large or reserved, every entry is present and accessed.
  const refuse = reserved | PT_PAGE_SIZE;
  if (root == 4 && isUpperKept(vcpu, gva, refuse)) {
    const kept = keptGpte2(vcpu, gva, refuse);
    upperAccess = load<u32>(vcpu, VCPU_WALK_LEVEL_ACCESS + 8) & gpteAccess(kept);
    return kept;
  }
  let next = load<u64>(vcpu, VCPU_CR3);
  let access: u32 = ACC_ALL;
  for (let level = root; level > 1; level--) {
    const gfn = frameToGfn((next & PT64_BASE_MASK) >> (<u64>PAGE_SHIFT));
    next = settledGpte(vcpu, level, gva, gfn, access, refuse);
    if (next == 0) return 0;
    access &= gpteAccess(next);
  }
  if (root == 4) keepUpper(vcpu, gva, refuse);
  upperAccess = access;
  return next;
}

/** Frame of the leaf table of a walk of 4-level paging whose upper part settles, and upperAccess; NO_GFN: it is none. */
export function settledLeafGfn(vcpu: usize, gva: u64): u32 {
  const next = settleUpper(vcpu, 4, gva, reservedLeafBits(vcpu));
  return next == 0 ? NO_GFN : frameToGfn((next & PT64_BASE_MASK) >> (<u64>PAGE_SHIFT));
}

/**
 * The walk of 4- and 5-level paging that succeeds and has nothing to set: what nearly every fault
 * makes. False: VCPU_WALK_* mean nothing, walk() is to find out.
 */
export function walkSettled(vcpu: usize, root: u32, gva: u64, flags: u32): bool {
  const reserved = reservedLeafBits(vcpu);
  const next = settleUpper(vcpu, root, gva, reserved);
  if (next == 0) return false;
  const access = upperAccess;
  const gfn = frameToGfn((next & PT64_BASE_MASK) >> (<u64>PAGE_SHIFT));
  const gpte = settledGpte(vcpu, 1, gva, gfn, access, reserved);
  return gpte != 0 && settleLeaf(vcpu, root, gva, gpte, access, flags);
}
