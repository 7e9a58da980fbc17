// The rights of an access against those of a TLB entry: for each combination of access kind, CPL and
// EFLAGS.AC the deny bits that the access is subject to, made anew when a register changes.

import {
  ACCESS_CONTROL,
  ACCESS_FETCH,
  ACCESS_IMPLICIT,
  ACCESS_KIND_MASK,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  CR0_WP,
  CR4_PKE,
  CR4_SMAP,
  CR4_SMEP,
  PT64_NX_BIT,
  PT_DIRTY_BIT,
  PT_USER_BIT,
  PT_WRITABLE_BIT,
  RFLAGS_AC,
  VCPU_CR0,
  VCPU_CR4,
  VCPU_GUEST_WP,
  VCPU_PKRU,
  VCPU_RFLAGS,
  VCPU_TLB,
} from '../abi';
import { PKEY_SHIFT, TLB_MATCH_MASK, TLB_ND, TLB_NU, TLB_NW, TLB_NX, TLB_SU } from './block';

// What the access loops look up by the flags of a record (bits 3:0), one row of 8 bytes each, at fixed
// addresses so that a row is a constant away. They are those of the vCPU that runs.

const ROW_COUNT: u32 = 16;
/** u64: mask of the comparison with a key. */
export const ROW_MASKS: usize = memory.data(128, 64);
/** u64: 1 for a write, 1 << 32 for a fetch: counts of both in one add. */
export const ROW_KINDS: usize = memory.data<u64>(
  [0, 1, 0x100000000, 0, 0, 1, 0x100000000, 0, 0, 1, 0x100000000, 0, 0, 1, 0x100000000, 0],
  64,
);
/** u32: the yardstick's word of pair 0 that the access goes to (lockstep.ts). */
export const ROW_WORDS: usize = memory.data(128, 64);
/** Registers for which the masks were made, and 2: made. */
const MASKS_STATE: usize = memory.data(8, 8);
const MASKS_MADE: u32 = 2;

/** Offset of the row of a record. */
export function rowOf(record: u64): usize {
  return (<usize>(record & 15)) << 3;
}

/** Says where the yardstick's words lie. */
export function placeWords(words: usize): void {
  for (let flags: u32 = 0; flags < ROW_COUNT; flags++) {
    const write: usize = (flags & ACCESS_KIND_MASK) == ACCESS_WRITE ? 4 : 0;
    store<u32>(rowOf(flags), <u32>(words + write), ROW_WORDS);
  }
}

/** Deny bits that an access is subject to: the part of its mask below the page number. */
function denyMask(vcpu: usize, flags: u32): u64 {
  const cr4 = load<u32>(vcpu, VCPU_CR4);
  const kind = flags & ACCESS_KIND_MASK;
  // Every key has one of the two, so a control record never hits.
  if (kind == ACCESS_CONTROL) return TLB_NU | TLB_SU;
  const user = (flags & (ACCESS_SUPERVISOR | ACCESS_IMPLICIT)) == 0;
  const data = kind != ACCESS_FETCH;
  let mask: u64 = user ? TLB_NU : 0;
  if (kind == ACCESS_WRITE) {
    const wp = load<u32>(vcpu, VCPU_GUEST_WP) == 0 || (load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0;
    mask |= user || wp ? TLB_NW | TLB_ND : TLB_ND;
  }
  if (!data) mask |= TLB_NX;
  if (data && (cr4 & CR4_PKE) != 0) mask |= TLB_SU;
  if (!user) {
    const ac = (load<u32>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0 && (flags & ACCESS_IMPLICIT) == 0;
    if (!data && (cr4 & CR4_SMEP) != 0) mask |= TLB_SU;
    if (data && (cr4 & CR4_SMAP) != 0 && !ac) mask |= TLB_SU;
  }
  return mask;
}

/** Makes the masks current after a change of the vCPU's registers; returns the TLB block. */
export function tlbEnter(vcpu: usize): usize {
  const tlb = <usize>load<u32>(vcpu, VCPU_TLB);
  const state =
    (load<u32>(vcpu, VCPU_CR4) & (CR4_SMEP | CR4_SMAP | CR4_PKE)) |
    (load<u32>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) |
    (load<u32>(vcpu, VCPU_CR0) & CR0_WP) |
    (load<u32>(vcpu, VCPU_GUEST_WP) != 0 ? 1 : 0) |
    MASKS_MADE;
  if (load<u32>(MASKS_STATE) != state) {
    store<u32>(MASKS_STATE, state);
    for (let flags: u32 = 0; flags < ROW_COUNT; flags++) {
      store<u64>(rowOf(flags), denyMask(vcpu, flags) | TLB_MATCH_MASK, ROW_MASKS);
    }
  }
  return tlb;
}

/** Whether protection keys allow a data access to a user page (SDM vol. 3A, 4.6.2). */
function pkeyAllows(vcpu: usize, flags: u32, pkey: u32): bool {
  const rights = load<u32>(vcpu, VCPU_PKRU) >> (pkey << 1);
  if (rights & 1) return false;
  if ((flags & ACCESS_KIND_MASK) != ACCESS_WRITE || (rights & 2) == 0) return true;
  const user = (flags & (ACCESS_SUPERVISOR | ACCESS_IMPLICIT)) == 0;
  const wp = load<u32>(vcpu, VCPU_GUEST_WP) == 0 || (load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0;
  return !user && !wp;
}

/** Whether an entry that matches translates the access, or must be walked again. */
export function entryAllows(vcpu: usize, key: u64, value: u64, flags: u32): bool {
  let deny = key & denyMask(vcpu, flags);
  if (deny == TLB_SU && load<u32>(vcpu, VCPU_CR4) & CR4_PKE) {
    // SU may stand in the mask because of the protection keys alone.
    const cr4 = load<u32>(vcpu, VCPU_CR4);
    const supervisor = (flags & (ACCESS_SUPERVISOR | ACCESS_IMPLICIT)) != 0;
    const ac = (load<u32>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0 && (flags & ACCESS_IMPLICIT) == 0;
    if ((flags & ACCESS_KIND_MASK) == ACCESS_FETCH) return false;
    if (supervisor && (cr4 & CR4_SMAP) != 0 && !ac) return false;
    return pkeyAllows(vcpu, flags, (<u32>(value >> PKEY_SHIFT)) & 15);
  }
  return deny == 0;
}

/** TLB deny bits of the rights that a walk found. */
export function denyBits(bits: u64): u64 {
  let deny: u64 = (bits >> (<u64>PT_USER_BIT)) & 1 ? TLB_SU : TLB_NU;
  if (((bits >> (<u64>PT_WRITABLE_BIT)) & 1) == 0) deny |= TLB_NW;
  if (((bits >> (<u64>PT_DIRTY_BIT)) & 1) == 0) deny |= TLB_ND;
  if (bits >> (<u64>PT64_NX_BIT)) deny |= TLB_NX;
  return deny;
}

/** The same of a leaf entry that a user may use. */
export function userDenyBits(spte: u64): u64 {
  const lacks = ~spte;
  const writable = ((lacks >> (<u64>PT_WRITABLE_BIT)) & 1) * TLB_NW;
  const dirty = ((lacks >> (<u64>PT_DIRTY_BIT)) & 1) * TLB_ND;
  return TLB_SU | writable | dirty | ((spte >> (<u64>PT64_NX_BIT)) * TLB_NX);
}
