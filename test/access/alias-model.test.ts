// Shadow paging against the independent model where guest tables are shared: few tables, each used
// at any level and from several entries, many addresses through them. A shadow page found by the wrong
// key (rights of the path, level, gfn) shows here.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { residentVm } from '../../src/conform/resident-vm.ts';
import { gpteWords } from '../../src/conform/words.ts';
import { accessArbitrary, entryArbitrary, outcomeWords, registersArbitrary } from './mapping.ts';
import type { Entry } from './mapping.ts';
import { translate } from './model.ts';
import type { Access, Outcome, Registers } from './model.ts';
import { TABLE_GFN } from './guest.ts';
import { registerWords, ShadowGuest } from './shadow-guest.ts';

const TABLES = 6;
/** Entries in use in each table. */
const ENTRIES = 2;
const LEVELS = 4;
/** First frame that no table has. */
const DATA_GFN = 64;
/** A large page of the second memslot. */
const LARGE = { slot: 1, gfn: 0x40000, npages: 0x40000, hvn: 0x100000 };

interface Link {
  readonly table: number;
  readonly index: number;
  readonly entry: Entry;
  /** Table that the entry points to; the others are data pages. */
  readonly target: number;
}

type Step =
  | { readonly kind: 'access'; readonly path: number; readonly access: Omit<Access, 'address'> }
  | { readonly kind: 'edit'; readonly link: Link; readonly byInvlpg: boolean };

interface Web {
  readonly registers: Registers;
  readonly links: readonly Link[];
  readonly steps: readonly Step[];
}

/** The address whose index at level i is bit i - 1 of `path`. */
function addressOf(path: number): bigint {
  let address = 0n;
  for (let level = 0; level < LEVELS; level++) {
    address |= BigInt((path >> level) & 1) << BigInt(12 + 9 * level);
  }
  return address;
}

function linkArbitrary(
  table: fc.Arbitrary<number>,
  index: fc.Arbitrary<number>,
): fc.Arbitrary<Link> {
  return fc.record({
    table,
    index,
    entry: entryArbitrary,
    target: fc.integer({ min: 0, max: TABLES + 1 }),
  });
}

const anyLink = linkArbitrary(
  fc.integer({ min: 0, max: TABLES - 1 }),
  fc.integer({ min: 0, max: ENTRIES - 1 }),
);

const webArbitrary: fc.Arbitrary<Web> = fc.record({
  registers: registersArbitrary('4-level'),
  links: fc.tuple(
    ...Array.from({ length: TABLES * ENTRIES }, (_, i) =>
      linkArbitrary(fc.constant(Math.floor(i / ENTRIES)), fc.constant(i % ENTRIES)),
    ),
  ),
  steps: fc.array(
    fc.oneof(
      {
        weight: 8,
        arbitrary: fc
          .tuple(fc.integer({ min: 0, max: 15 }), accessArbitrary)
          .map(([path, access]): Step => ({ kind: 'access', path, access })),
      },
      {
        weight: 1,
        arbitrary: fc
          .tuple(anyLink, fc.boolean())
          .map(([link, byInvlpg]): Step => ({ kind: 'edit', link, byInvlpg })),
      },
    ),
    { minLength: 1, maxLength: 25 },
  ),
});

function linkAt(link: Link): bigint {
  return (BigInt(TABLE_GFN + link.table) << 12n) + BigInt(link.index * 8);
}

function linkValue(link: Link): bigint {
  let frame = BigInt(link.target < TABLES ? TABLE_GFN + link.target : DATA_GFN + link.target);
  // A large page is aligned; at the last level bit 7 is the PAT bit, and any frame does.
  if ((link.entry.bits & 0x80n) !== 0n) frame = BigInt(LARGE.gfn);
  return link.entry.bits | ((link.entry.frame ?? frame) << 12n);
}

function linkWords(link: Link): string {
  const value = linkValue(link);
  const to = `frame ${((value >> 12n) & 0xffffffffffn).toString(16)}h`;
  return `table ${(TABLE_GFN + link.table).toString(16)}h[${link.index}]: ${gpteWords(value, 2)} -> ${to}`;
}

function webWords(web: Web, done: number): string {
  const on = Object.entries(web.registers)
    .filter(([, value]) => value === true)
    .map(([name]) => name.toUpperCase());
  const steps = web.steps.slice(0, done + 1).map((step) => {
    if (step.kind === 'edit') {
      return `${linkWords(step.link)}, ${step.byInvlpg ? 'INVLPG of all addresses' : 'MOV to CR3'}`;
    }
    const { cpl, implicit, kind } = step.access;
    return `${implicit ? 'implicit' : `CPL ${cpl}`} ${kind} of ${addressOf(step.path).toString(16)}h`;
  });
  return [
    `MAXPHYADDR ${web.registers.maxPhyAddr}, PKRU ${web.registers.pkru}, on: ${on.join(' ')}`,
    ...web.links.map(linkWords),
    ...steps.map((words) => `  then ${words}`),
  ].join('\n');
}

/** Accesses that completed, so that a test can tell that many did. */
let completed = 0;

function pageOf(outcome: Outcome): Outcome {
  if (outcome.kind !== 'translated') return outcome;
  return { ...outcome, physical: outcome.physical & ~0xfffn, pageBytes: 0n };
}

function play(guest: ShadowGuest, web: Web): void {
  guest.clear(true);
  guest.setCpuid(web.registers);
  guest.vcpu.setRegisters(registerWords(web.registers));
  for (const link of web.links) guest.setEntry(linkAt(link), 8, linkValue(link));
  guest.vcpu.setCr3(TABLE_GFN);
  web.steps.forEach((step, i) => {
    if (step.kind === 'edit') {
      guest.setEntry(linkAt(step.link), 8, linkValue(step.link));
      if (!step.byInvlpg) guest.vcpu.setCr3(TABLE_GFN);
      else for (let path = 0; path < 16; path++) guest.invlpg(addressOf(path));
      return;
    }
    const access = { ...step.access, address: addressOf(step.path) };
    const model = pageOf(translate(web.registers, access, guest));
    const gpa = model.kind === 'translated' ? model.physical : 0n;
    completed += model.kind === 'translated' ? 1 : 0;
    const found = outcomeWords(pageOf(guest.access(access, gpa)));
    const wanted = outcomeWords(model);
    if (found !== wanted) {
      throw new Error(`${webWords(web, i)}\nmodel:  ${wanted}\nshadow: ${found}`);
    }
    for (const [at, core, want] of guest.differences()) {
      const [entry, expected] = [core.toString(16), want.toString(16)];
      throw new Error(
        `${webWords(web, i)}\nentry at ${at.toString(16)}h: ${entry}h, model ${expected}h`,
      );
    }
  });
}

test.each(['6.1', '2008'])(
  'shadow paging and model agree on shared tables, KVM %s',
  (generation) => {
    const guest = new ShadowGuest(residentVm({ generation, frames: 1 << 16, regions: [LARGE] }));
    completed = 0;
    fc.assert(
      fc.property(webArbitrary, (web) => play(guest, web)),
      { numRuns: 3000, seed: 20080121 },
    );
    expect(completed).toBeGreaterThan(2000);
  },
);
