// The search against a brute-force enumeration of real scenarios that shares nothing with it but the
// scheduler: no undo, no hash, no memo, no reduction. Every path is run from a machine made anew, and a state
// is the whole of its memory, stacks, locks and records, written out. What a protocol hid from
// the engine (a field that is not listed, a store past the log) would show as another count here.
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { protocolPreset } from '../../src/explore/presets.ts';
import type { ProtocolPreset } from '../../src/explore/presets.ts';
import type { StateObject } from '../../src/explore/records.ts';
import { exploreCell } from '../../src/explore/run.ts';
import { scenarioOf } from '../../src/explore/scenarios.ts';
import type { Scenario } from '../../src/explore/setup.ts';
import { CRASH, DEADLOCK } from '../../src/explore/search.ts';
import { STEP_CRASHED, STEP_DISABLED, System } from '../../src/explore/system.ts';
import type { SystemDefinition } from '../../src/explore/system.ts';
import { COUNTERS } from '../../src/stats/counters.ts';

/** A value written out, whatever it refers to; functions and classes by name. */
function written(value: unknown, seen: unknown[] = []): string {
  if (typeof value === 'function') return 'function';
  if (typeof value !== 'object' || value === null) return String(value);
  if (seen.includes(value)) return 'again';
  const inner = [...seen, value];
  const names = 'stateFields' in value ? (value.stateFields as string[]) : Object.keys(value);
  const fields = names.map((name) => {
    const field = (value as Record<string, unknown>)[name];
    return `${name}:${written(field, inner)}`;
  });
  return `${value.constructor.name}{${fields.join(',')}}`;
}

/** A machine that is made anew, and the words of its memory that are no state. */
class Fresh {
  readonly definition: SystemDefinition;
  readonly system: System;
  /** In ascending order. */
  readonly #skip: readonly (readonly [from: number, to: number])[];

  constructor(make: () => SystemDefinition) {
    this.definition = make();
    const x = this.definition.core?.x;
    if (x === undefined) throw new Error('a scenario of the emulator has a core');
    const from = (x.arenaAlloc(0) >>> 0) >>> 2;
    this.system = new System(this.definition);
    const stats = (x.statsPtr() >>> 0) >>> 2;
    const to = (x.arenaAlloc(0) >>> 0) >>> 2;
    const skip: (readonly [number, number])[] = [
      [stats, stats + COUNTERS.length * 2],
      [from, to],
      ...(this.definition.ignore ?? []).map(({ first, end }) => [first, end] as const),
    ];
    this.#skip = skip.toSorted((a, b) => a[0] - b[0]);
  }

  /** One step. What is said to be dead between two steps is spoilt before it. */
  step(actor: number): number {
    const u32 = this.definition.core?.mem.u32;
    for (const { first, end } of this.definition.ignore ?? []) u32?.fill(0xdeadbeef, first, end);
    return this.system.step(actor);
  }

  /** The whole state. */
  key(): string {
    const { definition, system } = this;
    const { core } = definition;
    if (core === undefined) throw new Error('no core');
    const { u32 } = core.mem;
    const hash = createHash('sha1');
    let word = 0;
    for (const [from, to] of this.#skip) {
      hash.update(u32.subarray(word, from));
      word = to;
    }
    hash.update(u32.subarray(word, ((core.x.memoryTop() >>> 0) + 65536) >>> 2));
    for (const task of system.tasks) hash.update(task.stack);
    // Grace periods and signals; then locks by their names, since each machine numbers them itself.
    const { locks, tasks } = system;
    hash.update(locks.cells.slice(0, 3 * tasks.length));
    const held = tasks.map(({ id }) => locks.held(id).toSorted());
    if (definition.words !== undefined) hash.update(definition.words.cells);
    const status = system.tasks.map((task, a) => [
      system.finished(a),
      task.blockedOn,
      task.blockedShared,
      task.blockedKillable,
    ]);
    const records = (definition.records as StateObject[]).map((record) => written(record));
    return hash.update(JSON.stringify([status, held, records])).digest('base64');
  }
}

interface Found {
  readonly states: number;
  readonly transitions: number;
  readonly depth: number;
  readonly ends: number;
  /** Property and the length of a shortest schedule that violates it. */
  readonly violations: [string, number][];
}

/** Visits every edge of the graph of states, each path on a machine of its own. */
class Enumeration {
  readonly #make: () => SystemDefinition;
  /** For each state the successor by actor: '' if it cannot move there, 'crash' if it ends there. */
  readonly #edges = new Map<string, (string | undefined)[]>();
  /** Violations of a state, and of the step of an actor from it. */
  readonly #wrong = new Map<string, Set<string>>();
  #root = '';

  constructor(make: () => SystemDefinition) {
    this.#make = make;
  }

  run(): Found {
    // Schedules to states from which not every actor was tried.
    const open: number[][] = [[]];
    for (let path = open.pop(); path !== undefined; path = open.pop()) this.#follow(path, open);
    return this.#measure();
  }

