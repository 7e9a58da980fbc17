// The standard scenarios. Every actor is a protocol of the emulator with a few lines that call it
// (actors/*.ts).

import { destroy, join } from './actors/chain.ts';
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
import { makeScenario as scenario } from './setup.ts';
import type { Scenario } from './setup.ts';

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
    actors: (m) => [user(m, 0, [[0, true]]), fork(m)],
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
