import { expect, test } from 'vitest';

import { scansOf } from '../../src/conform/kvm/group-room.ts';

function scans(seq: string): unknown {
  const { faults, tail } = scansOf(seq);
  return { faults: [...faults], tail };
}

test('a step without a scan has none', () => {
  expect(scans('')).toEqual({ faults: [], tail: false });
  expect(scans('F1 F2 M2 F3')).toEqual({ faults: [], tail: false });
});

test('each scan for a page that is faulted in is known by its fault', () => {
  expect(scans('F1 F2 R0 y0 =0 U0 F2 F3')).toEqual({ faults: [2], tail: false });
  expect(scans('Fd1 Fd2 =0 M2 Fd2 Fd3 =1 Fd3')).toEqual({ faults: [2, 4], tail: false });
});

test('a scan when the guest has stopped is for an object', () => {
  expect(scans('F1 F2 =1 R0 y1 =1')).toEqual({ faults: [], tail: true });
  expect(scans('F1 =0 F1 =1 =0')).toEqual({ faults: [1], tail: true });
});
