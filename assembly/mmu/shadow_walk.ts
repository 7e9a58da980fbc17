// The hardware's walk of the shadow tables on a TLB miss (SDM vol. 3A, 4.6 to 4.8): what the
// processor does with the root that kvm_mmu_load_pgd() gave it. The rights of all levels combine. A
// is set in the upper entries as the walk passes them, A and D of the leaf only when the access is
// allowed; a fault leaves the leaf as it is.

import {
  ACCESS_FETCH,
  ACCESS_IMPLICIT,
  ACCESS_KIND_MASK,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  CR4_PKE,
  CR4_SMAP,
  CR4_SMEP,
  PFERR_FETCH_MASK,
  PFERR_PK_MASK,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  PFERR_USER_MASK,
  PFERR_WRITE_MASK,
  PT64_PKEY_BIT,
  RFLAGS_AC,
  VCPU_CR4,
  VCPU_FAULT_CODE,
  VCPU_PKRU,
  VCPU_RFLAGS,
  VCPU_ROOT,
  VCPU_ROOT_LEVEL,
} from '../abi';
import { Sptep } from '../types';
import { linkEpoch } from './flush';
import { leafSptep, leafTable } from './leaf_table';
import {
  PT64_BASE_MASK,
  PT64_NX,
  PT_ACCESSED,
  PT_DIRTY,
  PT_GLOBAL,
  PT_PAGE_SIZE,
  PT_PRESENT,
  PT_USER,
  PT_WRITABLE,
} from './pte_bits';
import { SPTE_AD_DISABLED, SPTE_MMIO } from './spte';

/**
 * Result of the last successful walk, at the bit positions of a page-table entry: W and U of all
 * levels, NX of any, D and G of the leaf.
 */
export let walkBits: u64 = 0;
/** Level of its leaf: 1 4 KiB, 2 2 MiB, 3 1 GiB. */
export let walkLevel: u32 = 0;
/** Frame of the 4 KiB page that the gva lies in. */
export let walkPfn: u32 = 0;
/** Protection key of its leaf. */
export let walkPkey: u32 = 0;
/** Entries that the last walk read, a faulting one included. */
export let walkSteps: u32 = 0;

/** Error code of an entry that is not present: KVM marks pages outside all slots by a reserved bit. */
function absentCode(spte: u64): u32 {
  return (spte & SPTE_MMIO) != 0 ? PFERR_RSVD_MASK : 0;
}

/** Whether protection keys deny a data access to a user page. */
function pkeyDenies(vcpu: usize, pkey: u32, write: bool): bool {
  const rights = load<u32>(vcpu, VCPU_PKRU) >> (pkey << 1);
  return (rights & 1) != 0 || ((rights & 2) != 0 && write);
}

