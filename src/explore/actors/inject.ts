// Faults as actors: the swap device fails for a while, memory runs out for a while, a fatal signal comes.

import type { Task } from '../../sched/task.ts';
import { ExploredLocks } from '../locks.ts';
import type { ExploredMachine } from '../machine.ts';
import type { Actor } from '../system.ts';

/** The swap device fails for a while. */
function badDevice(machine: ExploredMachine): Actor {
  const run = (t: Task, at: number): boolean => {
    switch (t.stack[at]) {
      case 0:
        machine.device.failing = 1;
        if (t.preempt(at, 2, 'device: works again')) return false;
      case 2:
        machine.device.failing = 0;
    }
    return t.done(at, 0);
  };
  return { name: 'device', begins: 'device: begins to fail', run };
}

/** Memory is short for a while: a charge must reclaim or fail. */
function noMemory(machine: ExploredMachine): Actor {
  const { host } = machine;
  const limit = host.limit;
  const run = (t: Task, at: number): boolean => {
    switch (t.stack[at]) {
      case 0:
        host.limit = 0;
        if (t.preempt(at, 2, 'memcg: limit raised')) return false;
      case 2:
        host.limit = limit;
    }
    return t.done(at, 0);
  };
  return { name: 'memcg', begins: 'memcg: the limit is lowered', run };
}

/** A fatal signal comes for the first actor, at any moment. */
const KILL: Actor = {
  name: 'kill',
  begins: 'kill: SIGKILL for the first actor',
  run: (t, at) => {
    if (t.locks instanceof ExploredLocks) t.locks.signal(0);
    return t.done(at, 0);
  },
};

/** Faults that can be put into any scenario. */
export const INJECTIONS = ['io-error', 'no-memory', 'signal'] as const;

/** Name of an injected fault. */
export type Injection = (typeof INJECTIONS)[number];

/** The actor of an injected fault. */
export function injector(machine: ExploredMachine, injection: Injection): Actor {
  if (injection === 'io-error') return badDevice(machine);
  return injection === 'no-memory' ? noMemory(machine) : KILL;
}
