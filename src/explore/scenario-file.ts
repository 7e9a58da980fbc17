// Scenarios as files: the standard actors on an initial state, written as JSON.
//
//   { "schema": "shadowmmu-explore-scenario-1", "name": "two reclaims", "page": "mapped",
//     "actors": [{ "actor": "vcpu", "accesses": ["write 0", "read 0"] }, { "actor": "kswapd", "rounds": 2 }] }

import { Fields, parseJson } from '../workload/fields.ts';
import { STANDARD_ACTORS } from './actors/all.ts';
import type { Access } from './actors/guest.ts';
import { INJECTIONS } from './actors/inject.ts';
import type { ExploredMachine } from './machine.ts';
import { makeScenario } from './setup.ts';
import type { Scenario } from './setup.ts';
import type { Actor } from './system.ts';

const { destroy, directIo, exit, fork, injector, join, mprotect, mremap, munmap, reclaim } =
  STANDARD_ACTORS;
const { touch, user, zap } = STANDARD_ACTORS;

/** Makes an actor once there is a machine. */
type Maker = (machine: ExploredMachine) => Actor;

const SCHEMA = 'shadowmmu-explore-scenario-1';
const MAX_PAGES = 16;
const MAX_ACTORS = 8;

/** States that page 0 can be in at first. */
const PAGE_STATES = ['absent', 'present', 'mapped', 'swapped'] as const;

/** `write 0` or `read 3`. */
function access(fields: Fields, key: string, text: unknown, pages: number): Access {
  const parts = typeof text === 'string' ? /^(read|write) (\d+)$/.exec(text) : null;
  const page = Number(parts?.[2]);
  if (parts === null || page >= pages) {
    throw fields.wrong(key, `"read PAGE" or "write PAGE" with pages from 0 to ${pages - 1}`);
  }
  return [page, parts[1] === 'write'];
}

/** The actors that a file can name, with what their fields mean. */
const ACTORS: Readonly<Record<string, (fields: Fields, pages: number, vcpus: number) => Maker>> = {
  vcpu(fields, pages, vcpus) {
    const id = fields.whole('id', 0, vcpus - 1, 0);
    const list = fields.list('accesses').map((text) => access(fields, 'accesses', text, pages));
    if (list.length === 0) throw fields.wrong('accesses', 'at least one access');
    return (machine) => user(machine, id, list);
  },
  kswapd(fields) {
    const rounds = fields.whole('rounds', 1, 16, 1);
    return (machine) => reclaim(machine, rounds);
  },
  madvise: (fields) => {
    const alone = fields.flag('alone', false);
    return (machine) => zap(machine, alone);
  },
  munmap: () => munmap,
  mprotect: () => mprotect,
  mremap: () => mremap,
  fork: () => fork,
  dio: () => directIo,
  exit: () => exit,
  destroy: () => destroy,
  vmm(fields) {
    const write = fields.choice('access', ['read', 'write'], 'read') === 'write';
    return (machine) => touch(machine, write);
  },
  register(fields, pages) {
    const first = access(fields, 'access', fields.raw('access') ?? 'write 0', pages);
    return (machine) => join(machine, first);
  },
  ...Object.fromEntries(
    INJECTIONS.map((name) => [name, () => (machine: ExploredMachine) => injector(machine, name)]),
  ),
};

/** Names of the actors that a file can have. */
export const ACTOR_NAMES: readonly string[] = Object.keys(ACTORS);

function maker(where: string, value: unknown, pages: number, vcpus: number): Maker {
  const fields = new Fields(where, value);
  const name = fields.choice('actor', ACTOR_NAMES);
  const make = (ACTORS[name] as (typeof ACTORS)[string])(fields, pages, vcpus);
  fields.done();
  return make;
}

/** Reads a scenario; DataError says what is wrong with it. */
export function parseScenario(text: string, path: string): Scenario {
  const fields = new Fields(path, parseJson(path, text));
  fields.choice('schema', [SCHEMA]);
  const name = fields.text('name', path);
  const says = fields.text('says', `as ${path} has it`);
  const pages = fields.whole('pages', 1, MAX_PAGES, 1);
  const vcpus = fields.whole('vcpus', 1, 4, 1);
  const swapPages = fields.whole('swapPages', 1, 64, 8);
  const page = fields.choice('page', PAGE_STATES, 'present');
  const registered = fields.flag('registered', true);
  const list = fields.list('actors');
  if (list.length === 0 || list.length > MAX_ACTORS) {
    throw fields.wrong('actors', `1 to ${MAX_ACTORS} actors`);
  }
  const makers = list.map((item, i) => maker(`${path}: actors[${i}]`, item, pages, vcpus));
  fields.done();
  const ids = list.flatMap((item) => {
    const { actor, id = 0 } = item as { actor: string; id?: number };
    return actor === 'vcpu' ? [id] : [];
  });
  if (new Set(ids).size < ids.length) throw fields.wrong('actors', 'one actor a vCPU');
  const leaves = list.some((item) => (item as { actor: string }).actor === 'destroy');
  return makeScenario(name, says, {
    machine: { pages, vcpus, swapPages },
    present: page !== 'absent',
    mapped: page === 'mapped',
    swapped: page === 'swapped',
    registered,
    leaves: registered && leaves,
    actors: (machine) => makers.map((make) => make(machine)),
  });
}
