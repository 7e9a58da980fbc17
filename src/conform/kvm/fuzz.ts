// Random scripts (generate.ts) on the emulator: shadow paging and two-dimensional paging must show the
// guest the same (values, faults with their error codes), every load must find what memory must hold
// (stamps.ts), the core's assertions must hold, and from time to time so must the audits of KVM's and the
// host's structures. Where the recording rig is set up,
// the real KVM runs the script too, and every step is compared at all levels. The first script that
// breaks any of this is made as short as it goes.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataError } from '../../core/errors.ts';
import { auditKvm } from '../../kvm/audit.ts';
import { auditHost } from '../../mm/audit.ts';
import { checkRecording } from './check.ts';
import { randomScript, type FamilyName } from './generate.ts';
import type { History } from './history.ts';
import { RecordedMachine } from './recorded-machine.ts';
import { readRecording, type Recording } from './recording.ts';
import { parseScript } from './script.ts';

/** Where the rig is: its folder (run.sh, convert.py) and what its build.sh made. */
export interface Rig {
  readonly folder: string;
  readonly build: string;
}

/** A script on which two sides disagree, or an invariant broke. */
export interface FuzzFailure {
  readonly seed: number;
  readonly family: FamilyName;
  readonly reason: string;
  /** The shortest script found that still fails. */
  readonly script: readonly string[];
}

/** Lines at the head of a script that say what it is; shrinking keeps them. */
const HEADER = 3;
/** Steps between audits, which look at every frame. */
const AUDIT_EVERY = 25;

/** Families in which a guest edits its tables as data, so that what it sees depends on what is cached. */
const UNSETTLED: readonly FamilyName[] = ['tables'];

/** What the guest sees of a script, step by step. */
interface View {
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
  for (let step = machine.next(); step !== null; step = machine.next()) {
    const at = seen.length - 1;
    // The VM is gone after the last step.
    if (at < guestSteps.length && (at + 2) % AUDIT_EVERY === 0) audit(machine, at, npt);
    const isGuest = guestSteps[at]?.startsWith('g ') === true;
    seen.push(isGuest ? JSON.stringify(step.result) : '');
  }
  return { steps: seen, checks: machine.checks };
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
    const at = shadow.steps.findIndex((line, i) => line !== nested.steps[i]);
    if (at < 0 || !settled) return { reason: null, checks };
    const [a, b] = [shadow.steps[at], nested.steps[at]];
    return { reason: `step ${at - 1}: shadow paging ${a}, two-dimensional paging ${b}`, checks };
  } catch (error) {
    return { reason: error instanceof Error ? error.message : String(error), checks: 0 };
  }
}

/** Drops steps as long as the script goes on failing: many at once first, then one by one. */
function shrink(
  script: readonly string[],
  fails: (script: readonly string[]) => boolean,
): string[] {
  let best = [...script];
  for (let size = best.length >> 1; size >= 1; size >>= 1) {
    for (let end = best.length; end > HEADER; end -= size) {
      const from = Math.max(end - size, HEADER);
      const shorter = [...best.slice(0, from), ...best.slice(end)];
      if (fails(shorter)) best = shorter;
    }
  }
  return best;
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
  const short = shrink(script, (shorter) => runOnEmulator(shorter, settled).reason !== null);
  const why = runOnEmulator(short, settled).reason ?? reason;
  return { failure: { seed, family, reason: why, script: short }, checks };
}

/** Runs scripts on the real KVM and compares; by name of the script, why it differs. */
function onRig(rig: Rig, scripts: ReadonlyMap<string, readonly string[]>): Map<string, string> {
  const at = mkdtempSync(join(tmpdir(), 'shadowmmu-rig-'));
  const scn = join(at, 'scn');
  mkdirSync(scn);
  for (const [name, script] of scripts) {
    writeFileSync(join(scn, `${name}.scn`), `${script.join('\n')}\n`);
  }
  const differences = new Map<string, string>();
  try {
    for (const npt of [0, 1]) {
      const raw = join(at, `raw${npt}`);
      const json = join(at, `json${npt}`);
      const stdio = 'ignore' as const;
      mkdirSync(json);
      execFileSync(join(rig.folder, 'run.sh'), [rig.build, scn, raw, String(npt)], { stdio });
      const convert = [join(rig.folder, 'convert.py'), raw, scn, json, 'rig'];
      execFileSync('python3', convert, { stdio });
      for (const name of scripts.keys()) {
        const why = difference(join(json, `${name}.rig.json`), npt === 1);
        if (why !== null && !differences.has(name)) differences.set(name, why);
      }
    }
  } finally {
    rmSync(at, { recursive: true, force: true });
  }
  return differences;
}

function difference(file: string, npt: boolean): string | null {
  const recording = readRecording(file);
  const script = parseScript(recording.script, file);
  const start = (_: Recording, history: History): RecordedMachine =>
    new RecordedMachine(script, { npt, history });
  const { levels, error, pressure } = checkRecording(recording, start);
  if (error !== null) return error;
  // Under pressure the thresholds decide, as for recordings.
  const failed = levels.find((level) => (pressure ? !level.passed : level.first !== null));
  if (failed?.first === undefined || failed.first === null) return null;
  const { step, op, differences } = failed.first;
  const what = differences[0]?.what ?? '';
  return `npt=${npt ? 1 : 0}: level ${failed.level} differs at step ${step} (${op}): ${what}`;
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

/** Runs scripts on the real KVM; the first failure is shrunk, a boot in each mode for each try. */
export function fuzzOnRig(
  rig: Rig,
  first: number,
  count: number,
  families: readonly FamilyName[],
): FuzzFailure[] {
  const scripts = new Map<string, readonly string[]>();
  const origin = new Map<string, { seed: number; family: FamilyName }>();
  for (const { seed, family } of fuzzScripts(first, count, families)) {
    const script = randomScript(seed, { family });
    const name = script[0]?.slice('name '.length) ?? '';
    scripts.set(name, script);
    origin.set(name, { seed, family });
  }
  const failures: FuzzFailure[] = [];
  for (const [name, reason] of onRig(rig, scripts)) {
    const whole = scripts.get(name) ?? [];
    const fails = (script: readonly string[]): boolean =>
      onRig(rig, new Map([[name, script]])).size > 0;
    const script = failures.length === 0 ? shrink(whole, fails) : whole;
    const { seed, family } = origin.get(name) ?? { seed: 0, family: 'mixed' };
    failures.push({ seed, family, reason, script });
  }
  return failures;
}
