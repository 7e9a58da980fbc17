// The standard scenarios: who runs at once, on which initial state, and what must hold. Every actor is a
// protocol of the emulator with a few lines that call it (actors/*.ts).

import type { SeededBug } from '../kvm/fault-protocol.ts';
import { runStraight } from '../sched/task.ts';
import { destroy, join, watchedOps } from './actors/chain.ts';
import { byTurns, user } from './actors/guest.ts';
import {
  directIo,
  exit,
  fork,
  mprotect,
  mremap,
  munmap,
  reclaim,
  touch,
  zap,
} from './actors/host.ts';
import { injector } from './actors/inject.ts';
import type { Injection } from './actors/inject.ts';
import { ExploredMachine, GUEST_HVN } from './machine.ts';
import type { MachineOptions } from './machine.ts';
import type { ProtocolPreset } from './presets.ts';
import type { Actor, Property, SystemDefinition } from './system.ts';

/** How a scenario is varied. */
export interface ScenarioVariant {
  /** A mistake in the protocol. */
  readonly bug?: SeededBug | undefined;
  /** Faults that come at any moment, an actor each. */
  readonly inject?: readonly Injection[];
  /** Changes the machine in its initial state: for tests of the properties. */
  readonly mutate?: (machine: ExploredMachine) => void;
}

/** A standard scenario. */
export interface Scenario {
  readonly name: string;
  readonly says: string;
  /** Makes it, in its initial state, for a protocol. */
  readonly build: (preset: ProtocolPreset, variant?: ScenarioVariant) => SystemDefinition;
}

/** The properties that every scenario is tested for, besides deadlock and kernel_bug. */
export const PROPERTIES: readonly Omit<Property, 'state' | 'end'>[] = [
  {
    name: 'no_access_to_freed_frame',
    says: 'no access through an spte or TLB reaches a free frame or one that is reused',
  },
  { name: 'no_mapping_of_freed_frame', says: 'no secondary mapping of a free frame exists' },
  { name: 'no_stale_mapping', says: 'in the end every secondary mapping is what the host maps' },
  {
    name: 'no_spte_after_invalidation',
    says: 'an invalidation leaves no mapping, and no right to write, that it took away',
  },
  { name: 'no_lost_write', says: 'what was written last is read, and no dirty bit is lost' },
  { name: 'cow_isolation', says: "after fork() the parent's writes do not reach the child" },
  { name: 'young_never_invented', says: 'a page that nobody used is not called young' },
  {
    name: 'no_use_after_free',
    says: 'no notifier op runs on freed memory or after unregister returned',
  },
  {
    name: 'no_missed_invalidation',
    says: 'once register returned, the notifier hears of every pte that goes',
  },
  { name: 'frames_exact', says: 'in the end every reference to a frame is accounted for' },
];

/** Violations that actors report themselves have no test of their own. */
function properties({ monitor }: ExploredMachine): Property[] {
  const tests: Record<string, Pick<Property, 'state' | 'end'>> = {
    no_mapping_of_freed_frame: { state: () => monitor.mappedFreeFrame() },
    no_stale_mapping: { end: () => monitor.staleMapping() },
    no_lost_write: { end: () => monitor.lostWrite() },
    frames_exact: { end: () => monitor.leakedFrames() },
  };
  return PROPERTIES.map((property) => ({ ...property, ...tests[property.name] }));
}

interface Setup {
  readonly machine?: MachineOptions;
  /** The secondary MMU maps page 0 already, and it was written. */
  readonly mapped?: boolean;
  /** The page is present in the host. @default true */
  readonly present?: boolean;
  /** The page was swapped out. */
  readonly swapped?: boolean;
  /** A secondary MMU is registered at first. @default true */
  readonly registered?: boolean;
  /** Its ops are watched: it is going to leave. */
  readonly leaves?: boolean;
  readonly actors: (machine: ExploredMachine) => readonly Actor[];
}

