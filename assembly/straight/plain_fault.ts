// The plain fault, which nearly every fault under pressure is: the hardware's walk faulted at an empty leaf spte or, at
// a write, at a read-only one, the guest's tables have nothing to say but where the page lies (settled_table.ts), and
// the host maps the page or can fault it in here. The same steps as quick_fault.ts makes through VCPU_WALK_* and
// VCPU_FAULT_*, with what they find in locals; whatever is not plain is left to it before anything is changed.

import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  ACC_EXEC_MASK,
  ACC_PKEY_SHIFT,
  ACC_USER_MASK,
  ACC_WRITE_MASK,
  FAULT_CHECK_NONE,
  FOLLOW_NONE,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  KVM_INVALIDATE_SEQ,
  KVM_MEM_READONLY,
  RET_PF_CONTINUE,
  RET_PF_FIXED,
  RET_PF_RETRY,
  SLOT_BASE_GFN,
  SLOT_FLAGS,
  SLOT_HVN,
  SLOT_NPAGES,
  STRAIGHT_ON,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GVA,
  VCPU_TDP,
} from '../abi';
import { GUEST_WALKS, RETRIED_PAGE_FAULTS } from '../counters';
import { isTracing } from '../events';
import { lruGenEnabled } from '../mm/lru_gen';
import { ptepEpoch } from '../mm/pgtable';
import { hpteGet, leafPmdp, ptepAt } from '../mm/pte';
import { setWalkFresh } from '../mmu/fault';
import {
  faultCheck,
  faultsHere,
  gupFlags,
  lookUp,
  looksAgain,
  marksAccessed,
  mmId,
} from '../mmu/fault_policy';
import { gptePkey, pagingRootLevel, reservedLeafBits } from '../mmu/guest_pte';
import { KVM } from '../mmu/kvm';
import { GUEST_BITS } from '../mmu/leaf_table';
import { gfnToMemslot, lastSlot } from '../mmu/memslot';
import { faultInstall, isStale } from '../mmu/page_fault';
import { folioSetReferenced, releasePfn, releasePlain } from '../mmu/pfn';
import { PT64_NX, PT_ACCESSED, PT_DIRTY, PT_PRESENT, PT_USER, PT_WRITABLE } from '../mmu/pte_bits';
import {
  isFirstMapping,
  isOnlyMapping,
  mapFirst,
  mapWritable,
  mayMapFirst,
} from '../mmu/settled_map';
import { quiet, settledTable } from '../mmu/settled_table';
import { isAbsentReached, isReached, reachedLeaf, reachedSptep } from '../mmu/shadow_walk';
import { spteToPfn } from '../mmu/spte';
import { translateSettled, wantOf } from '../mmu/translate';
import { bump } from '../stats';
import { Gfn, Hvn, Pfn, Spte } from '../types';
import { STRAIGHT } from './config';
import { READ_NOT, mayReadPlain, noteReadPte, plainRead, readPte } from './file_fault';
import { straightGup } from './gup';
import { plainPresent } from './present_fault';
import { noTableTaken, tableTaken } from './reclaim';

/** plainFault(): the fault is not plain, and nothing was done. */
export const PLAIN_NOT: u32 = 0xffffffff;

/** The quiet for which the following is known. */
let known: u64 = 0;
/** Faults may be plain at all. */
let mayBe: bool = false;
/** plainRead() may be asked. */
let mayRead: bool = false;
/** releasePlain() may be asked. */
let mayRelease: bool = false;

// What a plain access of a kind asks of the guest's tables, a row for each of ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH:
// the bits of the entry that matter, what they must be, the ACC_* of the levels above; and FOLL_WRITE or 0.
const ROWS: usize = memory.data(72, 8);
const ROW_SHIFT: u32 = 24;
const ROW_MASK: usize = 0;
const ROW_BITS: usize = 8;
const ROW_ACCESS: usize = 16;
const ROW_WANT: usize = 20;
/** Bits 51:44 of an entry: its frame is above all gfns. */
const NO_GFN_BITS: u64 = 0x000f_f000_0000_0000;

/** vCPU with a plain fault of which nothing stands in VCPU_WALK_* and VCPU_FAULT_*; 0: there is none. */
let unnoted: usize = 0;

function learnRow(vcpu: usize, flags: u32, bits: u64, access: u32, absent: u64): void {
  const row = ROWS + <usize>(flags * ROW_SHIFT);
  bits |= PT_PRESENT | PT_ACCESSED | PT_USER;
  store<u64>(row, bits, ROW_BITS);
  store<u64>(row, bits | absent | NO_GFN_BITS | reservedLeafBits(vcpu), ROW_MASK);
  store<u32>(row, access | ACC_USER_MASK, ROW_ACCESS);
  store<u32>(row, wantOf(flags), ROW_WANT);
}

