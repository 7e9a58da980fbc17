// Guest writes to tables that are write-protected because they are shadowed (cf. kvm_mmu_pte_write() in
// mmu.c, 6.1): the sptes of the entry go, and a table that is written again and again is not shadowed any
// more.

import {
  EVENT_KVM_MMU_PTE_WRITE,
  KVM_FEATURE_FLOOD_PER_PAGE,
  KVM_FEATURE_LOCAL_FLUSH,
  KVM_INDIRECT_SHADOW_PAGES,
  KVM_LAST_PT_WRITE_COUNT,
  KVM_LAST_PT_WRITE_GFN,
  SP_HASH_NEXT,
  SP_WRITE_FLOODING,
} from '../abi';
import { GUEST_PTE_WRITES, PDES_ZAPPED, SHADOW_PAGES_FLOODED } from '../counters';
import { trace } from '../events';
import { bump } from '../stats';
import { Gfn } from '../types';
import { hasFeature, KVM } from './kvm';
import { gfnToMemslot, guestPagePtr, slotPages } from './memslot';
import { gfnTracked } from './page_track';
import { hashFirst, nextValidSpWithGptes, spLevel, spTable } from './shadow_page';
import { isShadowPresentPte } from './spte';
import { commitZapPage, flushOrZap, prepareZapPage, zapPte } from './zap';

/** Guest writes in a row to one table that make KVM give its shadow up. */
const WRITE_FLOODING_LIMIT: u32 = 3;

/** kvm_mmu_pte_write: `vcpu` emulated a write of `bytes` at byte `offset` of a shadowed guest table. */
export function mmuPteWrite(vcpu: usize, gfn: Gfn, offset: u32, bytes: u32): void {
  if (load<u32>(KVM, KVM_INDIRECT_SHADOW_PAGES) == 0) return;
  const index = offset >> 3;
  trace(EVENT_KVM_MMU_PTE_WRITE, gfn, index);
  bump(GUEST_PTE_WRITES);
  countPtWrite(gfn);
  let flush = false;
  let found = false;
  let sp = nextValidSpWithGptes(hashFirst(gfn), gfn);
  while (sp != 0) {
    const next = <usize>load<u32>(sp, SP_HASH_NEXT);
    if (isMisaligned(offset, bytes) || detectWriteFlooding(sp, gfn)) {
      bump(SHADOW_PAGES_FLOODED);
      prepareZapPage(sp);
    } else {
      found = true;
      const sptep = spTable(sp) + ((<usize>index) << 3);
      if (isShadowPresentPte(load<u64>(sptep))) flush = true;
      zapPte(sp, sptep);
      if (spLevel(sp) > 1 && bytes >= 4 && gpteIsSet(gfn, index)) bump(PDES_ZAPPED);
    }
    sp = nextValidSpWithGptes(next, gfn);
  }
  flushOrZap(vcpu, flush, found && hasFeature(KVM_FEATURE_LOCAL_FLUSH));
}

/**
 * detect_write_misaligned: the write is none of an entry. Since 3.2, when flooding came to be counted for each shadow page,
 * the first byte alone may be written (clear_bit() does), and half an entry is judged as the whole of it.
 */
function isMisaligned(offset: u32, bytes: u32): bool {
  if (hasFeature(KVM_FEATURE_FLOOD_PER_PAGE)) {
    if (bytes == 4 || (bytes == 1 && (offset & 7) == 0)) return false;
  }
  return bytes < 4 || ((offset ^ (offset + bytes - 1)) & ~7) != 0;
}

/** detect_write_flooding, as the generation counts. */
function detectWriteFlooding(sp: usize, gfn: Gfn): bool {
  if (hasFeature(KVM_FEATURE_FLOOD_PER_PAGE)) {
    if (spLevel(sp) == 1) return false;
    const count = load<u32>(sp, SP_WRITE_FLOODING) + 1;
    store<u32>(sp, count, SP_WRITE_FLOODING);
    return count >= WRITE_FLOODING_LIMIT;
  }
  return (
    load<u32>(KVM, KVM_LAST_PT_WRITE_GFN) == gfn &&
    load<u32>(KVM, KVM_LAST_PT_WRITE_COUNT) >= WRITE_FLOODING_LIMIT
  );
}

/** Until 2.6.38: how often in a row the same table was written. */
function countPtWrite(gfn: Gfn): void {
  const again = load<u32>(KVM, KVM_LAST_PT_WRITE_GFN) == gfn;
  store<u32>(KVM, again ? load<u32>(KVM, KVM_LAST_PT_WRITE_COUNT) + 1 : 1, KVM_LAST_PT_WRITE_COUNT);
  store<u32>(KVM, gfn, KVM_LAST_PT_WRITE_GFN);
}

/** Whether the guest entry that was written is not zero. */
function gpteIsSet(gfn: Gfn, index: u32): bool {
  const table = guestPagePtr(gfn);
  return table != 0 && load<u64>(table + ((<usize>index) << 3)) != 0;
}

/** kvm_mmu_unprotect_page: the guest page is shadowed no more, so that it may be written. */
export function mmuUnprotectPage(gfn: Gfn): u32 {
  let sp = nextValidSpWithGptes(hashFirst(gfn), gfn);
  const any: u32 = sp != 0 ? 1 : 0;
  while (sp != 0) {
    const next = <usize>load<u32>(sp, SP_HASH_NEXT);
    prepareZapPage(sp);
    sp = nextValidSpWithGptes(next, gfn);
  }
  commitZapPage();
  return any;
}

/** Whether writes to `gfn` are intercepted because it is a shadowed table: 0 no, 1 yes. */
export function gfnShadowed(gfn: Gfn): u32 {
  const slot = gfnToMemslot(gfn);
  if (slot == 0 || slotPages(slot) == 0) return 0;
  if (gfnTracked(slot, gfn) != 0) return 1;
  return nextValidSpWithGptes(hashFirst(gfn), gfn) != 0 ? 1 : 0;
}