/** Brings a machine into a scenario's initial state. */
function prepare(machine: ExploredMachine, setup: Setup): void {
  const { host, mm, monitor, core } = machine;
  if (setup.present !== false) {
    mm.access(GUEST_HVN, true);
    monitor.use(0);
  }
  if (setup.mapped === true || setup.swapped === true) {
    // As far as the actor's list goes: one write, run straight.
    runStraight(host.task, user(machine, 0, [[0, true]]).run);
  }
  if (setup.swapped === true) {
    for (let round = 0; round < 4 && monitor.hpte(0) !== 0; round++) host.reclaim(1);
    if (monitor.hpte(0) !== 0) throw new Error('the page cannot be swapped out');
  }
  if (setup.registered === false) mm.unregisterNotifier(machine.registration);
  if (setup.leaves === true) machine.replaceOps((ops) => watchedOps(machine, ops));
  core.x.lruAddDrain();
  host.task.stack.fill(0);
  host.hooks = {
    youngTest: (_mm, hvn, young) => monitor.youngTested(hvn - GUEST_HVN, young),
  };
}

function scenario(name: string, says: string, setup: Setup): Scenario {
  const build = (preset: ProtocolPreset, variant: ScenarioVariant = {}): SystemDefinition => {
    const machine = new ExploredMachine(preset, { ...setup.machine, bug: variant.bug });
    prepare(machine, setup);
    const actors = [...setup.actors(machine)];
    for (const injection of variant.inject ?? []) actors.push(injector(machine, injection));
    variant.mutate?.(machine);
    return {
      core: machine.core,
      actors,
      properties: properties(machine),
      records: machine.records,
      words: machine.monitor.words,
      lockChanged: (lock, held) => machine.lockChanged(lock, held),
      sink: machine.sink,
    };
  };
  return { name, says, build };
}

/** A write and a read of page 0. */
const WRITE_READ = byTurns(2);

