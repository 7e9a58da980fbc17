// Guest page-table entries in the four formats of x86: 4- and 5-level, PAE and 32-bit paging. What is
// reserved, what is a leaf, which frame and which rights an entry gives; and the verdict over an
// access once the rights of all levels are known. Written from the Intel SDM, volume 3A, chapter 4;
// cf. KVM's reset_guest_rsvds_bits_mask() and permission_fault().
//
//  63 62 59 58 52 51     M M-1                12 11  9 8 7  6 5 4   3   2   1   0
//  ┌──┬─────┬─────┬───────┬─────────────────────┬─────┬─┬──┬─┬─┬───┬───┬───┬───┬─┐
//  │NX│ key │ ign │ rsvd  │ frame               │ ign │G│PS│D│A│PCD│PWT│U/S│R/W│P│   M = MAXPHYADDR
//  └──┴─────┴─────┴───────┴─────────────────────┴─────┴─┴──┴─┴─┴───┴───┴───┴───┴─┘

import {
  ACCESS_FETCH,
  ACCESS_IMPLICIT,
  ACCESS_KIND_MASK,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  ACC_EXEC_MASK,
  ACC_USER_MASK,
  ACC_WRITE_MASK,
  CR0_PG,
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PKE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  FEATURE_NO_GBPAGES,
  KVM_FEATURE_IGNORES_RESERVED,
  PAGE_SHIFT,
  PFERR_FETCH_MASK,
  PFERR_PK_MASK,
  PFERR_PRESENT_MASK,
  PFERR_USER_MASK,
  PFERR_WRITE_MASK,
  PT64_PKEY_BIT,
  RFLAGS_AC,
  VCPU_CR0,
  VCPU_CR4,
  VCPU_EFER,
  VCPU_FEATURES,
  VCPU_MAXPHYADDR,
  VCPU_PKRU,
  VCPU_RFLAGS,
} from '../abi';
import { hasFeature } from './kvm';
import { PT64_BASE_MASK, PT64_NX, PT_PAGE_SIZE } from './pte_bits';

/** Root level of the paging mode: 0 no paging, 2 32-bit, 3 PAE, 4 and 5 IA-32e (4.1.1). */
export function pagingRootLevel(vcpu: usize): u32 {
  if ((load<u32>(vcpu, VCPU_CR0) & CR0_PG) == 0) return 0;
  const cr4 = load<u32>(vcpu, VCPU_CR4);
  if (load<u32>(vcpu, VCPU_EFER) & EFER_LMA) return cr4 & CR4_LA57 ? 5 : 4;
  return cr4 & CR4_PAE ? 3 : 2;
}

/** Address bits below the index of a level: 12 for level 1, 21 (22 in 32-bit paging) for level 2. */
export function levelShift(rootLevel: u32, level: u32): u32 {
  return PAGE_SHIFT + (level - 1) * (rootLevel == 2 ? 10 : 9);
}

/** Whether a linear address is canonical in the mode; always true outside IA-32e mode. */
export function isCanonical(rootLevel: u32, gva: u64): bool {
  if (rootLevel < 4) return gva >> 32 == 0;
  const unused: u64 = rootLevel == 5 ? 7 : 16;
  return <u64>((<i64>(gva << unused)) >> (<i64>unused)) == gva;
}

/** Whether the entry maps a page: every PTE, and entries with PS where the mode has large pages. */
export function isLastGpte(vcpu: usize, rootLevel: u32, level: u32, gpte: u64): bool {
  if (level == 1) return true;
  if ((gpte & PT_PAGE_SIZE) == 0) return false;
  if (rootLevel >= 4) return level <= 3;
  // In 32-bit paging bit 7 of a PDE is ignored unless CR4.PSE is set.
  return rootLevel == 3 || (load<u32>(vcpu, VCPU_CR4) & CR4_PSE) != 0;
}

/** Those of a PTE in IA-32e mode. */
export function reservedLeafBits(vcpu: usize): u64 {
  if (hasFeature(KVM_FEATURE_IGNORES_RESERVED)) return 0;
  const above = ((<u64>1) << 52) - ((<u64>1) << (<u64>load<u32>(vcpu, VCPU_MAXPHYADDR)));
  return (load<u32>(vcpu, VCPU_EFER) & EFER_NXE) == 0 ? above | PT64_NX : above;
}

/** Bits that must be 0 in a present entry of this level (4.3 to 4.5, tables 4-4 to 4-20). */
export function reservedGpteBits(vcpu: usize, rootLevel: u32, level: u32, gpte: u64): u64 {
  if (hasFeature(KVM_FEATURE_IGNORES_RESERVED)) return 0;
  const maxPhyAddr = <u64>load<u32>(vcpu, VCPU_MAXPHYADDR);
  if (rootLevel == 2) {
    if (level == 1 || !isLastGpte(vcpu, rootLevel, level, gpte)) return 0;
    // PSE-36: bits 20:13 hold physical-address bits 39:32 as far as the processor has them.
    const width = maxPhyAddr < 40 ? maxPhyAddr : <u64>40;
    return ((<u64>1) << 22) - ((<u64>1) << (width - 19));
  }
  // In PAE paging, bits 62:52 are reserved too: they are ignored bits or keys in IA-32e mode only.
  const top: u64 = rootLevel == 3 ? 63 : 52;
  let reserved = ((<u64>1) << top) - ((<u64>1) << maxPhyAddr);
  if ((load<u32>(vcpu, VCPU_EFER) & EFER_NXE) == 0) reserved |= PT64_NX;
  if (level == 1 || (gpte & PT_PAGE_SIZE) == 0) return reserved;
  const noLarge =
    level > 3 || (level == 3 && (load<u32>(vcpu, VCPU_FEATURES) & FEATURE_NO_GBPAGES) != 0);
  if (noLarge) return reserved | PT_PAGE_SIZE;
  // The frame of a large page is aligned to its size; bit 12 is its PAT bit.
  return reserved | (((<u64>1) << (<u64>levelShift(rootLevel, level))) - ((<u64>1) << 13));
}

