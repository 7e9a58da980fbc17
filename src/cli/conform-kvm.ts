// `shadowmmu conform kvm FILE|FOLDER …`: recordings of the real KVM against the emulator.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkRecording } from '../conform/kvm/check.ts';
import { facilitiesOf } from '../conform/kvm/facilities.ts';
import type { RecordingResult } from '../conform/kvm/check.ts';
import type { Level } from '../conform/kvm/levels.ts';
import { fuzz, fuzzScripts, type FuzzFailure } from '../conform/kvm/fuzz.ts';
import { fuzzOnRig, type Rig, type RigRun } from '../conform/kvm/fuzz-rig.ts';
import { FAMILY_NAMES, type FamilyName } from '../conform/kvm/generate.ts';
import { RecordedMachine } from '../conform/kvm/recorded-machine.ts';
import { readRecording } from '../conform/kvm/recording.ts';
import type { Recording } from '../conform/kvm/recording.ts';
import { formatReport, summarize } from '../conform/kvm/report.ts';
import { parseScript } from '../conform/kvm/script.ts';
import { DataError, UsageError } from '../core/errors.ts';
import { EXIT_STATUS, type Io } from './command.ts';

/** Help text. */
export const CONFORM_KVM_HELP = `conform kvm runs the script of each recording of the real KVM (JSON, gzip or not) on the emulator and
compares step by step: level 1 what guest and VMM see, level 2 what KVM does, level 3 what the host's
memory management does. The kernel that was recorded chooses the rules (--generation of run); one that
has none is run by those of the last one before it, and only level 1 is expected to agree.

  --level N    compare up to level N: 1, 2 or 3 (default 3)
  --npt 0|1    only recordings made with shadow paging (0) or two-dimensional paging (1)
  --debug      run the core with its assertions
  --json       one JSON document instead of text
  --fuzz N     no recordings: N random scripts, shadow paging against two-dimensional paging, with audits,
               assertions, and a record of what memory must hold
  --family F   what --fuzz is about, one or more of ${FAMILY_NAMES.join(', ')} (default mixed)
  --seed S     first seed of --fuzz (default 1)
  --rig DIR    with --fuzz: run the scripts on real KVM too and compare step by step; DIR holds run.sh
               and convert.py of the recording rig
  --rig-build DIR  what the rig's build.sh made (default: $SHADOWMMU_RIG_BUILD)
`;

/** Recordings below a path, in order of name. */
function filesOf(path: string): string[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new DataError(`${path}: no such file or folder`);
  if (!stat.isDirectory()) return [path];
  const names = readdirSync(path).filter((name) => /\.json(\.gz)?$/.test(name));
  if (names.length === 0) throw new DataError(`${path}: holds no recordings (*.json, *.json.gz)`);
  return names.toSorted().map((name) => join(path, name));
}

/** Checks one recording. */
export function conformRecording(recording: Recording, debug = false): RecordingResult {
  const script = parseScript(recording.script, recording.file);
  const build = debug ? 'debug' : 'release';
  const options = { npt: recording.npt === 1, build, facilities: facilitiesOf(recording) } as const;
  return checkRecording(
    recording,
    (_, history) => new RecordedMachine(script, { ...options, history }),
  );
}

/** The rig that the options or the environment name; null: there is none. */
function rigOf(folder: string | undefined, built: string | undefined): Rig | null {
  const build = built ?? process.env.SHADOWMMU_RIG_BUILD;
  if (folder === undefined) return null;
  if (build === undefined) throw new UsageError('--rig needs --rig-build: what build.sh made');
  return { folder, build };
}

function failureText({ seed, family, reason, script }: FuzzFailure): string {
  return `seed ${seed}, ${family}: ${reason}\n\n${script.join('\n')}\n\n`;
}

function familiesOf(text: string): FamilyName[] {
  return text.split(',').map((name) => {
    const family = FAMILY_NAMES.find((known) => known === name);
    if (family === undefined) {
      throw new UsageError(`--family ${name}: use one or more of ${FAMILY_NAMES.join(', ')}`);
    }
    return family;
  });
}

/** What --fuzz is to do. */
interface FuzzPlan {
  readonly count: number;
  readonly first: number;
  readonly families: readonly FamilyName[];
  readonly rig: Rig | null;
}