/** Finds out what holds for all faults of a quiet. */
function learn(vcpu: usize): void {
  known = quiet;
  mayBe =
    faultsHere &&
    !isTracing() &&
    load<u32>(STRAIGHT, STRAIGHT_ON) != 0 &&
    load<u32>(vcpu, VCPU_TDP) == 0 &&
    pagingRootLevel(vcpu) == 4 &&
    mayMapFirst(vcpu);
  mayRead = mayReadPlain();
  mayRelease = !lruGenEnabled();
  learnRow(vcpu, ACCESS_READ, 0, 0, 0);
  learnRow(vcpu, ACCESS_WRITE, PT_WRITABLE | PT_DIRTY, ACC_WRITE_MASK, 0);
  learnRow(vcpu, ACCESS_FETCH, 0, ACC_EXEC_MASK, PT64_NX);
}

/** isStale(); most generations here check nothing. */
function isStaleHere(seq: u32, hvn: Hvn): bool {
  return faultCheck != FAULT_CHECK_NONE && isStale(faultCheck, seq, hvn);
}

/**
 * Reclaim comes to a page that is not plain and may take a guest's table with it: writes down what the fault at hand
 * found, for who serves it from there.
 */
export function noteFault(): void {
  if (unnoted == 0) return;
  const settled = translateSettled(unnoted);
  assert(settled, 'what a plain fault found settles again');
  unnoted = 0;
}

/** ACC_* and key that a leaf entry grants below levels that grant `above`; a clean page gives no right to write. */
function accessOf(gpte: u64, above: u32): u32 {
  const exec = ((<u32>(gpte >> 63)) ^ 1) * ACC_EXEC_MASK;
  const rights = ((<u32>gpte) & (ACC_USER_MASK | ACC_WRITE_MASK)) | exec;
  // D, a bit above A, lies 5 bits above W.
  const dirty = (<u32>(gpte >> 5)) | ~ACC_WRITE_MASK;
  return (rights & above & dirty) | (gptePkey(gpte) << ACC_PKEY_SHIFT);
}

/**
 * Serves the fault in VCPU_FAULT_* at reachedSptep: RET_PF_*, RET_PF_CONTINUE for the host's turn, or PLAIN_NOT. The
 * counts of the running batch are for the clock.
 */
export function plainFault(vcpu: usize, accesses: u32, l2Hits: u32): u32 {
  if (known != quiet) learn(vcpu);
  if (!mayBe || !isReached()) return PLAIN_NOT;
  const sptep = reachedSptep;
  const flags = load<u32>(vcpu, VCPU_FAULT_FLAGS);
  const gva = load<u64>(vcpu, VCPU_FAULT_GVA);
  const guest = settledTable(vcpu, reachedLeaf, gva);
  if (guest == 0) return PLAIN_NOT;
  const gpte = load<u64>(<usize>(guest & ~GUEST_BITS) + (sptep & 0xff8));
  const row = ROWS + <usize>(flags * ROW_SHIFT);
  const lacks = (gpte & load<u64>(row, ROW_MASK)) ^ load<u64>(row, ROW_BITS);
  if ((lacks | (<u64>(~guest & load<u32>(row, ROW_ACCESS)))) != 0) return PLAIN_NOT;
  const gfn = <u32>(gpte >> 12);
  const slot = writableSlot(gfn);
  if (slot == 0) return PLAIN_NOT;
  const access = accessOf(gpte, guest);
  const old = load<u64>(sptep);
  const alone =
    old == 0 ? isFirstMapping(slot, gfn, access, flags) : isOnlyMapping(slot, gfn, access, flags);
  if (!alone) return PLAIN_NOT;
  const hvn = load<u32>(slot, SLOT_HVN) + (gfn - load<u32>(slot, SLOT_BASE_GFN));
  const seq = load<u32>(KVM, KVM_INVALIDATE_SEQ);
  if (isStaleHere(seq, hvn)) return PLAIN_NOT;
  const pmdp = leafPmdp(mmId, hvn);
  if (pmdp == 0) return PLAIN_NOT;
  const want = load<u32>(row, ROW_WANT);
  const pte = load<u32>(ptepAt(pmdp, hvn));
  if ((pte & HPTE_PRESENT) == 0) {
    if (old != 0) return PLAIN_NOT;
    return faultIn(vcpu, slot, gfn, access, hvn, pmdp, want, accesses, l2Hits);
  }
  if (old != 0 && spteToPfn(old) != pte >> HPTE_PFN_SHIFT) return PLAIN_NOT;
  return mapPresent(vcpu, slot, gfn, access, hvn, pmdp, want, old, accesses, l2Hits);
}

