// The standard scenarios: who runs at once, on which initial state, and what must hold. Every actor is a
// protocol of the emulator with a few lines that call it.

import { MMU_NOTIFY_CLEAR } from '../../assembly/abi.ts';
import type { SeededBug } from '../kvm/fault-protocol.ts';

import { copyPageRange } from '../mm/fork.ts';
import { FOLL_TOUCH, FOLL_WRITE } from '../mm/gup.ts';
import type { Mm } from '../mm/mm.ts';
import { exitMmap, zapPageRange } from '../mm/unmap.ts';
import { shrinkPages } from '../mm/vmscan/shrink.ts';
import { LOCK_MMU, lockMmap } from '../sched/locks.ts';
import { runStraight, type Task } from '../sched/task.ts';
import { ExploredMachine, GUEST_HVN } from './machine.ts';
import type { MachineOptions } from './machine.ts';
import type { ProtocolPreset } from './presets.ts';
import type { Actor, Property, SystemDefinition } from './system.ts';

/** A standard scenario. */
export interface Scenario {
  readonly name: string;
  readonly says: string;
  /** Makes it, in its initial state, for a protocol. */
  readonly build: (preset: ProtocolPreset, bug?: SeededBug) => SystemDefinition;
}

const CALLEE = 4;

/** The properties that every scenario is tested for, besides deadlock and kernel_bug. */
export const PROPERTIES: readonly Omit<Property, 'state' | 'end'>[] = [
  {
    name: 'no_access_to_freed_frame',
    says: 'no access through an spte or TLB reaches a free frame',
  },
  { name: 'no_mapping_of_freed_frame', says: 'no secondary mapping of a free frame exists' },
  { name: 'no_stale_mapping', says: 'in the end every secondary mapping is what the host maps' },
  {
    name: 'no_spte_after_invalidation',
    says: 'an invalidation leaves no mapping of what it unmapped',
  },
  { name: 'no_lost_write', says: 'the guest reads what it wrote last' },
  { name: 'cow_isolation', says: "after fork() the parent's writes do not reach the child" },
  { name: 'young_never_invented', says: 'a page that nobody used is not called young' },
  { name: 'no_use_after_free', says: 'no notifier op runs on a notifier that was freed or left' },
  { name: 'frames_exact', says: 'in the end every reference to a frame is accounted for' },
];

/** Violations that actors report themselves have no test of their own. */
function properties(machine: ExploredMachine, frames: boolean): Property[] {
  const tests: Record<string, Pick<Property, 'state' | 'end'>> = {
    no_mapping_of_freed_frame: { state: () => machine.mappedFreeFrame() },
    no_stale_mapping: { end: () => machine.staleMapping() },
    frames_exact: frames ? { end: () => machine.leakedFrames() } : {},
  };
  return PROPERTIES.map((property) => ({ ...property, ...tests[property.name] }));
}

// ---- actors --------------------------------------------------------------------------------------

/** One access of an actor's list: page and whether it writes. */
type Access = readonly [page: number, write: boolean];

/** The secondary MMU's user makes accesses: a vCPU of the VM, or the device. */
function user(machine: ExploredMachine, id: number, accesses: readonly Access[]): Actor {
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

/** kswapd reclaims `rounds` pages, one after the other. */
function reclaim(machine: ExploredMachine, rounds = 1): Actor {
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    for (;;) {
      switch (s[at]) {
        case 0:
          s[at + CALLEE] = 0;
          s[at + CALLEE + 1] = 1;
          s[at] = 1;
        case 1:
          if (!shrinkPages(t, at + CALLEE, machine.host)) return false;
          s[at + 1] = (s[at + 1] as number) + 1;
          if (s[at + 1] === rounds) return t.done(at, 0);
          if (t.preempt(at, 0, 'kswapd: shrink_inactive_list')) return false;
      }
    }
  };
  return { name: 'kswapd', begins: 'kswapd: shrink_inactive_list', run };
}

/** madvise(MADV_DONTNEED) of page 0, under mmap_lock for reading. `alone`: nobody else unmaps. */
function zap(machine: ExploredMachine, alone = true): Actor {
  const page = 0;
  const { mm } = machine;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        s[at] = 1;
      case 1:
        if (!t.lockShared(at, 1, lockMmap(mm.id))) return false;
        machine.drop(page);
        s[at + 1] = machine.hpte(page) >>> 6;
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = GUEST_HVN + page;
        s[at + CALLEE + 2] = GUEST_HVN + page + 1;
        s[at + CALLEE + 3] = MMU_NOTIFY_CLEAR;
        s[at + CALLEE + 4] = 0;
        s[at] = 2;
      case 2:
        if (!zapPageRange(t, at + CALLEE, mm)) return false;
        t.unlockShared(lockMmap(mm.id));
        if (alone) checkUnmapped(machine, page, s[at + 1] as number);
    }
    return t.done(at, 0);
  };
  return { name: 'madvise', begins: 'madvise(MADV_DONTNEED): take mmap_lock', run };
}