/** Frame that an entry points to, aligned to the page's size for a leaf; up to 40 bits. */
export function gpteToFrame(rootLevel: u32, level: u32, gpte: u64, last: bool): u64 {
  if (!last || level == 1) return (gpte & PT64_BASE_MASK) >> (<u64>PAGE_SHIFT);
  if (rootLevel == 2) return ((gpte & 0xffc0_0000) >> 12) | (((gpte >> 13) & 0xff) << 20);
  const offset = ((<u64>1) << (<u64>levelShift(rootLevel, level))) - 1;
  return (gpte & PT64_BASE_MASK & ~offset) >> (<u64>PAGE_SHIFT);
}

/** ACC_* that one entry grants by itself. */
export function gpteAccess(gpte: u64): u32 {
  const rights = (<u32>gpte) & (ACC_WRITE_MASK | ACC_USER_MASK);
  return gpte & PT64_NX ? rights : rights | ACC_EXEC_MASK;
}

/** Protection key of a leaf. */
export function gptePkey(gpte: u64): u32 {
  return (<u32>(gpte >> (<u64>PT64_PKEY_BIT))) & 15;
}

/** Whether an access (ACCESS_* flags) is a user-mode access: CPL 3, and not an implicit one (4.6). */
export function isUserAccess(flags: u32): bool {
  return (flags & (ACCESS_SUPERVISOR | ACCESS_IMPLICIT)) == 0;
}

/** W, U and I/D bits of the error code: what the access was, whatever went wrong (4.7). */
export function accessErrorBits(vcpu: usize, flags: u32): u32 {
  const kind = flags & ACCESS_KIND_MASK;
  let code: u32 = isUserAccess(flags) ? PFERR_USER_MASK : 0;
  if (kind == ACCESS_WRITE) code |= PFERR_WRITE_MASK;
  if (kind == ACCESS_FETCH) {
    const cr4 = load<u32>(vcpu, VCPU_CR4);
    const nx = (cr4 & CR4_PAE) != 0 && (load<u32>(vcpu, VCPU_EFER) & EFER_NXE) != 0;
    if (nx || (cr4 & CR4_SMEP) != 0) code |= PFERR_FETCH_MASK;
  }
  return code;
}

/** Whether the protection key denies the access (4.6.2): data accesses to user pages only. */
export function pkeyDenies(vcpu: usize, access: u32, pkey: u32, flags: u32): bool {
  if ((load<u32>(vcpu, VCPU_CR4) & CR4_PKE) == 0) return false;
  if ((load<u32>(vcpu, VCPU_EFER) & EFER_LMA) == 0 || (access & ACC_USER_MASK) == 0) return false;
  const kind = flags & ACCESS_KIND_MASK;
  if (kind == ACCESS_FETCH) return false;
  const key = load<u32>(vcpu, VCPU_PKRU) >> (pkey << 1);
  if (key & 1) return true;
  if (kind != ACCESS_WRITE || (key & 2) == 0) return false;
  return isUserAccess(flags) || (load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0;
}

/** Whether W, U or NX deny an access: below levels that deny it, nothing allows it. */
export function rightsDeny(vcpu: usize, access: u32, flags: u32): bool {
  const user = isUserAccess(flags);
  if (user && (access & ACC_USER_MASK) == 0) return true;
  const kind = flags & ACCESS_KIND_MASK;
  if (kind == ACCESS_FETCH) return (access & ACC_EXEC_MASK) == 0;
  if (kind != ACCESS_WRITE || (access & ACC_WRITE_MASK) != 0) return false;
  return user || (load<u32>(vcpu, VCPU_CR0) & CR0_WP) != 0;
}

/**
 * #PF error code with which an access to a mapped page is refused, 0 if it is allowed (4.6, 4.7).
 * `access` combines the rights of all levels. The PK bit is set whenever the key denies the access,
 * even if the other rights deny it as well.
 */
export function permissionFault(vcpu: usize, access: u32, pkey: u32, flags: u32): u32 {
  const kind = flags & ACCESS_KIND_MASK;
  const cr4 = load<u32>(vcpu, VCPU_CR4);
  const user = isUserAccess(flags);
  const userPage = (access & ACC_USER_MASK) != 0;
  let denied = rightsDeny(vcpu, access, flags);
  if (kind == ACCESS_FETCH) {
    if (!user && userPage && (cr4 & CR4_SMEP) != 0) denied = true;
  } else if (!user && userPage && (cr4 & CR4_SMAP) != 0) {
    const ac = (load<u32>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0;
    if (!ac || (flags & ACCESS_IMPLICIT) != 0) denied = true;
  }
  const keyDenies = pkeyDenies(vcpu, access, pkey, flags);
  if (!denied && !keyDenies) return 0;
  const code = PFERR_PRESENT_MASK | accessErrorBits(vcpu, flags);
  return keyDenies ? code | PFERR_PK_MASK : code;
}
