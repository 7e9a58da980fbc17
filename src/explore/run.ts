// Running cells of the table protocol × scenario, and schedules as files.

import { DataError } from '../core/errors.ts';
import { SEEDED_BUGS } from '../kvm/fault-protocol.ts';
import type { SeededBug } from '../kvm/fault-protocol.ts';
import { lockName } from '../sched/locks.ts';
import { parseJson } from '../workload/fields.ts';
import { INJECTIONS } from './actors/inject.ts';
import type { Injection } from './actors/inject.ts';
import { LOCK_MIRROR } from './mirror.ts';
import { pct } from './pct.ts';
import type { PctOptions, PctResult } from './pct.ts';
import { PROTOCOLS, protocolPreset } from './presets.ts';
import type { ProtocolPreset } from './presets.ts';
import { SCENARIOS, scenarioOf } from './scenarios.ts';
import { PROPERTIES } from './setup.ts';
import type { Scenario, ScenarioVariant } from './setup.ts';
import { CRASH, DEADLOCK, search } from './search.ts';
import type { SearchOptions, SearchResult, Violation } from './search.ts';
import { tell } from './story.ts';
import type { Story } from './story.ts';
import { System } from './system.ts';

/** Names of all properties, those of the engine included. */
export const PROPERTY_NAMES: readonly string[] = [
  ...PROPERTIES.map((property) => property.name),
  DEADLOCK,
  CRASH,
];

/** One explored cell. */
export interface CellResult {
  readonly preset: string;
  readonly scenario: string;
  /** The file that the scenario comes from, or null. */
  readonly file: string | null;
  readonly bug: SeededBug | null;
  readonly inject: readonly Injection[];
  readonly actors: readonly string[];
  readonly violations: readonly Violation[];
  /** Of an exhaustive search. */
  readonly search: SearchResult | null;
  /** Of random schedules. */
  readonly random: PctResult | null;
}

/** Options of a cell. */
export interface CellOptions extends SearchOptions {
  readonly bug?: SeededBug | undefined;
  /** Faults that come at any moment. */
  readonly inject?: readonly Injection[];
  /** Random schedules instead of the exhaustive search. */
  readonly random?: PctOptions | undefined;
}

/** Explores one protocol in one scenario. */
export function exploreCell(
  preset: ProtocolPreset,
  scenario: Scenario,
  options: CellOptions = {},
): CellResult {
  const system = new System(scenario.build(preset, options));
  const random = options.random === undefined ? null : pct(system, options.random);
  const found = random === null ? search(system, options) : null;
  system.close();
  return {
    preset: preset.name,
    scenario: scenario.name,
    file: scenario.file ?? null,
    bug: options.bug ?? null,
    inject: options.inject ?? [],
    actors: system.actors.map((actor) => actor.name),
    violations: (found ?? random)?.violations ?? [],
    search: found,
    random,
  };
}

/** Name of a lock of a standard scenario. */
export function nameOfLock(lock: number): string {
  return lock === LOCK_MIRROR ? 'the device lock' : lockName(lock);
}

/** Tells a schedule of a standard scenario. */
export function tellCell(
  preset: ProtocolPreset,
  scenario: Scenario,
  schedule: readonly number[],
  variant: ScenarioVariant = {},
): Story {
  return tell(scenario.build(preset, variant), schedule, nameOfLock);
}

/** Format of a schedule in a file. */
export interface ScheduleFile {
  readonly schema: 'shadowmmu-schedule-1';
  readonly preset: string;
  readonly scenario: string;
  /** The scenario's own file, seen from the schedule's, or null. */
  readonly file: string | null;
  readonly bug: SeededBug | null;
  readonly inject: readonly Injection[];
  readonly property: string;
  readonly detail: string;
  readonly actors: readonly string[];
  /** Index of the actor of each step. */
  readonly schedule: readonly number[];
}

/** The file of a cell's violation. */
export function scheduleFile(cell: CellResult, violation: Violation): ScheduleFile {
  return {
    schema: 'shadowmmu-schedule-1',
    preset: cell.preset,
    scenario: cell.scenario,
    file: cell.file,
    bug: cell.bug,
    inject: cell.inject,
    property: violation.property,
    detail: violation.detail,
    actors: cell.actors,
    schedule: violation.schedule,
  };
}

/** A schedule file that was read: what it names, found. */
export interface LoadedSchedule {
  readonly file: ScheduleFile;
  readonly preset: ProtocolPreset;
  readonly scenario: Scenario;
}

/** Reads a schedule file, without what it names; DataError says what is wrong with it. */
export function readSchedule(text: string, name: string): ScheduleFile {
  const value = parseJson(name, text);
  const bad = (what: string): never => {
    throw new DataError(`${name}: ${what}`);
  };
  if (typeof value !== 'object' || value === null) return bad('not a schedule');
  const { schema, bug, schedule, inject = [], file = null } = value as Partial<ScheduleFile>;
  if (schema !== 'shadowmmu-schedule-1') bad('schema is not shadowmmu-schedule-1');
  if (bug !== null && !SEEDED_BUGS.includes(bug as SeededBug)) {
    bad(`bug ${JSON.stringify(bug)} is unknown`);
  }
  if (!Array.isArray(inject) || inject.some((injection) => !INJECTIONS.includes(injection))) {
    bad(`inject ${JSON.stringify(inject)} is unknown`);
  }
  if (!Array.isArray(schedule) || schedule.some((a) => !Number.isInteger(a) || a < 0 || a > 30)) {
    bad('schedule is not a list of actors');
  }
  if (file !== null && typeof file !== 'string') bad('file is not a path');
  return { ...(value as ScheduleFile), inject, file };
}

/** Finds what a schedule names; `own`: the scenarios of its own file. */
export function findSchedule(
  file: ScheduleFile,
  name: string,
  own: readonly Scenario[] = [],
): LoadedSchedule {
  const preset = protocolPreset(file.preset);
  if (preset === undefined) {
    throw new DataError(`${name}: preset ${JSON.stringify(file.preset)} is unknown`);
  }
  const scenario =
    file.file === null ? scenarioOf(file.scenario) : own.find((s) => s.name === file.scenario);
  if (scenario === undefined) {
    throw new DataError(`${name}: scenario ${JSON.stringify(file.scenario)} is unknown`);
  }
  return { file, preset, scenario };
}

/** Every cell of the table. */
export function* allCells(): Generator<{ preset: ProtocolPreset; scenario: Scenario }> {
  for (const preset of PROTOCOLS) {
    for (const scenario of SCENARIOS) yield { preset, scenario };
  }
}
