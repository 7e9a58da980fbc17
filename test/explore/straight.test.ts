// Preemption points change nothing: one actor that is driven step by step through the scheduler, stopping
// at every point and lock, leaves the same counters and the same memory as the same code run straight,
// where runs of steps that nothing can interrupt are made in one call of the core.
import { describe, expect, test } from 'vitest';
import { MM_OUT_WORDS } from '../../assembly/abi.ts';
import { destroy } from '../../src/explore/actors/chain.ts';
import { user } from '../../src/explore/actors/guest.ts';
import type { Access } from '../../src/explore/actors/guest.ts';
import { directIo, fork, mprotect, reclaim, touch, zap } from '../../src/explore/actors/host.ts';
import { ExploredMachine } from '../../src/explore/machine.ts';
import { protocolPreset } from '../../src/explore/presets.ts';
import type { ProtocolPreset } from '../../src/explore/presets.ts';
import { STEP_MOVED, System } from '../../src/explore/system.ts';
import type { Actor } from '../../src/explore/system.ts';
import { runStraight, Task } from '../../src/sched/task.ts';
import { COUNTERS } from '../../src/stats/counters.ts';

const PAGES = 4;

/** A workload of everything, as one actor after the other. */
function workload(machine: ExploredMachine): Actor[] {
  const accesses = Array.from({ length: 40 }, (_, i): Access => [
    (i * 7 + (i >> 3)) % PAGES,
    i % 3 === 0,
  ]);
  return [
    user(machine, 0, accesses),
    reclaim(machine, 3),
    user(machine, 0, accesses),
    zap(machine),
    directIo(machine),
    touch(machine, true),
    user(machine, 0, accesses.slice(0, 12)),
    fork(machine),
    user(machine, 0, accesses.slice(0, 12)),
    mprotect(machine),
    reclaim(machine, 4),
    user(machine, 0, [[1, false]]),
    destroy(machine),
  ];
}

interface Left {
  readonly counters: Record<string, number>;
  /** Linear memory but for the explorer's own logs and the core's scratch block. */
  readonly memory: Uint32Array;
  readonly steps: number;
}

function run(preset: ProtocolPreset, drive: (system: System, actor: Actor) => number): Left {
  const machine = new ExploredMachine(preset, { pages: PAGES });
  const { core } = machine;
  const logs: [from: number, to: number][] = [];
  let steps = 0;
  for (const actor of workload(machine)) {
    const from = core.x.arenaAlloc(0) >>> 2;
    const system = new System({
      core,
      actors: [actor],
      properties: [],
      records: machine.records,
      words: machine.monitor.words,
      ignore: machine.dead,
      lockChanged: (lock, held) => machine.lockChanged(lock, held),
    });
    logs.push([from, core.x.arenaAlloc(0) >>> 2]);
    steps += drive(system, actor);
    system.close();
  }
  const first = core.x.statsPtr() >>> 0;
  const counters = Object.fromEntries(
    COUNTERS.map(({ name }, i) => [name, core.mem.load64(first + i * 8)]),
  );
  const memory = core.mem.u32.slice();
  for (const [from, to] of logs) memory.fill(0, from, to);
  // Results of the last call of the core, of which a straight run makes fewer.
  const scratch = core.x.mmOut() >>> 2;
  memory.fill(0, scratch, scratch + MM_OUT_WORDS);
  return { counters, memory, steps };
}

function straight(system: System, actor: Actor): number {
  // The system only stands by, so that both runs allocate the same.
  runStraight(new Task(0), actor.run);
  return system.actors.length;
}

function stepped(system: System, actor: Actor): number {
  let steps = 0;
  for (; !system.finished(0); steps++) {
    if (system.step(0) !== STEP_MOVED) throw new Error(`${actor.name}: ${system.crash}`);
  }
  return steps;
}

describe('a straight run and a stepped one', () => {
  test.each(['v3', '2.6.27', 'srcu', '6.x', '6.x-tdp'])(
    '%s: the same counters and memory',
    (name) => {
      const preset = protocolPreset(name) as ProtocolPreset;
      const expected = run(preset, straight);
      const found = run(preset, stepped);
      expect(found.counters).toEqual(expected.counters);
      const differing = found.memory.findIndex((word, i) => word !== expected.memory[i]);
      expect(differing).toBe(-1);
      expect(found.steps).toBeGreaterThan(150);
      expect(expected.counters['swap_outs']).toBeGreaterThan(0);
      if (preset.forkHook) expect(expected.counters['cow_faults']).toBeGreaterThan(0);
    },
  );
});
