// Shadow paging against the independent model: a vCPU's accesses to arbitrary mappings, with the
// guest's stores to its tables and changes of its registers in between. Register changes take effect
// at once; a changed entry does after INVLPG.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { residentVm } from '../../src/conform/resident-vm.ts';
import {
  accessArbitrary,
  caseArbitrary,
  caseWords,
  entryAddress,
  entryArbitrary,
  entryValue,
  entryWords,
  outcomeWords,
  TOGGLES,
} from './mapping.ts';
import type { Case, Entry } from './mapping.ts';
import { translate } from './model.ts';
import type { Access, Outcome, Registers } from './model.ts';
import { registerWords, ShadowGuest } from './shadow-guest.ts';

/** What happens between the accesses of a case. */
type Step =
  | { readonly kind: 'access'; readonly access: Omit<Access, 'address'> }
  | { readonly kind: 'toggle'; readonly register: (typeof TOGGLES)[number] }
  | { readonly kind: 'pkru'; readonly value: number }
  | { readonly kind: 'edit'; readonly depth: number; readonly entry: Entry };

interface Story {
  readonly mapping: Case;
  readonly steps: readonly Step[];
}

function storyArbitrary(mode: '4-level' | '5-level'): fc.Arbitrary<Story> {
  const depth = fc.integer({ min: 0, max: mode === '5-level' ? 4 : 3 });
  const access = accessArbitrary.map((a): Step => ({ kind: 'access', access: a }));
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 6, arbitrary: access },
    {
      weight: 2,
      arbitrary: fc
        .constantFrom(...TOGGLES)
        .map((register): Step => ({ kind: 'toggle', register })),
    },
    {
      weight: 1,
      arbitrary: fc.integer({ min: 0, max: 63 }).map((value): Step => ({ kind: 'pkru', value })),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(depth, entryArbitrary)
        .map(([d, entry]): Step => ({ kind: 'edit', depth: d, entry })),
    },
  );
  return fc.record({
    mapping: caseArbitrary(mode),
    steps: fc.array(step, { minLength: 1, maxLength: 10 }),
  });
}

function stepWords(step: Step, mapping: Case): string {
  switch (step.kind) {
    case 'access': {
      const { cpl, implicit, kind } = step.access;
      return `${implicit ? 'implicit supervisor' : `CPL ${cpl}`} ${kind}`;
    }
    case 'toggle':
      return `toggle ${step.register.toUpperCase()}`;
    case 'pkru':
      return `PKRU = ${step.value.toString(16)}h`;
    case 'edit':
      return `${entryWords(mapping, step.depth, step.entry)}, INVLPG`;
  }
}

function storyWords(story: Story, done: number): string {
  const steps = story.steps.slice(0, done + 1).map((s) => `  then ${stepWords(s, story.mapping)}`);
  return `${caseWords({ ...story.mapping, accesses: [] })}\n${steps.join('\n')}`;
}

/** Accesses that completed, so that a test can tell that many did. */
let completed = 0;

/** Page part of an outcome: what a record of the access path can tell. */
function pageOf(outcome: Outcome): Outcome {
  if (outcome.kind !== 'translated') return outcome;
  return { ...outcome, physical: outcome.physical & ~0xfffn, pageBytes: 0n };
}

/** Plays a story on both; throws where they differ. */
function play(guest: ShadowGuest, story: Story): void {
  const { mapping, steps } = story;
  guest.clear(true);
  let registers: Registers = mapping.registers;
  guest.setCpuid(registers);
  guest.vcpu.setRegisters(registerWords(registers));
  mapping.entries.forEach((entry, depth) => {
    guest.setEntry(entryAddress(mapping, depth), 8, entryValue(mapping, depth, entry));
  });
  guest.vcpu.setCr3(Number(registers.cr3 >> 12n));
  steps.forEach((step, i) => {
    if (step.kind === 'edit') {
      const at = entryAddress(mapping, step.depth);
      guest.setEntry(at, 8, entryValue(mapping, step.depth, step.entry));
      guest.invlpg(mapping.address);
      return;
    }
    if (step.kind === 'toggle') {
      registers = { ...registers, [step.register]: !registers[step.register] };
      guest.vcpu.setRegisters(registerWords(registers));
      return;
    }
    if (step.kind === 'pkru') {
      registers = { ...registers, pkru: step.value };
      guest.vcpu.setRegisters(registerWords(registers));
      return;
    }
    const access = { ...step.access, address: mapping.address };
    const before = guest.snapshot();
    const model = pageOf(translate(registers, access, guest));
    const wanted = outcomeWords(model);
    const gpa = model.kind === 'translated' ? model.physical : 0n;
    completed += model.kind === 'translated' ? 1 : 0;
    const found = outcomeWords(pageOf(guest.access(access, gpa)));
    const where = (): string => `${storyWords(story, i)}\nbefore: ${before}`;
    if (found !== wanted) throw new Error(`${where()}\nmodel:  ${wanted}\nshadow: ${found}`);
    for (const [at, core, want] of guest.differences()) {
      throw new Error(
        `${where()}\nentry at ${at.toString(16)}h: ${core.toString(16)}h, model ${want.toString(16)}h`,
      );
    }
  });
}

/** A gigabyte of gfns behind the frame that large pages of the arbitrary mappings have. */
const LARGE = { slot: 1, gfn: 0x40000, npages: 0x40000, hvn: 0x100000 };

test.each([
  ['4-level', '6.1'],
  ['5-level', '6.1'],
  ['4-level', '2008'],
] as const)('shadow paging and model agree on arbitrary %s stories, KVM %s', (mode, generation) => {
  const guest = new ShadowGuest(residentVm({ generation, frames: 1 << 17, regions: [LARGE] }));
  completed = 0;
  fc.assert(
    fc.property(storyArbitrary(mode), (story) => play(guest, story)),
    { numRuns: 5000, seed: 20080121 },
  );
  expect(completed).toBeGreaterThan(2000);
});
