// The plain fault (plain_fault.ts) at a known page (known_page.ts): the same steps with all addresses at hand, without
// the lookups in the TLB and the walk that find out that there is a fault.

import {
  ACCESS_WRITE,
  FAULT_CHECK_NONE,
  FRAME_FLAGS,
  HPTE_AUX,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  KVM_FEATURE_PREFETCH,
  KVM_FEATURE_SPTE_PINS,
  KVM_INVALIDATE_SEQ,
  PT64_PKEY_BIT,
  RET_PF_FIXED,
  SP_GVA_EPOCH,
  STRAIGHT_AREA_WRITE,
  VCPU_FAULT_FLAGS,
  VCPU_FAULT_GVA,
  VCPU_FAULT_WALKED,
  VCPU_REQUESTS,
  VCPU_TLB,
} from '../abi';
import {
  MINOR_FAULTS,
  SHADOW_PAGE_FAULTS,
  SPTES_INSTALLED,
  VMEXITS,
  WALK_STEPS,
} from '../counters';
import { framePtr, getPage } from '../mm/frame';
import { wpSurelyReuses } from '../mm/cow';
import { faultBegin } from '../mm/memory';
import { linkEpoch } from '../mmu/flush';
import { faultCheck } from '../mmu/fault_policy';
import { hasFeature, KVM } from '../mmu/kvm';
import { isStale } from '../mmu/page_fault';
import { ptePrefetch } from '../mmu/prefetch';
import { retries } from '../mmu/quick_fault';
import { PT_WRITABLE } from '../mmu/pte_bits';
import { bitmapToSp, spFlipPresent } from '../mmu/shadow_page';
import { isReadOnly, setWalkPfn } from '../mmu/shadow_walk';
import { spteToPfn } from '../mmu/spte';
import { bump, bumpBy } from '../stats';
import { TLB_PAGE_MASK } from '../tlb/block';
import { placePage, removePlaced, tlbFlushCount } from '../tlb/known';
import { tlbValueOf } from '../tlb/lookup';
import { Hpte, Sptep, Spte } from '../types';
import { inPfn, READ_IN, readIn } from './absent_page';
import { readPte } from './file_fault';
import { COUNT_SERVED, COUNT_UPGRADED, countKnown } from './known_counts';
import { keyBits, purgePlaces } from './known_note';
import {
  KNOWN_AREA,
  KNOWN_BITMAP,
  KNOWN_GPTE,
  KNOWN_GPTEP,
  KNOWN_HEAD,
  KNOWN_HPTEP,
  KNOWN_HVN,
  KNOWN_L1_SET,
  KNOWN_L2_SET,
  KNOWN_L2_WAY,
  KNOWN_PMDP,
  KNOWN_PURGED,
  KNOWN_SIGNATURE,
  KNOWN_SPTE,
  KNOWN_SPTEP,
  KNOWN_TRANSLATION,
  KNOWN_WHERE,
  KNOWN_WRITABLE,
  noteFrame,
} from './known_page';
import { replaceKnown } from './known_replace';
import { isFast, isTouchable, markLast, slowFlagged, storeMarked } from './known_touch';
import { release, wantOfKind } from './plain_rules';

/** Tables that a walk reads. */
export const WALK_LEVELS: u32 = 4;

/** Makes a pte writable for a write that needs no copy, as wpReuse() does but for making it young; 0: it does. */
function reused(entry: usize, pte: Hpte): Hpte {
  const args = load<u32>(<usize>load<u32>(entry, KNOWN_AREA), STRAIGHT_AREA_WRITE);
  if (!wpSurelyReuses(pte, args)) return 0;
  faultBegin();
  bump(MINOR_FAULTS);
  return (pte & ~HPTE_AUX) | HPTE_WRITE | HPTE_DIRTY;
}

/**
 * Looks up a page that the host maps, as lookUp() and plainPresent() do, and gives it back, but for the reference: the pte
 * as it is then; 0: nothing was done. `want` is FOLL_WRITE or 0.
 */
