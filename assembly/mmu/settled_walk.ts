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
import { ptepEpoch } from '../mm/pte';
import {
  PT64_BASE_MASK,
  PT_ACCESSED,
  PT_DIRTY,
  PT_PAGE_SIZE,
  PT_PRESENT,
  gpteAccess,
  gptePkey,
  reservedGpteBits,
} from './guest_pte';
import { finish, frameToGfn, storeTranslation, translateLeaf } from './guest_walk';
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

// The upper part of the last settled walk: the tables of level 4 and 3, which the next walk mostly
// goes through, too. It is as it was when their host ptes, contents and entries are.
/** vCPU whose VCPU_WALK_* of these levels are this walk's; 0: none. */
let upperVcpu: usize = 0;
let upperEpoch: u32 = 0;
let upperCr3: u64 = 0;
let upperGva: u64 = 0;
let upperPtep4: usize = 0;
let upperPtep3: usize = 0;
let upperTable4: usize = 0;
let upperTable3: usize = 0;
/** Bits 38:30 and above of a gva choose the entries of the upper part. */
const UPPER_SHIFT: u64 = 30;

/** VCPU_WALK_* will be another walk's. */
export function forgetUpper(): void {
  upperVcpu = 0;
}

/** Whether the upper part is that of the last walk. */
function isUpperKept(vcpu: usize, cr3: u64, gva: u64, refuse: u64): bool {
  if (upperVcpu != vcpu || upperGva != gva >> UPPER_SHIFT) return false;
  if (upperCr3 != cr3 || upperEpoch != ptepEpoch) return false;
  if (pteContent(load<u32>(upperPtep4)) != upperTable4) return false;
  if (pteContent(load<u32>(upperPtep3)) != upperTable3) return false;
  const gpte4 = load<u64>(upperTable4 + ((<usize>((gva >> 39) & 511)) << 3));
  const gpte3 = load<u64>(upperTable3 + ((<usize>((gva >> 30) & 511)) << 3));
  if (gpte4 != load<u64>(vcpu, VCPU_WALK_PTE + 32)) return false;
  if (gpte3 != load<u64>(vcpu, VCPU_WALK_PTE + 24)) return false;
  return ((gpte4 | gpte3) & refuse) == 0;
}

/** Notes the upper part of a walk that settled. */
function keepUpper(vcpu: usize, cr3: u64, gva: u64): void {
  upperVcpu = vcpu;
  upperEpoch = ptepEpoch;
  upperCr3 = cr3;
  upperGva = gva >> UPPER_SHIFT;
  upperPtep4 = tablePtep(load<u32>(vcpu, VCPU_WALK_TABLE_GFN + 16));
  upperPtep3 = tablePtep(load<u32>(vcpu, VCPU_WALK_TABLE_GFN + 12));
  upperTable4 = pteContent(load<u32>(upperPtep4));
  upperTable3 = pteContent(load<u32>(upperPtep3));
}

/**
 * The walk of 4- and 5-level paging that succeeds and has nothing to set: what nearly every fault
 * makes. False: VCPU_WALK_* mean nothing, walk() is to find out.
 */
export function walkSettled(vcpu: usize, root: u32, gva: u64, flags: u32): bool {
  // No entry of an upper level is large or reserved, every entry is present and accessed.
  const reserved = reservedGpteBits(vcpu, root, 1, 0);
  const refuse = reserved | PT_PAGE_SIZE;
  const cr3 = load<u64>(vcpu, VCPU_CR3);
  let next = cr3;
  let access: u32 = ACC_ALL;
  let level = root;
  const kept = root == 4 && isUpperKept(vcpu, cr3, gva, refuse);
  if (kept) {
    next = load<u64>(vcpu, VCPU_WALK_PTE + 24);
    access = load<u32>(vcpu, VCPU_WALK_LEVEL_ACCESS + 12) & gpteAccess(next);
    level = 2;
  }
  for (; level > 1; level--) {
    const gfn = frameToGfn((next & PT64_BASE_MASK) >> (<u64>PAGE_SHIFT));
    next = settledGpte(vcpu, level, gva, gfn, access, refuse);
    if (next == 0) return false;
    access &= gpteAccess(next);
  }
  if (!kept && root == 4) keepUpper(vcpu, cr3, gva);
  const gfn = frameToGfn((next & PT64_BASE_MASK) >> (<u64>PAGE_SHIFT));
  const gpte = settledGpte(vcpu, 1, gva, gfn, access, reserved);
  return gpte != 0 && settleLeaf(vcpu, root, gva, gpte, access, flags);
}