/** The invalidation has returned: nothing may map the frame that the page had before. */
function checkUnmapped(machine: ExploredMachine, page: number, old: number): void {
  if (old === 0 || machine.hpte(page) >>> 6 === old) return;
  if (machine.mappedFrames(page).includes(old)) {
    machine.sink.report(
      'no_spte_after_invalidation',
      `the invalidation of page ${page} returned, and frame ${old} is still mapped`,
    );
  }
}

/** The owner leaves: unregister, then free the notifier. */
function leave(machine: ExploredMachine): Actor {
  const { notifiers } = machine.mm;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    const id = machine.registration;
    switch (s[at]) {
      case 0:
        s[at] = 1;
      case 1:
        if (!t.lock(at, 1, LOCK_MMU)) return false;
        machine.dropAll();
        t.unlock(LOCK_MMU);
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = id;
        s[at] = 2;
      case 2:
        if (!notifiers.unregister(t, at + CALLEE)) return false;
        if (t.preempt(at, 3, 'kvm_destroy_vm: kfree(kvm)')) return false;
    }
    notifiers.free(id);
    if (notifiers.freeing.startsWith('type-safe')) notifiers.reuse(id, {});
    return t.done(at, 0);
  };
  return { name: 'destroy', begins: 'kvm_destroy_vm: drop all mappings', run };
}

/** The owner registers its notifier, and only then begins to use the mm. */
function join(machine: ExploredMachine, access: Access): Actor {
  const { mm } = machine;
  const ops = machine.mirror?.ops ?? machine.kvm?.notifier;
  const use = user(machine, 0, [access]);
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        s[at + 1] = 0;
        s[at] = 1;
      case 1:
        if (ops !== undefined && !mm.notifiers.register(t, at + 1, ops)) return false;
        s[at + 1] = 0;
        if (t.preempt(at, 2, 'kvm_create_vm: registered')) return false;
      case 2:
        if (!use.run(t, at + 1)) return false;
    }
    return t.done(at, 0);
  };
  return { name: use.name, begins: 'mmu_notifier_register: take the locks', run };
}

/** The mm exits. */
function exit(machine: ExploredMachine): Actor {
  const run = (t: Task, at: number): boolean => {
    if (t.stack[at] === 0) {
      for (let page = 0; page < machine.pages; page++) machine.drop(page);
      t.stack[at + CALLEE] = 0;
      t.stack[at] = 1;
    }
    return exitMmap(t, at + CALLEE, machine.mm) && t.done(at, 0);
  };
  return { name: 'exit', begins: 'mmput: exit_mmap', run };
}

/** Direct I/O: pins page 0, the device writes it, the pin goes. */
function directIo(machine: ExploredMachine): Actor {
  const { mm, core, words } = machine;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = GUEST_HVN;
        s[at + CALLEE + 2] = FOLL_WRITE | FOLL_TOUCH;
        s[at] = 1;
      case 1:
        machine.use(0);
        if (!mm.getUserPages(t, at + CALLEE)) return false;
        if (t.result < 0) return t.done(at, t.result);
        s[at + 1] = t.result;
        if (t.preempt(at, 2, 'dio: the device writes the page')) return false;
      case 2:
        core.x.frameSetContent(s[at + 1] as number, 77);
        words.set(0, 77);
        if (t.preempt(at, 3, 'dio: set_page_dirty, put_page')) return false;
      case 3:
        core.x.setPageDirty(s[at + 1] as number);
        core.x.putPage(s[at + 1] as number);
    }
    return t.done(at, 0);
  };
  return { name: 'dio', begins: 'dio: get_user_pages', run };
}

/** fork: write-protects page 0 and shares it with a child. */
function fork(machine: ExploredMachine, child: Mm): Actor {
  const { mm } = machine;
  const run = (t: Task, at: number): boolean => {
    const s = t.stack;
    switch (s[at]) {
      case 0:
        s[at] = 1;
      case 1:
        if (!t.lock(at, 1, lockMmap(mm.id))) return false;
        s[at + CALLEE] = 0;
        s[at + CALLEE + 1] = GUEST_HVN;
        s[at + CALLEE + 2] = GUEST_HVN + 1;
        s[at] = 2;
      case 2:
        if (!copyPageRange(t, at + CALLEE, mm, child)) return false;
        t.unlock(lockMmap(mm.id));
        s[at + 1] = childContent(machine, child);
        if (t.preempt(at, 3, 'child: reads the page')) return false;
      case 3:
        if (childContent(machine, child) !== s[at + 1]) {
          machine.sink.report(
            'cow_isolation',
            `the child saw ${s[at + 1]} after fork() and ${childContent(machine, child)} later`,
          );
        }
    }
    return t.done(at, 0);
  };
  return { name: 'fork', begins: 'fork: dup_mmap takes mmap_lock', run };
}

