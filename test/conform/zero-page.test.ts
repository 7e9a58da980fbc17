// Names of frames of the zero pages: the recorder calls them so if a snapshot of the script shows them.
import { expect, test } from 'vitest';
import type { OurStep } from '../../src/conform/kvm/our-step.ts';
import { toRecording, type JsonObject } from '../../src/conform/kvm/recording.ts';
import { nameZeroPages, ZeroBits, zeroName } from '../../src/conform/kvm/zero-page.ts';

/** A step with one page that a frame backs, and one event about another frame. */
function step(mapped: number, seen: number): OurStep {
  return {
    result: [],
    events: [{ t: 'hva_to_pfn_ret', ret: zeroName(seen) }],
    counters: {},
    pages: [{ host: { pfn: zeroName(mapped) }, shadow: { level: 0 }, gpte: '0' }],
    shadowPages: [],
  };
}

test('a frame of a zero page is called so if a recorded snapshot shows it, and else like any other', () => {
  const recording = toRecording('x.json', {
    name: 'x',
    kernel: '6.1',
    npt: 0,
    layout: { data: { pages: 1, backing: 'anon' } },
    script: [],
    // The second step was recorded without a snapshot.
    steps: [
      { i: -1, op: 'warmup', pages_initial: [] },
      { i: 0, op: 'g read 0' },
    ],
  });
  const run = nameZeroPages(recording, [step(5, 7), step(7, 5)]);
  expect(run.map(({ events }) => events[0]?.ret)).toEqual(['#zero:7', 'zero']);
  expect(run[0]?.pages[0]?.host.pfn).toBe('zero');
});

function zero(...flags: string[]): JsonObject {
  return { pfn: 'zero', flags: [...flags, 'zero_page'] };
}

test("the zero page's bit before a script is not compared, until generations mark the page for good", () => {
  const [clear, referenced] = [zero(), zero('referenced')];
  const marked = [{ t: 'folio_mark_accessed', pfn: 'zero' }];
  const bits = new ZeroBits();
  expect(bits.aligned(clear, referenced)).toEqual(referenced);
  bits.follow('g read 0', marked);
  expect(bits.aligned(referenced, clear)).toEqual(clear);
  bits.follow('h lru_gen 1', []);
  expect(bits.aligned(referenced, clear)).toEqual(clear);
  bits.follow('g read 1', marked);
  expect(bits.aligned(referenced, referenced)).toEqual(referenced);
});
