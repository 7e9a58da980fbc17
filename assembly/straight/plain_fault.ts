// The plain fault, which nearly every fault under pressure is: the hardware's walk faulted at an empty leaf spte or, at
// a write, at a read-only one, the guest's tables have nothing to say but where the page lies (settled_table.ts), and
// the host maps the page or can fault it in here. The same steps as quick_fault.ts makes through VCPU_WALK_* and
// VCPU_FAULT_*, with what they find in locals; whatever is not plain is left to it before anything is changed.

import {
  FOLLOW_NONE,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_WRITE,
  KVM_INVALIDATE_SEQ,
  RET_PF_FIXED,
  SLOT_BASE_GFN,
  SLOT_HVN,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GVA,
} from '../abi';
import { GUEST_WALKS } from '../counters';
import { leafPmdp, ptepAt } from '../mm/pte';
import { gupFlags, looksAgain, lookUp, mmId } from '../mmu/fault_policy';
import { KVM } from '../mmu/kvm';
import { GUEST_BITS } from '../mmu/leaf_table';
import { folioSetReferenced } from '../mmu/pfn';
import { isFirstMapping, isOnlyMapping, mapFirst, mapWritable } from '../mmu/settled_map';
import { settledTable } from '../mmu/settled_table';
import { isReached, reachedLeaf, reachedSptep } from '../mmu/shadow_walk';
import { spteToPfn } from '../mmu/spte';
import { bump } from '../stats';
import { Gfn, Hvn, Spte } from '../types';
import { inPfn, READ_IN, readIn } from './absent_page';
import { readPte } from './file_fault';
import { straightGup } from './gup';
import { noteKnown } from './known_note';
import {
  accessOf,
  isPlainKind,
  isStaleHere,
  knowing,
  learnRules,
  mayBe,
  release,
  wantOfKind,
  writableSlot,
} from './plain_rules';
import { plainPresent } from './present_fault';

/** plainFault(): the fault is not plain, and nothing was done. */
export const PLAIN_NOT: u32 = 0xffffffff;

/**
 * Serves the fault in VCPU_FAULT_* at reachedSptep: RET_PF_*, RET_PF_CONTINUE for the host's turn, or PLAIN_NOT. The
 * counts of the running batch are for the clock.
 */
export function plainFault(vcpu: usize, accesses: u32, l2Hits: u32): u32 {
  learnRules(vcpu);
  if (!mayBe || !isReached()) return PLAIN_NOT;
  const sptep = reachedSptep;
  const flags = load<u32>(vcpu, VCPU_FAULT_FLAGS);
  const gva = load<u64>(vcpu, VCPU_FAULT_GVA);
  const guest = settledTable(vcpu, reachedLeaf, gva);
  if (guest == 0) return PLAIN_NOT;
  const gpte = load<u64>(<usize>(guest & ~GUEST_BITS) + (sptep & 0xff8));
  if (!isPlainKind(gpte, guest, flags)) return PLAIN_NOT;
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
  const want = wantOfKind(flags);
  const pte = load<u32>(ptepAt(pmdp, hvn));
  if ((pte & HPTE_PRESENT) == 0) {
    if (old != 0) return PLAIN_NOT;
    return faultIn(vcpu, slot, gfn, access, hvn, pmdp, want, accesses, l2Hits);
  }
  if (old != 0 && spteToPfn(old) != pte >> HPTE_PFN_SHIFT) return PLAIN_NOT;
  return mapPresent(vcpu, slot, gfn, access, hvn, pmdp, want, old, accesses, l2Hits);
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
  if (knowing && old == 0)
    noteKnown(vcpu, load<u64>(vcpu, VCPU_FAULT_GVA), slot, gfn, access, hvn, pmdp);
  return RET_PF_FIXED;
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
  const result = readIn(vcpu, hvn, pmdp, want, accesses, l2Hits, 0);
  if (result != READ_IN) return result;
  mapFirst(vcpu, slot, gfn, access, inPfn, (readPte & HPTE_WRITE) != 0);
  release(inPfn);
  if (knowing) noteKnown(vcpu, load<u64>(vcpu, VCPU_FAULT_GVA), slot, gfn, access, hvn, pmdp);
  return RET_PF_FIXED;
}