function touchKnown(entry: usize, pte: Hpte, hptep: usize, want: u32): Hpte {
  const pfn = pte >> HPTE_PFN_SHIFT;
  const page = framePtr(pfn);
  let flags = load<u32>(page, FRAME_FLAGS);
  if ((pte & HPTE_SWAP) != 0 || !isTouchable(pfn, flags)) return 0;
  if (!isFast(pte)) {
    if (want != 0 && (pte & HPTE_WRITE) == 0) {
      pte = reused(entry, pte);
      if (pte == 0) return 0;
    }
    flags = slowFlagged(flags, pte, want);
  }
  pte |= HPTE_YOUNG;
  store<u32>(hptep, pte);
  storeMarked(pfn, page, flags);
  return pte;
}

/** Notes that an spte became present, of a page that has no other. */
function notePresent(entry: usize, sptep: Sptep, pfn: u32): void {
  store<u32>(<usize>load<u32>(entry, KNOWN_HEAD), <u32>sptep);
  spFlipPresent(sptep, <usize>load<u32>(entry, KNOWN_BITMAP), 1);
  if (hasFeature(KVM_FEATURE_SPTE_PINS)) getPage(pfn);
}

/** Writes the spte of a known page that the host maps by `pte`, where `old` was; returns it. */
function mapKnown(vcpu: usize, entry: usize, sptep: Sptep, old: Spte, pte: Hpte): Spte {
  const pfn = pte >> HPTE_PFN_SHIFT;
  let spte = load<u64>(entry, KNOWN_SPTE) | ((<u64>pfn) << 12);
  spte |= select<u64>(load<u64>(entry, KNOWN_WRITABLE), 0, (pte & HPTE_WRITE) != 0);
  store<u64>(sptep, spte);
  // The guest's entry may have been another in between.
  const translation = load<u32>(entry, KNOWN_TRANSLATION);
  store<u32>(<usize>load<u32>(entry, KNOWN_WHERE), translation);
  if (old == 0) notePresent(entry, sptep, pfn);
  // Only what noted its gva can be flushed by it.
  const sp = bitmapToSp(<usize>load<u32>(entry, KNOWN_BITMAP));
  if (load<u32>(sp, SP_GVA_EPOCH) == linkEpoch) noteFrame(entry, pfn);
  if (hasFeature(KVM_FEATURE_PREFETCH)) ptePrefetch(vcpu, sptep);
  return spte;
}

/**
 * Enters the page of an entry, which `spte` maps, into the vCPU's TLB for the access that `want` asks for. No TLB holds it
 * but for entries of the vCPU (`held`) that denied the access.
 */
function fillKnown(vcpu: usize, entry: usize, spte: Spte, want: u64, held: bool): void {
  const pfn = spteToPfn(spte);
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  const pkey = (<u32>(spte >> (<u64>PT64_PKEY_BIT))) & 15;
  const key = want | keyBits(entry, (spte & PT_WRITABLE) != 0);
  const value = tlbValueOf(pfn, load<u32>(entry, KNOWN_TRANSLATION) >> 3, pkey);
  const l1Set = <usize>load<u32>(entry, KNOWN_L1_SET);
  const l2Set = <usize>load<u32>(entry, KNOWN_L2_SET);
  if (held)
    removePlaced(tlb, l1Set, l2Set, <usize>load<u32>(entry, KNOWN_L2_WAY), want & TLB_PAGE_MASK);
  if (load<u32>(entry, KNOWN_PURGED) != tlbFlushCount(tlb))
    purgePlaces(tlb, entry, want & TLB_PAGE_MASK);
  const signature = load<u8>(entry, KNOWN_SIGNATURE);
  store<u32>(entry, <u32>placePage(tlb, l1Set, l2Set, signature, key, value), KNOWN_L2_WAY);
  setWalkPfn(pfn);
}

/** Whether an invalidation of the page of an entry is going on. */
function isStaleNow(entry: usize): bool {
  return isStale(faultCheck, load<u32>(KVM, KVM_INVALIDATE_SEQ), load<u32>(entry, KNOWN_HVN));
}

/** serveKnown(): it is another fault, or none, and nothing was done. */
export const KNOWN_NOT: u32 = 0xffffffff;
/** serveKnown(): the access can be made; tlbValue has its translation. */
export const KNOWN_SERVED: u32 = 0xfffffffe;