  #note(at: string, properties: readonly string[]): void {
    if (properties.length === 0) return;
    const known = this.#wrong.get(at) ?? new Set();
    for (const property of properties) known.add(property);
    this.#wrong.set(at, known);
  }

  /** Runs a schedule, then on and on to what was not tried yet. */
  #follow(path: readonly number[], open: number[][]): void {
    const fresh = new Fresh(this.#make);
    const { system } = fresh;
    for (const actor of path) fresh.step(actor);
    const schedule = [...path];
    system.sink.found.length = 0;
    let key = fresh.key();
    if (path.length === 0) this.#root = key;
    for (;;) {
      const edges = this.#visit(key, fresh);
      const actor = edges.indexOf(undefined);
      if (actor < 0) break;
      const outcome = fresh.step(actor);
      if (outcome === STEP_DISABLED) {
        edges[actor] = '';
        this.#end(key, edges, fresh);
        continue;
      }
      // The others are tried from here later, on a machine that is run here anew.
      if (edges.includes(undefined, actor + 1)) open.push([...schedule]);
      this.#note(
        `${key} ${actor}`,
        system.sink.found.map((found) => found.property),
      );
      system.sink.found.length = 0;
      if (outcome === STEP_CRASHED) {
        this.#note(`${key} ${actor}`, [CRASH]);
        edges[actor] = 'crash';
        break;
      }
      schedule.push(actor);
      const next = fresh.key();
      edges[actor] = next;
      key = next;
    }
    system.close();
  }

  #visit(key: string, fresh: Fresh): (string | undefined)[] {
    let edges = this.#edges.get(key);
    if (edges !== undefined) return edges;
    edges = fresh.system.actors.map(() => undefined);
    this.#edges.set(key, edges);
    this.#note(key, violated(fresh.definition, 'state'));
    return edges;
  }

  /** No actor can move: all have ended, or it is a deadlock. */
  #end(key: string, edges: readonly (string | undefined)[], fresh: Fresh): void {
    if (edges.some((edge) => edge !== '')) return;
    const ended = fresh.system.actors.every((_, a) => fresh.system.finished(a));
    this.#note(key, ended ? violated(fresh.definition, 'end') : [DEADLOCK]);
  }

  #measure(): Found {
    const depths = new Map([[this.#root, 0]]);
    const shortest = new Map<string, number>();
    const report = (at: string, length: number): void => {
      for (const property of this.#wrong.get(at) ?? []) {
        shortest.set(property, Math.min(length, shortest.get(property) ?? Infinity));
      }
    };
    let transitions = 0;
    let ends = 0;
    for (const [key, depth] of depths) {
      report(key, depth);
      const edges = this.#edges.get(key) ?? [];
      edges.forEach((next, actor) => {
        if (next === undefined) throw new Error('an actor was not tried');
        if (next === '') return;
        transitions++;
        report(`${key} ${actor}`, depth + 1);
        if (next !== 'crash' && !depths.has(next)) depths.set(next, depth + 1);
      });
      const stuck = this.#wrong.get(key)?.has(DEADLOCK) === true;
      if (edges.every((edge) => edge === '') && !stuck) ends++;
    }
    const depth = Math.max(...depths.values());
    const violations = [...shortest].toSorted();
    return { states: depths.size, transitions, depth, ends, violations };
  }
}

function violated({ properties }: SystemDefinition, when: 'state' | 'end'): string[] {
  return properties.filter((p) => (p[when]?.() ?? null) !== null).map((p) => p.name);
}

const CELLS = [
  ['6.x', 'fault-munmap'],
  ['6.x', 'unregister'],
  ['3.5', 'release-unregister'],
  ['v3', 'fault-mremap'],
  ['v3-rcu-slab', 'unregister'],
  ['seqlock', 'fault-munmap'],
  ['2.6.27', 'fault-mprotect'],
  ['interval', 'fault-zap'],
  ['v2-mirror', 'register'],
  ['srcu', 'no-memory'],
  ['v3', 'fork'],
] as const;

describe('a brute-force enumeration of the emulator’s own protocols', () => {
  test.each(CELLS)('%s in %s: the same states, depths and violations', (name, of) => {
    const preset = protocolPreset(name) as ProtocolPreset;
    const scenario = scenarioOf(of) as Scenario;
    const expected = new Enumeration(() => scenario.build(preset)).run();
    for (const reduction of [false, true]) {
      const { search, violations } = exploreCell(preset, scenario, { reduction });
      expect(search?.states).toBe(expected.states);
      expect(search?.depth).toBe(expected.depth);
      expect(search?.endStates).toBe(expected.ends);
      if (!reduction) expect(search?.transitions).toBe(expected.transitions);
      else expect(search?.transitions).toBeLessThanOrEqual(expected.transitions);
      const lengths = violations.map((v): [string, number] => [v.property, v.schedule.length]);
      expect(lengths.toSorted()).toEqual(expected.violations);
    }
  });
});
