// The processor's two-dimensional walk: from gva to gpa through the guest's own tables, each of which
// is read at a gpa that the nested tables translate (AMD APM vol. 2, 15.25.5). A nested fault leaves
// with the gpa and the nested error code; a fault of the guest's own tables is the guest's, and the
// host never sees it. A and D bits are set in both dimensions as the walk passes.

import {
  ACCESS_FETCH,
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  PFERR_FETCH_MASK,
  PFERR_PRESENT_MASK,
  PFERR_RSVD_MASK,
  PFERR_USER_MASK,
  PFERR_WRITE_MASK,
  PT64_NX_BIT,
  SPTE_AD_DISABLED_BIT,
  VCPU_CR3,
  VCPU_FAULT_CODE,
  VCPU_FAULT_CODE_HIGH,
  VCPU_FAULT_GPA,
  VCPU_ROOT,
  VCPU_ROOT_LEVEL,
  VCPU_WALK_ERROR,
} from '../abi';
import { frameContentForWrite, frameContentPtr } from '../mm/frame';
import { Sptep } from '../types';
import {
  accessErrorBits,
  gpteAccess,
  gptePkey,
  gpteToFrame,
  isLastGpte,
  levelShift,
  pagingRootLevel,
  permissionFault,
  reservedGpteBits,
} from './guest_pte';
import {
  PT64_NX,
  PT_ACCESSED,
  PT_DIRTY,
  PT_PAGE_SIZE,
  PT_PRESENT,
  PT_USER,
  PT_WRITABLE,
} from './pte_bits';
import { SPTE_MMIO, SPTE_PFN_MASK } from './spte';

/** What the walk came to. */
export const NESTED_OK: u32 = 0;
/** The nested tables refused: VCPU_FAULT_GPA, VCPU_FAULT_CODE, VCPU_FAULT_CODE_HIGH. */
export const NESTED_FAULT: u32 = 1;
/** The guest's tables refused: #PF with VCPU_WALK_ERROR, delivered by the processor. */
export const NESTED_GUEST_FAULT: u32 = 2;

/** PFERR_GUEST_FINAL_MASK and PFERR_GUEST_PAGE_MASK, the high word. */
const GUEST_FINAL: u32 = 1;
const GUEST_PAGE: u32 = 2;

/** Result: frame, size of the smaller mapping, rights at the bit positions of an entry. */
export let nestedPfn: u32 = 0;
export let nestedGfn: u32 = 0;
export let nestedLevel: u32 = 0;
export let nestedBits: u64 = 0;
export let nestedPkey: u32 = 0;
export let nestedSteps: u32 = 0;
/** Leaf spte of the final gpa. */
export let nestedSptep: Sptep = 0;

let gpaPfn: u32 = 0;
let gpaLevel: u32 = 0;
let gpaSptep: Sptep = 0;

function nestedFault(vcpu: usize, gpa: u64, code: u32, high: u32, kind: u32): bool {
  code |= PFERR_USER_MASK;
  if (kind == ACCESS_WRITE) code |= PFERR_WRITE_MASK;
  if (kind == ACCESS_FETCH) code |= PFERR_FETCH_MASK;
  store<u64>(vcpu, gpa, VCPU_FAULT_GPA);
  store<u32>(vcpu, code, VCPU_FAULT_CODE);
  store<u32>(vcpu, high, VCPU_FAULT_CODE_HIGH);
  return false;
}

/** One gpa through the nested tables; all accesses are user accesses there. */
function nestedTranslate(vcpu: usize, gpa: u64, kind: u32, high: u32): bool {
  let table = <usize>load<u32>(vcpu, VCPU_ROOT);
  let level = load<u32>(vcpu, VCPU_ROOT_LEVEL);
  const noAd = (<u64>1) << (<u64>SPTE_AD_DISABLED_BIT);
  let sptep: Sptep = 0;
  let spte: u64 = 0;
  for (; ; level--) {
    sptep = table + (((<usize>(gpa >> (<u64>(12 + 9 * (level - 1))))) & 511) << 3);
    spte = load<u64>(sptep);
    nestedSteps++;
    if ((spte & PT_PRESENT) == 0) {
      // KVM writes MMIO sptes with reserved bits set, so that the access says what it is.
      const code: u32 = (spte & SPTE_MMIO) != 0 ? PFERR_RSVD_MASK : 0;
      return nestedFault(vcpu, gpa, code, high, kind);
    }
    if (level == 1 || (spte & PT_PAGE_SIZE) != 0) break;
    if ((spte & (PT_ACCESSED | noAd)) == 0) store<u64>(sptep, spte | PT_ACCESSED);
    table = <usize>(spte & SPTE_PFN_MASK);
  }
  const denied =
    (kind == ACCESS_WRITE && (spte & PT_WRITABLE) == 0) ||
    (kind == ACCESS_FETCH && spte >> (<u64>PT64_NX_BIT) != 0);
  if (denied) return nestedFault(vcpu, gpa, PFERR_PRESENT_MASK, high, kind);
  if ((spte & noAd) == 0) {
    const set = spte | PT_ACCESSED | (kind == ACCESS_WRITE ? PT_DIRTY : 0);
    if (set != spte) store<u64>(sptep, set);
  }
  const inside: u32 = ((<u32>1) << (9 * (level - 1))) - 1;
  gpaPfn = ((<u32>((spte & SPTE_PFN_MASK) >> 12)) & ~inside) | ((<u32>(gpa >> 12)) & inside);
  gpaLevel = level;
  gpaSptep = sptep;
  return true;
}

