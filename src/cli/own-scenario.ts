// Scenarios that a user brings: as JSON over the standard actors, or as a JavaScript module with actors,
// notifiers and properties of its own.

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DataError } from '../core/errors.ts';
import { STANDARD_ACTORS } from '../explore/actors/all.ts';
import type { ExploredMachine } from '../explore/machine.ts';
import type { ProtocolPreset } from '../explore/presets.ts';
import { parseScenario } from '../explore/scenario-file.ts';
import { makeScenario } from '../explore/setup.ts';
import type { Scenario, ScenarioVariant, Setup } from '../explore/setup.ts';
import type { Actor, SystemDefinition } from '../explore/system.ts';
import { readText } from '../files.ts';

/** What a module exports as `scenario`, or several as `scenarios`. */
export interface OwnScenario extends Omit<Setup, 'actors'> {
  readonly name: string;
  readonly says?: string;
  /** Actors on an explored machine; the standard ones are handed in. */
  readonly actors?: (machine: ExploredMachine, actors: typeof STANDARD_ACTORS) => readonly Actor[];
  /** Or a whole system, as explore() of the library takes it. */
  readonly make?: (preset: ProtocolPreset, variant: ScenarioVariant) => SystemDefinition;
}

/** True for an argument that names a file of scenarios. */
export function isScenarioFile(name: string): boolean {
  return /\.(json|[cm]?js)$/.test(name);
}

/** The scenarios of a file. */
export async function loadScenarios(path: string): Promise<Scenario[]> {
  if (path.endsWith('.json')) return [{ ...parseScenario(readText(path), path), file: path }];
  const exported = await moduleOf(path);
  const list = exported.scenarios ?? [exported.scenario];
  if (!Array.isArray(list) || list.length === 0) {
    throw new DataError(`${path}: \`scenarios\` is no list of scenarios`);
  }
  return list.map((own: unknown) => ({ ...scenarioFrom(own, path), file: path }));
}

async function moduleOf(path: string): Promise<{ scenario?: unknown; scenarios?: unknown }> {
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as object;
  } catch (error) {
    throw new DataError(`${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function scenarioFrom(value: unknown, path: string): Scenario {
  const own = (typeof value === 'object' && value !== null ? value : {}) as Partial<OwnScenario>;
  const { name, says = `as ${path} has it`, actors, make } = own;
  if (typeof name !== 'string') {
    throw new DataError(`${path}: exports no \`scenario\` with a name`);
  }
  if (typeof make === 'function') {
    return { name, says, own: true, build: (preset, variant = {}) => make(preset, variant) };
  }
  if (typeof actors !== 'function') {
    throw new DataError(`${path}: ${name} has neither \`actors\` nor \`make\``);
  }
  return makeScenario(name, says, {
    ...(own as OwnScenario),
    actors: (machine) => actors(machine, STANDARD_ACTORS),
  });
}
