// The plain fault (plain_fault.ts) at a known page (known_page.ts): the same steps with all addresses at hand.

import {
  ACCESS_FETCH,
  ACCESS_READ,
  FOLL_FAST,
  FOLL_TOUCH,
  FOLL_YOUNG,
  FRAME_FLAGS,
  HPTE_DIRTY,
  HPTE_PFN_SHIFT,
  HPTE_PRESENT,
  HPTE_SWAP,
  HPTE_WRITE,
  HPTE_YOUNG,
  KVM_FEATURE_PREFETCH,
  KVM_FEATURE_SPTE_PINS,
  KVM_INVALIDATE_SEQ,
  PG_DIRTY,
  PG_HUGE,
  PG_REFERENCED,
  RET_PF_FIXED,
  ROLE_AD_DISABLED,
  SP_ROLE,
  STRAIGHT_NOT,
  TOUCH_FOLIO_REFERENCED,
  TOUCH_PTE_YOUNG,
  VCPU_FAULT_GVA,
  VCPU_REQUESTS,
  ZERO_PFN,
} from '../abi';
import { GUEST_WALKS, SPTES_INSTALLED } from '../counters';
import { framePtr, getPage } from '../mm/frame';
import { markPlain } from '../mm/mark_accessed';
import { ptepAt } from '../mm/pte';
import { gupFlags, marksAccessed, touch } from '../mmu/fault_policy';
import { hasFeature, KVM } from '../mmu/kvm';
import { GUEST_BITS, GUEST_CALM } from '../mmu/leaf_table';
import { firstSpte } from '../mmu/make_spte';
import { gfnMapped, gfnToRmap } from '../mmu/memslot';
import { ptePrefetch } from '../mmu/prefetch';
import { retries } from '../mmu/quick_fault';
import { mayBeKnown } from '../mmu/settled_map';
import { quiet, settledTable } from '../mmu/settled_table';
import { spNotePresent, spSetTranslation, spteIndex, sptepToSp } from '../mmu/shadow_page';
import { reachedLeaf, reachedSptep } from '../mmu/shadow_walk';
import { bump } from '../stats';
import { Gfn, Hpte, Hvn, Pfn, Spte } from '../types';
import { inPfn, READ_IN, readIn } from './absent_page';
import { areaOf } from './config';
import { readPte } from './file_fault';
import { argsOf } from './gup';
import {
  KNOWN_ACCESS,
  KNOWN_GFN,
  KNOWN_GPTE,
  KNOWN_GPTEP,
  KNOWN_GUEST,
  KNOWN_HEAD,
  KNOWN_HPTEP,
  KNOWN_HVN,
  KNOWN_MAPPED,
  KNOWN_PMDP,
  KNOWN_QUIET,
  KNOWN_SP,
  KNOWN_SPTE,
  KNOWN_WRITABLE,
  mayBeOfKind,
  newEntry,
  renewKnown,
} from './known_page';
import { PLAIN_NOT } from './plain_fault';
import {
  isPlainKind,
  isStaleHere,
  knowing,
  learnRules,
  release,
  wantOfKind,
  writableSlot,
} from './plain_rules';

/** How the host's lookup touches a page that it finds: what it sets in the pte, and in the page's flags. */
let fastPte: Hpte = 0;
let fastFlags: u32 = 0;
let slowPte: Hpte = 0;
let slowFlags: u32 = 0;
/** Bits of a pte with which the fast lookup gives the page; without them it is left to the slow one. */
let fastAsks: Hpte = 0;
/** What the slow lookup sets in the flags of a page that was not dirty when it is looked up for writing. */
let slowDirty: u32 = 0;

/** Learns how the host's lookup touches pages; false: it marks them accessed, which is not for here. */
export function learnTouch(): bool {
  fastAsks = touch != 0 ? HPTE_WRITE : 0;
  fastPte = touch == TOUCH_PTE_YOUNG ? HPTE_YOUNG : 0;
  fastFlags = touch == TOUCH_FOLIO_REFERENCED ? PG_REFERENCED : 0;
  const fast = (gupFlags & FOLL_FAST) != 0;
  const touches = !fast && (gupFlags & FOLL_TOUCH) != 0;
  slowFlags = fast ? PG_REFERENCED : 0;
  slowPte = touches ? HPTE_YOUNG : 0;
  slowDirty = touches ? PG_DIRTY : 0;
  if (touches && (gupFlags & FOLL_YOUNG) == 0) return false;
  return touch == 0 || (fastPte | fastFlags) != 0;
}

