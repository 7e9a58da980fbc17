// The guest walker against the independent model on arbitrary tables: all modes, page sizes,
// MAXPHYADDRs, SMAP, protection keys, canonical and other addresses, A and D bits.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { WalkGuest } from './guest.ts';
import { buildCase, caseArbitrary, caseWords, outcomeWords } from './mapping.ts';
import type { Case } from './mapping.ts';
import { translate } from './model.ts';

function check(guest: WalkGuest, c: Case): void {
  const registers = buildCase(guest, c);
  for (const access of c.accesses) {
    const found = outcomeWords(guest.walk(registers, access));
    const expected = outcomeWords(translate(registers, access, guest));
    if (found !== expected) {
      throw new Error(`${caseWords(c)}\nmodel:  ${expected}\nwalker: ${found}`);
    }
    for (const [at, core, model] of guest.differences()) {
      const [entry, want] = [core.toString(16), model.toString(16)];
      throw new Error(`${caseWords(c)}\nentry at ${at.toString(16)}h: ${entry}h, model ${want}h`);
    }
  }
}

test.each(['4-level', '5-level', 'PAE', '32-bit'] as const)(
  'walker and model agree on arbitrary %s mappings',
  (mode) => {
    const guest = new WalkGuest();
    fc.assert(
      fc.property(caseArbitrary(mode), (c) => check(guest, c)),
      { numRuns: 10_000, seed: 20080121 },
    );
  },
);

test('the arbitrary mappings reach every kind of outcome', () => {
  const guest = new WalkGuest();
  const seen = new Map<string, number>();
  for (const c of fc.sample(caseArbitrary('5-level'), { numRuns: 10_000, seed: 1 })) {
    const registers = buildCase(guest, c);
    for (const access of c.accesses) {
      const o = translate(registers, access, guest);
      let key: string = o.kind;
      if (o.kind === 'page-fault') key = `ec ${o.errorCode.toString(16)}`;
      if (o.kind === 'translated') key = `page ${o.pageBytes}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
  }
  // All that can occur: 6 not present, 6 reserved, 6 for rights, 4 with a protection key (SDM 4.7).
  const codes = [...seen.keys()].filter((key) => key.startsWith('ec')).length;
  expect(codes).toBe(22);
  for (const key of ['general-protection', 'page 4096', 'page 2097152', 'page 1073741824']) {
    expect(seen.get(key) ?? 0).toBeGreaterThan(20);
  }
});
