// Actors that come to a notifier chain and leave it, and what the monitor holds against every op: none
// may run after unregister returned, and once register returned none may be left out.

import type { MmuNotifierOps, MmuNotifierSteps, NotifierStep } from '../../mm/mmu-notifier.ts';
import { LOCK_MMU } from '../../sched/locks.ts';
import type { Protocol, Task } from '../../sched/task.ts';
import type { ExploredMachine } from '../machine.ts';
import type { Actor } from '../system.ts';
import { user } from './guest.ts';
import type { Access } from './guest.ts';

const CALLEE = 4;

// Words of the monitor.
/** unregister() has returned. */
const LEFT = 0;
/** register() has returned. */
const JOINED = 1;
/** Tasks (a bit each) that told the notifier of an invalidation. */
const HEARD = 2;
/** Tasks that cleared the pte of page 0 after register() had returned. */
const CLEARED = 3;

const STEP_NAMES = [
  'release',
  'agePage',
  'invalidatePage',
  'invalidateRange',
  'invalidateRangeStart',
  'invalidateRangeEnd',
  'clearFlushYoung',
  'clearYoung',
  'testYoung',
  'changePte',
] as const satisfies readonly (keyof MmuNotifierSteps)[];

/** Whether an op tells of an invalidation in time; 6.x's invalidate_range comes too late for that. */
function tells(machine: ExploredMachine, name: string): boolean {
  if (name === 'release' || name === 'invalidatePage') return true;
  return name === (machine.mm.hooks === 'v3' ? 'invalidateRange' : 'invalidateRangeStart');
}

/** The ops of a notifier, watched. */
export function watchedOps(machine: ExploredMachine, ops: MmuNotifierOps): MmuNotifierOps {
  const { steps } = ops;
  if (steps === undefined) return ops;
  const { monitor, sink } = machine;
  const watched: Partial<Record<keyof MmuNotifierSteps, NotifierStep>> = {};
  for (const name of STEP_NAMES) {
    const step = steps[name];
    if (step === undefined) continue;
    const telling = tells(machine, name);
    watched[name] = (t, at) => {
      if (monitor.flag(LEFT) !== 0) {
        sink.report('no_use_after_free', `${name} runs after unregister returned`);
      }
      if (telling) monitor.setFlag(HEARD, monitor.flag(HEARD) | (1 << t.id));
      return step.call(steps, t, at);
    };
  }
  return { steps: watched };
}

/**
 * An actor that may clear the pte of page 0: a notifier that was registered by then must hear of it
 * from this actor, before the pte goes (invalidate_range_start) or after.
 */
export function watchesPte(machine: ExploredMachine, run: Protocol): Protocol {
  const { monitor, sink } = machine;
  return (t, at) => {
    if (monitor.flag(JOINED) === 0) return run(t, at);
    const bit = 1 << t.id;
    const before = monitor.hpte(0);
    const done = run(t, at);
    if (before !== 0 && monitor.hpte(0) === 0)
      monitor.setFlag(CLEARED, monitor.flag(CLEARED) | bit);
    if (done && (monitor.flag(CLEARED) & bit) !== 0 && (monitor.flag(HEARD) & bit) === 0) {
      const what = 'page 0 was unmapped after register returned, and the notifier was not told';
      sink.report('no_missed_invalidation', what);
    }
    return done;
  };
}

/** The owner leaves: unregister, then the mappings go, then it frees the notifier. */
export function destroy(machine: ExploredMachine): Actor {
  const { notifiers } = machine.mm;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    const id = machine.registration;
    switch (s[at]) {
      case 0:
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = id;
        s[at] = 1;
      case 1:
        if (!notifiers.unregister(t, at + CALLEE)) return false;
        machine.monitor.setFlag(LEFT, 1);
        if (t.preempt(at, 2, 'kvm_arch_destroy_vm: kvm_mmu_zap_all')) return false;
      case 2:
        if (!t.lock(at, 2, LOCK_MMU)) return false;
        machine.dropAll();
        t.unlock(LOCK_MMU);
        if (t.preempt(at, 3, 'kvm_destroy_vm: kfree(kvm)')) return false;
    }
    notifiers.list.free(id);
    if (notifiers.freeing.startsWith('type-safe')) notifiers.list.reuse(id, {});
    return t.done(at, 0);
  };
  return { name: 'destroy', begins: 'kvm_destroy_vm: mmu_notifier_unregister', run };
}

/** The owner registers its notifier, and only then begins to use the mm. */
export function join(machine: ExploredMachine, access: Access): Actor {
  const { mm } = machine;
  const ops = machine.mirror?.ops ?? machine.kvm?.notifier;
  // Made once: another set of ops would be another state.
  const watched = ops === undefined ? undefined : watchedOps(machine, ops);
  const use = user(machine, 0, [access]);
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        s[at + 1] = 0;
        s[at] = 1;
      case 1:
        if (watched !== undefined && !mm.notifiers.register(t, at + 1, watched)) {
          return false;
        }
        machine.monitor.setFlag(JOINED, 1);
        s[at + 1] = 0;
        if (t.preempt(at, 2, 'kvm_create_vm: registered')) return false;
      case 2:
        if (!use.run(t, at + 1)) return false;
    }
    return t.done(at, 0);
  };
  return { name: use.name, begins: 'mmu_notifier_register: take the locks', run };
}
