// JSON scenario files: guest accesses, what the guest kernel does and what the host does, in order
// (docs/traces.md#scenarios). Parsing checks everything, so that a run cannot fail on its text.

import { dirname, resolve } from 'node:path';
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_SUPERVISOR,
  ACCESS_WRITE,
  CONTROL_EXIT,
  CONTROL_FORK,
  CONTROL_INVLPG,
  CONTROL_MARK,
  CONTROL_PROTECT_RO,
  CONTROL_PROTECT_RW,
  CONTROL_SWITCH,
  CONTROL_UNMAP,
} from '../../assembly/abi.ts';
import { DataError } from '../core/errors.ts';
import { readText } from '../files.ts';
import { Fields, parseJson } from './fields.ts';
import { type HostOperation, MADVICE } from './host-op.ts';
import { type ScenarioStep, ScenarioSource } from './scenario-source.ts';
import { type Workload, limited } from './source.ts';
import { splitSpec } from './spec.ts';
import { syntheticWorkload } from './synthetic.ts';
import { openTrace } from './trace-source.ts';

/** Value of a scenario's `schema`. */
export const SCENARIO_SCHEMA = 'shadowmmu-scenario/1';

/** A scenario file, parsed. */
export interface Scenario extends Workload {
  /** What it shows, in words. */
  readonly description: string;
  /** Defaults for options of the command line, by their long names. */
  readonly options: Readonly<Record<string, string | number | boolean>>;
  /** Names of the phases, by the operand of CONTROL_MARK. */
  readonly marks: readonly string[];
  readonly hostOps: readonly HostOperation[];
}

/** Page numbers of 48-bit addresses. */
const VPN_MAX = 2 ** 36 - 1;
/** Guest frame numbers. */
const GFN_MAX = 2 ** 24 - 1;
const PID_MAX = 2 ** 19 - 1;
/** Pages that one control record can name. */
const RANGE_MAX = 4096;
const COUNT_MAX = 2 ** 31;
const NESTING_MAX = 8;

const ACCESS_KINDS = { read: ACCESS_READ, write: ACCESS_WRITE, fetch: ACCESS_FETCH } as const;

const GUEST_RANGE = {
  unmap: CONTROL_UNMAP,
  protect_ro: CONTROL_PROTECT_RO,
  protect_rw: CONTROL_PROTECT_RW,
  invlpg: CONTROL_INVLPG,
} as const;
const GUEST_PROCESS = {
  switch: CONTROL_SWITCH,
  fork: CONTROL_FORK,
  exit: CONTROL_EXIT,
} as const;

const HOST_OPS = [
  'madvise',
  'munmap',
  'mprotect',
  'mremap',
  'fork',
  'read',
  'write',
  'direct_io',
  'reclaim',
  'limit',
  'mark_idle',
  'numa_hint',
  'register_notifier',
  'unregister_notifier',
] as const;

/** Words that a step can start with. */
const STEP_WORDS = ['access', 'workload', 'trace', 'guest', 'host', 'mark', 'repeat'] as const;

/** What the steps have in common while they are read. */
interface Reading {
  readonly folder: string;
  readonly seed: number;
  readonly hostOps: HostOperation[];
  readonly marks: string[];
}

function keysOf<T extends object>(object: T): (keyof T & string)[] {
  return Object.keys(object) as (keyof T & string)[];
}

function accessStep(f: Fields): ScenarioStep {
  const kind = ACCESS_KINDS[f.choice('access', keysOf(ACCESS_KINDS))];
  const flags = f.flag('supervisor', false) ? ACCESS_SUPERVISOR : 0;
  const page = f.whole('page', 0, VPN_MAX);
  const pages = f.whole('pages', 1, COUNT_MAX, 1);
  const stride = f.whole('stride', 1, VPN_MAX, 1);
  const times = f.whole('times', 1, COUNT_MAX, 1);
  if (page + (pages - 1) * stride > VPN_MAX) throw f.wrong('pages', 'a range within 48 bits');
  return { kind: 'access', flags: kind | flags, page, pages, stride, times };
}

function guestStep(f: Fields): ScenarioStep {
  const what = f.choice('guest', [...keysOf(GUEST_PROCESS), ...keysOf(GUEST_RANGE)]);
  if (what in GUEST_PROCESS) {
    const op = GUEST_PROCESS[what as keyof typeof GUEST_PROCESS];
    return { kind: 'control', op, operand: f.whole('process', 0, PID_MAX), count: 1 };
  }
  const op = GUEST_RANGE[what as keyof typeof GUEST_RANGE];
  const page = f.whole('page', 0, VPN_MAX);
  return { kind: 'control', op, operand: page, count: f.whole('pages', 1, RANGE_MAX, 1) };
}

