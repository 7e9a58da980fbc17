// Control records among the access records: what the guest does besides referring to memory. Their words
// are drawn in assembly/abi.ts (CONTROL_*).

import {
  ACCESS_CONTROL,
  CONTROL_COUNT_SHIFT,
  CONTROL_OPERAND_SHIFT,
  CONTROL_OP_SHIFT,
} from '../assembly/abi.ts';

/** A control record taken apart. */
export interface ControlRecord {
  /** CONTROL_*. */
  readonly op: number;
  readonly operand: number;
  readonly count: number;
}

/** A control record as the two words of an access record. */
export function controlRecord(op: number, operand: number, count = 1): [number, number] {
  const lo =
    (ACCESS_CONTROL |
      (op << CONTROL_OP_SHIFT) |
      ((count - 1) << CONTROL_COUNT_SHIFT) |
      ((operand % 16) << CONTROL_OPERAND_SHIFT)) >>>
    0;
  return [lo, Math.floor(operand / 16)];
}

/** Takes the two words apart. */
export function readControlRecord(lo: number, hi: number): ControlRecord {
  return {
    op: (lo >>> CONTROL_OP_SHIFT) & 15,
    operand: hi * 16 + (lo >>> CONTROL_OPERAND_SHIFT),
    count: ((lo >>> CONTROL_COUNT_SHIFT) & 0xfff) + 1,
  };
}
