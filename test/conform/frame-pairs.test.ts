// Which of our frames is which of the recording's: one that ever backs a slot page keeps its name, one of somebody
// else's on both sides does not, since the recorder names it only for what it becomes later.
import { expect, test } from 'vitest';
import { FramePairs, withFrames } from '../../src/conform/kvm/frame-pairs.ts';
import type { KvmEvent } from '../../src/conform/kvm/recording.ts';

function events(names: string[]): KvmEvent[] {
  return names.map((pfn) => ({ t: 'vmscan_write', pfn }));
}

/** Names of our frames after their events were paired with recorded ones; `known` ever back a slot page. */
function named(ours: string[], recorded: string[], known: string[]): unknown[] {
  const pairs = new FramePairs();
  const names = {
    boundTo: (name: string) => pairs.boundTo(name),
    isLive: () => false,
    isKnown: (name: string) => known.includes(name),
  };
  return withFrames(events(ours), events(recorded), pairs, names).map(({ pfn }) => pfn);
}

test('a frame that backs a slot page has one name', () => {
  expect(named(['#1', '#1'], ['f8', 'f9'], ['#1'])).toEqual(['f8', 'f8']);
});

test("a frame of somebody else's is whichever of the recording's such frames it is paired with", () => {
  expect(named(['#1', '#2', '#1'], ['f40', 'f41', 'f41'], [])).toEqual(['f40', 'f41', 'f41']);
});
