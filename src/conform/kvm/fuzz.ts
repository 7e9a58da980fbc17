// Random scripts (generate.ts) on the emulator: shadow paging and two-dimensional paging must show the
// guest the same (values, faults with their error codes), the core's assertions must hold, and from
// time to time so must the audits of KVM's and the host's structures. Where the recording rig is set up,
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
import { randomScript } from './generate.ts';
import { RecordedMachine } from './recorded-machine.ts';
import { readRecording } from './recording.ts';
import { parseScript } from './script.ts';

/** Where the rig is: its folder (run.sh, convert.py) and what its build.sh made. */
export interface Rig {
  readonly folder: string;
  readonly build: string;
}

/** A script on which two sides disagree, or an invariant broke. */
export interface FuzzFailure {
  readonly seed: number;
  readonly reason: string;
  /** The shortest script found that still fails. */
  readonly script: readonly string[];
}

/** Lines at the head of a script that say what it is; shrinking keeps them. */
const HEADER = 3;
/** Steps between audits, which look at every frame. */
const AUDIT_EVERY = 25;

/** What the guest sees of a script, step by step; throws when an audit finds something. */
function guestView(script: readonly string[], npt: boolean): string[] {
  const machine = new RecordedMachine(parseScript(script, 'fuzz'), { npt, build: 'debug' });
  const guestSteps = script.filter((line) => /^[gh] /.test(line));
  const seen: string[] = [];
  for (let step = machine.next(); step !== null; step = machine.next()) {
    const at = seen.length - 1;
    // The VM is gone after the last step.
    if (at < guestSteps.length && (at + 2) % AUDIT_EVERY === 0) audit(machine, at, npt);
    const isGuest = guestSteps[at]?.startsWith('g ') === true;
    seen.push(isGuest ? JSON.stringify(step.result) : '');
  }
  return seen;
}

function audit(machine: RecordedMachine, step: number, npt: boolean): void {
  // The recorded machine's group is charged for page tables too, which the audit does not count.
  const host = auditHost(machine.host).problems.filter((text) => !text.includes('are charged'));
  const found = [...auditKvm(machine.kvm), ...host];
  if (found.length > 0) {
    throw new DataError(`audit after step ${step}, npt=${npt ? 1 : 0}: ${found.join('; ')}`);
  }
}

/** Why a script fails on the emulator, or null. */
export function failureOf(script: readonly string[]): string | null {
  try {
    const shadow = guestView(script, false);
    const nested = guestView(script, true);
    const at = shadow.findIndex((line, i) => line !== nested[i]);
    if (at < 0) return null;
    return `step ${at - 1}: shadow paging ${shadow[at]}, two-dimensional paging ${nested[at]}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Drops steps as long as the script goes on failing. */
function shrink(
  script: readonly string[],
  fails: (script: readonly string[]) => boolean,
): string[] {
  let best = [...script];
  for (let i = best.length - 1; i >= HEADER; i--) {
    const shorter = best.filter((_, j) => j !== i);
    if (fails(shorter)) best = shorter;
  }
  return best;
}

/** Runs the script of a seed on the emulator alone; null: it agrees. */
export function fuzz(seed: number): FuzzFailure | null {
  // INVLPG follows every change of a guest pte: what a TLB still holds differs between the two ways.
  const script = randomScript(seed, { settled: true });
  if (failureOf(script) === null) return null;
  const short = shrink(script, (shorter) => failureOf(shorter) !== null);
  return { seed, reason: failureOf(short) ?? '', script: short };
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
  const { levels, error } = checkRecording(recording, () => new RecordedMachine(script, { npt }));
  if (error !== null) return error;
  const failed = levels.find((level) => level.first !== null);
  if (failed?.first === undefined || failed.first === null) return null;
  const { step, op, differences } = failed.first;
  const what = differences[0]?.what ?? '';
  return `npt=${npt ? 1 : 0}: level ${failed.level} differs at step ${step} (${op}): ${what}`;
}

/** Runs the scripts of seeds on the real KVM; the first failure is shrunk, a boot for each try. */
export function fuzzOnRig(rig: Rig, first: number, count: number): FuzzFailure[] {
  const scripts = new Map<string, readonly string[]>();
  const seeds = new Map<string, number>();
  for (let seed = first; seed < first + count; seed++) {
    const script = randomScript(seed);
    const name = script[0]?.slice('name '.length) ?? '';
    scripts.set(name, script);
    seeds.set(name, seed);
  }
  const failures: FuzzFailure[] = [];
  for (const [name, reason] of onRig(rig, scripts)) {
    const whole = scripts.get(name) ?? [];
    const fails = (script: readonly string[]): boolean =>
      onRig(rig, new Map([[name, script]])).size > 0;
    const script = failures.length === 0 ? shrink(whole, fails) : whole;
    failures.push({ seed: seeds.get(name) ?? 0, reason, script });
  }
  return failures;
}
