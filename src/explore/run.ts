// Running cells of the table protocol × scenario, and schedules as files.

import { DataError } from '../core/errors.ts';
import { SEEDED_BUGS } from '../kvm/fault-protocol.ts';
import type { SeededBug } from '../kvm/fault-protocol.ts';
import { lockName } from '../sched/locks.ts';
import { INJECTIONS } from './actors/inject.ts';
import type { Injection } from './actors/inject.ts';
import { LOCK_MIRROR } from './mirror.ts';
import { pct } from './pct.ts';
import type { PctOptions, PctResult } from './pct.ts';
import { PROTOCOLS, protocolPreset } from './presets.ts';
import type { ProtocolPreset } from './presets.ts';
import { PROPERTIES, SCENARIOS, scenarioOf } from './scenarios.ts';
import type { Scenario, ScenarioVariant } from './scenarios.ts';
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

/** Reads a schedule file; DataError says what is wrong with it. */
export function parseSchedule(text: string, name: string): LoadedSchedule {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DataError(`${name}: ${error instanceof Error ? error.message : 'no JSON'}`);
  }
  const bad = (what: string): never => {
    throw new DataError(`${name}: ${what}`);
  };
  if (typeof value !== 'object' || value === null) return bad('not a schedule');
  const file = value as Partial<ScheduleFile>;
  if (file.schema !== 'shadowmmu-schedule-1') bad('schema is not shadowmmu-schedule-1');
  const preset = protocolPreset(String(file.preset));
  if (preset === undefined) return bad(`preset ${JSON.stringify(file.preset)} is unknown`);
  const scenario = scenarioOf(String(file.scenario));
  if (scenario === undefined) return bad(`scenario ${JSON.stringify(file.scenario)} is unknown`);
  if (file.bug !== null && !SEEDED_BUGS.includes(file.bug as SeededBug)) {
    bad(`bug ${JSON.stringify(file.bug)} is unknown`);
  }
  const { schedule, inject = [] } = file;
  if (!Array.isArray(inject) || inject.some((name) => !INJECTIONS.includes(name))) {
    bad(`inject ${JSON.stringify(inject)} is unknown`);
  }
  if (!Array.isArray(schedule) || schedule.some((a) => !Number.isInteger(a) || a < 0 || a > 30)) {
    bad('schedule is not a list of actors');
  }
  return { file: { ...(value as ScheduleFile), inject }, preset, scenario };
}

/** Every cell of the table. */
export function* allCells(): Generator<{ preset: ProtocolPreset; scenario: Scenario }> {
  for (const preset of PROTOCOLS) {
    for (const scenario of SCENARIOS) yield { preset, scenario };
  }
}
