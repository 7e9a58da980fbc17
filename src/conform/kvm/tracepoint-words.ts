// The words of tracepoints: names of what an event's numbers stand for, and texts of sptes, roles and
// ranges as Linux prints them (mmutrace.h, trace.h, include/trace/events). stream.ts puts them together.

import * as abi from '../../../assembly/abi.ts';
import { hvnName } from './layout.ts';
import type { KvmEvent } from './recording.ts';

export const UD_VECTOR = 6;
export const GP_VECTOR = 13;
export const PF_VECTOR = 14;

/** An exception as the tracepoint kvm_inj_exception prints it. */
export function exceptionText(vector: number, code: number): string {
  if (vector === UD_VECTOR) return '#UD';
  return `${vector === PF_VECTOR ? '#PF' : '#GP'} (0x${code.toString(16)})`;
}

/** What an MMIO event is about, by its word c. */
export const MMIO = ['unsatisfied-read', 'read', 'write'];

/** MMU_NOTIFY_*. */
export const MMU_NOTIFY = [
  'UNMAP',
  'CLEAR',
  'PROTECTION_VMA',
  'PROTECTION_PAGE',
  'SOFT_DIRTY',
  'RELEASE',
  'MIGRATE',
  'EXCLUSIVE',
];
/** VMEXIT_*. */
export const VMEXIT = [
  '',
  'PF excp',
  'npf',
  'io',
  'invlpg',
  'write_cr0',
  'cr0_sel_write',
  'write_cr3',
  'write_cr4',
  'UD excp',
];
/** SPTE_BY_*: who changed an spte. */
export const SPTE_BY = [
  '',
  'drop_spte',
  'kvm_zap_all_rmap_sptes',
  'mmu_set_spte',
  'paging64_sync_page',
  'rmap_write_protect',
  'age',
  'kvm_rmap_zap_collapsible_sptes',
  'paging64_sync_spte',
];
/** FAULT_FLAG_* by bit. */
export const FAULT_FLAGS = [
  'WRITE',
  'MKWRITE',
  'ALLOW_RETRY',
  'RETRY_NOWAIT',
  'KILLABLE',
  'TRIED',
  'USER',
  'REMOTE',
  'INSTRUCTION',
  'INTERRUPTIBLE',
  'UNSHARE',
];
/** VM_FAULT_*, in the order in which the tracepoint prints them. */
export const VM_FAULTS: readonly [bit: number, name: string][] = [
  [0, 'OOM'],
  [1, 'SIGBUS'],
  [2, 'MAJOR'],
  [5, 'HWPOISON_LARGE'],
  [6, 'SIGSEGV'],
  [8, 'NOPAGE'],
  [9, 'LOCKED'],
  [10, 'RETRY'],
  [11, 'FALLBACK'],
  [12, 'DONE_COW'],
  [3, 'WRITE'],
];

/** Names of the bits that are set. */
export function bitNames(value: number, names: readonly string[]): string {
  return names.filter((_, bit) => (value >>> bit) & 1).join('|');
}

/** Role word of a shadow page as KVM's tracepoint prints it (mmutrace.h). */
export function roleText(role: number): string {
  const access = (role >>> abi.ROLE_ACCESS_SHIFT) & 7;
  const a =
    (access & abi.ACC_WRITE_MASK ? 'w' : '-') +
    (access & abi.ACC_USER_MASK ? 'u' : '-') +
    (access & abi.ACC_EXEC_MASK ? 'x' : '-');
  return (
    `8-byte q${(role >>> abi.ROLE_QUADRANT_SHIFT) & 3}` +
    `${role & abi.ROLE_DIRECT ? ' direct' : ''} ${a}` +
    `${role & abi.ROLE_INVALID ? ' invalid' : ''}` +
    ` ${role & abi.ROLE_EFER_NX ? '' : '!'}nxe` +
    ` ${role & abi.ROLE_AD_DISABLED ? '!' : ''}ad`
  );
}

/** `rwxu`: what an spte permits, as the tracepoint kvm_mmu_set_spte prints it. */
export function permText(lo: number, hi: number): string {
  return `r${lo & 2 ? 'w' : '-'}${hi >>> 31 ? '-' : 'x'}${lo & 4 ? 'u' : '-'}`;
}

/** Bit 51 of an spte, in its high word: an access outside all slots. */
export const MMIO_HIGH = 1 << 19;

/** pfn of an spte's two words. */
export function sptePfn(lo: number, hi: number): number {
  return ((lo >>> 12) | ((hi & 0xfff) << 20)) >>> 0;
}

/** Whether a present entry maps a page. */
export function isLeaf(level: number, lo: number): boolean {
  return level === 1 || (lo & 0x80) !== 0;
}

/** make_mmio_spte() on AMD: present, bit 51 reserved, the access, the generation from bit 3 on. */
export function mmioSpte(gfn: number, access: number, generation: number): bigint {
  const low = BigInt(1 | (access & 6) | ((generation & 0xff) << 3));
  return (1n << 51n) | (BigInt(gfn) << 12n) | low;
}

/** Pages of a whole address space, as KVM counts them: 2^64 - 1 bytes. */
const WHOLE_PAGES = 2 ** 52 - 1;

/** The event of a range of `pages` from `start`; null: nothing of the slots is in it. */
export function rangeEvent(t: string, start: number, pages: number): KvmEvent | null {
  if (start === 0 && pages === abi.HVN_LIMIT) return { t, start: null, pages: WHOLE_PAGES };
  const name = hvnName(start);
  return name === undefined ? null : { t, start: name, pages };
}