/** All standard scenarios. */
export const SCENARIOS: readonly Scenario[] = [
  scenario('fault-reclaim', 'a write fault and a read, while kswapd reclaims the page', {
    actors: (m) => [user(m, 0, WRITE_READ), reclaim(m)],
  }),
  scenario('fault-zap', 'a write fault, while madvise(DONTNEED) zaps the page', {
    actors: (m) => [user(m, 0, [[0, true]]), zap(m)],
  }),
  scenario('fault-munmap', 'a write fault and a read, while the page is unmapped', {
    actors: (m) => [user(m, 0, WRITE_READ), munmap(m)],
  }),
  scenario('fault-mprotect', 'a write fault and a write, while the page becomes read-only', {
    actors: (m) => [
      user(m, 0, [
        [0, true],
        [0, true],
      ]),
      mprotect(m),
    ],
  }),
  scenario('fault-mremap', 'a write fault and a read, while the page moves elsewhere', {
    actors: (m) => [user(m, 0, WRITE_READ), mremap(m)],
  }),
  scenario('hit-reclaim', 'a write and a read through a warm TLB, while kswapd reclaims', {
    mapped: true,
    actors: (m) => [user(m, 0, WRITE_READ), reclaim(m)],
  }),
  scenario('hit-zap', 'two writes through a warm TLB, while the page is zapped', {
    mapped: true,
    actors: (m) => [
      user(m, 0, [
        [0, true],
        [0, true],
      ]),
      zap(m),
    ],
  }),
  scenario('swap-in', 'a vCPU writes a swapped page, while the VMM reads it and kswapd reclaims', {
    swapped: true,
    actors: (m) => [user(m, 0, [[0, true]]), touch(m, false), reclaim(m)],
  }),
  scenario('swap-race', 'a vCPU and the VMM write a swapped page, kswapd reclaims to one slot', {
    swapped: true,
    machine: { swapPages: 1 },
    actors: (m) => [user(m, 0, WRITE_READ), touch(m, true), reclaim(m)],
  }),
  scenario('two-vcpus', 'two vCPUs fault on one page, while kswapd reclaims it', {
    machine: { vcpus: 2 },
    actors: (m) => [
      user(m, 0, [[0, true]]),
      m.kvm ? user(m, 1, [[0, false]]) : zap(m, false),
      reclaim(m),
    ],
  }),
  scenario('zap-reclaim', 'a fault, a zap and a reclaim of one page', {
    mapped: true,
    actors: (m) => [user(m, 0, [[0, true]]), zap(m, false), reclaim(m)],
  }),
  scenario('age', 'a read, while reclaim tests the page for young twice', {
    mapped: true,
    actors: (m) => [user(m, 0, [[0, false]]), reclaim(m), reclaim(m)],
  }),
  scenario('dio', 'direct I/O into a page that the guest maps, while kswapd reclaims it', {
    mapped: true,
    actors: (m) => [user(m, 0, [[0, false]]), directIo(m), reclaim(m)],
  }),
  scenario('fork', 'a write through a warm TLB, while the VMM forks', {
    mapped: true,
    actors: (m) => {
      const child = m.host.createMm();
      child.vmas = m.mm.vmas.filter((vma) => vma.start === GUEST_HVN);
      return [user(m, 0, [[0, true]]), fork(m, child)];
    },
  }),
  scenario('register', 'a notifier is registered and used, while the page is zapped', {
    registered: false,
    actors: (m) => [join(m, [0, true]), zap(m)],
  }),
  scenario('register-reclaim', 'a notifier is registered and used, while kswapd reclaims', {
    registered: false,
    actors: (m) => [join(m, [0, true]), reclaim(m)],
  }),
  scenario('unregister', 'the VM is destroyed, while kswapd reclaims its page', {
    leaves: true,
    actors: (m) => [destroy(m), reclaim(m)],
  }),
  scenario('destroy', 'the VM is destroyed, while kswapd reclaims a page that it maps', {
    mapped: true,
    leaves: true,
    actors: (m) => [destroy(m), reclaim(m)],
  }),
  scenario('release', 'the mm exits, while kswapd reclaims its page', {
    mapped: true,
    actors: (m) => [exit(m), reclaim(m)],
  }),
  scenario('release-unregister', 'the mm exits, while the VM is destroyed', {
    mapped: true,
    leaves: true,
    actors: (m) => [exit(m), destroy(m)],
  }),
  scenario('io-error', 'a fault and a reclaim, while the swap device fails', {
    actors: (m) => [user(m, 0, WRITE_READ), reclaim(m), injector(m, 'io-error')],
  }),
  scenario('no-memory', 'a fault on an absent page, while memory runs out', {
    present: false,
    actors: (m) => [user(m, 0, [[0, true]]), injector(m, 'no-memory')],
  }),
  scenario('signal', 'a fault on a swapped page and a reclaim, while a signal kills the vCPU', {
    swapped: true,
    actors: (m) => [user(m, 0, [[0, true]]), reclaim(m), injector(m, 'signal')],
  }),
];

/** Scenarios with many steps, to measure the engine with and to search deeper; no cells of the table. */
export const longScenario: Scenario = scenario('long', 'a vCPU uses a page, kswapd reclaims it', {
  mapped: true,
  actors: (m) => [user(m, 0, byTurns(4)), reclaim(m, 4)],
});

/** Everybody at once, on two pages: for random schedules. */
export const crowdScenario: Scenario = scenario('crowd', 'two vCPUs, the VMM, kswapd and a zap', {
  machine: { vcpus: 2, pages: 2 },
  mapped: true,
  actors: (m) => [
    user(m, 0, [
      [0, true],
      [1, true],
      [0, false],
      [1, false],
      [0, true],
    ]),
    m.kvm
      ? user(m, 1, [
          [1, true],
          [0, false],
          [0, true],
          [1, false],
        ])
      : touch(m, true),
    touch(m, true),
    reclaim(m, 5),
    zap(m, false),
    directIo(m),
  ],
});

/** Scenarios that are found by name: those of the table, and the larger ones. */
export const ALL_SCENARIOS: readonly Scenario[] = [...SCENARIOS, longScenario, crowdScenario];

/** The scenario of a name, or undefined. */
export function scenarioOf(name: string): Scenario | undefined {
  return ALL_SCENARIOS.find((s) => s.name === name);
}
