// Version stamps: with `verify` on, every guest write puts a fresh stamp into the frame that it
// reaches and into the record of the guest page, and every read compares the two. A stale or foreign
// page, a lost write or a page that came back from swap with other bytes shows at the next read.
//
// What a page must hold is kept by gfn, found through the guest kernel's own record of its
// address spaces (guest_map.ts), so neither the guest's tables nor the shadow's are believed.

import {
  ACCESS_KIND_MASK,
  ACCESS_WRITE,
  CONTENT_PAGE,
  EXIT_DONE,
  EXIT_VERIFY,
  FRAME_CONTENT,
  PAGE_SHIFT,
  STAMP_LAZY_FREE,
  VCPU_EXIT_REASON,
  VCPU_FAULT_GVA,
  VERIFY_CHECKS,
  VERIFY_EXPECTED,
  VERIFY_FOUND,
  VERIFY_GFN,
  VERIFY_PFN,
  VERIFY_STATE_SIZE,
  VERIFY_WRITES,
  ZERO_PFN,
} from './abi';
import { arenaAlloc } from './layout';
import { guestMapGet } from './guest_map';
import { lockstepTouch } from './lockstep';
import { frameContent, framePtr, frameSetContent } from './mm/frame';
import { ACCESS_LEFT, account, accessExit, beginBatch, kindOf, slowAccess } from './access_path';
import { accountKnown } from './straight/known_counts';
import { FRAME_BITS, TLB_PAGE_MASK } from './tlb/block';
import { L2_UNSURE } from './tlb/lookup';
import { tlbEnter } from './tlb/rights';
import { tlbValue } from './tlb/sets';
import { Gfn, Pfn } from './types';

const STAMP_MASK: u32 = ~STAMP_LAZY_FREE;

const STATE: usize = memory.data(32, 8);
if (VERIFY_STATE_SIZE > 32) ERROR('verify: the state block has 32 bytes');

let expected: usize = 0;
let gfns: u32 = 0;
let stamp: u32 = 0;

/** Makes the record for gfns 0 .. `count` - 1. */
export function verifyInit(count: u32): void {
  gfns = count;
  expected = arenaAlloc((<usize>count) << 2);
}

/** Address of the VERIFY_* words. */
export function verifyState(): u32 {
  return <u32>STATE;
}

/** What a guest page must hold: a stamp or 0, and STAMP_LAZY_FREE. */
export function verifyGet(gfn: Gfn): u32 {
  return load<u32>(expected + ((<usize>gfn) << 2));
}

/** Says what a guest page must hold from now on. */
export function verifySet(gfn: Gfn, value: u32): void {
  store<u32>(expected + ((<usize>gfn) << 2), value);
}

/** A stamp that no page holds yet. */
export function verifyStamp(): u32 {
  stamp = (stamp + 1) & STAMP_MASK;
  if (stamp == 0) stamp = 1;
  return stamp;
}

function report(gfn: Gfn, pfn: Pfn, want: u32, found: u32): bool {
  store<u32>(STATE, gfn, VERIFY_GFN);
  store<u32>(STATE, pfn, VERIFY_PFN);
  store<u32>(STATE, want, VERIFY_EXPECTED);
  store<u32>(STATE, found, VERIFY_FOUND);
  return false;
}

/** Whether a frame may be read as a guest page; notes what differs when not. */
export function verifyRead(gfn: Gfn, pfn: Pfn): u32 {
  if (gfn >= gfns) return report(gfn, pfn, 0, 0) ? 1 : 0;
  store<u64>(STATE, load<u64>(STATE, VERIFY_CHECKS) + 1, VERIFY_CHECKS);
  const want = verifyGet(gfn);
  const found = frameContent(pfn);
  if (found == (want & STAMP_MASK)) return 1;
  if ((want & STAMP_LAZY_FREE) != 0 && found == 0) return 1;
  return report(gfn, pfn, want, found) ? 1 : 0;
}

/** A write to a guest page through a frame. */
export function verifyWrite(gfn: Gfn, pfn: Pfn): u32 {
  if (gfn >= gfns || pfn == ZERO_PFN) return report(gfn, pfn, 1, 0) ? 1 : 0;
  store<u64>(STATE, load<u64>(STATE, VERIFY_WRITES) + 1, VERIFY_WRITES);
  const value = verifyStamp();
  if ((load<u32>(framePtr(pfn), FRAME_CONTENT) & CONTENT_PAGE) != 0) frameSetContent(pfn, value);
  else store<u32>(framePtr(pfn), value, FRAME_CONTENT);
  verifySet(gfn, value);
  return 1;
}

/** As runBatch(), one access at a time and each one checked, for the space on the vCPU. */
export function runBatchVerified(vcpu: usize, records: usize, count: u32, space: u32): u32 {
  const tlb = tlbEnter(vcpu);
  const end = records + ((<usize>count) << 3);
  let exit = EXIT_DONE;
  let kinds: u64 = 0;
  let at = records;
  beginBatch(records);
  for (; at < end; at += 8) {
    const record = load<u64>(at);
    if (slowAccess(vcpu, tlb, at, record, L2_UNSURE) == ACCESS_LEFT) {
      exit = accessExit;
      break;
    }
    const vpn = record >> (<u64>PAGE_SHIFT);
    const gfn = guestMapGet(space, (<u32>(vpn >> 32)) & 15, <u32>vpn);
    const write = ((<u32>record) & ACCESS_KIND_MASK) == ACCESS_WRITE;
    const pfn = <u32>(tlbValue & FRAME_BITS);
    lockstepTouch(gfn, write ? 1 : 0);
    if ((write ? verifyWrite(gfn, pfn) : verifyRead(gfn, pfn)) == 0) {
      store<u64>(vcpu, record & TLB_PAGE_MASK, VCPU_FAULT_GVA);
      exit = EXIT_VERIFY;
      break;
    }
    kinds += kindOf(record);
  }
  store<u32>(vcpu, exit, VCPU_EXIT_REASON);
  const done = <u32>((at - records) >> 3);
  account(done, kinds);
  accountKnown();
  return done;
}
