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
  MAP_ROOM_MADE,
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
import { gupPlain } from '../mm/gup';
import { outRead, outWord } from '../mm/memory';
import { Hvn, Pfn } from '../types';
import { STRAIGHT, straightArea, yardstickGfn } from './config';
import { makeRoom, mayReclaim, straightLimit } from './shrink';

/** The device was read: the clock and the yardstick hear of the fault, and the reader waits. */
function majorFault(mm: u32, hvn: Hvn, accesses: u32, l2Hits: u32): void {
  if (load<u32>(STRAIGHT, STRAIGHT_CLOCK) != 0) clockAdvance(accesses, l2Hits);
  lockstepRefault(yardstickGfn(mm, hvn));
  const file = outRead(GUP_OUT_READ) == GUP_READ_FILE;
  deviceRead(file ? DEVICE_DISK : DEVICE_SWAP, outRead(GUP_OUT_PLACE));
}

/** Whether the fault may begin: room can be made for the page that it may need, or is there. */
function mayFault(): bool {
  return mayReclaim() || framesCharged() + tableCharge() < straightLimit();
}

/**
 * The page of `hvn` for an access with FOLL_* `foll`, with a reference; FOLLOW_NONE: the protocol's turn.
 * `accesses` and `l2Hits` of the running batch are not counted yet.
 */
export function straightGup(hvn: Hvn, foll: u32, accesses: u32, l2Hits: u32): Pfn {
  if (load<u32>(STRAIGHT, STRAIGHT_ON) == 0 || !mayFault()) return FOLLOW_NONE;
  const area = straightArea(hvn);
  if (area == 0) return FOLLOW_NONE;
  let args =
    (foll & FOLL_WRITE) != 0
      ? load<u32>(area, STRAIGHT_AREA_WRITE)
      : load<u32>(area, STRAIGHT_AREA_READ);
  if (args == STRAIGHT_NOT) return FOLLOW_NONE;
  const mm = load<u32>(STRAIGHT, STRAIGHT_MM);
  const file = load<u32>(area, STRAIGHT_AREA_FILE);
  const offset = hvn + load<u32>(area, STRAIGHT_AREA_OFFSET);
  const limit = straightLimit();
  outWord(GUP_OUT_NO_MEMORY, 0);
  while (true) {
    const got = gupPlain(mm, hvn, foll, args, file, offset, limit);
    if (outRead(GUP_OUT_READ) != GUP_NO_READ) majorFault(mm, hvn, accesses, l2Hits);
    // GUP_SLOW is FOLLOW_NONE.
    if (got != GUP_CHARGE) return got;
    if (load<u32>(STRAIGHT, STRAIGHT_CLOCK) != 0) clockAdvance(accesses, l2Hits);
    if (!makeRoom()) {
      // The host ends the fault with -ENOMEM, and tries no more.
      outWord(GUP_OUT_NO_MEMORY, 1);
      return FOLLOW_NONE;
    }
    args |= MAP_ROOM_MADE;
  }
}