/** Whether a fault of the page of an entry is one for here but for what the host's pte says. */
function isKnownAbsent(vcpu: usize, entry: usize): bool {
  const head = <usize>load<u32>(entry, KNOWN_HEAD);
  const gpte = load<u64>(<usize>load<u32>(entry, KNOWN_GPTEP)) ^ load<u64>(entry, KNOWN_GPTE);
  const busy = load<u32>(head) | load<u32>(vcpu, VCPU_REQUESTS) | retries;
  return (load<u64>(reachedSptep) | gpte | (<u64>busy)) == 0;
}

/**
 * Looks up a page that the host maps, as lookUp() and plainPresent() do, but for the reference; false: nothing was done.
 * `want` is FOLL_WRITE or 0.
 */
function touchKnown(pte: Hpte, hptep: usize, want: u32): bool {
  const asked = want == 0 ? HPTE_PRESENT : HPTE_PRESENT | HPTE_WRITE;
  const pfn = pte >> HPTE_PFN_SHIFT;
  const page = framePtr(pfn);
  let flags = load<u32>(page, FRAME_FLAGS);
  const lacks = ((pte & (asked | HPTE_SWAP)) ^ asked) | (flags & PG_HUGE);
  if (lacks != 0 || pfn == ZERO_PFN) return false;
  if ((pte & fastAsks) != 0) {
    store<u32>(hptep, pte | fastPte);
    flags |= fastFlags;
  } else {
    store<u32>(hptep, pte | slowPte);
    flags |= slowFlags;
    if (want != 0 && (pte & HPTE_DIRTY) == 0) flags |= slowDirty;
  }
  store<u32>(page, flags, FRAME_FLAGS);
  return true;
}

/** kvm_release_pfn_clean() of a page of which touchKnown() took no reference. */
function releaseKnown(pfn: Pfn): void {
  if (marksAccessed == 0) return;
  const page = framePtr(pfn);
  markPlain(pfn, page, load<u32>(page, FRAME_FLAGS));
}

/** Writes the spte of a known page that has none, for a host page that is mapped by `pte`; returns it. */
function mapKnown(vcpu: usize, entry: usize, pte: Hpte): Spte {
  const sptep = reachedSptep;
  const pfn = pte >> HPTE_PFN_SHIFT;
  let spte = load<u64>(entry, KNOWN_SPTE) | ((<u64>pfn) << 12);
  if ((pte & HPTE_WRITE) != 0) spte |= load<u64>(entry, KNOWN_WRITABLE);
  store<u64>(sptep, spte);
  store<u32>(<usize>load<u32>(entry, KNOWN_HEAD), <u32>sptep);
  store<u8>(<usize>load<u32>(entry, KNOWN_MAPPED), 1);
  const sp = <usize>load<u32>(entry, KNOWN_SP);
  const index = spteIndex(sptep);
  // The guest's entry may have been another in between.
  spSetTranslation(sp, index, load<u32>(entry, KNOWN_GFN), load<u32>(entry, KNOWN_ACCESS));
  spNotePresent(sp, index);
  bump(SPTES_INSTALLED);
  if (hasFeature(KVM_FEATURE_SPTE_PINS)) getPage(pfn);
  if (hasFeature(KVM_FEATURE_PREFETCH)) ptePrefetch(vcpu, sptep);
  return spte;
}

/** Kinds of accesses (a bit each) that are plain at a guest's entry below tables that grant `above`, to a host page. */
function kindsOf(gpte: u64, above: u32, hvn: Hvn): u32 {
  const area = areaOf(hvn);
  if (area == 0) return 0;
  let kinds: u32 = 0;
  for (let kind = ACCESS_READ; kind <= ACCESS_FETCH; kind++) {
    const args = argsOf(area, gupFlags | wantOfKind(kind));
    if (args != STRAIGHT_NOT && isPlainKind(gpte, above, kind)) kinds |= (<u32>1) << kind;
  }
  return kinds;
}

