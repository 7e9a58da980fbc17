import { expect, test } from 'vitest';
import { loadCore } from '../../src/core/load.ts';
import { restoreCore, saveCore } from '../../src/core/snapshot.ts';

test('a restored core goes on as it did before, allocator included', () => {
  const core = loadCore();
  core.x.pageAlloc();
  const kept = core.x.pageAlloc() >>> 0;
  core.mem.store32(kept, 77);
  const before = saveCore(core);
  const firstRun = [core.x.pageAlloc() >>> 0, core.x.pageAlloc() >>> 0, core.x.memoryTop() >>> 0];
  core.mem.store32(kept, 1);
  core.mem.store32(firstRun[0] as number, 5);
  core.x.statBump(0, 3);
  restoreCore(core, before);
  expect(core.mem.load32(kept)).toBe(77);
  expect(core.mem.load64(core.x.statsPtr() >>> 0)).toBe(0);
  const again = [core.x.pageAlloc() >>> 0, core.x.pageAlloc() >>> 0, core.x.memoryTop() >>> 0];
  expect(again).toEqual(firstRun);
  expect(core.mem.load32(again[0] as number)).toBe(0);
});

test('a snapshot can be loaded into another core', () => {
  const a = loadCore();
  const page = a.x.pageAlloc() >>> 0;
  a.mem.store32(page, 123);
  const b = loadCore();
  restoreCore(b, saveCore(a));
  expect(b.mem.load32(page)).toBe(123);
  expect(b.x.pageAlloc() >>> 0).toBe(a.x.pageAlloc() >>> 0);
});
