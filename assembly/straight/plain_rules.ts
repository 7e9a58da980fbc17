// What holds for all plain faults (plain_fault.ts) of a quiet (settled_table.ts): found out once, at its first.

import {
  ACC_EXEC_MASK,
  ACC_PKEY_SHIFT,
  ACC_USER_MASK,
  ACC_WRITE_MASK,
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  AGE_DROP,
  FAULT_CHECK_NONE,
  KVM_MEM_READONLY,
  SLOT_BASE_GFN,
  SLOT_FLAGS,
  SLOT_NPAGES,
  STRAIGHT_AGES,
  STRAIGHT_AGE_ACTION,
  STRAIGHT_AGE_FLUSHES,
  STRAIGHT_ON,
  VCPU_TDP,
} from '../abi';
import { worthAhead } from '../ahead';
import { isTracing } from '../events';
import { lruGenEnabled } from '../mm/lru_gen';
import { faultCheck, faultsHere, marksAccessed } from '../mmu/fault_policy';
import { gptePkey, pagingRootLevel, reservedLeafBits } from '../mmu/guest_pte';
import { gfnToMemslot, lastSlot } from '../mmu/memslot';
import { isStale } from '../mmu/page_fault';
import { releasePfn, releasePlain } from '../mmu/pfn';
import { PT64_NX, PT_ACCESSED, PT_DIRTY, PT_PRESENT, PT_USER, PT_WRITABLE } from '../mmu/pte_bits';
import { mayMapFirst } from '../mmu/settled_map';
import { quiet } from '../mmu/settled_table';
import { wantOf } from '../mmu/translate';
import { Gfn, Hvn, Pfn } from '../types';
import { STRAIGHT, STRAIGHT_BYTES } from './config';
import { mayReadPlain } from './file_fault';
import { mayLook } from './known_look';
import { mayReplace } from './known_replace';
import { learnTouch } from './known_touch';

/** The quiet for which the following is known. */
let known: u64 = 0;
/** Faults may be plain at all. */
export let mayBe: bool = false;
/** plainRead() may be asked. */
export let mayRead: bool = false;
/** releasePlain() may be asked. */
let mayRelease: bool = false;
/** Faults may be noted in known_page.ts, and be served by knownFault(). */
export let knowing: bool = false;

/** Reclaim may look at known pages by way of them (known_look.ts). */
export let looking: bool = false;
/** Pages may take the places of others (known_replace.ts). */
export let replacing: bool = false;
/** Counts changes of what known pages are noted by: the rows below and the areas. */
export let rulesEpoch: u32 = 0;

// What a plain access of a kind asks of the guest's tables, a row for each of ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH:
// the bits of the entry that matter, what they must be, the ACC_* of the levels above; and FOLL_WRITE or 0.
const ROWS: usize = memory.data(72, 8);
const ROW_SHIFT: u32 = 24;
const ROW_MASK: usize = 0;
const ROW_BITS: usize = 8;
const ROW_ACCESS: usize = 16;
const ROW_WANT: usize = 20;
/** The rows and the STRAIGHT_* words as they were when rulesEpoch last moved. */
const SEEN: usize = memory.data(304, 8);
const ROWS_BYTES: usize = 72;
if (ROWS_BYTES + STRAIGHT_BYTES > 304) ERROR('plain_rules: SEEN');
/** Bits 51:44 of an entry: its frame is above all gfns. */
const NO_GFN_BITS: u64 = 0x000f_f000_0000_0000;

function learnRow(vcpu: usize, flags: u32, bits: u64, access: u32, absent: u64): void {
  const row = ROWS + <usize>(flags * ROW_SHIFT);
  bits |= PT_PRESENT | PT_ACCESSED | PT_USER;
  store<u64>(row, bits, ROW_BITS);
  store<u64>(row, bits | absent | NO_GFN_BITS | reservedLeafBits(vcpu), ROW_MASK);
  store<u32>(row, access | ACC_USER_MASK, ROW_ACCESS);
  store<u32>(row, wantOf(flags), ROW_WANT);
}

