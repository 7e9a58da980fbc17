// The whole table protocol × scenario, as docs/explorer.md has it: every cell is explored anew.
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { explore, withStory, withTable } from '../../scripts/gen-explorer.mjs';
import { DEADLOCK } from '../../src/explore/search.ts';
import { sourcesOf } from '../../src/explore/sources.ts';
import { allCells, exploreCell } from '../../src/explore/run.ts';
import type { CellResult } from '../../src/explore/run.ts';
import { markdownTable } from '../../src/explore/table.ts';

const FIXED = ['2.6.27', 'srcu', 'interval', '6.x', '6.x-tdp'];

describe('the table', () => {
  const cells: CellResult[] = [];
  beforeAll(() => {
    for (const { preset, scenario } of allCells()) cells.push(exploreCell(preset, scenario));
  }, 600_000);

  test('is what the document says (node scripts/gen-explorer.mjs writes it)', () => {
    const document = readFileSync(new URL('../../docs/explorer.md', import.meta.url), 'utf8');
    expect(withTable(document, markdownTable(cells))).toBe(document);
  });

  test('and so is the story above it', () => {
    const document = readFileSync(new URL('../../docs/explorer.md', import.meta.url), 'utf8');
    expect(withStory(document, explore('v3', 'fault-zap'))).toBe(document);
  });

  test('has exhausted every cell, within 128 MiB', () => {
    for (const { search } of cells) {
      expect(search?.exhausted).toBe(true);
      expect(search?.endStates).toBeGreaterThan(0);
      expect(search?.bytes).toBeLessThan(128 << 20);
    }
  });

  test.each(FIXED)('%s holds in every scenario', (name) => {
    const row = cells.filter(({ preset }) => preset === name);
    expect(row.length).toBeGreaterThan(20);
    for (const { scenario, violations } of row) {
      expect([scenario, ...violations.map(({ property }) => property)]).toEqual([scenario]);
    }
  });

  test('names a source for every violation, and has no deadlock', () => {
    for (const { preset, scenario, violations } of cells) {
      for (const { property } of violations) {
        expect(property).not.toBe(DEADLOCK);
        for (const { url } of sourcesOf(preset, scenario, property)) {
          expect(url).toMatch(/^https:\/\/(lore|git)\.kernel\.org\//);
        }
        expect(sourcesOf(preset, scenario, property).length).toBeGreaterThan(0);
      }
    }
  });
});
