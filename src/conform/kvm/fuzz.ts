// Random scripts (generate.ts) on the emulator: shadow paging and two-dimensional paging must show the
// guest the same (values, faults with their error codes), every load must find what memory must hold
// (stamps.ts), the core's assertions must hold, and from time to time so must the audits of KVM's and the
// host's structures. The first script that breaks any of this is made as short as it goes. fuzz-rig.ts
// runs scripts on the real KVM too.

import { DataError } from '../../core/errors.ts';
import { auditKvm } from '../../kvm/audit.ts';
import { auditHost } from '../../mm/audit.ts';
import { randomScript, type FamilyName } from './generate.ts';
import { RecordedMachine } from './recorded-machine.ts';
import { parseScript } from './script.ts';
import { shrink } from './shrink.ts';

/** A script on which two sides disagree, or an invariant broke. */
export interface FuzzFailure {
  readonly seed: number;
  readonly family: FamilyName;
  readonly reason: string;
  /** The shortest script found that still fails. */
  readonly script: readonly string[];
}

/** Steps between audits, which look at every frame. */
const AUDIT_EVERY = 25;

/** Families in which a guest edits its tables as data, so that what it sees depends on what is cached. */
const UNSETTLED: readonly FamilyName[] = ['tables'];

/** What the guest sees of a script, step by step. */
interface View {
  /** Up to the first step that meets a lazily freed page: reclaim may take it in one mode and not in the other. */
  readonly steps: readonly string[];
  /** Loads that were compared with what memory must hold. */
  readonly checks: number;
}

/** Runs a script; throws when a load, an assertion or an audit finds something. */
function guestView(script: readonly string[], npt: boolean): View {
  const parsed = parseScript(script, 'fuzz');
  const machine = new RecordedMachine(parsed, { npt, build: 'debug', stamps: true });
  const guestSteps = script.filter((line) => /^[gh] /.test(line));
  const seen: string[] = [];
  let certain = 0;
  for (let step = machine.next(); step !== null; step = machine.next()) {
    const at = seen.length - 1;
    // The VM is gone after the last step.
    if (at < guestSteps.length && (at + 2) % AUDIT_EVERY === 0) audit(machine, at, npt);
    const isGuest = guestSteps[at]?.startsWith('g ') === true;
    seen.push(isGuest ? JSON.stringify(step.result) : '');
    if (!machine.uncertain) certain = seen.length;
  }
  return { steps: seen.slice(0, certain), checks: machine.checks };
}

function audit(machine: RecordedMachine, step: number, npt: boolean): void {
  // The recorded machine's group is charged for page tables too, which the audit does not count.
  const host = auditHost(machine.host).problems.filter((text) => !text.includes('are charged'));
  const found = [...auditKvm(machine.kvm), ...host];
  if (found.length > 0) {
    throw new DataError(`audit after step ${step}, npt=${npt ? 1 : 0}: ${found.join('; ')}`);
  }
}

/** What a script came to on the emulator. */
export interface FuzzRun {
  /** Why it fails, or null. */
  readonly reason: string | null;
  readonly checks: number;
}

/** Runs a script on the emulator in both paging modes; `settled`: they must show the guest the same. */
export function runOnEmulator(script: readonly string[], settled = true): FuzzRun {
  try {
    const shadow = guestView(script, false);
    const nested = guestView(script, true);
    const checks = shadow.checks + nested.checks;
    const both = Math.min(shadow.steps.length, nested.steps.length);
    const at = shadow.steps.findIndex((line, i) => i < both && line !== nested.steps[i]);
    if (at < 0 || !settled) return { reason: null, checks };
    const [a, b] = [shadow.steps[at], nested.steps[at]];
    return { reason: `step ${at - 1}: shadow paging ${a}, two-dimensional paging ${b}`, checks };
  } catch (error) {
    return { reason: error instanceof Error ? error.message : String(error), checks: 0 };
  }
}

/** The script of a seed on the emulator alone: its failure made short, and how many loads were compared. */
export function fuzz(
  seed: number,
  family: FamilyName = 'mixed',
): { readonly failure: FuzzFailure | null; readonly checks: number } {
  // What a TLB still holds differs between the two ways, so that every change of a guest pte is flushed.
  const settled = !UNSETTLED.includes(family);
  const script = randomScript(seed, { family, settled });
  const { reason, checks } = runOnEmulator(script, settled);
  if (reason === null) return { failure: null, checks };
  const short = shrink(script, (shorter) =>
    shorter.map((candidate) => runOnEmulator(candidate, settled).reason !== null),
  );
  const why = runOnEmulator(short, settled).reason ?? reason;
  return { failure: { seed, family, reason: why, script: short }, checks };
}

/** Scripts of seeds and families. */
export function fuzzScripts(
  first: number,
  count: number,
  families: readonly FamilyName[],
): { readonly seed: number; readonly family: FamilyName }[] {
  const family = (i: number): FamilyName => families[i % families.length] as FamilyName;
  return Array.from({ length: count }, (_, i) => ({ seed: first + i, family: family(i) }));
}