/** Finds out what holds in this quiet, if that was not done. */
export function learnRules(vcpu: usize): void {
  if (known != quiet) learn(vcpu);
}

/** Whether ageing leaves no translation behind of an spte that it drops: a page that is known is looked up in no TLB. */
function flushesDrops(): bool {
  const drops =
    load<u32>(STRAIGHT, STRAIGHT_AGES) != 0 && load<u32>(STRAIGHT, STRAIGHT_AGE_ACTION) == AGE_DROP;
  return !drops || load<u32>(STRAIGHT, STRAIGHT_AGE_FLUSHES) != 0;
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
  knowing = mayBe && mayRelease && learnTouch() && flushesDrops() && !worthAhead(vcpu);
  looking = knowing && mayLook();
  replacing = looking && mayRead && mayReplace() && faultCheck == FAULT_CHECK_NONE;
  learnRow(vcpu, ACCESS_READ, 0, 0, 0);
  learnRow(vcpu, ACCESS_WRITE, PT_WRITABLE | PT_DIRTY, ACC_WRITE_MASK, 0);
  learnRow(vcpu, ACCESS_FETCH, 0, ACC_EXEC_MASK, PT64_NX);
  seeRules();
}

/** Moves rulesEpoch if what is seen is not what it was. */
function seeRules(): void {
  const words = SEEN + ROWS_BYTES;
  const same =
    memory.compare(SEEN, ROWS, ROWS_BYTES) | memory.compare(words, STRAIGHT, STRAIGHT_BYTES);
  if (same == 0) return;
  memory.copy(SEEN, ROWS, ROWS_BYTES);
  memory.copy(words, STRAIGHT, STRAIGHT_BYTES);
  rulesEpoch++;
}

/** Whether a user's access of a kind is plain at a guest's entry below tables that grant `above`. */
export function isPlainKind(gpte: u64, above: u32, kind: u32): bool {
  const row = ROWS + <usize>(kind * ROW_SHIFT);
  const lacks = (gpte & load<u64>(row, ROW_MASK)) ^ load<u64>(row, ROW_BITS);
  return (lacks | (<u64>(~above & load<u32>(row, ROW_ACCESS)))) == 0;
}

/** FOLL_WRITE or 0: what an access of a kind looks its page up for. */
export function wantOfKind(kind: u32): u32 {
  return load<u32>(ROWS + <usize>(kind * ROW_SHIFT), ROW_WANT);
}

/** isStale(); most generations here check nothing. */
export function isStaleHere(seq: u32, hvn: Hvn): bool {
  return faultCheck != FAULT_CHECK_NONE && isStale(faultCheck, seq, hvn);
}

/** ACC_* and key that a leaf entry grants below levels that grant `above`; a clean page gives no right to write. */
export function accessOf(gpte: u64, above: u32): u32 {
  const exec = ((<u32>(gpte >> 63)) ^ 1) * ACC_EXEC_MASK;
  const rights = ((<u32>gpte) & (ACC_USER_MASK | ACC_WRITE_MASK)) | exec;
  // D, a bit above A, lies 5 bits above W.
  const dirty = (<u32>(gpte >> 5)) | ~ACC_WRITE_MASK;
  return (rights & above & dirty) | (gptePkey(gpte) << ACC_PKEY_SHIFT);
}

/** The memslot of a gfn, if the guest may write to it, or 0. */
export function writableSlot(gfn: Gfn): usize {
  let slot = lastSlot;
  if (gfn - load<u32>(slot, SLOT_BASE_GFN) >= load<u32>(slot, SLOT_NPAGES)) {
    slot = gfnToMemslot(gfn);
    if (slot == 0) return 0;
  }
  return (load<u32>(slot, SLOT_FLAGS) & KVM_MEM_READONLY) != 0 ? 0 : slot;
}

/** releasePfn(). */
export function release(pfn: Pfn): void {
  if (mayRelease) releasePlain(pfn, marksAccessed);
  else releasePfn(pfn, marksAccessed);
}