function guestFault(vcpu: usize, code: u32): u32 {
  store<u32>(vcpu, code, VCPU_WALK_ERROR);
  return NESTED_GUEST_FAULT;
}

/** The translation is known: the final gpa, then the result. */
function finishNested(vcpu: usize, gpa: u64, level: u32, access: u32, gpte: u64, flags: u32): u32 {
  const kind = flags & ACCESS_KIND_MASK;
  if (!nestedTranslate(vcpu, gpa, kind, GUEST_FINAL)) return NESTED_FAULT;
  const spte = load<u64>(gpaSptep);
  nestedSptep = gpaSptep;
  nestedPfn = gpaPfn;
  nestedGfn = <u32>(gpa >> 12);
  nestedLevel = min<u32>(level, gpaLevel);
  nestedPkey = gptePkey(gpte);
  nestedBits = gpte & (PT_DIRTY | ((<u64>1) << 8));
  if ((access & 2) != 0) nestedBits |= spte & PT_WRITABLE;
  if ((access & 4) != 0) nestedBits |= PT_USER;
  if ((access & 1) == 0) nestedBits |= PT64_NX;
  nestedBits |= spte & PT64_NX;
  return NESTED_OK;
}

/** Walks both dimensions for an access (ACCESS_* flags). NESTED_*. */
export function nestedWalk(vcpu: usize, gva: u64, flags: u32): u32 {
  const kind = flags & ACCESS_KIND_MASK;
  const root = pagingRootLevel(vcpu);
  nestedSteps = 0;
  if (root == 0) return finishNested(vcpu, gva, 3, 7, PT_DIRTY, flags);
  const shift: usize = root == 2 ? 2 : 3;
  const indexMask: u64 = root == 2 ? 1023 : 511;
  let next = load<u64>(vcpu, VCPU_CR3);
  let access: u32 = 7;
  let level = root;
  while (true) {
    const frame = gpteToFrame(root, level, next, false);
    const index = (gva >> (<u64>levelShift(root, level))) & indexMask;
    const gpa = (frame << 12) | (index << (<u64>shift));
    // A table is read as if it were written, since A and D may have to be set in it.
    if (!nestedTranslate(vcpu, gpa, ACCESS_WRITE, GUEST_PAGE)) return NESTED_FAULT;
    const at = frameContentPtr(gpaPfn) + ((<usize>index) << shift);
    const gpte = root == 2 ? <u64>load<u32>(at) : load<u64>(at);
    nestedSteps++;
    if ((gpte & PT_PRESENT) == 0) return guestFault(vcpu, accessErrorBits(vcpu, flags));
    if ((gpte & reservedGpteBits(vcpu, root, level, gpte)) != 0) {
      const code = accessErrorBits(vcpu, flags) | PFERR_PRESENT_MASK | PFERR_RSVD_MASK;
      return guestFault(vcpu, code);
    }
    access &= gpteAccess(gpte);
    const last = isLastGpte(vcpu, root, level, gpte);
    let set = gpte | PT_ACCESSED;
    if (last) {
      const denied = permissionFault(vcpu, access, gptePkey(gpte), flags);
      if (denied != 0) return guestFault(vcpu, denied);
      if (kind == ACCESS_WRITE) set |= PT_DIRTY;
    }
    if (set != gpte) {
      const to = frameContentForWrite(gpaPfn) + ((<usize>index) << shift);
      if (root == 2) store<u32>(to, <u32>set);
      else store<u64>(to, set);
    }
    if (last) {
      const offset = gva & (((<u64>1) << (<u64>levelShift(root, level))) - 1);
      const to = (gpteToFrame(root, level, gpte, true) << 12) + offset;
      return finishNested(vcpu, to, level, access, set, flags);
    }
    next = gpte;
    level--;
  }
}