function hostOperation(f: Fields): HostOperation {
  const op = f.choice('host', HOST_OPS);
  const range = () => ({
    page: f.whole('page', 0, GFN_MAX),
    pages: f.whole('pages', 1, GFN_MAX + 1, 1),
  });
  if (op === 'madvise') return { op, advice: f.choice('advice', MADVICE), ...range() };
  if (op === 'mprotect') return { op, writable: f.flag('writable', false), ...range() };
  if (op === 'fork') return { op, stays: f.flag('stays', false) };
  if (op === 'reclaim') return { op, pages: f.whole('pages', 1, GFN_MAX) };
  if (op === 'limit') return { op, frames: f.whole('frames', 1, GFN_MAX) };
  if (op === 'mark_idle') return { op };
  if (op === 'register_notifier' || op === 'unregister_notifier') {
    return { op, name: f.text('name') };
  }
  return { op, ...range() };
}

function traceStep(f: Fields, reading: Reading): ScenarioStep {
  const path = resolve(reading.folder, f.text('trace'));
  const format = f.has('format') ? f.text('format') : undefined;
  let workload = openTrace(path, { format });
  if (f.has('limit')) workload = limited(workload, f.whole('limit', 1, Number.MAX_SAFE_INTEGER));
  return { kind: 'workload', workload, hostOpBase: 0 };
}

function workloadStep(f: Fields, reading: Reading): ScenarioStep {
  const spec = f.text('workload');
  const seed = f.whole('seed', 0, Number.MAX_SAFE_INTEGER, reading.seed);
  let workload: Workload;
  try {
    workload = syntheticWorkload(splitSpec(spec), seed);
  } catch (error) {
    throw new DataError(`${f.where}: ${(error as Error).message}`);
  }
  const hostOpBase = reading.hostOps.length;
  reading.hostOps.push(...(workload.hostOps ?? []));
  return { kind: 'workload', workload, hostOpBase };
}

function step(where: string, value: unknown, reading: Reading, depth: number): ScenarioStep {
  const f = new Fields(where, value);
  const words = STEP_WORDS.filter((word) => f.has(word));
  const word = words[0];
  if (word === undefined || words.length > 1) {
    const what = words.length > 1 ? `both ${words.join(' and ')}` : f.keys.join(', ') || 'nothing';
    throw new DataError(`${where}: expected one of ${STEP_WORDS.join(', ')}, found ${what}`);
  }
  const result = stepOf(word, f, reading, depth);
  f.done();
  return result;
}

function stepOf(
  word: (typeof STEP_WORDS)[number],
  f: Fields,
  reading: Reading,
  depth: number,
): ScenarioStep {
  switch (word) {
    case 'access':
      return accessStep(f);
    case 'guest':
      return guestStep(f);
    case 'trace':
      return traceStep(f, reading);
    case 'workload':
      return workloadStep(f, reading);
    case 'host':
      reading.hostOps.push(hostOperation(f));
      return { kind: 'host', index: reading.hostOps.length - 1 };
    case 'mark':
      reading.marks.push(f.text('mark'));
      return { kind: 'control', op: CONTROL_MARK, operand: reading.marks.length - 1, count: 1 };
    case 'repeat': {
      const times = f.whole('repeat', 1, COUNT_MAX);
      if (depth === NESTING_MAX) throw f.wrong('steps', `at most ${NESTING_MAX} levels of repeat`);
      return { kind: 'repeat', times, steps: steps(f, reading, depth + 1) };
    }
  }
}

function steps(f: Fields, reading: Reading, depth: number): readonly ScenarioStep[] {
  const list = f.list('steps');
  if (list.length === 0) throw f.wrong('steps', 'at least one step');
  const prefix = f.where.includes(': ') ? `${f.where}.steps` : `${f.where}: steps`;
  return list.map((value, i) => step(`${prefix}[${i}]`, value, reading, depth));
}

function optionsOf(f: Fields): Record<string, string | number | boolean> {
  if (!f.has('options')) return {};
  const options = f.object('options');
  const result: Record<string, string | number | boolean> = {};
  for (const key of options.keys) {
    const value = options.raw(key);
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') {
      throw options.wrong(key, 'a text, a number, or true or false');
    }
    result[key] = value;
  }
  return result;
}

/** Reads a scenario from its text; traces are found relative to `folder`. Throws DataError. */
export function parseScenario(name: string, text: string, folder: string, seed = 1): Scenario {
  const f = new Fields(name, parseJson(name, text));
  f.choice('schema', [SCENARIO_SCHEMA]);
  const title = f.text('name', name);
  const description = f.text('description', title);
  const reading: Reading = {
    folder,
    seed: f.whole('seed', 0, Number.MAX_SAFE_INTEGER, seed),
    hostOps: [],
    marks: [],
  };
  const options = optionsOf(f);
  const program = steps(f, reading, 0);
  f.done();
  return {
    name: title,
    description,
    options,
    marks: reading.marks,
    hostOps: reading.hostOps,
    open: (core) => new ScenarioSource(core, program),
  };
}

/** Reads a scenario file. */
export function openScenario(path: string, seed = 1): Scenario {
  return parseScenario(path, readText(path), dirname(path), seed);
}
