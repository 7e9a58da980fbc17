// When areas join (vma_merge, find_mergeable_anon_vma): what their anonymous pages belong to decides, too.
import { describe, expect, test } from 'vitest';
import { anonOf, VM_READ, VM_WRITE, vmaMerged, vmasFlagged, type Vma } from '../../src/mm/vma.ts';

const RW = VM_READ | VM_WRITE;

/** Anonymous memory; `anon`: what its pages belong to, 0: it has none. */
function area(start: number, end: number, anon: number, flags = RW): Vma {
  return { start, end, flags, file: 0, pgoff: start, ...(anon === 0 ? {} : { anon }) };
}

function ranges(vmas: readonly Vma[]): string[] {
  return vmas.map(({ start, end, anon }) => `${start}-${end}:${anon ?? 0}`);
}

/** The areas after the one between 10 and 12 became like its neighbours. */
function between(prev: number, part: number, next: number, mapped = false): string[] {
  return ranges(vmaMerged([area(0, 10, prev), area(12, 20, next)], area(10, 12, part), mapped));
}

describe('an area joins its neighbours', () => {
  test('whose pages belong to the same, or that have pages where it has none', () => {
    expect(between(1, 1, 1)).toEqual(['0-20:1']);
    expect(between(1, 0, 1)).toEqual(['0-20:1']);
    expect(between(0, 0, 0)).toEqual(['0-20:0']);
    expect(between(0, 0, 2)).toEqual(['0-20:2']);
  });

  test('not those without pages where it has some', () => {
    expect(between(0, 1, 0)).toEqual(['0-10:0', '10-12:1', '12-20:0']);
    expect(between(0, 1, 1)).toEqual(['0-10:0', '10-20:1']);
  });

  test('the one before it, if the two can not be one; new memory the one after it', () => {
    expect(between(1, 0, 2)).toEqual(['0-12:1', '12-20:2']);
    expect(between(1, 0, 2, true)).toEqual(['0-10:1', '10-20:2']);
    expect(between(0, 0, 2, true)).toEqual(['0-10:0', '10-20:2']);
    expect(between(1, 0, 0, true)).toEqual(['0-20:1']);
  });

  test('not over pages that a parent owns too', () => {
    const inherited = { ...area(0, 10, 1), inherited: 1 };
    expect(ranges(vmaMerged([inherited], area(10, 12, 0)))).toEqual(['0-10:1', '10-12:0']);
  });
});

test('areas far from a change stay apart', () => {
  const vmas = [area(0, 10, 1), area(10, 20, 2), area(20, 30, 2, VM_READ)];
  expect(ranges(vmasFlagged(vmas, 20, 30, VM_WRITE, 0))).toEqual(['0-10:1', '10-30:2']);
});

test('first pages belong to what a like neighbour has, the next one before the one before', () => {
  const vmas = [area(0, 10, 1, VM_READ), area(10, 12, 0), area(12, 20, 2, VM_READ)];
  expect(anonOf(vmas, vmas[1] as Vma)).toBe(2);
  expect(anonOf(vmas.slice(0, 2), vmas[1] as Vma)).toBe(1);
  expect(anonOf([area(0, 9, 1), area(10, 12, 0)], area(10, 12, 0))).toBeUndefined();
});
