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
  PT64_NX_BIT,
  PT64_PKEY_BIT,
  PT_ACCESSED_BIT,
  PT_DIRTY_BIT,
  PT_GLOBAL_BIT,
  PT_PAGE_SIZE_BIT,
  PT_PRESENT_BIT,
  PT_USER_BIT,
  PT_WRITABLE_BIT,
  RFLAGS_AC,
  SPTE_AD_DISABLED_BIT,
  VCPU_CR4,
  VCPU_FAULT_CODE,
  VCPU_PKRU,
  VCPU_RFLAGS,
  VCPU_ROOT,
  VCPU_ROOT_LEVEL,
} from '../abi';
import { Sptep } from '../types';
import { linkEpoch } from './flush';
import { walkCacheOn } from './walk_cache';

const PRESENT: u64 = (<u64>1) << (<u64>PT_PRESENT_BIT);
const WRITABLE: u64 = (<u64>1) << (<u64>PT_WRITABLE_BIT);
const USER: u64 = (<u64>1) << (<u64>PT_USER_BIT);
const ACCESSED: u64 = (<u64>1) << (<u64>PT_ACCESSED_BIT);
const DIRTY: u64 = (<u64>1) << (<u64>PT_DIRTY_BIT);
const LARGE: u64 = (<u64>1) << (<u64>PT_PAGE_SIZE_BIT);
const GLOBAL: u64 = (<u64>1) << (<u64>PT_GLOBAL_BIT);
/** SPTE_MMIO. */
const MMIO: u64 = (<u64>1) << 51;
const NX: u64 = (<u64>1) << (<u64>PT64_NX_BIT);
/** The processor does not touch A and D of this entry (EPT without A/D bits). */
const AD_DISABLED: u64 = (<u64>1) << (<u64>SPTE_AD_DISABLED_BIT);
const BASE: u64 = 0x000f_ffff_ffff_f000;

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
  return (spte & MMIO) != 0 ? PFERR_RSVD_MASK : 0;
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
  const userPage = (bits & USER) != 0;
  const cr4 = load<u32>(vcpu, VCPU_CR4);
  if (user && !userPage) return PFERR_PRESENT_MASK;
  if (kind == ACCESS_WRITE && (bits & WRITABLE) == 0) return PFERR_PRESENT_MASK;
  if (kind == ACCESS_FETCH) {
    if ((bits & NX) != 0) return PFERR_PRESENT_MASK;
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

/** No address of an entry. */
const ANOTHER: Sptep = 1;

/** What every upper entry of the common walk has set, where there are A/D bits. */
const COMMON_SET: u64 = PRESENT | ACCESSED | USER;

/** Whether an entry leads a user access to a table and has no A to be set. */
function leadsOn(entry: u64): bool {
  if ((entry & (COMMON_SET | LARGE)) == COMMON_SET) return true;
  const tracked = PRESENT | USER | AD_DISABLED;
  return (entry & (tracked | LARGE)) == tracked;
}

/** Address of the entry for a gva in a table of level `level`. */
function entryOf(table: u64, gva: u64, level: u64): Sptep {
  return <usize>(table & BASE) + (((<usize>(gva >> (3 + 9 * level))) & 511) << 3);
}

/** The empty leaf entry at which the last walk ended; 0: it ended elsewhere. Only where walkCacheOn(). */
export let absentSptep: Sptep = 0;
/** Its tables of level 3 and 2. */
export let absentTable3: usize = 0;
export let absentTable2: usize = 0;
/** linkEpoch of that walk, and the bits that all and any of the entries above have. */
let absentLinks: u32 = 0;
let absentEvery: u64 = 0;
let absentAny: u64 = 0;

/** The walk ended at an entry that is not present. */
function endAbsent(
  vcpu: usize,
  sptep: Sptep,
  e1: u64,
  e2: u64,
  e3: u64,
  e4: u64,
  flags: u32,
): Sptep {
  if (walkCacheOn()) {
    absentSptep = e1 == 0 ? sptep : 0;
    absentTable3 = <usize>(e4 & BASE);
    absentTable2 = <usize>(e3 & BASE);
    absentLinks = linkEpoch;
    absentEvery = e4 & e3 & e2;
    absentAny = e4 | e3 | e2;
  }
  return fault(vcpu, absentCode(e1), flags);
}

/** Whether the entries above absentSptep are still those of the walk that found it. */
export function isAbsentReached(): bool {
  return absentSptep != 0 && absentLinks == linkEpoch;
}

/**
 * The walk after a fault was served: it ends at the entry at which the last one ended, if that was the common
 * walk's. ANOTHER as for commonWalk().
 */
function walkAgain(flags: u32): Sptep {
  const sptep = absentSptep;
  const spte = load<u64>(sptep);
  if ((spte & PRESENT) == 0) return ANOTHER;
  walkSteps = 4;
  return commonEnd(sptep, spte, absentEvery, absentAny, flags);
}

/** shadowWalk() of the access whose last walk ended at absentSptep, unless links changed since. */
export function shadowWalkAgain(vcpu: usize, gva: u64, flags: u32): Sptep {
  const found = isAbsentReached() ? walkAgain(flags) : ANOTHER;
  return found != ANOTHER ? found : shadowWalk(vcpu, gva, flags);
}

/** The end of the common walk at the present leaf entry `e1`, below entries with the bits `every` and `any`. */
function commonEnd(sptep: Sptep, e1: u64, every: u64, any: u64, flags: u32): Sptep {
  // Without A/D bits nothing has to be set, neither now nor before a write may hit in the TLB.
  if ((e1 & AD_DISABLED) != 0) e1 |= ACCESSED | DIRTY;
  every &= e1;
  any |= e1;
  let want = USER;
  if (flags == ACCESS_WRITE) want |= WRITABLE;
  const set = flags == ACCESS_WRITE ? ACCESSED | DIRTY : ACCESSED;
  if ((every & want) != want || (e1 & set) != set) return ANOTHER;
  if (flags == ACCESS_FETCH && (any & NX) != 0) return ANOTHER;
  walkBits = (every & (WRITABLE | USER)) | (any & NX) | (e1 & (DIRTY | GLOBAL));
  walkLevel = 1;
  walkPkey = (<u32>(e1 >> (<u64>PT64_PKEY_BIT))) & 15;
  walkPfn = <u32>((e1 & BASE) >> 12);
  return sptep;
}

/**
 * The walk that most misses make: a user access through four tables that were walked before to a
 * 4 KiB page whose A, and for a write D, are set, or that is not present. It changes nothing but its
 * results. ANOTHER: it is another walk.
 */
function commonWalk(vcpu: usize, gva: u64, flags: u32): Sptep {
  if (flags > ACCESS_FETCH || load<u32>(vcpu, VCPU_ROOT_LEVEL) != 4) return ANOTHER;
  if ((load<u32>(vcpu, VCPU_CR4) & CR4_PKE) != 0) return ANOTHER;
  const root = <u64>load<u32>(vcpu, VCPU_ROOT);
  if (root == 0) return ANOTHER;
  const e4 = load<u64>(entryOf(root, gva, 4));
  if (!leadsOn(e4)) return ANOTHER;
  const e3 = load<u64>(entryOf(e4, gva, 3));
  if (!leadsOn(e3)) return ANOTHER;
  const e2 = load<u64>(entryOf(e3, gva, 2));
  if (!leadsOn(e2)) return ANOTHER;
  const sptep = entryOf(e2, gva, 1);
  const e1 = load<u64>(sptep);
  walkSteps = 4;
  if ((e1 & PRESENT) == 0) return endAbsent(vcpu, sptep, e1, e2, e3, e4, flags);
  return commonEnd(sptep, e1, e4 & e3 & e2, e4 | e3 | e2, flags);
}

/** Address of the leaf entry of a 4 KiB page in four tables that were walked before, or 0. */
export function commonLeaf(vcpu: usize, gva: u64): Sptep {
  const root = <u64>load<u32>(vcpu, VCPU_ROOT);
  if (load<u32>(vcpu, VCPU_ROOT_LEVEL) != 4 || root == 0) return 0;
  const e4 = load<u64>(entryOf(root, gva, 4));
  if (!leadsOn(e4)) return 0;
  const e3 = load<u64>(entryOf(e4, gva, 3));
  if (!leadsOn(e3)) return 0;
  const e2 = load<u64>(entryOf(e3, gva, 2));
  return leadsOn(e2) ? entryOf(e2, gva, 1) : 0;
}

/**
 * Walks the shadow tables for an access. Returns the address of the leaf spte with the result in
 * walkBits, walkLevel, walkPfn and walkPkey, or 0 and the #PF error code in VCPU_FAULT_CODE.
 */
export function shadowWalk(vcpu: usize, gva: u64, flags: u32): Sptep {
  const found = commonWalk(vcpu, gva, flags);
  if (found != ANOTHER) return found;
  if (walkCacheOn()) absentSptep = 0;
  return anyWalk(vcpu, gva, flags);
}

/** The walk in all its cases. */
function anyWalk(vcpu: usize, gva: u64, flags: u32): Sptep {
  let table = <usize>load<u32>(vcpu, VCPU_ROOT);
  let level = load<u32>(vcpu, VCPU_ROOT_LEVEL);
  let rights: u64 = WRITABLE | USER;
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
    if ((spte & PRESENT) == 0) return fault(vcpu, absentCode(spte), flags);
    rights &= spte;
    nx |= spte & NX;
    if (level == 1 || (spte & LARGE) != 0) break;
    if ((spte & (ACCESSED | AD_DISABLED)) == 0) store<u64>(sptep, spte | ACCESSED);
    table = <usize>(spte & BASE);
  }
  const pkey = (<u32>(spte >> (<u64>PT64_PKEY_BIT))) & 15;
  const denied = violation(vcpu, rights | nx, pkey, flags);
  if (denied != 0) return fault(vcpu, denied, flags);
  let set = spte;
  if ((spte & AD_DISABLED) == 0) {
    set |= ACCESSED;
    if ((flags & ACCESS_KIND_MASK) == ACCESS_WRITE) set |= DIRTY;
    if (set != spte) store<u64>(sptep, set);
  } else {
    // Without A/D bits nothing has to be set before a write may hit in the TLB.
    set |= DIRTY;
  }
  walkBits = rights | nx | (set & (DIRTY | GLOBAL));
  walkLevel = level;
  walkPkey = pkey;
  const inside: u32 = ((<u32>1) << (9 * (level - 1))) - 1;
  walkPfn = ((<u32>((spte & BASE) >> 12)) & ~inside) | ((<u32>(gva >> 12)) & inside);
  return sptep;
}
