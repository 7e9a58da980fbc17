// Actors on the guest's side of the notifiers: a vCPU, or the device of a mirror.

import type { Task } from '../../sched/task.ts';
import type { ExploredMachine } from '../machine.ts';
import type { Actor } from '../system.ts';

const CALLEE = 4;

/** One access of an actor's list: page and whether it writes. */
export type Access = readonly [page: number, write: boolean];

/** `count` accesses to page 0, writes and reads by turns. */
export function byTurns(count: number): Access[] {
  return Array.from({ length: count }, (_, i) => [0, i % 2 === 0] as const);
}

/** The secondary MMU's user makes accesses: a vCPU of the VM, or the device. */
export function user(machine: ExploredMachine, id: number, accesses: readonly Access[]): Actor {
  const vcpu = machine.kvm?.vcpus[id];
  const label = ([page, write]: Access): string =>
    `${vcpu ? 'vcpu_enter_guest' : 'device'}: ${write ? 'write' : 'read'} page ${page}`;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    for (;;) {
      const next = s[at] as number;
      const access = accesses[next >> 1] as Access;
      if ((next & 1) === 0) {
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = access[0];
        s[at + CALLEE + 2] = access[1] ? 1 : 0;
        s[at] = next + 1;
      }
      const done = vcpu
        ? machine.guestAccess(t, at + CALLEE, vcpu)
        : machine.deviceAccess(t, at + CALLEE);
      if (!done) return false;
      const following = accesses[(next >> 1) + 1];
      // A page that cannot be had ends the actor: the VM is stopped with an error.
      if (t.result < 0 || following === undefined) return t.done(at, t.result);
      if (t.preempt(at, (next | 1) + 1, label(following))) return false;
    }
  };
  return { name: vcpu ? `vcpu${id}` : 'device', begins: label(accesses[0] as Access), run };
}