/** Notes the page that was just mapped for the fault in VCPU_FAULT_* at reachedSptep. */
export function noteKnown(
  vcpu: usize,
  slot: usize,
  gfn: Gfn,
  access: u32,
  hvn: Hvn,
  pmdp: usize,
): void {
  const gva = load<u64>(vcpu, VCPU_FAULT_GVA);
  const sptep = reachedSptep;
  const entry = newEntry(sptep, gva);
  if (entry == 0) return;
  const guest = settledTable(vcpu, reachedLeaf, gva);
  const gptep = <usize>(guest & ~GUEST_BITS) + (sptep & 0xff8);
  const sp = sptepToSp(sptep);
  const adDisabled = (load<u32>(sp, SP_ROLE) & ROLE_AD_DISABLED) != 0;
  const spte = firstSpte(access, 0, false, adDisabled);
  store<u32>(entry, hvn, KNOWN_HVN);
  store<u64>(entry, load<u64>(gptep), KNOWN_GPTE);
  store<u64>(entry, spte, KNOWN_SPTE);
  store<u64>(entry, firstSpte(access, 0, true, adDisabled) ^ spte, KNOWN_WRITABLE);
  store<u32>(entry, <u32>gptep, KNOWN_GPTEP);
  store<u32>(entry, <u32>gfnToRmap(slot, gfn, 1), KNOWN_HEAD);
  store<u32>(entry, <u32>ptepAt(pmdp, hvn), KNOWN_HPTEP);
  store<u32>(entry, <u32>sp, KNOWN_SP);
  store<u32>(entry, <u32>gfnMapped(slot, gfn), KNOWN_MAPPED);
  store<u32>(entry, gfn, KNOWN_GFN);
  store<u32>(entry, <u32>pmdp, KNOWN_PMDP);
  store<u32>(entry, guest & ~GUEST_CALM, KNOWN_GUEST);
  store<u32>(entry, access, KNOWN_ACCESS);
  const settled = guest != 0 && mayBeKnown(slot, gfn);
  renewKnown(entry, settled ? kindsOf(load<u64>(gptep), guest, hvn) : 0, quiet);
}

/** Looks in a new quiet at what an entry says of the guest's tables, memslots and areas; false: it is no good. */
function renew(vcpu: usize, entry: usize, gva: u64): bool {
  learnRules(vcpu);
  if (!knowing) return false;
  // The first fault of a quiet below a table clears flood counts.
  const guest = settledTable(vcpu, reachedLeaf, gva);
  const calm = load<u32>(entry, KNOWN_GUEST) | GUEST_CALM;
  if (guest != calm) return false;
  const gfn = load<u32>(entry, KNOWN_GFN);
  const slot = writableSlot(gfn);
  if (slot == 0 || !mayBeKnown(slot, gfn)) return false;
  const kinds = kindsOf(load<u64>(entry, KNOWN_GPTE), guest, load<u32>(entry, KNOWN_HVN));
  renewKnown(entry, kinds, quiet);
  return true;
}

/** knownFault() served the fault. */
export const KNOWN_SERVED: u32 = 0xfffffffe;
/** The spte that it made. */
export let knownSpte: Spte = 0;

/**
 * Serves the fault of a kind in VCPU_FAULT_* at the page of an entry that knownPage() gave for it: KNOWN_SERVED, PLAIN_NOT
 * and nothing was done, or what plainFault() returns.
 */
export function knownFault(vcpu: usize, entry: usize, kind: u32, accesses: u32, l2Hits: u32): u32 {
  if (load<u64>(entry, KNOWN_QUIET) != quiet) {
    if (!renew(vcpu, entry, load<u64>(vcpu, VCPU_FAULT_GVA))) return PLAIN_NOT;
  }
  if (!mayBeOfKind(entry, kind) || !isKnownAbsent(vcpu, entry)) return PLAIN_NOT;
  const hvn = load<u32>(entry, KNOWN_HVN);
  if (isStaleHere(load<u32>(KVM, KVM_INVALIDATE_SEQ), hvn)) return PLAIN_NOT;
  const want = wantOfKind(kind);
  const hptep = <usize>load<u32>(entry, KNOWN_HPTEP);
  const pte = load<u32>(hptep);
  if ((pte & HPTE_PRESENT) == 0) return knownFaultIn(vcpu, entry, hvn, want, accesses, l2Hits);
  if (!touchKnown(pte, hptep, want)) return PLAIN_NOT;
  bump(GUEST_WALKS);
  knownSpte = mapKnown(vcpu, entry, pte);
  releaseKnown(pte >> HPTE_PFN_SHIFT);
  return KNOWN_SERVED;
}

/** The same at a page that the host does not map. */
function knownFaultIn(
  vcpu: usize,
  entry: usize,
  hvn: Hvn,
  want: u32,
  accesses: u32,
  l2Hits: u32,
): u32 {
  const result = readIn(vcpu, hvn, <usize>load<u32>(entry, KNOWN_PMDP), want, accesses, l2Hits);
  if (result != READ_IN) return result;
  knownSpte = mapKnown(vcpu, entry, readPte);
  release(inPfn);
  // A flush may have become a request.
  return load<u32>(vcpu, VCPU_REQUESTS) == 0 ? KNOWN_SERVED : RET_PF_FIXED;
}
