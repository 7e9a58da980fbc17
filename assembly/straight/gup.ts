// get_user_pages for KVM's page fault on a straight run: gupPlain() with what its caller does around
// it (src/mm/gup.ts: plain, the protocol): room is made first, the reader waits for its device.

import {
  DEVICE_DISK,
  DEVICE_SWAP,
  FOLLOW_NONE,
  FOLL_WRITE,
  GUP_CHARGE,
  GUP_NO_READ,
  GUP_OUT_PLACE,
  GUP_OUT_READ,
  GUP_READ_FILE,
  MAP_ROOM_MADE,
  STRAIGHT_AREA_FILE,
  STRAIGHT_AREA_OFFSET,
  STRAIGHT_AREA_READ,
  STRAIGHT_AREA_WRITE,
  STRAIGHT_CLOCK,
  STRAIGHT_LIMIT,
  STRAIGHT_MM,
  STRAIGHT_NOT,
  STRAIGHT_ON,
} from '../abi';
import { lockstepRefault } from '../lockstep';
import { clockAdvance, deviceRead } from '../mm/device';
import { gupPlain } from '../mm/gup';
import { outRead } from '../mm/memory';
import { Hvn, Pfn } from '../types';
import { STRAIGHT, straightArea } from './config';
import { makeRoom, yardstickGfn } from './reclaim';

/** The device was read: the clock and the yardstick hear of the fault, and the reader waits. */
function majorFault(hvn: Hvn, accesses: u32, l2Hits: u32): void {
  if (load<u32>(STRAIGHT, STRAIGHT_CLOCK) != 0) clockAdvance(accesses, l2Hits);
  lockstepRefault(yardstickGfn(hvn));
  const file = outRead(GUP_OUT_READ) == GUP_READ_FILE;
  deviceRead(file ? DEVICE_DISK : DEVICE_SWAP, outRead(GUP_OUT_PLACE));
}

/**
 * The page of `hvn` for an access with FOLL_* `foll`, with a reference; FOLLOW_NONE: the protocol's turn.
 * `accesses` and `l2Hits` of the running batch are not counted yet.
 */
export function straightGup(hvn: Hvn, foll: u32, accesses: u32, l2Hits: u32): Pfn {
  if (load<u32>(STRAIGHT, STRAIGHT_ON) == 0) return FOLLOW_NONE;
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
  const limit = load<u32>(STRAIGHT, STRAIGHT_LIMIT);
  while (true) {
    const got = gupPlain(mm, hvn, foll, args, file, offset, limit);
    if (outRead(GUP_OUT_READ) != GUP_NO_READ) majorFault(hvn, accesses, l2Hits);
    // GUP_SLOW is FOLLOW_NONE.
    if (got != GUP_CHARGE) return got;
    if (load<u32>(STRAIGHT, STRAIGHT_CLOCK) != 0) clockAdvance(accesses, l2Hits);
    if (!makeRoom()) return FOLLOW_NONE;
    args |= MAP_ROOM_MADE;
  }
}
