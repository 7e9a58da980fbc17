// Zapping eight neighbours at a time: what a dense mapping looks like is eight rmap heads that each
// name one spte, and these stand in a row in one table.

import {
  FRAME_FLAGS,
  KVM_FEATURE_SPTE_PINS,
  PG_ACTIVE,
  PG_DIRTY,
  PG_HUGE,
  PG_REFERENCED,
  PG_UNEVICTABLE,
  SP_PRESENT,
  SP_PRESENT_BITMAP,
  ZERO_PFN,
} from '../abi';
import { SPTES_DROPPED } from '../counters';
import { isTracing } from '../events';
import { framePtr, putPage } from '../mm/frame';
import { lruGenEnabled } from '../mm/lru_gen';
import { bumpBy } from '../stats';
import { Pfn, Spte, Sptep } from '../types';
import { gathering, gatherSpte } from './flush';
import { hasFeature } from './kvm';
import { spteIndex, sptepToSp } from './shadow_page';
import { isAccessedSpte, isDirtySpte, spteToPfn } from './spte';
import { kvmSetPfnAccessed, kvmSetPfnDirty } from './zap';

/** The first of eight sptes that stand in a row, aligned, and are named by the heads at `head`; 0: no. */
function rowAt(head: usize): Sptep {
  const sptep = <usize>load<u32>(head);
  // The first head of an empty page is 0, that of a chain is odd.
  if (sptep == 0 || (sptep & 63) != 0) return 0;
  const row = i32x4.splat(<i32>sptep);
  const heads0 = i32x4.eq(v128.load(head), i32x4.add(row, i32x4(0, 8, 16, 24)));
  const heads1 = i32x4.eq(v128.load(head, 16), i32x4.add(row, i32x4(32, 40, 48, 56)));
  return i32x4.all_true(v128.and(heads0, heads1)) ? sptep : 0;
}

/** Flags of a page of the classic lists to which another use and another write add nothing. */
const USED: u32 = PG_REFERENCED | PG_ACTIVE | PG_DIRTY;
/** Flags with which marking a page accessed is more than setting PG_REFERENCED. */
const UNPLAIN: u32 = PG_REFERENCED | PG_HUGE;

/** Whether another use and another write would add nothing to what the flags of a page say already. */
function isUsed(pfn: Pfn): bool {
  const flags = load<u32>(framePtr(pfn), FRAME_FLAGS);
  return (flags & (USED | PG_UNEVICTABLE | PG_HUGE)) == USED;
}

/** kvmSetPfnAccessed() and kvmSetPfnDirty() as the spte's bits say, in one look at the page. */
function tellMm(pfn: Pfn, spte: Spte, classic: bool): void {
  const accessed = isAccessedSpte(spte);
  const dirty = isDirtySpte(spte);
  if (classic && accessed && pfn != ZERO_PFN) {
    const page = framePtr(pfn);
    const flags = load<u32>(page, FRAME_FLAGS);
    if ((flags & UNPLAIN) == 0) {
      store<u32>(page, flags | PG_REFERENCED | (dirty ? PG_DIRTY : 0), FRAME_FLAGS);
      return;
    }
  }
  if (accessed) kvmSetPfnAccessed(pfn);
  if (dirty) kvmSetPfnDirty(pfn);
}

/**
 * kvm_zap_all_rmap_sptes for the heads from `head` to `to`, as far as rows go; the sptes' A and D bits
 * go to the mm in order. Returns the head to go on with.
 */
export function zapRows(head: usize, to: usize): usize {
  if (isTracing()) return head;
  const pins = hasFeature(KVM_FEATURE_SPTE_PINS);
  const classic = !lruGenEnabled();
  const zero = i64x2.splat(0);
  const from = head;
  for (; head + 28 <= to; head += 32) {
    const sptep = rowAt(head);
    if (sptep == 0) break;
    const each = gathering();
    for (let at = sptep; at < sptep + 64; at += 8) {
      if (each) gatherSpte(at);
      const spte = load<u64>(at);
      const pfn = spteToPfn(spte);
      if (!classic || !isUsed(pfn)) tellMm(pfn, spte, classic);
      if (pins) putPage(pfn);
    }
    v128.store(sptep, zero);
    v128.store(sptep, zero, 16);
    v128.store(sptep, zero, 32);
    v128.store(sptep, zero, 48);
    v128.store(head, zero);
    v128.store(head, zero, 16);
    const sp = sptepToSp(sptep);
    store<u8>(sp + <usize>(spteIndex(sptep) >> 3), 0, SP_PRESENT_BITMAP);
    store<u32>(sp, load<u32>(sp, SP_PRESENT) - 8, SP_PRESENT);
  }
  bumpBy(SPTES_DROPPED, <u32>((head - from) >> 2));
  return head;
}