/** The fault of serveKnown() at a page that the host does not map, and that takes nobody's place. */
function readKnown(
  vcpu: usize,
  entry: usize,
  want: u64,
  kind: u32,
  accesses: u32,
  l2Hits: u32,
): u32 {
  store<u64>(vcpu, want & TLB_PAGE_MASK, VCPU_FAULT_GVA);
  store<u32>(vcpu, kind, VCPU_FAULT_FLAGS);
  const hvn = load<u32>(entry, KNOWN_HVN);
  const pmdp = <usize>load<u32>(entry, KNOWN_PMDP);
  const result = readIn(vcpu, hvn, pmdp, wantOfKind(kind), accesses, l2Hits, entry);
  if (result != READ_IN) return result;
  const spte = mapKnown(vcpu, entry, <usize>load<u32>(entry, KNOWN_SPTEP), 0, readPte);
  bump(SPTES_INSTALLED);
  release(inPfn);
  store<u32>(vcpu, 0, VCPU_FAULT_WALKED);
  // A flush may have become a request.
  if (load<u32>(vcpu, VCPU_REQUESTS) != 0) return RET_PF_FIXED;
  fillKnown(vcpu, entry, spte, want, false);
  bump(VMEXITS);
  bump(SHADOW_PAGE_FAULTS);
  bumpBy(WALK_STEPS, WALK_LEVELS);
  return KNOWN_SERVED;
}

/**
 * Makes an access of a kind to the page of an entry that is good for it (isKnownFor()), if it faults: KNOWN_*, or RET_PF_*
 * where the fault came to something else. `steps` of the walk that faults were not counted; the counts of the running
 * batch are for the clock.
 */
export function serveKnown(
  vcpu: usize,
  entry: usize,
  want: u64,
  kind: u32,
  steps: u32,
  accesses: u32,
  l2Hits: u32,
): u32 {
  const sptep = <usize>load<u32>(entry, KNOWN_SPTEP);
  const old = load<u64>(sptep);
  const mapped = load<u32>(<usize>load<u32>(entry, KNOWN_HEAD));
  const gpte = load<u64>(<usize>load<u32>(entry, KNOWN_GPTEP)) ^ load<u64>(entry, KNOWN_GPTE);
  const busy = load<u32>(vcpu, VCPU_REQUESTS) | retries;
  if ((gpte | (<u64>busy)) != 0) return KNOWN_NOT;
  if (faultCheck != FAULT_CHECK_NONE && isStaleNow(entry)) return KNOWN_NOT;
  const hptep = <usize>load<u32>(entry, KNOWN_HPTEP);
  let pte = load<u32>(hptep);
  if (old == 0) {
    if (mapped != 0) return KNOWN_NOT;
  } else {
    // A write to a page of which this is the only spte, and a read-only one.
    const other = (kind ^ ACCESS_WRITE) | (mapped ^ (<u32>sptep));
    if (other != 0 || !isReadOnly(old) || (pte & HPTE_PRESENT) == 0) return KNOWN_NOT;
    if (spteToPfn(old) != pte >> HPTE_PFN_SHIFT) return KNOWN_NOT;
  }
  const foll = wantOfKind(kind);
  if ((pte & HPTE_PRESENT) == 0) {
    pte = replaceKnown(entry, foll, accesses, l2Hits, steps);
    if (pte == 0) {
      bumpBy(WALK_STEPS, steps);
      return readKnown(vcpu, entry, want, kind, accesses, l2Hits);
    }
  } else {
    pte = touchKnown(entry, pte, hptep, foll);
    if (pte == 0) return KNOWN_NOT;
  }
  const spte = mapKnown(vcpu, entry, sptep, old, pte);
  markLast(pte >> HPTE_PFN_SHIFT);
  fillKnown(vcpu, entry, spte, want, old != 0);
  bumpBy(WALK_STEPS, steps + WALK_LEVELS);
  countKnown(COUNT_SERVED);
  if (old != 0) countKnown(COUNT_UPGRADED);
  return KNOWN_SERVED;
}
