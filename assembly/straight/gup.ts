// get_user_pages for KVM's page fault on a straight run: gupPlain() with what its caller does around
// it (src/mm/gup.ts: plain, the protocol): room is made first, the reader waits for its device.

import {
  DEVICE_DISK,
  DEVICE_SWAP,
  FOLLOW_NONE,
  FOLL_WRITE,
  GUP_CHARGE,
  GUP_NO_READ,
  GUP_OUT_NO_MEMORY,
  GUP_OUT_PLACE,
  GUP_OUT_READ,
  GUP_READ_FILE,
  HPTE_PRESENT,
  STRAIGHT_AREA_FILE,
  STRAIGHT_AREA_OFFSET,
  STRAIGHT_AREA_READ,
  STRAIGHT_AREA_WRITE,
  STRAIGHT_CLOCK,
  STRAIGHT_MM,
  STRAIGHT_NOT,
  STRAIGHT_ON,
} from '../abi';
import { lockstepRefault } from '../lockstep';
import { clockAdvance, deviceRead } from '../mm/device';
import { framesCharged, tableCharge } from '../mm/frame';
import { gupAbsent, gupRoomMade } from '../mm/gup';
import { followAt } from '../mm/follow';
import { outRead, outWord } from '../mm/memory';
import { leafPmdp, ptepAt } from '../mm/pte';
import { Hvn, Pfn } from '../types';
import { STRAIGHT, straightArea, yardstickGfn } from './config';
import { makeRoom, mayReclaim, straightLimit } from './shrink';

/** The device was read: the clock and the yardstick hear of the fault, and the reader waits. */
function majorFault(mm: u32, hvn: Hvn): void {
  lockstepRefault(yardstickGfn(mm, hvn));
  const file = outRead(GUP_OUT_READ) == GUP_READ_FILE;
  deviceRead(file ? DEVICE_DISK : DEVICE_SWAP, outRead(GUP_OUT_PLACE));
}

/** Whether the fault may begin: room can be made for the page that it may need, or is there. */
function mayFault(): bool {
  return mayReclaim() || framesCharged() + tableCharge() < straightLimit();
}

/** MAP_* of a fault with FOLL_* `foll` in an area; STRAIGHT_NOT: it is the protocol's. */
export function argsOf(area: usize, foll: u32): u32 {
  return (foll & FOLL_WRITE) != 0
    ? load<u32>(area, STRAIGHT_AREA_WRITE)
    : load<u32>(area, STRAIGHT_AREA_READ);
}

/** The host ends the fault with -ENOMEM, and tries no more. */
export function noMemory(): Pfn {
  outWord(GUP_OUT_READ, GUP_NO_READ);
  outWord(GUP_OUT_NO_MEMORY, 1);
  return FOLLOW_NONE;
}

/** After makeRoom(), by the addresses that the page has now. */
export function roomMade(mm: u32, hvn: Hvn, foll: u32, args: u32, file: u32, offset: u32): Pfn {
  outWord(GUP_OUT_READ, GUP_NO_READ);
  const got = gupRoomMade(mm, hvn, leafPmdp(mm, hvn), foll, args, file, offset);
  if (outRead(GUP_OUT_READ) != GUP_NO_READ) majorFault(mm, hvn);
  // GUP_SLOW is FOLLOW_NONE.
  return got;
}

/**
 * The page of `hvn` for an access with FOLL_* `foll`, with a reference; FOLLOW_NONE: the protocol's turn.
 * `pmdp` is the page's leafPmdp(); `accesses` and `l2Hits` of the running batch are not counted yet.
 */
export function straightGup(hvn: Hvn, pmdp: usize, foll: u32, accesses: u32, l2Hits: u32): Pfn {
  if (load<u32>(STRAIGHT, STRAIGHT_ON) == 0 || !mayFault()) return FOLLOW_NONE;
  const area = straightArea(hvn);
  if (area == 0) return FOLLOW_NONE;
  const args = argsOf(area, foll);
  if (args == STRAIGHT_NOT) return FOLLOW_NONE;
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  const file = load<u32>(area, STRAIGHT_AREA_FILE);
  const offset = hvn + load<u32>(area, STRAIGHT_AREA_OFFSET);
  outWord(GUP_OUT_NO_MEMORY, 0);
  if (pmdp == 0 || (load<u32>(ptepAt(pmdp, hvn)) & HPTE_PRESENT) != 0) {
    const present = followAt(mm, hvn, pmdp, foll);
    if (present != FOLLOW_NONE) return present;
  }
  const got = gupAbsent(mm, hvn, pmdp, foll, args, file, offset, straightLimit());
  // No time passes in a fault but that for which a device is waited.
  const waits = got == GUP_CHARGE || outRead(GUP_OUT_READ) != GUP_NO_READ;
  if (waits && load<u32>(STRAIGHT, STRAIGHT_CLOCK) != 0) clockAdvance(accesses, l2Hits, 0);
  if (got == GUP_CHARGE) {
    return makeRoom() ? roomMade(mm, hvn, foll, args, file, offset) : noMemory();
  }
  if (outRead(GUP_OUT_READ) != GUP_NO_READ) majorFault(mm, hvn);
  return got;
}
