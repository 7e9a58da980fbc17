// Random scripts on the real KVM, where the recording rig is set up: every step is compared with the emulator
// at all levels, and the first difference is made as short as it goes.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataError } from '../../core/errors.ts';
import { checkRecording } from './check.ts';
import { facilitiesOf } from './facilities.ts';
import { fuzzScripts, type FuzzFailure } from './fuzz.ts';
import { randomScript, type FamilyName } from './generate.ts';
import type { History } from './history.ts';
import { RecordedMachine } from './recorded-machine.ts';
import { readRecording, type Recording } from './recording.ts';
import { parseScript } from './script.ts';
import { shrink } from './shrink.ts';

/** Where the rig is: its folder (run.sh, convert.py) and what its build.sh made. */
export interface Rig {
  readonly folder: string;
  readonly build: string;
}

/** What a script came to in one paging mode. */
type Verdict =
  | { readonly kind: 'agrees' }
  | { readonly kind: 'differs'; readonly reason: string }
  /** The script ended the recording driver, or its boot hung. */
  | { readonly kind: 'unusable'; readonly reason: string };

/** Seconds that a boot may take (LIMIT of run.sh). */
const BOOT_LIMIT = '300';
const MODES = [0, 1] as const;
type Mode = (typeof MODES)[number];

/**
 * Whether children and their ends alternate: the driver would wait for ever for one that it forgot, and one that is
 * left keeps the VM.
 */
function isSound(script: readonly string[]): boolean {
  let forked = false;
  for (const line of script) {
    if (line !== 'h fork' && line !== 'h reap') continue;
    if (forked === (line === 'h fork')) return false;
    forked = !forked;
  }
  return !forked;
}

/** Runs scripts on the real KVM and compares each; after a boot that fails, each half in a boot of its own. */
function runOnRig(rig: Rig, mode: Mode, scripts: readonly (readonly string[])[]): Verdict[] {
  try {
    return boot(rig, mode, scripts);
  } catch (error) {
    if (!(error instanceof BootError)) throw error;
    if (scripts.length === 1) return [{ kind: 'unusable', reason: error.message }];
    const half = scripts.length >> 1;
    return [scripts.slice(0, half), scripts.slice(half)].flatMap((part) =>
      runOnRig(rig, mode, part),
    );
  }
}

/** Name of a script in its boot. */
function nameOf(i: number): string {
  return `script_${String(i).padStart(4, '0')}`;
}

/** A boot came to no recordings. */
class BootError extends Error {}

/** Runs scripts in one boot. */
function boot(rig: Rig, mode: Mode, scripts: readonly (readonly string[])[]): Verdict[] {
  const at = mkdtempSync(join(tmpdir(), 'shadowmmu-rig-'));
  const scn = join(at, 'scn');
  const raw = join(at, 'raw');
  const json = join(at, 'json');
  try {
    mkdirSync(scn);
    mkdirSync(json);
    for (const [i, script] of scripts.entries()) {
      const lines = [`name ${nameOf(i)}`, ...script.slice(1)];
      writeFileSync(join(scn, `${nameOf(i)}.scn`), `${lines.join('\n')}\n`);
    }
    const stdio = 'ignore' as const;
    const env = { ...process.env, LIMIT: process.env.LIMIT ?? BOOT_LIMIT };
    try {
      execFileSync(join(rig.folder, 'run.sh'), [rig.build, scn, raw, String(mode)], { stdio, env });
    } catch {
      throw new BootError(`the boot failed, or took more than ${env.LIMIT} s`);
    }
    const convert = [join(rig.folder, 'convert.py'), raw, scn, json, 'rig'];
    execFileSync('python3', convert, { stdio });
    return scripts.map((_, i) => verdictOf(join(json, `${nameOf(i)}.rig.json`), mode));
  } finally {
    rmSync(at, { recursive: true, force: true });
  }
}

function verdictOf(file: string, mode: Mode): Verdict {
  if (!existsSync(file)) return { kind: 'unusable', reason: 'the boot made no recording' };
  let recording: Recording;
  try {
    recording = readRecording(file);
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    return { kind: 'unusable', reason: 'the script ended the recording driver' };
  }
  const reason = difference(recording, mode);
  return reason === null ? { kind: 'agrees' } : { kind: 'differs', reason };
}

function difference(recording: Recording, mode: Mode): string | null {
  const script = parseScript(recording.script, recording.name);
  const facilities = facilitiesOf(recording);
  const start = (_: Recording, history: History): RecordedMachine =>
    new RecordedMachine(script, { npt: mode === 1, history, facilities });
  const { levels, error, pressure } = checkRecording(recording, start);
  if (error !== null) return error;
  // Under pressure the thresholds decide, as for recordings.
  const failed = levels.find((level) => (pressure ? !level.passed : level.first !== null));
  if (failed?.first === undefined || failed.first === null) return null;
  const { step, op, differences } = failed.first;
  const what = differences[0]?.what ?? '';
  return `npt=${mode}: level ${failed.level} differs at step ${step} (${op}): ${what}`;
}

/** What a run on the rig came to. */
export interface RigRun {
  readonly failures: readonly FuzzFailure[];
  /** Scripts that could not be recorded. */
  readonly unusable: number;
}

/** Runs scripts on the real KVM in both paging modes; the first failure is shrunk. */
export function fuzzOnRig(
  rig: Rig,
  first: number,
  count: number,
  families: readonly FamilyName[],
  progress: (text: string) => void = () => {},
): RigRun {
  const origins = fuzzScripts(first, count, families);
  const scripts = origins.map(({ seed, family }) => randomScript(seed, { family }));
  const failed = new Map<number, { mode: Mode; reason: string }>();
  const unusable = new Set<number>();
  for (const mode of MODES) {
    progress(`${count} scripts on real KVM, npt=${mode}`);
    for (const [i, verdict] of runOnRig(rig, mode, scripts).entries()) {
      if (verdict.kind === 'unusable') unusable.add(i);
      if (verdict.kind === 'differs' && !failed.has(i)) {
        failed.set(i, { mode, reason: verdict.reason });
      }
    }
  }
  const failures = [...failed].map(([i, { mode, reason }], nth): FuzzFailure => {
    const { seed, family } = origins[i] as (typeof origins)[number];
    const script = scripts[i] as readonly string[];
    if (nth > 0) return { seed, family, reason, script };
    return { seed, family, ...shrinkOnRig(rig, mode, script, reason, progress) };
  });
  return { failures, unusable: unusable.size };
}

function shrinkOnRig(
  rig: Rig,
  mode: Mode,
  script: readonly string[],
  reason: string,
  progress: (text: string) => void,
): { readonly script: readonly string[]; readonly reason: string } {
  const reasons = new Map<string, string>();
  const short = shrink(script, (candidates) => {
    progress(
      `shrinking: ${candidates.length} scripts of about ${candidates[0]?.length ?? 0} lines`,
    );
    const sound = candidates.filter(isSound);
    const verdicts = sound.length === 0 ? [] : runOnRig(rig, mode, sound);
    for (const [i, verdict] of verdicts.entries()) {
      if (verdict.kind === 'differs') reasons.set(String(sound[i]), verdict.reason);
    }
    return candidates.map((candidate) => reasons.has(String(candidate)));
  });
  return { script: short, reason: reasons.get(String(short)) ?? reason };
}
