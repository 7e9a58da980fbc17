// Presets and the bundled trace: they open, and name protocols and counters that exist.
import { expect, test } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { AGING_PRESETS } from '../../src/mm/aging.ts';
import { COUNTERS } from '../../src/stats/counters.ts';
import { footprint, streamInfo } from '../../src/workload/analyse.ts';
import { bundledTrace } from '../../src/workload/bundled.ts';
import { openWorkload } from '../../src/workload/open.ts';
import { WORKLOAD_PRESETS, publishedLines } from '../../src/workload/presets.ts';

test.each(WORKLOAD_PRESETS.map((p) => [p.name, p] as const))('%s', async (name, preset) => {
  expect(await footprint(openWorkload(name))).toBeGreaterThan(4000);
  const counters = COUNTERS.map((c) => c.name as string);
  for (const counter of preset.counters) expect(counters).toContain(counter);
  for (const protocol of Object.values(preset.cases)) {
    expect(Object.keys(AGING_PRESETS)).toContain(protocol);
  }
  expect(publishedLines(preset).at(-1)).toContain(preset.source);
});

test('parameters of a preset replace its own', async () => {
  expect(await footprint(openWorkload('chromeos-tabs:pages=300,hot=100,refs=200k'))).toBe(300);
  expect(() => openWorkload('numa-balancing:pages=3')).toThrow(UsageError);
  expect(() => openWorkload('chromeos-tab')).toThrow('did you mean chromeos-tabs?');
});

test('the bundled trace is the one that its README describes', async () => {
  const info = await streamInfo(bundledTrace());
  expect(info).toMatchObject({ refs: 3_002_647, unique_pages: 520, format: 'smt' });
});