/** What the child's page 0 holds; -1 when it has none. */
function childContent(machine: ExploredMachine, child: Mm): number {
  const { x } = machine.core;
  const pte = x.hpteGet(child.id, GUEST_HVN) >>> 0;
  return (pte & 1) !== 0 ? x.frameContent(pte >>> 6) : -1;
}

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
  return { name: 'fault injection', begins: 'device: begins to fail', run };
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
  return { name: 'fault injection', begins: 'memcg: the limit is lowered', run };
}

// ---- scenarios -----------------------------------------------------------------------------------

interface Setup {
  readonly machine?: MachineOptions;
  /** The secondary MMU maps page 0 already, and it was written. */
  readonly mapped?: boolean;
  /** The page is present in the host. @default true */
  readonly present?: boolean;
  /** Reference counts are tested in the end. @default true */
  readonly frames?: boolean;
  /** A secondary MMU is registered at first. @default true */
  readonly registered?: boolean;
  readonly actors: (machine: ExploredMachine) => readonly Actor[];
}

function scenario(name: string, says: string, setup: Setup): Scenario {
  const build = (preset: ProtocolPreset, bug?: SeededBug): SystemDefinition => {
    const machine = new ExploredMachine(preset, { ...setup.machine, bug });
    const boot = machine.host.task;
    if (setup.present !== false) {
      machine.mm.access(GUEST_HVN, true);
      machine.use(0);
    }
    if (setup.mapped === true) {
      // As far as the actor's list goes: one write, run straight.
      runStraight(boot, user(machine, 0, [[0, true]]).run);
    }
    if (setup.registered === false) machine.mm.unregisterNotifier(machine.registration);
    machine.host.core.x.lruAddDrain();
    boot.stack.fill(0);
    machine.host.hooks = {
      youngTest: (_mm, hvn, young) => {
        const used = machine.usedLately(hvn - GUEST_HVN);
        if (young && !used) {
          machine.sink.report('young_never_invented', `page ${hvn - GUEST_HVN} is called young`);
        }
      },
    };
    return {
      core: machine.core,
      actors: setup.actors(machine),
      properties: properties(machine, setup.frames !== false),
      records: machine.records,
      words: machine.words,
      lockChanged: (lock, held) => machine.lockChanged(lock, held),
      sink: machine.sink,
    };
  };
  return { name, says, build };
}

/** All standard scenarios. */
export const SCENARIOS: readonly Scenario[] = [
  scenario('fault-reclaim', 'a write fault and a read, while kswapd reclaims the page', {
    actors: (m) => [
      user(m, 0, [
        [0, true],
        [0, false],
      ]),
      reclaim(m),
    ],
  }),
  scenario('fault-zap', 'a write fault, while madvise(DONTNEED) zaps the page', {
    actors: (m) => [user(m, 0, [[0, true]]), zap(m)],
  }),
  scenario('hit-reclaim', 'a write and a read through a warm TLB, while kswapd reclaims', {
    mapped: true,
    actors: (m) => [
      user(m, 0, [
        [0, true],
        [0, false],
      ]),
      reclaim(m),
    ],
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
    frames: false,
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
  scenario('unregister', 'the VM is destroyed, while kswapd reclaims its page', {
    frames: false,
    actors: (m) => [leave(m), reclaim(m)],
  }),
  scenario('release', 'the mm exits, while kswapd reclaims its page', {
    mapped: true,
    frames: false,
    actors: (m) => [exit(m), reclaim(m)],
  }),
  scenario('release-unregister', 'the mm exits, while the VM is destroyed', {
    mapped: true,
    frames: false,
    actors: (m) => [exit(m), leave(m)],
  }),
  scenario('io-error', 'a fault and a reclaim, while the swap device fails', {
    actors: (m) => [
      user(m, 0, [
        [0, true],
        [0, false],
      ]),
      reclaim(m),
      badDevice(m),
    ],
  }),
  scenario('no-memory', 'a fault on an absent page, while memory runs out', {
    present: false,
    actors: (m) => [user(m, 0, [[0, true]]), noMemory(m)],
  }),
];

/** Two actors with many steps, to measure the engine with; no cell of the table. */
export const longScenario: Scenario = scenario('long', 'a vCPU uses a page, kswapd reclaims it', {
  mapped: true,
  actors: (m) => [
    user(
      m,
      0,
      Array.from({ length: 4 }, (_, i) => [0, i % 2 === 0]),
    ),
    reclaim(m, 4),
  ],
});

/** The scenario of a name, or undefined. */
export function scenarioOf(name: string): Scenario | undefined {
  return SCENARIOS.find((s) => s.name === name);
}
