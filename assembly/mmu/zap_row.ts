// Zapping eight neighbours at a time: what a dense mapping looks like is eight rmap heads that each
// name one spte, and these stand in a row in one table.

import { KVM_FEATURE_SPTE_PINS, SP_PRESENT, SP_PRESENT_BITMAP } from '../abi';
import { SPTES_DROPPED } from '../counters';
import { isTracing } from '../events';
import { putPage } from '../mm/frame';
import { bumpBy } from '../stats';
import { Sptep } from '../types';
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

/**
 * kvm_zap_all_rmap_sptes for the heads from `head` to `to`, as far as rows go; the sptes' A and D bits
 * go to the mm in order. Returns the head to go on with.
 */
export function zapRows(head: usize, to: usize): usize {
  if (isTracing()) return head;
  const pins = hasFeature(KVM_FEATURE_SPTE_PINS);
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
      if (isAccessedSpte(spte)) kvmSetPfnAccessed(pfn);
      if (isDirtySpte(spte)) kvmSetPfnDirty(pfn);
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