/** What came of it. */
interface FuzzReport {
  readonly families: readonly FamilyName[];
  readonly passed: number;
  /** Of the emulator: the first one, as short as it goes. Of real KVM: all. */
  readonly failures: readonly FuzzFailure[];
  /** Loads that found what they must. */
  readonly loads: number;
  readonly rig: (RigRun & { readonly passed: number }) | null;
}

/** Random scripts on the emulator, up to the first failure; then on real KVM. */
function runFuzz({ count, first, families, rig }: FuzzPlan, io: Io): FuzzReport {
  if (!Number.isInteger(count) || count < 1 || !Number.isInteger(first)) {
    throw new UsageError('--fuzz takes a number of scripts, --seed a whole number');
  }
  let loads = 0;
  for (const [i, { seed, family }] of fuzzScripts(first, count, families).entries()) {
    io.progress(`script ${i + 1} of ${count}`);
    const { failure, checks } = fuzz(seed, family);
    loads += checks;
    if (failure !== null) return { families, passed: i, failures: [failure], loads, rig: null };
  }
  const report = { families, passed: count, failures: [], loads };
  if (rig === null) return { ...report, rig };
  const run = fuzzOnRig(rig, first, count, families, (text) => io.progress(text));
  return { ...report, rig: { ...run, passed: count - run.failures.length } };
}

function fuzzText({ families, passed, failures, loads, rig }: FuzzReport): string {
  const told = failures.map(failureText).join('');
  const checked = ` (${families.join(', ')}; ${loads} loads found what they must)`;
  const own = `${told}${passed} passed, ${failures.length} failed${told === '' ? checked : ''}\n`;
  if (rig === null) return own;
  const skipped = rig.unusable === 0 ? '' : `, ${rig.unusable} not recorded in both modes`;
  const real = `real KVM: ${rig.passed} passed, ${rig.failures.length} failed${skipped}\n`;
  return own + rig.failures.map(failureText).join('') + real;
}

/** Runs the command; returns the exit status. */
export function conformKvm(args: readonly string[], io: Io): number {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      level: { type: 'string', default: '3' },
      npt: { type: 'string' },
      debug: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      fuzz: { type: 'string' },
      seed: { type: 'string', default: '1' },
      family: { type: 'string', default: 'mixed' },
      rig: { type: 'string' },
      'rig-build': { type: 'string' },
    },
  });
  if (values.fuzz !== undefined) {
    const rig = rigOf(values.rig ?? process.env.SHADOWMMU_RIG, values['rig-build']);
    const families = familiesOf(values.family);
    const plan = { count: Number(values.fuzz), first: Number(values.seed), families, rig };
    const report = runFuzz(plan, io);
    io.progress('');
    io.out(values.json ? `${JSON.stringify(report, null, 2)}\n` : fuzzText(report));
    const failed = report.failures.length + (report.rig?.failures.length ?? 0);
    return failed > 0 ? EXIT_STATUS.violated : EXIT_STATUS.ok;
  }
  if (positionals.length === 0) throw new UsageError('conform kvm takes a FILE or FOLDER');
  if (!/^[123]$/.test(values.level)) {
    throw new UsageError(`--level is 1, 2 or 3, not "${values.level}"`);
  }
  if (values.npt !== undefined && !/^[01]$/.test(values.npt)) {
    throw new UsageError(`--npt is 0 or 1, not "${values.npt}"`);
  }
  const level = Number(values.level) as Level;
  const results: RecordingResult[] = [];
  for (const file of positionals.flatMap(filesOf)) {
    const recording = readRecording(file);
    if (values.npt !== undefined && Number(values.npt) !== recording.npt) continue;
    io.progress(`${recording.name} npt=${recording.npt}`);
    results.push(conformRecording(recording, values.debug));
  }
  io.progress('');
  const summary = summarize(results, level);
  if (values.json) io.out(`${JSON.stringify({ summary, recordings: results }, null, 2)}\n`);
  else io.out(`${formatReport(results, level, io.columns || 160).join('\n')}\n`);
  const failed = summary.some((s) => s.level <= 2 && s.failed > 0);
  return failed ? EXIT_STATUS.violated : EXIT_STATUS.ok;
}
