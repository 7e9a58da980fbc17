// Where a quiet step's first scan is, by its sequence.
import { expect, test } from 'vitest';
import { firstScanOf } from '../../src/conform/kvm/group-room.ts';

test('a step without a scan', () => {
  expect(firstScanOf('')).toBeNull();
  expect(firstScanOf('F1 F2 M2 F3')).toBeNull();
});

test('a scan for a fault, which is taken again or ends with its read', () => {
  expect(firstScanOf('F1 F2 R0 y0 =0 U0 F2 F3')).toEqual({ faults: 2, inFault: true });
  expect(firstScanOf('Fd1 Fd2 =0 M2 Fd2')).toEqual({ faults: 2, inFault: true });
});

test('a scan after the guest has stopped', () => {
  expect(firstScanOf('F1 F2 =1 R0 y1 =1')).toEqual({ faults: 2, inFault: false });
  expect(firstScanOf('=1 =0')).toEqual({ faults: 0, inFault: false });
});
