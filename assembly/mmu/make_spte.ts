// make_spte(): the spte for a translation (cf. arch/x86/kvm/mmu/spte.c, 6.1).

import {
  ACC_EXEC_MASK,
  ACC_PKEY_SHIFT,
  ACC_USER_MASK,
  ACC_WRITE_MASK,
  KVM_FEATURE_DIRTY_ANEW,
  PT64_PKEY_BIT,
  ROLE_AD_DISABLED,
  SP_ROLE,
} from '../abi';
import { Gfn, Pfn, Spte } from '../types';
import { hasFeature } from './kvm';
import { markPageDirty } from './memslot';
import {
  PT64_NX,
  PT_ACCESSED,
  PT_DIRTY,
  PT_PAGE_SIZE,
  PT_PRESENT,
  PT_USER,
  PT_WRITABLE,
} from './pte_bits';
import { spLevel } from './shadow_page';
import {
  isLastSpte,
  isWritablePte,
  markSpteForAccessTrack,
  SPTE_AD_DISABLED,
  SPTE_HOST_WRITABLE,
  SPTE_MMU_PRESENT,
  SPTE_MMU_WRITABLE,
} from './spte';
import { tryToUnsyncPages } from './sync';

/** Set by makeSpte(): the page is write-protected although the access asked for more. */
export let wrprot: bool = false;

/** The spte for `pfn` and the rights `access` but that to write. */
function readableSpte(access: u32, pfn: Pfn, hostWritable: bool): Spte {
  let spte = SPTE_MMU_PRESENT | PT_PRESENT | ((<u64>pfn) << 12);
  spte |= (<u64>((access >> ACC_PKEY_SHIFT) & 15)) << (<u64>PT64_PKEY_BIT);
  if ((access & ACC_EXEC_MASK) == 0) spte |= PT64_NX;
  if ((access & ACC_USER_MASK) != 0) spte |= PT_USER;
  return hostWritable ? spte | SPTE_HOST_WRITABLE : spte;
}

/**
 * makeSpte() for the first small mapping of a page that holds no shadowed table, at an access to it, in a table with
 * A/D bits or (`adDisabled`) without; the caller marks a writable page dirty.
 */
export function firstSpte(access: u32, pfn: Pfn, hostWritable: bool, adDisabled: bool): Spte {
  const spte =
    readableSpte(access, pfn, hostWritable) | (adDisabled ? SPTE_AD_DISABLED : PT_ACCESSED);
  if (!hostWritable || (access & ACC_WRITE_MASK) == 0) return spte;
  const writable = spte | PT_WRITABLE | SPTE_MMU_WRITABLE;
  return adDisabled ? writable : writable | PT_DIRTY;
}

/**
 * The spte that maps `pfn` in a table of `sp` with the rights `access` (and the protection key above
 * them, which KVM has no use for: it hides PKU from guests on shadow tables), as far as the host
 * (`hostWritable`) and the shadowing of guest tables allow. `prefetch`: made ahead of an access, so
 * the accessed bit stays clear. `wrprot` says whether writes were refused for a shadowed table.
 */
export function makeSpte(
  sp: usize,
  slot: usize,
  access: u32,
  gfn: Gfn,
  pfn: Pfn,
  old: Spte,
  prefetch: bool,
  canUnsync: bool,
  hostWritable: bool,
): Spte {
  wrprot = false;
  const adDisabled = (load<u32>(sp, SP_ROLE) & ROLE_AD_DISABLED) != 0;
  let spte = readableSpte(access, pfn, hostWritable);
  if (adDisabled) spte |= SPTE_AD_DISABLED;
  else if (!prefetch) spte |= PT_ACCESSED;
  if (spLevel(sp) > 1) spte |= PT_PAGE_SIZE;
  if (!hostWritable) access &= ~ACC_WRITE_MASK;
  if ((access & ACC_WRITE_MASK) != 0) {
    spte |= PT_WRITABLE | SPTE_MMU_WRITABLE;
    // A leaf that was writable is no shadowed table's; its D bit is not set anew.
    const known = isLastSpte(old, spLevel(sp)) && isWritablePte(old);
    if (!known || (canUnsync && hasFeature(KVM_FEATURE_DIRTY_ANEW))) {
      if (tryToUnsyncPages(slot, gfn, canUnsync, prefetch)) {
        wrprot = true;
        spte &= ~(PT_WRITABLE | SPTE_MMU_WRITABLE);
      } else if (!adDisabled) {
        spte |= PT_DIRTY;
      }
    }
  }
  if (prefetch) spte = markSpteForAccessTrack(spte);
  if ((spte & PT_WRITABLE) != 0) markPageDirty(slot, gfn);
  return spte;
}