/** #PF error code bits (P and PK) when the combined rights deny an access; 0: allowed. */
function violation(vcpu: usize, bits: u64, pkey: u32, flags: u32): u32 {
  const kind = flags & ACCESS_KIND_MASK;
  const user = (flags & (ACCESS_SUPERVISOR | ACCESS_IMPLICIT)) == 0;
  const userPage = (bits & PT_USER) != 0;
  const cr4 = load<u32>(vcpu, VCPU_CR4);
  if (user && !userPage) return PFERR_PRESENT_MASK;
  if (kind == ACCESS_WRITE && (bits & PT_WRITABLE) == 0) return PFERR_PRESENT_MASK;
  if (kind == ACCESS_FETCH) {
    if ((bits & PT64_NX) != 0) return PFERR_PRESENT_MASK;
    return !user && userPage && (cr4 & CR4_SMEP) != 0 ? PFERR_PRESENT_MASK : 0;
  }
  if (!user && userPage && (cr4 & CR4_SMAP) != 0) {
    const ac = (load<u32>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0 && (flags & ACCESS_IMPLICIT) == 0;
    if (!ac) return PFERR_PRESENT_MASK;
  }
  if (userPage && (cr4 & CR4_PKE) != 0 && pkeyDenies(vcpu, pkey, kind == ACCESS_WRITE)) {
    return PFERR_PRESENT_MASK | PFERR_PK_MASK;
  }
  return 0;
}

function fault(vcpu: usize, code: u32, flags: u32): Sptep {
  const kind = flags & ACCESS_KIND_MASK;
  if ((flags & (ACCESS_SUPERVISOR | ACCESS_IMPLICIT)) == 0) code |= PFERR_USER_MASK;
  if (kind == ACCESS_WRITE) code |= PFERR_WRITE_MASK;
  if (kind == ACCESS_FETCH) code |= PFERR_FETCH_MASK;
  store<u32>(vcpu, code, VCPU_FAULT_CODE);
  return 0;
}

/**
 * The leaf entry at which the last walk faulted, which was empty or, at a write, read-only; 0: it ended elsewhere. Only
 * where walkCacheOn().
 */
export let reachedSptep: Sptep = 0;
/** The entry of its leaf table (leaf_table.ts), and linkEpoch of that walk. */
export let reachedLeaf: usize = 0;
let reachedLinks: u32 = 0;

/** Writes the #PF error code of an access whose last plainWalk() faulted. */
export function codeFault(vcpu: usize, flags: u32): void {
  const spte = load<u64>(plainSptep);
  fault(vcpu, (spte & PT_PRESENT) != 0 ? PFERR_PRESENT_MASK : absentCode(spte), flags);
}

/** Whether the tables above reachedSptep are still those of the walk that found it. */
export function isReached(): bool {
  return reachedSptep != 0 && reachedLinks == linkEpoch;
}

/** The same for an entry that is empty. */
export function isAbsentReached(): bool {
  return isReached() && load<u64>(reachedSptep) == 0;
}

/** Whether a user's write to a page of a leaf entry faults for the want of W alone. */
export function isReadOnly(spte: u64): bool {
  return (spte & (PT_PRESENT | PT_USER | PT_WRITABLE | PT_GLOBAL)) == (PT_PRESENT | PT_USER);
}

function faultAt(leaf: usize, sptep: Sptep, reached: bool): u64 {
  walkSteps = 4;
  plainSptep = sptep;
  reachedSptep = reached ? sptep : 0;
  reachedLeaf = leaf;
  reachedLinks = linkEpoch;
  return WALK_FAULT;
}

/** Whether a user access may be made by a leaf entry of a leafTable() as it is, and its translation be cached. */
function endsPlainly(spte: u64, flags: u32): bool {
  let set = PT_PRESENT | PT_USER;
  if (flags == ACCESS_WRITE) set |= PT_WRITABLE;
  // Without A/D bits nothing has to be set, neither now nor before a write may hit in the TLB.
  if ((spte & SPTE_AD_DISABLED) == 0)
    set |= flags == ACCESS_WRITE ? PT_ACCESSED | PT_DIRTY : PT_ACCESSED;
  const stops = flags == ACCESS_FETCH ? PT64_NX | PT_GLOBAL : PT_GLOBAL;
  return (spte & (set | stops)) == set;
}

/** plainWalk(): the leaf entry does not permit the access, and nothing is left to do but to fault. */
export const WALK_FAULT: u64 = 0;
/** plainWalk(): it is another walk. */
export const WALK_OTHER: u64 = PT_PAGE_SIZE;
/** Where the last plainWalk() or plainWalkAgain() found its entry. */
export let plainSptep: Sptep = 0;

/**
 * The walk that most misses make, of a user's access to the 4 KiB pages of a known leaf table. It changes nothing but
 * its results: the leaf entry if that serves the access as it is, WALK_FAULT (codeFault() is to be called if anybody
 * asks for the error code), or WALK_OTHER.
 */
export function plainWalk(vcpu: usize, gva: u64, flags: u32): u64 {
  if (flags > ACCESS_FETCH || (load<u32>(vcpu, VCPU_CR4) & CR4_PKE) != 0) return WALK_OTHER;
  const leaf = leafTable(vcpu, gva);
  if (leaf == 0) return WALK_OTHER;
  const sptep = leafSptep(leaf, gva);
  const spte = load<u64>(sptep);
  if ((spte & PT_PRESENT) == 0) return faultAt(leaf, sptep, spte == 0);
  if (endsPlainly(spte, flags)) return endPlainly(sptep, spte);
  return flags == ACCESS_WRITE && isReadOnly(spte) ? faultAt(leaf, sptep, true) : WALK_OTHER;
}

/** The same after the access that faulted at reachedSptep was served. */
export function plainWalkAgain(flags: u32): u64 {
  if (!isReached()) return WALK_OTHER;
  const spte = load<u64>(reachedSptep);
  return endsPlainly(spte, flags) ? endPlainly(reachedSptep, spte) : WALK_OTHER;
}

function endPlainly(sptep: Sptep, spte: u64): u64 {
  plainSptep = sptep;
  walkSteps = 4;
  walkPfn = <u32>((spte & PT64_BASE_MASK) >> 12);
  return withDirty(spte);
}

/** A leaf entry with D where it has no A/D bits: a write may hit in the TLB at once. */
export function withDirty(spte: u64): u64 {
  return (spte & SPTE_AD_DISABLED) != 0 ? spte | PT_DIRTY : spte;
}

/** Says which frame a walk led to that was not made. */
export function setWalkPfn(pfn: u32): void {
  walkPfn = pfn;
}

/**
 * Walks the shadow tables for an access, whatever has to be done for it. Returns the address of the leaf spte with the
 * result in walkBits, walkLevel, walkPfn and walkPkey, or 0 and the #PF error code in VCPU_FAULT_CODE.
 */
export function shadowWalk(vcpu: usize, gva: u64, flags: u32): Sptep {
  reachedSptep = 0;
  let table = <usize>load<u32>(vcpu, VCPU_ROOT);
  let level = load<u32>(vcpu, VCPU_ROOT_LEVEL);
  let rights: u64 = PT_WRITABLE | PT_USER;
  let nx: u64 = 0;
  let sptep: Sptep = 0;
  let spte: u64 = 0;
  walkSteps = 0;
  if (table == 0) return fault(vcpu, 0, flags);
  for (; ; level--) {
    const shift = <u64>(12 + 9 * (level - 1));
    sptep = table + (((<usize>(gva >> shift)) & 511) << 3);
    spte = load<u64>(sptep);
    walkSteps++;
    if ((spte & PT_PRESENT) == 0) return fault(vcpu, absentCode(spte), flags);
    rights &= spte;
    nx |= spte & PT64_NX;
    if (level == 1 || (spte & PT_PAGE_SIZE) != 0) break;
    if ((spte & (PT_ACCESSED | SPTE_AD_DISABLED)) == 0) store<u64>(sptep, spte | PT_ACCESSED);
    table = <usize>(spte & PT64_BASE_MASK);
  }
  const pkey = (<u32>(spte >> (<u64>PT64_PKEY_BIT))) & 15;
  const denied = violation(vcpu, rights | nx, pkey, flags);
  if (denied != 0) return fault(vcpu, denied, flags);
  let set = spte;
  if ((spte & SPTE_AD_DISABLED) == 0) {
    set |= PT_ACCESSED;
    if ((flags & ACCESS_KIND_MASK) == ACCESS_WRITE) set |= PT_DIRTY;
    if (set != spte) store<u64>(sptep, set);
  } else {
    // Without A/D bits nothing has to be set before a write may hit in the TLB.
    set |= PT_DIRTY;
  }
  walkBits = rights | nx | (set & (PT_DIRTY | PT_GLOBAL));
  walkLevel = level;
  walkPkey = pkey;
  const inside: u32 = ((<u32>1) << (9 * (level - 1))) - 1;
  walkPfn = ((<u32>((spte & PT64_BASE_MASK) >> 12)) & ~inside) | ((<u32>(gva >> 12)) & inside);
  return sptep;
}
