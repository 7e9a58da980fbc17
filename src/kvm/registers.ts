// What a guest's stores to its control registers and its INVPCID do to the MMU (cf. kvm_set_cr0,
// kvm_set_cr4, set_efer, kvm_post_set_cr4 and kvm_handle_invpcid in arch/x86/kvm/x86.c, 6.1). PKRU and
// EFLAGS.AC change without an exit and need nothing: the TLB and the walks read them at each access.

import {
  CR0_PG,
  CR0_WP,
  CR4_LA57,
  CR4_PAE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_PKE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  REQ_TLB_FLUSH_CURRENT,
  VCPU_CR0,
  VCPU_CR3,
  VCPU_CR4,
  VCPU_EFER,
  VCPU_FAULT_GVA,
} from '../../assembly/abi.ts';
import type { Vcpu } from './vcpu.ts';

/** KVM_MMU_CR4_ROLE_BITS: bits of which a change makes KVM drop its roots. */
const CR4_ROLE_BITS = CR4_PSE | CR4_PAE | CR4_LA57 | CR4_SMEP | CR4_SMAP | CR4_PKE;
/** Bits of CR4 of which a change drops the roots where registers reset the MMU (kvm_set_cr4() of 5.10). */
const CR4_RESET_BITS = CR4_ROLE_BITS | CR4_PGE;
/** KVM_MMU_CR0_ROLE_BITS. */
const CR0_ROLE_BITS = CR0_PG | CR0_WP;

/** Stores a register; returns the bits that changed. */
function exchange(vcpu: Vcpu, at: number, value: number): number {
  const { mem } = vcpu.kvm.core;
  const old = mem.load32(vcpu.ptr + at);
  mem.store32(vcpu.ptr + at, value);
  return old ^ value;
}

function register(vcpu: Vcpu, at: number): number {
  return vcpu.kvm.core.mem.load32(vcpu.ptr + at);
}

/** Loads CR0 without checks; drops the roots if paging reads another value. */
export function loadCr0(vcpu: Vcpu, value: number): void {
  const changed = exchange(vcpu, VCPU_CR0, value) & CR0_ROLE_BITS;
  // Nested tables don't depend on CR0.WP: only the software walker's masks are made anew.
  const spared = vcpu.kvm.tdp && vcpu.kvm.generation.flushesForRegisters;
  if (changed !== 0 && !(spared && changed === CR0_WP)) vcpu.roots.freeAll();
}

/** Loads EFER without checks. */
export function loadEfer(vcpu: Vcpu, value: number): void {
  if ((exchange(vcpu, VCPU_EFER, value) & (EFER_NXE | EFER_LMA)) !== 0) vcpu.roots.freeAll();
}

/** Loads CR4 without checks, and flushes what a change of its bits must flush (SDM 3A, 4.10.4.1). */
export function loadCr4(vcpu: Vcpu, value: number): void {
  const changed = exchange(vcpu, VCPU_CR4, value);
  const cleared = changed & ~value;
  const set = changed & value;
  // svm_set_cr4() flushes before kvm_post_set_cr4() drops roots.
  if (vcpu.kvm.tdp && (changed & CR4_PGE) !== 0) vcpu.roots.flushAsid();
  if (!vcpu.kvm.generation.flushesForRegisters) {
    if ((changed & CR4_RESET_BITS) !== 0 || (cleared & CR4_PCIDE) !== 0) vcpu.roots.freeAll();
    return;
  }
  // With PCIDs, MOV to CR3 may skip the flush, so roots cached without them could come back stale.
  if ((changed & CR4_ROLE_BITS) !== 0 || (set & CR4_PCIDE) !== 0) vcpu.roots.freeAll();
  if ((changed & CR4_PGE) !== 0 || (cleared & CR4_PCIDE) !== 0) vcpu.roots.flushGuest();
  else if ((changed & CR4_PAE) !== 0 || (set & CR4_SMEP) !== 0) {
    vcpu.roots.request(REQ_TLB_FLUSH_CURRENT);
  }
}

/** MOV to CR0 by the guest. False: #GP, nothing changed. */
export function writeCr0(vcpu: Vcpu, value: number): boolean {
  vcpu.countExit();
  const paging = (value & CR0_PG) !== 0;
  if (!paging && (register(vcpu, VCPU_CR4) & CR4_PCIDE) !== 0) return false;
  loadCr0(vcpu, value);
  return true;
}

/** MOV to CR4 by the guest. False: #GP, nothing changed. */
export function writeCr4(vcpu: Vcpu, value: number): boolean {
  vcpu.countExit();
  const changed = register(vcpu, VCPU_CR4) ^ value;
  const long = (register(vcpu, VCPU_EFER) & EFER_LMA) !== 0;
  if (long && (changed & (CR4_LA57 | CR4_PAE)) !== 0) return false;
  if ((changed & value & CR4_PCIDE) !== 0) {
    if (!long || (register(vcpu, VCPU_CR3) & 0xfff) !== 0) return false;
  }
  loadCr4(vcpu, value);
  return true;
}

/** WRMSR to EFER by the guest; only NXE may change while paging is on. False: #GP. */
export function writeEfer(vcpu: Vcpu, value: number): boolean {
  vcpu.countExit();
  if (((register(vcpu, VCPU_EFER) ^ value) & ~EFER_NXE) !== 0) return false;
  loadEfer(vcpu, value);
  return true;
}

/** INVPCID types (SDM vol. 2A). */
export const INVPCID = { address: 0, single: 1, all: 2, allNonGlobal: 3 } as const;

/** Whether a page number, 52 bits, is that of a canonical address. */
export function canonicalVpn(vcpu: Vcpu, vpn: number): boolean {
  const unused = (register(vcpu, VCPU_CR4) & CR4_LA57) !== 0 ? 44 : 35;
  const top = Math.floor(vpn / 2 ** unused);
  return top === 0 || top === 2 ** (52 - unused) - 1;
}

/**
 * INVPCID of a type for a PCID and the page `vpn` (type 0). False: #GP. KVM marks no spte global, so
 * type 3 flushes what type 2 does.
 */
export function invpcid(vcpu: Vcpu, type: number, pcid: number, vpn = 0): boolean {
  const { x, mem } = vcpu.kvm.core;
  vcpu.countExit();
  const pcide = (register(vcpu, VCPU_CR4) & CR4_PCIDE) !== 0;
  if (type > INVPCID.allNonGlobal || pcid > 0xfff) return false;
  if (type <= INVPCID.single && !pcide && pcid !== 0) return false;
  switch (type) {
    case INVPCID.address:
      if (!canonicalVpn(vcpu, vpn)) return false;
      mem.storeBig(vcpu.ptr + VCPU_FAULT_GVA, BigInt.asUintN(64, BigInt(vpn) << 12n));
      for (const table of vcpu.roots.tablesOf(pcid)) x.invalidateGva(vcpu.ptr, table);
      vcpu.flushGva(pcid);
      return true;
    case INVPCID.single:
      vcpu.roots.invalidatePcid(pcid);
      x.tlbFlushSpace(vcpu.ptr, pcid);
      return true;
    default:
      vcpu.roots.flushGuest();
      return true;
  }
}