/** The memslot of a gfn, if the guest may write to it, or 0. */
function writableSlot(gfn: Gfn): usize {
  let slot = lastSlot;
  if (gfn - load<u32>(slot, SLOT_BASE_GFN) >= load<u32>(slot, SLOT_NPAGES)) {
    slot = gfnToMemslot(gfn);
    if (slot == 0) return 0;
  }
  return (load<u32>(slot, SLOT_FLAGS) & KVM_MEM_READONLY) != 0 ? 0 : slot;
}

/** plainFault() at a page that the host maps, where the spte is `old`. */
function mapPresent(
  vcpu: usize,
  slot: usize,
  gfn: Gfn,
  access: u32,
  hvn: Hvn,
  pmdp: usize,
  want: u32,
  old: Spte,
  accesses: u32,
  l2Hits: u32,
): u32 {
  let pfn = lookUp(hvn, pmdp, want);
  let writable = true;
  if (pfn == FOLLOW_NONE) {
    pfn = plainPresent(hvn, ptepAt(pmdp, hvn), gupFlags | want);
    // Of a present page, straightGup() does all or nothing.
    if (pfn == FOLLOW_NONE) pfn = straightGup(hvn, pmdp, gupFlags | want, accesses, l2Hits);
    if (pfn == FOLLOW_NONE) return PLAIN_NOT;
    const now = load<u32>(ptepAt(pmdp, hvn));
    writable = (now & HPTE_WRITE) != 0;
    if (looksAgain(now, want)) folioSetReferenced(pfn);
  }
  bump(GUEST_WALKS);
  if (old == 0) mapFirst(vcpu, slot, gfn, access, pfn, writable);
  else mapWritable(vcpu, slot, gfn, access, pfn);
  release(pfn);
  return RET_PF_FIXED;
}

/** releasePfn(). */
function release(pfn: Pfn): void {
  if (mayRelease) releasePlain(pfn, marksAccessed);
  else releasePfn(pfn, marksAccessed);
}

/** The page of an empty or swapped pte with a reference, as straightGup() gives it; readPte is its pte then. */
function readOrGup(hvn: Hvn, pmdp: usize, foll: u32, accesses: u32, l2Hits: u32): Pfn {
  if (mayRead && load<u32>(ptepAt(pmdp, hvn)) == 0) {
    const pfn = plainRead(hvn, pmdp, foll, accesses, l2Hits);
    if (pfn != READ_NOT) return pfn;
  }
  const epoch = ptepEpoch;
  const pfn = straightGup(hvn, pmdp, foll, accesses, l2Hits);
  noteReadPte(epoch == ptepEpoch ? load<u32>(ptepAt(pmdp, hvn)) : hpteGet(mmId, hvn));
  return pfn;
}

/** plainFault() at a page that the host does not map. */
function faultIn(
  vcpu: usize,
  slot: usize,
  gfn: Gfn,
  access: u32,
  hvn: Hvn,
  pmdp: usize,
  want: u32,
  accesses: u32,
  l2Hits: u32,
): u32 {
  const seq = load<u32>(KVM, KVM_INVALIDATE_SEQ);
  noTableTaken();
  unnoted = vcpu;
  const pfn = readOrGup(hvn, pmdp, gupFlags | want, accesses, l2Hits);
  if (pfn == FOLLOW_NONE) {
    noteFault();
    return RET_PF_CONTINUE;
  }
  const noted = unnoted == 0;
  unnoted = 0;
  if (!noted) bump(GUEST_WALKS);
  const pte = readPte;
  if (looksAgain(pte, want)) folioSetReferenced(pfn);
  if (isStaleHere(seq, hvn)) {
    releasePfn(pfn, marksAccessed);
    bump(RETRIED_PAGE_FAULTS);
    return RET_PF_RETRY;
  }
  if (!tableTaken && isAbsentReached()) {
    mapFirst(vcpu, slot, gfn, access, pfn, (pte & HPTE_WRITE) != 0);
    release(pfn);
    return RET_PF_FIXED;
  }
  assert(noted, 'only reclaim that is not plain takes tables and cuts links');
  setWalkFresh(!tableTaken);
  const writable: u32 = (pte & HPTE_WRITE) != 0 ? 1 : 0;
  const result = faultInstall(vcpu, pfn, writable, faultCheck, seq, marksAccessed);
  setWalkFresh(false);
  return result;
}
