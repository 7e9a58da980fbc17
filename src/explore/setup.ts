// A scenario: who runs at once, on which initial state, and what must hold. Those of the table are in
// scenarios.ts; others come from files and from an embedder.

import type { SeededBug } from '../kvm/fault-protocol.ts';
import { runStraight } from '../sched/task.ts';
import { watchedOps } from './actors/chain.ts';
import { user } from './actors/guest.ts';
import { injector } from './actors/inject.ts';
import type { Injection } from './actors/inject.ts';
import { ExploredMachine, GUEST_HVN } from './machine.ts';
import type { MachineOptions } from './machine.ts';
import type { ProtocolPreset } from './presets.ts';
import type { StateObject } from './records.ts';
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

/** A scenario that can be built. */
export interface Scenario {
  readonly name: string;
  readonly says: string;
  /** The file that it comes from; none: it is one of the standard ones. */
  readonly file?: string;
  /** It brings a system of its own, for which the protocol is only a hint. */
  readonly own?: boolean;
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

/** What a scenario is made of. */
export interface Setup {
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
  /** Objects of the actors' own whose fields are state. */
  readonly records?: (machine: ExploredMachine) => readonly StateObject[];
  /** Properties beside the standard ones. */
  readonly properties?: (machine: ExploredMachine) => readonly Property[];
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
    // A child of fork() maps the page too; whether that mapping is young is another question.
    youngTest: (of, hvn, young) => {
      if (of === mm.id) monitor.youngTested(hvn - GUEST_HVN, young);
    },
  };
}

/** A scenario on an explored machine, under any protocol. */
export function makeScenario(name: string, says: string, setup: Setup): Scenario {
  const build = (preset: ProtocolPreset, variant: ScenarioVariant = {}): SystemDefinition => {
    const machine = new ExploredMachine(preset, { ...setup.machine, bug: variant.bug });
    prepare(machine, setup);
    const actors = [...setup.actors(machine)];
    for (const injection of variant.inject ?? []) actors.push(injector(machine, injection));
    variant.mutate?.(machine);
    return {
      core: machine.core,
      actors,
      properties: [...properties(machine), ...(setup.properties?.(machine) ?? [])],
      records: [...machine.records, ...(setup.records?.(machine) ?? [])],
      words: machine.monitor.words,
      ignore: machine.dead,
      lockChanged: (lock, held) => machine.lockChanged(lock, held),
      sink: machine.sink,
    };
  };
  return { name, says, build };
}
